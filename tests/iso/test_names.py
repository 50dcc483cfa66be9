from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobuilder.iso.names import names_of

PART = st.text("abcAB12._+-~ ", min_size=1, max_size=90).filter(lambda text: text.strip(". "))


def test_plain_names_keep_what_iso_9660_allows() -> None:
    names = names_of(["k8s/kubeadm", "kubelet.service", "cni/cni-plugins-amd64.tgz"])
    assert names.plain["k8s/kubeadm"] == "/K8S/KUBEADM.;1"
    assert names.plain["kubelet.service"] == "/KUBELET.SERVICE;1"
    assert names.plain["cni/cni-plugins-amd64.tgz"] == "/CNI/CNI_PLUGINS_AMD64.TGZ;1"
    assert names.folders == ("cni", "k8s")


def test_archives_named_by_digest_get_different_names_everywhere() -> None:
    paths = [f"docker/{number:064x}.tar" for number in range(40)]
    names = names_of(paths)
    assert len(set(names.plain.values())) == len(paths) + 1
    assert len(set(names.joliet.values())) == len(paths) + 1
    assert all(len(name) <= len("/docker/") + 64 for name in names.joliet.values())
    assert all(name.endswith(".tar") for path, name in names.joliet.items() if path in paths)


def test_names_that_differ_in_case_only_get_different_joliet_names() -> None:
    names = names_of(["docs/README", "docs/readme"])
    assert len({name.upper() for name in names.joliet.values()}) == 3
    assert len(set(names.plain.values())) == 3


def test_a_folder_and_a_file_never_get_one_name() -> None:
    names = names_of(["a.b/x", "a_b", "A_B."])
    plain = {names.plain[path].removesuffix(";1").removesuffix(".") for path in names.plain}
    assert len(plain) == 4


def test_the_order_of_paths_changes_nothing() -> None:
    paths = [f"f/{'n' * 40}{number % 7}{number}" for number in range(100)]
    shuffled = random.Random(3).sample(paths, len(paths))
    assert names_of(paths) == names_of(shuffled)


@pytest.mark.parametrize("paths", [["a", "a/b"], ["a/b", "a"], ["x/y", "x/y/z", "x/y-"]])
def test_a_file_where_a_folder_is_is_refused(paths: list[str]) -> None:
    with pytest.raises(ValueError, match="is a file and a folder"):
        names_of(paths)


def test_two_entries_for_one_path_are_refused() -> None:
    with pytest.raises(ValueError, match="two entries for the path a/b"):
        names_of(["a/b", "c", "a/b"])


@given(st.lists(PART, min_size=1, max_size=30, unique=True))
def test_all_names_are_allowed_and_unique(parts: list[str]) -> None:
    paths = [f"folder/{part}" for part in parts]
    names = names_of(paths)
    plain = [names.plain[path].rpartition("/")[2] for path in paths]
    joliet = [names.joliet[path].rpartition("/")[2] for path in paths]
    for name in plain:
        assert re.fullmatch(r"[A-Z0-9_]*\.[A-Z0-9_]*;1", name)
        assert len(name) <= 30 + len(".;1")
    for name in joliet:
        assert len(name) <= 64
        assert not re.search(r"[*/:;?\\]", name)
    assert len(set(plain)) == len(paths)
    assert len({name.upper() for name in joliet}) == len(paths)
