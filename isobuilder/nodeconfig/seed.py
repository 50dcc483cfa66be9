"""Seeds: the discs cloud-init takes a node's configuration from."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Literal, NoReturn

from isobuilder.documents.mistakes import InputErrors, Mistake
from isobuilder.documents.yaml import MappingNode, ScalarNode, YamlNode
from isobuilder.errors import InputError
from isobuilder.formats.manifests import Document, Manifest, read_manifest, scalar_value, target

SeedKind = Literal["nocloud", "config-drive"]

LABELS: Mapping[SeedKind, str] = {"nocloud": "cidata", "config-drive": "config-2"}
"""Volume labels. Source: cloud-init's documentation of its data sources, and ds-identify."""

USER_DATA, META_DATA, VENDOR_DATA = "user-data", "meta-data", "vendor-data"
NETWORK_CONFIG, NETWORK_DATA = "network-config", "network_data.json"

_LATEST = "openstack/latest"
_BEGINNINGS = (
    *("#cloud-config", "#!", "#include", "#cloud-boothook", "#part-handler", "## template: jinja"),
)
"""Of user-data in lower case. Source: cloud-init, handlers: INCLUSION_TYPES_MAP."""
_MIME, _MIME_WITHIN = b"mime-version:", 4096
"""Where a message says that it is one, behind whatever headers. Source: cloud-init, user_data.py:
convert_string."""
_GZIP = b"\x1f\x8b"


def seed_files(
    kind: SeedKind, found: Mapping[str, bytes], meta: Mapping[str, object], place: str
) -> dict[str, bytes]:
    """Return what lies on a seed disc: path -> bytes.

    ``found`` has the files of one node by the names above, ``meta`` the values of its meta-data.

    Raises:
        InputError: the disc would not say what ``found`` does.
    """
    instance, host = _instance_and_host(meta, place)
    for name in (USER_DATA, VENDOR_DATA):
        if name in found:
            _check_beginning(found[name], name, place)
    if kind == "nocloud":
        if NETWORK_CONFIG in found:
            _check_network(found[NETWORK_CONFIG], f"{place}/{NETWORK_CONFIG}")
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
                "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, instance)),
                **({"name": host, "hostname": host} if host else {}),
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


def _instance_and_host(meta: Mapping[str, object], place: str) -> tuple[str, str | None]:
    """Return which instance it is, and its name if it is given one.

    Source: cloud-init, sources/__init__.py: get_instance_id takes any value as text; get_hostname
    can do without a name, and takes text apart.
    """
    instance, host = meta.get("instance-id"), meta.get("local-hostname")
    if instance is None or instance == "" or isinstance(instance, list | dict):
        raise InputError(f"{place}: {META_DATA} has no instance-id, or one that is no single value")
    if host is not None and not isinstance(host, str):
        raise InputError(
            f"{place}: {META_DATA} has a local-hostname that is not text",
            hint="put it in quotes, or leave it out",
        )
    return str(instance), host or None


def _check_network(data: bytes, place: str) -> None:
    """Refuse a network that cloud-init would not take, so that the machine would have none.

    Source: cloud-init, net/network_state.py: parse_net_config_data; net/__init__.py:
    is_disabled_cfg.
    """
    manifest = read_manifest(data, place)
    for document in manifest.documents[:1]:  # an empty file is as good as none
        node, what = document.root, ""
        if "network" in (fields := _fields(document, node)):
            node, what = fields["network"], "network"
            fields = _fields(document, node)
        if not isinstance(target(node), MappingNode):
            _refuse(manifest, node, what, "expected keys and values")
        version, config = fields.get("version"), fields.get("config")
        if config is not None and _value(config) == "disabled":
            return
        number = None if version is None else _value(version)
        if isinstance(number, bool | str) or number not in {1, 2}:
            found = "none" if version is None else repr(number)
            at = node if version is None else version
            _refuse(manifest, at, f"{what}.version", f"expected 1 or 2, found {found}")
        if number == 1 and (config is None or isinstance(target(config), ScalarNode)):
            at = node if config is None else config
            _refuse(manifest, at, f"{what}.config", "expected the list that version 1 needs")
    if len(manifest.documents) > 1:
        _refuse(manifest, manifest.documents[1].root, "", "a second document; expected one")


def _fields(document: Document, node: YamlNode) -> dict[str, YamlNode]:
    fields = document.fields.get(id(target(node)), {})
    return {name: field.value for name, field in fields.items()}


def _value(node: YamlNode) -> str | int | float | bool | None:
    scalar = target(node)
    return scalar_value(scalar) if isinstance(scalar, ScalarNode) else None


def _refuse(manifest: Manifest, node: YamlNode, what: str, fact: str) -> NoReturn:
    hint = "cloud-init would leave the machine without a network; without the file it asks by DHCP"
    raise InputErrors([Mistake(manifest.mark(node), what.strip("."), fact, hint)])


def _check_beginning(data: bytes, name: str, place: str) -> None:
    head = data[:200].decode("utf-8", "replace").lower().lstrip()
    is_message = _MIME in data[:_MIME_WITHIN].lower()
    if head and not (head.startswith(_BEGINNINGS) or is_message or data.startswith(_GZIP)):
        raise InputError(
            f"{place}: cloud-init would ignore {name}: its first line does not say what it is",
            hint="begin it with #cloud-config, or with #! and an interpreter",
        )


def json_text(value: object) -> bytes:
    """Return ``value`` as the text of a JSON file."""
    return (json.dumps(value, indent=2) + "\n").encode()
