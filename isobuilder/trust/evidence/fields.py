"""Values of a stranger's JSON, taken by name; what is not as its format says is one sentence."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from isobuilder.documents.json import JsonLimits, parse
from isobuilder.errors import IntegrityError

EVIDENCE = JsonLimits(size=16 * 1024 * 1024, items=50_000)
"""Bundles, roots, answers of logs: a bundle has some 6 KiB, its statement may name every file of a
release."""

_MOST = 256  # values of one list: certificates, hashes of a proof, signatures


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object, and what messages call it."""

    value: dict[str, Any]
    place: str

    @classmethod
    def read(cls, data: bytes, place: str) -> Fields:
        """Return the object that a text is.

        Raises:
            IntegrityError: it is none, or costs more than any we know.
        """
        return cls.of(parse(data, place, EVIDENCE, IntegrityError), place)

    @classmethod
    def of(cls, value: object, place: str) -> Fields:
        """Return ``value`` as an object, or raise ``IntegrityError``."""
        if not isinstance(value, dict):
            raise IntegrityError(f"{place}: expected a JSON object, found {_kind(value)}")
        return cls(value, place)

    def has(self, name: str) -> bool:
        """Say if there is something by that name: null, and what is empty, is nothing."""
        return self.value.get(name) not in (None, "", [], {})

    def part(self, name: str) -> Fields:
        """Return the object called ``name``."""
        return Fields.of(self.value.get(name), f"{self.place}: {name}")

    def parts(self, name: str) -> list[Fields]:
        """Return the objects of the list called ``name``; none is an empty one."""
        return [
            Fields.of(value, f"{self.place}: {name}[{number}]")
            for number, value in enumerate(self._list(name))
        ]

    def text(self, name: str) -> str:
        """Return the text called ``name``."""
        value = self.value.get(name)
        if not isinstance(value, str):
            raise self._not(name, "text")
        return value

    def number(self, name: str) -> int:
        """Return a whole number from 0 on; protobuf writes those of 64 bits as text."""
        value = self.value.get(name)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
            return int(value)
        if type(value) is not int or value < 0:
            raise self._not(name, "a whole number")
        return value

    def data(self, name: str) -> bytes:
        """Return the bytes that are written in base64."""
        return self._bytes(name, self.value.get(name))

    def datas(self, name: str) -> tuple[bytes, ...]:
        """Return the list of bytes called ``name``."""
        return tuple(self._bytes(name, value) for value in self._list(name))

    def hexes(self, name: str) -> tuple[bytes, ...]:
        """Return the list of bytes called ``name`` that are written in hexadecimal digits."""
        return tuple(self._from_hex(name, value) for value in self._list(name))

    def hexed(self, name: str) -> bytes:
        """Return the bytes that are written in hexadecimal digits."""
        return self._from_hex(name, self.value.get(name))

    def _list(self, name: str) -> list[Any]:
        value = self.value.get(name) or []
        if not isinstance(value, list):
            raise self._not(name, "a list")
        if len(value) > _MOST:
            raise IntegrityError(f"{self.place}: {name}: {len(value)} values, at most {_MOST}")
        return value

    def _bytes(self, name: str, value: object) -> bytes:
        try:
            if isinstance(value, str):
                return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
        raise self._not(name, "base64")

    def _from_hex(self, name: str, value: object) -> bytes:
        try:
            if isinstance(value, str):
                return binascii.unhexlify(value)
        except (binascii.Error, ValueError):
            pass
        raise self._not(name, "hexadecimal digits")

    def _not(self, name: str, expected: str) -> IntegrityError:
        found = _kind(self.value.get(name))
        return IntegrityError(f"{self.place}: {name}: expected {expected}, found {found}")


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return repr(value) if len(value) < 60 else f"{value[:57]!r}..."
    names = {dict: "an object", list: "a list", bool: "true or false"}
    return names.get(type(value), "a number")
