"""A few buffers that one thread fills while others work through what was filled before."""

from __future__ import annotations

import mmap
import queue
import threading
from collections.abc import Callable, Sequence

from isobuilder.digest import BUFFER_SIZE

Consumer = Callable[[memoryview], None]

_SLOTS = 8  # enough to even out a slow disk


class Ring:
    """Hand buffers to every consumer, each in a thread of its own, in the order they were given.

    A buffer is used again only when all consumers are done with it, so nothing is copied and memory
    stays the same for any amount of bytes. Hashing and reading release the interpreter's lock.
    A buffer has ``size`` bytes and begins where a page does if that is a multiple of a page.
    """

    def __init__(self, consumers: Sequence[Consumer], *, size: int = BUFFER_SIZE) -> None:
        memory = memoryview(mmap.mmap(-1, _SLOTS * size))
        self._slots = [memory[start : start + size] for start in range(0, len(memory), size)]
        self._given = 0
        self._failed: list[BaseException] = []
        self._free = [threading.Semaphore(_SLOTS) for _ in consumers]
        self._queues: list[queue.SimpleQueue[memoryview | None]] = [
            queue.SimpleQueue() for _ in consumers
        ]
        self._threads = [
            threading.Thread(target=self._consume, args=arguments, daemon=True)
            for arguments in zip(consumers, self._queues, self._free, strict=True)
        ]

    def __enter__(self) -> Ring:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        for waiting in self._queues:
            waiting.put(None)
        for thread in self._threads:
            thread.join()
        if error is None:
            self._raise_failure()

    def take(self) -> memoryview:
        """Return a whole buffer that is free, waiting for the slowest consumer."""
        for free in self._free:
            free.acquire()
        self._raise_failure()
        return self._slots[self._given % _SLOTS]

    def give(self, filled: memoryview) -> None:
        """Pass on what was filled of the buffer taken last."""
        self._given += 1
        for waiting in self._queues:
            waiting.put(filled)

    def _consume(
        self,
        consumer: Consumer,
        waiting: queue.SimpleQueue[memoryview | None],
        free: threading.Semaphore,
    ) -> None:
        try:
            while (filled := waiting.get()) is not None:
                consumer(filled)
                free.release()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that fills
            self._failed.append(error)
            while waiting.get() is not None:
                free.release()
            return

    def _raise_failure(self) -> None:
        if self._failed:
            raise self._failed[0]
