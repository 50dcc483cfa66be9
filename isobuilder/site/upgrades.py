"""Which upgrades are possible with what was carried to a site."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from isobuilder.formats.kube import KubeVersion


@dataclass(frozen=True, slots=True)
class Offer:
    """One Kubernetes version that was carried, whole and right."""

    version: KubeVersion
    architecture: str
    name: str  # of the ISO that it is, or will be
    place: str


Running = tuple[KubeVersion, str | None]
"""What a cluster runs, and on which architecture if that is known."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a cluster gets as far as what was carried leads."""

    have: KubeVersion
    steps: tuple[KubeVersion, ...]  # one after the other; none: nothing here is an upgrade
    gap: str | None  # the minor without which later ones cannot be reached
    architecture: str | None  # None: nobody knows that of the cluster, and nothing is offered


def ways(have: Collection[Running], there: Collection[Offer]) -> list[Way]:
    """Return how far each version can be upgraded: one minor at a time and never down.

    No cluster changes its architecture on the way. One whose architecture nobody knows has a way
    for each that is offered.

    Source: contract G of Mold, which refuses anything else, as kubeadm does.
    """
    offered: set[str | None] = {offer.architecture for offer in there} or {None}
    clusters = {
        (version, one)
        for version, architecture in have
        for one in ({architecture} if architecture else offered)
    }
    found = []
    for version, architecture in sorted(clusters, key=lambda one: (one[0], one[1] or "")):
        fits = {offer.version for offer in there if offer.architecture == architecture}
        found.append(_way(version, architecture, sorted(fits)))
    return found


def _way(have: KubeVersion, architecture: str | None, there: Sequence[KubeVersion]) -> Way:
    """Return the way over the newest patches of what is ``there``, the oldest first."""
    later = [version for version in there if version > have and version.major == have.major]
    newest = {version.minor: version for version in later}
    steps: list[KubeVersion] = []
    gap = None
    for minor in range(have.minor + 1, max(newest, default=have.minor) + 1):
        if minor not in newest:
            gap = f"{have.major}.{minor}"
            break
        steps.append(newest[minor])
    if not steps and have.minor in newest:
        steps.append(newest[have.minor])
    return Way(have, tuple(steps), gap, architecture)
