"""How long an answer may take: a deadline for its head, a least speed for its body."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from isobuilder.http.settings import HttpSettings

HINT = "transfer.least_speed in the configuration is the least speed that is waited for"

_current = threading.local()


class TooSlow(OSError):
    """A server that sends always a little, and never gets to an end."""


class Pace:
    """Watches one answer. Only time spent waiting for bytes counts, not what is done with them."""

    def __init__(self, settings: HttpSettings) -> None:
        # Silence is for stall_timeout to end; twice that is for a head that comes bit by bit.
        self.head_seconds = 2 * settings.stall_timeout
        self.failed: str | None = None  # why, once it was too slow
        self._least = settings.least_speed * settings.least_speed_seconds
        self._settings = settings
        self._in_head = True
        self._waited = 0.0  # seconds, for the head or since the speed was last looked at
        self._came = 0  # bytes of the body meanwhile

    def head_is_there(self) -> None:
        """What follows is the body."""
        self._in_head, self._waited = False, 0.0

    def came(self, count: int) -> None:
        """``count`` bytes of the body came."""
        self._came += count

    def waited(self, seconds: float) -> None:
        """Some bytes were waited for.

        Raises:
            TooSlow: the head took too long, or the body came too slowly.
        """
        self._waited += seconds
        settings = self._settings
        if self._in_head and self._waited > self.head_seconds:
            self.fail(f"no whole head of an answer within {self.head_seconds:g} s")
        if not self._in_head and self._waited > settings.least_speed_seconds:
            if self._came < self._least:
                self.fail(
                    f"slower than {settings.least_speed} bytes a second "
                    f"over {settings.least_speed_seconds:g} s"
                )
            self._waited, self._came = 0.0, 0

    def fail(self, fact: str) -> None:
        """Note and raise that it was too slow."""
        self.failed = fact
        raise TooSlow(fact)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let connections that this thread opens or reads from find this pace."""
        _current.pace = self
        try:
            yield
        finally:
            _current.pace = None


def current_pace() -> Pace | None:
    """Return the pace that this thread watches."""
    return getattr(_current, "pace", None)
