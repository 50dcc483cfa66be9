"""Whether a recipe, a lock or a finished ISO fits together, by the rules."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from isobuilder.errors import InputError
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.model.profile import PROFILES
from isobuilder.model.recipe import Recipe
from isobuilder.model.registration import RegistrationFile
from isobuilder.rules.book import RuleBook, shipped_rules
from isobuilder.rules.fit import Parts, Unfit, unfit


def unfit_parts(
    document: Recipe | Lock, rules: RuleBook | None = None, day: date | None = None
) -> list[Unfit]:
    """Return why the parts of a recipe or a lock do not fit together, errors first.

    Without ``rules`` those that are shipped count, without ``day`` it is today.
    """
    return unfit(parts_of(document), rules or shipped_rules(), day or datetime.now(UTC).date())


def unfit_iso(
    registration: RegistrationFile,
    lock_path: Path | None,
    rules: RuleBook | None = None,
    day: date | None = None,
) -> tuple[Unfit, ...]:
    """Return why what is on an ISO does not fit together; its end of life is told elsewhere.

    What is on it is told by the lock that lies beside it: without one nothing is judged, and where
    that cannot be read, or is of something else, only the version of Kubernetes.
    """
    if lock_path is None:
        return ()
    parts = Parts(registration.kubernetesversion)
    found: list[Unfit] = []
    try:
        lock = load_lock(lock_path)
    except InputError as error:
        hint = "copy what isobuilder build wrote beside the ISO again"
        fact = f"{lock_path.name} cannot be read, so only the version was judged"
        found.append(Unfit("lock", "warning", fact, hint, str(error)))
    else:
        if lock.kubernetes == parts.kubernetes:
            parts = parts_of(lock)
    judged = unfit(parts, rules or shipped_rules(), day or datetime.now(UTC).date())
    return (*found, *(one for one in judged if one.rule != "end-of-life"))


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
