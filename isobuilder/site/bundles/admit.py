"""A bundle, or an ISO, -> blobs in the store of a site.

What was carried is hostile input. A part says in bundle.json what it holds, and from that follows
every byte of it that is no blob: headers are compared with those and never interpreted, so that
nothing in it chooses a name or a place here. A blob counts once its bytes have its digest; pieces
wait beside the store's downloads until all of them are there.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from isobuilder.cancel import Halt
from isobuilder.content.archives import tar_header
from isobuilder.digest import Digest
from isobuilder.documents.json import DOCUMENT
from isobuilder.errors import (
    EnvironmentProblem,
    InputError,
    IntegrityError,
    IsobuilderError,
    PartlyDone,
)
from isobuilder.files import as_environment_problem, is_file, open_own
from isobuilder.formats.archive import blob_name
from isobuilder.formats.tar import BLOCK, StreamSource, walk
from isobuilder.model.validation import model_of
from isobuilder.progress import SILENT, Progress, task
from isobuilder.site.bundles.bundle import Bundle, Carried
from isobuilder.site.bundles.part_bytes import PartBytes, described
from isobuilder.site.bundles.parts import BUNDLE, END, Part, Slot, parts_of
from isobuilder.store import Partial, Store, partial_of, quarantine

_log = logging.getLogger(__name__)

COMPARE = "compare the parts with their sums (sha256sum -c), then import them again"
"""The way out where pieces do not make what was cut."""

_OTHER_HOLDER = 0.1  # seconds between looks at a blob that another process is busy with


class Keeper(Protocol):
    """Takes what was carried, and believes none of it."""

    def has(self, item: Carried, /) -> bool:
        """Say if the blob is there and right, so that nobody has to read it again."""

    def keep(self, item: Carried, member: Slot, chunks: Iterator[bytes], name: str, /) -> None:
        """Take all ``chunks``, which should be a blob or a piece of one.

        Raises:
            IntegrityError: they are not.
        """


class StoreKeeper:
    """Brings blobs into a store; pieces of one wait until the others are there."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def has(self, item: Carried, /) -> bool:
        """Say if the store has it; what is cut short there is moved away and may come again."""
        return is_stored(self._store, item.digest, item.size)

    def keep(self, item: Carried, member: Slot, chunks: Iterator[bytes], name: str, /) -> None:
        """Keep a blob or a piece."""
        store = self._store
        if member.size == item.size:
            store.add(chunks, digest=item.digest, name=name, size=item.size)
            _pass_over(chunks)  # not read if another import was quicker
            _refuse_other_size(store, item, name)
            return
        with _held(store, item.digest) as held, as_environment_problem(store.root):
            if store.own(item.digest) is not None:  # another import has put it together meanwhile
                _pass_over(chunks)
                _refuse_other_size(store, item, name)
                return
            with held.open_stretch(member.start) as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())


Knowing = Callable[[Bundle], None]
"""Learns of which bundle a part is."""


@dataclass(frozen=True, slots=True)
class TakenPart:
    """One part that was read to its end."""

    place: str
    bundle: Bundle
    added: int  # blobs that the keeper did not have, or pieces of such
    failures: tuple[IsobuilderError, ...] = ()  # of a folder: why some of its blobs are not taken


@dataclass(frozen=True, slots=True)
class Arrived:
    """How much of one bundle the store has."""

    bundle: Bundle
    missing: tuple[Carried, ...]
    missing_parts: tuple[int, ...]
    of: int  # parts


def take_part(
    stream: BinaryIO,
    place: str,
    keeper: Keeper,
    *,
    expected: Digest | None = None,
    knowing: Knowing | None = None,
    progress: Progress = SILENT,
) -> TakenPart:
    """Hand what one part holds to ``keeper``; it is read once, from its beginning to its end.

    ``expected`` is the identity of the bundle that it has to be of. ``knowing`` is told the bundle
    before anything of it is kept.

    Raises:
        IntegrityError: it is no part of a bundle, damaged, cut off, or of another bundle. What was
            proved before that stays, and nothing else.
        InputError: a newer isobuilder made it.
        EnvironmentProblem: the disk is full, or the part cannot be read.
    """
    source = PartBytes(stream, place)
    bundle, part = _opened(source, place, expected)
    if knowing is not None:
        knowing(bundle)
    added = 0
    with task(progress, place, total=part.size) as work:
        for member in part.members[1:]:
            source.expect_header(member)
            if not isinstance(member.of, Carried):
                source.expect(member.text or b"", member.name)
            elif keeper.has(member.of):
                source.skip(member.size, work)
            else:
                chunks = source.chunks(member.size, work)
                keeper.keep(member.of, member, chunks, f"{place}: {member.of.names[0]}")
                added += 1
            source.expect(bytes(-member.size % BLOCK), f"the end of {member.name}")
        source.expect(bytes(END), "the end")
        source.expect_end()
    return TakenPart(place, bundle, added)


