"""One wish on one server: look, add what is missing, follow it, clean up."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from pathlib import Path

from isobuilder.errors import IsobuilderError, MoldError
from isobuilder.mold.api.commands import Addition, Mold
from isobuilder.mold.api.errors import MoldRefused, OutcomeUnknown
from isobuilder.mold.api.records import ZoneRecord
from isobuilder.mold.api.upload import send_file
from isobuilder.mold.follow import Watch
from isobuilder.mold.journal import Journal
from isobuilder.mold.registered import RegisteredVersion, age_order, best_of, entries_of
from isobuilder.mold.request import Outcome, Request, ServerResult, ZoneResult
from isobuilder.progress import Progress

log = logging.getLogger(__name__)

_LOOKS = 4  # how often to look for a change whose answer was lost, before it is made again
_TRIES = 3


class Work:
    """The state of one wish on one server."""

    def __init__(
        self,
        mold: Mold,
        wish: Request,
        zones: Sequence[ZoneRecord],
        result: ServerResult,
        journal: Journal,
    ) -> None:
        self.mold = mold
        self.journal = journal
        self.wish = wish
        self.zones = zones
        self.result = result
        self.serving: dict[str, RegisteredVersion] = {}  # zone id -> the entry that serves it
        self.created: set[str] = set()  # ids of versions this run added
        self.ever_created: set[str | None] = set()
        self.refused: list[ZoneResult] = []
        self.timed_out = False
        self.broken: list[RegisteredVersion] = []  # equal entries that failed, to be replaced

    def same(self) -> list[RegisteredVersion]:
        """Return the entries that are this very ISO."""
        registration = self.wish.registration
        versions = [
            version
            for version in self.mold.versions()
            if version.semanticversion == registration.kubernetesversion
            and version.arch == registration.arch
        ]
        entries = entries_of(self.mold, versions)
        name, url = self.wish.full_name, self.wish.url
        found = [e for e in entries if e.is_same(registration, name=name, url=url)]
        ids = {entry.version.id for entry in found}
        for entry in entries:
            mine = any(entry.serves(zone) for zone in self.zones)
            if entry.version.id not in ids and entry.version.name == name and mine:
                raise MoldError(
                    f"{self.mold.name}: {name} is already the name of another ISO "
                    f"({entry.version.id}, SHA-256 {entry.sha256 or 'not reported'})",
                    hint="give another --name or revision, or delete that one with "
                    f"isobuilder mold delete {entry.version.id}",
                )
        return found

    def look(self) -> list[str | None]:
        """Find what serves which zone; return the scopes that are missing (None: all zones)."""
        same = self.same()
        self.serving.clear()
        self.broken.clear()
        for entry in same:
            failed = entry.failures(zone.id for zone in self.zones)
            ours = entry.version.id in self.created  # just added: its failure is a result
            if failed and not entry.anywhere_ready and not ours:
                self.broken.append(entry)
        usable = [entry for entry in same if entry not in self.broken]
        missing = []
        for zone in self.zones:
            here = [entry for entry in usable if entry.serves(zone)]
            if here:
                ready = [entry for entry in here if entry.ready_in(zone.id)]
                self.serving[zone.id] = best_of(ready or here)
            else:
                missing.append(zone)
            if len(here) > 1:
                text = f"{zone.name}: registered {len(here)} times"
                self._warn(f"{text}; isobuilder mold audit mends that")
        self._compare_resources()
        if not missing:
            return []
        everywhere = not self.wish.zones and not self.serving and self.wish.upload is None
        return [None] if everywhere else [zone.id for zone in missing]

    def _warn(self, text: str) -> None:
        if text not in self.result.warnings:
            self.result.warnings.append(text)

    def _compare_resources(self) -> None:
        """Warn where what is there has other minimums than asked for: Mold cannot change them."""
        for entry in self.serving.values():
            version = entry.version
            for name, wanted, found in (
                ("CPUs", self.wish.min_cpu, version.mincpunumber),
                ("MB of memory", self.wish.min_memory, version.minmemory),
            ):
                if wanted is not None and found is not None and wanted != found:
                    self._warn(
                        f"{version.name} wants {found} {name}, not {wanted}; only deleting and "
                        "registering it again changes that"
                    )

    def describe(self, targets: Sequence[str | None]) -> None:
        """Write down what would be done."""
        names = {zone.id: zone.name for zone in self.zones}
        for entry in self.broken:
            self.result.done.append(f"would delete {entry.version.id}, whose download failed")
        for target in targets:
            where = names[target] if target else "all zones"
            self.result.done.append(f"would register {self.wish.full_name} in {where}")
        self.result.zones = self.watch().results(pending=True)

    def unready(self) -> bool:
        """Tell whether a zone still downloads."""
        return any(not entry.ready_in(zone) for zone, entry in self.serving.items())

    def add(
        self, targets: Sequence[str | None], progress: Progress
    ) -> Generator[float, None, None]:
        """Register the missing scopes, each once."""
        for entry in self.broken:
            self.mold.delete_version(entry.version.id)
            self.result.done.append(f"deleted {entry.version.id}, whose download had failed")
        for target in targets:
            before = {version.id for version in self.mold.versions()}
            for attempt in range(1, _TRIES + 1):
                try:
                    self._add_one(target, progress)
                    break
                except MoldRefused as refused:
                    if len(targets) == 1:
                        raise
                    self._zone_refused(target, refused)
                    break
                except OutcomeUnknown as unknown:
                    log.info("%s: %s", self.mold.name, unknown)
                    appeared = yield from self._appeared(before, target)
                    if self.wish.upload is not None:
                        # What appeared has no ticket to send the file with.
                        self._take_back()
                        raise
                    if appeared:
                        break
                    if attempt == _TRIES:
                        raise
        if targets or self.broken:
            self.look()

    def _zone_refused(self, target: str | None, refused: MoldRefused) -> None:
        """Note that one of several zones did not take the ISO, and go on with the others."""
        [zone] = [zone for zone in self.zones if zone.id == target]
        self.zones = [other for other in self.zones if other is not zone]
        text = str(refused)
        self.refused.append(ZoneResult(zone.name, Outcome.FAILED, text, None, refused.hint))

    def _appeared(self, before: set[str], target: str | None) -> Generator[float, None, bool]:
        """Look for a version whose answer was lost; a server still at it gets a moment."""
        for _ in range(_LOOKS):
            yield self.wish.poll
            for entry in self.same():
                if entry.version.id not in before and entry.scope == target:
                    self._created(entry.version.id)
                    name = self.wish.full_name
                    self.result.done.append(f"registered {name}: {entry.version.id}")
                    return True
        return False

    def _add_one(self, target: str | None, progress: Progress) -> None:
        wish, registration = self.wish, self.wish.registration
        addition = Addition(
            name=wish.full_name,
            semver=registration.kubernetesversion,
            arch=registration.arch,
            url=wish.url or "",
            checksum=registration.checksum,
            min_cpu=registration.mincpunumber if wish.min_cpu is None else wish.min_cpu,
            min_memory=registration.minmemory if wish.min_memory is None else wish.min_memory,
            zone_id=target,
            direct_download=wish.direct_download,
        )
        where = next((zone.name for zone in self.zones if zone.id == target), "all zones")
        if wish.upload is not None:
            self._upload(wish.upload, addition, where, progress)
            return
        progress.step(f"{self.mold.name}: registering {addition.name} in {where}")
        version = self.mold.add_version(addition)
        self._created(version.id)
        self.result.done.append(f"registered {addition.name} in {where}: {version.id}")

    def _created(self, version_id: str) -> None:
        self.created.add(version_id)
        self.ever_created.add(version_id)

    def _upload(self, iso: Path, addition: Addition, where: str, progress: Progress) -> None:
        progress.step(f"{self.mold.name}: uploading {addition.name} to {where}")
        ticket = self.mold.upload_ticket(addition)
        made = [version.id for version in self.mold.versions() if version.isoid == ticket.id]
        for version_id in made:
            self._created(version_id)
        with self.journal.uploading(self.mold, ticket.id, addition.name):
            try:
                send_file(self.mold.client, ticket, iso, progress=progress)
            except IsobuilderError:
                if not self.wish.keep_failed:
                    for version_id in made:
                        self.mold.delete_version(version_id)
                raise
        self.result.done.append(f"uploaded {addition.name} to {where}")

    def drop_doubles(self, *, ours_only: bool) -> None:
        """Leave one of two entries that two runs made at the same time.

        Every run ranks them alike by age, so both agree. A run deletes its own, later one; at its
        end also the other's, if that was made after its own and is still there.
        """
        if not self.created:
            return
        same = self.same()
        for scope in {entry.scope for entry in same}:
            rivals = sorted((e for e in same if e.scope == scope), key=age_order)
            ours = [entry for entry in rivals if entry.version.id in self.created]
            if len(rivals) < 2 or not ours:
                continue
            for loser in rivals[1:]:
                later = age_order(loser) > age_order(ours[0])
                if loser in ours or (later and not ours_only):
                    self._drop(loser)
        self.look()

    def _drop(self, loser: RegisteredVersion) -> None:
        try:
            self.mold.delete_version(loser.version.id)
        except MoldRefused as refused:
            self._warn(f"{loser.version.id} is a double: {refused}")
            return
        self.created.discard(loser.version.id)
        self.result.done.append(f"deleted {loser.version.id}: registered twice at once")

    def set_state(self) -> None:
        """Enable or disable what serves, where asked for."""
        if self.wish.enabled is None:
            return
        state = "Enabled" if self.wish.enabled else "Disabled"
        for version_id in sorted({entry.version.id for entry in self.serving.values()}):
            entry = next(e for e in self.serving.values() if e.version.id == version_id)
            if entry.version.state != state:
                self.mold.set_state(version_id, enabled=self.wish.enabled)
                self.result.done.append(f"{version_id} is {state}")

    def watch(self) -> Watch:
        """Return what watches the zones."""
        return Watch(self.mold, self.zones, self.serving, self.wish.registration)

    def follow(self, progress: Progress) -> Generator[float, None, None]:
        """Wait until every zone is Ready or has failed; then clean up after failures."""
        until = self.mold.client.clock.monotonic() + self.wish.timeout
        watch = self.watch()
        with watch.shown(progress):
            while not watch.look():
                if watch.vanished and not self._found_again(watch):
                    break
                if self.mold.client.clock.monotonic() + self.wish.poll > until:
                    watch.give_up(self.wish.timeout)
                    self.timed_out = True
                    break
                yield self.wish.poll
        self.result.zones = watch.results() + self.refused
        if self.failed():
            self._take_back()
        else:
            self.drop_doubles(ours_only=False)

    def failed(self) -> set[str | None]:
        """Return the versions that failed in some zone."""
        return {z.version_id for z in self.result.zones if z.outcome is Outcome.FAILED}

    def worth_another_round(self) -> bool:
        """Tell whether only what others had begun failed, so that it can be replaced now."""
        failed = self.failed()
        if not failed or failed & self.ever_created or self.timed_out:
            return False
        self.look()
        return bool(self.broken)

    def _found_again(self, watch: Watch) -> bool:
        """Adopt an equal entry in place of one that went away during the wait."""
        self.look()
        if any(zone.id not in self.serving for zone in self.zones):
            return False
        watch.serving = self.serving
        watch.vanished.clear()
        return True

    def _take_back(self) -> None:
        """Delete what this run registered and what failed, unless it is to be kept."""
        if self.wish.keep_failed:
            return
        failed = self.failed()
        reached = {zone.version_id for zone in self.result.zones}
        for version_id in sorted(self.created):
            if version_id in failed or version_id not in reached:
                self.mold.delete_version(version_id)
                self.result.done.append(f"deleted {version_id} again")
        self.created.clear()
