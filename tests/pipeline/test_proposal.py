"""What a proposal says beside its numbers: what changes, what is missing, and its locks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from isobuilder.demo.content import fill, recipe
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.config import Config
from isobuilder.model.loading import builtin_recipes, load_lock, load_recipe
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.pipeline.upstream.check import added_by, held_by
from isobuilder.pipeline.upstream.proposal import Proposal, propose
from isobuilder.sources.session import Session, open_session
from isobuilder.sources.upstream.look import look
from isobuilder.sources.upstream.sight import Sight
from isobuilder.store import Store
from tests.fakes.timeline import AUTOSCALER, Timeline, provenance
from tests.fakes.upstream import FakeUpstream
from tests.pipeline.last_day import LAST, RECIPES, session, timeline

__all__ = ["session", "timeline"]
OTHER = "0123456789ab" + "c" * 28


def proposal(session: Session, version: str, *, day: date = LAST) -> Proposal:
    held = [one for path in RECIPES for one in held_by(path, [])]
    sight = look(session, day, added=added_by(held))
    return propose(KubeVersion(version), RECIPES, sight)


def only(*versions: str) -> list[Path]:
    return [builtin_recipes() / f"kubernetes-{version}.yaml" for version in versions]


# --- what it means ---


def test_a_patch_tells_what_it_mends_with_the_source(session: Session, timeline: Timeline) -> None:
    timeline.cves = [
        {
            "id": "CVE-2026-11111",
            "summary": "kubelet\nfollows links",
            "status": "fixed",
            "external_url": "https://www.cve.org/cverecord?id=CVE-2026-11111",
            "content_text": "CVSS 7\n#### Affected Versions\n- kubelet <= v1.37.1\n"
            "#### Fixed Versions\n- kubelet v1.37.2\n- kubelet v1.36.6\n#### Detection\nv1.37.9",
        },
        {
            "id": "CVE-2026-22222",
            "summary": "another",
            "content_text": "**Fixed Versions**\n1.30.1",
        },
    ]
    found = proposal(session, "1.37.2")
    mended = [line for line in found.news if line.startswith("mended: CVE-")]
    assert mended == [
        "mended: CVE-2026-11111 in 1.37.2: kubelet follows links "
        "https://www.cve.org/cverecord?id=CVE-2026-11111"
    ]


def test_regressions_that_a_patch_mends_are_told_and_those_that_stay_too() -> None:
    recipes = only("1.34.2")
    later = propose(KubeVersion("1.34.12"), recipes, Sight(LAST))
    assert any(
        line.startswith("mended: Kubernetes 1.34.2: Go standard library CVE-2026-39821")
        for line in later.news
    )
    between = propose(KubeVersion("1.34.9"), recipes, Sight(LAST))
    assert any(
        line.startswith("warning: Kubernetes 1.34.9: Go standard library") for line in between.news
    )
    assert not any(line.startswith("mended: Kubernetes") for line in between.news)


def test_another_minor_tells_what_changes_for_images_configuration_and_nodes() -> None:
    found = propose(KubeVersion("1.37.0"), only("1.36.5"), Sight(LAST))
    assert "images: etcd 3.6.8-0 -> 3.7.0-0" in found.news
    assert "images: CoreDNS v1.14.2 -> v1.14.6" in found.news
    assert not any("pause" in line for line in found.news)
    assert "configuration: kubeadm 1.37.0 no longer reads kubeadm.k8s.io/v1beta3" in found.news
    found = propose(KubeVersion("1.35.9"), only("1.34.12"), Sight(LAST))
    assert any(
        line.startswith("nodes, from 1.35 on: cgroup v2: the kubelet refuses v1")
        for line in found.news
    )


def test_notes_of_the_schedule_on_the_patches_between_are_in_the_proposal(
    session: Session, timeline: Timeline
) -> None:
    timeline.day = date(2026, 3, 11)
    timeline.notes = {"1.35.4": "Out-of-Band release", "1.33.11": "another minor"}
    sight = look(session, timeline.day)
    found = propose(KubeVersion("1.35.4"), only("1.34.12"), sight)
    assert "schedule: 1.35.4: Out-of-Band release" in found.news
    assert not any("another minor" in line for line in found.news)


# --- components of Mold's ---


def test_the_newest_release_for_that_minor_is_taken_with_its_commit(
    session: Session, timeline: Timeline
) -> None:
    timeline.own["autoscaler"] += ["mold-k8s1.37-r2-0123456789ab", "mold-k8s1.36-r9-ffffffffffff"]
    timeline.commits["0123456789ab"] = OTHER
    timeline.beside["mold-k8s1.37-r2-0123456789ab/provenance.json"] = other("1.37")
    found = proposal(session, "1.37.2")
    recipe_of = found.text.splitlines()
    assert f"  autoscaler_sha: {OTHER}" in recipe_of
    assert "  autoscaler_release: mold-k8s1.37-r2-0123456789ab" in recipe_of
    assert "  autoscaler_baseline: cluster-autoscaler-1.37.0" in recipe_of
    assert "  autoscaler_status: stable" in recipe_of
    assert f"  autoscaler_binary_sha: {'d' * 40}" in recipe_of
    assert found.lacks == ()
    assert found.markdown.startswith("# Kubernetes 1.37.2\n")
    assert "built from cluster-autoscaler-1.37.0 (stable)" in found.markdown
    assert "- autoscaler_baseline 1.37-development-source -> cluster-autoscaler-1.37.0" in (
        found.markdown
    )


def other(minor: str, **changes: object) -> bytes:
    built = (f"cluster-autoscaler-{minor}.0", "stable", "d" * 40)
    return provenance(minor, *built, **{"source_sha": OTHER, **changes})


@pytest.mark.parametrize(
    ("body", "fact"),
    [
        (None, "404"),
        (b"<html>", "provenance.json"),
        (b"[]", "source_sha: expected"),
        (other("1.37", source_sha="e" * 40), f"source_sha: expected {OTHER}, got 'eeee"),
        (other("1.36"), "kubernetes_minor: expected 1.37, got '1.36'"),
        (other("1.37", original_baseline="x\n- evil: 1"), "original_baseline: expected a"),
        (other("1.37", baseline_status=7), "baseline_status: expected a name, got '7'"),
        (other("1.37", binary_source_sha="main"), "binary_source_sha: expected a name, got"),
    ],
)
def test_what_a_release_does_not_say_of_its_build_makes_a_candidate(
    session: Session, timeline: Timeline, body: bytes | None, fact: str
) -> None:
    timeline.own["autoscaler"] += ["mold-k8s1.37-r2-0123456789ab"]
    timeline.commits["0123456789ab"] = OTHER
    if body is not None:
        timeline.beside["mold-k8s1.37-r2-0123456789ab/provenance.json"] = body
    held = [one for path in RECIPES for one in held_by(path, [])]
    sight = look(session, LAST, added=added_by(held))
    assert [fact in one.fact for one in sight.troubles if "-r2-" in one.source] == [True]
    found = propose(KubeVersion("1.37.2"), RECIPES, sight)
    names = "autoscaler_baseline, autoscaler_status, autoscaler_binary_sha"
    assert found.lacks == (
        f"autoscaler: {names}: what mold-k8s1.37-r2-0123456789ab was built from could not be read",
    )
    assert "autoscaler_baseline: 1.37-development-source" in found.text
    assert "(candidate)" in found.markdown


def test_a_provider_says_with_which_library_it_was_built(
    session: Session, timeline: Timeline
) -> None:
    tag = f"mold-v1.3.0-r1-{OTHER[:12]}"
    timeline.own["ablestack-kubernetes-provider"] += [tag]
    timeline.commits |= {OTHER[:12]: OTHER, "v2.20.0-mold.1": "f" * 40}
    timeline.beside[f"{tag}/go-modules.txt"] = (
        b"bin/cloudstack-ccm: go1.26.8\n\tpath\tgithub.com/x/cmd/cloudstack-ccm\n"
        b"\tmod\tgithub.com/x\t(devel)\t\n"
        b"\tdep\tgithub.com/ablecloud-team/ablestack-mold-go/v2\tv2.19.2-mold-test.3\n"
        b"\t=>\tgithub.com/ablecloud-team/ablestack-mold-go/v2\tv2.20.0-mold.1\th1:abc=\n"
    )
    found = proposal(session, "1.37.2")
    assert found.lacks == ()
    line = "  provider_sdk: github.com/ablecloud-team/ablestack-mold-go/v2 v2.20.0-mold.1\n"
    assert line in found.text
    assert f"  provider_sdk_sha: {'f' * 40}\n" in found.text
    timeline.beside[f"{tag}/go-modules.txt"] = b"\tdep\tgithub.com/spf13/pflag\tv1.0.5\n"
    assert proposal(session, "1.37.2").lacks == (
        f"provider: provider_sdk, provider_sdk_sha: what {tag} was built from could not be read",
    )


def test_releases_that_recipes_have_are_not_asked_what_they_were_built_from(
    session: Session, timeline: Timeline
) -> None:
    proposal(session, "1.37.2")
    assert not [path for path in timeline.asked if path.startswith("/github/")]


def test_an_autoscaler_of_another_minor_says_what_it_was_built_from(
    session: Session, timeline: Timeline
) -> None:
    tag = f"mold-k8s1.38-r1-{AUTOSCALER[:12]}"
    timeline.own["autoscaler"] += [tag]
    timeline.beside[f"{tag}/provenance.json"] = other("1.38", source_sha=AUTOSCALER)
    for marker in ("stable", "stable-1.38"):
        timeline.faults[f"/dl/release/{marker}.txt"] = (200, {}, b"v1.38.0\n")
    found = proposal(session, "1.38.0")
    assert found.lacks == ()
    assert "  autoscaler_baseline: cluster-autoscaler-1.38.0\n" in found.text


def test_a_release_that_the_recipe_has_already_makes_no_candidate(session: Session) -> None:
    found = proposal(session, "1.37.2")
    assert found.lacks == ()
    assert "autoscaler_sha" not in found.text
    assert "# autoscaler: newest release for 1.37, " in found.text
    assert "| autoscaler | - | newest release for 1.37, " in found.markdown
    reasons = {one.component: one.reason for one in found.added}
    assert reasons["autoscaler"] == f"newest release for 1.37, mold-k8s1.37-r1-{AUTOSCALER[:12]}"
    assert reasons["provider"].startswith("newest release, mold-v1.2.1-r1-")


def test_a_minor_without_an_autoscaler_is_a_candidate_that_says_what_is_missing(
    session: Session,
) -> None:
    found = proposal(session, "1.38.0")
    assert "none for 1.38 among those of ablecloud-team/autoscaler" in found.lacks[0]
    assert "# Candidate: autoscaler: none for 1.38" in found.text
    assert "(candidate)" in found.markdown
    assert found.to_data()["candidate"] is True


@pytest.mark.parametrize("commit", [None, "f" * 40, "main"])
def test_a_release_whose_commit_cannot_be_read_is_not_taken(
    session: Session, timeline: Timeline, commit: str | None
) -> None:
    timeline.own["autoscaler"] += ["mold-k8s1.37-r2-0123456789ab"]
    if commit is not None:
        timeline.commits["0123456789ab"] = commit
    found = proposal(session, "1.37.2")
    assert found.lacks == (
        "autoscaler: the commit of mold-k8s1.37-r2-0123456789ab could not be read",
    )
    assert "autoscaler_sha" not in found.text


def test_what_could_not_be_looked_up_is_kept_for_a_patch_and_missed_for_a_minor() -> None:
    assert propose(KubeVersion("1.37.2"), RECIPES, Sight(LAST)).lacks == ()
    assert propose(KubeVersion("1.38.0"), RECIPES, Sight(LAST)).lacks == (
        "autoscaler: whether there is one for 1.38 was not seen",
    )


@pytest.mark.parametrize(
    ("version", "calico", "reason"),
    [
        ("1.37.2", "3.33.0", "newest patch of 3.33"),
        ("1.37.2", "3.32.0", "3.32.2 is out, newest patch of 3.32; to take it set calico and"),
        ("1.37.2", "3.31.5", "3.33.0 is out, newest patch of 3.33; 3.31.5: 3.31 is no longer"),
        ("1.37.2", "3.99.0", "kept; the newest that was seen is 3.33.0"),
        ("1.38.0", "3.33.0", "newest patch of 3.33; its authors tested 3.33 with 1.35, 1.36, 1"),
    ],
)
def test_the_network_add_on_stays_and_what_is_out_of_it_is_told(
    session: Session, tmp_path: Path, version: str, calico: str, reason: str
) -> None:
    shutil.copytree(builtin_recipes(), tmp_path / "recipes")
    base = tmp_path / "recipes" / "kubernetes-1.37.1.yaml"
    base.write_text(base.read_text().replace('calico: "3.33.0"', f'calico: "{calico}"'))
    found = propose(KubeVersion(version), [base], look(session, LAST))
    told = {one.component: one for one in found.added}["calico"]
    assert str(told.version) == calico
    assert told.reason.startswith(reason)
    assert f"# calico {calico}: {reason}" in found.text
    assert f"calico: {calico}\n" in found.text


def test_releases_of_others_and_odd_tags_are_no_releases(
    session: Session, timeline: Timeline
) -> None:
    path = "/gh/repos/ablecloud-team/autoscaler/releases?per_page=100"
    odd = ["mold-k8s1.37-r1-XYZ", "v1.37.0", "mold-k8s1.37-r999999999999-0123456789ab", 7, None]
    entries = [{"tag_name": tag} for tag in odd] + [
        {"tag_name": "mold-k8s1.37-r3-0123456789ab", "draft": True},
        {"tag_name": "mold-k8s1.37-r3-0123456789ab", "prerelease": True},
        "no entry",
    ]
    timeline.faults[path] = (200, {}, json.dumps(entries).encode())
    found = proposal(session, "1.37.2")
    assert "none for 1.37 among those of" in found.lacks[0]


# --- profiles ---


def test_a_recipe_of_another_profile_leaves_out_what_mold_adds() -> None:
    profile = load_recipe(RECIPES[0]).profile
    other = "cloudstack-cks"
    assert profile != other
    found = propose(KubeVersion("1.37.1"), RECIPES, Sight(LAST), profile="cloudstack-cks")
    assert "autoscaler_" not in found.text
    assert f"extends: base/{other}.yaml\n" in found.text
    assert "# - provider.yaml: the cloud provider is made from it\n" in found.text
    assert "# - autoscaler.yaml: autoscaling uses it\n" in found.text
    assert found.added == ()


# --- locks ---


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[tuple[FakeUpstream, Session, Path]]:
    """Give an upstream with 1.34.9 and 1.34.12, and a locked recipe of the former."""
    with FakeUpstream() as upstream:
        for version in ("1.34.9", "1.34.12"):
            fill(upstream, version)
        base = tmp_path / "kubernetes-1.34.9.yaml"
        base.write_text(recipe().decode().replace('"1.34.12"', '"1.34.9"'))
        config = Config(mirrors=upstream.mirrors, retries=0)
        with open_session(config, Store(tmp_path / "store")) as session:
            lock_recipe(base, "amd64", session)
            yield upstream, session, base


def test_a_written_proposal_is_locked_for_all_architectures_and_tells_what_is_in_it(
    demo: tuple[FakeUpstream, Session, Path],
) -> None:
    _upstream, session, base = demo
    found = propose(KubeVersion("1.34.12"), [base], Sight(LAST))
    path = base.with_name("kubernetes-1.34.12.yaml")
    path.write_text(found.text)
    done = found.locked(path, session)
    assert [load_lock(lock).architecture for lock in done.lock_files] == ["amd64", "arm64"]
    assert done.unlocked == []
    assert any(line.startswith("amd64: image registry.k8s.io/kube-proxy") for line in done.contents)
    assert any(
        line.startswith("amd64: ") and line.endswith(" MiB against 1.34.9")
        for line in done.contents
    )
    assert any(line.startswith("arm64: ") and "images, " in line for line in done.contents)
    assert "## Contents\n" in done.markdown


def test_an_architecture_that_cannot_be_locked_is_told_and_the_other_is_locked(
    demo: tuple[FakeUpstream, Session, Path],
) -> None:
    upstream, session, base = demo
    for served in list(upstream._files):
        if served.endswith("v1.34.12/bin/linux/arm64/kubelet.sha256"):
            del upstream._files[served]
    found = propose(KubeVersion("1.34.12"), [base], Sight(LAST))
    path = base.with_name("kubernetes-1.34.12.yaml")
    path.write_text(found.text)
    done = found.locked(path, session)
    assert [load_lock(lock).architecture for lock in done.lock_files] == ["amd64"]
    (why,) = done.unlocked
    assert why.startswith("arm64: not locked: ")
    assert "kubelet.sha256" in why
    assert f"- {why}" in done.markdown
