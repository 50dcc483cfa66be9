"""Wanted things -> blobs in the store: one queue, many connections."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

from isobuilder.cancel import CalledOff, Halt
from isobuilder.digest import BlobLike
from isobuilder.errors import EnvironmentProblem, IntegrityError, IsobuilderError, UpstreamError
from isobuilder.http.client import Http
from isobuilder.progress import SILENT, Progress, Task, task
from isobuilder.sources.download import Authorize, Download
from isobuilder.sources.ranges import SMALLEST, WAYS
from isobuilder.sources.remote import ELSEWHERE, RemoteStore
from isobuilder.sources.transfer import Transfer
from isobuilder.store import Blob, Partial, Store, partial_of

__all__ = ["Authorize", "Download", "Fetcher"]

_log = logging.getLogger(__name__)

_WORTH_A_SUM = 4  # downloads; of fewer each tells enough
GRACE = 3.0  # seconds in which other downloads may still end by themselves after one failed
_STOPPING = 2.0  # seconds to wait for threads that were told to stop
_LOOK = 0.1  # seconds between looks for a large file that could be helped with
_OTHER_HOLDER = 0.1  # seconds between looks at a download another process is busy with


class Fetcher:
    """Brings things into a store; safe to use from several threads.

    The largest come first, so that nothing large is left alone at the end; what has no known size
    counts as large. What several ask for, in this process or another, travels once.
    """

    def __init__(
        self,
        store: Store,
        http: Http,
        *,
        jobs: int = 8,
        progress: Progress = SILENT,
        remote: RemoteStore | None = None,
    ) -> None:
        self._store = store
        self._remote = remote
        self._http = http
        self._jobs = jobs
        self._progress = progress

    def fetch(self, wanted: Sequence[Download]) -> list[BlobLike]:
        """Return the blobs of ``wanted``, in the same order.

        The first failure stops the queue. Whatever is complete by then is kept, and so are the
        first bytes of the rest, from which the next run goes on.

        Raises:
            UpstreamError: something could not be had from any address.
            IntegrityError: some server has other bytes than were promised.
            EnvironmentProblem: the disk is full, or ``offline`` is set and something is missing.
        """
        groups: dict[str, list[Download]] = {}
        for item in wanted:
            groups.setdefault(item.key, []).append(item)
        blobs: dict[str, BlobLike] = {}
        for key, group in groups.items():
            if group[0].digest and (blob := self._store.find(group[0].digest)):
                blobs[key] = blob
        missing = [group for key, group in groups.items() if key not in blobs]
        if self._http.settings.offline:
            _refuse_remote(missing, self._store)
        if missing:
            blobs |= _Round(self, missing).run(self._jobs)
        for item in wanted:
            if item.size not in {None, blobs[item.key].size}:
                raise IntegrityError(
                    f"{item.name}: expected {item.size} bytes, {item.digest} has "
                    f"{blobs[item.key].size}",
                    hint="its size and its digest are of different files: lock the recipe again",
                )
        return [blobs[item.key] for item in wanted]


class _Round:
    """One call of ``fetch``: its queue, its threads, what became of each thing."""

    def __init__(self, fetcher: Fetcher, groups: Sequence[Sequence[Download]]) -> None:
        self._store = fetcher._store
        self._http = fetcher._http
        self._progress = fetcher._progress
        self._remote = fetcher._remote
        self._queue = sorted(groups, key=_largest_first)
        self._later: dict[str, float] = {}  # what another machine brings, and when to look again
        self._changed = threading.Condition()
        self._busy: Counter[str] = Counter()  # downloads under way by host
        self._transfers: dict[Transfer, str] = {}  # under way, with the host
        self._unsettled = 0  # of what was taken from the queue
        self._running = 0  # threads
        self._halt = Halt()
        self._sum: Task | None = None  # of all downloads, if they are several
        self._blobs: dict[str, BlobLike] = {}
        self._errors: list[Exception] = []

    def run(self, jobs: int) -> dict[str, BlobLike]:
        """Return the blobs by key."""
        expected = len(self._queue)
        useful = sum(max(1, min(WAYS, (group[0].size or 0) // SMALLEST)) for group in self._queue)
        self._running = min(jobs, useful)
        with self._summing():
            return self._run(expected)

    @contextmanager
    def _summing(self) -> Iterator[None]:
        """Report all downloads together as well; how much it is can be said if all sizes are known.

        What other processes bring meanwhile, or have begun, is not counted.
        """
        if len(self._queue) < _WORTH_A_SUM:
            yield
            return
        sizes = [group[0].size for group in self._queue]
        known = sum(size for size in sizes if size is not None)
        total = None if None in sizes else known
        with task(self._progress, f"{len(sizes)} downloads", total=total) as self._sum:
            yield

    def _run(self, expected: int) -> dict[str, BlobLike]:
        try:
            self._start()
            with self._changed:
                self._changed.wait_for(lambda: self._errors or not self._running)
                self._changed.wait_for(lambda: not self._running, timeout=GRACE)
        finally:
            self._halt.call_off()
            with self._changed:
                self._queue.clear()
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._running, timeout=_STOPPING)
        for error in self._errors:
            if not isinstance(error, IsobuilderError):
                raise error  # such as no descriptor left: told like in the first thread
        if self._errors:
            raise _all_of([e for e in self._errors if isinstance(e, IsobuilderError)], expected)
        if len(self._blobs) < expected:
            raise RuntimeError("a download ended without blob and without error")
        return self._blobs

    def _start(self) -> None:
        wanted = self._running
        for number in range(wanted):
            try:
                # Daemons: one that waits for a silent server must not keep a program from ending.
                threading.Thread(target=self._worker, name=f"fetch-{number}", daemon=True).start()
            except RuntimeError as error:  # no thread left; those that run do the work
                with self._changed:
                    self._running -= wanted - number
                if number == 0:
                    raise EnvironmentProblem(f"no thread can be started: {error}") from error
                return

    def _worker(self) -> None:
        try:
            while (work := self._next()) is not None:
                host, act = work
                try:
                    act()
                except CalledOff:
                    pass
                except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
                    with self._changed:
                        self._errors.append(error)
                        self._queue.clear()
                finally:
                    with self._changed:
                        self._busy[host] -= 1
                        self._changed.notify_all()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _next(self) -> tuple[str, Callable[[], None]] | None:
        """Return work for one connection and the host it is with; None when all is done."""
        with self._changed:
            while not self._errors and (self._queue or self._unsettled):
                now = time.monotonic()
                for position, group in enumerate(self._queue):
                    if self._later.get(group[0].key, now) <= now and self._reserve(_host(group)):
                        self._queue.pop(position)
                        self._unsettled += 1
                        return _host(group), partial(self._settle, group)
                for transfer, host in self._transfers.items():
                    if self._reserve(host):
                        if help_ := transfer.offer():
                            return host, help_
                        self._busy[host] -= 1
                self._changed.wait(_LOOK)
            return None

    def _reserve(self, host: str) -> bool:
        if self._busy[host] >= self._http.settings.per_host:
            return False
        self._busy[host] += 1
        return True

    def _settle(self, group: Sequence[Download]) -> None:
        """Bring one thing and note what became of it."""
        try:
            blob = self._bring(group)
            with self._changed:
                if blob is not None:
                    self._blobs[group[0].key] = blob
                elif not self._errors:
                    self._later[group[0].key] = time.monotonic() + ELSEWHERE
                    self._queue.append(group)
        except IsobuilderError as error:
            with self._changed:
                self._errors.append(error)
                self._queue.clear()
        finally:
            with self._changed:
                self._unsettled -= 1

    def _bring(self, group: Sequence[Download]) -> BlobLike | None:
        """Return the blob; None while another machine brings it into the shared store."""
        first = group[0]
        while True:
            with partial_of(self._store, first.key) as held:
                # Looked for while holding the download, or another process could just finish it.
                if first.digest and (blob := self._store.find(first.digest)):
                    if held is not None:
                        held.discard()
                    return blob
                if held is not None and self._remote is None:
                    return self._transfer(group, held)
                if held is not None and self._remote is not None:
                    return self._share(self._remote, group, held)
            self._halt.pause(_OTHER_HOLDER)

    def _share(self, remote: RemoteStore, group: Sequence[Download], held: Partial) -> Blob | None:
        blob = remote.turn(group[0], self._store, lambda claim: self._transfer(group, held, claim))
        if blob is not None:
            held.discard()  # what an earlier run had of it
        return blob

    def _transfer(
        self, group: Sequence[Download], held: Partial, claim: Task | None = None
    ) -> Blob:
        with task(self._progress, group[0].name, total=group[0].size) as work:
            others = [other for other in (self._sum, claim) if other is not None]
            told = _CountedTask(work, others) if others else work
            transfer = Transfer(group, http=self._http, partial=held, halt=self._halt, work=told)
            with self._changed:
                self._transfers[transfer] = _host(group)
            try:
                blob = transfer.run()
                _log.info("%s: %d bytes from %s", group[0].name, blob.size, _host(group))
                return blob
            finally:
                with self._changed:
                    del self._transfers[transfer]


class _CountedTask:
    """One download that others are told of as well."""

    def __init__(self, own: Task, others: Sequence[Task]) -> None:
        self._own, self._others = own, others

    def advance(self, amount: int) -> None:
        for one in (self._own, *self._others):
            one.advance(amount)

    def set_total(self, total: int) -> None:
        self._own.set_total(total)

    def done(self) -> None:
        self._own.done()


def _largest_first(group: Sequence[Download]) -> float:
    sizes = [item.size for item in group if item.size is not None]
    return -max(sizes) if sizes else float("-inf")


def _host(group: Sequence[Download]) -> str:
    return urlsplit(group[0].urls[0]).netloc


def _refuse_remote(missing: Sequence[Sequence[Download]], store: Store) -> None:
    names = [
        group[0].name
        for group in missing
        if not any(url.startswith("file:") for item in group for url in item.urls)
    ]
    if names:
        raise offline_problem(names, store)


def offline_problem(names: Sequence[str], store: Store) -> EnvironmentProblem:
    """Return the error for things that ``store`` lacks and that nobody may be asked for."""
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if names[10:] else "")
    return EnvironmentProblem(
        f"offline, and the store {store.root} lacks {len(names)} things: {shown}",
        hint="fetch them without --offline, or name the store that has them with --store",
    )


def _all_of(errors: Sequence[IsobuilderError], expected: int) -> IsobuilderError:
    """Return one error for all; the gravest decides the exit code."""
    if len(errors) == 1:
        return errors[0]
    gravest: type[IsobuilderError] = UpstreamError
    for kind in (IntegrityError, EnvironmentProblem):
        if any(isinstance(error, kind) for error in errors):
            gravest = kind
            break
    reasons = [f"  {line}" for error in errors for line in error.lines]
    hint = next((error.hint for error in errors if error.hint), None)
    return gravest(f"{len(errors)} of {expected} downloads failed:", *reasons, hint=hint)
