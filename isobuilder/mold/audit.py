"""What a server has, compared with what was built; and the plan that would mend it."""

from __future__ import annotations

from collections.abc import Sequence

from isobuilder.mold.api.commands import Mold
from isobuilder.mold.catalogue import Item
from isobuilder.mold.compare import Deviation, Policy, Registered, compare
from isobuilder.mold.plan import ServerPlan
from isobuilder.mold.registered import entries_of, find_zones, zones_served


def audit(
    mold: Mold, catalogue: Sequence[Item], policy: Policy
) -> tuple[list[Deviation], ServerPlan]:
    """Compare one server with the catalogue; return what differs, and what would mend it.

    Without zones in the policy all are meant that take downloads.

    Raises:
        MoldError: the server refused, or has no such zone.
    """
    registered = Registered(entries_of(mold, mold.versions()), mold.clusters())
    zones = mold.zones()
    if policy.zones:
        zones = find_zones(zones, policy.zones, server=mold.name)
    found = compare(registered, catalogue, zones_served(zones, direct=False), policy)
    actions = tuple(action for deviation in found for action in deviation.actions)
    return found, ServerPlan(server=mold.name, endpoint=mold.endpoint, actions=actions)
