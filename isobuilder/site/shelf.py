"""Which ISOs are served: those that are named, and those in folders that are named, with deltas.

``look`` is asked again and again: an ISO that came, went or was replaced since is read, forgotten
or read anew, one that stayed is not touched. Answers under way keep what they began with.

A shelf passes over what it cannot read, for what is served goes on being served. Whoever does
something once, with everything that was named, asks ``read_isos``, which tells what it lacks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from isobuilder.errors import EnvironmentProblem, InputError, IsobuilderError
from isobuilder.files import as_environment_problem, keeps_bytes
from isobuilder.http.replies import FilePart, FileState
from isobuilder.pipeline.delta.ways import END, deltas_in, read_delta
from isobuilder.site.catalog import Catalog, ServedDelta, catalog_of
from isobuilder.site.holding import Holding, held_by

_log = logging.getLogger(__name__)

_MOST = 1000  # ISOs of one folder


@dataclass(frozen=True, slots=True)
class ReadIsos:
    """All ISOs at some places."""

    catalog: Catalog
    unread: tuple[str, ...]  # what of them could not be read, with its place and why


def read_isos(places: Iterable[Path]) -> ReadIsos:
    """Return every ISO at ``places``, files or folders, also of one name, and what is lacking.

    Raises:
        IntegrityError: a file that was named is no ISO, or contradicts itself.
        InputError: no file of a folder is called like an ISO.
        EnvironmentProblem: nothing is at a place, or it cannot be read.
    """
    holdings: dict[Path, Holding] = {}
    unread: dict[Path, list[str]] = {}
    for place in places:
        is_folder = _is_folder(place)
        for path in _some_isos(place) if is_folder else [place]:
            try:
                holding = holdings[path.absolute()] = _held(path)
            except IsobuilderError as error:
                if not is_folder:
                    raise
                unread[path] = list(error.lines)
            else:
                unread[path] = [f"{path}: {problem}" for problem in holding.problems]
    told = tuple(fact for facts in unread.values() for fact in facts)
    return ReadIsos(catalog_of(list(holdings.values())), told)


def _some_isos(folder: Path) -> Sequence[Path]:
    with as_environment_problem(folder):
        found = _isos_in(folder)
    if not found:
        hint = "name the folder that has them; is what should be there mounted?"
        raise InputError(f"{folder}: no ISO is in it", hint=hint)
    return found


def _is_folder(place: Path) -> bool:
    with as_environment_problem(place):
        return place.is_dir()


def _held(path: Path) -> Holding:
    if state_of(path) is None:
        raise EnvironmentProblem(f"{path}: no such file, or none to read")
    with as_environment_problem(path):
        return held_by(path)


@dataclass(frozen=True, slots=True)
class _Seen:
    state: FileState
    holding: Holding | None = None
    delta: ServedDelta | None = None
    fact: str = ""  # why it could not be read in this state


class Shelf:
    """The ISOs at ``places``, files or folders, as they are now."""

    def __init__(self, places: Iterable[Path]) -> None:
        self._places = tuple(places)
        self._folders: set[Path] = set()  # of these, as they were in the beginning
        self._seen: dict[Path, _Seen] = {}  # but for those whose names others have
        self._served: dict[Path, _Seen] = {}
        self._told: dict[Path, str] = {}  # why what is not served is not
        self._closed: dict[Path, str] = {}  # folders that cannot be read, which is told once
        self._looked = False
        self.catalog = Catalog()

    def open(self) -> Catalog:
        """Read everything for the first time.

        Raises:
            IsobuilderError: an ISO that was named is none, or not there.
        """
        for place in self._places:
            if _is_folder(place):
                self._folders.add(place)
            else:
                state = state_of(place)
                if state is None:
                    raise EnvironmentProblem(f"{place}: no such file or folder")
                holding = held_by(place)
                self._seen[place] = _Seen(holding.state, holding)
        self.look()
        return self.catalog

    def look(self) -> bool:
        """Look whether anything of what is served changed; the first time it has."""
        found: dict[Path, _Seen] = {}
        served: dict[Path, _Seen] = {}
        names: dict[str, Path] = {}
        told: dict[Path, str] = {}
        for path in (*self._isos(told), *self._deltas()):
            there = _stat(path)
            if there is None or path in found:
                continue
            if (first := names.get(path.name)) is not None:  # read once the name is free
                self._tell(path, f"{path}: {first} is served under this name", told)
                continue
            known = self._seen.get(path)
            is_known = known is not None and known.state == FileState.of(there)
            found[path] = now = known if known and is_known else _read(path, there)
            if not now.fact:
                served[path], names[path.name] = now, path
            elif is_known or not self._looked:
                self._tell(path, now.fact, told)
            elif path in self._told:  # it is being copied perhaps, and soon whole
                told[path] = self._told[path]
        changed = served != self._served or not self._looked
        self._looked = True
        self._seen, self._served, self._told = found, served, told
        if changed:
            self.catalog = catalog_of(
                [one.holding for one in served.values() if one.holding],
                [one.delta for one in served.values() if one.delta],
            )
        return changed

    def _tell(self, path: Path, fact: str, told: dict[Path, str]) -> None:
        """Tell why a path is not served, once as long as that is so."""
        if self._told.get(path) != fact:
            _log.warning("%s", fact)
        told[path] = fact

    def _isos(self, told: dict[Path, str]) -> Iterable[Path]:
        for place in self._places:
            if place not in self._folders:
                yield place
                continue
            found = self._listed(place, _isos_in)
            if len(found) > _MOST:
                fact = f"{place}: the first {_MOST} of its {len(found)} ISOs are served"
                self._tell(place, f"{fact}; name a second folder with the others", told)
            yield from found[:_MOST]

    def _deltas(self) -> Iterable[Path]:
        """Give the deltas of folders, and beside an ISO that was named those that make it."""
        for place in self._places:
            is_folder = place in self._folders
            paths = self._listed(place if is_folder else place.parent, deltas_in)
            begin = "" if is_folder else f"{place.name.removesuffix('.iso')}.from-"
            yield from (path for path in paths if path.name.startswith(begin))

    def _listed(self, folder: Path, listing: Callable[[Path], list[Path]]) -> list[Path]:
        try:
            found = listing(folder)
        except OSError as error:
            fact = error.strerror or str(error)
            if self._closed.get(folder) != fact:
                _log.warning("%s: %s", folder, fact)
            self._closed[folder] = fact
            return []
        self._closed.pop(folder, None)
        return found


def _isos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(".iso"))


def state_of(path: Path) -> FileState | None:
    """Return the state of a file or disc; None when there is none to read."""
    found = _stat(path)
    return None if found is None else FileState.of(found)


def _stat(path: Path) -> os.stat_result | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found if keeps_bytes(found.st_mode) else None


def _read(path: Path, found: os.stat_result) -> _Seen:
    state = FileState.of(found)
    try:
        if path.suffix == END:
            part = FilePart(path, 0, state.size, state)
            return _Seen(state, delta=ServedDelta(part, read_delta(path)))
        holding = held_by(path)
    except (IsobuilderError, OSError) as error:
        return _Seen(state, fact=f"not served: {error}")
    return _Seen(holding.state, holding)
