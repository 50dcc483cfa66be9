"""What odd days, answers and notes of upstream do to looks and unattended runs."""

from __future__ import annotations

import json
import os
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from isobuilder.digest import Digest
from isobuilder.documents.mistakes import InputErrors
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion
from isobuilder.http.replies import Reply, Request
from isobuilder.model.base import canonical_json
from isobuilder.pipeline.upstream import publishing
from isobuilder.pipeline.upstream.retire import to_retire
from isobuilder.pipeline.upstream.seen import Seen, load_seen
from isobuilder.publish.index import Published, PublishedIndex, change_index
from isobuilder.rules.book import shipped_rules
from isobuilder.rules.fit import Parts
from isobuilder.sources.upstream import answers
from isobuilder.sources.upstream.cves import Cve, read_cves
from isobuilder.sources.upstream.notices import CheckPolicy, Held, Notice, compare
from isobuilder.sources.upstream.sight import Release, Sight, Trouble
from tests.cli.calling import call
from tests.pipeline.site import DAY, Site, site
from tests.publish.test_webhook import Hook

__all__ = ["site"]

ONE: dict[str, Any] = {"architectures": ["amd64"], "minors": ["1.34"]}
"""What one cell takes."""


def note_of(folder: Path, seen: Seen) -> Path:
    path = folder / "seen.json"
    path.write_bytes(canonical_json(seen.model_dump(mode="json", by_alias=True)))
    return path


def released(*versions: str, files: int = 1) -> tuple[Release, ...]:
    digests = {f"file-{number}": "sha256:" + "0" * 64 for number in range(files)}
    return tuple(Release(ReleaseVersion(text), DAY, digests) for text in versions)


def test_a_note_of_very_large_answers_can_be_read_again(tmp_path: Path) -> None:
    cves = tuple(Cve(f"CVE-2025-{number:07}", "", "open", "") for number in range(60_000))
    components = {"etcd": released("3.6.5", "3.6.4", files=30_000)}
    sight = Sight(DAY, cves=cves, components=components)
    seen = Seen().after(sight).with_told(sight)
    assert load_seen(note_of(tmp_path, seen)) == seen
    odd = {"a" * 300: "sha256:" + "0" * 64, "\ud800": "sha256:" + "0" * 64}
    components = {"etcd": (Release(ReleaseVersion("3.6.5"), DAY, odd),)}
    assert Seen().after(Sight(DAY, components=components)).digests == {}


def test_what_a_source_no_longer_names_is_forgotten_and_nothing_while_it_is_down() -> None:
    cves = (Cve("CVE-2025-0001", "", "open", ""),)
    old = Sight(DAY, cves=cves, components={"runc": released("1.3.1", "1.2.9", "1.2.8")})
    seen = Seen().after(old).with_told(old)
    bare = {"runc": (Release(ReleaseVersion("1.3.2"), None),)}
    down = Sight(DAY, components=bare, troubles=(Trouble("runc", "down"),))
    assert seen.after(down).with_told(down) == seen
    later = Sight(
        DAY,
        cves=(Cve("CVE-2025-0002", "", "open", ""),),
        components={"runc": released("1.3.2", "1.2.9")},
    )
    after = seen.after(later).with_told(later)
    assert after.told == ("cve CVE-2025-0002",)
    # 1.3.1 lacks between those that are there: it may come back as another.
    assert [key.split()[1] for key in after.digests] == ["1.3.1", "1.2.9", "1.3.2"]


def test_a_note_that_is_damaged_is_told_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    path.write_text('{"schema": 2}')
    with pytest.raises(InputErrors) as refused:
        load_seen(path)
    assert refused.value.hint == "take it away, and days are counted anew from the next look"


# --- days


HELD = (Held("mine.yaml", Parts(KubeVersion("1.34.8"), {}, pins_pause=True)),)
NEW = ReleaseVersion("1.34.9")


def new(sight: Sight, seen: Seen, hold: int = 3) -> Notice:
    notices = compare(sight, HELD, shipped_rules(), seen.before, CheckPolicy(hold))
    (one,) = [one for one in notices if one.subject == str(NEW)]
    return one


