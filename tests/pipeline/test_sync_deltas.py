"""An unattended run publishes deltas beside ISOs, once, and tells of those that are damaged."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isobuilder.digest import Digest
from isobuilder.mold.catalogue import read_registration
from isobuilder.mold.register import register
from isobuilder.mold.request import RegistrationRequest
from isobuilder.publish.index import read_index
from isobuilder.site.server import SiteServer
from isobuilder.site.shelf import Shelf
from tests.cli.calling import call
from tests.fakes.mold import FakeMold
from tests.fakes.upstream import FakeUpstream
from tests.mold.conftest import ClientOf, client_of, clock, cloud, simulator
from tests.pipeline.site import DAY, Site, done
from tests.pipeline.test_sync import KILLS

__all__ = ["client_of", "clock", "cloud", "simulator"]

ONE: dict[str, Any] = {"architectures": ["amd64"], "minors": ["1.34"], "deltas": 2}
ROUNDS = -(-KILLS // 4)
NAMES = [f"kubernetes-v1.34.{patch}-mold-cks-amd64-r1.iso" for patch in (8, 9)]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A published folder with the ISO of one release; its upstream has another one by now."""
    with FakeUpstream() as upstream:
        made = Site(tmp_path_factory.mktemp("before"), upstream)
        made.run(**{**ONE, "deltas": 0})
        made.release("1.34.9")
        yield made
        made.web.shutdown()
        made.web.server_close()


@pytest.fixture
def site(before: Site, tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, before.upstream)
    made.release("1.34.9")
    for name in ("recipes", "published", "store"):
        shutil.copytree(before.folder / name, tmp_path / name, dirs_exist_ok=True)
    yield made
    made.web.shutdown()
    made.web.server_close()


def test_deltas_are_published_once_and_lead_to_what_servers_know(
    site: Site, simulator: FakeMold, client_of: ClientOf, tmp_path: Path
) -> None:
    """What a site makes with a published delta is registered with its published registration."""
    report = site.run(**ONE)
    assert report.failed == []
    assert ("1.34.9 amd64 from v1.34.8-r1", "delta") in done(report)
    [delta] = read_index(site.published).deltas
    assert (delta.old, delta.new) == tuple(NAMES)
    assert delta.size < (site.published / delta.new).stat().st_size / 10
    inside = tmp_path / "inside"
    inside.mkdir()
    for name in (delta.name, delta.old):
        shutil.copy(site.published / name, inside)
    made = inside / delta.new
    call("site", "apply", inside / delta.old, inside / delta.name, "--out", made)
    registration, iso = read_registration(made)
    assert iso == made
    side = f"{made.stem}.registration.json"
    assert (inside / side).read_bytes() == (site.published / side).read_bytes()
    shelf = Shelf([made])
    shelf.open()
    with SiteServer(shelf) as server:
        url = f"http://127.0.0.1:{server.port}/isos/{made.name}"
        register([client_of(simulator)], RegistrationRequest(registration, url=url, iso=made))
    [version] = simulator.cloud.versions.values()
    assert version.semver == "1.34.9"
    assert version.checksum.endswith(delta.new_sha256.hex)


def test_a_run_with_nothing_to_do_makes_no_delta_again_and_is_quick(site: Site) -> None:
    begun = time.process_time()
    site.run(**ONE)
    before = {path: path.stat().st_mtime_ns for path in site.published.rglob("*")}
    first, begun = time.process_time() - begun, time.process_time()
    again = site.run(**ONE)
    second = time.process_time() - begun
    assert (done(again), again.failed) == ([], [])
    assert {path: path.stat().st_mtime_ns for path in site.published.rglob("*")} == before
    assert second < first / 2


def test_deltas_are_begun_for_what_was_published_without_them(site: Site) -> None:
    site.run(**{**ONE, "deltas": 0})
    assert read_index(site.published).deltas == ()
    assert done(site.run(**ONE)) == [("1.34.9 amd64 from v1.34.8-r1", "delta")]


