"""The node contract: good trees pass, and each bad one is noticed by the rule it breaks."""

from __future__ import annotations

import io
import random
import time
from typing import BinaryIO

import pytest

from isobuilder.contract.play import RULES, play
from isobuilder.contract.rule import Action, Rule
from isobuilder.errors import IntegrityError
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.profile import ProfileName
from tests.contract import trees
from tests.contract.bad_trees import BAD_TREES, BadTree
from tests.contract.trees import DictMedium, good
from tests.fakes.elf import program

PROFILES: tuple[ProfileName, ...] = ("mold-cks", "mold-cks-csi", "cloudstack-cks")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize("actions", [("create",), ("upgrade",), ("create", "upgrade")])
def test_a_good_tree_has_nothing_to_be_found(
    profile: ProfileName, architecture: str, actions: tuple[Action, ...]
) -> None:
    medium = DictMedium(good(profile, architecture=architecture))
    assert play(medium, profile=profile, actions=actions) == []
    registered = KubeVersion(trees.VERSION)
    assert play(medium, profile=profile, kubernetes=registered, architecture=architecture) == []


@pytest.mark.parametrize("bad", BAD_TREES, ids=str)
def test_a_bad_tree_is_noticed_by_its_rule_and_no_other(bad: BadTree) -> None:
    profile = bad.profile or bad.base
    found = play(bad.medium(), profile=profile, actions=bad.actions)
    assert {finding.rule for finding in found} == {bad.rule}, [str(f) for f in found]
    severity = next(rule.severity for rule in RULES if rule.id == bad.rule)
    assert {finding.severity for finding in found} == {severity}
    assert all("\n" not in str(finding) for finding in found)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_has_a_bad_tree_a_title_and_a_reason(rule: Rule) -> None:
    assert any(bad.rule == rule.id for bad in BAD_TREES)
    assert rule.title
    assert not rule.title.endswith(".")
    assert rule.why.endswith(".")
    assert rule.section in {"A.2", "A.3", "A.4", "A.5", "A.6", "A.7", "A.8", "A.9"} | {
        "A.10",
        "B.4",
        "C.4",
    }


def test_rule_ids_are_unique() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))


def test_an_iso_of_the_old_builder_is_accepted_as_an_apache_node_would() -> None:
    found = play(DictMedium(trees.legacy()), profile="cloudstack-cks")
    assert [finding for finding in found if finding.severity == "error"] == []


def test_an_iso_of_the_old_builder_can_make_a_mold_cluster_but_not_upgrade_one() -> None:
    medium = DictMedium(trees.legacy())
    create = play(medium, profile="mold-cks", actions=("create",))
    assert {finding.severity for finding in create} == {"warning"}
    assert "A.4.no-images-list" in {finding.rule for finding in create}
    upgrade = play(medium, profile="mold-cks", actions=("upgrade",))
    errors = {finding.rule for finding in upgrade if finding.severity == "error"}
    assert errors == {"A.7.provider"}


def test_the_registered_version_is_what_kubeadm_is_compared_with() -> None:
    found = play(DictMedium(good()), profile="mold-cks", kubernetes=KubeVersion("1.34.11"))
    rules = {finding.rule for finding in found}
    assert {"A.6.kubeadm-version", "A.6.program-versions", "A.4.core-images"} == rules
    facts = [finding.fact for finding in found if finding.place == "k8s/kubeadm"]
    assert facts == ["kubeadm 1.34.12, expected 1.34.11"]


def test_the_registered_architecture_is_what_programs_are_compared_with() -> None:
    found = play(DictMedium(good()), profile="mold-cks", architecture="arm64")
    assert {finding.rule for finding in found} == {"A.10.architecture", "A.4.platform"}


def test_older_minors_need_no_access_to_dynamic_resources() -> None:
    tree = good(version="1.33.13")
    tree["autoscaler.yaml"] = tree["autoscaler.yaml"].replace(b"resource.k8s.io", b"x.k8s.io")
    sealed = trees.seal(tree, version="1.33.13")
    assert play(DictMedium(sealed), profile="mold-cks") == []


def test_errors_come_before_warnings() -> None:
    tree = good()
    tree["docker/README.txt"] = b"x"
    del tree["network.yaml"]
    found = play(DictMedium(trees.seal(tree)), profile="mold-cks")
    assert [finding.severity for finding in found] == ["error", "warning"]


