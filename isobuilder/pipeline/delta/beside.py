"""What lies beside an ISO that a delta makes: what is of another ISO, and what is written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from isobuilder.delta.assembling import ByteRun
from isobuilder.delta.plan import Link
from isobuilder.digest import Digest
from isobuilder.documents.json import DOCUMENT, parse
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import as_environment_problem, is_file, read_bytes, write_whole
from isobuilder.medium import TRAVELS
from isobuilder.pipeline.verify import promised

MOST_BESIDE = 32 * 1024 * 1024
"""Bytes of a side file."""

REGISTRATION = "registration.json"
_SUMS, _SBOM = "iso.sha256", "sbom.cdx.json"
_TELLING = ("manifest.json", "lock.json", REGISTRATION, _SUMS)
"""Files of which one knows that they are of another ISO, and that therefore go last."""


def side(iso: Path, end: str) -> Path:
    """Return what lies beside an ISO, by the end of its name."""
    return iso.with_name(f"{iso.name.removesuffix('.iso')}.{end}")


def of_another(registration: bytes, digest: Digest, size: int) -> str | None:
    """Return what makes a registration one of another ISO than that of ``digest``; else None."""
    try:
        data = parse(registration, "it", DOCUMENT)
    except InputError as error:
        return error.lines[0]
    told: Any = data.get("checksum") if isinstance(data, dict) else None
    if not isinstance(told, str) or told.rpartition("}")[2] != digest.hex:
        return f"it tells of {str(told)[:80]}, expected {digest}"
    if data.get("size", 0) not in {0, size}:  # 0: not known
        return f"it tells of {str(data['size'])[:40]} bytes, expected {size}"
    return None


def registered_name(iso: Path) -> str | None:
    """Return what the registration beside an ISO calls its file; None where it does not say."""
    path = side(iso, REGISTRATION)
    if not is_file(path):
        return None
    try:
        data = parse(read_bytes(path, DOCUMENT.size), str(path), DOCUMENT)
    except InputError:
        return None
    name = data.get("filename") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None


class Beside:
    """What goes along with the ISO that ``link`` makes, to lie beside ``out``."""

    def __init__(self, link: Link, runs: Sequence[ByteRun], out: Path) -> None:
        self._link, self._runs, self._out = link, runs, out

    def stale(self, *, there: bool) -> str | None:
        """Return what lies there of another ISO, in a sentence; None if nothing does.

        Everything is made once, so what cannot be made is told before the ISO has its name.
        Without the ISO (``there``) an SBOM is what was made with it; later it may be a deeper one.
        A signature and statements about vulnerabilities may come another way, at any time.

        Raises:
            IntegrityError: a file cannot be made, or the registration is of another ISO.
        """
        told = promised(self._out)
        found = (
            [f"{self._out}.sha256: {_OTHER}: {told}"]
            if told not in {None, self._link.digest}
            else []
        )
        compared = {*_TELLING} - {REGISTRATION, _SUMS} | ({_SBOM} if not there else set())
        for end, data in self._made(list(self._link.beside)):
            path = side(self._out, end)
            if end in compared and path.is_file() and read_bytes(path, MOST_BESIDE) != data:
                found.append(f"{path}: {_OTHER}: it is not what lies beside {self._link.name}")
        path = side(self._out, REGISTRATION)
        if path.is_file():
            why = of_another(read_bytes(path, MOST_BESIDE), self._link.digest, self._link.size)
            found += [] if why is None else [f"{path}: {_OTHER}: {why}"]
        return found[0] if found else None

    def remove(self) -> None:
        """Remove what tells of the ISO that is gone: beside another one it would be wrong.

        A run that ends early leaves what shows the next one that the rest has to go too.
        """
        for end in (*(end for end in TRAVELS if end not in _TELLING), *_TELLING):
            path = side(self._out, end)
            with as_environment_problem(path):
                path.unlink(missing_ok=True)

    def write(self) -> tuple[Path, ...]:
        """Write what is not there, and return which files that are."""
        written = []
        ends = [end for end in self._link.beside if not side(self._out, end).exists()]
        for end, data in self._made(ends):
            write_whole(side(self._out, end), data)
            written.append(side(self._out, end))
        return tuple(written)

    def _made(self, ends: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Make files, one at a time."""
        for end in ends:
            run = self._runs[self._link.beside[end]]
            if end not in TRAVELS or run.size > MOST_BESIDE:
                continue
            data = run.read(0, run.size) if run.size else b""
            if end == _SUMS:  # which tells the name
                data = f"{self._link.digest.hex}  ".encode() + os.fsencode(self._out.name) + b"\n"
            if end == REGISTRATION:
                why = of_another(data, self._link.digest, self._link.size)
                if why is not None:
                    raise IntegrityError(
                        f"{side(Path(self._link.name), end)}: the delta has one of another ISO: "
                        f"{why}",
                        hint="the delta is not as it was made: get another one",
                    )
            yield end, data


_OTHER = "is there already, and is of another ISO"
