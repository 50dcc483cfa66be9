"""What dpkg knows to be installed, and the licences that a package's copyright file names.

Sources: dpkg's ``dpkg-query(1)`` and ``deb-control(5)``; distroless images have one file for each
package in ``status.d``; Debian's machine-readable copyright format 1.0 (DEP-5).
"""

from __future__ import annotations

import re

from isobuilder.errors import IntegrityError
from isobuilder.formats.packages.package import Package, licences, paragraphs, word

MAX_COPYRIGHT = 4 * 1024 * 1024
"""Bytes of a copyright file; the longest of Debian have 2 MiB."""

_ABSENT = {"not-installed", "config-files"}
_WANTED = {"Package", "Status", "Version", "Architecture", "Source"}
_SOURCE = re.compile(r"(\S+)(?:\s+\(([^)]*)\))?")
_LICENCE = re.compile(rb"^License:[ \t]*(\S[^\r\n]*)", re.MULTILINE)
_COMMON = re.compile(rb"/usr/share/common-licenses/([0-9A-Za-z][0-9A-Za-z_.+-]*[0-9A-Za-z])")


def read_status(data: bytes) -> list[Package]:
    """Return the packages that a ``status`` file says are there, unpacked at least.

    Raises:
        IntegrityError: it is none, or beyond a limit; a sentence without place.
    """
    found = []
    for number, lines in enumerate(paragraphs(data), 1):
        fields = _fields(lines)
        state = fields.get("Status", "installed").split()[-1:]
        if not _ABSENT.isdisjoint(state):
            continue
        name, version = fields.get("Package"), fields.get("Version")
        if not name or not version:
            lacking = "Version" if name else "Package"
            raise IntegrityError(f"not a list of packages: paragraph {number} has no {lacking}")
        source = _SOURCE.match(fields.get("Source", ""))
        found.append(
            Package(
                "deb",
                word(name),
                word(version),
                word(fields.get("Architecture", "")),
                word(source[1]) if source else "",
                word(source[2] or "") if source else "",
            )
        )
    return found


def _fields(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and key in _WANTED:
            found.setdefault(key, value.strip())
    return found


def read_copyright(data: bytes) -> tuple[str, ...]:
    """Return the licences that a copyright file names.

    A file that is for programs has them in fields; of any other the references to the texts that
    every Debian system has are taken.
    """
    found = _LICENCE.findall(data) or _COMMON.findall(data)
    return licences([text.decode("utf-8", "replace") for text in found])
