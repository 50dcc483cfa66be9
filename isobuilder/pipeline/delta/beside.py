"""What lies beside an ISO that a delta makes: what is of another ISO, and what is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from isobuilder.delta.assembling import ByteRun
from isobuilder.delta.methods import DeltaError
from isobuilder.delta.plan import Link
from isobuilder.digest import Digest
from isobuilder.documents.json import DOCUMENT, parse
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import as_environment_problem, is_file, read_bytes, write_whole
from isobuilder.formats.sums import written_sums
from isobuilder.medium import SBOM, TRAVELS
from isobuilder.pipeline.verify import promised

MOST_BESIDE = 32 * 1024 * 1024
"""Bytes of a side file."""

REGISTRATION = "registration.json"
_SUMS = "iso.sha256"
_TELLING = ("manifest.json", "lock.json", REGISTRATION, _SUMS)
"""Files of which one knows that they are of another ISO, and that therefore go last."""

_ALL = (*(end for end in TRAVELS if end not in _TELLING), *_TELLING)


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
        # Other ends are of a newer isobuilder, or a stranger's: they are no part of a name here.
        self._ends = [end for end in link.beside if end in TRAVELS]
        self._mark = out.with_name(f".{out.name}.{link.digest.hex[:16]}.sides")
        self._marked = False

    @cached_property
    def _expected(self) -> dict[str, tuple[int, Digest]]:
        """Size and digest of each; so what cannot be made is told before the ISO has its name."""
        return {end: (len(data), Digest.of(data)) for end, data in self._made(self._ends)}

    def stale(self, *, there: bool) -> dict[str, str]:
        """Return what lies there of another ISO: the ends of names, each with a sentence.

        Without the ISO (``there``) an SBOM is what was made with it; later it may be a deeper one.
        A signature and statements about vulnerabilities may come another way, at any time.

        Raises:
            InputError: what has the name of such a file is none.
            IntegrityError: a file cannot be made, or the registration is of another ISO.
        """
        self._refuse_others()
        found: dict[str, str] = {}
        self._marked = there and self._mark.exists()
        if self._marked:
            found[""] = f"{self._out}: what lies beside it is of the ISO that it replaced"
        told = promised(self._out)
        if told not in {None, self._link.digest}:
            found[_SUMS] = f"{self._out}.sha256: {_OTHER}: {told}"
        name = self._link.name
        for end in ("manifest.json", "lock.json", SBOM):
            path, expected = side(self._out, end), self._expected.get(end)
            if not is_file(path) or (there and (end == SBOM or expected is None)):
                continue
            if expected is None:
                found[end] = f"{path}: {_OTHER}: nothing of that kind lies beside {name}"
            elif not _is_of(path, *expected):
                found[end] = f"{path}: {_OTHER}: it is not what lies beside {name}"
        path = side(self._out, REGISTRATION)
        if is_file(path):
            size = path.stat().st_size
            why: str | None = f"it has {size} bytes"
            if size <= MOST_BESIDE:
                data = read_bytes(path, MOST_BESIDE)
                why = of_another(data, self._link.digest, self._link.size)
            if why is not None:
                found[REGISTRATION] = f"{path}: {_OTHER}: {why}"
        return found

    def _refuse_others(self) -> None:
        for path in (side(self._out, end) for end in TRAVELS):
            with as_environment_problem(path):
                if path.exists() and not path.is_file():
                    raise InputError(
                        f"{path}: is there, and is no file",
                        hint="take it away, or name another file with --out",
                    )

    def going(self, stale: Mapping[str, str]) -> tuple[str, ...]:
        """Return the ends of what goes with what is ``stale``, in the order in which it goes.

        Beside the right ISO these are only those; but if one names another ISO, or a run ended
        early, the rest came with that one too.
        """
        everything = not stale.keys().isdisjoint({"", _SUMS, REGISTRATION})
        return _ALL if everything else tuple(end for end in _ALL if end in stale)

    def everything_goes(self) -> tuple[str, ...]:
        """Return the ends of all; a mark stays until they are gone, whenever this run ends."""
        write_whole(self._mark, b"")
        self._marked = True
        return _ALL

    def remove(self, ends: Sequence[str]) -> tuple[Path, ...]:
        """Remove what tells of the ISO that is gone: beside another one it would be wrong."""
        gone = []
        for path in (side(self._out, end) for end in ends):
            with as_environment_problem(path):
                if path.exists():
                    gone.append(path)
                path.unlink(missing_ok=True)
        if self._marked:
            with as_environment_problem(self._mark):
                self._mark.unlink(missing_ok=True)
        return tuple(gone)

    def write(self) -> tuple[Path, ...]:
        """Write what is not there, and return which files that are."""
        written = []
        ends = [end for end in self._ends if not side(self._out, end).exists()]
        for end, data in self._made(ends):
            write_whole(side(self._out, end), data)
            written.append(side(self._out, end))
        return tuple(written)

    def _made(self, ends: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Make files, one at a time."""
        for end in ends:
            run = self._runs[self._link.beside[end]]
            if run.size > MOST_BESIDE:
                continue
            try:
                data = run.read(0, run.size) if run.size else b""
            except DeltaError as error:
                raise IntegrityError(
                    f"{side(self._out, end)}: cannot be made by the delta: {error}",
                    hint="the delta does not make what it promises: get another one",
                ) from error
            if end == _SUMS:  # which tells the name
                data = written_sums([(self._link.digest, self._out.name)])
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


def _is_of(path: Path, size: int, digest: Digest) -> bool:
    return path.stat().st_size == size and Digest.of_file(path) == digest
