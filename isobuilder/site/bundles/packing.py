"""Locks and files -> what a bundle of them carries, by which names, and where its bytes are."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isobuilder import __version__
from isobuilder.content.blobs import Find, held
from isobuilder.content.images import image_manifest
from isobuilder.content.needed import Need, needed
from isobuilder.digest import Digest
from isobuilder.errors import InputError
from isobuilder.files import as_environment_problem
from isobuilder.model.lock import Lock
from isobuilder.site.bundles.bundle import (
    DOCUMENT_NAMES,
    MOST_BYTES,
    MOST_CARRIED,
    MOST_NAMES,
    SMALLEST_PART,
    Bundle,
    Carried,
    is_document_name,
)


@dataclass(frozen=True, slots=True)
class Packing:
    """A bundle, and where the bytes of its contents are."""

    bundle: Bundle
    texts: Mapping[Digest, bytes | Path]  # those of no store
    find: Find


def packing(
    locks: Sequence[Lock],
    find: Find,
    *,
    extras: Sequence[Path] = (),
    named: Mapping[str, Path] | None = None,
    part_size: int | None = None,
    without: Container[Digest] = (),
) -> Packing:
    """Return the bundle of ``locks``, ready to be written; blobs ``without`` are there already.

    ``extras`` are files that are carried by their names: notes, wheels; those of ``named`` are
    carried by others. All blobs of the locks are there.

    Raises:
        InputError: it is too much for one bundle, two files have one name, or something cannot be
            carried.
    """
    if part_size is not None and not SMALLEST_PART <= part_size <= MOST_BYTES:
        raise InputError(
            f"parts of {part_size} bytes: expected {SMALLEST_PART} to {MOST_BYTES}",
            hint="choose parts such as --part-size 4G",
        )
    items: dict[Digest, Carried] = {}
    texts: dict[Digest, bytes | Path] = {}
    for lock in locks:
        for need in needed(lock, find):
            if need.digest not in without:
                _take(items, _carried(lock, need, find))
    for lock in locks:
        text = lock.to_bytes()
        name = f"{lock.base_name}.lock.json"
        item = Carried(digest=lock.digest, size=len(text), kind="lock", names=(name,))
        _take(items, item)
        texts[item.digest] = text
    for name, path in (*((path.name, path) for path in extras), *(named or {}).items()):
        item = _extra(name, path)
        items[item.digest] = _with_names(items.get(item.digest, item), item, path)
        texts[item.digest] = path
    if len(items) > MOST_CARRIED:
        raise InputError(
            f"{len(items)} things are too many for one bundle, expected at most {MOST_CARRIED}",
            hint="export fewer locks at a time",
        )
    _refuse_one_name_for_two(items.values())
    facts = {"schema": 1, "tool": __version__, "part_size": part_size, "part": 1}
    bundle = Bundle.model_validate({**facts, "contents": tuple(items.values())})
    return Packing(bundle, texts, find)


def _take(items: dict[Digest, Carried], item: Carried) -> None:
    """Add ``item``; what is there already gets its further names."""
    known = items.setdefault(item.digest, item)
    if known is not item and not known.is_document:
        names = tuple(dict.fromkeys((*known.names, *item.names)))
        kind = known.media_type or item.media_type
        items[item.digest] = known.model_copy(update={"names": names, "media_type": kind})


def _extra(name: str, path: Path) -> Carried:
    if not is_document_name(name):
        raise InputError(
            f"{path}: cannot be carried by this name: expected {DOCUMENT_NAMES}",
            hint="rename it, or put it into an archive",
        )
    with as_environment_problem(path):
        if not path.is_file():  # a pipe gives its bytes once, and they are read twice
            raise InputError(f"{path}: no regular file, so it cannot be carried")
        digest, size = Digest.of_file(path), path.stat().st_size
    return Carried(digest=digest, size=size, kind="extra", names=(name,))


def _with_names(known: Carried, item: Carried, path: Path) -> Carried:
    """Return what is carried already, called as ``item`` is as well.

    Raises:
        InputError: it is no file that may have that name.
    """
    names = tuple(dict.fromkeys((*known.names, *item.names)))
    if known.kind == "extra" and len(names) <= MOST_NAMES:
        return known.model_copy(update={"names": names})
    if known.is_document and names == known.names:
        return known
    raise InputError(
        f"{path}: the same bytes are carried as {known.names[0]}", hint="leave one of them out"
    )


def _carried(lock: Lock, need: Need, find: Find) -> Carried:
    blob = held(find, need.digest, need.name)
    images = {image.digest: image for image in lock.images}
    names: tuple[str, ...] = (need.name,)
    media_type = None
    if need.kind == "image" and need.digest in images:
        names = images[need.digest].references
        media_type = image_manifest(blob, place=need.name).media_type
    return Carried(
        digest=need.digest, size=blob.size, kind=need.kind, names=names, media_type=media_type
    )


def _refuse_one_name_for_two(items: Iterable[Carried]) -> None:
    seen: dict[str, tuple[str, Digest]] = {}
    for item in items:
        for name in item.names if item.is_document else ():
            known = seen.setdefault(name.casefold(), (name, item.digest))
            if known != (name, item.digest):
                raise InputError(
                    f"two files called {name}: {known[1]} and {item.digest}",
                    hint="export them in two bundles, or rename one",
                )
