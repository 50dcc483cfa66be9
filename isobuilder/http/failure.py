"""What went wrong with a request, and whether trying again can help."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from isobuilder.errors import UpstreamError
from isobuilder.text import whole_number

_TLS_FOR_GOOD = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER")
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
    ) -> None:
        super().__init__(message, hint=hint)
        self.temporary = temporary  # another try may succeed
        self.status = status  # None when there was no answer at all
        self.headers = headers  # of the answer; names in any case

    @property
    def retry_after(self) -> float | None:
        """Return how many seconds the server asks to wait, if it says so.

        Source: RFC 9110, 10.2.3: seconds, or a date.
        """
        from email.utils import parsedate_to_datetime

        text = self.headers.get("Retry-After", "").strip()
        if (seconds := whole_number(text)) is not None:
            return float(seconds)
        try:
            when = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())


def of_status(place: str, status: int, reason: str, headers: Mapping[str, str]) -> HttpFailure:
    """Return the failure that an unwanted answer is."""
    hint = None
    if status in {401, 403}:
        hint = "check the credentials for this host, or that the file is public"
    elif status == 404:
        hint = "check the version and the address; it may not be published yet"
    return HttpFailure(
        f"{place}: the server answered {status} {reason}".rstrip(),
        temporary=status in {408, 429} or (status >= 500 and status not in {501, 505}),
        hint=hint,
        status=status,
        headers=headers,
    )


def of_error(place: str, error: Exception, *, connect: float, stall: float) -> HttpFailure:
    """Return what an exception of the HTTP library means for a person.

    ``connect`` and ``stall`` are the time limits in seconds that were in force.
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
        fact = f"the proxy failed: {_innermost(error)}"
        hint = "check HTTPS_PROXY and NO_PROXY"
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
