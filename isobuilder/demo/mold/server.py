"""The simulator's HTTP side: signatures, sessions, the request log."""

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
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import parse_qsl

from isobuilder.demo.mold.cloud import ApiError, Cloud, CloudUser
from isobuilder.demo.mold.commands import answer, changes_state, find, may_use
from isobuilder.demo.mold.uploads import receive_upload
from isobuilder.http.replies import Reply, Request, text_reply
from isobuilder.http.serving import Server
from isobuilder.mold.api.signing import SignatureAlgorithm, sign
from isobuilder.text import moment_of

_WITHOUT_CSERROR = {401, 429, 531}
_LONGEST_EXPIRY = timedelta(minutes=15)  # where times are enforced
_NOT_VERIFIED = "unable to verify user credentials and/or request signature"
_ANYBODY = CloudUser("nobody", "", "", role="user")


@dataclass(frozen=True)
class Logged:
    """One request as the log keeps it, without key and signature."""

    method: str
    command: str
    params: Mapping[str, str]
    status: int

    @property
    def writes(self) -> bool:
        """Whether the command changes something."""
        return changes_state(self.command)


@dataclass(frozen=True)
class Call:
    """One call of the API as it came in."""

    method: str
    command: str  # in its own spelling, if there is such a command
    params: dict[str, str]  # names in lower case
    raw: dict[str, str]  # names as sent, which the signature covers


