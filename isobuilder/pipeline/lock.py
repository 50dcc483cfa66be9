"""Recipe -> lock file beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.files import write_whole
from isobuilder.model.loading import load_lock, load_recipe
from isobuilder.model.lock import Lock, answers, lock_name
from isobuilder.model.recipe import Recipe
from isobuilder.pipeline.payload import pin_payload
from isobuilder.sources.session import Session


@dataclass(frozen=True, slots=True)
class LockFile:
    """A lock and the file it is in."""

    lock: Lock
    path: Path
    changed: bool  # False when the file had these very bytes before


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
) -> LockFile:
    """Ask upstream what the recipe means and write the lock.

    Raises:
        EnvironmentProblem: the lock cannot be written; known before anything is asked.
        InputError, UpstreamError, IntegrityError: as ``resolve``; the lock on disk stays as it was.

    An OS payload that nobody serves is pinned if the store has it, else left open.
    """
    from isobuilder.sources.resolve import resolve  # heavy, and a build has its lock already

    recipe = load_recipe(recipe_path, architecture)
    path = output or lock_path(recipe_path, recipe, architecture)
    _refuse_unwritable(path, recipe_path, architecture)
    previous = load_lock(path) if path.exists() and update else None
    lock = resolve(recipe, architecture, session, previous=previous, update=update)
    if recipe.boot:
        lock = pin_payload(lock, recipe.boot, session)
    data = lock.to_bytes()
    changed = not path.exists() or path.read_bytes() != data
    if changed:
        write_whole(path, data)
    return LockFile(lock, path, changed)


def _refuse_unwritable(path: Path, recipe_path: Path, architecture: str) -> None:
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


def find_lock(recipe_path: Path, architecture: str) -> LockFile | None:
    """Return the lock of a recipe, or None when it has none yet.

    Raises:
        InputError: the lock does not answer the recipe; the differences are named.
    """
    recipe = load_recipe(recipe_path, architecture)
    path = lock_path(recipe_path, recipe, architecture)
    if not path.exists():
        return None
    lock = load_lock(path)
    differences = answers(lock, recipe)
    if differences:
        raise InputError(
            "\n".join(f"{path}: does not answer {recipe_path}: {line}" for line in differences),
            hint=f"run isobuilder lock {recipe_path} --arch {architecture}",
        )
    return LockFile(lock, path, changed=False)