@pytest.mark.parametrize("day", ["9999-12-31T00:00:00Z", "2156-01-01"])
def test_a_day_that_nothing_can_be_of_is_none(day: str) -> None:
    assert answers.module_day(f'{{"Time": "{day}"}}'.encode(), "x") is None
    release = f'[{{"tag_name": "v1.0.0", "published_at": "{day}"}}]'
    assert answers.github_releases(release.encode(), "x")[0].day is None


def test_a_first_sight_that_is_still_to_come_is_of_today() -> None:
    sight = Sight(DAY, markers={"1.34": NEW})
    one = new(sight, Seen(first={str(NEW): date(9999, 12, 31)}))
    assert (one.level, one.hint) == ("wait", "held until 2026-06-23")
    assert f"first seen on {DAY}" in one.fact


def test_a_clock_that_was_wrong_once_holds_nothing_for_ever() -> None:
    markers = {"1.34": NEW}
    ahead = date(2099, 1, 1)
    wrong = Sight(ahead, markers=markers, clock_off=ahead - DAY)
    assert Seen().after(wrong).first == {}
    unknown = Seen().after(Sight(ahead, markers=markers))
    assert unknown.first == {str(NEW): ahead}
    assert unknown.after(Sight(DAY, markers=markers)) == unknown
    right = unknown.after(Sight(DAY, markers=markers, clock_off=timedelta(minutes=5)))
    assert right.first == {str(NEW): DAY}
    later = Sight(DAY + timedelta(days=3), markers=markers)
    assert new(later, right).level == "todo"
    notices = compare(later, HELD, shipped_rules(), right.before, CheckPolicy(3))
    assert "clock" not in {one.kind for one in notices}


def test_an_end_that_never_comes_retires_nothing(site: Site) -> None:
    (row,) = [one for one in shipped_rules().minors if one.minor == "1.34"]
    rows = (row.model_copy(update={"end": date(9999, 12, 31)}),)
    rules = shipped_rules().model_copy(update={"minors": rows})
    digest = Digest("sha256:" + "0" * 64)
    entry = Published(
        name="kubernetes-v1.34.8-standalone-amd64-r1.iso",
        kubernetes=KubeVersion("1.34.8"),
        profile="standalone",
        architecture="amd64",
        revision=1,
        sha256=digest,
        size=1,
        lock=digest,
    )
    policy = site.policy(retire={"ended_days": 30})
    index = PublishedIndex(isos=(entry,))
    assert to_retire(index, policy, rules, DAY) == {}
    ended = row.end
    assert ended is not None
    assert not to_retire(index, policy, shipped_rules(), ended + timedelta(days=30))
    assert list(to_retire(index, policy, shipped_rules(), ended + timedelta(days=31))) == [entry]


# --- answers


def feed(text: str) -> bytes:
    return json.dumps({"items": [{"id": "CVE-2025-0001", "content_text": text}]}).encode()


def test_a_text_of_a_vulnerability_that_is_all_headings_costs_little() -> None:
    begun = time.process_time()
    (one,) = read_cves(feed("fixed versions 1.1.1\n" * 150_000), "x")
    assert time.process_time() - begun < 5
    assert [str(version) for version in one.fixed] == ["1.1.1"]
    (one,) = read_cves(feed("Fixed versions\n- 1.1.1\nFixed in version 1.2.2\n- 1.3.3"), "x")
    assert [str(version) for version in one.fixed] == ["1.1.1", "1.2.2", "1.3.3"]


# --- whole runs


def answers_of(site: Site, texts: dict[str, str]) -> None:
    """Let the upstream answer what it has not by itself, by a part of the path."""

    def answer(request: Request, _reply: Reply) -> Reply | None:
        found = (text for part, text in texts.items() if part in request.path)
        text = next(found, None)
        return None if text is None else Reply(200, {}, text.encode())

    site.upstream.hooks.append(answer)


