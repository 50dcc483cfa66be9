"""Lines of ``sha256sum``: one as whoever reads such lines sees it, and those that we write.

Source: coreutils, ``digest.c``: digits, a space, a space or a star, the name; a backslash in front
when the name is escaped, as one with a line end or a backslash in it is. Checksum files of projects
also put tabs and any number of spaces between.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from isobuilder.digest import Digest

_LINE = re.compile(r"(\\?)([0-9A-Fa-f]{32,128})( [ *]|[ \t]+\*?)(.+)")
_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r"}  # what a name has -> how it is written
_MEANT = {written: meant for meant, written in _ESCAPES.items()}
_ESCAPED = re.compile(r"\\[\\nr]")
_MARK = "\\"  # in front of such a line


@dataclass(frozen=True, slots=True)
class SumLine:
    """What one line says of one file."""

    digits: str  # as they are written
    path: str
    escaped: bool  # a backslash in front: the name was written in another way
    exact: bool  # digits and name are apart as sha256sum writes it

    @property
    def is_sha256(self) -> bool:
        """Whether ``sha256sum -c`` takes it for one of its lines."""
        return self.exact and len(self.digits) == 64


def sum_line(line: str) -> SumLine | None:
    """Return what ``line`` says; None when it is no line of ``sha256sum`` or one of its kind."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    escape, digits, gap, path = match.groups()
    if escape:
        path = _ESCAPED.sub(lambda found: _MEANT[found[0]], path)
    return SumLine(digits, path, bool(escape), gap in {"  ", " *"})


def only_sum(data: bytes, name: str) -> Digest | None:
    """Return the digest that a file of one line gives for ``name``, also one that is no text."""
    line = sum_line(os.fsdecode(data).removesuffix("\n"))
    if line is None or not line.is_sha256 or line.path != name:
        return None
    return Digest.from_hex(line.digits)


def written_sum(digest: Digest, name: str) -> str:
    """Return the line, without its end, that ``sha256sum`` writes of the file ``name``."""
    path = "".join(_ESCAPES.get(character, character) for character in name)
    return f"{'' if path == name else _MARK}{digest.hex}  {path}"


def written_sums(files: Iterable[tuple[Digest, str]]) -> bytes:
    """Return a file that ``sha256sum -c`` reads; a name that is no text keeps its bytes."""
    return b"".join(os.fsencode(written_sum(*file)) + b"\n" for file in files)
