"""What is done about each state of a server, and which requests that takes, as golden files.

``truth-table.txt`` says for each state of a version what an audit finds and a registration does.
``traces.txt`` holds the requests of whole runs in order. ``ISOBUILDER_UPDATE_GOLDEN=1`` renews
both; the difference is then the description of the change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo.mold import Cloud, CloudCluster, CloudUser, Timing, Zone
from isobuilder.demo.mold.cloud import Version
from isobuilder.demo.mold.download import DownloadOutcome
from isobuilder.errors import IsobuilderError
from isobuilder.model.registration import RegistrationFile
from isobuilder.mold import manage
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.apply import apply_plan
from isobuilder.mold.audit import audit
from isobuilder.mold.catalogue import Item
from isobuilder.mold.compare import Policy
from isobuilder.mold.plan import plan_for
from isobuilder.mold.register import register
from isobuilder.mold.request import RegistrationRequest, ServerResult
from tests.fakes.mold import FakeMold
from tests.fakes.web import Web
from tests.mold.clocks import VirtualClock
from tests.mold.conftest import ADMIN, iso_bytes, registration_of, server_of
from tests.mold.golden import Names, check_golden, counted_ids, request_lines
from tests.mold.messes import add_directly

TODAY = date(2026, 11, 21)
ENDS = {"1.34": date(2026, 10, 27), "1.35": date(2027, 2, 28), "1.36": date(2027, 6, 28)}
WRONG = "{SHA-256}" + "0" * 64


@dataclass
class World:
    """One server, the ISO that is wanted there, and who does it."""

    cloud: Cloud
    simulator: FakeMold
    client: Mold
    web: Web
    registration: RegistrationFile
    url: str
    iso: Path
    state: Path
    names: Names

    def has(self, *zones: str, **values: Any) -> Version:
        """Register the wanted ISO without the API: in all zones, or once in each zone named."""
        defaults: dict[str, Any] = {
            "name": self.registration.name,
            "checksum": self.registration.checksum,
            "arch": self.registration.arch,
            "url": self.url,
        }
        version = None
        for zone in zones or (None,):
            place = self.cloud.zone(zone) if zone else None
            version = add_directly(
                self.cloud,
                **({"semver": str(self.registration.kubernetesversion)} | defaults | values),
                zone=place,
            )
            self.cloud.clock.sleep(1)
        assert version is not None
        return version

    def uses(self, version: Version) -> Version:
        """Let a cluster use it."""
        cluster = CloudCluster("prod", version.id, self.cloud.zones[0])
        self.cloud.clusters.append(cluster)
        return version

    def edge(self) -> Zone:
        """Give the cloud an edge zone."""
        self.cloud.zones.append(Zone("Edge1", type="Edge"))
        return self.cloud.zones[-1]

    def register(self, **wish: Any) -> ServerResult:
        options = {"url": self.url} | wish
        [result] = register(
            [self.client], RegistrationRequest(self.registration, **options), state=self.state
        )
        return result

    def audit(self, *, listed: bool = True, **policy: Any) -> tuple[list[Any], Any]:
        items = [Item(self.registration, self.url)] if listed else []
        values: dict[str, Any] = {"today": TODAY, "ends": ENDS} | policy
        return audit(self.client, items, Policy(**values))

    def told(self, result: ServerResult) -> Iterator[str]:
        """Return a registration's result as lines."""
        texts = [f"{zone.zone}: {zone.outcome} {zone.text}" for zone in result.zones]
        texts += [f"did: {text}" for text in result.done]
        texts += [f"warned: {text}" for text in result.warnings]
        if result.error is not None:
            texts.append(f"error: {result.error}")
        return (self.names.plain(text) for text in texts)


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


