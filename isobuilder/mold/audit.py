"""What a server has, compared with what was built; and the plan that would mend it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import RootModel, Strict

from isobuilder.model.policy import Minor
from isobuilder.model.validation import load_json
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.catalogue import Item
from isobuilder.mold.compare import Deviation, Kind, Policy, Registered, compare
from isobuilder.mold.plan import ServerPlan
from isobuilder.mold.registered import entries_of, find_zones, zones_served
from isobuilder.rules.support import Ends


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
    served = zones_served(mold, zones, direct=False)
    found = [
        Deviation(Kind.ZONE, zone.name, "without secondary storage, so it needs none", notice=True)
        for zone in zones
        if zone.enabled and not zone.edge and zone not in served
    ]
    found += compare(registered, catalogue, served, policy)
    actions = tuple(action for deviation in found for action in deviation.actions)
    return found, ServerPlan(server=mold.name, endpoint=mold.endpoint, actions=actions)


class _Table(RootModel[dict[Minor, Annotated[date, Strict()]]]):
    """Minor versions, and when upstream's support of each ends."""


def read_ends(path: Path) -> Ends:
    """Return ends of life from a JSON file such as ``{"1.34": "2026-10-27"}``.

    Raises:
        InputError: the file is missing.
        InputErrors: it holds something else.
    """
    return load_json(path, _Table).root
