"""A real containerd takes the archives of good trees and refuses those of bad ones."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import pytest

from isobuilder.contract.deep import (
    COMPLETE,
    DEEP_RULES,
    IMPORT,
    NAMES,
    Programs,
    import_all,
    installed,
)
from isobuilder.errors import EnvironmentProblem
from isobuilder.model.profile import ProfileName
from tests.contract import trees
from tests.contract.bad_trees import BAD_TREES
from tests.contract.forms import BASE, DOCKER_FORMS, FORMS, Form
from tests.contract.trees import DictMedium, good
from tools.lab.containerd2 import paths
from tools.lab.place import LabError

NO_PROGRAMS = Programs(Path("/nowhere/containerd"), Path("/nowhere/ctr"))


@pytest.fixture(params=["1", "2"])
def programs(request: pytest.FixtureRequest) -> Programs:
    if os.geteuid() != 0:
        pytest.skip("containerd needs root")
    try:
        found = paths()[request.param]
    except LabError as error:
        pytest.skip(str(error))
    return Programs(found["containerd"], found["ctr"])


@pytest.mark.lab
@pytest.mark.parametrize("profile", ["mold-cks", "cloudstack-cks"])
def test_containerd_takes_a_good_tree(programs: Programs, profile: ProfileName) -> None:
    assert import_all(DictMedium(good(profile)), profile=profile, programs=programs) == []


@pytest.mark.lab
def test_containerd_takes_what_docker_saved(programs: Programs) -> None:
    assert import_all(DictMedium(trees.legacy()), profile="mold-cks", programs=programs) == []


@pytest.mark.lab
@pytest.mark.parametrize("form", [*FORMS, *DOCKER_FORMS], ids=str)
@pytest.mark.parametrize("base", [BASE, ""])
def test_containerd_makes_of_an_archive_what_we_say(
    programs: Programs, form: Form, base: str
) -> None:
    tree = {"docker/x.tar": form.data}
    if base:
        tree["docker/images.list"] = f"x.tar {base}\n".encode()
    found = import_all(DictMedium(tree), profile="mold-cks", programs=programs)
    rules = {finding.rule for finding in found}
    if form.name == "no layer":  # only unpacking or a look at what is there finds it
        assert rules == {COMPLETE}
    elif form.with_base is None:
        assert rules == {IMPORT}
    else:
        assert rules == set()


@pytest.mark.lab
def test_a_published_mistake_is_refused_in_containerds_words(programs: Programs) -> None:
    (bad,) = (bad for bad in BAD_TREES if "#13157" in bad.name)
    (found,) = import_all(bad.medium(), profile="mold-cks", programs=programs)
    assert found.rule == IMPORT
    assert found.fact == "containerd refuses it: unrecognized image format"


def test_a_user_who_is_not_root_is_told_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EnvironmentProblem, match="needs root") as refused:
        import_all(DictMedium({}), profile="mold-cks", programs=NO_PROGRAMS)
    assert refused.value.hint == "run the command with sudo, or leave out --deep"


def test_a_machine_without_containerd_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isobuilder.run.shutil.which", lambda *_, **__: None)
    with pytest.raises(EnvironmentProblem, match="containerd: not installed") as refused:
        installed()
    assert refused.value.hint is not None
    assert "apt-get install containerd" in refused.value.hint


def test_too_little_room_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("isobuilder.contract.deep.shutil.disk_usage", lambda _: usage(9, 9, 5))
    with pytest.raises(EnvironmentProblem, match=r"5 bytes free, \d+ needed"):
        import_all(DictMedium(good()), profile="mold-cks", programs=NO_PROGRAMS, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_daemon_that_does_not_start_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    broken = Programs(Path("/bin/false"), Path("/bin/false"))
    with pytest.raises(EnvironmentProblem, match="exit 1"):
        import_all(DictMedium(good()), profile="mold-cks", programs=broken, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_deep_rules_are_told_apart_from_the_others() -> None:
    assert set(DEEP_RULES) == {IMPORT, NAMES, COMPLETE}
