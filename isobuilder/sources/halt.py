"""Calling off transfers that are under way in other threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from isobuilder.http import HttpFailure, Response


class CalledOff(Exception):
    """Another download failed, or a person interrupted; what has come so far stays."""


class Halt:
    """Calls off transfers that are under way in other threads."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._under_way: set[Response] = set()

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
    def covering(self, response: Response) -> Iterator[None]:
        """Let ``call_off`` reach ``response`` during the block."""
        with self._lock:
            self._under_way.add(response)
        try:
            self.check()
            yield
        except HttpFailure:
            self.check()  # we broke the connection ourselves
            raise
        finally:
            with self._lock:
                self._under_way.discard(response)
