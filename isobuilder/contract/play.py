"""What a node does with a disc, played from the first rule of its contract to the last.

The rules are in ``rules_*.py``, each with an id whose beginning names the section of
docs/node-contract.md it comes from. A node stops at the first thing it cannot do; a person wants
all of them, so every rule is played, and a mistake that breaks several is told by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from isobuilder.contract import (
    rules_autoscaler,
    rules_csi,
    rules_disc,
    rules_images,
    rules_install,
    rules_manifests,
    rules_upgrade,
)
from isobuilder.contract.rule import Action, Rule
from isobuilder.contract.view import NodeView
from isobuilder.formats.kube import KubeVersion
from isobuilder.medium import Files, Medium
from isobuilder.model.finding import MOST_COUNTED, Finding, bounded
from isobuilder.model.profile import PROFILES, ProfileName

RULES: tuple[Rule, ...] = (
    *rules_disc.RULES,
    *rules_install.RULES,
    *rules_images.RULES,
    *rules_manifests.RULES,
    *rules_autoscaler.RULES,
    *rules_csi.RULES,
    *rules_upgrade.RULES,
)
"""Every rule, in the order of the contract as far as modules follow it; ids are unique."""


def play(
    medium: Files | Medium,
    *,
    profile: ProfileName,
    kubernetes: KubeVersion | None = None,
    architecture: str | None = None,
    actions: Sequence[Action] = ("create", "upgrade"),
    unpack: bool = True,
) -> list[Finding]:
    """Return what a node of ``profile``'s cloud would stumble over, with errors first.

    ``kubernetes`` is the version the ISO is registered with and ``architecture`` what it is for, in
    Go's spelling; without them manifest.json is believed, and for an ISO that has none, kubeadm.
    Without ``unpack`` only the beginning of each .tar.gz is looked at, which is most of the time.
    Nothing on the medium makes this raise: what cannot be read is a finding.
    """
    cloud = PROFILES[profile].cloud
    disc = NodeView(
        Medium.of(medium),
        cloud=cloud,
        profile=profile,
        upgrade="upgrade" in actions,
        registered=kubernetes,
        architecture=architecture,
        unpack=unpack,
    )
    found: list[Finding] = []
    for rule in RULES:
        if cloud in rule.clouds and set(actions) & set(rule.actions):
            problems = list(islice(rule.check(disc), MOST_COUNTED))
            found += bounded(
                Finding(rule=rule.id, place=place, fact=fact, remedy=remedy, severity=rule.severity)
                for place, fact, remedy in problems
            )
    return sorted(dict.fromkeys(found), key=lambda finding: finding.severity)
