"""Lock + store -> ISO and its side files."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING

from isobuilder import __version__
from isobuilder.content.archives import ARCHIVE, archive_key
from isobuilder.digest import Digest
from isobuilder.documents.json import NOTE, parse
from isobuilder.errors import InputError, IntegrityError, IsobuilderError
from isobuilder.files import (
    as_environment_problem,
    disk_problem,
    holds,
    own_path,
    read_bytes,
    write_whole,
)
from isobuilder.iso.boot_names import PAYLOAD
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import MANIFEST, REPORT, SIDE_FILES, SUMS, Medium
from isobuilder.model.base import canonical_json
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.loading import parse_manifest_json
from isobuilder.model.lock import Lock
from isobuilder.model.profile import PROFILES, Kind, unmet
from isobuilder.pipeline.beside import side_texts
from isobuilder.pipeline.fetch import holding
from isobuilder.pipeline.payload import pin_or_plain, pin_payload
from isobuilder.sources.session import Session
from isobuilder.store import Store

if TYPE_CHECKING:  # what makes an ISO takes a while to import, and often nothing is to be made
    from isobuilder.content.tree import IsoTree
    from isobuilder.pipeline.trust import SignatureLine, Trust

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Built:
    """One ISO and where it is."""

    iso: Path
    digest: Digest
    size: int  # bytes
    lock: Lock
    reused: bool  # it was there already, made from this lock by this version
    signatures: tuple[SignatureLine, ...] = ()  # who signed what, where that was asked

    @property
    def side_files(self) -> tuple[Path, ...]:
        """The files written beside the ISO."""
        return _side_files(self.lock, self.iso)

    @property
    def report(self) -> Path:
        """Where its page for people belongs, which is written by whoever wants one."""
        return self.iso.with_name(f"{self.lock.base_name}.{REPORT}")


def _side_files(lock: Lock, iso: Path) -> tuple[Path, ...]:
    return tuple(iso.with_name(f"{lock.base_name}.{end}") for end in SIDE_FILES)


def build(
    lock: Lock,
    out: Path,
    session: Session,
    *,
    force: bool = False,
    replace: bool = False,
    trust: Trust | None = None,
) -> Built:
    """Write the ISO of ``lock`` and its side files into the folder ``out``.

    A pure function of lock, store and version: nothing of this machine goes in. What the store
    lacks is fetched first. An OS payload that the lock leaves open is the store's, if it has one;
    the lock beside the ISO pins it. Nothing is done when the ISO is there, unless ``force`` is
    set; ``replace`` lets another ISO of the same name go. With ``trust`` every claim of its
    evidence is proved, as when the ISO is verified, before a byte of it is written.

    Raises:
        InputError: an ISO of this name and of other bytes is there; nothing was fetched.
        IntegrityError: a signature is not proved that a policy of ``trust`` needs.
        InputError, UpstreamError, IntegrityError, EnvironmentProblem: no ISO was written, and one
            that was there before is as it was.
    """
    _refuse_unfit(lock)
    lock = pin_or_plain(lock, session.store, session.progress.step)
    target = out / f"{lock.base_name}.iso"
    if not force and (known := _unchanged(lock, target, session.store)) is not None:
        return known if trust is None else _proved_again(known, trust)
    from isobuilder.content.leaks import refuse_leaks
    from isobuilder.content.tree import tree
    from isobuilder.iso.write.writer import write_iso

    if not replace:
        _refuse_other_bytes(lock, target)
    _log.info("building %s from the lock %s", lock.base_name, lock.digest)
    _make_folder(out)
    with holding([lock], session), ExitStack() as ending:
        iso = tree(lock, session.store, progress=session.progress)
        signatures = _proved(iso, lock, trust) if trust is not None else ()
        refuse_leaks(iso.entries, session.store, _allowed(session), session.progress)
        session.progress.step(f"writing {target}")
        with _forgetting(iso, session.store):
            written = write_iso(
                iso.entries,
                target,
                label=iso.label,
                epoch=iso.epoch,
                boot=iso.boot,
                digests=iso.digests,
                naming=lambda: ending.enter_context(_alone_at(target, lock, replace=replace)),
                progress=session.progress,
            )
        digest, size = written.digest, written.size
        built = Built(target, digest, size, lock, reused=False, signatures=signatures)
        _write_side_files(built, iso)
        _remember(built, session.store)
    return built


def _refuse_unfit(lock: Lock) -> None:
    """Raise if somebody took from a lock what its recipe had to have, for no node is served so."""
    found: list[tuple[str, Kind]] = [(file.path, "file") for file in lock.files]
    found += [(manifest.path, "manifest") for manifest in lock.manifests]
    found += [(render.path, "render") for render in lock.render]
    for need in PROFILES[lock.profile].needs:
        if (told := unmet(need, found)) is not None:
            fact, number = told
            words = f"the profile {lock.profile} needs " if number is None else ""
            raise InputError(
                f"{lock.base_name}: {words}{fact}",
                hint="lock the recipe again, for somebody changed the lock",
            )


def _proved(made: IsoTree, lock: Lock, trust: Trust) -> tuple[SignatureLine, ...]:
    """Return who signed what will be on an ISO."""
    from isobuilder.content.tree import TreeFiles
    from isobuilder.pipeline.trust import demand_trust

    manifest = parse_manifest_json(made.manifest, MANIFEST)
    return demand_trust(Medium(TreeFiles(made)), made.digests, manifest, trust, lock)


def _proved_again(built: Built, trust: Trust) -> Built:
    """Return an ISO that is there and that nobody touched, with who signed what is on it."""
    from isobuilder.pipeline.trust import demand_trust

    with IsoReader(built.iso) as reader:
        medium = Medium(reader)
        manifest = medium.manifest
        if isinstance(manifest, IntegrityError):
            raise manifest
        files = digests_told(medium, manifest)
        lines = demand_trust(medium, files, manifest, trust, built.lock)
    return replaced(built, signatures=lines)


def digests_told(medium: Medium, manifest: IsoManifest) -> dict[str, Digest]:
    """Return what the files of an ISO hash to by its own word, for one that was just written."""
    from isobuilder.content.tree import sums

    files = {path: Digest.from_hex(digits) for path, digits in manifest.files.items()}
    files[MANIFEST] = Digest.of(medium.read(MANIFEST))
    files[SUMS] = Digest.of(sums({path: (one, 0) for path, one in files.items()}))
    return files


def check(lock: Lock, iso: Path, session: Session) -> Digest:
    """Build the ISO again, compare it with ``iso`` and return the digest that both have.

    Raises:
        IntegrityError: the two differ.
    """
    from isobuilder.content.tree import tree
    from isobuilder.iso.write.writer import iso_digest

    lock = _as_on(iso, lock, session)
    try:
        expected = Digest.of_file(iso)
    except OSError as error:
        raise disk_problem(error, iso) from error
    with holding([lock], session):
        made = tree(lock, session.store, progress=session.progress)
        session.progress.step("building it again, without writing it")
        with _forgetting(made, session.store):
            again, _ = iso_digest(
                made.entries,
                label=made.label,
                epoch=made.epoch,
                boot=made.boot,
                digests=made.digests,
            )
    if again != expected:
        raise _not_reproduced(iso, expected, again, lock)
    return expected


@contextmanager
def _forgetting(made: IsoTree, store: Store) -> Iterator[None]:
    """Forget what the store noted of archives when something in it was wrong."""
    try:
        yield
    except IntegrityError:
        for entry in made.entries:
            store.forget(ARCHIVE, archive_key(entry.pieces))
        raise


def _allowed(session: Session) -> frozenset[Digest]:
    from isobuilder.content.leaks import read_allowed

    named = session.config.allowed_leaks
    return read_allowed(own_path(named)) if named else frozenset()


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".isobuilder-", dir=out):
            pass
    except OSError as error:
        raise disk_problem(error, out) from error


@contextmanager
def _alone_at(target: Path, lock: Lock, *, replace: bool) -> Iterator[None]:
    """Keep other builds that end from ``target``, where one may have ended meanwhile.

    No side file of an ISO that goes stands by ours.

    Raises:
        InputError: another ISO has that name, and it shall not go (``replace``).
    """
    from isobuilder.iso.write.writer import alone_in

    with alone_in(target.parent):
        if not replace:
            _refuse_other_bytes(lock, target)
        elif not _is_made_of(lock, manifest_of(target)):
            for path, end in zip(_side_files(lock, target), SIDE_FILES, strict=True):
                if end == "lock.json" and holds(path, lock.to_bytes()):
                    continue  # it may be what is built
                with as_environment_problem(path):
                    path.unlink(missing_ok=True)
        yield


def _is_made_of(lock: Lock, manifest: IsoManifest | None) -> bool:
    made = None if manifest is None else (manifest.lock_sha256, manifest.tool)
    return made == (lock.digest.hex, __version__)


def _write_side_files(built: Built, made: IsoTree) -> None:
    texts = side_texts(
        built.lock,
        name=built.iso.name,
        digest=built.digest,
        size=built.size,
        manifest=made.manifest,
        sbom=made.sbom,
    )
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
        data = parse(note, "note", NOTE)
        built = Built(target, Digest(data["digest"]), int(data["size"]), lock, reused=True)
        for path in (built.iso, *built.side_files):
            if data["files"].get(path.name) != _mark(path):
                return None
    except (InputError, ValueError, KeyError, TypeError, AttributeError, FileNotFoundError):
        return None  # a damaged note or a missing file: build
    return built


def _mark(path: Path) -> list[int]:
    """Return what changes when anybody writes a file: size, time in ns, inode."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


