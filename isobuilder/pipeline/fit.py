"""Whether a recipe or a lock fits together, by the rules."""

from __future__ import annotations

from datetime import UTC, date, datetime

from isobuilder.model.lock import Lock
from isobuilder.model.profile import PROFILES
from isobuilder.model.recipe import Recipe
from isobuilder.rules.book import RuleBook, shipped_rules
from isobuilder.rules.fit import Parts, Unfit, unfit


def unfit_parts(
    document: Recipe | Lock, rules: RuleBook | None = None, day: date | None = None
) -> list[Unfit]:
    """Return why the parts of a recipe or a lock do not fit together, errors first.

    Without ``rules`` those that are shipped count, without ``day`` it is today.
    """
    return unfit(parts_of(document), rules or shipped_rules(), day or datetime.now(UTC).date())


def parts_of(document: Recipe | Lock) -> Parts:
    """Return the versions that a recipe or a lock names."""
    images = (
        [name for image in document.images for name in image.references]
        if isinstance(document, Lock)
        else []
    )
    return Parts.of(
        document.kubernetes,
        [entry.source for entry in (*document.files, *document.manifests)],
        images,
        pins_pause=PROFILES[document.profile].imports_by_digest,
    )
