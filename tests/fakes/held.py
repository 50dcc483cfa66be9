"""Recipes of who follows upstream: the newest patch of each minor, with what fits on a day."""

from __future__ import annotations

from collections.abc import Iterator

from isobuilder.formats.kube import KubeVersion
from isobuilder.rules.book import shipped_rules
from isobuilder.rules.fit import Parts
from isobuilder.sources.upstream.choose import Chooser
from isobuilder.sources.upstream.notices import Held
from isobuilder.sources.upstream.sight import Sight

_NODE_PARTS = ("containerd", "runc", "cni-plugins", "crictl", "etcd")


def held_recipes(sight: Sight) -> Iterator[Held]:
    """Yield a recipe for the newest patch of each minor, with what fits on that day."""
    for minor, version in sight.markers.items():
        if minor:
            kubernetes = KubeVersion(str(version))
            chooser = Chooser(kubernetes, sight, shipped_rules(), 0)
            choices = [chooser.choose(name, None) for name in _NODE_PARTS]
            parts = {one.component: one.version for one in choices if one.version}
            yield Held(str(version), Parts(kubernetes, parts, pins_pause=True))
