"""Calling off transfers that are under way in other threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


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
