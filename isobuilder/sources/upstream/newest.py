"""Which of several recipes are the newest of their kind. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from isobuilder.formats.kube import KubeVersion

_One = TypeVar("_One")


class _Numbered(Protocol):
    """What has a place among the recipes of a minor version and of a kind."""

    @property
    def kubernetes(self) -> KubeVersion:
        """The version that it is of."""

    @property
    def flavour(self) -> str:
        """Profile and variant."""

    @property
    def revision(self) -> int:
        """Which one of this version it is."""


def newest(found: Iterable[_One], of: Callable[[_One], _Numbered]) -> list[_One]:
    """Return what is the newest of its minor version, profile and variant, in the order found.

    The highest revision of the highest version counts; where several have that, none is left out:
    they may differ in what else an ISO can be, and if they do not, that is for a person to hear.
    """
    highest: dict[tuple[str, str], tuple[KubeVersion, int]] = {}
    told = [(one, of(one)) for one in found]
    for _one, number in told:
        kind = number.kubernetes.minor_text, number.flavour
        order = number.kubernetes, number.revision
        highest[kind] = max(order, highest.get(kind, order))
    return [
        one
        for one, number in told
        if highest[number.kubernetes.minor_text, number.flavour]
        == (number.kubernetes, number.revision)
    ]
