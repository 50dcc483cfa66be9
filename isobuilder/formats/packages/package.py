"""What every kind of package has in common, whatever its database looks like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from isobuilder.errors import IntegrityError
from isobuilder.text import printable

Kind = Literal["deb", "apk", "rpm", "golang", "pypi", "npm"]

MAX_DATABASE = 64 * 1024 * 1024
"""Bytes of a database that is one text; Debian's with everything installed has some 60 MiB."""

MAX_PACKAGES = 100_000
"""Packages of one database or file; the whole of Debian has 65,000."""

_LONGEST = 300  # characters of a name or version; the longest module paths have some 120
_LICENCE = 200  # characters of what names a licence; beyond it is the text of one
_LICENCES = 100


@dataclass(frozen=True, slots=True)
class Package:
    """One package, as its own database tells it."""

    kind: Kind
    name: str
    version: str
    architecture: str = ""
    source: str = ""  # what it was built from, where that has another name
    source_version: str = ""
    licences: tuple[str, ...] = ()  # as the source states them
    facts: tuple[tuple[str, str], ...] = ()  # what else is worth telling, by name


def word(text: str) -> str:
    """Return a name or a version as one line that shows what it is."""
    return printable(text.strip(), _LONGEST)


def licences(texts: Iterator[str] | list[str]) -> tuple[str, ...]:
    """Return the names of licences among ``texts``, each once, in order; whole texts are none."""
    found = (text.strip() for text in texts)
    short = {printable(text) for text in found if text and len(text) <= _LICENCE}
    return tuple(sorted(short))[:_LICENCES]


def paragraphs(data: bytes) -> Iterator[list[str]]:
    """Give the runs of lines between empty lines.

    Raises:
        IntegrityError: there are more than a database has packages.
    """
    if len(data) > MAX_DATABASE:
        raise IntegrityError(f"{len(data)} bytes, expected at most {MAX_DATABASE}")
    lines: list[str] = []
    count = 0
    for line in data.split(b"\n"):
        if stripped := line.rstrip():
            lines.append(stripped.decode("utf-8", "replace"))
            continue
        if lines:
            count += 1
            if count > MAX_PACKAGES:
                raise IntegrityError(f"more than {MAX_PACKAGES} packages")
            yield lines
            lines = []
    if lines:
        yield lines
