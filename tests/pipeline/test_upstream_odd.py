"""What odd days, answers and notes of upstream do to looks and unattended runs."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion
from isobuilder.model.base import canonical_json
from isobuilder.pipeline.upstream.seen import Seen, load_seen
from isobuilder.rules.book import shipped_rules
from isobuilder.rules.fit import Parts
from isobuilder.sources.upstream import answers
from isobuilder.sources.upstream.cves import Cve
from isobuilder.sources.upstream.notices import CheckPolicy, Held, Notice, compare
from isobuilder.sources.upstream.sight import Release, Sight, Trouble
from tests.cli.calling import call
from tests.pipeline.site import DAY, Site, site
from tests.publish.test_webhook import Hook

__all__ = ["site"]

ONE = {"architectures": ["amd64"], "minors": ["1.34"]}
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
    seen = Seen().after(Sight(DAY, cves=cves, components=components))
    assert load_seen(note_of(tmp_path, seen)) == seen
    odd = {"a" * 300: "sha256:" + "0" * 64, "\ud800": "sha256:" + "0" * 64}
    components = {"etcd": (Release(ReleaseVersion("3.6.5"), DAY, odd),)}
    assert Seen().after(Sight(DAY, components=components)).digests == {}


def test_what_a_source_no_longer_names_is_forgotten_and_nothing_while_it_is_down() -> None:
    cves = (Cve("CVE-2025-0001", "", "open", ""),)
    old = Sight(DAY, cves=cves, components={"runc": released("1.3.1", "1.2.9", "1.2.8")})
    seen = Seen().after(old)
    bare = {"runc": (Release(ReleaseVersion("1.3.2"), None),)}
    down = Sight(DAY, components=bare, troubles=(Trouble("runc", "down"),))
    assert seen.after(down) == seen
    later = Sight(
        DAY,
        cves=(Cve("CVE-2025-0002", "", "open", ""),),
        components={"runc": released("1.3.2", "1.2.9")},
    )
    after = seen.after(later)
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


# --- whole runs


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
