"""The simulator's HTTP side: signatures, sessions, the request log, uploads."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from isobuilder.demo.mold.cloud import ApiError, Cloud, User
from isobuilder.demo.mold.commands import answer, changes_state, find, may_use
from isobuilder.demo.mold.faults import Faults
from isobuilder.demo.mold.uploads import receive_upload
from isobuilder.mold.api.signing import SignatureAlgorithm, sign

_NOT_VERIFIED = "unable to verify user credentials and/or request signature"
_ANYBODY = User("nobody", "", "", role="user")
_MAX_BODY = 1024 * 1024


@dataclass(frozen=True)
class Logged:
    """One request as the log keeps it, without key and signature."""

    number: int
    method: str
    command: str
    params: Mapping[str, str]
    status: int

    @property
    def writes(self) -> bool:
        """Whether the command changes something."""
        return changes_state(self.command)


class Simulator:
    """A simulated Mold on a port of the loopback interface. Use it in a ``with`` statement."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        algorithm: SignatureAlgorithm = SignatureAlgorithm.HMAC_SHA256,
        port: int = 0,
    ) -> None:
        self.cloud = cloud
        self.algorithm = algorithm
        self.faults = Faults()
        self.skew_seconds = 0.0  # how far the Date header is ahead
        self.down_until = 0.0  # on the cloud's clock: answers 503 before
        self.log: list[Logged] = []
        self._count = 0
        if not cloud.users:
            cloud.users.append(
                User("admin", secrets.token_urlsafe(64), secrets.token_urlsafe(64), "password")
            )
        self._httpd = _Httpd(("127.0.0.1", port), _Handler)
        self._httpd.simulator = self
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.port = int(self._httpd.server_address[1])
        cloud.base_url = f"http://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> str:
        """Where the API answers."""
        return f"{self.cloud.base_url}/client/api"

    @property
    def admin(self) -> User:
        """The first user, a root administrator."""
        return self.cloud.users[0]

    def writes(self) -> list[Logged]:
        """Return the requests that changed something."""
        with self.cloud.lock:
            return [entry for entry in self.log if entry.writes]

    def go_down(self, seconds: float) -> None:
        """Answer 503 for so long."""
        self.down_until = self.cloud.clock.monotonic() + seconds

    def __enter__(self) -> Self:
        for target in (lambda: self._httpd.serve_forever(poll_interval=0.02), self._tick):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._httpd.shutdown()
        self._httpd.server_close()
        for thread in self._threads:
            thread.join(5)

    def _tick(self) -> None:
        while not self._stop.wait(0.2):
            self.cloud.tick()

    def next_number(self) -> int:
        """Count a request."""
        with self.cloud.lock:
            self._count += 1
            return self._count

    def run(self, method: str, params: dict[str, str], raw: dict[str, str]) -> dict[str, Any]:
        """Check who calls, and run the command.

        ``params`` has lower-case names; ``raw`` has them as sent, which the signature covers.

        Raises:
            ApiError: the answer is an error.
        """
        cloud = self.cloud
        with cloud.lock:
            cloud.tick()
            command = find(params.get("command", ""))
            if command == "login":
                return answer(cloud, _ANYBODY, command, params)
            session = params.get("sessionkey", "")
            user = cloud.sessions.get(session) if session else self._verified(raw, params)
            if user is None:
                raise ApiError(401, _NOT_VERIFIED)
            if session and user.second_factor:
                raise ApiError(411, "Two factor authentication code not verified")
            known = command is not None and (cloud.plugin_on or "Kubernetes" not in command)
            if command is None or not known:
                if session:
                    raise ApiError(432, "The given command does not exist or it is not available")
                raise ApiError(401, _NOT_VERIFIED)
            if not may_use(user, command):
                text = "either does not exist, is not available for user."
                raise ApiError(401, f"The given command '{command}' {text}")
            if any(ord(letter) < 32 for value in params.values() for letter in value):
                raise ApiError(431, "Received value is invalid: control characters", 4350)
            posts_only = cloud.setting("enforce.post.requests.and.timestamps") == "true"
            if posts_only and method == "GET" and changes_state(command):
                raise ApiError(
                    400, f"State changing command {command} needs to be sent using POST request"
                )
            return answer(cloud, user, command, params)

    def _verified(self, raw: dict[str, str], params: dict[str, str]) -> User | None:
        user = next((u for u in self.cloud.users if u.key == params.get("apikey")), None)
        if user is None or not user.enabled:
            return None
        if params.get("signatureversion") == "3":
            expires = _expiry(params.get("expires", ""))
            if expires is None or expires < self.cloud.clock.now():
                return None
        expected = base64.b64decode(sign(raw, user.secret, self.algorithm))
        try:
            given = base64.b64decode(params.get("signature", ""), validate=True)
        except binascii.Error:
            return None
        return user if hmac.compare_digest(expected, given) else None