def test_hold_days_of_a_policy_are_for_components_too(site: Site) -> None:
    site.release("1.34.9")
    of_containerd = [
        {"tag_name": f"v{version}", "published_at": f"{day}T00:00:00Z"}
        for version, day in (("2.3.6", "2026-06-18"), ("2.3.4", "2026-01-01"))
    ]
    answers_of(
        site,
        {
            "repos/containerd/containerd/releases": json.dumps(of_containerd),
            "k8s.io/kubernetes/@v/list": "v1.34.8\nv1.34.9\n",
            "v1.34.9.info": '{"Time": "2026-01-01T00:00:00Z"}',
        },
    )
    report = site.run(**ONE, publish=None, hold_days=30, known_bad=True)
    (step,) = [one for one in report.steps if one.step == "propose" and one.state == "done"]
    assert "Kubernetes 1.34.8 -> 1.34.9" in step.fact
    assert "containerd" not in step.fact


def test_a_minor_that_a_policy_names_is_not_passed_over_below_those_of_recipes(site: Site) -> None:
    (site.recipes / "kubernetes-1.33.12.yaml").unlink()
    policy: dict[str, Any] = {"architectures": ["amd64"], "publish": None, "ended_minors": True}
    assert not [one for one in site.run(**policy).steps if "1.33" in one.subject]
    report = site.run(**policy, minors=["1.33", "1.34"])
    (step,) = [one for one in report.steps if one.subject == "1.33.12"]
    assert step.step == "propose"
    assert "only a candidate: autoscaler" in step.fact  # which this upstream does not have


@pytest.mark.parametrize("retired", [False, True])
def test_what_a_killed_run_left_of_a_published_iso_goes_away(
    site: Site, monkeypatch: pytest.MonkeyPatch, retired: bool
) -> None:
    def change(*arguments: Any) -> None:
        change_index(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "change_index", change)
        with pytest.raises(KeyboardInterrupt):
            site.run(**ONE)
    work = site.published / ".work"
    assert list(work.glob("*.iso"))
    if retired:
        site.run(day=date(2026, 12, 1), **ONE, retire={"ended_days": 30})
        assert site.names() == []
    else:
        site.run(**ONE)
        assert len(site.names()) == 1
    assert [path.name for path in work.iterdir() if path.name != ".lock"] == []


def test_a_recipe_whose_name_is_no_text_is_told_and_keeps_nothing_else(site: Site) -> None:
    odd = os.fsencode(site.recipes) + b"/k\xff.yaml"
    Path(os.fsdecode(odd)).write_text("x: [")
    site.policy(**ONE, publish=None, ended_minors=True)
    arguments = ("upstream", "sync", site.folder / "policy.yaml", "--config", site.settings())
    report, mail = site.folder / "report.md", site.folder / "mail"
    call(*arguments, "--report", report, "--mail", mail, code=7)
    assert "- k\\udcff.yaml: recipe: " in report.read_text()
    assert "- 1.34.8 amd64: lock: " in report.read_text()
    assert mail.exists()
    call("upstream", "check", "--recipes", site.recipes, "--config", site.settings(), "--json")


def test_a_look_that_fails_is_told_and_keeps_nothing_that_was_begun(site: Site) -> None:
    site.release("1.34.9")
    note = site.folder / "store" / "upstream" / "seen.json"
    note.parent.mkdir(parents=True)
    note.write_text('{"schema": 2}')
    report = site.folder / "report.md"
    report.write_text("# Sync of yesterday: 0 done, 0 failed\n")
    with Hook() as hook:
        site.policy(webhook={"url": hook.url}, ended_minors=True, retire={"patches": 1}, **ONE)
        arguments = ("upstream", "sync", site.folder / "policy.yaml", "--config", site.settings())
        call(*arguments, "--report", report, code=7)
        [(_request, body)] = hook.came
    steps = json.loads(body)["steps"]
    (failed,) = [one for one in steps if one["state"] == "failed"]
    assert (failed["subject"], failed["step"]) == ("upstream", "look")
    assert "seen.json:1:" in failed["fact"]
    assert failed["fact"].endswith("take it away, and days are counted anew from the next look")
    assert "1 failed" in report.read_text()
    assert site.names() == ["kubernetes-v1.34.8-mold-cks-amd64-r1.iso"]