def test_an_empty_disc_is_told_what_it_lacks() -> None:
    found = play(DictMedium({}), profile="mold-cks")
    errors = {finding.rule for finding in found if finding.severity == "error"}
    assert errors == {
        "A.3.cni-glob",
        "A.3.crictl-glob",
        "A.3.program-missing",
        "A.3.kubelet-service",
        "A.3.kubeadm-drop-in",
        "A.3.docker-missing",
        "A.6.network",
        "A.9.dashboard",
        "A.9.provider",
    }


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_are_findings_and_never_a_crash(seed: int) -> None:
    chance = random.Random(seed)
    tree = good("mold-cks-csi")
    for path in chance.sample(sorted(tree), 6):
        data = bytearray(tree[path])
        for _ in range(chance.choice([1, 4, 50])):
            at = chance.randrange(len(data))
            data[at] = chance.randrange(256)
        tree[path] = bytes(data[: chance.choice([len(data), len(data), chance.randrange(5000)])])
    play(DictMedium(tree), profile="mold-cks-csi")


class _Unreadable(DictMedium):
    def open(self, path: str) -> BinaryIO:
        raise IntegrityError(f"{path}: its extent lies behind the end of the volume")


def test_a_medium_whose_files_cannot_be_read_gives_findings() -> None:
    found = play(_Unreadable(good()), profile="mold-cks")
    assert {"A.3.program", "A.3.cni-archive", "A.4.archive", "A.6.manifest"} <= {
        finding.rule for finding in found
    }


def test_a_bomb_of_aliases_is_refused_as_kubectl_refuses_it() -> None:
    levels = "".join(
        f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n"
        if n
        else "l0: &l0 {containers: [{image: x}]}\n"
        for n in range(30)
    )
    tree = good()
    tree["network.yaml"] = f"apiVersion: v1\nkind: X\n{levels}".encode()
    found = play(DictMedium(trees.seal(tree)), profile="mold-cks")
    assert {finding.rule for finding in found} == {"A.6.manifest"}
    assert "aliases that make it larger than any real file" in str(found)


def test_without_unpacking_only_the_beginning_of_archives_is_read() -> None:
    plugin = program("arm64", version=None)
    large = {"bandwidth": program() + random.Random(1).randbytes(3_000_000)}
    tree = good()
    tree["cni/cni-plugins-amd64.tgz"] = trees.tar_gz({**large, "loopback": plugin})[:-40]
    medium = DictMedium(trees.seal(tree))
    assert play(medium, profile="mold-cks", unpack=False) == []
    assert [f.rule for f in play(medium, profile="mold-cks")] == ["A.3.cni-archive"]
    tree["cni/cni-plugins-amd64.tgz"] = b"<html>" * 1000
    medium = DictMedium(trees.seal(tree))
    assert [f.rule for f in play(medium, profile="mold-cks", unpack=False)] == ["A.3.cni-archive"]


def test_a_bomb_of_zeros_in_an_archive_of_programs_takes_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isobuilder.medium.MAX_UNPACKED", 20 * 1024 * 1024)
    bomb = trees.tar_gz({"loopback": bytes(30 * 1024 * 1024)})
    tree = good()
    tree["cni/cni-plugins-amd64.tgz"] = bomb
    found = play(DictMedium(trees.seal(tree)), profile="mold-cks")
    assert [finding.rule for finding in found] == ["A.3.cni-archive"]
    assert "more than 20971520 bytes: a node has no room for it" in found[0].fact


def test_a_large_file_is_never_read_whole() -> None:
    sizes = {"docker/images.list": 1 << 40, "SHA256SUMS": 1 << 40, "network.yaml": 1 << 40}
    medium = _Watched(good(), sizes=sizes)
    play(medium, profile="mold-cks")
    assert not set(sizes) & medium.opened


class _Watched(DictMedium):
    def __init__(self, tree: trees.Tree, *, sizes: dict[str, int]) -> None:
        super().__init__(tree, sizes=sizes)
        self.opened: set[str] = set()

    def open(self, path: str) -> BinaryIO:
        self.opened.add(path)
        return io.BytesIO(self.tree[path])


def test_a_joliet_label_that_blkid_would_tell_is_noticed() -> None:
    found = play(DictMedium(good(), other_labels=("OTHER",)), profile="mold-cks")
    assert [(finding.rule, "'OTHER'" in finding.fact) for finding in found] == [("A.2.label", True)]


def test_a_flood_of_lines_in_images_list_is_cut_short() -> None:
    """4 MiB of wrong lines had two findings each: gigabytes and minutes."""
    tree = good()
    tree["docker/images.list"] += b"a b\n" * 1_000_000
    started = time.process_time()
    found = play(DictMedium(trees.seal(tree)), profile="mold-cks")
    assert time.process_time() - started < 10
    assert 100 < len(found) < 700
    assert any("more like it, not listed" in finding.fact for finding in found)
    assert any("10000 lines" in finding.fact for finding in found)
