"""Which recipes a policy wants ISOs of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from isobuilder.model.loading import load_recipe
from isobuilder.model.policy import SyncPolicy
from isobuilder.rules.book import RuleBook
from isobuilder.sources.upstream.newest import newest


def followed(recipes: Iterable[Path], policy: SyncPolicy, book: RuleBook, day: date) -> list[Path]:
    """Return the newest recipe of each kind, of minors that are followed on ``day``."""
    found = []
    known = [(path, load_recipe(path)) for path in recipes]
    for path, recipe in newest(known, lambda item: item[1]):
        version = recipe.kubernetes
        if policy.minors and version.minor_text not in policy.minors:
            continue
        life = book.minor(version.minor_text)
        if life and life.ended(day) and not policy.ended_minors:
            continue
        found.append((version, path))
    return [path for _version, path in sorted(found)]
