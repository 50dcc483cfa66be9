"""Provenance that images carry in their configuration."""

from __future__ import annotations

from collections.abc import Mapping

from isobuilder.errors import IntegrityError
from isobuilder.model.recipe import Component


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