def part_of(path: Path) -> tuple[Digest, int]:
    """Return the identity of the bundle of which a file is a part, and its number.

    Raises:
        IntegrityError, InputError, EnvironmentProblem: as ``take_part``.
    """
    with as_environment_problem(path), path.open("rb", buffering=0) as file:
        bundle, part = _opened(PartBytes(file, str(path)), str(path), None)
    return bundle.identity, part.number


def take_folder(
    folder: Path,
    keeper: Keeper,
    *,
    expected: Digest | None = None,
    knowing: Knowing | None = None,
    progress: Progress = SILENT,
) -> TakenPart:
    """Hand what a bundle in a folder holds to ``keeper``; nothing else there is looked at.

    ``expected`` and ``knowing`` are as for ``take_part``. A blob that is refused keeps no other
    from its turn; the errors are in the answer.

    Raises:
        IntegrityError, InputError, EnvironmentProblem: it is no bundle, see ``take_part``.
    """
    place = folder / BUNDLE
    with _own_file(place) as file:
        text = file.read(DOCUMENT.size + 1)
    bundle = _bundle(text, str(place), expected)
    if knowing is not None:
        knowing(bundle)
    added = 0
    failures: dict[str, IsobuilderError] = {}
    with task(progress, str(folder), total=bundle.size) as work:
        for item in bundle.contents:
            path = folder / blob_name(item.digest)
            if keeper.has(item) or not os.path.lexists(path):
                continue
            try:
                with _own_file(path) as file:
                    source = PartBytes(file, str(path))
                    member = Slot(path.name, item.size, item)
                    chunks = source.chunks(item.size, work)
                    keeper.keep(item, member, chunks, f"{folder}: {item.names[0]}")
                    source.expect_end()
            except IsobuilderError as error:
                failures.setdefault(str(error), error)  # a full disk is told once
            else:
                added += 1
    return TakenPart(str(folder), bundle, added, tuple(failures.values()))


def arrived(bundle: Bundle, store: Store) -> Arrived:
    """Put together what came in pieces, and say what of ``bundle`` is still missing.

    Raises:
        IntegrityError: all pieces of a blob are there and they are not it; they are thrown away.
            Or the bundle tells another size than the blob has.
    """
    parts = parts_of(bundle)
    pieces: dict[Carried, list[tuple[int, Slot]]] = {}
    for part in parts:
        for member in part.members:
            if isinstance(member.of, Carried) and not is_stored(
                store, member.of.digest, member.of.size
            ):
                pieces.setdefault(member.of, []).append((part.number, member))
    missing: list[Carried] = []
    numbers: set[int] = set()
    wrong: list[str] = []
    for item, found in pieces.items():
        with _held(store, item.digest) as held:
            if store.own(item.digest) is not None:  # another import was quicker
                _refuse_other_size(store, item, item.names[0])
                continue
            waiting = held.stretches()
            absent = [
                number for number, member in found if waiting.get(member.start) != member.size
            ]
            if absent or len(found) == 1:
                missing.append(item)
                numbers.update(absent or [found[0][0]])
                continue
            chunks = (held.read_stretch(member.start) for _, member in found)
            try:
                store.add(
                    itertools.chain.from_iterable(chunks),
                    digest=item.digest,
                    name=item.names[0],
                    size=item.size,
                )
            except IntegrityError as error:
                wrong.append(put_together(str(error), [number for number, _ in found]))
            held.discard()
    if wrong:
        raise IntegrityError(*wrong, hint=COMPARE)
    return Arrived(bundle, tuple(missing), tuple(sorted(numbers)), len(parts))


def put_together(fact: str, numbers: Sequence[int]) -> str:
    """Say what is wrong with a blob that was cut, of which any of the parts may be the cause."""
    return f"{fact}, put together of parts {', '.join(map(str, numbers))}"


def incomplete(found: Arrived) -> PartlyDone:
    """Return the error that says what of a bundle is still missing."""
    each = list(dict.fromkeys(item.names[0] for item in found.missing))
    names = ", ".join(each[:5]) + (f" and {len(each) - 5} more" if each[5:] else "")
    numbers = ", ".join(map(str, found.missing_parts))
    which = f"part {numbers} of {found.of}" if found.of > 1 else "what is in it"
    return PartlyDone(
        f"bundle {found.bundle.identity}: missing {which}: {names}",
        hint="import those as well, in any order; site export --part makes one part again",
    )


