"""One request on one server: what is missing is added, what failed is replaced, once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from isobuilder.errors import IsobuilderError, MoldError
from isobuilder.mold.api.clock import Poll
from isobuilder.mold.api.commands import Addition, Mold
from isobuilder.mold.api.errors import BUSY, MoldRefused, OutcomeUnknown
from isobuilder.mold.api.records import ZoneRecord
from isobuilder.mold.api.upload import send_file
from isobuilder.mold.catalogue import Item
from isobuilder.mold.compare import Deviation, Kind, Policy, Registered, compare, same_iso
from isobuilder.mold.registered import RegisteredVersion, age_order, entries_of
from isobuilder.mold.request import Outcome, RegistrationRequest, ServerResult, ZoneResult
from isobuilder.mold.watch import Watch
from isobuilder.progress import Progress
from isobuilder.rules.support import end_notice, ended

log = logging.getLogger(__name__)

_LOOKS = 4  # how often to look for a change whose answer was lost, before it is made again
_TRIES = 3
_DOUBLES = "; isobuilder mold audit mends that"


class Reconciler:
    """The state of one request on one server."""

    def __init__(
        self,
        mold: Mold,
        request: RegistrationRequest,
        zones: Sequence[ZoneRecord],
        result: ServerResult,
    ) -> None:
        self.mold = mold
        self.request = request
        self.item = Item(
            request.registration, request.url, request.full_name, request.iso or request.upload
        )
        self.zones = zones
        self.result = result
        self.serving: dict[str, RegisteredVersion] = {}  # zone id -> the entry that serves it
        self.created: set[str] = set()  # ids of versions this run added
        self.ever_created: set[str | None] = set()
        self.refused: list[ZoneResult] = []
        self.broken: list[RegisteredVersion] = []  # equal entries that failed, to be replaced
        self._left_alone: set[str] = set()  # ids of what others made that failed
        self._later: set[str] = set()  # doubles that are let go of only after their download
        self.missing: list[ZoneRecord | None] = []  # where it has to be added; None: all zones

    def _entries(self) -> tuple[RegisteredVersion, ...]:
        registration = self.request.registration
        versions = [
            version
            for version in self.mold.versions()
            if version.semanticversion == str(registration.kubernetesversion)
            and (version.arch in {None, registration.arch} or not version.isoid)
        ]
        return entries_of(self.mold, versions)

    def look(self) -> None:
        """Find what serves which zone, what has failed, and what is missing.

        Raises:
            MoldError: the name is that of another ISO.
        """
        registered = Registered(self._entries(), None, frozenset(self.created))
        # Whoever registers an old version, or one beside others, means it.
        whole = self.request.upload is None and not self.request.zones
        policy = Policy(
            date.min,
            ends={},
            zones=() if whole else tuple(zone.id for zone in self.zones),
            keep_extra=True,
        )
        found = compare(registered, [self.item], self.zones, policy)
        self._refuse_name(found)
        failed = [
            deviation.entry
            for deviation in found
            if deviation.kind is Kind.NOT_READY and not deviation.notice and deviation.entry
        ]
        # What has another name was made by somebody else.
        self.broken = [entry for entry in failed if entry.version.name == self.item.name]
        usable = [e for e in same_iso(registered.entries, self.item) if e not in failed]
        usable.sort(key=lambda entry: registered.rank(entry, self.zones))
        self._left_alone.clear()
        for entry in failed:
            if entry not in self.broken:
                name, version_id = entry.version.name, entry.version.id
                self._left_alone.add(version_id)
                self._warn(f"{name} ({version_id}) is the same ISO and failed; it is left alone")
        self.serving.clear()
        warnings = self.result.warnings
        warnings[:] = [text for text in warnings if not text.endswith(_DOUBLES)]
        for zone in self.zones:
            here = [entry for entry in usable if entry.serves(zone)]
            if here:
                self.serving[zone.id] = here[0]
            if len(here) > 1:
                self._warn(f"{zone.name}: registered {len(here)} times{_DOUBLES}")
        self.missing = [
            place
            for deviation in found
            if deviation.kind is Kind.MISSING
            for place in deviation.zones or (None,)
        ]
        self._compare_resources()
        self._warn_of_what_is_off()

    def _refuse_name(self, found: Sequence[Deviation]) -> None:
        for deviation in found:
            entry, name = deviation.entry, self.item.name
            if deviation.kind is not Kind.WRONG_CHECKSUM or entry is None:
                continue
            if entry.version.name == name and any(entry.serves(zone) for zone in self.zones):
                raise MoldError(
                    f"{self.mold.name}: {name} is already the name of another ISO "
                    f"({entry.version.id}, SHA-256 {entry.sha256 or 'not reported'})",
                    hint="give another --name or revision, or delete that one with "
                    f"isobuilder mold delete {entry.version.id}",
                )

    def _warn(self, text: str) -> None:
        if text not in self.result.warnings:
            self.result.warnings.append(text)

    def _compare_resources(self) -> None:
        """Warn where what is there has other minimums than asked for: Mold cannot change them."""
        for entry in self.serving.values():
            version = entry.version
            for name, wanted, found in (
                ("CPUs", self.request.min_cpu, version.mincpunumber),
                ("MB of memory", self.request.min_memory, version.minmemory),
            ):
                if wanted is not None and found is not None and wanted != found:
                    self._warn(
                        f"{version.name} wants {found} {name}, not {wanted}; only deleting and "
                        "registering it again changes that"
                    )

    def _warn_of_what_is_off(self) -> None:
        version = str(self.request.registration.kubernetesversion)
        today = self.mold.clock.now().date()
        if notice := end_notice(version, today):
            self._warn(
                f"{notice}: an audit {'wants' if ended(version, today) else 'then wants'} "
                "it disabled"
            )
        for one in self.request.unfit:
            self._warn(str(one))
        for entry in self.serving.values():
            if entry.version.state == "Disabled" and self.request.enabled is None:
                hint = "no cluster can be made from it; register with --enable"
                self._warn(f"{entry.version.name} is Disabled: {hint}")

    def describe(self) -> None:
        """Write down what would be done."""
        for entry in self.broken:
            self.result.done.append(f"would delete {entry.version.id}, {_lost(entry)}")
        for zone in self.missing:
            self.result.done.append(f"would register {self.item.name} in {_where(zone)}")
        self.report_pending()

    def report_pending(self, watch: Watch | None = None) -> None:
        """Write down what every zone has now, or had when it was looked at last."""
        self.result.zones = (watch or self.watch()).results(pending=True) + self.refused

    def add(self, progress: Progress) -> None:
        """Replace what failed and register what is missing, each once.

        Raises:
            IsobuilderError: the server refused it, or its answer was lost for good.
        """
        for entry in self.broken:
            self.mold.delete_version(entry.version.id)
            self.result.done.append(f"deleted {entry.version.id}, {_lost(entry)}")
        changed = bool(self.missing or self.broken)
        try:
            self._add_missing(progress)
        except MoldRefused as refused:
            # A zone that is left out may lack a store; then the server takes nothing for all zones.
            if self.missing != [None] or not refused.says("have no image store"):
                raise
            self.missing = list(self.zones)
            self._add_missing(progress)
        if changed and self.zones:
            self.look()
        self._drop_doubles(ours_only=True)
        self._set_state()

    def _add_missing(self, progress: Progress) -> None:
        alone = len(self.zones) == 1 and not self.refused
        for zone in self.missing:
            try:
                self._add_once(zone, progress)
            except IsobuilderError as error:
                if alone or zone is None:
                    raise
                self._zone_failed(zone, error)

    def _add_once(self, zone: ZoneRecord | None, progress: Progress) -> None:
        before = {version.id for version in self.mold.versions()}
        for attempt in range(1, _TRIES + 1):
            try:
                self._add(zone, progress)
            except OutcomeUnknown as unknown:
                log.info("%s: %s", self.mold.name, unknown)
                appeared = self._appeared(before, zone)
                if self.request.upload is not None:
                    # What appeared has no ticket to send the file with.
                    if appeared is not None and not self.request.keep_failed:
                        self._delete_again(appeared)
                    raise
                if appeared is None:
                    if attempt == _TRIES:
                        raise
                    continue
            return

    def _zone_failed(self, zone: ZoneRecord, error: IsobuilderError) -> None:
        """Note that one of several zones did not get the ISO, and go on with the others."""
        self.zones = [other for other in self.zones if other is not zone]
        self.refused.append(ZoneResult(zone.name, Outcome.FAILED, str(error), None, error.hint))

    def _appeared(self, before: set[str], zone: ZoneRecord | None) -> str | None:
        """Look for a version whose answer was lost; a server still at it gets a moment.

        What has another name was made by somebody else.
        """
        every = self.request.poll
        poll = Poll.lasting(self.mold.clock, (_LOOKS + 0.5) * every, every=every)
        while poll.again():
            for entry in same_iso(self._entries(), self.item):
                version_id = entry.version.id
                ours = version_id not in before and entry.version.name == self.item.name
                if ours and entry.scope == (zone.id if zone else None):
                    self._created(version_id)
                    self.result.done.append(f"registered {self.item.name}: {version_id}")
                    return version_id
        return None

    def _add(self, zone: ZoneRecord | None, progress: Progress) -> None:
        request, registration = self.request, self.request.registration
        addition = Addition(
            name=self.item.name,
            semver=str(registration.kubernetesversion),
            arch=registration.arch,
            url=request.url or "",
            checksum=registration.checksum,
            min_cpu=registration.mincpunumber if request.min_cpu is None else request.min_cpu,
            min_memory=registration.minmemory if request.min_memory is None else request.min_memory,
            zone_id=zone.id if zone else None,
            direct_download=request.direct_download,
        )
        where = _where(zone)
        if request.upload is not None:
            self._upload(request.upload, addition, where, progress)
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
        try:
            send_file(self.mold, ticket, iso, progress=progress)
        except IsobuilderError:
            if not self.request.keep_failed:
                for version_id in made:
                    self._delete_again(version_id)
            raise
        self.result.done.append(f"uploaded {addition.name} to {where}")

    def _drop_doubles(self, *, ours_only: bool) -> None:
        """Leave one of two entries that two runs made at the same time.

        Every run ranks them alike by age, so both agree. A run deletes its own, later one; at its
        end also the other's, if that was made after its own, under the same name, and is still
        there.
        """
        if not self.created:
            return
        same = [
            entry
            for entry in same_iso(self._entries(), self.item)
            if entry.version.id not in self._left_alone
        ]
        for scope in {entry.scope for entry in same}:
            rivals = sorted((e for e in same if e.scope == scope), key=age_order)
            ours = [entry for entry in rivals if entry.version.id in self.created]
            if len(rivals) < 2 or not ours:
                continue
            for loser in rivals[1:]:
                later = age_order(loser) > age_order(ours[0])
                theirs = later and loser.version.name == self.item.name and not ours_only
                if loser in ours or theirs:
                    self._drop(loser.version.id)
        self.look()

    def _drop(self, version_id: str) -> None:
        try:
            self.mold.delete_version(version_id)
        except IsobuilderError as error:
            if isinstance(error, MoldRefused) and error.says(BUSY):
                self._later.add(version_id)
            else:
                self._later.discard(version_id)
                self._warn(f"{version_id} is a double: {_said(error)}")
            return
        self.created.discard(version_id)
        self._later.discard(version_id)
        self.result.done.append(f"deleted {version_id}: registered twice at once")

    def doubles_left(self) -> bool:
        """Try again to delete the doubles that were busy; tell whether some still are."""
        for version_id in sorted(self._later):
            self._drop(version_id)
        return bool(self._later)

    def _set_state(self) -> None:
        """Enable or disable what serves, where asked for."""
        if self.request.enabled is None:
            return
        state = "Enabled" if self.request.enabled else "Disabled"
        entries = {entry.version.id: entry for entry in self.serving.values()}
        for version_id, entry in sorted(entries.items()):
            if entry.version.state != state:
                self.mold.set_state(version_id, enabled=self.request.enabled)
                self.result.done.append(f"{version_id} is {state}")

    def watch(self) -> Watch:
        """Return what watches the zones."""
        return Watch(self.mold, self.zones, self.serving, self.item)

    def adopt(self, watch: Watch) -> bool:
        """Take equal entries in place of those that went away during the wait, if there are any."""
        self.look()
        if any(zone.id not in self.serving for zone in self.zones):
            return False
        watch.serving = dict(self.serving)
        watch.vanished.clear()
        return True

    def finish(self, watch: Watch) -> None:
        """Write down what every zone got; delete what failed, and the doubles of what did not."""
        self.result.zones = watch.results() + self.refused
        for version_id in self._later:
            self._warn(f"{version_id} is a double and busy; run the same command later")
        if self._failed():
            self._take_back()
            return
        try:
            self._drop_doubles(ours_only=False)
        except IsobuilderError as error:  # what was asked for is done
            self._warn(f"doubles could not be looked for: {_said(error)}")

    def _failed(self) -> set[str | None]:
        """Return the versions that failed in some zone."""
        return {z.version_id for z in self.result.zones if z.outcome is Outcome.FAILED}

    def worth_another_round(self) -> bool:
        """Tell whether only what others had begun failed, so that it can be replaced now."""
        failed = self._failed()
        if not failed or failed & self.ever_created or not self.zones:
            return False
        try:
            self.look()
        except IsobuilderError as error:
            log.info("%s: %s", self.mold.name, error)  # what failed first is what is told
            return False
        return bool(self.broken)

    def _take_back(self) -> None:
        """Delete what this run registered and what failed, unless it is to be kept."""
        if self.request.keep_failed:
            return
        failed = self._failed()
        reached = {zone.version_id for zone in self.result.zones}
        for version_id in sorted(self.created):
            if version_id in failed or version_id not in reached:
                self._delete_again(version_id)
        self.created.clear()

    def _delete_again(self, version_id: str) -> None:
        """Delete what this run made; that it could not be deleted hides no reason before."""
        self.created.discard(version_id)
        try:
            self.mold.delete_version(version_id)
        except IsobuilderError as error:
            self._warn(
                f"{version_id} could not be deleted yet: {_said(error)}; run the same command later"
            )
        else:
            self.result.done.append(f"deleted {version_id} again")


def _said(error: IsobuilderError) -> str:
    return error.text if isinstance(error, MoldRefused) else str(error)


def _lost(entry: RegisteredVersion) -> str:
    return "whose ISO is gone" if entry.orphaned else "whose download had failed"


def _where(zone: ZoneRecord | None) -> str:
    return zone.name if zone else "all zones"
