"""Work in other threads, and calling it off while it is under way."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from isobuilder.errors import EnvironmentProblem

_STOPPING = 2.0  # seconds to wait for threads whose connections were ended

P = ParamSpec("P")
T = TypeVar("T")


class Interruptible(Protocol):
    """Something that waits, and that another thread can end."""

    def interrupt(self) -> None:
        """End it soon; whoever waits for it gets an exception."""


class CalledOff(Exception):
    """Another download failed, or a person interrupted; what has come so far stays."""


class Halt:
    """Calls off transfers that are under way in other threads."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._under_way: set[Interruptible] = set()

    def call_off(self) -> None:
        """End all transfers soon, also those that wait for a silent server."""
        self._event.set()
        with self._lock:
            under_way = list(self._under_way)
        for response in under_way:
            response.interrupt()

    def check(self) -> None:
        """Raise ``CalledOff`` when it is time to stop."""
        if self._event.is_set():
            raise CalledOff

    def pause(self, seconds: float) -> None:
        """Sleep, or raise ``CalledOff`` when it is time to stop."""
        if self._event.wait(seconds):
            raise CalledOff

    @contextmanager
    def covering(self, response: Interruptible) -> Iterator[None]:
        """Let ``call_off`` reach ``response`` during the block."""
        with self._lock:
            self._under_way.add(response)
        try:
            self.check()
            yield
        except Exception:  # of whatever kind: if we broke it ourselves, that is the reason
            self.check()
            raise
        finally:
            with self._lock:
                self._under_way.discard(response)


@contextmanager
def pooled(threads: int, name: str, *, end: Callable[[], None] | None = None) -> Iterator[Executor]:
    """Give what works in up to so many threads; all is done when the block has ended well.

    What ends the block otherwise, a Ctrl-C too, is passed on as soon as it can be: nothing new is
    begun. Work that uses connections says with ``end`` how they are closed: an interruption closes
    them and waits no longer than a moment, and an error leaves to itself what is under way. Other
    work comes to its own end, for it may be at files that whoever catches that closes.
    """
    pool = _Pool(threads, name)
    try:
        yield pool
        pool.join()
    except BaseException as error:
        pool.call_off()
        if end is not None and isinstance(error, KeyboardInterrupt | SystemExit):
            end()
            pool.join(_STOPPING)
        else:
            pool.join(None if end is None else 0.0)
        raise


_Work = tuple["Future[object]", Callable[[], object]]


class _Pool(Executor):
    """Threads that keep no program from ending, as those of the standard library do.

    One may wait for a name to be resolved, or for a disk, and nobody can wake it.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, act: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See ``Executor``."""
        future: Future[T] = Future()
        self._waiting.put((future, partial(act, *args, **kwargs)))  # type: ignore[arg-type]
        if len(self._threads) < self._most:
            self._start()
        return future

    def call_off(self) -> None:
        """Begin nothing of what still waits."""
        while True:
            try:
                work = self._waiting.get_nowait()
            except queue.Empty:
                break
            if work is not None:
                work[0].cancel()

    def join(self, timeout: float | None = None) -> None:
        """Wait until all is done, or for so many seconds; nothing can be submitted any more."""
        until = None if timeout is None else time.monotonic() + timeout
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))

    def _start(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread left; those that run do the work
            if not self._threads:
                raise EnvironmentProblem(f"no thread can be started: {error}") from error
            return
        self._threads.append(thread)

    def _work(self) -> None:
        while (work := self._waiting.get()) is not None:
            future, act = work
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(act())
                except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                    future.set_exception(error)
            del work, future, act  # not kept until the next comes
