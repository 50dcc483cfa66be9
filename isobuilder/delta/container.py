"""The file of a delta: a head, what it says as JSON, and the bytes that its methods need.

The head has 52 bytes: ``isodelta``, then three numbers of four bytes, the lowest first (format,
length of the packed JSON, length of the JSON), then the SHA-256 of all that follows. The JSON is
one frame of zstd. What the methods need follows in the order in which the JSON names it. A file
may hold several links: each makes something new of what is given, or of what another one made.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isobuilder.delta.methods import DeltaError, UnknownMethod
from isobuilder.delta.plan import MOST_LINKS, Link, from_data, to_data
from isobuilder.digest import BUFFER_SIZE, Hasher
from isobuilder.documents.json import JsonLimits, parse
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.files import Put, disk_problem, open_bytes
from isobuilder.formats.zstd import compressed, decompressed
from isobuilder.text import as_json

MAGIC, FORMAT = b"isodelta", 1

_HEAD = struct.Struct("<8sIII32s")
_LIMITS = JsonLimits(size=32 * 1024 * 1024, items=2_000_000)
_MOST_TABLES = 100_000
"""Opening brackets of tables, each of which takes far more memory than another value; a link has
two. Names of pieces may have some, too."""


@dataclass(frozen=True, slots=True, eq=False)
class Needed:
    """One link with where, in the file, what its methods need begins."""

    link: Link
    delta: Delta
    begins: int  # bytes from the beginning of the file


class Delta:
    """An open delta whose bytes are those that were written. Close it or use ``with``.

    Raises:
        InputError: it is none, no file at all, or of a newer format or method.
        IntegrityError: it is damaged.
        EnvironmentProblem: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = open_bytes(path)
        try:
            self.size = os.fstat(self._fd).st_size
            self.links = tuple(self._links())
            for needed in self.links:
                self._judge(needed)
        except OSError as error:
            self.close()
            raise disk_problem(error, path) from error
        except UnknownMethod as error:
            self.close()
            raise InputError(f"{path}: {error}", hint=_NEWER) from error
        except DeltaError as error:
            self.close()
            raise IntegrityError(f"{path}: {error}", hint=_AGAIN) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Delta:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file.

        Raises:
            DeltaError: there are fewer.
        """
        try:
            data = os.pread(self._fd, size, offset)
        except OSError as error:
            raise disk_problem(error, self.path) from error
        if len(data) != size:
            raise DeltaError("cut off")
        return data

    def _links(self) -> Iterator[Needed]:
        head = os.pread(self._fd, _HEAD.size, 0)
        if head[: len(MAGIC)] != MAGIC:
            raise InputError(f"{self.path}: not a delta: it begins with {head[:8]!r}")
        if len(head) < _HEAD.size:
            raise DeltaError("cut off in its head")
        _, number, packed, plain, digest = _HEAD.unpack(head)
        if number != FORMAT:
            raise InputError(
                f"{self.path}: a delta of format {number}; this isobuilder knows {FORMAT}",
                hint=_NEWER,
            )
        if plain > _LIMITS.size:
            raise DeltaError(f"what it says has {plain} bytes, at most {_LIMITS.size}")
        most = min(self.size, plain + plain // 64 + 4096)  # zstd adds less to what it cannot pack
        if packed > most:
            raise DeltaError(f"what it says is packed in {packed} bytes, at most {most}")
        self._prove(digest)
        try:
            data = _said(decompressed(self.read(_HEAD.size, packed), plain))
        except DeltaError:
            raise
        except IntegrityError as error:
            raise DeltaError(error.lines[0]) from error
        links = data.get("links") if isinstance(data, dict) else None
        if not isinstance(links, list) or not 1 <= len(links) <= MOST_LINKS:
            raise DeltaError("damaged: it says of nothing how it is made")
        at = _HEAD.size + packed
        for one in links:
            needed = Needed(from_data(one), self, at)
            yield needed
            at += needed.link.carried
        if at != self.size:
            raise DeltaError(f"damaged: {self.size} bytes, expected {at}")

    def _judge(self, needed: Needed) -> None:
        """Raise UnknownMethod if a newer isobuilder says how a gzip file is made."""
        from isobuilder.delta.deflate.recipe import GzipRecipe  # which most deltas need not

        at = needed.begins
        for _, _, made in needed.link.made:
            if made.method == _GZIP:
                try:
                    GzipRecipe.from_bytes(self.read(at, made.delta))
                except UnknownMethod:
                    raise
                except DeltaError:
                    pass  # told with its piece, when it is made
            at += made.delta

    def _prove(self, digest: bytes) -> None:
        hasher = Hasher()
        at = _HEAD.size
        while data := os.pread(self._fd, BUFFER_SIZE, at):
            hasher.update(data)
            at += len(data)
        if hasher.digest().hex != digest.hex():
            raise DeltaError(f"damaged: it hashes to {hasher.digest().hex}, not to {digest.hex()}")


_GZIP = 20
_AGAIN = "bring it again"
_NEWER = "apply it with the isobuilder that made it, or a newer one"


def _said(text: bytes) -> Any:
    if text.count(b"{") > _MOST_TABLES:
        raise DeltaError(f"what it says has more than {_MOST_TABLES} tables")
    return parse(text, "what it says", _LIMITS, DeltaError)


def is_delta(path: Path) -> bool:
    """Say if a file begins as a delta does; what cannot be read, or is no file, is none."""
    try:
        with os.fdopen(open_bytes(path), "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (InputError, EnvironmentProblem):
        return False


def write_delta(put: Put, links: Iterable[tuple[Link, Iterable[bytes]]]) -> None:
    """Write links, each with what its methods need, in the order of ``Link.made``.

    Raises:
        EnvironmentProblem: this Python has no zstd.
    """
    described, needed = [], []
    for link, deltas in links:
        described.append(to_data(link))
        needed += list(deltas)
    text = as_json({"links": described}).encode()
    packed = compressed(text)
    hasher = Hasher()
    for data in (packed, *needed):
        hasher.update(data)
    put(_HEAD.pack(MAGIC, FORMAT, len(packed), len(text), bytes.fromhex(hasher.digest().hex)))
    for data in (packed, *needed):
        put(data)
