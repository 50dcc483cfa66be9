"""What a server of ours is asked and what it answers: Range, validators, parts of files.

Source: RFC 9110. Two things it allows are made use of: several ranges in one request are answered
with the whole, and the date of what a client has has to be the one that we sent.
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate, mktime_tz, parsedate_tz
from pathlib import Path
from typing import IO, Self, cast
from urllib.parse import parse_qs

from isobuilder.digest import Digest
from isobuilder.files import without_waiting

_MAX_BODY = 1024 * 1024  # bytes of a request that is held in memory, where nothing else is said
_PIECE = 64 * 1024  # bytes read at once

_RANGE = re.compile(r"bytes=\s*([0-9]*)-([0-9]*)\s*", re.IGNORECASE)


class Refusal(Exception):
    """A request gets this instead of an answer."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.reply = text_reply(status, text, headers)


@dataclass(frozen=True, slots=True)
class Request:
    """One request; its body is still on the wire until somebody reads it."""

    method: str
    path: str  # decoded, without the query; bytes that are no UTF-8 as in names of files
    query: str  # as it was sent
    headers: Mapping[str, str]  # names in lower case
    length: int | None  # bytes of the body; None if it comes in chunks
    stream: io.BufferedIOBase  # ends where the body ends
    client: str = ""  # the address it came from
    began: float = field(default_factory=time.monotonic)  # when its head was read, in seconds

    def body(self, most: int = _MAX_BODY) -> bytes:
        """Read the body, which may have ``most`` bytes.

        Raises:
            Refusal: it is longer.
        """
        data = bytearray()
        while (self.length or len(data)) <= most:
            piece = self.stream.read1(_PIECE)
            if not piece:
                return bytes(data)
            data += piece
        raise Refusal(413, f"more than {most} bytes")

    def first(self, name: str) -> str | None:
        """Return a parameter of the query, or None."""
        return parse_qs(self.query, keep_blank_values=True).get(name, [None])[0]


@dataclass(frozen=True, slots=True)
class FileState:
    """Which file it is, and since when it is as it is."""

    device: int
    node: int
    changed: int  # when it was written into, as its owner says; nanoseconds since 1970
    size: int  # bytes
    touched: int  # when that, its mode or its names changed, as the system says; nanoseconds
    links: int  # names
    mode: int
    owner: tuple[int, int]  # user and group

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        """Return the state that the system tells."""
        written, size, touched = found.st_mtime_ns, found.st_size, found.st_ctime_ns
        owner = (found.st_uid, found.st_gid)
        whose = (found.st_nlink, found.st_mode, owner)
        return cls(found.st_dev, found.st_ino, written, size, touched, *whose)

    def lasts(self, later: FileState) -> bool:
        """Tell whether ``later`` is the same file, perhaps with another mode or one name more.

        That is enough for a transfer under way, which a backup by hard links is not to end. Who
        begins one gets the bytes of one state: a date can be put back after writing, which is
        touching it though neither mode nor names are others.
        """
        if later.touched == self.touched:
            return later == self
        alike = replace(
            later, touched=self.touched, links=self.links, mode=self.mode, owner=self.owner
        )
        return alike == self and replace(later, touched=self.touched) != self

    @property
    def etag(self) -> str:
        """A strong validator of the whole file."""
        return f'"{self.changed:x}-{self.size:x}-{self.node:x}-{self.touched:x}"'


@dataclass(frozen=True, slots=True)
class FilePart:
    """A stretch of a file on disk."""

    path: Path
    start: int
    size: int  # bytes
    state: FileState | None = None  # in which the file has to be; None: in any

    @classmethod
    def whole(cls, path: Path) -> Self:
        """Return all of the file.

        Raises:
            OSError: it cannot be looked at.
        """
        return cls(path, 0, path.stat().st_size)

    def __len__(self) -> int:
        return self.size

    def open(self) -> io.FileIO:
        """Open the file, without waiting for whoever may be at the other end of a pipe.

        Raises:
            OSError: it is not there, or may not be read.
        """
        return open(self.path, "rb", buffering=0, opener=without_waiting)

    def lasts(self, file: IO[bytes]) -> bool:
        """Tell whether ``file``, which is open, still has the bytes that it had in our state.

        A file that lost its name was moved or removed, which touches it and writes no byte.
        """
        if self.state is None:
            return True
        now = FileState.of(os.fstat(file.fileno()))
        if self.state.lasts(now):
            return True
        try:
            there = FileState.of(self.path.stat())
        except OSError:
            there = None
        has_name = there is not None and (there.device, there.node) == (now.device, now.node)
        return not has_name and replace(now, touched=self.state.touched) == self.state

    def part(self, start: int, size: int) -> FilePart:
        """Return ``size`` bytes from ``start`` on, which counts from where this part begins."""
        return FilePart(self.path, self.start + start, size, self.state)


