"""One line of ``sha256sum``, as whoever reads such lines sees it.

Source: coreutils, ``digest.c``: digits, a space, a space or a star, the name; a backslash in front
when the name is escaped. Checksum files of projects also put tabs and any number of spaces between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(r"(\\?)([0-9A-Fa-f]{32,128})( [ *]|[ \t]+\*?)(.+)")


@dataclass(frozen=True, slots=True)
class SumLine:
    """What one line says of one file."""

    digits: str  # as they are written
    path: str  # as it is written
    escaped: bool  # a backslash in front: the name is not what it seems
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
    return SumLine(digits, path, bool(escape), gap in {"  ", " *"})
