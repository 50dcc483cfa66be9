"""One ISO becomes a supported Kubernetes version, Ready in every zone; asked twice, done once."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock

from isobuilder.errors import EnvironmentProblem, IsobuilderError, MoldError
from isobuilder.mold.api.client import MoldClient
from isobuilder.mold.api.clock import Clock
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.records import ZoneRecord
from isobuilder.mold.journal import FOLLOW_REDIRECTS, Journal
from isobuilder.mold.registered import zones_served
from isobuilder.mold.request import Request, ServerResult, check_request
from isobuilder.mold.work import Work
from isobuilder.progress import SILENT, Progress


def register(
    clients: Sequence[MoldClient],
    wish: Request,
    *,
    journal: Journal,
    progress: Progress = SILENT,
) -> list[ServerResult]:
    """Register on every server and wait until every zone is Ready; one result for each server.

    A server's failure does not keep the others from their result. What is there already is found by
    version, architecture, bytes and zone, and left alone, so running it again changes nothing.

    Raises:
        InputError: the wish itself makes no sense.
    """
    check_request(wish)
    runs: list[tuple[ServerResult, Clock, Generator[float, None, None]]] = []
    seen: set[str] = set()
    for client in clients:
        if client.endpoint not in seen:
            seen.add(client.endpoint)
            result = ServerResult(client.server.name)
            runs.append(
                (result, client.clock, _on_server(Mold(client), wish, journal, result, progress))
            )
    with ExitStack() as stack:
        for _result, _clock, steps in runs:
            stack.callback(steps.close)
        active = list(runs)
        while active:
            waits = []
            for run in list(active):
                result, clock, steps = run
                try:
                    waits.append((next(steps), clock))
                except StopIteration:
                    active.remove(run)
                except IsobuilderError as error:
                    result.error = error
                    active.remove(run)
            if waits:
                seconds, clock = min(waits, key=lambda wait: wait[0])
                clock.sleep(seconds)
    return [result for result, _clock, _steps in runs]


def _on_server(
    mold: Mold, wish: Request, journal: Journal, result: ServerResult, progress: Progress
) -> Generator[float, None, None]:
    """Do it on one server; yields the seconds until it wants to look again."""
    if not wish.dry_run:
        result.done += journal.finish_pending(mold)
    zones = _wanted_zones(mold, wish, result)
    work = Work(mold, wish, zones, result, journal)
    with ExitStack() as stack:
        for _round in range(2):
            with _one_at_a_time(journal.folder, mold, wish):
                targets = work.look()
                if wish.dry_run:
                    work.describe(targets)
                    return
                downloads = wish.upload is None and not wish.direct_download
                if (
                    wish.follow_redirects
                    and downloads
                    and (targets or work.unready())
                    and stack.enter_context(journal.changed(mold, FOLLOW_REDIRECTS, "true"))
                ):
                    result.done.append(f"{FOLLOW_REDIRECTS} was true during the download")
                yield from work.add(targets, progress)
                work.drop_doubles(ours_only=True)
                work.set_state()
            if not wish.wait:
                result.zones = work.watch().results(pending=True) + work.refused
                return
            yield from work.follow(progress)
            if not work.worth_another_round():
                return


def _wanted_zones(mold: Mold, wish: Request, result: ServerResult) -> tuple[ZoneRecord, ...]:
    zones = mold.zones()
    if not zones:
        raise MoldError(f"{mold.name}: this server has no zone, or the key may not see it")
    if not wish.zones:
        served = zones_served(zones, direct=wish.direct_download)
        if not served:
            raise MoldError(f"{mold.name}: no enabled zone takes downloads")
        left_out = [zone.name for zone in zones if zone not in served]
        if left_out:
            result.warnings.append(f"not waited for: {', '.join(left_out)} (disabled or edge)")
        return served
    chosen = []
    for key in dict.fromkeys(wish.zones):
        found = [zone for zone in zones if key in {zone.id, zone.name}]
        if len(found) != 1:
            known = ", ".join(sorted(zone.name for zone in zones))
            raise MoldError(
                f"{mold.name}: {'no' if not found else 'more than one'} zone {key!r}",
                hint=f"known: {known}",
            )
        if found[0].edge and not wish.direct_download:
            raise MoldError(
                f"{mold.name}: {found[0].name} is an edge zone and takes only direct download",
                hint="add --direct-download",
            )
        chosen.append(found[0])
    return tuple(chosen)


@contextmanager
def _one_at_a_time(folder: Path, mold: Mold, wish: Request) -> Iterator[None]:
    """Keep two runs on this machine from registering the same thing at the same time."""
    registration = wish.registration
    what = f"{mold.client.endpoint} {registration.kubernetesversion} {registration.arch}"
    path = folder / f"register-{hashlib.sha256(what.encode()).hexdigest()[:16]}.lock"
    lock = filelock.FileLock(path)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire(timeout=wish.timeout)
    except filelock.Timeout as error:
        raise EnvironmentProblem(
            f"{path}: another run registers {registration.name} on {mold.name}"
        ) from error
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: cannot be used: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
