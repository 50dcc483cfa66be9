"""One ISO becomes a supported Kubernetes version, Ready in every zone; asked twice, done once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import zip_longest
from pathlib import Path

import platformdirs

from isobuilder.errors import EnvironmentProblem, IsobuilderError, MoldError
from isobuilder.files import as_environment_problem, locked, private_folder
from isobuilder.mold.api.clock import Poll
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.errors import MoldRefused, MoldUnreachable, StrangeAnswer
from isobuilder.mold.api.records import ZoneRecord
from isobuilder.mold.kind import kind_of, refuse_architecture
from isobuilder.mold.reconcile import Reconciler
from isobuilder.mold.registered import find_zones, without_storage_vm, zones_served
from isobuilder.mold.request import RegistrationRequest, ServerResult, check_request
from isobuilder.mold.watch import Watch
from isobuilder.progress import SILENT, Progress


def _state_folder() -> Path:
    """Return where this user's runs find each other."""
    return platformdirs.user_state_path("isobuilder") / "mold"


def register(
    molds: Sequence[Mold],
    request: RegistrationRequest,
    *,
    state: Path | None = None,
    progress: Progress = SILENT,
    tell: Callable[[str], None] = lambda _text: None,
) -> list[ServerResult]:
    """Register on every server and wait until every zone is Ready; one result for each of them.

    A server's failure does not keep the others from their result. What is there already is found by
    version, architecture, bytes and zone, and left alone, so running it again changes nothing.
    Two that are one server, perhaps with other keys, take turns.
    Runs with the same ``state`` folder (default: the user's) do not register at the same time.
    What should be known before anything is changed is also given to ``tell``, at once.

    Raises:
        InputError: the request itself makes no sense.
    """
    check_request(request)
    runs = [_Run(mold, request, state or _state_folder(), tell) for mold in molds]
    servers: dict[str, list[_Run]] = {}
    for run in runs:
        same = servers.setdefault(run.mold.endpoint, [])
        if same:
            tell(f"{run.mold.name} is {same[0].mold.name}: both are {run.mold.endpoint}")
        same.append(run)
    for turn in zip_longest(*servers.values()):  # never two at once on one server
        _take_turn([run for run in turn if run is not None], request, progress)
    return [run.result for run in runs]


def _take_turn(runs: Sequence[_Run], request: RegistrationRequest, progress: Progress) -> None:
    """Register on different servers side by side."""
    for _round in range(2):
        for run in runs:
            run.begin(progress)
        runs = [run for run in runs if run.watch is not None]
        _wait(runs, request, progress)
        for run in runs:
            run.end()
        runs = [run for run in runs if run.again]


def _wait(runs: Sequence[_Run], request: RegistrationRequest, progress: Progress) -> None:
    """Look at all servers in turn until each is done or the time is over."""
    if not runs:
        return
    poll = Poll.lasting(runs[0].mold.clock, request.timeout, every=request.poll)
    with ExitStack() as stack:
        for run in runs:
            if run.watch is not None:
                stack.enter_context(run.watch.shown(progress))
        waiting = list(runs)
        while waiting := [run for run in waiting if not run.done()]:
            if not poll.again():
                for run in waiting:
                    run.give_up()
                return


