"""Deltas beside published ISOs: to a new one from those before it, each made once.

What is made waits in the work folder until the index has it, so that a run that was killed, or
found the place full, leaves nothing to make again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from isobuilder.delta.container import Delta
from isobuilder.digest import Digest, Hasher
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import as_environment_problem, is_file, locked, new_file
from isobuilder.pipeline.delta.make import make_delta
from isobuilder.pipeline.upstream.report import SyncStep
from isobuilder.pipeline.upstream.target import Target
from isobuilder.progress import Progress, task
from isobuilder.publish.index import (
    Published,
    PublishedDelta,
    PublishedIndex,
    change_index,
    index_of,
)
from isobuilder.publish.place import FolderPlace, PublishedPlace, publish_file
from isobuilder.text import human_size

_MOST_READ = 64 * 1024 * 1024
"""Bytes of published deltas that one run hashes; of what is beyond, only the size is compared."""

_WAITING, _MAKING, _COPIES = "deltas", "making", "copies"
"""Folders in the work folder: made deltas, and in there what making takes, and copies of ISOs."""


def lacking(new: Published, target: Target, most: int) -> list[Published]:
    """Return those of the ``most`` ISOs before ``new`` from which no delta to it is published."""
    index = index_of(target.place)
    known = {one.old: one.name for one in index.deltas_to(new.name)}
    return [
        old
        for old in index.before(new, most)
        if old.name not in known or target.place.size_of(known[old.name]) is None
    ]


def publish_delta(old: Published, new: Published, target: Target, progress: Progress) -> str:
    """Publish a delta with which a site that has ``old`` makes ``new``; return its name and size.

    Raises:
        IntegrityError: one of the ISOs is not there, or is not what the index says.
        IsobuilderError: no space, or the place cannot be used.
    """
    folder = target.work / _WAITING
    with as_environment_problem(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with as_environment_problem(folder), locked(target.work / ".lock"):
        made = folder / f"{new.base_name}.from-{old.release}.delta"
        if not _leads(made, old, new):
            _make(old, new, made, target, progress)
        digest = Digest.of_file(made)
        entry = PublishedDelta(
            name=f"{made.stem}-{digest.hex[:8]}.delta",
            sha256=digest,
            size=made.stat().st_size,
            new=new.name,
            new_sha256=new.sha256,
            old=old.name,
            old_sha256=old.sha256,
        )
        publish_file(target.place, made, entry.name)
        change_index(target.place, lambda index: index.with_delta(entry))
        made.unlink()
    return f"{entry.name}, {human_size(entry.size)}, {100 * entry.size / new.size:.2f} % of the ISO"


def _leads(path: Path, old: Published, new: Published) -> bool:
    """Say if a whole delta is there that makes ``new`` of ``old``."""
    if not is_file(path):
        return False
    try:
        with Delta(path) as delta:
            (link,) = (needed.link for needed in delta.links)
    except (InputError, IntegrityError, ValueError):
        return False
    return link.digest == new.sha256 and all(one.digest == old.sha256 for one in link.given)


def _make(old: Published, new: Published, path: Path, target: Target, progress: Progress) -> None:
    """Make it in a folder of its own, in which a run that was killed may have left something."""
    scratch = path.parent / _MAKING
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    isos = [_iso(entry, target, path.parent / _COPIES, progress) for entry in (old, new)]
    made = make_delta(isos[:1], isos[1], scratch / path.name, progress=progress)
    if not _leads(made.path, old, new):
        raise IntegrityError(f"{target.place}: {old.name} or {new.name} changed meanwhile")
    made.path.replace(path)
    shutil.rmtree(scratch, ignore_errors=True)


def _iso(entry: Published, target: Target, copies: Path, progress: Progress) -> Path:
    """Return a published ISO that is what the index says; of a bucket a copy with its sides."""
    place = target.place
    if (size := place.size_of(entry.name)) != entry.size:
        there = "is not there" if size is None else f"has {size} bytes"
        raise IntegrityError(
            f"{place}/{entry.name}: {there}, the index says {entry.size} bytes",
            hint="put back the file that was published; what it was made from is in its lock",
        )
    if isinstance(place, FolderPlace):
        path = place.folder / entry.name
        _prove(entry, place.digest_of(entry.name), place)
        return path
    path = copies / entry.name
    if is_file(path) and Digest.of_file(path) == entry.sha256:
        return path
    hasher = Hasher()
    with new_file(path) as put, task(progress, entry.name, total=entry.size) as work:
        for chunk in place.chunks(entry.name):
            hasher.update(chunk)
            put(chunk)
            work.advance(len(chunk))
        _prove(entry, hasher.digest(), place)
    target.copy_sides(entry, copies)
    return path


def _prove(entry: Published, digest: Digest, place: PublishedPlace) -> None:
    if digest != entry.sha256:
        raise IntegrityError(
            f"{place}/{entry.name}: is {digest}, the index says {entry.sha256}",
            hint="put back the file that was published; isobuilder site repair may mend it",
        )


def tidy(target: Target) -> None:
    """Take away what making left: copies of ISOs are only of use while there is more to make."""
    for name in (_MAKING, _COPIES):
        shutil.rmtree(target.work / _WAITING / name, ignore_errors=True)


def remove_deltas(target: Target, new: str) -> None:
    """Take away the deltas that make the ISO ``new``, published ones and what waits."""
    for one in index_of(target.place).deltas_to(new):
        target.place.remove(one.name)
    for path in (target.work / _WAITING).glob("*.delta"):
        if path.name.startswith(f"{new.removesuffix('.iso')}.from-"):
            path.unlink(missing_ok=True)


def look_at_deltas(target: Target) -> Iterator[SyncStep]:
    """Tell of published deltas that are damaged; those that somebody took away leave the index."""
    place = target.place
    left = _MOST_READ
    for one in sorted(index_of(place).deltas, key=lambda one: one.size):
        size = place.size_of(one.name)
        if size is None:
            change_index(place, partial(_without, one))
            yield SyncStep(subject=one.name, step="delta", state="done", fact=_GONE)
            continue
        found, said = f"{size} bytes", f"{one.size} bytes"
        if size == one.size:
            if (left := left - size) < 0:
                continue
            found, said = place.digest_of(one.name), one.sha256
        if found != said:
            fact = f"{place}/{one.name}: is {found}, the index says {said}: take it away; {_AGAIN}"
            yield SyncStep(subject=one.name, step="delta", state="failed", fact=fact)


_GONE = "somebody took it away, so the index does not have it any more either"
_AGAIN = "the next run makes it again, if its old ISO is still there"


def _without(gone: PublishedDelta, index: PublishedIndex) -> PublishedIndex:
    return index.without_delta(gone)