def _expiry(text: str) -> datetime | None:
    """Read ``2030-01-01T00:00:00+0000`` and the form with Z; nothing else."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d{4})", text):
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)
    except ValueError:
        return None


class _Httpd(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    simulator: Simulator

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes
    server: _Httpd

    def do_GET(self) -> None:
        """Answer a call with its parameters in the query."""
        self._call("GET", urlsplit(self.path).query)

    def do_POST(self) -> None:
        """Answer a call with its parameters in the body, or take an upload."""
        length = int(self.headers.get("Content-Length") or 0)
        if urlsplit(self.path).path.startswith("/upload/"):
            simulator = self.server.simulator
            simulator.faults.tell(simulator.next_number(), "upload", "before")
            status, text = receive_upload(
                simulator.cloud, self.path, self.headers, self.rfile, length
            )
            self._send(status, text.encode(), "text/plain")
            return
        if length > _MAX_BODY:
            self.close_connection = True
            self._send(413, b"too large", "text/plain")
            return
        self._call("POST", self.rfile.read(length).decode("utf-8", "replace"))

    def _call(self, method: str, query: str) -> None:
        simulator = self.server.simulator
        if urlsplit(self.path).path != "/client/api":
            self._send(
                404, b"<html>this is a simulator of Mold; see /client/api</html>", "text/html"
            )
            return
        raw = dict(parse_qsl(query, keep_blank_values=True))
        params = {name.lower(): value for name, value in raw.items()}
        command = find(params.get("command", "")) or params.get("command", "")
        number = simulator.next_number()
        simulator.faults.tell(number, command, "before")
        fault = simulator.faults.take(command)
        if simulator.cloud.clock.monotonic() < simulator.down_until:
            fault = "503"
        if fault in {"503", "429", "html", "refused", "huge"}:
            self._go_wrong(fault)
            return
        try:
            status, body = 200, simulator.run(method, params, raw)
        except ApiError as error:
            status = error.code
            body = {
                "uuidList": [],
                "errorcode": error.code,
                "cserrorcode": error.cserror,
                "errortext": error.text,
            }
        hidden = {"apikey", "signature", "sessionkey", "password"}
        kept = {name: value for name, value in params.items() if name not in hidden}
        simulator.log.append(Logged(number, method, command, kept, status))
        simulator.faults.tell(number, command, "after")
        if fault == "empty-fields":
            body = _without_optional_fields(body)
        key = f"{command.lower()}response" if find(command) else "errorresponse"
        data = json.dumps({key: body}, ensure_ascii=False).encode()
        if fault in {"502", "cut", "lost"}:
            self._go_wrong(fault, data)
            return
        self._send(status, data, "application/json;charset=UTF-8")

    def _go_wrong(self, fault: str, data: bytes = b"") -> None:
        if fault in {"503", "502", "429"}:
            self._send(int(fault), b"<html><h1>Service Unavailable</h1></html>", "text/html")
        elif fault == "html":
            self._send(200, b"<!doctype html><title>Log in</title>", "text/html")
        else:
            self.close_connection = True
            if fault == "cut":
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
            elif fault == "huge":
                self.send_response(200)
                self.send_header("Connection", "close")
                self.end_headers()
                for _ in range(4096):
                    self.wfile.write(b" " * 65536)

    def _send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def version_string(self) -> str:
        """Name what answers."""
        return "isobuilder-mold-simulator"

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the simulated server."""
        now = (
            self.server.simulator.cloud.clock.now().timestamp() if timestamp is None else timestamp
        )
        moment = datetime.fromtimestamp(now + self.server.simulator.skew_seconds, UTC)
        return format_datetime(moment, usegmt=True)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Keep quiet; the request log is in ``Simulator.log``."""


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
