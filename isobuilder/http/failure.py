"""What went wrong with a request, and whether trying again can help."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from isobuilder.errors import UpstreamError
from isobuilder.http.access import ServerLogin
from isobuilder.http.proxies import ProxyServer
from isobuilder.text import whole_number

_TLS_FOR_GOOD = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER")
_OF_LOGINS = {401, 403, 404}  # 404: where even the name of what is private is
_LOGIN_HINT = "check the credentials for this host, or that the file is public"
REFUSED_HINT = "another try gets the same; isobuilder config show tells which mirrors are asked"
_HINTS = {
    401: _LOGIN_HINT,
    403: _LOGIN_HINT,
    404: "check the version and the address; it may not be published yet",
    429: "wait as long as the server asks, then run the same command again; a login or a mirror "
    "may have a higher limit",
}
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class HttpFailure(UpstreamError):
    """A request got no usable answer."""

    def __init__(
        self,
        message: str,
        *,
        temporary: bool,
        hint: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        said: bytes = b"",
    ) -> None:
        super().__init__(message, hint=hint)
        self.temporary = temporary  # another try may succeed
        self.status = status  # None when there was no answer at all
        self.headers = headers  # of the answer; names in any case
        self.said = said  # the beginning of its body
        self.secrets: tuple[str, ...] = ()  # what was sent, and may be in it

    def saying(self, words: str) -> HttpFailure:
        """Return the same failure with what the server said of it."""
        return HttpFailure(
            f"{self}: {words}",
            temporary=self.temporary,
            hint=self.hint,
            status=self.status,
            headers=self.headers,
        )

    @property
    def retry_after(self) -> float | None:
        """Return how many seconds the server asks to wait, if it says so.

        Source: RFC 9110, 10.2.3: seconds, or a date.
        """
        text = self.headers.get("Retry-After", "").strip()
        if (seconds := whole_number(text)) is not None:
            return float(seconds)
        when = http_date(text)
        return None if when is None else max(0.0, (when - datetime.now(UTC)).total_seconds())


def http_date(text: str | None) -> datetime | None:
    """Return the moment that a Date, Last-Modified or Retry-After header tells, None if none.

    Source: RFC 9110, 5.6.7.
    """
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(text or "")
        moment = when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment if 1970 <= moment.year < 9999 else None  # with what others can be reckoned


def of_status(
    place: str,
    status: int,
    reason: str,
    headers: Mapping[str, str],
    *,
    said: bytes = b"",
    login: ServerLogin | None = None,
) -> HttpFailure:
    """Return the failure that an unwanted answer is.

    ``said`` is the beginning of its body; ``login`` the one that the user's own files had sent.
    """
    fact = f"{place}: the server answered {status} {reason}".rstrip()
    hint = _HINTS.get(status, None if _may_pass(status) else REFUSED_HINT)
    if login is not None and status in _OF_LOGINS:
        fact += f" to {login}"
        hint = f"mend that login, or take it away if this is public: {login.source}"
    temporary = _may_pass(status)
    return HttpFailure(
        fact, temporary=temporary, hint=hint, status=status, headers=headers, said=said
    )


def _may_pass(status: int) -> bool:
    """Say if another try may get another status."""
    return status in {408, 425, 429} or (status >= 500 and status not in {501, 505})


def of_error(
    place: str, error: Exception, *, connect: float, stall: float, proxy: ProxyServer | None = None
) -> HttpFailure:
    """Return what an exception of the HTTP library means for a person.

    ``connect`` and ``stall`` are the time limits in seconds that were in force, ``proxy`` is who
    was asked to connect.
    """
    from urllib3.exceptions import (
        ConnectTimeoutError,
        IncompleteRead,
        NameResolutionError,
        NewConnectionError,
        ProtocolError,
        ProxyError,
        ReadTimeoutError,
        SSLError,
    )

    hint = None
    temporary = True
    if isinstance(error, ReadTimeoutError):
        fact = f"stalled: nothing received for {stall:g} s"
    elif isinstance(error, NameResolutionError):
        fact = "the host's name cannot be resolved"
        cause = error.__cause__
        temporary = not (isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME)
        hint = "check the name, the network and HTTPS_PROXY; behind a firewall configure mirrors"
    elif isinstance(error, SSLError):
        fact = f"TLS failed: {_innermost(error)}"
        temporary = not any(sure in str(error) for sure in _TLS_FOR_GOOD)
        hint = "name the certificate authority of a private mirror or proxy in SSL_CERT_FILE"
    elif isinstance(error, ProxyError):
        return of_proxy(place, error, proxy)
    elif isinstance(error, NewConnectionError):
        fact = f"cannot connect: {_innermost(error)}"
    elif isinstance(error, ConnectTimeoutError):
        fact = f"no connection within {connect:g} s"
    elif isinstance(inner := error.__cause__ or error, IncompleteRead) and inner.expected:
        received, left = inner.partial, inner.expected
        fact = f"the connection ended after {received} of {received + left} bytes"
    elif isinstance(error, ProtocolError | OSError):
        fact = f"the connection broke: {_innermost(error)}"
    else:
        # What remains is an address or an answer that is malformed: the same again next time.
        fact = f"not understood: {type(error).__name__}"
        temporary = False
    return HttpFailure(f"{place}: {fact}", temporary=temporary, hint=hint)


def login_for_proxy(place: str, proxy: ProxyServer) -> HttpFailure:
    """Return the failure that a proxy's 407 is."""
    fact = "does not take the login" if proxy.user else "wants a login"
    return HttpFailure(
        f"{place}: the proxy {proxy.place} {fact} (407 Proxy Authentication Required)",
        temporary=False,
        hint=f"check user and password in {proxy.variable}; write @ : / # % in them as %40 %3A "
        "%2F %23 %25",
        status=407,
    )


def of_proxy(place: str, error: Exception, proxy: ProxyServer | None) -> HttpFailure:
    """Return what it means that a proxy opens no connection."""
    reason = _innermost(error)
    if proxy is None:
        return HttpFailure(f"{place}: the proxy failed: {reason}", temporary=True)
    told = re.search(r"Tunnel connection failed: ([0-9]{3})", reason)  # to CONNECT
    status = int(told[1]) if told else None
    if status == 407:
        return login_for_proxy(place, proxy)
    return HttpFailure(
        f"{place}: the proxy {proxy.place} failed: {reason}",
        temporary=status is None or _may_pass(status),
        hint=f"check {proxy.variable}, and NO_PROXY for what is reached without it",
    )


def _innermost(error: BaseException) -> str:
    """Return the system's own words, without addresses that could carry secrets."""
    while True:
        inner = error.__cause__ or next(
            (part for part in error.args if isinstance(part, BaseException)), None
        )
        if inner is None:
            break
        error = inner
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__
