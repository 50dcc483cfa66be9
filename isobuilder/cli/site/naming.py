"""What a person names for a site: locks, ISOs, and who has their blobs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import App
from isobuilder.cli.lock import tell_left_out
from isobuilder.cli.sources import SOURCE, BuildSource, locks_of

if TYPE_CHECKING:
    from isobuilder.digest import Digest
    from isobuilder.model.lock import Lock
    from isobuilder.store import Store

_HERE = click.Path(exists=True, path_type=Path)

from_option = click.option(
    "--from",
    "donors",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="ISO|DIR",
    help="Use what this ISO, store or bundle in a folder has, without copying it.",
)


@dataclass(frozen=True, slots=True)
class NamedIso:
    """An ISO and its lock, if that could be found."""

    path: Path
    lock: Lock | None

    @property
    def lock_needed(self) -> Lock:
        """The lock; InputError without one."""
        from isobuilder.site.donors import lock_needed

        return lock_needed(self.path, self.lock)


@dataclass(frozen=True, slots=True)
class Sources:
    """A store with those who help it."""

    store: Store
    isos: tuple[NamedIso, ...]


def open_sources(
    app: App, paths: Sequence[Path], locks: Sequence[Lock], *, proved: bool = False
) -> Sources:
    """Return the store of this user with what ``paths`` have; all is closed with the command.

    ``proved``: what is damaged in the store counts as not there, which costs one read of the rest.
    """
    if not paths and not proved:
        return Sources(app.store, ())
    from isobuilder.content.donor import IsoDonor
    from isobuilder.site.donors import open_donors
    from isobuilder.store import ProvedStore, Store

    donors = open_donors(paths, locks, app.closing)
    isos = (
        NamedIso(path, donor.lock)
        for path, donor in zip(paths, donors, strict=True)
        if isinstance(donor, IsoDonor)
    )
    kind = ProvedStore if proved else Store
    return Sources(kind(app.store.root, donors), tuple(isos))


def isos_named(things: Iterable[str]) -> list[Path]:
    """Return the ISOs that things are, and those of folders.

    Raises:
        InputError: there is none in a folder, or something is no ISO: another file, a pipe.
        EnvironmentProblem: it cannot be read.
    """
    from isobuilder.errors import InputError
    from isobuilder.files import files_in, open_bytes
    from isobuilder.site.bundles.arrival import is_iso

    found: list[Path] = []
    for text in things:
        path = Path(_HERE.convert(text, None, None))
        isos = files_in(path, ".iso") if path.is_dir() else [path]
        if not isos:
            hint = "name the folder that has them; is what should be there mounted?"
            raise InputError(f"{path}: no ISO is in this folder", hint=hint)
        if isos == [path]:
            os.close(open_bytes(path))
        for other in isos:
            if not is_iso(other):
                hint = "a ledger of ISOs is of whole ISOs; --blobs makes one of the store"
                raise InputError(f"{other}: is no ISO", hint=hint)
        found += isos
    return found


def locks_named(app: App, texts: Iterable[str]) -> list[Lock]:
    """Return the locks that recipes, locks and versions mean; InputError if one has none."""
    return [lock for _, lock in sources_named(app, texts)]


def sources_named(app: App, texts: Iterable[str]) -> list[tuple[BuildSource, Lock]]:
    """Return the locks that recipes, locks and versions mean, each with what means it.

    Raises:
        InputError: one has none.
    """
    found: list[tuple[BuildSource, Lock]] = []
    for text in texts:
        source = SOURCE.convert(text, None, None)
        locks, left_out = locks_of(source, None)
        tell_left_out(app, source, left_out)
        found += [(source, lock) for lock in locks]
    return found


def digest_of(text: str, what: str) -> Digest:
    """Return the digest that a person typed.

    Raises:
        UsageProblem: it is none.
    """
    from isobuilder.digest import Digest
    from isobuilder.errors import UsageProblem

    try:
        return Digest.typed(text)
    except ValueError as error:
        raise UsageProblem(f"{what}: {error}") from error
