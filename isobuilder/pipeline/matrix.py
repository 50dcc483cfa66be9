"""All ISOs that recipes mean, a cell each, and what has become of them on one or many machines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from isobuilder.digest import Digest
from isobuilder.documents.json import DOCUMENT, parse
from isobuilder.errors import InputError, IsobuilderError
from isobuilder.files import read_bytes
from isobuilder.formats.sums import only_sum
from isobuilder.jobs.cell import VERIFIED, Cell
from isobuilder.model.loading import load_lock, load_recipe
from isobuilder.model.lock import Lock
from isobuilder.model.recipe import IsoName
from isobuilder.pipeline.lock import find_lock
from isobuilder.publish.index import PublishedIndex, read_index

State = Literal["good", "missing", "unverified", "different"]
_SUMS_LIMIT = 4096  # bytes of a file of one line


def cells_of(
    recipes: Iterable[Path | tuple[Path, str]], architectures: Collection[str] = ()
) -> list[Cell]:
    """Return the cells of recipes, each with what ``build`` is told for it if that is not its path.

    ``architectures`` chooses some; none means all that a recipe is for.

    Raises:
        InputError: a recipe is none, a lock does not answer it, or two would make one ISO.
    """
    found: dict[str, Cell] = {}
    for one in recipes:
        path, called = one if isinstance(one, tuple) else (one, str(one))
        for architecture in load_recipe(path).architectures:
            if architectures and architecture not in architectures:
                continue
            cell = _cell(path, called, architecture)
            other = found.setdefault(cell.name, cell)
            if other is not cell:
                raise InputError(
                    f"{other.source} and {called} would both become {cell.name}.iso",
                    hint="give one of the recipes a variant or another revision",
                )
    return sorted(found.values(), key=_place)


def _cell(path: Path, called: str, architecture: str) -> Cell:
    recipe = load_recipe(path, architecture)
    known = find_lock(path, architecture, called=called)
    lock = known.lock if known else None
    if lock is not None:
        return Cell(lock.iso_name, called, lock)
    name = IsoName(
        kubernetes=recipe.kubernetes,
        profile=recipe.profile,
        variant=recipe.variant,
        boots=bool(recipe.boot and recipe.boot.payload),
        architecture=architecture,
        revision=recipe.revision,
    )
    return Cell(name, called, None)


def _place(cell: Cell) -> tuple[Any, ...]:
    return cell.iso.kubernetes, cell.iso.flavour, cell.iso.architecture, cell.iso.revision


@dataclass(frozen=True, slots=True)
class CellStatus:
    """What has become of one cell."""

    cell: Cell
    state: State
    facts: tuple[str, ...] = ()  # why it is not good, for people
    digest: Digest | None = None  # of its ISO, where all machines agree

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            **self.cell.to_data(),
            "state": self.state,
            "facts": self.facts,
            "digest": self.digest,
        }


@dataclass(slots=True)
class _Made:
    """What one folder has of one cell."""

    place: Path  # of the ISO, whether it is there or not
    digest: Digest | None = None
    verified: bool = False
    other_lock: bool = False
    doubts: tuple[str, ...] = ()  # what keeps it from being verified
    lies: tuple[str, ...] = ()  # where it differs from what lies beside it


def status_of(
    cells: Sequence[Cell], folders: Iterable[Path], *, hashed: bool = False
) -> list[CellStatus]:
    """Return what has become of each cell in the folders, one for each machine or more.

    What counts is what lies beside an ISO: its checksum, its lock, and what ``verify --json`` said
    (``NAME.verified.json``), or the index of a folder that a sync published. The ISO itself may be
    elsewhere; where it is there and ``hashed`` is set, it is hashed.

    Raises:
        InputErrors: the index of a folder is damaged.
    """
    places = [(folder, read_index(folder)) for folder in folders]
    return [
        _judged(cell, [one for place in places for one in _made(cell, *place, hashed=hashed)])
        for cell in cells
    ]


def _judged(cell: Cell, made: list[_Made]) -> CellStatus:
    if not made:
        fact = "nobody has built it"
        if cell.lock is None:
            fact += f": {cell.source} has no lock for {cell.iso.architecture}"
        return CellStatus(cell, "missing", (fact,))
    facts = [fact for one in made for fact in one.lies]
    facts += [
        f"{one.place}: built from another lock than that of {cell.source}"
        for one in made
        if one.other_lock
    ]
    digests = {one.digest: one for one in made if one.digest is not None}
    if len(digests) > 1:
        facts += [f"{one.place}: {one.digest}" for one in made if one.digest]
    if facts:
        return CellStatus(cell, "different", tuple(facts))
    digest = next(iter(digests), None)
    if not any(one.verified for one in made):  # who has the same bytes has verified ones
        doubts = [fact for one in made for fact in one.doubts]
        return CellStatus(cell, "unverified", tuple(doubts), digest)
    return CellStatus(cell, "good", (), digest)


def _made(cell: Cell, folder: Path, index: PublishedIndex, *, hashed: bool) -> Iterator[_Made]:
    """Give what a folder has of a cell, plain or bootable."""
    for boots in (cell.iso.boots, not cell.iso.boots):
        base = replace(cell.iso, boots=boots).base
        place = folder / f"{base}.iso"
        entry = next((one for one in index.isos if one.name == place.name), None)
        beside = [folder / f"{base}.{end}" for end in ("iso", "iso.sha256", VERIFIED)]
        if entry is None and not any(path.is_file() for path in beside):
            continue
        found = _Made(place, entry.sha256 if entry else None, entry is not None)
        try:
            _read_beside(found, cell, folder / base, hashed=hashed)
        except IsobuilderError as error:
            found.verified, found.doubts = False, (*found.doubts, str(error))
        yield found


def _read_beside(found: _Made, cell: Cell, base: Path, *, hashed: bool) -> None:
    sums = base.with_name(f"{base.name}.iso.sha256")
    published = found.digest
    if sums.is_file():
        found.digest = _only_sum(sums, found.place.name)
    if hashed and found.place.is_file():
        actual = Digest.of_file(found.place)
        if found.digest not in {None, actual}:
            found.lies = (f"{found.place}: is {actual}, {sums.name} says {found.digest}",)
        found.digest = actual
    if published not in {None, found.digest}:
        found.lies = (*found.lies, f"{found.place}: is {found.digest}, the index says {published}")
    lock = base.with_name(f"{base.name}.lock.json")
    if cell.lock is not None and lock.is_file():
        found.other_lock = not _same(load_lock(lock), cell.lock)
    if published is None:
        found.doubts = tuple(_doubts(found, base.with_name(f"{base.name}.{VERIFIED}")))
        found.verified = not found.doubts


def _doubts(found: _Made, record: Path) -> Iterator[str]:
    if found.digest is None:
        yield f"{found.place}: no checksum lies beside it"
    elif not record.is_file():
        yield f"{found.place}: nobody has verified it, there is no {record.name}"
    else:
        said = read_verdict(record)
        if said["digest"] != found.digest:
            yield f"{record}: is about {str(said['digest'])[:80]}, the ISO is {found.digest}"
        elif said["passed"] is not True:
            yield f"{record}: it did not pass"
        elif said["not_proved"]:
            yield f"{record}: it was verified without its lock"


def read_verdict(path: Path) -> dict[str, Any]:
    """Return what ``verify --json`` said of one ISO: its digest, and whether it passed.

    Raises:
        InputError: the file says nothing of the kind.
    """
    said = parse(read_bytes(path, DOCUMENT.size + 1), str(path), DOCUMENT)
    if not isinstance(said, dict) or not {"digest", "passed", "not_proved"} <= said.keys():
        raise InputError(f"{path}: is not what isobuilder verify --json prints of one ISO")
    return said


def _only_sum(path: Path, name: str) -> Digest:
    """Return what a checksum file says of the ISO ``name``."""
    data = read_bytes(path, _SUMS_LIMIT)
    if (digest := only_sum(data, name)) is None:
        got = data.decode("utf-8", "replace")[:80]
        raise InputError(f"{path}: expected a digest and {name}, got {got!r}")
    return digest


def _same(beside: Lock, recipe: Lock) -> bool:
    """Tell whether an ISO was built from a lock, whose OS payload may have been left open."""
    if recipe.boot is None or recipe.boot.payload is None:
        beside, recipe = (one.model_copy(update={"boot": None}) for one in (beside, recipe))
    return beside.digest == recipe.digest
