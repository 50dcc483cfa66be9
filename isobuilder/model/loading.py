"""The files we read, each by its name: recipes, locks, manifests."""

from __future__ import annotations

from pathlib import Path

from isobuilder.files import as_environment_problem
from isobuilder.model.expand import builtin_recipes, read_recipe
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.lock import Lock
from isobuilder.model.recipe import Recipe
from isobuilder.model.validation import load_json, parse_json

__all__ = [
    "architectures_of",
    "builtin_recipes",
    "load_lock",
    "load_recipe",
    "parse_manifest_json",
    "read_recipe",
    "recipes_in",
]


def load_recipe(path: Path, architecture: str | None = None) -> Recipe:
    """Return the recipe in ``path`` for an architecture, its first one if None.

    Raises:
        InputErrors: all mistakes of the file and of what it extends.
        InputError: the file cannot be read, or is not for this architecture.
    """
    return read_recipe(path, architecture).recipe


def recipes_in(folder: Path) -> list[Path]:
    """Return the recipes of a folder, in order: what is called ``*.yaml``, and no folder.

    What is hidden is none, such as the locks that editors leave: broken links called ``.#a.yaml``.

    Raises:
        EnvironmentProblem: the folder cannot be read.
    """
    with as_environment_problem(folder):
        found = list(folder.iterdir())
    return sorted(
        one
        for one in found
        if one.suffix == ".yaml" and not one.name.startswith(".") and not _is_folder(one)
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a link out of reach: whoever loads it is told, for it alone
        return False


def architectures_of(path: Path) -> tuple[str, ...]:
    """Return the architectures a recipe is for.

    Raises:
        InputError: as ``load_recipe``.
    """
    return load_recipe(path).architectures


def load_lock(path: Path) -> Lock:
    """Return the lock in ``path``.

    Any text with the same value will do: a lock that git or an editor wrapped anew is the same
    lock. A digest that was changed by hand cannot be told from a right one here; no bytes will
    answer to it, so fetching refuses it.

    Raises:
        InputErrors: all that is wrong with it, with places.
        InputError: the file cannot be read.
    """
    return load_json(path, Lock).found_in(path.parent)


def parse_manifest_json(data: bytes, place: str) -> IsoManifest:
    """Return the manifest of an ISO in ``data``, which messages call ``place``.

    Raises:
        InputErrors: all that is wrong with it.
    """
    return parse_json(data, place, IsoManifest)
