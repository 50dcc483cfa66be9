"""What an installed Python distribution says of itself.

Source: Python's core metadata specification: headers as in mail, then a body that nobody needs.
"""

from __future__ import annotations

from isobuilder.errors import IntegrityError
from isobuilder.formats.packages.package import Package, licences, word

MAX_METADATA = 4 * 1024 * 1024
"""Bytes; a long description with pictures in it has 1 MiB."""

_CLASSIFIER = "License ::"
_NO_NAME = {"OSI Approved", "License"}
_NOTHING = {"", "unknown", "none"}
_LINES = 20_000  # of headers


def read_metadata(data: bytes) -> Package:
    """Return the distribution that ``METADATA`` or ``PKG-INFO`` describes.

    Raises:
        IntegrityError: it does not tell name and version; a sentence without place.
    """
    head = data[:MAX_METADATA].replace(b"\r\n", b"\n").split(b"\n\n", 1)[0]
    single: dict[str, str] = {}
    classified: list[str] = []
    for line in head.decode("utf-8", "replace").split("\n")[:_LINES]:
        key, colon, value = line.partition(":")
        key, value = key.lower(), value.strip()
        if not colon or line[:1] in " \t":
            continue
        if key == "classifier" and value.startswith(_CLASSIFIER):
            name = value.rpartition("::")[2].strip()
            classified += [name] if name not in _NO_NAME else []
        elif key in {"name", "version", "license", "license-expression"}:
            single.setdefault(key, value)
    if not single.get("name") or not single.get("version"):
        raise IntegrityError("a description of a Python distribution without name or version")
    stated = single.get("license-expression") or single.get("license", "")
    told = classified if stated.lower() in _NOTHING else [stated]
    return Package("pypi", word(single["name"]), word(single["version"]), licences=licences(told))