_MANIFEST_LIMIT = 32 * 1024 * 1024  # bytes


def manifest_of(iso: Path) -> IsoManifest | None:
    """Return the manifest on the ISO, else the one beside it, else None: it says nothing."""
    try:
        with IsoReader(iso) as reader:
            found = Medium(reader).manifest
    except (IsobuilderError, OSError):
        found = None
    if isinstance(found, IsoManifest):
        return found
    beside = iso.with_suffix(".manifest.json")
    try:
        return parse_manifest_json(read_bytes(beside, _MANIFEST_LIMIT), str(beside))
    except IsobuilderError:
        return None


def _refuse_other_bytes(lock: Lock, target: Path) -> None:
    """Return if ``target`` may be written: it is not there, or it would get the bytes it has.

    Raises:
        InputError: another ISO has that name.
    """
    if not target.exists():
        return
    manifest = manifest_of(target)
    if manifest is None:
        fact = "is there already, and what it is made from cannot be told"
    elif manifest.lock_sha256 != lock.digest.hex:
        fact = f"is there already, made from the lock {manifest.lock_sha256}, "
        fact += f"this lock is {lock.digest.hex}"
    elif manifest.tool != __version__:
        fact = f"is there already, made by isobuilder {manifest.tool}, this one is {__version__}"
    else:
        return
    raise InputError(
        f"{target}: {fact}",
        hint="raise the revision in the recipe or with --revision, or give the recipe a variant; "
        "--replace lets the other ISO go",
    )


