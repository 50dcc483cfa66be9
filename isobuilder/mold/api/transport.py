"""One signed request and its answer, checked: what every call of the client is made of."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

import requests
import requests.adapters

from isobuilder.documents.json import ANSWER, JsonProblem, value_of
from isobuilder.http.access import tls_context
from isobuilder.http.failure import HttpFailure, http_date, login_for_proxy, of_proxy
from isobuilder.http.pacing import Pace
from isobuilder.http.proxies import ProxyServer, proxy_of
from isobuilder.http.settings import HttpSettings
from isobuilder.http.timed import keep_pace, paced_manager
from isobuilder.mold.api.clock import Clock
from isobuilder.mold.api.credentials import ApiKey, MoldServer
from isobuilder.mold.api.errors import (
    MoldRefused,
    MoldUnreachable,
    OutcomeUnknown,
    StrangeAnswer,
    error_fields,
)
from isobuilder.mold.api.secrets import secrets_of, without_secrets
from isobuilder.mold.api.signing import SignatureAlgorithm, sign
from isobuilder.text import masked, printable, whole_number

log = logging.getLogger(__name__)

MAX_ANSWER = ANSWER.size  # 500 versions take about 300 KiB
EXPIRY = 600.0  # seconds a signed request stays valid
READS = ("list", "query")
_PIECE = 4096  # bytes of a body that are looked at: at the least speed they take four seconds
_SLOW = 8  # an answer may take so many time-outs in all, however steadily it drips


def _flat_parameters(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as the API takes them: texts alone.

    A list becomes its items with commas between, a map ``name[0].key``, a list of maps
    ``name[0].key``, ``name[1].key``; what is None or empty is left out.
    """
    flat: dict[str, str] = {}
    maps: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, str):
            flat[name] = value
        elif isinstance(value, bool):
            flat[name] = str(value).lower()
        elif isinstance(value, int | float):
            flat[name] = str(value)
        elif value:
            items = sorted(value) if isinstance(value, set) else value
            items = [value] if isinstance(value, Mapping) else list(items)
            if isinstance(items[0], Mapping):
                for index, item in enumerate(items):
                    maps |= {f"{name}[{index}].{key}": str(inner) for key, inner in item.items()}
            else:
                flat[name] = ",".join(map(str, items))
    return flat | maps


class RequestLost(Exception):
    """No usable answer to one try."""

    def __init__(
        self, reason: str, *, maybe_done: bool, wait: float | None = None, hint: str | None = None
    ) -> None:
        super().__init__(reason)
        self.maybe_done = maybe_done
        self.wait = wait
        self.hint = hint


@dataclass(frozen=True, slots=True)
class SigningMode:
    """How one try is signed; diagnosis tries other manners than the usual one."""

    algorithm: SignatureAlgorithm
    expires: float | None = EXPIRY  # seconds from now; None: a request that does not say


def _no_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Session(requests.Session):
    """Looks at no redirect: it would read all of the answer, and trip over where that leads."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Return none, also where there is one."""
        return None


class _Paced(requests.adapters.HTTPAdapter):
    """Gives up on who never gets to an end; goes by the proxies that all else here goes by."""

    _through: ProxyServer | None = None

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections that are timed."""
        super().init_poolmanager(*args, **kwargs)
        keep_pace(self.poolmanager)

    def send(
        self, request: requests.PreparedRequest, *arguments: Any, **named: Any
    ) -> requests.Response:
        """Send by way of the proxy that is chosen for this address, if any.

        Raises:
            EnvironmentProblem: a variable has no address of a proxy.
        """
        self._through = through = proxy_of(request.url or "")
        named["proxies"] = {"all": through.address} if through else {}
        return super().send(request, *arguments, **named)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Do the same through a proxy."""
        if proxy not in self.proxy_manager:
            context = kwargs.get("ssl_context")
            self.proxy_manager[proxy] = paced_manager(self._through, 1, context)
        return self.proxy_manager[proxy]