@contextmanager
def world(web: Web, folder: Path, version: str = "1.35.4") -> Iterator[World]:
    clock = VirtualClock()
    cloud = Cloud(clock=clock, pace=Timing(allocated=2, downloading=6, installing=2, join=True))
    cloud.users.append(CloudUser(ADMIN.name, ADMIN.key, ADMIN.secret, ADMIN.password))
    data = iso_bytes(version)
    registration = registration_of(version, data)
    folder.mkdir(parents=True, exist_ok=True)
    iso = folder / registration.filename
    iso.write_bytes(data)
    with FakeMold(cloud) as simulator:
        client = Mold(server_of(simulator), clock=clock)
        url = web.put(f"/{registration.filename}", data)
        names = Names([(web.url, "http://web"), (cloud.base_url, "http://mold")])
        for zone in cloud.zones:
            names.know(zone.id, zone.name)
        state = folder / "state"
        yield World(cloud, simulator, client, web, registration, url, iso, state, names)
        client.close()


# ---- the truth table ---------------------------------------------------------------------------

FAILED = DownloadOutcome("Connection refused", 0, "")


def fail(version: Version, *rows: int) -> Version:
    for row in rows or range(len(version.rows)):
        version.rows[row].outcome = FAILED
    return version


def waiting(version: Version, *rows: int) -> Version:
    for row in rows or range(len(version.rows)):
        version.rows[row].outcome = None
        version.rows[row].zone.stuck = True
    return version


def gone(version: Version) -> Version:
    version.has_iso = False
    return version


def unreported(w: World, *, url: bool = True) -> World:
    w.cloud.reports_checksum = False
    w.cloud.reports_url = url
    return w


STATES: dict[str, Callable[[World], object]] = {
    "nothing": lambda w: w,
    "Ready": lambda w: w.has(),
    "Ready, used": lambda w: w.uses(w.has()),
    "Ready, Disabled": lambda w: w.has(state="Disabled"),
    "Ready, Disabled, used": lambda w: w.uses(w.has(state="Disabled")),
    "Ready in Zone1 only": lambda w: w.has("Zone1"),
    "Ready in Zone1 and Zone2": lambda w: w.has("Zone1", "Zone2"),
    "downloading": lambda w: waiting(w.has()),
    "downloading in Zone2": lambda w: waiting(w.has(), 1),
    "failed": lambda w: fail(w.has()),
    "failed, used": lambda w: w.uses(fail(w.has())),
    "failed in Zone2": lambda w: fail(w.has(), 1),
    "failed in Zone2, used": lambda w: w.uses(fail(w.has(), 1)),
    "Zone1 Ready, Zone2 failed, each its own": lambda w: (w.has("Zone1"), fail(w.has("Zone2"))),
    "twice": lambda w: (w.has(), w.has()),
    "twice, second used": lambda w: (w.has(), w.uses(w.has())),
    "twice, both used": lambda w: (w.uses(w.has()), w.uses(w.has())),
    "twice, first Disabled": lambda w: (w.has(state="Disabled"), w.has()),
    "twice, first failed": lambda w: (fail(w.has()), w.has()),
    "twice, both failed": lambda w: (fail(w.has()), fail(w.has())),
    "twice, first downloading": lambda w: (waiting(w.has()), w.has()),
    "all zones and Zone1": lambda w: (w.has(), w.has("Zone1")),
    "Zone1, then all zones": lambda w: (w.has("Zone1"), w.has()),
    "three times in Zone1": lambda w: w.has("Zone1", "Zone1", "Zone1"),
    "other bytes, same name": lambda w: w.has(checksum=WRONG),
    "other bytes, same name, used": lambda w: w.uses(w.has(checksum=WRONG)),
    "other bytes, same file name": lambda w: w.has(checksum=WRONG, name="by hand"),
    "other bytes, other name": lambda w: w.has(checksum=WRONG, name="x", url="http://x/x.iso"),
    "same bytes, other name": lambda w: w.has(name="by hand", url="http://x/x.iso"),
    "other architecture": lambda w: w.has(arch="aarch64"),
    "other version, same bytes": lambda w: w.has(semver="1.35.9", name="x"),
    "no checksum reported, same URL": lambda w: unreported(w).has(),
    "no checksum reported, other URL": lambda w: unreported(w).has(url="http://x/x.iso"),
    "neither reported, same name": lambda w: unreported(w, url=False).has(),
    "neither reported, other name": lambda w: unreported(w, url=False).has(name="by hand"),
    "its ISO gone": lambda w: gone(w.has()),
    "its ISO gone, used": lambda w: w.uses(gone(w.has())),
    "its ISO gone, and a good one": lambda w: (gone(w.has()), w.has()),
    "edge zone beside": lambda w: (w.has(), w.edge()),
    "nothing, edge zone beside": lambda w: w.edge(),
    "direct download": lambda w: w.has(direct=True),
    "another revision": lambda w: w.has(name="v1.35.4-mold-cks-amd64-r0", checksum=WRONG, url="x"),
}

