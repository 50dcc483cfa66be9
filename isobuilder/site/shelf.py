"""Which ISOs are served: those that are named, and those in folders that are named, with deltas.

``look`` is asked again and again: an ISO that came, went or was replaced since is read, forgotten
or read anew, one that stayed is not touched. Answers under way keep what they began with.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isobuilder.errors import EnvironmentProblem, IsobuilderError
from isobuilder.http.replies import FilePart, FileState
from isobuilder.pipeline.delta.ways import END, deltas_in, read_delta
from isobuilder.site.catalog import Catalog, ServedDelta, catalog_of
from isobuilder.site.holding import Holding, held_by

_log = logging.getLogger(__name__)

_MOST = 1000  # ISOs of one folder


@dataclass(frozen=True, slots=True)
class _Seen:
    state: FileState
    holding: Holding | None  # None: it could not be read in this state
    delta: ServedDelta | None = None


class Shelf:
    """The ISOs at ``places``, files or folders, as they are now."""

    def __init__(self, places: Iterable[Path]) -> None:
        self._places = tuple(places)
        self._seen: dict[Path, _Seen] = {}
        self.catalog = Catalog()

    def open(self) -> Catalog:
        """Read everything for the first time.

        Raises:
            IsobuilderError: an ISO that was named is none, or not there.
        """
        for place in self._places:
            if not place.is_dir():
                state = state_of(place)
                if state is None:
                    raise EnvironmentProblem(f"{place}: no such file or folder")
                holding = held_by(place)
                self._seen[place] = _Seen(holding.state, holding)
        self.look()
        return self.catalog

    def look(self) -> bool:
        """Look whether anything changed, and return whether it did."""
        found: dict[Path, _Seen] = {}
        names: dict[str, Path] = {}
        for path in (*self._isos(), *self._deltas()):
            state = state_of(path)
            if state is None:
                continue
            if names.setdefault(path.name, path) != path:
                if path not in self._seen:
                    _log.warning("%s: %s is served under this name", path, names[path.name])
                found[path] = _Seen(state, None)
                continue
            known = self._seen.get(path)
            found[path] = known if known and known.state == state else _read(path, state)
        changed = found != self._seen or not self.catalog.holdings
        if changed:
            self._seen = found
            self.catalog = catalog_of(
                [one.holding for one in found.values() if one.holding],
                [one.delta for one in found.values() if one.delta],
            )
        return changed

    def _isos(self) -> Iterable[Path]:
        for place in self._places:
            if place.is_dir():
                try:
                    yield from sorted(place.glob("*.iso"))[:_MOST]
                except OSError as error:
                    _log.warning("%s: %s", place, error.strerror)
            else:
                yield place

    def _deltas(self) -> Iterable[Path]:
        """Give the deltas of folders, and beside an ISO that was named those that make it."""
        for place in self._places:
            is_folder = place.is_dir()
            try:
                paths = deltas_in(place if is_folder else place.parent)
            except OSError as error:
                _log.warning("%s: %s", place, error.strerror)
                continue
            begin = "" if is_folder else f"{place.name.removesuffix('.iso')}.from-"
            yield from (path for path in paths if path.name.startswith(begin))


def state_of(path: Path) -> FileState | None:
    """Return the state of a file or disc; None when there is none to read."""
    try:
        found = path.stat()
    except OSError:
        return None
    is_one = stat.S_ISREG(found.st_mode) or stat.S_ISBLK(found.st_mode)
    return FileState.of(found) if is_one else None


def _read(path: Path, state: FileState) -> _Seen:
    try:
        if path.suffix == END:
            part = FilePart(path, 0, state.size, state)
            return _Seen(state, None, ServedDelta(part, read_delta(path)))
        holding = held_by(path)
    except (IsobuilderError, OSError) as error:
        _log.warning("not served: %s", error)
        return _Seen(state, None)
    return _Seen(holding.state, holding)
