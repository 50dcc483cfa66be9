"""Bad days on purpose: what a test makes the simulator do wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

KINDS = {
    "503",  # a proxy without a server behind it; the command is not run
    "502",  # the same, but the command was run
    "429",  # too many requests
    "html",  # a page where JSON was asked for; not run
    "cut",  # run, and the connection closed in the middle of the answer
    "lost",  # run, and the connection closed before the answer
    "refused",  # not run, and the connection closed
    "empty-fields",  # run, and the answer loses its optional fields
    "huge",  # an answer that does not end
}


@dataclass
class Fault:
    """Goes wrong for the next ``times`` requests of ``command`` (None is any)."""

    kind: str
    command: str | None
    times: int


class Faults:
    """What is to go wrong, and who wants to be called on each request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[Fault] = []
        # Called with the request's number, command and "before" or "after" it is run.
        self.watchers: list[Callable[[int, str, str], None]] = []

    def add(self, kind: str, *, command: str | None = None, times: int = 1) -> None:
        """Plan a fault.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"no such fault: {kind}")
        with self._lock:
            self._planned.append(Fault(kind, command, times))

    def take(self, command: str) -> str | None:
        """Return what goes wrong with this request."""
        with self._lock:
            for fault in self._planned:
                if fault.times > 0 and fault.command in {None, command}:
                    fault.times -= 1
                    return fault.kind
        return None

    def tell(self, number: int, command: str, moment: str) -> None:
        """Call the watchers."""
        for watcher in list(self.watchers):
            watcher(number, command, moment)
