"""The images that manifests name, as a recipe wants them locked; what cannot be locked is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from isobuilder.documents.mistakes import InputErrors, Mistake
from isobuilder.formats.manifests import Manifest
from isobuilder.formats.reference import ImageReference, lockable, spelled_out
from isobuilder.model.recipe import Images

log = logging.getLogger(__name__)


@dataclass(slots=True)
class NamedImages:
    """What to lock for the images of manifests."""

    originals: dict[str, set[str]] = field(default_factory=dict)
    """Reference to lock, spelled out -> the other names that manifests use for it."""

    def add(self, name: str, text: str) -> None:
        """Note that ``name`` is to be locked for what a manifest calls ``text``."""
        others = self.originals.setdefault(name, set())
        if spelled_out(text) != name:
            others.add(text)


def named_images(images: Images, manifests: Iterable[Manifest]) -> NamedImages:
    """Return what to lock for the images of all manifests.

    Raises:
        InputErrors: images that nobody can lock, of all manifests at once: each with its place and
            the line of a recipe that mends it.
    """
    found = NamedImages()
    mistakes: list[Mistake] = []
    seen: set[str] = set()
    for manifest in manifests:
        for doubled in manifest.doubled:
            log.warning("%s", doubled)
        for use in manifest.images:
            seen.add(spelled_out(use.image))
            target = images.target(use.image)
            if target is None:
                continue
            try:
                found.add(str(lockable(target)), use.image)
            except ValueError as error:
                mistakes.append(Mistake(use.mark, use.path, str(error), _way_out(use.image)))
    if mistakes:
        raise InputErrors(mistakes)
    for name in images.replace:
        if spelled_out(name) not in seen:
            log.warning("images.replace: no manifest has %s, so nothing is replaced", name)
    return found


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
