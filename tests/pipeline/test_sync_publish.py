"""What an unattended run publishes, tells and takes away, and what it does when places fail."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo.mold.cloud import CloudCluster
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, UpstreamError
from isobuilder.files import locked
from isobuilder.http.replies import Reply, Request
from isobuilder.model.policy import SyncPolicy
from isobuilder.mold.api.credentials import ApiKey, MoldServer
from isobuilder.pipeline.sync import sync
from isobuilder.pipeline.upstream.report import Journal, SyncStep
from isobuilder.publish.index import read_index
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from tests.cli.calling import call
from tests.fakes.mold import FakeMold
from tests.fakes.upstream import FakeUpstream
from tests.fakes.versity import ACCESS, BUCKET, MISSING, PROGRAM, SECRET, versity
from tests.mold.conftest import ClientOf, client_of, clock, cloud, simulator
from tests.pipeline.site import DAY, Site, done, site
from tests.publish.test_webhook import Hook

__all__ = ["client_of", "clock", "cloud", "simulator", "site"]

ONE: dict[str, Any] = {"architectures": ["amd64"], "minors": ["1.34"]}
"""What one cell takes."""


@pytest.mark.lab
@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_a_bucket_is_published_to_and_registered_from(
    site: Site,
    simulator: FakeMold,
    client_of: ClientOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    lab = client_of(simulator)
    with versity(tmp_path / "s3") as server:
        # What the bucket holds, seen without a login.
        site.published.rmdir()
        site.published.symlink_to(server.folder / "team")
        bucket = {"name": BUCKET, "prefix": "team", "endpoint": server.url}
        publish = {"s3": bucket, "url": f"http://127.0.0.1:{site.web.server_port}"}
        report = site.run([lab], publish=publish, **ONE)
        assert report.failed == []
        assert [step for _, step in done(report)] == ["lock", "publish", "register"]
        [entry] = read_index(server.folder / "team").isos
        assert Digest.of_file(server.folder / "team" / entry.name) == entry.sha256
        assert len(simulator.cloud.versions) == 1
        asked = len(server.actions())
        assert "PutObject" in server.actions()
        assert done(site.run([lab], publish=publish, **ONE)) == []
        assert set(server.actions()[asked:]) == {"GetObject", "HeadObject"}


def test_a_run_with_nothing_to_do_is_quick_and_only_asks(
    site: Site, simulator: FakeMold, client_of: ClientOf
) -> None:
    lab = client_of(simulator)
    begun = time.process_time()
    site.run([lab], **ONE)
    first = time.process_time() - begun
    settings = site.settings()
    site.policy(**{**ONE, "ended_minors": True})
    asked, called = len(site.upstream.log), len(simulator.log)
    before = {path: path.stat().st_mtime_ns for path in site.published.rglob("*")}
    begun = time.process_time()
    assert done(site.run([lab], **ONE)) == []
    second = time.process_time() - begun
    call("upstream", "sync", site.folder / "policy.yaml", "--config", settings)
    assert {line.method for line in site.upstream.log[asked:]} <= {"GET", "HEAD"}
    assert {one.command[:4] for one in simulator.log[called:]} <= {"list"}
    assert {path: path.stat().st_mtime_ns for path in site.published.rglob("*")} == before
    assert second < first / 2


# --- what is told


def test_a_webhook_gets_what_a_run_did_and_nothing_when_it_did_nothing(site: Site) -> None:
    secret = site.folder / "hook.secret"
    secret.write_text("s3cret-of-the-hook\n")
    with Hook() as hook:
        webhook = {"url": hook.url, "secret_file": "hook.secret"}
        report = site.run(webhook=webhook, **ONE)
        assert done(site.run(webhook=webhook, **ONE)) == []
    [(request, body)] = hook.came
    told = json.loads(body)
    assert told["steps"] == report.to_data()["steps"]
    assert told["text"] == "Sync of 2026-06-20: 2 done, 0 failed"
    assert "x-hub-signature-256" in request.headers


def test_what_no_webhook_took_is_told_by_the_next_run(site: Site) -> None:
    with Hook(404) as hook:
        webhook = {"url": hook.url}
        first = site.run(webhook=webhook, **ONE)
        assert [step.step for step in first.failed] == ["webhook"]
        second = site.run(webhook=webhook, **ONE)
        assert done(second) == [("1.34.8 amd64", "lock"), ("1.34.8 amd64", "publish")]
        assert second.failed == []
        site.run(webhook=webhook, **ONE)
    assert len(hook.came) == 2


def test_what_a_killed_run_did_is_in_the_next_ones_report(site: Site) -> None:
    step = SyncStep(subject="1.34.7 amd64", step="publish", state="done", fact="x.iso")
    Journal(site.recipes / ".sync.journal").note(step)
    report = site.run(**ONE)
    assert report.steps[0] == step
    assert site.run(**ONE).changed == []


def test_a_journal_that_is_damaged_is_told_and_left(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    (site.recipes / ".sync.journal").write_text("{")
    assert site.run(**ONE).failed == []
    assert "what an earlier run did is not told" in caplog.text


def test_the_report_is_a_mail_that_any_server_takes(site: Site) -> None:
    site.policy(**{**ONE, "ended_minors": True})
    (site.recipes / "한글.yaml").write_text("kubernetes: soon\n")
    mail = site.folder / "report.eml"
    arguments = ("upstream", "sync", site.folder / "policy.yaml", "--config", site.settings())
    printed = call(*arguments, "--mail", mail, code=7).stdout
    data = mail.read_bytes()
    message = message_from_bytes(data, policy=default)
    assert message["Subject"].startswith("isobuilder: Sync of ")
    assert message.get_content().splitlines() == printed.splitlines()
    assert "한글.yaml" in message.get_content()
    assert max(map(len, data.split(b"\r\n"))) < 998
    assert data.isascii()


# --- places and servers that fail


def test_a_server_that_is_down_keeps_no_other_from_its_version(
    site: Site, simulator: FakeMold, client_of: ClientOf
) -> None:
    down = MoldServer("down", "http://127.0.0.1:9/client/api", ApiKey("key-0123", "secret-0123"))
    servers = [client_of(simulator), client_of(simulator, server=down)]
    lost = [("gone", UpstreamError("gone: no keys"))]
    report = site.run(servers, without=lost, **ONE)
    assert len(simulator.cloud.versions) == 1
    assert ("1.34.8 amd64", "register") in done(report)
    assert [(one.subject, one.fact.split(":")[0]) for one in report.failed] == [
        ("gone", "gone"),
        ("1.34.8 amd64", "down"),
    ]


def test_nothing_is_called_registered_while_the_only_server_is_down(
    site: Site, simulator: FakeMold, client_of: ClientOf
) -> None:
    lab = client_of(simulator)
    simulator.go_down(10_000)
    for _ in range(2):
        report = site.run([lab], **ONE)
        assert [one.step for one in report.failed] == ["register"]
        assert "register" not in [step for _, step in done(report)]
    simulator.down_until = 0.0
    assert ("1.34.8 amd64", "register") in done(site.run([lab], **ONE))


def test_a_published_folder_that_cannot_be_keeps_nothing_else_from_its_turn(site: Site) -> None:
    site.release("1.34.9")
    site.published.rmdir()
    site.published.write_text("a file in its place")
    report = site.run(**ONE)
    assert done(report) == [("1.34.9", "propose"), ("1.34.9 amd64", "lock")]
    (failed,) = report.failed
    assert failed.step == "publish"
    assert str(site.published) in failed.fact


def test_a_published_folder_that_is_full_is_told_and_filled_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "hardlink_to", full)
        report = site.run(**ONE)
    (failed,) = report.failed
    assert "No space left on device" in failed.fact
    assert site.names() == []
    assert done(site.run(**ONE)) == [("1.34.8 amd64", "publish")]


def test_a_clock_that_is_wrong_begins_nothing_and_takes_nothing_away(site: Site) -> None:
    site.release("1.34.9")

    def years_ago(_request: Request, reply: Reply) -> None:
        reply.headers["Date"] = "Sat, 28 Nov 2020 10:00:00 GMT"

    site.upstream.hooks.append(years_ago)
    report = site.run(**ONE)
    (failed,) = report.failed
    assert failed.subject == "clock"
    assert "days ahead of upstream's: nothing new is begun" in failed.fact
    assert ("1.34.9", "waits") in [(one.subject, one.state) for one in report.steps]
    assert done(report) == [("1.34.8 amd64", "lock"), ("1.34.8 amd64", "publish")]
    site.upstream.hooks.clear()
    assert ("1.34.9", "propose") in done(site.run(**ONE))


def test_a_shared_store_that_is_down_is_in_the_report(site: Site) -> None:
    site.remote_store = "oci://127.0.0.1:9/shared"
    report = site.run(**ONE)
    assert report.failed == []
    assert [one.kind for one in report.notices if one.subject == site.remote_store] == [
        "shared-store"
    ]


def waiting_for(path: Path) -> int:
    """Return how many wait for the lock of a file, as the kernel tells."""
    inode = f":{path.stat().st_ino}"
    lines = Path("/proc/locks").read_text().splitlines()
    return sum("->" in line and inode in line for line in lines)


def test_two_syncs_of_one_place_build_an_iso_once(site: Site, tmp_path: Path) -> None:
    """Two machines that share the published folder and nothing else."""
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other", site.upstream)
    publish = {"folder": str(site.published), "url": "http://isos.example"}
    lock = site.published / ".work" / ".lock"
    with ThreadPoolExecutor(2) as pool:
        with locked(lock):
            runs = [pool.submit(one.run, **ONE, publish=publish) for one in (site, other)]
            while waiting_for(lock) < 2:  # both found nothing published
                assert not any(run.done() for run in runs)
                time.sleep(0.05)
        reports = [run.result() for run in runs]
    other.web.shutdown()
    other.web.server_close()
    steps = [step for report in reports for step in report.steps if step.step == "publish"]
    assert sorted(step.state for step in steps) == ["done", "kept"]
    assert len(site.names()) == 1


def failures(site: Site, policy: SyncPolicy) -> list[str]:
    """Return what a run says of what went wrong."""
    try:
        with open_session(site.config, Store(site.folder / "store")) as session:
            return [one.fact for one in sync(policy, session, day=DAY).failed]
    except EnvironmentProblem as problem:
        return [str(problem)]


def test_a_disk_that_fills_up_at_any_moment_is_told_and_done_later(small_disk: Path) -> None:
    """Recipes, store and what is published lie on one small disk, of which others take some."""
    with FakeUpstream() as upstream:
        (small_disk / "site").mkdir()
        site = Site(small_disk / "site", upstream)
        policy = site.policy(**ONE)
        for left in (0, 60_000, 200_000, 350_000, 500_000):
            statistics = os.statvfs(small_disk)
            free = statistics.f_bavail * statistics.f_frsize
            (small_disk / "others").write_bytes(bytes(max(0, free - left)))
            for fact in failures(site, policy):
                assert "No space left" in fact or "free" in fact, fact
            for path in site.published.glob("*.iso"):
                told = path.with_name(f"{path.name}.sha256").read_text().split()[0]
                assert Digest.of_file(path).hex == told
            (small_disk / "others").unlink()
        assert site.run(**ONE).failed == []
        assert len(site.names()) == 1
        assert done(site.run(**ONE)) == []
        site.web.shutdown()
        site.web.server_close()


# --- what is taken away


def test_old_patches_are_disabled_and_taken_away(
    site: Site, simulator: FakeMold, client_of: ClientOf
) -> None:
    lab = client_of(simulator)
    policy = {**ONE, "retire": {"patches": 1}}
    site.run([lab], **policy)
    [old] = site.names()
    site.release("1.34.9")
    report = site.run([lab], **policy)
    assert ("kubernetes-v1.34.8-mold-cks-amd64-r1", "retire") in done(report)
    assert site.names() == ["kubernetes-v1.34.9-mold-cks-amd64-r1.iso"]
    assert not list(site.published.glob("*1.34.8*"))
    states = {one.semver: one.state for one in simulator.cloud.versions.values()}
    assert states == {"1.34.8": "Disabled", "1.34.9": "Enabled"}
    [gone] = read_index(site.published).retired
    assert (gone.name, gone.removed) == (old, True)
    assert done(site.run([lab], **policy)) == []


def test_a_version_that_clusters_use_is_not_deleted(
    site: Site, simulator: FakeMold, client_of: ClientOf
) -> None:
    lab = client_of(simulator)
    policy = {**ONE, "retire": {"patches": 1, "servers": "delete"}}
    site.run([lab], **policy)
    [version] = simulator.cloud.versions.values()
    cluster = CloudCluster("web", version.id, simulator.cloud.zones[0])
    simulator.cloud.clusters.append(cluster)
    site.release("1.34.9")
    report = site.run([lab], **policy)
    (waits,) = [one for one in report.steps if one.state == "waits"]
    assert "is used by web" in waits.fact
    assert len(site.names()) == 2
    simulator.cloud.clusters.remove(cluster)
    site.run([lab], **policy)
    assert [one.semver for one in simulator.cloud.versions.values()] == ["1.34.9"]
    assert len(site.names()) == 1


def test_nothing_is_taken_away_while_a_server_cannot_be_asked_or_in_a_freeze(site: Site) -> None:
    policy = {**ONE, "retire": {"patches": 1}}
    site.run(**policy)
    site.release("1.34.9")
    lost = [("gone", UpstreamError("gone: no keys"))]
    report = site.run(without=lost, **policy)
    assert [one.fact for one in report.steps if one.state == "waits"] == [
        "not every server could be asked"
    ]
    freeze = {"first": str(DAY), "last": str(DAY)}
    site.run(**policy, freezes=[freeze])
    assert len(site.names()) == 2


def raise_revision(site: Site, number: int) -> None:
    path = site.recipes / "kubernetes-1.34.8.yaml"
    text = path.read_text()
    path.write_text(text.replace(f"revision: {number - 1}", f"revision: {number}"))
    path.with_suffix(".amd64.lock.json").unlink(missing_ok=True)


def test_so_many_old_revisions_stay(site: Site) -> None:
    for number in (1, 2, 3):
        if number > 1:
            raise_revision(site, number)
        site.run(**ONE, keep_revisions=1)
    assert [name[-6:] for name in site.names()] == ["r2.iso", "r3.iso"]
    [gone] = read_index(site.published).retired
    assert gone.why == "r3 is published"


def test_a_name_that_was_taken_away_is_not_given_to_other_bytes(site: Site) -> None:
    site.run(**ONE)
    raise_revision(site, 2)
    site.run(**ONE, keep_revisions=0)
    path = site.recipes / "kubernetes-1.34.8.yaml"
    path.write_text(path.read_text().replace("revision: 2", "revision: 1") + "# other\n")
    text = path.read_text().replace("min_memory_mb: 2048", "min_memory_mb: 4096")
    path.write_text(text)
    path.with_suffix(".amd64.lock.json").unlink()
    (failed,) = site.run(**ONE, keep_revisions=0).failed
    assert "was the name of sha256:" in failed.fact


def test_what_upstream_no_longer_mends_is_taken_away_after_some_days(site: Site) -> None:
    site.run(**ONE)
    after = date(2026, 11, 20)  # the support of 1.34 ended on 27 October
    assert len(site.names()) == 1
    site.run(day=after, **ONE, retire={"ended_days": 30})
    assert len(site.names()) == 1
    report = site.run(day=date(2026, 12, 1), **ONE, retire={"ended_days": 30})
    assert site.names() == []
    assert ("kubernetes-v1.34.8-mold-cks-amd64-r1", "retire") in done(report)


def test_files_of_what_was_taken_away_go_although_a_run_was_killed_before(site: Site) -> None:
    site.run(**ONE)
    path = site.published / "index.json"
    data = json.loads(path.read_text())
    [entry] = data["isos"]
    gone = {key: entry[key] for key in ("name", "sha256", "lock")}
    gone |= {"day": "2026-06-01", "why": "x", "removed": False}
    path.write_text(json.dumps({"isos": [], "retired": [gone]}))
    report = site.run(**ONE)
    assert not list(site.published.glob("*.iso*"))
    assert ("kubernetes-v1.34.8-mold-cks-amd64-r1", "retire") in done(report)
    assert (site.published / "SHA256SUMS").read_bytes() == b""
