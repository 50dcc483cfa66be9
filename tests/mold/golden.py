"""Worlds of one server in a known state, written down as lines that can be compared."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from isobuilder.demo.mold.server import Logged

FOLDER = Path(__file__).parents[1] / "golden" / "mold"

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_DULL = {"command", "response", "signatureversion", "expires", "page", "pagesize"}


def counted_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the simulator give ids that sort by the time of their making."""
    numbers = iter(range(1, 1_000_000))
    monkeypatch.setattr("uuid.uuid4", lambda: UUID(int=next(numbers)))


class Names:
    """Short names for ids, in the order in which they are seen, and for addresses of a test."""

    def __init__(self, bases: Iterable[tuple[str, str]] = ()) -> None:
        self._bases = list(bases)
        self._ids: dict[str, str] = {}

    def plain(self, text: str) -> str:
        """Return a text without anything that another run would have otherwise."""
        for base, name in self._bases:
            text = text.replace(base, name)
        return _UUID.sub(self._name, text)

    def know(self, value: str, name: str) -> None:
        """Call an id by a name."""
        self._ids[value] = name

    def _name(self, match: re.Match[str]) -> str:
        return self._ids.setdefault(match[0], f"#{len(self._ids) + 1}")


def request_lines(log: Iterable[Logged], names: Names) -> Iterator[str]:
    """Return one line for each request; a request that follows its like is only counted."""
    last, times = "", 0
    for entry in log:
        params = [
            f"{name}={names.plain(value)}"
            for name, value in sorted(entry.params.items())
            if name not in _DULL
        ]
        status = [] if entry.status == 200 else [f"-> {entry.status}"]
        line = " ".join([entry.method, entry.command, *params, *status])
        if line == last:
            times += 1
            continue
        if last:
            yield last + (f" (x{times})" if times > 1 else "")
        last, times = line, 1
    if last:
        yield last + (f" (x{times})" if times > 1 else "")


def check_golden(name: str, lines: Iterable[str]) -> None:
    """Fail when the file of that name says otherwise."""
    path = FOLDER / name
    text = "".join(f"{line}\n" for line in lines)
    if os.environ.get("ISOBUILDER_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