class Simulator(Server):
    """A simulated Mold on a port of the loopback interface. Use it in a ``with`` statement."""

    name = "isobuilder-mold-simulator"
    tells_time = False

    def __init__(
        self,
        cloud: Cloud,
        *,
        algorithm: SignatureAlgorithm = SignatureAlgorithm.HMAC_SHA256,
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self.cloud = cloud
        self.algorithm = algorithm
        cloud.is_mold = algorithm is SignatureAlgorithm.HMAC_SHA256
        self.log: list[Logged] = []
        self._calls: dict[str, tuple[float, int]] = {}  # of a user: since when, and how many
        if not cloud.users:
            cloud.users.append(
                CloudUser("admin", secrets.token_urlsafe(64), secrets.token_urlsafe(64), "password")
            )
        cloud.base_url = self.url
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    @property
    def endpoint(self) -> str:
        """Where the API answers."""
        return f"{self.url}/client/api"

    @property
    def admin(self) -> CloudUser:
        """The first user, a root administrator."""
        return self.cloud.users[0]

    def writes(self) -> list[Logged]:
        """Return the requests that changed something."""
        with self.cloud.lock:
            return [entry for entry in self.log if entry.writes]

    def start(self) -> Self:
        """See ``Server``; the simulated time begins as well."""
        self._ticker.start()
        return super().start()

    def _tick(self) -> None:
        while not self.closing.wait(0.2):
            self.cloud.tick()

    def answer(self, request: Request) -> Reply:
        """See ``Server``."""
        if request.path.startswith("/upload/") and request.method == "POST":
            return self.on_upload(request)
        if request.path != "/client/api" or request.method not in {"GET", "POST"}:
            return text_reply(404, "this is a simulator of Mold; see /client/api")
        sent = request.query
        if request.method == "POST":
            sent = request.body().decode("utf-8", "replace")
        raw = dict(parse_qsl(sent, keep_blank_values=True))
        params = {name.lower(): value for name, value in raw.items()}
        named = params.get("command", "")
        return self.on_call(Call(request.method, find(named) or named, params, raw))

    def on_upload(self, request: Request) -> Reply:
        """Take an ISO as the storage VM does."""
        return text_reply(*receive_upload(self.cloud, request))

    def on_call(self, call: Call) -> Reply:
        """Run a command and return what the API says."""
        try:
            status, body = 200, self._run(call)
        except ApiError as error:
            status = error.code
            body = {"uuidList": [], "errorcode": error.code, "errortext": error.text}
            if error.code not in _WITHOUT_CSERROR:
                body["cserrorcode"] = error.cserror
        hidden = {"apikey", "signature", "sessionkey", "password"}
        kept = {name: value for name, value in call.params.items() if name not in hidden}
        self.log.append(Logged(call.method, call.command, kept, status))
        named = find(call.command) and status != 432
        key = f"{call.command.lower()}response" if named else "errorresponse"
        data = json.dumps({key: body}, ensure_ascii=False).encode()
        return Reply(status, {"Content-Type": "application/json;charset=UTF-8"}, data)

    def _run(self, call: Call) -> dict[str, Any]:
        """Check who calls, and run the command."""
        cloud, params = self.cloud, call.params
        with cloud.lock:
            cloud.tick()
            command = find(call.command)
            if command == "login":
                return answer(cloud, _ANYBODY, command, params)
            session = params.get("sessionkey", "")
            user = cloud.sessions.get(session) if session else self._verified(call.raw, params)
            if user is None:
                raise ApiError(401, _NOT_VERIFIED)
            if session and user.second_factor:
                raise ApiError(411, "Two factor authentication code not verified")
            known = command is not None and (cloud.plugin_on or "Kubernetes" not in command)
            if command is None or not known:
                if session:
                    raise ApiError(432, f"Unknown API command: {call.command}")
                raise ApiError(401, _NOT_VERIFIED)
            self._throttle(user)
            if not may_use(user, command):
                text = "does not exist or is not available for the account"
                raise ApiError(432, f"The API [{command}] {text} {user.name}.")
            if any(ord(letter) < 32 for value in params.values() for letter in value):
                raise ApiError(431, "Received value is invalid: control characters", 4350)
            posts_only = cloud.setting("enforce.post.requests.and.timestamps") == "true"
            if posts_only and call.method == "GET" and changes_state(command):
                raise ApiError(
                    400, f"State changing command {command} needs to be sent using POST request"
                )
            return answer(cloud, user, command, params)

    def _throttle(self, user: CloudUser) -> None:
        """Refuse more calls in a second than are allowed; each counts twice, as it does there."""
        cloud, now = self.cloud, self.cloud.clock.monotonic()
        if cloud.most_calls is None or user.role == "admin":
            return
        began, calls = self._calls.get(user.name, (now, 0))
        began, calls = (began, calls + 2) if now - began < 1 else (now, 2)
        self._calls[user.name] = began, calls
        if calls > cloud.most_calls:
            left = int((began + 1 - now) * 1000)
            text = "The given user has reached his/her account api limit, please retry after"
            raise ApiError(429, f"{text} [{left}] ms.")

    def _verified(self, raw: dict[str, str], params: dict[str, str]) -> CloudUser | None:
        user = next((u for u in self.cloud.users if u.key == params.get("apikey")), None)
        if user is None or not user.enabled:
            return None
        now = self.cloud.clock.now()
        if (user.key_starts and now < user.key_starts) or (user.key_ends and now > user.key_ends):
            return None
        if params.get("signatureversion") == "3":
            expires = _expiry(params.get("expires", ""))
            if expires is None or expires < now:
                return None
            strict = self.cloud.setting("enforce.post.requests.and.timestamps") == "true"
            if strict and expires > now + _LONGEST_EXPIRY:
                return None
        expected = base64.b64decode(sign(raw, user.secret, self.algorithm))
        try:
            given = base64.b64decode(params.get("signature", ""), validate=True)
        except binascii.Error:
            return None
        return user if hmac.compare_digest(expected, given) else None


def _expiry(text: str) -> datetime | None:
    """Read ``2030-01-01T00:00:00+0000``, with milliseconds, a colon in the zone or Z."""
    day, time = "[0-9]{4}-[0-9]{2}-[0-9]{2}", "[0-9]{2}:[0-9]{2}:[0-9]{2}"
    form = rf"{day}T{time}(?:\.[0-9]{{3}})?(Z|[+-][0-9]{{2}}:?[0-9]{{2}})"
    return moment_of(text) if re.fullmatch(form, text) else None
