"""Which recipes a policy wants ISOs of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from isobuilder.formats.kube import KubeVersion
from isobuilder.model.loading import load_recipe
from isobuilder.model.policy import SyncPolicy
from isobuilder.rules.book import RuleBook


def followed(recipes: Iterable[Path], policy: SyncPolicy, book: RuleBook, day: date) -> list[Path]:
    """Return the newest recipe of each minor that is followed on ``day``."""
    newest: dict[str, tuple[KubeVersion, Path]] = {}
    for path in recipes:
        version = load_recipe(path).kubernetes
        minor = version.minor_text
        if policy.minors and minor not in policy.minors:
            continue
        life = book.minor(minor)
        if life and life.ended(day) and not policy.ended_minors:
            continue
        if minor not in newest or version > newest[minor][0]:
            newest[minor] = version, path
    return [path for _version, path in sorted(newest.values())]