def _as_on(iso: Path, lock: Lock, session: Session) -> Lock:
    """Return ``lock`` with the choice that it leaves open made as it was for ``iso``.

    Raises:
        EnvironmentProblem: the ISO starts machines and the store has no OS payload of that kind.
        IntegrityError: the ISO says of itself that it is another one than the lock's.
    """
    manifest = manifest_of(iso)
    if lock.boot is not None and lock.boot.payload is None:
        if manifest is not None and PAYLOAD not in manifest.files:
            lock = lock.model_copy(update={"boot": None})
        else:
            lock = pin_payload(lock, None, session)
    if manifest is not None:
        _refuse_another(iso, manifest, lock)
    return lock


def _refuse_another(iso: Path, manifest: IsoManifest, lock: Lock) -> None:
    wanted = f"{lock.product_version} for {lock.architecture}"
    found = f"{manifest.product_version} for {manifest.architecture}"
    if found != wanted:
        raise IntegrityError(
            f"{iso}: not reproduced: it is {found}, the lock is {wanted}",
            hint=f"name the lock it was made from: {iso.with_suffix('.lock.json').name} beside it",
        )


def _not_reproduced(iso: Path, found: Digest, again: Digest, lock: Lock) -> IntegrityError:
    """Return the error that says two builds differ, with what most likely explains it."""
    manifest = manifest_of(iso)
    hint = "compare the files with isobuilder diff"
    if manifest is not None and manifest.tool != __version__:
        hint = f"it was made by isobuilder {manifest.tool}, this one is {__version__}"
    elif manifest is not None and manifest.lock_sha256 != lock.digest.hex:
        hint = f"it was made from the lock {manifest.lock_sha256}, this lock is {lock.digest.hex}"
    return IntegrityError(
        f"{iso}: not reproduced: the file is {found}, built again it is {again}", hint=hint
    )