def test_a_delta_outlives_what_it_is_made_from_and_goes_with_what_it_makes(site: Site) -> None:
    policy = {**ONE, "deltas": 1, "retire": {"patches": 1}}
    site.run(**policy)
    assert site.names() == NAMES[1:]
    [delta] = read_index(site.published).deltas
    assert (site.published / delta.name).is_file()
    assert done(site.run(**policy)) == []
    site.run(**policy | {"deltas": 0, "retire": {"ended_days": 0}}, day=DAY.replace(year=2027))
    assert site.names() == []
    assert read_index(site.published).deltas == ()
    assert not list(site.published.glob("*.delta"))


def test_what_stands_in_the_way_of_a_delta_keeps_nothing_else_from_its_turn(site: Site) -> None:
    old = site.published / NAMES[0]
    old.unlink()
    report = site.run(**ONE)
    (failed,) = report.failed
    assert (failed.subject, failed.step) == ("1.34.9 amd64 from v1.34.8-r1", "delta")
    assert f"{NAMES[0]}: is not there" in failed.fact
    assert ("1.34.9 amd64", "publish") in done(report)
    assert site.names() == NAMES


def test_a_damaged_delta_fails_the_run_until_it_is_taken_away(site: Site) -> None:
    site.run(**ONE)
    [delta] = read_index(site.published).deltas
    path = site.published / delta.name
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        report = site.run(**ONE)
        assert [(one.subject, one.step) for one in report.failed] == [(delta.name, "delta")]
        assert path.read_bytes() == data
    path.unlink()
    report = site.run(**ONE)
    assert (report.failed, read_index(site.published).deltas) == ([], (delta,))


@pytest.mark.slow
@pytest.mark.timeout(600 + 120 * ROUNDS)
def test_a_run_that_is_killed_at_any_moment_ends_with_the_same_deltas(site: Site) -> None:
    site.run(**{**ONE, "deltas": 0})
    start = {path.name: path.read_bytes() for path in site.published.glob("*.json")}
    code = (
        "import datetime, pathlib, sys\nimport isobuilder\n"
        "from isobuilder.model.policy import read_policy\n"
        "from isobuilder.pipeline.sync import sync\n"
        "policy, settings = (pathlib.Path(text) for text in sys.argv[1:])\n"
        "with isobuilder.open_session(isobuilder.read_config(settings)) as session:\n"
        f"    report = sync(read_policy(policy), session, day=datetime.date({DAY:%Y, %-m, %-d}))\n"
        "sys.exit(len(report.failed))\n"
    )
    settings = site.settings()
    site.policy(**ONE)
    line: list[str | Path] = [sys.executable, "-c", code, site.folder / "policy.yaml", settings]
    env = {**os.environ, "HOME": str(site.folder)}
    began = time.monotonic()
    subprocess.run(line, env=env, check=True)
    lasted = time.monotonic() - began
    wanted = _files(site.published)
    chance, killed = random.Random("killed"), 0
    for _ in range(ROUNDS):
        for path in site.published.glob("*.delta"):
            path.unlink()
        for name, data in start.items():
            (site.published / name).write_bytes(data)
        running = subprocess.Popen(line, env=env, start_new_session=True)
        try:
            running.wait(timeout=chance.uniform(0, lasted))
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            killed += 1
            running.wait()
        else:
            lasted /= 2  # the machine was busier when that was measured
        for one in read_index(site.published).deltas:
            assert Digest.of_file(site.published / one.name) == one.sha256
        subprocess.run(line, env=env, check=True)
        assert _files(site.published) == wanted
    assert killed > ROUNDS // 3


def _files(folder: Path) -> dict[str, Digest]:
    """Return every file, hidden ones too, but locks."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: Digest.of_file(path)
        for name, path in found.items()
        if path.is_file() and not name.endswith(".lock")
    }


def test_the_index_says_from_what_to_what_each_delta_leads(site: Site) -> None:
    site.run(**ONE)
    data = json.loads((site.published / "index.json").read_bytes())
    [delta] = data["deltas"]
    digests = {one["name"]: one["sha256"] for one in data["isos"]}
    assert digests[delta["old"]] == delta["old_sha256"]
    assert digests[delta["new"]] == delta["new_sha256"]
    assert sorted(delta) == ["name", "new", "new_sha256", "old", "old_sha256", "sha256", "size"]
