"""A clock that a test holds in its hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class VirtualClock:
    """Time passes only while somebody sleeps; a sleep takes no real time worth naming."""

    def __init__(self, start: datetime = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._lock = threading.Lock()
        self.slept: list[float] = []
        self.on_sleep: list[Callable[[float], None]] = []

    def now(self) -> datetime:
        with self._lock:
            return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        with self._lock:
            return self._elapsed

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._elapsed += seconds
            self.slept.append(seconds)
        for call in list(self.on_sleep):
            call(self.monotonic())
        time.sleep(0)


class SkewedClock(VirtualClock):
    """Another clock's time, so many seconds away."""

    def __init__(self, other: VirtualClock, ahead: float) -> None:
        super().__init__()
        self._other = other
        self._ahead = timedelta(seconds=ahead)

    def now(self) -> datetime:
        return self._other.now() + self._ahead

    def monotonic(self) -> float:
        return self._other.monotonic()

    def sleep(self, seconds: float) -> None:
        self._other.sleep(seconds)