class _Run:
    """One server: what was begun there, what is waited for, and the result."""

    def __init__(
        self,
        mold: Mold,
        request: RegistrationRequest,
        state: Path,
        tell: Callable[[str], None],
    ) -> None:
        self.mold = mold
        self.request = request
        self.state = state
        self._tell = tell
        self.result = ServerResult(mold.name)
        self.watch: Watch | None = None  # while there is something to wait for
        self.again = False
        self._reconciler: Reconciler | None = None
        self._timed_out = False
        self._lost: IsobuilderError | None = None  # why the last look failed

    @contextmanager
    def _noting_errors(self) -> Iterator[None]:
        """End this server's part, and no other's, with an error."""
        try:
            yield
        except IsobuilderError as error:
            self.result.error = error
            self.watch, self.again = None, False

    def begin(self, progress: Progress) -> None:
        """Look, and add what is missing."""
        self.watch, self.again = None, False
        with self._noting_errors():
            if self._reconciler is None:
                zones = _wanted_zones(self.mold, self.request, self.result)
                self._look_at_kind()
                self._warn_of_idle_zones(zones)
                self._reconciler = Reconciler(self.mold, self.request, zones, self.result)
            with _one_at_a_time(self.state, self.mold, self.request):
                self._reconciler.look()
                if self.request.dry_run:
                    self._reconciler.describe()
                    return
                self._reconciler.add(progress)
            if self.request.wait:
                self.watch = self._reconciler.watch()
            else:
                self._reconciler.report_pending()

    def _look_at_kind(self) -> None:
        """Say that the ISO is for other nodes than this server's, before anything is changed.

        Raises:
            MoldError: the server does not know what architectures are, and this is not its own.
        """
        kind = kind_of(self.mold, self.mold.capabilities())
        refuse_architecture(self.mold, kind, self.request.registration.arch)
        if misfit := kind.misfit(self.request.registration.profile):
            self.result.warnings.append(misfit)
            self._tell(f"{self.mold.name}: {misfit}")

    def _warn_of_idle_zones(self, zones: Sequence[ZoneRecord]) -> None:
        """Say where nobody downloads at the moment, as waiting there may be in vain."""
        if self.request.direct_download:
            return
        with suppress(MoldRefused):  # this key may not see that
            if idle := without_storage_vm(self.mold, zones):
                fact = f"no storage VM runs in {', '.join(idle)}: nothing is downloaded there"
                self.result.warnings.append(fact)
                self._tell(f"{self.mold.name}: {fact}")

    def done(self) -> bool:
        """Look at the zones once; True when there is nothing to wait for."""
        if self.watch is None or self._reconciler is None:
            return True
        finished = True
        with self._noting_errors():
            try:
                finished = self._look(self.watch, self._reconciler)
                self._lost = None
            except (MoldUnreachable, StrangeAnswer) as error:
                finished, self._lost = False, error  # the downloads go on there meanwhile
        return finished

    @staticmethod
    def _look(watch: Watch, reconciler: Reconciler) -> bool:
        finished = watch.look()
        if watch.vanished:
            return not reconciler.adopt(watch)
        return finished and not reconciler.doubles_left()

    def give_up(self) -> None:
        """Call every zone failed that is not Ready by now, if the server still tells."""
        self._timed_out = True
        if self.watch is not None and self._lost is None:
            self.watch.give_up(self.request.timeout)

    def end(self) -> None:
        """Clean up, and tell whether another round is of use."""
        if self.watch is None or self._reconciler is None:
            return
        with self._noting_errors():
            if self._lost is not None:
                self._reconciler.report_pending(self.watch)
                left = "what was registered stays, as it may be Ready by now"
                self.result.warnings.append(f"{left}; run the same command again")
                raise self._lost
            self._reconciler.finish(self.watch)
            self.again = not self._timed_out and self._reconciler.worth_another_round()


def _wanted_zones(
    mold: Mold, request: RegistrationRequest, result: ServerResult
) -> tuple[ZoneRecord, ...]:
    zones = mold.zones()
    if not zones:
        raise MoldError(f"{mold.name}: this server has no zone, or the key may not see it")
    if not request.zones:
        served = zones_served(mold, zones, direct=request.direct_download)
        if not served:
            raise MoldError(f"{mold.name}: no enabled zone takes downloads")
        left_out = [zone.name for zone in zones if zone not in served]
        if left_out:
            why = "disabled, edge, or without secondary storage"
            result.warnings.append(f"not waited for: {', '.join(left_out)} ({why})")
        return served
    chosen = find_zones(zones, request.zones, server=mold.name)
    for zone in chosen:
        if zone.edge and not request.direct_download:
            raise MoldError(
                f"{mold.name}: {zone.name} is an edge zone and takes only direct download",
                hint="add --direct-download",
            )
    return chosen


@contextmanager
def _one_at_a_time(folder: Path, mold: Mold, request: RegistrationRequest) -> Iterator[None]:
    """Keep two runs on this machine from registering the same thing at the same time."""
    registration = request.registration
    what = f"{mold.endpoint} {registration.kubernetesversion} {registration.arch}"
    path = folder / f"register-{hashlib.sha256(what.encode()).hexdigest()[:16]}.lock"
    with ExitStack() as stack:
        with as_environment_problem(private_folder(folder)):
            mine = stack.enter_context(locked(path, timeout=request.timeout))
        if not mine:
            fact = f"{path}: another run registers {registration.name} on {mold.name}"
            raise EnvironmentProblem(fact)
        yield
