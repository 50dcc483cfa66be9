"""Digests, and streams that are hashed while they pass."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from isobuilder.errors import IntegrityError

if TYPE_CHECKING:  # what serves or pushes has digests and no models
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import core_schema

BUFFER_SIZE = 256 * 1024
"""Bytes moved at a time: larger falls out of the processor's cache, smaller costs calls."""

_FORM = re.compile(r"sha256:[0-9a-f]{64}")


class Digest(str):
    """A SHA-256 digest in the form OCI uses: ``sha256:`` and 64 lower-case hexadecimal digits.

    Source: OCI image specification, descriptor.md, "Digests".

    Raises:
        ValueError: the text is not of that form.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        """Check the form once, so that a ``Digest`` is a proof of it."""
        if not _FORM.fullmatch(text):
            raise ValueError(f"expected sha256: and 64 lower-case hex digits, got {text[:90]!r}")
        return super().__new__(cls, text)

    @property
    def hex(self) -> str:
        """The 64 digits alone."""
        return self[7:]

    @classmethod
    def from_hex(cls, digits: str) -> Digest:
        """Return the digest whose 64 digits these are; upper case is accepted."""
        return cls("sha256:" + digits.lower())

    @classmethod
    def typed(cls, text: str) -> Digest:
        """Return the digest that a person wrote, in either case, with ``sha256:`` or without."""
        return cls.from_hex(text.lower().removeprefix("sha256:"))

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return the digest of ``data``."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> Digest:
        """Return the digest of a file's bytes."""
        with path.open("rb") as file:
            return cls.of_stream(file)

    @classmethod
    def of_stream(cls, stream: BinaryIO) -> Digest:
        """Return the digest of everything that is left in ``stream``."""
        hasher = Hasher()
        while chunk := stream.read(BUFFER_SIZE):
            hasher.update(chunk)
        return hasher.digest()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Let pydantic read it from a string and write it as one."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(strict=True, pattern="^sha256:[0-9a-f]{64}$")
        )


class BlobLike(Protocol):
    """Bytes that somebody hashed, wherever they lie: a file of the store, a run of bytes of an ISO.

    Holding one is the proof that the bytes are there and right.
    """

    @property
    def digest(self) -> Digest:
        """What the bytes hash to."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def place(self) -> str:
        """Where they lie, for people."""

    def open(self) -> BinaryIO:
        """Open the bytes for reading, unbuffered: callers read in large pieces."""

    def read(self) -> bytes:
        """Return all bytes, still those of the digest; for small blobs only."""


def check(blob: BlobLike, found: Digest) -> None:
    """Return if ``found``, which the bytes of ``blob`` hash to now, is what they once did.

    Raises:
        IntegrityError: something happened to them since.
    """
    if found != blob.digest:
        raise IntegrityError(
            f"{blob.place}: expected {blob.digest}, got {found}: damaged since it was stored",
            hint="run isobuilder store check, which takes it out of the way, then this again",
        )


class Hasher:
    """Count and hash bytes as they pass."""

    __slots__ = ("_sha256", "size")

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.size = 0

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        self._sha256.update(chunk)
        self.size += len(chunk)

    def digest(self) -> Digest:
        """Return the digest of all bytes so far."""
        return Digest("sha256:" + self._sha256.hexdigest())


def hashed(chunks: Iterable[bytes], hasher: Hasher) -> Iterator[bytes]:
    """Pass ``chunks`` through unchanged and hash them on the way."""
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk
