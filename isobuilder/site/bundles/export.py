"""A bundle -> parts that people carry, a folder, or a pipe.

Each byte is read once and hashed twice while it is in hand: for its blob, which has to be right
before it leaves, and for its part. A part has its name when it is whole, so another run goes on
with the first that is not there, and one that was lost is made again alone.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isobuilder.content.archives import tar_header
from isobuilder.content.blobs import held
from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import (
    Put,
    as_environment_problem,
    clear_scratch,
    holds,
    is_file,
    new_file,
    read_bytes,
    refuse_special,
    write_whole,
)
from isobuilder.formats.archive import blob_name
from isobuilder.formats.sums import sum_line, written_sums
from isobuilder.formats.tar import BLOCK
from isobuilder.progress import SILENT, Progress, Task, task
from isobuilder.site.bundles.bundle import Bundle, Carried
from isobuilder.site.bundles.packing import Packing
from isobuilder.site.bundles.parts import BUNDLE, END, Part, Slot, layout_of, parts_of

_MOST_SUMS = 4 * 1024 * 1024  # bytes: 9,999 parts have 2 MiB of sums


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """One part and its digest."""

    path: Path
    number: int
    size: int  # bytes
    digest: Digest
    reused: bool  # it was there already


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle and its parts; a folder and a stream are one part without a digest."""

    bundle: Bundle
    parts: tuple[WrittenPart, ...]
    sums: Path | None


def write_parts(
    packed: Packing,
    out: Path,
    *,
    only: int | None = None,
    replace: bool = False,
    progress: Progress = SILENT,
) -> Exported:
    """Write the parts of ``bundle``, or only one of them, and their sums beside them.

    ``out`` is the file of a bundle of one part, and names the parts of others.

    Raises:
        InputError: a file of another content has such a name, parts of another bundle lie beside
            part ``only`` or are noted, as are parts of another count, or there is no such part.
        IntegrityError: a blob was damaged since it was stored; no part has anything of it.
        EnvironmentProblem: the disk is full or may not be written; parts that are whole stay.
    """
    parts = parts_of(packed.bundle)
    if only is not None and not 1 <= only <= len(parts):
        raise InputError(f"part {only}: expected 1 to {len(parts)}, which are all there are")
    paths = {part.number: _part_path(out, part.number, len(parts)) for part in parts}
    sums = out.with_name(f"{_stem(out)}.sha256")
    refuse_special(sums)
    known = _known_sums(sums, out, replace=replace)
    if not replace:
        _refuse_other_count(paths.values(), known, out)
    clear_scratch(out.parent, lambda name: name == sums.name or _ours(out).fullmatch(name))
    wanted = [part for part in parts if only in {None, part.number}]
    for part in wanted:
        _refuse_other(paths[part.number], part, replace=replace)
    if only is not None and not replace:
        _refuse_mixing(parts, paths, only)
    there = set() if only is not None else _as_noted(wanted, paths, known, progress)
    to_write = {part.number for part in wanted} - there
    writer = _Writer(packed)
    written: list[WrittenPart] = []
    with task(progress, "export", total=sum(part.size for part in wanted)) as work:
        for part in wanted:
            path = paths[part.number]
            if part.number in to_write:
                try:
                    noted = None if only is None or replace else known.get(path.name)
                    goes_on = part.number + 1 in to_write
                    known[path.name] = writer.write(part, path, work, noted, goes_on=goes_on)
                except _Damaged as error:
                    # Earlier parts may have the beginning of it, and look as whole as the others.
                    for other in written:
                        members = parts[other.number - 1].members
                        if any(member.of == error.item for member in members):
                            other.path.unlink(missing_ok=True)
                    raise
            else:
                work.advance(part.size)
            known = {name: known[name] for p in paths.values() if (name := p.name) in known}
            write_whole(sums, written_sums((digest, name) for name, digest in known.items()))
            reused = part.number in there
            written.append(WrittenPart(path, part.number, part.size, known[path.name], reused))
    return Exported(packed.bundle, tuple(written), sums)


def write_stream(
    packed: Packing,
    out: BinaryIO,
    *,
    progress: Progress = SILENT,
) -> Exported:
    """Write a bundle of one part to a pipe.

    Raises:
        IntegrityError: a blob was damaged since it was stored; what was written is cut off.
        OSError: the pipe takes no more.
    """
    (part,) = parts_of(packed.bundle)

    def put(data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:  # what has no buffer may take only a part
            rest = rest[out.write(rest) :]

    with task(progress, "export", total=part.size) as work:
        _Writer(packed).run(part, put, work)
    out.flush()
    return Exported(packed.bundle, (), None)


def write_folder(
    packed: Packing,
    out: Path,
    *,
    progress: Progress = SILENT,
) -> Exported:
    """Write a bundle as a folder, an OCI layout if it has images; what is there is not written.

    Raises:
        InputError: the folder is of another bundle.
        IntegrityError, EnvironmentProblem: as ``write_parts``.
    """
    bundle = packed.bundle
    text = bundle.to_bytes()
    about = out / BUNDLE
    texts = {BUNDLE: text} | dict(layout_of(bundle))
    clear_scratch(out, texts.__contains__)
    with as_environment_problem(out):
        if about.exists() and not holds(about, text):
            raise InputError(
                f"{out}: is a bundle already, and of something else", hint="choose another folder"
            )
        if out.is_dir() and any(out.iterdir()) and not about.exists():
            raise InputError(f"{out}: has something in it", hint="choose another folder")
    for name, data in texts.items():
        write_whole(out / name, data)
    blobs = {blob_name(item.digest).rpartition("/")[2] for item in bundle.contents}
    clear_scratch((out / blob_name(bundle.identity)).parent, blobs.__contains__)
    writer = _Writer(packed)
    with task(progress, "export", total=bundle.size) as work:
        for item in bundle.contents:
            path = out / blob_name(item.digest)
            with as_environment_problem(path):
                there = path.is_file() and path.stat().st_size == item.size
                there = there and Digest.of_file(path) == item.digest
            if there:
                work.advance(item.size)
                continue
            with new_file(path) as put:
                writer.copy(item, Slot(path.name, item.size, item), put, work)
    return Exported(packed.bundle, (), None)


def _part_path(out: Path, number: int, of: int) -> Path:
    """Return where a part goes."""
    if of == 1:
        return out
    digits = max(3, len(str(of)))
    return out.with_name(f"{_stem(out)}.{number:0{digits}}-of-{of:0{digits}}.tar")


class _Damaged(IntegrityError):
    """A blob is not what it was."""

    def __init__(self, item: Carried, found: Digest) -> None:
        self.item = item
        super().__init__(
            f"{item.names[0]}: expected {item.digest}, got {found}: damaged since it was stored",
            hint="run isobuilder store check, which takes it out of the way, then fetch it again",
        )


class _Writer:
    """Writes members one after the other, and proves each blob when its last byte was read."""

    def __init__(self, packed: Packing) -> None:
        self._texts, self._find = packed.texts, packed.find
        self._half: dict[Digest, Hasher] = {}  # blobs that go on in the next part
        self._buffer = memoryview(bytearray(BUFFER_SIZE))

    def write(
        self, part: Part, path: Path, work: Task, noted: Digest | None, *, goes_on: bool
    ) -> Digest:
        """Write one part and return its digest; ``goes_on``: the next one follows at once.

        Raises:
            InputError: it would not be what was ``noted`` of it.
        """
        hasher = Hasher()
        with new_file(path) as put:

            def both(data: bytes | memoryview) -> None:
                hasher.update(data)
                put(data)

            self.run(part, both, work, goes_on=goes_on)
            if noted not in {None, hasher.digest()}:
                raise InputError(
                    f"{path}: would be {hasher.digest()}, and is noted as {noted}: of another "
                    "bundle than the parts that were made with it",
                    hint="choose another name with --out, or make all parts again with --replace "
                    "and without --part",
                )
        return hasher.digest()

    def run(self, part: Part, put: Put, work: Task, *, goes_on: bool = False) -> None:
        """Hand the bytes of a part to ``put``."""
        for member in part.members:
            put(tar_header(member.name, member.size))
            if isinstance(member.of, Carried):
                self.copy(member.of, member, put, work, goes_on=goes_on)
            else:
                put(member.text or b"")
            put(bytes(-member.size % BLOCK))
        put(bytes(END))

    def copy(
        self, item: Carried, member: Slot, put: Put, work: Task, *, goes_on: bool = False
    ) -> None:
        """Hand the bytes of one member to ``put``.

        Raises:
            _Damaged: its blob is not what its digest says.
        """
        with self._open(item) as source:
            hasher = self._half.pop(item.digest, None)
            if hasher is None or hasher.size != member.start:
                hasher = Hasher()
                self._pass(source, member.start, hasher.update)
            source.seek(member.start)

            def both(data: memoryview) -> None:
                hasher.update(data)
                put(data)
                work.advance(len(data))

            missing = self._pass(source, member.size, both)
            if goes_on and hasher.size < item.size and not missing:
                self._half[item.digest] = hasher
                return
            missing += self._pass(source, item.size - hasher.size, hasher.update)
            if missing or source.read(1) or hasher.digest() != item.digest:
                raise _Damaged(item, hasher.digest())

    def _pass(self, source: BinaryIO, size: int, put: Callable[[memoryview], object]) -> int:
        """Hand on the next ``size`` bytes and return how many of them are not there."""
        while size > 0:
            count = source.readinto(self._buffer[:size])  # type: ignore[attr-defined]
            if not count:
                break
            put(self._buffer[:count])
            size -= count
        return max(size, 0)

    def _open(self, item: Carried) -> BinaryIO:
        text = self._texts.get(item.digest)
        if isinstance(text, bytes):
            return io.BytesIO(text)
        if text is not None:
            return text.open("rb", buffering=0)
        return held(self._find, item.digest, item.names[0]).open()


def _stem(out: Path) -> str:
    return out.name.removesuffix(".tar")


def _first_header(part: Part) -> bytes:
    first = part.members[0]
    return tar_header(first.name, first.size) + (first.text or b"")


def _begins(path: Path, part: Part) -> bool:
    expected = _first_header(part)
    with path.open("rb") as file:
        return file.read(len(expected)) == expected


def _is_whole(path: Path, part: Part) -> bool:
    """Say if it is the part by its size and its beginning; sums tell the rest."""
    with as_environment_problem(path):
        return path.is_file() and path.stat().st_size == part.size and _begins(path, part)


def _as_noted(
    parts: Sequence[Part],
    paths: Mapping[int, Path],
    known: Mapping[str, Digest],
    progress: Progress,
) -> set[int]:
    """Return the numbers of the parts that are there with the digests that were noted of them."""
    found = {
        part.number: path
        for part in parts
        if (path := paths[part.number]).name in known and _is_whole(path, part)
    }
    if not found:
        return set()
    total = sum(part.size for part in parts if part.number in found)
    with task(progress, "compare", total=total) as work:
        return {
            number for number, path in found.items() if _digest_of(path, work) == known[path.name]
        }


def _digest_of(path: Path, work: Task) -> Digest:
    hasher = Hasher()
    with as_environment_problem(path), path.open("rb", buffering=0) as file:
        while chunk := file.read(BUFFER_SIZE):
            hasher.update(chunk)
            work.advance(len(chunk))
    return hasher.digest()


def _refuse_other(path: Path, part: Part, *, replace: bool) -> None:
    with as_environment_problem(path):
        if path.exists() and not path.is_file():
            raise InputError(
                f"{path}: is there already, and no regular file",
                hint="choose another name with --out; --out - writes to a pipe",
            )
        if path.exists() and not replace and not _begins(path, part):
            raise InputError(
                f"{path}: is there already, and of another bundle",
                hint="choose another name with --out; --replace lets it go",
            )


def _refuse_mixing(parts: Sequence[Part], paths: Mapping[int, Path], only: int) -> None:
    """Raise if parts are there that do not belong to the one that is to be made."""
    for part in parts:
        path = paths[part.number]
        with as_environment_problem(path):
            if part.number != only and path.is_file() and not _begins(path, part):
                raise InputError(
                    f"{path}: is of another bundle than part {only} would be of",
                    hint="choose another name with --out, or make all parts again with --replace "
                    "and without --part",
                )


def _ours(out: Path) -> re.Pattern[str]:
    """Return what the names of parts of any count look like."""
    return re.compile(rf"{re.escape(_stem(out))}\.[0-9]+-of-[0-9]+\.tar|{re.escape(out.name)}")


def _refuse_other_count(paths: Iterable[Path], known: Iterable[str], out: Path) -> None:
    """Raise if parts of another count are there or noted, whose sums would be lost."""
    names = {path.name for path in paths}
    with as_environment_problem(out.parent):
        there = [path.name for path in out.parent.iterdir()] if out.parent.is_dir() else []
    parts = {name for name in there if name != out.name and _ours(out).fullmatch(name)}
    others = {*known, *parts} - names
    if others:
        raise InputError(
            f"{out.with_name(min(others))}: is a part of another bundle, or of one cut otherwise",
            hint="choose another name with --out; --replace lets its sum go",
        )


def _known_sums(path: Path, out: Path, *, replace: bool) -> dict[str, Digest]:
    """Return what an earlier run noted of its parts.

    Raises:
        InputError: something else is in that file, which would be lost, and ``replace`` is not set.
    """
    if not is_file(path):
        return {}
    try:
        text = os.fsdecode(read_bytes(path, _MOST_SUMS))
    except InputError:
        text = "?"
    # No line of ours ends with CR, which is escaped in a name: who has it came over Windows.
    lines = [sum_line(line.removesuffix("\r")) for line in text.split("\n") if line.strip()]
    ours = _ours(out)
    found = [line for line in lines if line and line.is_sha256 and ours.fullmatch(line.path)]
    if len(found) < len(lines) and not replace:
        raise InputError(
            f"{path}: is there already, and has something else in it than sums of such parts",
            hint="choose another name with --out; --replace lets it go",
        )
    return {line.path: Digest.from_hex(line.digits) for line in found}
