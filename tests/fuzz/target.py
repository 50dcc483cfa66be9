"""What a target of the fuzzer is: how its cases are made, and who reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.mutation import Chance, edited, edited_json, edited_text
from tests.fuzz.samples import Samples

Read = Callable[[bytes, Path], object]
"""Reads a case; the folder is empty and may be used."""


@dataclass(frozen=True, slots=True)
class Rig:
    """A target that is ready to run."""

    case: Callable[[Chance], bytes]
    read: Read


@dataclass(frozen=True, slots=True)
class Target:
    """A border through which foreign bytes come in."""

    name: str
    reads: tuple[str, ...]  # the modules whose reading is tried
    rig: Callable[[Samples, ExitStack], Rig]  # what needs an end is put on the stack
    few: int = 12  # cases in the ordinary tests


class Wrong(AssertionError):
    """A reader broke a promise without raising anything."""


def of_text(texts: Sequence[bytes], read: Read) -> Rig:
    """Return a rig whose cases are texts of lines and words."""
    return Rig(lambda chance: edited_text(chance.choice(texts), chance), read)


def of_bytes(samples: Sequence[bytes], read: Read) -> Rig:
    """Return a rig whose cases are any bytes."""
    return Rig(lambda chance: edited(chance.choice(samples), chance), read)


def of_json(values: Sequence[Any], read: Read) -> Rig:
    """Return a rig whose cases are JSON texts, most of them well formed."""
    return Rig(lambda chance: edited_json(chance.choice(values), chance), read)


def put(folder: Path, name: str, data: bytes) -> Path:
    """Write a file of a case."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
