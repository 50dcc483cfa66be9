"""Seeds: the discs cloud-init takes a node's configuration from."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Literal

from isobuilder.errors import InputError

SeedKind = Literal["nocloud", "config-drive"]

LABELS: Mapping[SeedKind, str] = {"nocloud": "cidata", "config-drive": "config-2"}
"""Volume labels. Source: cloud-init's documentation of its data sources, and ds-identify."""

USER_DATA, META_DATA = "user-data", "meta-data"
NETWORK_CONFIG, NETWORK_DATA = "network-config", "network_data.json"

_LATEST = "openstack/latest"


def seed_files(
    kind: SeedKind, found: Mapping[str, bytes], meta: Mapping[str, str], place: str
) -> dict[str, bytes]:
    """Return what lies on a seed disc: path -> bytes.

    ``found`` has the files of one node by the names above, ``meta`` the values of its meta-data.

    Raises:
        InputError: the disc would not say what ``found`` does.
    """
    for name in ("instance-id", "local-hostname"):
        if not isinstance(meta.get(name), str) or not meta[name]:
            raise InputError(f"{place}: {META_DATA} has no {name}")
    if kind == "nocloud":
        wanted = (USER_DATA, META_DATA, NETWORK_CONFIG)
        return {name: found[name] for name in wanted if name in found}
    if NETWORK_CONFIG in found and NETWORK_DATA not in found:
        raise InputError(
            f"{place}: ConfigDrive names an interface by its MAC address or exact name, and "
            f"{NETWORK_CONFIG} has neither",
            hint="give the node a mac or an interface, or make a nocloud seed",
        )
    files = {
        f"{_LATEST}/user_data": found[USER_DATA],
        f"{_LATEST}/meta_data.json": json_text(
            {
                "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, meta["instance-id"])),
                "name": meta["local-hostname"],
                "hostname": meta["local-hostname"],
            }
        ),
    }
    if NETWORK_DATA in found:
        files[f"{_LATEST}/{NETWORK_DATA}"] = found[NETWORK_DATA]
    return files


def json_text(value: object) -> bytes:
    """Return ``value`` as the text of a JSON file."""
    return (json.dumps(value, indent=2) + "\n").encode()
