"""How far the downloads of a registration are, zone by zone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.errors import remedy_for
from isobuilder.mold.api.records import IsoInZone, ZoneRecord
from isobuilder.mold.catalogue import Item
from isobuilder.mold.registered import (
    Health,
    RegisteredVersion,
    health_of,
    other_bytes,
    percent_of,
)
from isobuilder.mold.request import Outcome, ZoneResult
from isobuilder.progress import Progress, Task, task

_PATIENCE_WITH_WORDS = 30.0  # seconds an unknown status text may stand still before it is a failure


class Watch:
    """The zones of one server and how far each is."""

    def __init__(
        self,
        mold: Mold,
        zones: Sequence[ZoneRecord],
        serving: Mapping[str, RegisteredVersion],
        item: Item,
    ) -> None:
        self.mold = mold
        self.zones = zones
        self.serving = dict(serving)
        self.item = item
        self.vanished: set[str] = set()  # versions that are no longer there
        self._rows: dict[str, IsoInZone] = {
            zone: row for zone, entry in serving.items() if (row := entry.row(zone)) is not None
        }
        self._failed: dict[str, str] = {}
        self._unclear: dict[str, tuple[str, float]] = {}
        self._bars: dict[str, tuple[Task, int]] = {}

    def look(self) -> bool:
        """Ask for every zone once; True when all are Ready or have failed."""
        for entry in {e.version.id: e for e in self.serving.values()}.values():
            rows = self.mold.isos_of(entry.version)
            if not rows and not self.mold.versions(id=entry.version.id):
                self.vanished.add(entry.version.id)
                continue
            now = RegisteredVersion(entry.version, rows)
            for zone in self.zones:
                serving = self.serving.get(zone.id, entry)
                if serving.version.id == entry.version.id and (row := now.row(zone.id)):
                    self._rows[zone.id] = row
        for zone in self.zones:
            self._judge(zone)
            if zone.id not in self.serving:
                self.vanished.add("")
        return not self.vanished and all(
            zone.id in self._failed or self._ready(zone) for zone in self.zones
        )

    def _ready(self, zone: ZoneRecord) -> bool:
        row = self._rows.get(zone.id)
        return row is not None and row.isready

    def _judge(self, zone: ZoneRecord) -> None:
        row = self._rows.get(zone.id)
        if row is None or zone.id in self._failed:
            return
        health = health_of(row)
        now = self.mold.clock.monotonic()
        if health is Health.FAILED:
            self._failed[zone.id] = row.status or f"download {row.downloadstate.lower()}"
        elif health is Health.UNCLEAR:
            text, since = self._unclear.get(zone.id, ("", now))
            if text != row.status:
                self._unclear[zone.id] = (row.status, now)
            elif now - since > _PATIENCE_WITH_WORDS:
                self._failed[zone.id] = row.status
        elif health is Health.READY and row.hash is not None and other_bytes(row, self.item):
            algorithm, digits = row.hash
            name = algorithm.upper().replace("SHA", "SHA-")
            wanted = self.item.digits(algorithm)
            self._failed[zone.id] = f"Ready, but Mold reports {name} {digits}, expected {wanted}"
        self._show(zone, percent_of(row))

    def give_up(self, timeout: float) -> None:
        """Call every zone failed that is not Ready by now."""
        for zone in self.zones:
            if not self._ready(zone) and zone.id not in self._failed:
                row = self._rows.get(zone.id)
                said = (row.status if row else "") or "Allocated, nothing downloaded"
                self._failed[zone.id] = f"not Ready after {timeout:.0f} s: {said}"

    def results(self, *, pending: bool = False) -> list[ZoneResult]:
        """Return what each zone has; with ``pending`` nothing was waited for."""
        found = []
        for zone in self.zones:
            entry = self.serving.get(zone.id)
            row = self._rows.get(zone.id)
            version_id = entry.version.id if entry else None
            if zone.id in self._failed:
                text = self._failed[zone.id]
                hint = remedy_for(text) or (
                    "is a secondary storage VM running in the zone, and can it reach the URL?"
                )
                found.append(ZoneResult(zone.name, Outcome.FAILED, text, version_id, hint))
            elif self._ready(zone) and version_id not in self.vanished:
                text = row.status if row else ""
                found.append(ZoneResult(zone.name, Outcome.READY, text, version_id))
            elif pending:
                outcome = Outcome.PENDING if entry else Outcome.MISSING
                found.append(ZoneResult(zone.name, outcome, row.status if row else "", version_id))
            else:
                text = "the version went away during the wait: deleted, or another server answers"
                hint = "run the same command again"
                found.append(ZoneResult(zone.name, Outcome.FAILED, text, version_id, hint))
        return found

    @contextmanager
    def shown(self, progress: Progress) -> Iterator[None]:
        """Show a bar for every zone meanwhile."""
        with ExitStack() as stack:
            for zone in self.zones:
                bar = task(progress, f"{self.mold.name} {zone.name}", total=100, unit="%")
                self._bars[zone.id] = (stack.enter_context(bar), 0)
            yield

    def _show(self, zone: ZoneRecord, percent: int) -> None:
        if zone.id in self._bars:
            bar, shown = self._bars[zone.id]
            if percent > shown:
                bar.advance(percent - shown)
                self._bars[zone.id] = (bar, percent)
