"""Which ISOs a policy wants: recipes, each for an architecture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from isobuilder.model.loading import load_recipe
from isobuilder.model.policy import SyncPolicy
from isobuilder.model.profile import DEFAULT_PROFILE
from isobuilder.model.recipe import Recipe
from isobuilder.rules.book import RuleBook
from isobuilder.sources.upstream.newest import newest


@dataclass(frozen=True, slots=True)
class WantedIso:
    """One cell of a sync: a version for an architecture, and the recipe of its ISO."""

    path: Path
    recipe: Recipe
    architecture: str

    @property
    def subject(self) -> str:
        """What reports and the journal call it: version, what is not usual, architecture."""
        flavour = f"{self.recipe.flavour}.boot" if self.recipe.boot else self.recipe.flavour
        other = f" {flavour}" if flavour != DEFAULT_PROFILE else ""
        return f"{self.recipe.kubernetes}{other} {self.architecture}"


def followed(
    recipes: Iterable[Path], policy: SyncPolicy, book: RuleBook, day: date
) -> list[WantedIso]:
    """Return the cells of the newest recipe of each kind, of minors that are followed on ``day``.

    Recipes of one kind, version and revision are all among them, see ``doubled``.
    """
    found = []
    known = [(path, load_recipe(path)) for path in recipes]
    for path, recipe in newest(known, lambda item: item[1]):
        version = recipe.kubernetes
        if policy.minors and version.minor_text not in policy.minors:
            continue
        life = book.minor(version.minor_text)
        if life and life.ended(day) and not policy.ended_minors:
            continue
        found.append((version, path, recipe))
    return [
        WantedIso(path, recipe, architecture)
        for _version, path, recipe in sorted(found, key=lambda item: item[:2])
        for architecture in policy.architectures
        if architecture in recipe.architectures
    ]


def doubled(cells: Iterable[WantedIso]) -> dict[tuple[Path, ...], list[str]]:
    """Return the recipes that would become one ISO, with the subjects of the cells they share."""
    paths: dict[str, list[Path]] = {}
    for cell in cells:
        paths.setdefault(cell.subject, []).append(cell.path)
    found: dict[tuple[Path, ...], list[str]] = {}
    for subject, same in paths.items():
        if len(same) > 1:
            found.setdefault(tuple(same), []).append(subject)
    return found