def _opened(source: PartBytes, place: str, expected: Digest | None) -> tuple[Bundle, Part]:
    """Return what a part says that it is, having read its beginning."""
    block = source.exactly(BLOCK, "its first header")
    try:
        member = next(walk(StreamSource([block])), None)
    except IntegrityError as error:
        raise IntegrityError(
            f"{place}: no part of a bundle: {error}", hint="site export makes bundles"
        ) from error
    if member is None or member.name != BUNDLE or not member.regular:
        found = "nothing" if member is None else described(block)
        raise IntegrityError(f"{place}: no part of a bundle: expected {BUNDLE} first, got {found}")
    if member.size > DOCUMENT.size:
        raise IntegrityError(
            f"{place}: {BUNDLE} has {member.size} bytes, expected at most {DOCUMENT.size}"
        )
    text = source.exactly(member.size, BUNDLE)
    bundle = _bundle(text, f"{place}: {BUNDLE}", expected)
    parts = _parts(bundle, place)
    if bundle.part > len(parts):
        raise IntegrityError(f"{place}: says it is part {bundle.part} of {len(parts)}")
    part = parts[bundle.part - 1]
    first = part.members[0]
    if tar_header(first.name, first.size) != block:
        raise IntegrityError(f"{place}: byte 0: the header of {BUNDLE} is not as we write it")
    source.expect(bytes(-member.size % BLOCK), f"the end of {BUNDLE}")
    return bundle, part


def _parts(bundle: Bundle, place: str) -> list[Part]:
    try:
        return parts_of(bundle)
    except InputError as error:
        raise IntegrityError(f"{place}: no bundle has such parts: {error}") from error


def _bundle(text: bytes, place: str, expected: Digest | None) -> Bundle:
    bundle = model_of(text, place, Bundle, error=IntegrityError)
    if bundle.to_bytes() != text:
        raise IntegrityError(f"{place}: not in the form that we write, so somebody changed it")
    if expected is not None and bundle.identity != expected:
        raise IntegrityError(f"{place}: of bundle {bundle.identity}, expected {expected}")
    return bundle


def is_stored(store: Store, digest: Digest, size: int | None) -> bool:
    """Say if ``store`` has a blob, of the size that it is said to have; None: nobody says.

    What is damaged there is moved to the quarantine: what is cut short from any store, what has its
    size from one that proves its blobs. Who says a size may lie, so it alone moves nothing away.

    Raises:
        EnvironmentProblem: what is damaged cannot be read or moved away.
    """
    own, path = store.own(digest), store.path_of(digest)
    if own is None and not is_file(path):
        return False
    if own is not None and size in {None, own.size}:
        return True
    with _held(store, digest), as_environment_problem(path):
        if not is_file(path):  # another import moved it away
            return False
        if Digest.of_file(path) == digest:  # or brought it again
            return size in {None, path.stat().st_size}
        moved = quarantine(store, path)
        if moved is None:
            raise EnvironmentProblem(
                f"{path}: damaged, and cannot be moved away",
                hint="remove it, then import again",
            )
        _log.warning("%s: damaged, now %s", path, moved)
    return False


def _refuse_other_size(store: Store, item: Carried, name: str) -> None:
    """Raise if the store has other bytes than the bundle tells; ``is_stored`` has proved them."""
    own = store.own(item.digest)
    if own is not None and own.size != item.size:
        raise IntegrityError(
            f"{name}: said to have {item.size} bytes, and {item.digest} has {own.size}"
        )


def _pass_over(chunks: Iterator[bytes]) -> None:
    for _ in chunks:
        pass


@contextmanager
def _held(store: Store, digest: Digest) -> Iterator[Partial]:
    """Hold the download of a blob, waiting for whoever has it."""
    halt = Halt()
    with as_environment_problem(store.root):
        (store.root / "partial").mkdir(parents=True, exist_ok=True)
    while True:
        with partial_of(store, digest.hex) as held:
            if held is not None:
                yield held
                return
        halt.pause(_OTHER_HOLDER)


@contextmanager
def _own_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is one, and no link, pipe or device that somebody put in its place."""
    with (
        as_environment_problem(path),
        os.fdopen(open_own(path, os.O_RDONLY), "rb", buffering=0) as file,
    ):
        yield file
