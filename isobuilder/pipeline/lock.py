"""Recipe -> lock file beside it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isobuilder.digest import Digest
from isobuilder.errors import DifferencesFound, EnvironmentProblem, InputError
from isobuilder.files import holds, own_path, refuse_special, write_whole
from isobuilder.model.loading import load_lock, load_recipe
from isobuilder.model.lock import Lock, LockedFile, LockedManifest, answers, lock_name
from isobuilder.model.recipe import Recipe
from isobuilder.model.trust.claims import EVIDENCE
from isobuilder.pipeline.compare import diff, of_lock
from isobuilder.pipeline.fit import unfit_parts
from isobuilder.pipeline.payload import pin_payload
from isobuilder.rules.book import read_rules
from isobuilder.sources.session import Session
from isobuilder.store import hold_collections

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LockFile:
    """A lock and the file it is in."""

    lock: Lock
    path: Path
    changed: bool  # False when the file had these very bytes before
    previous: Lock | None = None  # what was there before, if it was a lock


def lock_path(recipe_path: Path, recipe: Recipe, architecture: str) -> Path:
    """Return where the lock of a recipe is: beside it, named for version and architecture."""
    default = lock_name(recipe.kubernetes, architecture)
    if recipe_path.stem == f"kubernetes-{recipe.kubernetes}":
        return recipe_path.parent / default
    return recipe_path.parent / f"{recipe_path.stem}.{architecture}.lock.json"


def lock_recipe(
    recipe_path: Path,
    architecture: str,
    session: Session,
    *,
    update: Iterable[str] = (),
    output: Path | None = None,
    locked: bool = False,
    called: str | None = None,
    strict: bool = False,
    trust: bool = False,
) -> LockFile:
    """Ask upstream what the recipe means and write the lock.

    With ``locked`` nothing is written: the lock must be there and stay as it is. ``called`` is how
    messages name the recipe, if not by its path. ``strict`` makes mistakes of the warnings about
    images that manifests name outside the image fields of pods. ``trust`` lets the shipped policies
    refuse what is not signed; else that is told and locked as unsigned.

    Raises:
        DifferencesFound: ``locked`` is set and the lock would change.
        EnvironmentProblem: the lock cannot be written; known before anything is asked.
        InputError: its parts cannot work together, by the rules; what has that name is no file.
        InputError, UpstreamError, IntegrityError: as ``resolve``; the lock on disk stays as it was.

    An OS payload that nobody serves is pinned if the store has it, else left open.
    """
    from isobuilder.pipeline.evidence import with_evidence
    from isobuilder.pipeline.provenance.proofs import with_kept_proofs
    from isobuilder.sources.resolve import resolve  # heavy, and a build has its lock already

    recipe = load_recipe(recipe_path, architecture)
    _refuse_unfit(recipe, called or str(recipe_path), session)
    path = output or lock_path(recipe_path, recipe, architecture)
    if not locked:
        _refuse_unwritable(path, called or str(recipe_path), architecture)
    known = path if path.exists() else lock_path(recipe_path, recipe, architecture)
    previous = load_lock(known) if update and known.exists() else None
    with hold_collections(session.store):  # nobody knows yet what it will be made of
        lock = resolve(
            recipe,
            architecture,
            session,
            folder=recipe_path.parent,
            stem=_stem(path),
            previous=previous,
            update=update,
            strict=strict,
        ).found_in(path.parent)
        lock = pin_payload(lock, recipe.boot, session) if recipe.boot else lock
        before = previous or _if_lock(known)
        beside = f"{_stem(path)}.{EVIDENCE}"
        lock = with_evidence(lock, recipe, session, folder=beside, before=before, enforced=trust)
        lock = with_kept_proofs(lock, before, session, folder=beside).found_in(path.parent)
        if locked and (before is None or before.to_bytes() != lock.to_bytes()):
            raise DifferencesFound(_changes(path, before, lock))
        changed = not holds(path, lock.to_bytes())
        if not locked:
            _write(lock, path, session, changed=changed)
    return LockFile(lock, path, changed, before)


def _write(lock: Lock, path: Path, session: Session, *, changed: bool) -> None:
    """Write a lock, unless it is there already, and what belongs beside it."""
    from isobuilder.pipeline.evidence import write_evidence

    if changed:
        write_whole(path, lock.to_bytes())
    _write_rendered(lock, path.parent, session)
    write_evidence(lock, path.parent, session)


def _stem(path: Path) -> str:
    """Return what the names of files begin with that belong to the lock of this path."""
    return path.name.removesuffix(".json").removesuffix(".lock")


def _refuse_unfit(recipe: Recipe, place: str, session: Session) -> None:
    own = session.config.rules
    rules = read_rules(own_path(own) if own else None)
    errors = [one for one in unfit_parts(recipe, rules) if one.level == "error"]
    if errors:
        facts = "\n".join(f"{place}: {one}" for one in errors)
        raise InputError(facts, hint="; ".join(one.hint for one in errors))


def _write_rendered(lock: Lock, folder: Path, session: Session) -> None:
    """Write what was rendered beside the lock: for reviews, and for builds on other machines."""
    for manifest in lock.manifests:
        blob = session.store.find(manifest.sha256)
        if manifest.rendered is not None and blob is not None:
            write_whole(folder / manifest.url.removeprefix("file:"), blob.read())


def changed_beside(lock: Lock, folder: Path) -> list[str]:
    """Return which files beside a recipe are other ones than when it was locked."""
    found: dict[str, Digest] = {}
    entries: tuple[LockedFile | LockedManifest, ...] = (*lock.files, *lock.manifests)
    for item in entries:
        if item.url.startswith("file:"):
            found[item.url.removeprefix("file:")] = item.sha256
        made = item.rendered if isinstance(item, LockedManifest) else None
        if made is not None and made.chart is not None and made.chart.values and made.values:
            found[made.chart.values] = made.values
    return [
        f"{name}: was changed since it was locked"
        for name, digest in sorted(found.items())
        if (path := folder / name).is_file() and Digest.of_file(path) != digest
    ]


def _if_lock(path: Path) -> Lock | None:
    try:
        return load_lock(path) if path.exists() else None
    except InputError:
        return None  # what is replaced was no lock, so nothing can be compared


def changed_lines(before: Lock, after: Lock) -> list[str]:
    """Return what another lock says otherwise, one line each, for people."""
    lines = [item.line for item in diff(of_lock(before), of_lock(after))]
    if not lines and before.to_bytes() != after.to_bytes():
        lines = ["nothing that goes on the ISO; sizes, evidence or the like"]
    return lines


def _changes(path: Path, before: Lock | None, after: Lock) -> str:
    if before is None:
        return f"{path}: there is no such lock yet"
    return "\n".join(f"{path}: would change: {line}" for line in changed_lines(before, after))


def _refuse_unwritable(path: Path, recipe_path: str, architecture: str) -> None:
    refuse_special(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=path.parent):
            pass
    except OSError as error:
        raise EnvironmentProblem(
            f"{path}: the lock cannot be written: {error.strerror or error}",
            hint=f"write it elsewhere: isobuilder lock {recipe_path} --arch {architecture} "
            "--output FILE, then name FILE in place of the recipe",
        ) from error


def find_lock(
    recipe_path: Path, architecture: str, *, own: Path | None = None, called: str | None = None
) -> LockFile | None:
    """Return the lock of a recipe, or None when it has none yet; that of ``own`` before its own.

    Raises:
        InputError: the lock does not answer the recipe; the differences are named.
    """
    recipe = load_recipe(recipe_path, architecture)
    path = lock_path(recipe_path, recipe, architecture)
    if own is not None and own.exists():
        path = own
    if not path.exists():
        return None
    name = called or str(recipe_path)
    lock = load_lock(path)
    _log.info("%s: the lock in %s", name, path)
    differences = [*answers(lock, recipe), *changed_beside(lock, recipe_path.parent)]
    if differences:
        raise InputError(
            *(f"{path}: does not answer {name}: {line}" for line in differences),
            hint=f"run isobuilder lock {name} --arch {architecture}",
        )
    return LockFile(lock, path, changed=False)