class _SystemTrust(_Paced):
    """Trusts what this machine trusts, beside what ``requests`` brings along."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections with the machine's certificates."""
        super().init_poolmanager(*args, **kwargs, ssl_context=tls_context())

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Do the same through a proxy."""
        kwargs["ssl_context"] = tls_context()
        return super().proxy_manager_for(proxy, **kwargs)


class Transport:
    """Signs, sends and reads one request. Its errors never hold a secret.

    Every call goes out as a POST, so that neither key nor signature is in a URL that a proxy
    logs; ``read_method="get"`` is for servers behind something that lets no other reads through.
    """

    def __init__(
        self,
        server: MoldServer,
        *,
        clock: Clock,
        read_method: str = "post",
        max_answer: int = MAX_ANSWER,
    ) -> None:
        self.endpoint = server.endpoint
        self.verify = str(server.ca_file) if server.ca_file else True
        self.session = _Session()
        # Logins come from the configuration alone: not from a netrc file, for hosts a server named.
        self.session.trust_env = False
        self.session.auth = _no_login
        self.session.mount("http://", _Paced())
        if server.endpoint.startswith("https://"):
            self.trust_system()
        # It logs whole addresses when debugging, and those of reads by GET hold key and signature.
        logging.getLogger("urllib3").setLevel(logging.WARNING)
        self.server = server
        self.clock = clock
        self.skew: float | None = None  # seconds the server's clock is ahead of ours, once known
        self.session_key: str | None = None  # of a login, which replaces signatures
        self.deadline: float | None = None  # by our clock; until when all has to be answered
        self._read_kind = "params" if read_method == "get" else "data"
        self._max_answer = max_answer

    def trust_system(self) -> None:
        """Trust this machine's authorities; only where TLS is used, as reading them takes time."""
        if not isinstance(self.session.adapters["https://"], _SystemTrust):
            self.session.mount("https://", _SystemTrust())

    @property
    def name(self) -> str:
        """How people call this server."""
        return self.server.name

    @property
    def usual(self) -> SigningMode:
        """How requests to this server are signed."""
        return SigningMode(self.server.algorithm)

    def try_once(
        self, command: str, params: Mapping[str, Any], manner: SigningMode
    ) -> dict[str, Any]:
        """Send one request and return the value of its answer's only key.

        Raises:
            Lost: no usable answer to this try.
            MoldRefused: the server answered an error.
            StrangeAnswer: the answer is not one of this API.
        """
        sent = self._parameters(command, params, manner)
        body, status = self._exchange(command, sent)
        value = self._unwrapped(command, body, status, sent)
        value = without_secrets(value, body, sent)
        code, text = error_fields(value)
        text = masked(text, secrets_of(sent, self.endpoint))
        if status != 200 or code is not None:
            if status in {502, 504} and code is None:
                raise RequestLost(f"HTTP {status}", maybe_done=True)
            if status == 503:  # in JSON as well: it is starting
                raise RequestLost(f"HTTP {status}: {printable(text)}", maybe_done=False)
            raise MoldRefused(command, code or status, text, server=self.server.name)
        return value

    def _parameters(
        self, command: str, params: Mapping[str, Any], manner: SigningMode
    ) -> dict[str, str]:
        data: dict[str, Any] = {name.lower(): value for name, value in params.items()}
        data["command"] = command
        data["response"] = "json"
        credentials = self.server.credentials
        if isinstance(credentials, ApiKey):
            data["apikey"] = credentials.key
            if manner.expires is not None:
                expires = self.clock.now().astimezone(UTC) + timedelta(seconds=manner.expires)
                data["signatureversion"] = "3"
                data["expires"] = expires.strftime("%Y-%m-%dT%H:%M:%S+0000")
        elif self.session_key is not None:
            data["sessionkey"] = self.session_key
        flat = _flat_parameters(data)
        if isinstance(credentials, ApiKey):
            flat["signature"] = sign(flat, credentials.secret, manner.algorithm)
        return flat

    def pace(self, timeout: float | None = None, *, seconds: float = math.inf) -> Pace:
        """Return what an answer has to keep up, from the first byte of its head on.

        All of it has to be there in so many ``seconds``.
        """
        server = self.server
        return Pace(
            HttpSettings(
                stall_timeout=min(timeout or server.timeout, seconds / 2),
                least_speed=server.least_speed,
                least_speed_seconds=server.least_speed_seconds,
            ),
            until=time.monotonic() + seconds,
        )

    def _left(self) -> float:
        """Return for how many seconds a request may be waited for, if it has a deadline."""
        left = math.inf if self.deadline is None else self.deadline - self.clock.monotonic()
        if left <= 0:
            raise RequestLost("no answer in time", maybe_done=False)
        return left

    def _exchange(self, command: str, data: dict[str, str]) -> tuple[bytes, int]:
        """Send one request and return body and status of its answer."""
        left = self._left()
        timeout = min(self.server.timeout, left)
        kind = self._read_kind if command.startswith(READS) else "data"
        request = requests.Request(
            "GET" if kind == "params" else "POST",
            self.endpoint,
            headers={"Accept": "application/json"},
            cookies=self.session.cookies,
            **{kind: data},
        )
        if not command.startswith(READS):
            # A kept connection may just have been closed by the other side; then nobody could
            # tell whether the change arrived. A new one has no such doubt.
            self.session.close()
        began = self.clock.monotonic()
        pace, proxy = self.pace(seconds=left), proxy_of(self.endpoint)
        with _network_errors(pace, self.name, proxy=proxy), pace.watching():
            response = self.session.send(
                request.prepare(),
                timeout=(min(10.0, timeout), timeout),
                verify=self.verify,
                allow_redirects=False,
                stream=True,
            )
        pace.head_is_there()
        with response:
            if response.status_code == 407 and proxy is not None:
                raise unreachable(login_for_proxy(self.name, proxy))
            self._learn_time(response)
            until = began + _SLOW * self.server.timeout
            body = self._read(command, response, pace, until=until)
        self.session.cookies.update(response.cookies)
        log.info("%s: %s -> %d, %d bytes", self.name, command, response.status_code, len(body))
        if 300 <= response.status_code < 400:
            there = response.headers.get("Location", "?")
            shown = masked(there, secrets_of(data, self.endpoint))[:200]
            raise StrangeAnswer(
                f"{self.name}: {self.endpoint} answers with a redirect "
                f"({response.status_code}) to {shown!r}",
                hint="give the address of the API itself; signed requests follow no redirects",
            )
        if response.status_code in {429, 503} and not body.lstrip().startswith(b"{"):
            raise RequestLost(
                f"HTTP {response.status_code}", maybe_done=False, wait=_retry_after(response)
            )
        if response.status_code == 429:
            wait = _retry_after(response)
            if wait is None and (said := re.search(rb"retry after \[?([0-9]{1,6})\]? ms", body)):
                wait = int(said[1]) / 1000
            raise RequestLost("too many requests", maybe_done=False, wait=wait)
        return body, response.status_code

    def _read(
        self, command: str, response: requests.Response, pace: Pace, *, until: float
    ) -> bytes:
        body = bytearray()
        with _network_errors(pace, self.name, sent=True):
            for chunk in response.iter_content(_PIECE):
                body += chunk
                pace.came(len(chunk))
                if len(body) > self._max_answer:
                    raise StrangeAnswer(
                        f"{self.name}: {command}: the answer is longer than {self._max_answer} "
                        "bytes",
                        hint="is this a Mold or CloudStack server?",
                    )
                if self.clock.monotonic() > until:
                    raise RequestLost("the answer comes too slowly", maybe_done=True)
        return bytes(body)

    def _unwrapped(
        self, command: str, body: bytes, status: int, sent: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the value of the answer's only key, whatever the key's name."""
        try:
            data = value_of(body, ANSWER)
        except JsonProblem as error:
            secrets = secrets_of(sent, self.endpoint)
            begin = masked(body[:_SHOWN].decode("utf-8", "replace"), secrets)[:60].strip()
            if status in {502, 504}:
                raise RequestLost(f"HTTP {status}", maybe_done=True) from error
            if error.line is not None and (begin.startswith("{") or not begin):
                raise RequestLost("the answer was cut off", maybe_done=True) from error
            what = f"is not JSON but begins {' '.join(begin.split())!r}"
            if error.line is None:  # JSON, but more of it or other values than any server has
                what = masked(f"is no good: {error}", secrets)
            text = f"{self.name}: {command}: HTTP {status}, and the answer {what}"
            hint = f"is {self.endpoint} the API, or a login page or proxy in front of it?"
            if command.startswith(READS) or status >= 400:
                raise StrangeAnswer(text, hint=hint) from error
            raise OutcomeUnknown(text, hint=hint) from error
        if isinstance(data, dict) and len(data) == 1:
            value = next(iter(data.values()))
            if isinstance(value, dict):
                return value
        raise StrangeAnswer(
            f"{self.name}: {command}: expected an object with one key that holds an object",
            hint="is this a Mold or CloudStack server?",
        )

    def _learn_time(self, response: requests.Response) -> None:
        there = http_date(response.headers.get("Date"))
        if there is not None:
            self.skew = (there - self.clock.now()).total_seconds()


_SHOWN = 64 * 1024  # bytes of an answer that are looked at for its beginning


def unreachable(failure: HttpFailure) -> MoldUnreachable:
    """Return what went wrong at a proxy as an error of this room; another try gets the same."""
    return MoldUnreachable(str(failure), hint=failure.hint)


@contextmanager
def _network_errors(
    pace: Pace, server: str, *, proxy: ProxyServer | None = None, sent: bool = False
) -> Iterator[None]:
    """Turn what ``requests`` raises into one try that was lost.

    The original is not kept as the cause: its text repeats the address, which for a read by GET
    holds key and signature, and causes are printed with -v.
    """
    try:
        yield
    except requests.exceptions.RequestException as error:
        if proxy is not None and isinstance(error, requests.exceptions.ProxyError):
            raise _lost_by(error, proxy, server) from None
        if pace.failed is None:
            raise _lost(error, server, sent=sent) from None
        raise RequestLost(pace.failed, maybe_done=True, hint=pace.hint) from None


def _lost_by(error: Exception, proxy: ProxyServer, server: str) -> Exception:
    """Return what became of a try that never came farther than to a proxy."""
    failure = of_proxy(server, error, proxy)
    if not failure.temporary:
        return unreachable(failure)
    fact = str(failure).removeprefix(f"{server}: ")
    return RequestLost(fact, maybe_done=False, hint=failure.hint)


def _lost(error: requests.exceptions.RequestException, server: str, *, sent: bool) -> Exception:
    """Return what became of a try that ended so."""
    kinds = requests.exceptions
    if isinstance(error, kinds.SSLError):
        plain = "WRONG_VERSION_NUMBER" in str(error)
        return MoldUnreachable(
            f"{server}: TLS: {_short(error)}",
            hint="nobody speaks TLS at that address; is it one of http://?"
            if plain
            else "for a private authority give its certificates with --ca-file or ca_file:",
        )
    if isinstance(error, kinds.ConnectTimeout):
        return RequestLost("no connection in time", maybe_done=sent)
    if isinstance(error, kinds.Timeout):
        return RequestLost("no answer in time", maybe_done=True)
    if isinstance(error, kinds.ConnectionError):
        never_sent = any(
            sign_of_it in str(error)
            for sign_of_it in ("NewConnectionError", "NameResolutionError", "Connection refused")
        )
        reason = "cannot connect" if never_sent else "the connection broke"
        return RequestLost(reason, maybe_done=sent or not never_sent)
    # Also ChunkedEncodingError: the peer closed in the middle of its answer.
    return RequestLost(f"the connection broke ({type(error).__name__})", maybe_done=True)


def _short(error: Exception) -> str:
    """Return the innermost reason; the outer texts repeat the request's address."""
    reason: BaseException = error
    while reason.args and isinstance(reason.args[0], BaseException):
        reason = reason.args[0]
    inner = getattr(reason, "reason", None)
    return str(inner if isinstance(inner, BaseException) else reason)[:200]


def _retry_after(response: requests.Response) -> float | None:
    seconds = whole_number(response.headers.get("Retry-After", "").strip())
    return None if seconds is None else min(float(seconds), 60.0)
