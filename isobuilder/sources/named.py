"""The images that manifests name, as a recipe wants them locked; what cannot be locked is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from isobuilder.documents.mistakes import InputErrors, Mistake
from isobuilder.errors import IntegrityError
from isobuilder.formats.manifests import Manifest
from isobuilder.formats.mentions import Mention
from isobuilder.formats.reference import ImageReference, lockable, spelled_out
from isobuilder.model.lock import LockedImage
from isobuilder.model.recipe import Component, Images
from isobuilder.rules.operators import later_images

log = logging.getLogger(__name__)


def named_images(images: Images, manifests: Iterable[Manifest]) -> dict[str, set[str]]:
    """Return what to lock for the images of all manifests, and what else they call each of them.

    Raises:
        InputErrors: images that nobody can lock, of all manifests at once: each with its place and
            the line of a recipe that mends it.
    """
    found: dict[str, set[str]] = {}
    mistakes: list[Mistake] = []
    seen: set[str] = set()
    for manifest in manifests:
        for odd in manifest.oddities:
            log.warning("%s", odd)
        for use in manifest.images:
            seen.add(spelled_out(use.image))
            target = images.target(use.image)
            if target is None:
                continue
            try:
                name = str(lockable(target))
            except ValueError as error:
                mistakes.append(Mistake(use.mark, use.path, str(error), _way_out(use.image)))
                continue
            others = found.setdefault(name, set())
            if spelled_out(use.image) != name:
                others.add(use.image)
    if mistakes:
        raise InputErrors(mistakes)
    for name in images.replace:
        if spelled_out(name) not in seen:
            log.warning("images.replace: no manifest has %s, so nothing is replaced", name)
    return found


def unlocked_mentions(
    manifests: Iterable[Manifest], locked: Iterable[LockedImage], images: Images
) -> list[Mistake]:
    """Return each text outside image fields that looks like an image which will not be on the ISO.

    An operator that is told of it starts it on a site that cannot pull it. ``images.extra`` brings
    it, ``images.ignore`` says that it is not needed.
    """
    known = known_names(locked, images.ignore)
    return [
        _unlocked(mention)
        for manifest in manifests
        for mention in later_images(manifest)
        if not mention.is_among(known)
    ]


def known_names(locked: Iterable[LockedImage], ignored: Iterable[str]) -> set[str]:
    """Return every name by which an image is there, or known not to be needed; spelled out."""
    known = {spelled_out(text) for text in ignored}
    for image in locked:
        known |= {*image.names, image.pinned}
    return known


def _unlocked(mention: Mention) -> Mistake:
    if mention.by is None:
        fact = f"the image {mention.text} is not locked"
        hint = "add it to images.extra of the recipe, or to images.ignore if it is not needed"
        return Mistake(mention.mark, mention.path, fact, hint)
    fact = f"{mention.by} starts {mention.text} besides, of which no tag is locked"
    hint = (
        f"add the one that its release names to images.extra of the recipe, or {mention.text} to "
        "images.ignore if it is not needed"
    )
    return Mistake(mention.mark, mention.path, fact, hint)


def _way_out(image: str) -> str:
    """Say which line of a recipe would mend an image that cannot be locked."""
    try:
        name = ImageReference.parse(image).name
    except ValueError:
        return (
            f"write under images what it stands for, replace: {{{_quoted(image)}: "
            f'"REGISTRY/NAME:TAG"}}, or ignore: [{_quoted(image)}] if it is no image, or none '
            "that is needed"
        )
    return (
        f'write under images replace: {{{_quoted(image)}: "{name}:TAG"}} with the tag of a '
        f"release, or ignore: [{_quoted(image)}] if it is not needed"
    )


def _quoted(text: str) -> str:
    """Return ``text`` as YAML reads it back in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def check_labels(name: str, component: Component, labels: Mapping[str, str]) -> None:
    """Accept a component's image only with the provenance that the recipe demands of it.

    Raises:
        IntegrityError: a label is missing or has another value.
    """
    expected = dict(component.labels)
    if component.source_sha is not None:
        expected.setdefault("org.opencontainers.image.revision", component.source_sha)
    for label, value in sorted(expected.items()):
        if labels.get(label) != value:
            raise IntegrityError(
                f"components.{name}: {component.image}: label {label}: "
                f"expected {value!r}, got {labels.get(label)!r}",
                hint="the image is not from the sources the recipe names; correct one of them",
            )
