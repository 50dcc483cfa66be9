"""The recipes and locks that are shipped, by Kubernetes version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from isobuilder.errors import InputError
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.loading import builtin_recipes

_VERSION = re.compile(r"v?[0-9]+(\.[0-9]+){1,2}|latest")


@dataclass(frozen=True, slots=True)
class Shipped:
    """One recipe that is shipped, and its locks by architecture."""

    version: KubeVersion
    recipe: Path
    locks: dict[str, Path]


def shipped() -> list[Shipped]:
    """Return what is shipped, the oldest version first."""
    found = []
    for recipe in builtin_recipes().glob("kubernetes-*.yaml"):
        locks = {
            path.name.removeprefix(f"{recipe.stem}.").partition(".")[0]: path
            for path in sorted(recipe.parent.glob(f"{recipe.stem}.*.lock.json"))
        }
        version = KubeVersion(recipe.stem.removeprefix("kubernetes-"))
        found.append(Shipped(version, recipe, locks))
    return sorted(found, key=lambda item: item.version)


def looks_like_version(text: str) -> bool:
    """Tell whether a person means a version by it, and no file."""
    return _VERSION.fullmatch(text) is not None


def shipped_version(text: str) -> Shipped:
    """Return what is shipped for ``1.36.5``; a ``v`` before it may be there.

    Raises:
        InputError: not shipped; the hint names what is and how to begin another.
    """
    known = {str(item.version): item for item in shipped()}
    wanted = text.removeprefix("v")
    if wanted in known:
        return known[wanted]
    same_minor = [name for name in known if name.startswith(f"{wanted}.")]
    if wanted == "latest":
        same_minor = list(known)[-1:]
    hint = (
        f"write the whole version: {' or '.join(same_minor)}"
        if same_minor
        else f"shipped are {', '.join(known)}; begin a recipe with isobuilder recipe new"
    )
    raise InputError(f"no recipe is shipped for Kubernetes {text}", hint=hint)
