"""The embedded upstream with what only tests want: a log, faults, logins, pushing."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from isobuilder.demo.upstream import DemoUpstream
from isobuilder.http.replies import Reply, Request
from tests.fakes.logins import TOKEN_PATH, Login
from tests.fakes.push import PushRegistry


class Exchange(NamedTuple):
    """One line of the log."""

    method: str
    path: str
    status: int
    size: int  # bytes of the body that went out
    headers: Mapping[str, str]  # of the request, names in lower case
    began: float


Hook = Callable[[Request, Reply], Reply | None]
"""Sees each request with the answer it would get, and may return another."""


class FakeUpstream(DemoUpstream):
    """Logs every exchange; each of ``hooks`` may replace an answer."""

    def __init__(self, *, login: Login | None = None) -> None:
        super().__init__()
        self.registry: PushRegistry = PushRegistry()
        self.login = login
        self.hooks: list[Hook] = []
        self._log: list[Exchange] = []
        self._busy = 0  # requests that are being answered
        self._settled = threading.Condition()

    @property
    def log(self) -> list[Exchange]:
        """Every exchange so far, in the order in which they began.

        A client has its answer a moment before the server has logged it, so this waits until
        nothing is being answered, ten seconds at most.
        """
        with self._settled:
            self._settled.wait_for(lambda: self._busy == 0, timeout=10.0)
            return self._log

    def exchanges(self, method: str, *, under: str = "/") -> list[Exchange]:
        """Return the log's lines with that method and a path that begins with ``under``."""
        return [line for line in self.log if line.method == method and line.path.startswith(under)]

    def answer(self, request: Request) -> Reply:
        with self._settled:
            self._busy += 1
        reply = self._refusal(request) or super().answer(request)
        for hook in self.hooks:
            reply = hook(request, reply) or reply
        return reply

    def served(self, request: Request, reply: Reply, sent: int) -> None:
        with self._settled:
            asked = request.method, request.path, reply.status, sent, request.headers
            line = Exchange(*asked, request.began)
            bisect.insort(self._log, line, key=lambda line: line.began)
            self._busy -= 1
            self._settled.notify_all()

    def _refusal(self, request: Request) -> Reply | None:
        if self.login is None:
            return None
        if request.path == TOKEN_PATH:
            return self.login.token(request)
        if not request.path.startswith("/v2"):
            return None
        name = self.registry.name_in(request.path)
        action = "pull" if request.method in {"GET", "HEAD"} else "push"
        return self.login.refuse(request, name, action, self.url)
