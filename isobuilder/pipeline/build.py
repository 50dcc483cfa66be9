"""Lock + store -> ISO and its side files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from isobuilder import __version__
from isobuilder.content.archives import archive_fact, image_archive
from isobuilder.content.layout import ImageParts, IsoTree, build_tree
from isobuilder.content.render import render_file
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.formats.manifests import read_manifest
from isobuilder.formats.oci import parse_manifest
from isobuilder.formats.pinning import pin
from isobuilder.formats.reference import ImageReference, spelled_out
from isobuilder.iso.write.writer import iso_digest, write_iso
from isobuilder.model.base import canonical_json
from isobuilder.model.lock import Lock, LockedImage
from isobuilder.model.registration import registration_for
from isobuilder.pipeline.boot import boot_parts, locked_payload
from isobuilder.pipeline.fetch import holding, missing_blobs
from isobuilder.pipeline.lock import write_whole
from isobuilder.pipeline.payload import with_chosen_payload
from isobuilder.progress import SILENT, Progress, task
from isobuilder.sources.session import Session
from isobuilder.store import Blob, Store, disk_problem
from isobuilder.trust.sbom import sbom

_WORKERS = 4  # archives hashed at once; hashing lets other threads run

LABEL = "CDROM"
"""The volume label nodes search for (docs/node-contract.md, A.2)."""

SIDE_FILES = ("iso.sha256", "manifest.json", "sbom.cdx.json", "registration.json", "lock.json")


@dataclass(frozen=True, slots=True)
class Built:
    """One ISO and where it is."""

    iso: Path
    digest: Digest
    size: int  # bytes
    lock: Lock
    reused: bool  # it was there already, made from this lock by this version

    @property
    def side_files(self) -> tuple[Path, ...]:
        """The files written beside the ISO."""
        return tuple(self.iso.with_name(f"{self.lock.base_name}.{end}") for end in SIDE_FILES)


def build(lock: Lock, out: Path, session: Session, *, force: bool = False) -> Built:
    """Write the ISO of ``lock`` and its side files into the folder ``out``.

    A pure function of lock, store and version: nothing of this machine goes in. What the store
    lacks is fetched first. An OS payload that the lock leaves open is the store's; the lock beside
    the ISO pins it. Nothing is done when the ISO is there, unless ``force`` is set.

    Raises:
        InputError, UpstreamError, IntegrityError, EnvironmentProblem: no ISO was written, and one
            that was there before is as it was.
    """
    lock = with_chosen_payload(lock, session.store)
    target = out / f"{lock.base_name}.iso"
    if not force and (known := _unchanged(lock, target, session.store)) is not None:
        return known
    _make_folder(out)
    with holding([lock], session):
        tree = tree_of(lock, session.store, progress=session.progress)
        _check_space(out, tree)
        session.progress.step(f"writing {target}")
        written = write_iso(
            tree.entries,
            target,
            label=LABEL,
            epoch=lock.epoch,
            boot=tree.boot,
            progress=session.progress,
        )
    built = Built(target, written.digest, written.size, lock, reused=False)
    _write_side_files(built, tree)
    _remember(built, session.store)
    return built


def check(lock: Lock, iso: Path, session: Session) -> Digest:
    """Build the ISO again, compare it with ``iso`` and return the digest that both have.

    Raises:
        IntegrityError: the two differ.
    """
    lock = with_chosen_payload(lock, session.store)
    try:
        expected = Digest.of_file(iso)
    except OSError as error:
        raise disk_problem(error, iso) from error
    with holding([lock], session):
        tree = tree_of(lock, session.store, progress=session.progress)
        session.progress.step("building it again, without writing it")
        again, _ = iso_digest(tree.entries, label=LABEL, epoch=lock.epoch, boot=tree.boot)
    if again != expected:
        raise IntegrityError(
            f"{iso}: not reproduced: the file is {expected}, built again it is {again}",
            hint="compare the tool version in its manifest.json with this one, "
            f"{__version__}, and the files with isobuilder diff",
        )
    return expected


def tree_of(lock: Lock, store: Store, *, progress: Progress = SILENT) -> IsoTree:
    """Return every file of the ISO: what the store has, what we make, and what describes them.

    Raises:
        EnvironmentProblem: the store lacks something.
    """
    missing = missing_blobs(lock, store)
    if missing:
        raise EnvironmentProblem(
            f"the store {store.root} lacks {', '.join(missing[:10])}", hint="run isobuilder fetch"
        )
    images = []
    with (
        task(progress, "image archives", total=len(lock.images), unit="images") as work,
        ThreadPoolExecutor(_WORKERS, "archives") as pool,
    ):
        for parts in pool.map(lambda image: _parts(image, store), lock.images):
            images.append(parts)
            work.advance(1)
    files = {file.path: _blob(store, file.sha256) for file in lock.files}
    made: dict[str, bytes] = {}
    pinned = _pinned_names(lock)
    for manifest in lock.manifests:
        data = _blob(store, manifest.sha256).read()
        if manifest.images == "pin":
            data = pin(read_manifest(data, manifest.path), pinned)
        made[manifest.path] = data
    digests = {path: blob.digest for path, blob in files.items()}
    digests |= {path: Digest.of(data) for path, data in made.items()}
    for item in lock.render:
        made[item.path] = render_file(lock, item, digests)
    payload = locked_payload(lock, store)
    return build_tree(
        lock,
        files=files,
        made=made,
        images=images,
        tool=__version__,
        sbom=partial(sbom, payload=payload),
        boot=None if payload is None else boot_parts(lock, payload, store),
        payload=payload,
    )


def _pinned_names(lock: Lock) -> Mapping[str, str]:
    """Return what each image is called after import, by each name a manifest may use for it.

    Mold's nodes import by digest as well as by tag; Apache's only by tag.
    """
    by_digest = lock.profile != "cloudstack-cks"
    names: dict[str, str] = {}
    for image in lock.images:
        reference = ImageReference.parse(image.reference)
        target = str(reference.with_digest(image.digest)) if by_digest else image.reference
        for name in (image.reference, *image.original):
            names[spelled_out(name)] = target
    return names


def _parts(image: LockedImage, store: Store) -> ImageParts:
    manifest = _blob(store, image.digest)
    parsed = parse_manifest(manifest.read(), place=image.reference)
    pieces = image_archive(
        image.reference,
        manifest=manifest,
        config=_blob(store, parsed.config.digest),
        layers=[_blob(store, layer.digest) for layer in parsed.layers],
        media_type=parsed.media_type,
    )
    digest, size = archive_fact(pieces, store)
    return ImageParts(image, pieces, digest, size)


def _blob(store: Store, digest: Digest) -> Blob:
    blob = store.find(digest)
    if blob is None:
        raise EnvironmentProblem(
            f"{digest} has left the store {store.root}", hint="run isobuilder fetch again"
        )
    return blob


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".isobuilder-", dir=out):
            pass
    except OSError as error:
        raise disk_problem(error, out) from error


def _check_space(out: Path, tree: IsoTree) -> None:
    needed = sum(entry.size for entry in tree.entries)
    free = shutil.disk_usage(out).free
    if free < needed:
        raise EnvironmentProblem(
            f"{out}: the ISO needs {needed} bytes, {free} are free",
            hint="free space there, or choose another folder with --out",
        )


def _write_side_files(built: Built, tree: IsoTree) -> None:
    registration = registration_for(built.lock, iso=built.digest, size=built.size)
    texts = {
        "iso.sha256": f"{built.digest.hex}  {built.iso.name}\n".encode(),
        "manifest.json": tree.manifest,
        "sbom.cdx.json": tree.sbom,
        "registration.json": registration.to_bytes(),
        "lock.json": built.lock.to_bytes(),
    }
    for path, end in zip(built.side_files, SIDE_FILES, strict=True):
        write_whole(path, texts[end])


# --- nothing changed ---


def _key(lock: Lock, target: Path) -> Digest:
    # A path is bytes; not every path is text.
    place = os.fsencode(target.absolute()).hex()
    return Digest.of(canonical_json([str(lock.digest), __version__, place]))


def _remember(built: Built, store: Store) -> None:
    marks = {path.name: _mark(path) for path in (built.iso, *built.side_files)}
    note = {"digest": built.digest, "size": built.size, "files": marks}
    store.remember("built", _key(built.lock, built.iso), canonical_json(note))


def _unchanged(lock: Lock, target: Path, store: Store) -> Built | None:
    """Return the ISO if this version made it from this lock and nobody touched a file since."""
    note = store.recall("built", _key(lock, target))
    if note is None:
        return None
    try:
        data = json.loads(note)
        built = Built(target, Digest(data["digest"]), int(data["size"]), lock, reused=True)
        for path in (built.iso, *built.side_files):
            if data["files"].get(path.name) != _mark(path):
                return None
    except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError):
        return None  # a damaged note or a missing file: build
    return built


def _mark(path: Path) -> list[int]:
    """Return what changes when anybody writes a file: size, time in ns, inode."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]
