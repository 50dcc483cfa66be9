"""One large file over several connections: who brings which bytes.

A download begins as one stretch. A connection that has nothing else to do takes the second half of
the longest stretch that is under way. The first connection, the head, collects what the others
brought when it gets there, and fetches itself what they did not bring.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

WAYS = 4  # connections for one file at most
SMALLEST = 16 * 1024 * 1024  # bytes that are worth a connection of their own


@dataclass(slots=True, eq=False)
class ByteRange:
    """Consecutive bytes that one connection brings."""

    start: int
    end: int  # moves towards the start when another connection takes the rest
    received: int = 0
    busy: bool = True

    @property
    def left(self) -> int:
        """Bytes that have not come yet."""
        return self.end - self.start - self.received


class ByteRanges:
    """The stretches of one download of ``size`` bytes, of which the head has ``position``.

    ``leftovers`` are stretches of an earlier run: start and number of bytes.
    """

    def __init__(self, size: int, position: int, leftovers: Mapping[int, int]) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._open = False
        self._head = ByteRange(0, size, position)
        self._others = {
            start: ByteRange(start, start + length, length, busy=False)
            for start, length in leftovers.items()
            if start >= position
        }
        self._head.end = self._next_start()

    @property
    def received(self) -> int:
        """Bytes that other connections brought and the head has not collected yet."""
        with self._lock:
            return sum(stretch.received for stretch in self._others.values())

    def invite(self) -> None:
        """Let others help: the server was found to serve parts of one certain version."""
        self._open = True

    def close(self) -> None:
        """Let nobody begin to help, and those who do stop."""
        with self._lock:
            self._open = False
            for stretch in self._others.values():
                stretch.end = stretch.start

    def take(self) -> ByteRange | None:
        """Return a stretch that the caller is to bring, or None when there is none worth it."""
        with self._lock:
            busy = [part for part in (self._head, *self._others.values()) if part.busy]
            if not self._open or not busy or len(busy) >= WAYS:
                return None
            longest = max(busy, key=lambda part: part.left)
            if longest.left < 2 * SMALLEST:
                return None
            middle = longest.end - longest.left // 2
            taken = self._others[middle] = ByteRange(middle, longest.end)
            longest.end = middle
            return taken

    def accept(self, stretch: ByteRange, amount: int) -> int:
        """Count ``amount`` received bytes and return how many of them belong to ``stretch``."""
        with self._lock:
            fitting = min(amount, max(0, stretch.left))
            stretch.received += fitting
            return fitting

    def settle(self, stretch: ByteRange) -> None:
        """Nothing more will come of ``stretch`` by its connection."""
        with self._lock:
            stretch.busy = False

    def accept_head(self, amount: int) -> int:
        """Do the same as ``accept`` for the head."""
        return self.accept(self._head, amount)

    def head_is_done(self) -> bool:
        """Say if the head has come to its end, where others may have gone on."""
        with self._lock:
            return self._head.left <= 0

    def following(self, position: int) -> ByteRange | None:
        """Return the stretch that somebody else brings from ``position`` on."""
        with self._lock:
            return self._others.get(position)

    def collect(self, stretch: ByteRange, amount: int) -> None:
        """Make ``amount`` bytes of a settled stretch the head's own; the rest is the head's too."""
        with self._lock:
            del self._others[stretch.start]
            self._head.received += amount
            self._head.end = self._next_start()

    def _next_start(self) -> int:
        return min(self._others, default=self._size)
