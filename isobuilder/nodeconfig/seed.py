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

USER_DATA, META_DATA, VENDOR_DATA = "user-data", "meta-data", "vendor-data"
NETWORK_CONFIG, NETWORK_DATA = "network-config", "network_data.json"

_LATEST = "openstack/latest"
_BEGINNINGS = (
    *("#cloud-config", "#!", "#include", "#cloud-boothook", "#part-handler", "## template: jinja"),
    *("content-type:", "mime-version:"),
)
"""Of user-data in lower case. Source: cloud-init, handlers: INCLUSION_TYPES_MAP; and MIME."""
_GZIP = b"\x1f\x8b"


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
            raise InputError(f"{place}: {META_DATA} has no {name}, or one that is not text")
    for name in (USER_DATA, VENDOR_DATA):
        if name in found:
            _check_beginning(found[name], name, place)
    if kind == "nocloud":
        wanted = (USER_DATA, META_DATA, VENDOR_DATA, NETWORK_CONFIG)
        return {name: found[name] for name in wanted if name in found}
    if NETWORK_CONFIG in found and NETWORK_DATA not in found:
        raise InputError(
            f"{place}: ConfigDrive names an interface by its MAC address or exact name, in "
            f"{NETWORK_DATA}, which is not there",
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
    if VENDOR_DATA in found:
        # Source: cloud-init, "Vendor-data", ConfigDrive: a text, or an object with it.
        try:
            text = found[VENDOR_DATA].decode()
        except UnicodeDecodeError:
            raise InputError(
                f"{place}: {VENDOR_DATA} is not text, and ConfigDrive has it as such",
                hint="unpack it if it is packed, or make a nocloud seed",
            ) from None
        files[f"{_LATEST}/vendor_data.json"] = json_text({"cloud-init": text})
    if NETWORK_DATA in found:
        files[f"{_LATEST}/{NETWORK_DATA}"] = found[NETWORK_DATA]
    return files


def _check_beginning(data: bytes, name: str, place: str) -> None:
    head = data[:200].decode("utf-8", "replace").lower().lstrip()
    if head and not head.startswith(_BEGINNINGS) and not data.startswith(_GZIP):
        raise InputError(
            f"{place}: cloud-init would ignore {name}: its first line does not say what it is",
            hint="begin it with #cloud-config, or with #! and an interpreter",
        )


def json_text(value: object) -> bytes:
    """Return ``value`` as the text of a JSON file."""
    return (json.dumps(value, indent=2) + "\n").encode()
