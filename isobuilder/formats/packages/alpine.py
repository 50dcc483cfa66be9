"""What apk knows to be installed.

Source: Alpine's wiki, "Apk spec", and apk-tools' ``database.c``: paragraphs of lines that begin
with one letter and a colon; those about files follow the package they belong to.
"""

from __future__ import annotations

from isobuilder.errors import IntegrityError
from isobuilder.formats.packages.package import Package, licences, paragraphs, word

_FILES = {"F", "R", "M", "a", "Z"}
_WANTED = {"P", "V", "A", "L", "o"}


def read_installed(data: bytes) -> list[Package]:
    """Return the packages of an ``installed`` database.

    Raises:
        IntegrityError: it is none, or beyond a limit; a sentence without place.
    """
    found = []
    for number, lines in enumerate(paragraphs(data), 1):
        fields: dict[str, str] = {}
        for line in lines:
            key, colon, value = line.partition(":")
            if key in _FILES:
                break
            if colon and key in _WANTED:
                fields.setdefault(key, value.strip())
        if not fields.get("P") or not fields.get("V"):
            lacking = "V" if fields.get("P") else "P"
            raise IntegrityError(f"not a list of packages: paragraph {number} has no {lacking}:")
        origin = word(fields.get("o", ""))
        name = word(fields["P"])
        found.append(
            Package(
                "apk",
                name,
                word(fields["V"]),
                word(fields.get("A", "")),
                origin if origin != name else "",
                licences=licences([fields.get("L", "")]),
            )
        )
    return found
