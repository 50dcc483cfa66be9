"""What a Node package says of itself.

Source: npm's ``package.json`` documentation; ``license`` was an object or a list in old ones.
"""

from __future__ import annotations

from typing import Any

from isobuilder.documents.json import JsonLimits, parse
from isobuilder.errors import IntegrityError
from isobuilder.formats.packages.package import Package, licences, word

PACKAGE_JSON = JsonLimits(size=4 * 1024 * 1024, items=200_000, unique=False)
"""The longest that are published list some thousand files; of two equal keys Node takes the last"""


def read_package(data: bytes) -> Package | None:
    """Return the package that a ``package.json`` describes; None when it only says how to load it.

    Raises:
        IntegrityError: not JSON, or beyond a limit.
    """
    document = parse(
        data.removeprefix(b"\xef\xbb\xbf"), "package.json", PACKAGE_JSON, IntegrityError
    )
    if not isinstance(document, dict):
        return None
    name, version = document.get("name"), document.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not name or not version:
        return None
    stated = [document.get("license"), *_list(document.get("licenses"))]
    names = (one.get("type") if isinstance(one, dict) else one for one in stated)
    told = [text for text in names if isinstance(text, str)]
    return Package("npm", word(name), word(version), licences=licences(told))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
