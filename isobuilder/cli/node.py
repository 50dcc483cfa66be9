"""``isobuilder node``: what cloud-init reads on machines that boot the ISO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from isobuilder.cli.app import FILE, FOLDER, NEW_FILE, App, AppGroup, json_option, table
from isobuilder.errors import UsageProblem

if TYPE_CHECKING:
    from isobuilder.nodeconfig.seed import SeedKind
    from isobuilder.pipeline.cluster import MadeNode, Option

ROLES = click.Choice(["first-control-plane", "control-plane", "worker"])
KINDS = click.Choice(["nocloud", "config-drive"])
KINDS_OR_NONE = click.Choice(["nocloud", "config-drive", "none"])


@click.group(cls=AppGroup)
def node() -> None:
    """Write cloud-init's data for control planes and workers.

    Tokens and keys are never arguments and never printed: they come from a folder (token,
    certificate-key, ca.crt, ca.key), or from ISOBUILDER_NODE_TOKEN and
    ISOBUILDER_NODE_CERTIFICATE_KEY. Whatever holds them is for its owner only.
    """


@node.command()
@click.argument("description", metavar="FILE", type=FILE)
@click.option("--out", type=FOLDER, default="nodes", show_default=True, help="Where folders go.")
@click.option("--secrets", type=FOLDER, help="Folder of tokens and keys.  [default: OUT/secrets]")
@click.option(
    "--seed", type=KINDS_OR_NONE, default="nocloud", show_default=True, help="Form of seed.iso."
)
@json_option
@click.pass_obj
def cluster(
    app: App,
    description: Path,
    out: Path,
    secrets: Path | None,
    seed: Literal["nocloud", "config-drive", "none"],
    as_json: bool,
) -> None:
    """Write everything for all nodes of the cluster that FILE describes.

    Each node gets a folder with user-data, meta-data, network-config and seed.iso. What a new
    cluster needs (token, certificate key, certificate authority) is made once and kept beside
    them, so that the same call later, with more nodes in FILE, fits the running cluster.
    """
    from isobuilder.pipeline.cluster import make_cluster

    found, made = make_cluster(description, out, secrets_folder=secrets, seed=_kind(seed))
    facts = {"name": found.name, "kubernetes": str(found.kubernetes), "endpoint": found.api}
    _show(app, facts, made, as_json=as_json)


@node.command("user-data")
@click.option("--role", type=ROLES, required=True, help="What the node becomes.")
@click.option("--name", required=True, help="Host name, and name of the node.")
@click.option("--kubernetes", metavar="VERSION", required=True, help="Of the ISO, such as 1.34.12.")
@click.option("--endpoint", metavar="HOST[:PORT]", help="Of the API; needed to join.")
@click.option("--cluster-name", help="Name of the cluster.  [default: kubernetes]")
@click.option("--address", metavar="IP/PREFIX", help="Fixed address.  [default: by DHCP]")
@click.option("--gateway", metavar="IP", help="Default route; needed with --address.")
@click.option("--nameserver", metavar="IP", multiple=True, help="DNS server.")
@click.option("--search", metavar="DOMAIN", multiple=True, help="DNS search domain.")
@click.option("--mac", help="MAC address of the interface.")
@click.option("--interface", help="Name of the interface.  [default: e*]")
@click.option("--mtu", type=int, help="Largest packet of the interface.")
@click.option("--route", metavar="NETWORK=IP", multiple=True, help="Static route.")
@click.option("--user", help="Who may log in.  [default: admin, with --ssh-key]")
@click.option("--ssh-key", metavar="FILE", multiple=True, help="Public keys of that user.")
@click.option(
    "--pod-network", metavar="NETWORK", help="Addresses of pods.  [default: 10.244.0.0/16]"
)
@click.option(
    "--service-network", metavar="NETWORK", help="Addresses of services.  [default: 10.96.0.0/12]"
)
@click.option("--cni", help="bridge, none, or a manifest of the ISO.  [default: network.yaml]")
@click.option("--pod-subnet", metavar="NETWORK", help="With --cni bridge: this node's part.")
@click.option("--label", metavar="KEY=VALUE", multiple=True, help="Label of the node.")
@click.option("--taint", metavar="KEY[=VALUE]:EFFECT", multiple=True, help="Taint of the node.")
@click.option("--no-taints", is_flag=True, help="Let pods run on a control plane.")
@click.option("--http-proxy", metavar="URL", help="How containerd reaches http registries.")
@click.option("--https-proxy", metavar="URL", help="How containerd reaches https registries.")
@click.option("--no-proxy", metavar="HOST", multiple=True, help="Reached without the proxy.")
@click.option("--registry-mirror", metavar="HOST=URL", multiple=True, help="Where to pull from.")
@click.option("--registry-ca", metavar="HOST=FILE", multiple=True, help="Whom to trust there.")
@click.option("--ca-certificate", metavar="FILE", multiple=True, help="Whom the node trusts.")
@click.option("--file", "extra", metavar="PATH=SOURCE", multiple=True, help="One more file.")
@click.option("--before", metavar="COMMAND", multiple=True, help="Run before kubeadm.")
@click.option("--after", metavar="COMMAND", multiple=True, help="Run when the node is Ready.")
@click.option("--ca-hash", metavar="SHA256", help="Of the cluster's certificate authority.")
@click.option("--no-verify-ca", is_flag=True, help="Join whoever answers; for tests.")
@click.option("--token-ttl", metavar="TIME", help="How long nodes can join.  [default: 24h]")
@click.option("--leader-election", metavar="LEASE,RENEW,RETRY", help="Such as 120s,80s,10s.")
@click.option("--ignore-preflight-error", metavar="NAME", multiple=True, help="Of kubeadm.")
@click.option("--out", type=FOLDER, default="nodes", show_default=True, help="Where NAME/ goes.")
@click.option("--secrets", type=FOLDER, help="Folder of tokens and keys.  [default: OUT/secrets]")
@click.option(
    "--seed", type=KINDS_OR_NONE, default="none", show_default=True, help="Also pack a seed.iso."
)
@json_option
@click.pass_obj
def user_data(
    app: App,
    /,
    out: Path,
    secrets: Path | None,
    seed: Literal["nocloud", "config-drive", "none"],
    as_json: bool,
    **given: Any,
) -> None:
    """Write user-data, meta-data and network-config of one node.

    A first control plane makes the cluster; its token and keys are made if the folder of secrets
    has none. All others join it and need that folder, or the same secrets from the environment. If
    further control planes follow, begin with "isobuilder node secrets OUT/secrets": only then the
    first one offers them its certificates. For more than a few options write a file for
    "isobuilder node cluster".
    """
    from isobuilder.pipeline.cluster import cluster_from_options, make_nodes

    if (
        given["cni"] == "bridge"
        and given["pod_subnet"] is None
        and given["role"] != "first-control-plane"
    ):
        raise UsageProblem(
            "--cni bridge: no --pod-subnet for a node that joins",
            hint="give each node its own part of the pod network, such as 10.244.1.0/24",
        )
    found = cluster_from_options(_options(given))
    made = make_nodes(found, out, base=Path(), secrets_folder=secrets, seed=_kind(seed))
    facts = {"name": found.name, "kubernetes": str(found.kubernetes), "endpoint": found.api}
    _show(app, facts, made, as_json=as_json)


@node.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--kind", type=KINDS, default="nocloud", show_default=True, help="Form of the disc.")
@click.option("--out", type=NEW_FILE, help="The ISO.  [default: FOLDER/seed.iso]")
def seed(folder: Path, kind: SeedKind, out: Path | None) -> None:
    """Pack user-data, meta-data and network-config in FOLDER as a disc for cloud-init."""
    from isobuilder.pipeline.cluster import make_seed

    click.echo(make_seed(folder, out or folder / "seed.iso", kind=kind))


@node.command()
@click.argument("folder", type=FOLDER)
@click.option("--no-ca", is_flag=True, help="Make no certificate authority.")
def secrets(folder: Path, no_ca: bool) -> None:
    """Make in FOLDER the token and keys of a new cluster; what is there stays."""
    from isobuilder.pipeline.cluster import make_secrets

    for path in make_secrets(folder, authority=not no_ca):
        click.echo(path)


@node.command()
@click.pass_obj
def schema(app: App) -> None:
    """Print the JSON Schema of cluster files, for editors."""
    from isobuilder.model.cluster import cluster_schema

    app.show_json(cluster_schema())


_Change = Callable[[Any], Any]


def _pairs(flag: str, left: str, right: str) -> _Change:
    """Return what turns ``A=B`` into a map with the keys ``left`` and ``right``."""
    return lambda texts: [
        dict(zip((left, right), _split(text, flag), strict=True)) for text in texts
    ]


def _map(flag: str) -> _Change:
    return lambda texts: dict(_split(text, flag, may_be_empty=True) for text in texts)


def _election(text: str) -> dict[str, str]:
    values = text.split(",")
    if len(values) != 3:
        raise UsageProblem(f"--leader-election: expected three times, got {text!r}")
    return dict(zip(("lease", "renew", "retry"), values, strict=True))


_PLACES: dict[str, tuple[tuple[str, ...], _Change | None]] = {
    "role": (("node", "role"), None),
    "name": (("node", "name"), None),
    "kubernetes": (("kubernetes",), None),
    "endpoint": (("endpoint",), None),
    "cluster_name": (("name",), None),
    "address": (("node", "address"), None),
    "gateway": (("networks", "nodes", "gateway"), None),
    "nameserver": (("networks", "nodes", "nameservers"), None),
    "search": (("networks", "nodes", "search"), None),
    "mac": (("node", "mac"), None),
    "interface": (("node", "interface"), None),
    "mtu": (("networks", "nodes", "mtu"), None),
    "route": (("node", "routes"), _pairs("--route", "to", "via")),
    "pod_network": (("networks", "pods"), None),
    "service_network": (("networks", "services"), None),
    "cni": (("cni",), None),
    "pod_subnet": (("node", "pods"), None),
    "label": (("node", "labels"), _map("--label")),
    "taint": (("node", "taints"), None),
    "http_proxy": (("proxy", "http"), None),
    "https_proxy": (("proxy", "https"), None),
    "no_proxy": (("proxy", "none"), None),
    "ca_certificate": (("ca_certificates",), None),
    "extra": (("node", "files"), _pairs("--file", "path", "source")),
    "before": (("node", "commands", "before"), None),
    "after": (("node", "commands", "after"), None),
    "ca_hash": (("ca_hash",), None),
    "token_ttl": (("token_ttl",), None),
    "leader_election": (("leader_election",), _election),
    "ignore_preflight_error": (("ignore_preflight_errors",), None),
}


def _options(given: dict[str, Any]) -> Iterator[Option]:
    """Return what was given, at its place in a cluster's description."""
    from isobuilder.pipeline.cluster import Option

    for name in ("http_proxy", "https_proxy"):
        if given[name] and "@" in given[name]:
            raise UsageProblem(
                f"--{name.replace('_', '-')}: a password there shows in the list of processes",
                hint="write a cluster file with proxy, and use isobuilder node cluster",
            )
    for name, (steps, change) in _PLACES.items():
        value = given[name]
        if value is None or value == ():
            continue
        flag = "--file" if name == "extra" else "--" + name.replace("_", "-")
        yield Option(steps, value if change is None else change(value), flag)
    if given["no_taints"]:
        if given["taint"]:
            raise UsageProblem("--taint and --no-taints at once")
        yield Option(("node", "taints"), [], "--no-taints")
    if given["no_verify_ca"]:
        yield Option(("verify_ca",), value=False, flag="--no-verify-ca")
    if given["user"] or given["ssh_key"]:
        user = {"name": given["user"] or "admin", "ssh_key_files": list(given["ssh_key"])}
        yield Option(("users",), [user], "--user")
    registries: dict[str, dict[str, Any]] = {}
    for text in given["registry_mirror"]:
        host, address = _split(text, "--registry-mirror")
        registries.setdefault(host, {}).setdefault("mirrors", []).append(address)
    for text in given["registry_ca"]:
        host, file = _split(text, "--registry-ca")
        registries.setdefault(host, {})["ca"] = file
    if registries:
        yield Option(("registries",), registries, "--registry-mirror")


def _split(text: str, flag: str, *, may_be_empty: bool = False) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not (left and equals and (right or may_be_empty)):
        raise UsageProblem(f"{flag}: expected two values with = between, got {text!r}")
    return left, right


def _kind(text: Literal["nocloud", "config-drive", "none"]) -> SeedKind | None:
    return None if text == "none" else text


def _show(app: App, facts: dict[str, Any], made: Sequence[MadeNode], *, as_json: bool) -> None:
    if as_json:
        nodes = [
            {
                "name": one.node.name,
                "role": one.node.role,
                "address": one.node.ip,
                "instance": one.instance,
                "folder": str(one.folder),
                "seed": None if one.seed is None else str(one.seed),
            }
            for one in made
        ]
        app.show_json({**facts, "nodes": nodes})
        return
    rows = [
        (one.node.name, one.node.role, one.node.ip or "by DHCP", str(one.seed or one.folder))
        for one in made
    ]
    click.echo(table(rows, ("NAME", "ROLE", "ADDRESS", "WHERE")))
