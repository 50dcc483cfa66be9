"""Proposals: a recipe for a new version with a reason for each number, and what is remembered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo.content import recipe
from isobuilder.errors import InputError
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.loading import builtin_recipes, load_recipe
from isobuilder.pipeline.fit import parts_of
from isobuilder.pipeline.upstream.check import check_upstream
from isobuilder.pipeline.upstream.proposal import meant, propose
from isobuilder.sources.session import Session
from isobuilder.sources.upstream.look import look
from isobuilder.sources.upstream.notices import CheckPolicy
from isobuilder.sources.upstream.sight import Sight
from tests.fakes.timeline import Timeline, facts
from tests.pipeline.last_day import LAST, RECIPES, session, timeline

__all__ = ["session", "timeline"]


def written(text: str, folder: Path) -> Path:
    """Write a proposal where what it extends is."""
    for path in builtin_recipes().rglob("*.yaml"):
        target = folder / path.relative_to(builtin_recipes())
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    place = folder / "proposed.yaml"
    place.write_text(text)
    return place


@pytest.mark.parametrize("version", ["1.37.2", "1.36.6", "1.35.10"])
def test_the_newest_patches_are_proposed_without_a_hand(
    session: Session, tmp_path: Path, version: str
) -> None:
    proposal = propose(KubeVersion(version), RECIPES, look(session, LAST))
    recipe = load_recipe(written(proposal.text, tmp_path))
    assert str(recipe.kubernetes) == version
    parts = {name: str(one) for name, one in parts_of(recipe).components.items()}
    assert parts["containerd"] == "2.3.7"
    assert parts["runc"] == "1.4.4"
    assert parts["crictl"] == f"{version.rpartition('.')[0]}.0"
    for one in proposal.choices:
        assert one.reason
        assert f"# {one.component} " in proposal.text
        assert f"| {one.component} |" in proposal.markdown


@pytest.mark.parametrize("version", ["1.36.6", "1.35.10", "1.34.13"])
def test_where_a_pairing_is_not_known_the_proposal_says_whom_to_ask(
    session: Session, version: str
) -> None:
    proposal = propose(KubeVersion(version), RECIPES, look(session, LAST))
    assert "etcd" in proposal.text
    assert "ask that kubeadm" in proposal.text


# What a proposal on the day of the release has otherwise than the recipe that is shipped: what is
# proposed, what is shipped, why. The shipped ones took parts that came out after the release, an
# etcd that is not the one kubeadm starts, and a containerd that is too old for 1.37.
PATCH = "newest patch of 2.2"
DIFFERS = {
    "1.34.2": {
        "containerd": ("2.0.7", "2.2.3", "newest patch of 2.0, mended until 2027-03-01"),
        "etcd": ("3.6.5", "3.6.4", "kubeadm 1.34.2 starts 3.6.5-0"),
        "runc": ("1.3.3", "1.4.2", "newest patch of 1.3"),
    },
    "1.34.9": {
        "containerd": ("2.2.4", "2.2.3", PATCH),
        "etcd": ("3.6.5", "3.6.4", "kubeadm 1.34.9 starts 3.6.5-0"),
    },
    "1.34.12": {
        "containerd": ("2.2.8", "2.2.3", PATCH),
        "runc": ("1.4.3", "1.4.2", "newest patch of 1.4"),
    },
    "1.35.9": {
        "containerd": ("2.2.8", "2.2.3", PATCH),
        "runc": ("1.4.3", "1.4.2", "newest patch of 1.4"),
    },
    "1.36.5": {
        "containerd": ("2.2.8", "2.2.3", PATCH),
        "runc": ("1.4.3", "1.4.2", "newest patch of 1.4"),
    },
    "1.37.1": {
        "containerd": (
            "2.3.5",
            "2.2.3",
            "newest patch of 2.3, mended until 2028-04-30; 2.2.3: older than 1.37 needs",
        ),
        "runc": ("1.4.3", "1.4.2", "newest patch of 1.4"),
    },
}


def recipe_before(folder: Path, version: str, parts: Mapping[str, str]) -> list[Path]:
    """Write the recipe one would have had before ``version``: the same parts as it shipped with."""
    place = written((builtin_recipes() / f"kubernetes-{version}.yaml").read_text(), folder)
    text = place.read_text().replace(f'"{version}"', f'"{version.rpartition(".")[0]}.0"')
    own = f'  containerd: "{parts["containerd"]}"\n  runc: "{parts["runc"]}"\n'
    text = re.sub(r"  etcd: .*\n", f'  etcd: "{parts["etcd"]}"\n', text)
    place.write_text(text.replace("vars:\n", f"vars:\n{own}"))
    return [place]


@pytest.mark.parametrize("shipped", facts()["shipped"], ids=lambda row: str(row["kubernetes"]))
def test_a_proposal_made_at_its_day_equals_the_shipped_recipe_or_says_why_not(
    session: Session, timeline: Timeline, tmp_path: Path, shipped: dict[str, Any]
) -> None:
    version, parts = shipped["kubernetes"], shipped["parts"]
    timeline.day = date.fromisoformat(shipped["day"])
    recipes = recipe_before(tmp_path, version, parts)
    proposal = propose(KubeVersion(version), recipes, look(session, timeline.day), hold=0)
    assert {
        one.component: (str(one.version), parts[one.component], one.reason)
        for one in proposal.choices
        if str(one.version) != parts[one.component]
    } == DIFFERS[version]


@pytest.mark.parametrize(
    ("text", "version"),
    [("latest", "1.37.2"), ("1.36", "1.36.6"), ("v1.35.10", "1.35.10"), ("1.37.2", "1.37.2")],
)
def test_what_a_person_calls_a_version_is_understood(
    session: Session, text: str, version: str
) -> None:
    assert str(meant(text, look(session, LAST))) == version


def test_a_minor_that_nobody_saw_is_refused_with_those_that_were_seen(session: Session) -> None:
    with pytest.raises(InputError, match=r"no release of Kubernetes 1\.99 was seen; seen: .*1\.37"):
        meant("1.99", look(session, LAST))
    with pytest.raises(InputError) as refused:
        meant("soon", look(session, LAST))
    assert "latest" in str(refused.value.hint)


def test_what_was_seen_is_remembered_between_looks(session: Session, timeline: Timeline) -> None:
    timeline.day = date(2026, 10, 28)
    first = check_upstream(RECIPES, session, day=timeline.day, policy=CheckPolicy(3))
    assert "1.37.2" in {one.subject for one in first.notices if one.level == "wait"}
    timeline.day = date(2026, 10, 31)
    second = check_upstream(RECIPES, session, day=timeline.day, policy=CheckPolicy(3))
    assert "1.37.2" in {one.subject for one in second.notices if one.level == "todo"}


def test_what_is_told_once_is_told_until_somebody_was_told(
    session: Session, timeline: Timeline
) -> None:
    """A look that is killed before it printed anything must not make the next one silent."""
    timeline.day = date(2026, 4, 15)

    def late() -> list[str]:
        notices = check_upstream(RECIPES, session, day=timeline.day).notices
        return [one.subject for one in notices if one.kind == "late"]

    first = late()
    assert first
    assert late() == first
    check_upstream(RECIPES, session, day=timeline.day).told()
    assert late() == []


def test_a_note_of_earlier_looks_that_is_damaged_is_refused_with_its_place(
    session: Session,
) -> None:
    note = session.store.root / "upstream" / "seen.json"
    note.parent.mkdir(parents=True)
    note.write_text('{"schema": 1, "markers": {"1.37": "soon"}}')
    with pytest.raises(InputError, match=r"seen\.json:1:\d+: markers"):
        check_upstream(RECIPES, session, day=LAST)


def test_a_release_that_is_not_whole_is_waited_for_with_all_that_it_lacks(
    session: Session,
) -> None:
    """The timeline has markers and no files, so everything is missing."""
    result = check_upstream(RECIPES, session, day=LAST, architectures=("amd64", "arm64"))
    (new,) = [one for one in result.notices if one.subject == "1.37.2"]
    assert new.level == "wait"
    files = ", ".join(
        f"{name}{suffix}"
        for name in ("kubeadm", "kubelet", "kubectl")
        for suffix in ("", ".sha256", ".sig", ".cert")
    )
    for arch in ("amd64", "arm64"):
        assert f"{arch}: {files}" in new.fact
        assert "registry.k8s.io/kube-apiserver:v1.37.2" in new.fact
    assert new.fact.count("404") == 2  # once for each architecture, whatever lacks


def test_a_proposal_begins_from_the_highest_revision(tmp_path: Path) -> None:
    text = recipe().decode()
    (first := tmp_path / "kubernetes-1.34.12.yaml").write_text(text)
    (second := tmp_path / "again.yaml").write_text(text.replace("revision: 1", "revision: 2"))
    found = propose(KubeVersion("1.34.13"), [first, second], Sight(date(2026, 10, 29)))
    assert found.base == second


@pytest.mark.parametrize("other", ["variant: gpu", "boot: {os: debian-13}"])
def test_a_proposal_begins_from_what_is_usual_among_recipes_of_a_version(
    other: str, tmp_path: Path
) -> None:
    text = recipe().decode()
    (usual := tmp_path / "kubernetes-1.34.12.yaml").write_text(text)
    (lab := tmp_path / "lab.yaml").write_text(f"{text}\n{other}\n")
    sight = Sight(date(2026, 10, 29))
    assert propose(KubeVersion("1.34.13"), [usual, lab], sight).base == usual
    alone = propose(KubeVersion("1.34.13"), [lab], sight)
    assert alone.base == lab
    assert other.partition(":")[0] in alone.text
