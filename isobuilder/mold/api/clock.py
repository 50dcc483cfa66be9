"""Time as the rest of this room sees it, so that a test can hold it in its hand."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Return the time of day, with its zone."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


SYSTEM_CLOCK: Clock = SystemClock()


@dataclass(slots=True)
class Poll:
    """Looking again and again until a deadline, the pauses growing from ``every`` to ``slowest``.

    ``deadline`` is a moment of ``clock.monotonic()``; all are seconds.
    """

    clock: Clock
    deadline: float
    every: float
    slowest: float | None = None  # None: the pause stays what it is

    @classmethod
    def lasting(
        cls, clock: Clock, timeout: float, *, every: float, slowest: float | None = None
    ) -> Poll:
        """Return one whose deadline is ``timeout`` seconds from now."""
        return cls(clock, clock.monotonic() + timeout, every, slowest)

    def again(self) -> bool:
        """Wait for the next look; False, at once, when the deadline would pass meanwhile."""
        if self.clock.monotonic() + self.every > self.deadline:
            return False
        self.clock.sleep(self.every)
        if self.slowest is not None:
            self.every = min(self.every * 2, self.slowest)
        return True
