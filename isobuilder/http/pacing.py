"""When to wait: between tries, and for a rate that all transfers share."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from isobuilder.cancel import Interruptible
from isobuilder.http.failure import HttpFailure
from isobuilder.http.settings import HttpSettings

_LONGEST_DELAY = 30.0  # seconds between two tries, unless the server asks for more

Pause = Callable[[float], None]
"""Sleep for some seconds; raises when the work was called off meanwhile."""


class RetryBudget:
    """How often and how long one thing is tried again.

    Delays double from ``first_delay``, half of each by chance, so that many clients do not come
    back at once. A server's Retry-After counts when it is longer. ``retries`` is for each
    address, ``budget`` (seconds of waiting) for all of them together.
    """

    def __init__(self, *, retries: int, budget: float, first_delay: float, pause: Pause) -> None:
        self._retries = retries
        self._left = budget
        self._first_delay = first_delay
        self._pause = pause
        self._tries = 0

    def start_over(self) -> None:
        """Count tries from zero: another address, or the last try made progress."""
        self._tries = 0

    def wait_after(self, failure: HttpFailure) -> None:
        """Sleep until the next try is due.

        Raises:
            HttpFailure: ``failure`` itself, when another try is pointless or too late.
        """
        if not failure.temporary or self._tries >= self._retries:
            raise failure
        # Chance here spreads load; it decides nothing that must not be guessed.
        delay = min(_LONGEST_DELAY, self._first_delay * 2.0**self._tries)
        delay *= random.uniform(0.5, 1.0)  # noqa: S311
        delay = max(delay, failure.retry_after or 0.0)
        if delay > self._left:
            raise failure
        self._tries += 1
        self._left -= delay
        self._pause(delay)


class RateLimit:
    """Bytes per second that any number of threads share."""

    def __init__(self, rate: int, *, pause: Pause) -> None:
        self._rate = rate
        self._pause = pause
        self._lock = threading.Lock()
        self._paid_until = time.monotonic()

    @property
    def piece(self) -> int:
        """How many bytes to take at a time so that the rate is even: a tenth of a second."""
        return max(1024, self._rate // 10)

    def take(self, amount: int) -> None:
        """Wait until ``amount`` more bytes may have passed.

        Each caller books the time its bytes take and sleeps to the end of it, so the sum over all
        threads keeps the rate whoever comes first.
        """
        with self._lock:
            now = time.monotonic()
            self._paid_until = max(self._paid_until, now) + amount / self._rate
            delay = self._paid_until - now
        if delay > 0:
            self._pause(delay)


_HINT = "transfer.least_speed in the configuration is the least speed that is waited for"
_FLOOD_HINT = "no server that works sends this; look at who answers at that address"
_SPARE = 1024 * 1024  # bytes that may come for nothing; heads have some KiB
_WORTH = 4  # bytes that may come for each of a body: in chunks of two it takes 3.5

_current = threading.local()


class Endless(OSError):
    """A server that sends always a little, or much that is nothing, and never gets to an end."""


class Pace:
    """Watches one answer, for how long it takes and how much of what comes is of any use.

    Of a body only the time counts that is spent waiting, not what is done with its bytes.

    ``until`` is when all has to be there, by ``time.monotonic``.
    ``called_off`` tells whether nothing shall be sent any more, not even a body to its end.
    """

    def __init__(
        self,
        settings: HttpSettings,
        called_off: Callable[[], bool] = lambda: False,
        *,
        until: float = math.inf,
    ) -> None:
        self.called_off = called_off
        self.connection: Interruptible | None = None  # what the head is waited for on
        # Silence is for stall_timeout to end; twice that is for a head that comes bit by bit.
        self.head_seconds = 2 * settings.stall_timeout
        self.failed: str | None = None  # why, once it was left
        self.hint = _HINT
        self._least = settings.least_speed * settings.least_speed_seconds
        self._settings = settings
        self._until = until
        self._waited = 0.0  # seconds, since the speed was last looked at
        self._came = 0  # bytes of the body meanwhile
        self.begin()

    def begin(self) -> None:
        """What follows is the head: of a proxy's answer, then of the server's."""
        self._head_until: float | None = time.monotonic() + self.head_seconds
        self._spare = _SPARE

    def head_is_there(self) -> None:
        """What follows is the body."""
        self._head_until, self._waited, self._spare = None, 0.0, _SPARE

    def came(self, count: int) -> None:
        """``count`` bytes of the body came."""
        self._came += count
        self._spare = min(_SPARE, self._spare + _WORTH * count)

    def received(self, count: int, seconds: float) -> None:
        """So many bytes came, of whatever kind, and were waited for.

        Raises:
            Endless: the head took too long, the body came too slowly, or hardly any of it.
        """
        self._waited += seconds
        self._spare -= count
        if time.monotonic() > self._until:
            self._fail("no whole answer in time")
        settings = self._settings
        if self._head_until is not None:
            if time.monotonic() > self._head_until:
                self._fail(f"no whole head of an answer within {self.head_seconds:g} s")
            if self._spare < 0:
                self._fail(f"no whole head of an answer in {_SPARE} bytes", _FLOOD_HINT)
            return
        if self._spare < 0:
            # Such as trailers without end, or what chunks may have beside their bytes.
            self._fail(f"hardly any of a body in more than {_SPARE} bytes", _FLOOD_HINT)
        if self._waited > settings.least_speed_seconds:
            if self._came < self._least:
                self._fail(
                    f"slower than {settings.least_speed} bytes a second "
                    f"over {settings.least_speed_seconds:g} s"
                )
            self._waited, self._came = 0.0, 0

    def _fail(self, fact: str, hint: str = _HINT) -> None:
        self.failed, self.hint = fact, hint
        raise Endless(fact)

    def interrupt(self) -> None:
        """Let the thread that waits for a connection or a head see the end of it."""
        if (connection := self.connection) is not None:
            connection.interrupt()

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