AUDITS: dict[str, dict[str, Any]] = {
    "audit": {},
    "audit, Zone1": {"zones": ("Zone1",)},
    "audit, past its end": {"ends": {"1.35": date(2026, 1, 1)}},
    "audit, past its end, extra kept": {
        "listed": False, "keep_extra": True, "ends": {"1.35": date(2026, 1, 1)},
    },
    "audit, not listed": {"listed": False},
    "audit, not listed, past its end": {"listed": False, "ends": {"1.35": date(2026, 1, 1)}},
    "audit, not listed, extra kept": {"listed": False, "keep_extra": True},
}  # fmt: skip

WISHES: dict[str, dict[str, Any]] = {
    "register": {},
    "register, Zone1": {"zones": ("Zone1",)},
    "register, both zones": {"zones": ("Zone1", "Zone2")},
    "register, enabled": {"enabled": True},
}


def audit_lines(w: World, **policy: Any) -> Iterator[str]:
    findings, plan = w.audit(**policy)
    for finding in findings:
        level = "notice" if finding.notice else "difference"
        yield w.names.plain(f"{level} {finding.kind}: {finding.subject}: {finding.fact}")
    for action in plan_for((plan,)).servers[0].actions:
        yield w.names.plain(f"plan: {action}")


def test_each_state_of_a_server_has_its_findings_and_changes(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted_ids(monkeypatch)
    lines = []
    for number, (state, make) in enumerate(STATES.items()):
        lines += [f"== {state}", ""]
        with world(web, tmp_path / f"{number}") as w:
            make(w)
            for version in w.cloud.versions.values():
                w.names.plain(version.id)
            for title, policy in AUDITS.items():
                lines += [f"-- {title}", *audit_lines(w, **policy)]
            assert w.simulator.writes() == []
        for title, wish in WISHES.items():
            with world(web, tmp_path / f"{number}-{title}") as w:
                make(w)
                for version in w.cloud.versions.values():
                    w.names.plain(version.id)
                result = w.register(timeout=60.0, **wish)
                lines += [f"-- {title}", *request_lines(w.simulator.writes(), w.names)]
                lines += w.told(result)
        lines.append("")
    check_golden("truth-table.txt", lines)


# ---- traces ------------------------------------------------------------------------------------


def again(w: World) -> Iterator[str]:
    yield from w.told(w.register())
    yield from w.told(w.register())


def one_zone_then_all(w: World) -> Iterator[str]:
    yield from w.told(w.register(zones=("Zone1",)))
    yield from w.told(w.register())


def failing(w: World) -> Iterator[str]:
    w.cloud.zones[1].fails_with = "Read timed out"
    yield from w.told(w.register())
    yield from w.told(w.register(zones=("Zone1", "Zone2")))


def kept_and_replaced(w: World) -> Iterator[str]:
    for zone in w.cloud.zones:
        zone.fails_with = "Connection refused"
    yield from w.told(w.register(keep_failed=True))
    for zone in w.cloud.zones:
        zone.fails_with = None
    yield from w.told(w.register())


def begun_by_another(w: World) -> Iterator[str]:
    for zone in w.cloud.zones:
        zone.fails_with = "Connection refused"
    yield from w.told(w.register(wait=False))
    [old] = w.cloud.versions.values()

    def heal(_now: float) -> None:
        if any(row.outcome for row in old.rows):
            for zone in w.cloud.zones:
                zone.fails_with = None

    w.cloud.clock.on_sleep.append(heal)  # type: ignore[attr-defined]
    yield from w.told(w.register())


def stuck(w: World) -> Iterator[str]:
    for zone in w.cloud.zones:
        zone.stuck = True
    yield from w.told(w.register(timeout=30.0))


def fault(kind: str) -> Callable[[World], Iterator[str]]:
    def run(w: World) -> Iterator[str]:
        w.simulator.faults.add(kind, command="addKubernetesSupportedVersion")
        yield from w.told(w.register())

    return run


def rival(after: float) -> Callable[[World], Iterator[str]]:
    def run(w: World) -> Iterator[str]:
        def add(_number: int, command: str, moment: str) -> None:
            if command == "addKubernetesSupportedVersion" and moment == "after":
                w.simulator.faults.watchers.remove(add)
                other = w.has()
                other.created = _shifted(w, after)

        w.simulator.faults.watchers.append(add)
        yield from w.told(w.register())

    return run


def _shifted(w: World, seconds: float) -> str:
    from datetime import timedelta

    return (w.cloud.clock.now() + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S%z")


def replaced_server(w: World) -> Iterator[str]:
    count = 0

    def swap(_number: int, command: str, moment: str) -> None:
        nonlocal count
        if command == "listIsos" and moment == "before":
            count += 1
            if count == 3:
                w.cloud.replace()

    w.simulator.faults.watchers.append(swap)
    yield from w.told(w.register())


def upload(w: World) -> Iterator[str]:
    yield from w.told(w.register(url=None, upload=w.iso))
    yield from w.told(w.register(url=None, upload=w.iso))


def planned(w: World) -> Iterator[str]:
    w.has(checksum=WRONG)
    w.has(semver="1.36.1", name="clicked")
    used = w.has(semver="1.36.2", name="used")
    w.uses(used)
    _findings, plan = w.audit()
    [ordered] = plan_for((plan,)).servers
    mold = w.client
    for dry in (True, False, False):
        for done in apply_plan(mold, ordered, state=w.state, dry_run=dry):
            yield w.names.plain(f"{done.fate}: {done.action}: {done.text}")


def managed(w: World) -> Iterator[str]:
    version = w.has()
    mold = w.client
    yield from (entry.version.name for entry in manage.list_entries(mold))
    yield manage.set_state(mold, version.id, enabled=False)
    yield w.names.plain(manage.delete(mold, version.id))
    try:
        manage.find_entry(mold, version.id)
    except IsobuilderError as error:
        yield w.names.plain(str(error))


TRACES: dict[str, Callable[[World], Iterator[str]]] = {
    "register, and again": again,
    "in one zone, then everywhere": one_zone_then_all,
    "a dry run": lambda w: w.told(w.register(dry_run=True)),
    "without waiting": lambda w: w.told(w.register(wait=False)),
    "disabled, with more memory": lambda w: w.told(w.register(enabled=False, min_memory=4096)),
    "direct download": lambda w: w.told(w.register(direct_download=True)),
    "a zone that fails": failing,
    "failed, kept, replaced": kept_and_replaced,
    "failed while another run's is waited for": begun_by_another,
    "stuck until the time is over": stuck,
    "the answer to the registration is lost": fault("lost"),
    "the registration never arrives": fault("refused"),
    "another run is first": rival(-5.0),
    "another run is second": rival(5.0),
    "the server is replaced during the wait": replaced_server,
    "an unknown zone": lambda w: w.told(w.register(zones=("Zone9",))),
    "upload, and again": upload,
    "audit and apply": planned,
    "list, disable, delete": managed,
}


def test_the_requests_of_whole_runs_stay_as_they_are(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted_ids(monkeypatch)
    lines = []
    for number, (title, run) in enumerate(TRACES.items()):
        with world(web, tmp_path / f"{number}") as w:
            results = list(run(w))
            lines += [f"== {title}", *request_lines(w.simulator.log, w.names)]
            lines += [*(f"   {text}" for text in results), ""]
    check_golden("traces.txt", lines)