Body = bytes | FilePart | Iterator[bytes]


@dataclass(slots=True)
class Reply:
    """One answer; the length header is derived from ``body`` unless ``headers`` has one."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Body = b""  # an iterator ends with the connection

    @property
    def size(self) -> int | None:
        """How many bytes the body has; None if nobody knows before its end."""
        if isinstance(self.body, bytes):
            return len(self.body)
        return self.body.size if isinstance(self.body, FilePart) else None


def text_reply(status: int, text: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an answer of one line for people."""
    named = {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}
    return Reply(status, named, f"{text}\n".encode(errors="surrogateescape"))


def content_reply(
    request: Request, content: bytes | FilePart, *, etag: str, modified: int, content_type: str
) -> Reply:
    """Return ``content``, or the part of it that the request's Range asks for.

    ``etag`` is a strong validator in quotes, ``modified`` a time in seconds since 1970. A Range
    whose If-Range names another state of the content is ignored, as one that names a date: two
    states can have one (RFC 9110, 13.1.5). Who wants another state and nothing else gets 412.
    """
    if request.method not in {"GET", "HEAD"}:
        return text_reply(405, "only GET and HEAD", {"Allow": "GET, HEAD"})
    size = len(content) if isinstance(content, bytes) else content.size
    date = formatdate(modified, usegmt=True)
    headers = {"ETag": etag, "Last-Modified": date, "Accept-Ranges": "bytes"}
    if not _is_wanted(request.headers, etag, date, modified):
        return text_reply(412, "it is in another state by now", headers)
    if _is_known(request.headers, etag, date):
        return Reply(304, headers)
    headers["Content-Type"] = content_type
    bounds = None
    if request.method == "GET" and request.headers.get("if-range", etag) == etag:
        bounds = _bounds(request.headers.get("range", ""), size)
    if bounds is None:
        return Reply(200, headers, content)
    start, end = bounds
    if start >= end:
        return Reply(416, {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    if isinstance(content, FilePart):
        content = content.part(start, end - start)
    else:
        content = content[start:end]
    return Reply(206, headers, content)


def etag_of(content: bytes | Path) -> str:
    """Return a strong validator for ``content``."""
    if isinstance(content, bytes):
        return f'"{Digest.of(content).hex[:32]}"'
    state = content.stat()
    return f'"{state.st_mtime_ns:x}-{state.st_size:x}"'


def _is_wanted(headers: Mapping[str, str], etag: str, date: str, modified: int) -> bool:
    """Tell whether this is a state that the client takes (RFC 9110 section 13.2.2)."""
    wanted = headers.get("if-match")
    if wanted is None:
        since = headers.get("if-unmodified-since", date)
        return since == date or (at := _seconds(since)) is None or modified <= at
    return not {name.strip() for name in wanted.split(",")}.isdisjoint({etag, "*"})


def _seconds(date: str) -> int | None:
    """Return a date in seconds since 1970; None if it is none."""
    try:
        parsed = parsedate_tz(date)
        return None if parsed is None else mktime_tz(parsed)
    except (ValueError, OverflowError):
        return None


def _is_known(headers: Mapping[str, str], etag: str, date: str) -> bool:
    """Tell whether the client has this state already."""
    known = headers.get("if-none-match")
    if known is None:
        return headers.get("if-modified-since") == date
    names = {name.strip().removeprefix("W/") for name in known.split(",")}
    return not names.isdisjoint({etag, "*"})


def _bounds(text: str, size: int) -> tuple[int, int] | None:
    """Return the first byte of the range and the one after its last; None for the whole."""
    match = _RANGE.fullmatch(text)
    if match is None or match[0].strip().endswith("=-"):
        return None
    first, last = (_number(digits) for digits in cast("tuple[str, str]", match.groups()))
    if first is None:
        return max(0, size - (last or 0)), size
    if last is None:
        return first, size
    return None if last < first else (first, min(size, last + 1))


def _number(digits: str) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) < 19 else sys.maxsize
