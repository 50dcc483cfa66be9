"""The storage VM of a simulated zone: really fetches a URL and judges what comes."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin

import requests

from isobuilder.text import whole_number

_HEX_LENGTHS = {"MD5": 32, "SHA-1": 40, "SHA-224": 56, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128}
_CHUNK = 256 * 1024
_MOST_HOPS = 20
_MAGIC_AT = 32769  # "CD001" of the first volume descriptor


@dataclass(frozen=True)
class DownloadOutcome:
    """How a download ended; ``error`` None is success."""

    error: str | None
    size: int
    hexdigest: str


def split_checksum(text: str) -> tuple[str, str]:
    """Return algorithm and digits of ``{ALG}hex``; without a prefix it is MD5 (contract D.9).

    Raises:
        ValueError: the algorithm or the number of digits is wrong.
    """
    match = re.fullmatch(r"\{([^}]*)\}(.*)", text)
    algorithm, digits = (match[1], match[2]) if match else ("MD5", text)
    algorithm = re.sub(r"^SHA(?=[0-9])", "SHA-", algorithm)
    if algorithm not in _HEX_LENGTHS:
        raise ValueError(f"checksum algorithm not recognised: {algorithm}")
    if len(digits) != _HEX_LENGTHS[algorithm]:
        raise ValueError(f"checksum has the wrong length for {algorithm}")
    return algorithm, digits


class Sink:
    """Takes the bytes of an ISO, keeps their hash and the place where an ISO names itself."""

    def __init__(self, checksum: str) -> None:
        # Without a checksum Mold computes and keeps SHA-512.
        self.algorithm, self.wanted, self.unusable = "SHA-512", "", None
        if checksum:
            try:
                self.algorithm, self.wanted = split_checksum(checksum)
            except ValueError as error:
                self.unusable = f"Failed post download script: {error}"
        self._hash = hashlib.new(self.algorithm.replace("-", "").lower())
        self._head = bytearray()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Take some more."""
        self._hash.update(chunk)
        self.size += len(chunk)
        if len(self._head) < _MAGIC_AT + 5:
            self._head += chunk[: _MAGIC_AT + 5 - len(self._head)]

    def outcome(self) -> DownloadOutcome:
        """Judge what came."""
        found = self._hash.hexdigest()
        if bytes(self._head[_MAGIC_AT : _MAGIC_AT + 5]) != b"CD001":
            error = (
                "Template content is unsupported, or mismatch between selected format and "
                "template content. Found: unknown"
            )
        elif self.unusable is not None:
            error = self.unusable
        elif self.wanted and found != self.wanted:
            error = (
                f'Failed post download script: checksum "{{{self.algorithm}}}{found}" didn\'t '
                f'match the given value, "{{{self.algorithm}}}{self.wanted}"'
            )
        else:
            return DownloadOutcome(None, self.size, found)
        return DownloadOutcome(error, self.size, found)


class Fetch:
    """One download in a thread of its own, begun when its time has come."""

    def __init__(
        self, url: str, checksum: str, *, limit: int, connect: Callable[[str], str | None]
    ) -> None:
        self._url = url
        self._sink = Sink(checksum)
        self._limit = limit
        self._connect = connect  # a URL the storage VM may open, or None
        self._thread: threading.Thread | None = None
        self._outcome: DownloadOutcome | None = None
        self._total = 0

    @property
    def percent(self) -> int:
        """How much has come."""
        if self._outcome is not None:
            return 100
        return int(self._sink.size * 100 / self._total) if self._total else 0

    def begin(self, *, follow: bool) -> None:
        """Start, unless that was done; ``follow`` is whether redirects are allowed."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(follow,), daemon=True)
            self._thread.start()

    def outcome(self, *, wait: float) -> DownloadOutcome | None:
        """Return how it ended, waiting so many real seconds; None while it runs."""
        if self._thread is not None and wait:
            self._thread.join(wait)
        return self._outcome

    def _run(self, follow: bool) -> None:
        try:
            error = self._fetch(self._url, hops=_MOST_HOPS if follow else 0)
        except requests.exceptions.Timeout:
            error = "Read timed out"
        except requests.exceptions.ChunkedEncodingError:
            error = "HTTP Server does not support partial get"  # asked for the rest
        except requests.exceptions.ConnectionError:
            broke = self._sink.size > 0
            error = "HTTP Server does not support partial get" if broke else "Connection refused"
        except (requests.exceptions.RequestException, OSError, ValueError) as problem:
            error = f"{type(problem).__name__}"
        self._outcome = (
            self._sink.outcome() if error is None else DownloadOutcome(error, self._sink.size, "")
        )

    def _fetch(self, address: str, *, hops: int) -> str | None:
        """Return why it failed; of redirects 301, 302 and 307 are followed if any are."""
        url = self._connect(address)
        if url is None:
            return "Connection refused"
        with (
            requests.Session() as session,
            _without_logins(session).get(
                url, stream=True, timeout=10, allow_redirects=False
            ) as response,
        ):
            if hops and response.status_code in {301, 302, 307}:
                return self._fetch(
                    urljoin(url, response.headers.get("Location", "")), hops=hops - 1
                )
            if response.status_code in {301, 302}:
                return (
                    f"Failed to download {self._url} due to redirection, response code: "
                    f"{response.status_code}"
                )
            if response.status_code != 200:
                return f"HTTP Server returned {response.status_code} (expected 200 OK)"
            length = response.headers.get("Content-Length", "")
            self._total = whole_number(length) or 0  # told or not, the bytes are taken
            if self._total > self._limit:
                return "Download file size is too large"
            for chunk in response.iter_content(_CHUNK):
                self._sink.write(chunk)
        return None


def _without_logins(session: requests.Session) -> requests.Session:
    session.trust_env = False  # a netrc is not for whoever registers an address
    return session
