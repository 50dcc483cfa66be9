"""A simulator of Mold that has bad days to order."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from isobuilder.demo.mold import Cloud, Simulator
from isobuilder.demo.mold.server import Call
from isobuilder.http.replies import Reply, Request
from isobuilder.mold.api.signing import SignatureAlgorithm
from tests.fakes.faults import Faults


class FakeMold(Simulator):
    """A simulator whose next requests go wrong as ``faults`` says."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        algorithm: SignatureAlgorithm = SignatureAlgorithm.HMAC_SHA256,
    ) -> None:
        super().__init__(cloud, algorithm=algorithm)
        self.faults = Faults()
        self.date: str | None = None  # what its Date header says instead
        self.skew_seconds = 0.0  # how far the Date header is ahead
        self.sends_date = False  # CloudStack sends none, a proxy before it may
        self.down_until = 0.0  # on the cloud's clock: answers 503 before
        self._count = itertools.count(1)

    def go_down(self, seconds: float) -> None:
        """Answer 503 for so long."""
        self.down_until = self.cloud.clock.monotonic() + seconds

    def answer(self, request: Request) -> Reply:
        reply = super().answer(request)
        if not self.sends_date:
            return reply
        moment = self.cloud.clock.now().timestamp() + self.skew_seconds
        date = format_datetime(datetime.fromtimestamp(moment, UTC), usegmt=True)
        reply.headers["Date"] = date if self.date is None else self.date
        return reply

    def on_upload(self, request: Request) -> Reply:
        self.faults.tell(next(self._count), "upload", "before")
        return super().on_upload(request)

    def on_call(self, call: Call) -> Reply:
        number = next(self._count)
        self.faults.tell(number, call.command, "before")
        fault = self.faults.take(call.command)
        if self.cloud.clock.monotonic() < self.down_until:
            fault = "503"
        if fault in {"503", "429"}:
            return _page(int(fault), b"<html><h1>Service Unavailable</h1></html>")
        if fault == "html":
            return _page(200, b"<!doctype html><title>Log in</title>")
        if fault == "refused":
            raise ConnectionAbortedError
        if fault == "huge":
            return Reply(200, {}, iter([b" " * 65536] * 4096))
        reply = super().on_call(call)
        self.faults.tell(number, call.command, "after")
        return self._spoilt(reply, fault)

    def _spoilt(self, reply: Reply, fault: str | None) -> Reply:
        assert isinstance(reply.body, bytes)
        if fault == "lost":
            raise ConnectionAbortedError
        if fault == "502":
            return _page(502, b"<html><h1>Service Unavailable</h1></html>")
        if fault == "cut":
            return Reply(200, {"Content-Length": str(len(reply.body))}, _half(reply.body))
        if fault == "empty-fields":
            [(key, body)] = json.loads(reply.body).items()
            reply.body = json.dumps({key: _without_optional_fields(body)}).encode()
        return reply


def _page(status: int, text: bytes) -> Reply:
    return Reply(status, {"Content-Type": "text/html"}, text)


def _half(data: bytes) -> Iterator[bytes]:
    yield data[: len(data) // 2]


def _without_optional_fields(body: dict[str, Any]) -> dict[str, Any]:
    """Return an answer whose items have only what nobody could do without, and unknown fields."""
    keep = {"id", "name", "semanticversion", "isoid", "zoneid", "zonename", "isready", "state"}
    return {
        name: [
            {"surprise": {"a": [1]}} | {k: v for k, v in item.items() if k in keep}
            for item in value
        ]
        if isinstance(value, list)
        else value
        for name, value in body.items()
        if name != "count"
    }
