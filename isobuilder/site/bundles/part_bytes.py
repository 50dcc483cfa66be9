"""The bytes of a part that was carried: each of them is expected, none is interpreted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from isobuilder.content.archives import tar_header
from isobuilder.digest import BUFFER_SIZE
from isobuilder.errors import IntegrityError
from isobuilder.files import as_environment_problem
from isobuilder.formats.tar import BLOCK, KINDS, StreamSource, walk
from isobuilder.progress import Task
from isobuilder.site.bundles.parts import Slot


class PartBytes:
    """The bytes of a part in their order, each of which is expected."""

    def __init__(self, stream: BinaryIO, place: str) -> None:
        self._stream, self._place = stream, place
        self.position = 0

    def _read(self, size: int) -> bytes:
        with as_environment_problem(Path(self._place)):
            data = self._stream.read(size) or b""
        self.position += len(data)
        return data

    def exactly(self, size: int, what: str) -> bytes:
        """Return the next ``size`` bytes, which messages call ``what``.

        Raises:
            IntegrityError: there are fewer.
        """
        data = bytearray()
        while len(data) < size:
            more = self._read(size - len(data))
            if not more:
                raise self._short(what)
            data += more
        return bytes(data)

    def chunks(self, size: int, work: Task, what: str = "a blob") -> Iterator[bytes]:
        """Give the next ``size`` bytes.

        Raises:
            IntegrityError: there are fewer.
        """
        while size:
            chunk = self._read(min(size, BUFFER_SIZE))
            if not chunk:
                raise self._short(what)
            work.advance(len(chunk))
            size -= len(chunk)
            yield chunk

    def skip(self, size: int, work: Task) -> None:
        """Pass over what the store has; in a file without reading it."""
        if self._stream.seekable():
            end = self._stream.seek(0, os.SEEK_END)
            if end < self.position + size:
                self.position = end
                raise self._short("a blob")
            self.position = self._stream.seek(self.position + size)
            work.advance(size)
            return
        for _ in self.chunks(size, work):
            pass

    def expect(self, data: bytes, what: str) -> None:
        """Raise an ``IntegrityError`` if ``data`` does not come next."""
        at = self.position
        if data and self.exactly(len(data), what) != data:
            raise IntegrityError(f"{self._place}: byte {at}: {what} is not as it follows from it")

    def expect_header(self, member: Slot) -> None:
        """Raise an ``IntegrityError`` if not the header of ``member`` comes next."""
        at = self.position
        block = self.exactly(BLOCK, f"the header of {member.name}")
        if block != tar_header(member.name, member.size):
            raise IntegrityError(
                f"{self._place}: byte {at}: expected a file {member.name!r} of {member.size} "
                f"bytes, got {described(block)}"
            )

    def expect_end(self) -> None:
        """Raise an ``IntegrityError`` if anything comes."""
        at = self.position
        if self._read(1):
            raise IntegrityError(f"{self._place}: byte {at}: something behind its end")

    def _short(self, what: str) -> IntegrityError:
        return IntegrityError(f"{self._place}: cut off at byte {self.position}, inside {what}")


def described(block: bytes) -> str:
    """Return what a header that should not be there says."""
    if not block.strip(b"\0"):
        return "the end"
    try:
        member = next(walk(StreamSource([block])), None)
    except IntegrityError as error:
        return str(error).partition(": ")[2] or str(error)
    if member is None:
        return "a header that goes on"
    what = "a file" if member.regular else KINDS.get(member.kind, "something")
    return f"{what} {member.name[:120]!r} of {member.size} bytes"
