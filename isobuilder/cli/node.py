"""``isobuilder node``: what cloud-init reads on machines that boot the ISO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from isobuilder.cli.app import FILE, FOLDER, NEW_FILE, App, AppGroup, WholeNumber, json_option
from isobuilder.cli.telling import table, tell, tell_path, tell_text
from isobuilder.errors import UsageProblem

if TYPE_CHECKING:
    from isobuilder.nodeconfig.seed import SeedKind
    from isobuilder.pipeline.cluster import MadeNode, Option

_ROLES = click.Choice(["first-control-plane", "control-plane", "worker"])
KINDS = click.Choice(["nocloud", "config-drive"])
_KINDS_OR_NONE = click.Choice(["nocloud", "config-drive", "none"])


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
    "--seed", type=_KINDS_OR_NONE, default="nocloud", show_default=True, help="Form of seed.iso."
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
@click.option("--role", type=_ROLES, required=True, help="What the node becomes.")
@click.option("--name", required=True, help="Host name, and name of the node.")
@click.option("--kubernetes", metavar="VERSION", required=True, help="Of the ISO, such as 1.34.12.")
@click.option("--endpoint", metavar="HOST[:PORT]", help="Of the API; needed to join.")
@click.option("--address", metavar="IP/PREFIX", help="Fixed address.  [default: by DHCP]")
@click.option("--gateway", metavar="IP", help="Default route; needed with --address.")
@click.option("--nameserver", metavar="IP", multiple=True, help="DNS server.")
@click.option("--ssh-key", metavar="FILE", multiple=True, help="Public keys of the user admin.")
@click.option(
    *("--set", "settings"),
    metavar="PATH=VALUE",
    multiple=True,
    help="Any other key of a cluster file, such as nodes.0.labels={rack: a1}.",
)
@click.option("--out", type=FOLDER, default="nodes", show_default=True, help="Where NAME/ goes.")
@click.option("--secrets", type=FOLDER, help="Folder of tokens and keys.  [default: OUT/secrets]")
@click.option(
    "--seed", type=_KINDS_OR_NONE, default="none", show_default=True, help="Also pack a seed.iso."
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
    "isobuilder node cluster"; its keys are what --set takes, and the node is nodes.0 there.
    """
    from isobuilder.pipeline.cluster import cluster_from_options, make_nodes

    options = tuple(_options(given))
    _check_options(options)
    found = cluster_from_options(options)
    made = make_nodes(found, out, base=None, secrets_folder=secrets, seed=_kind(seed))
    facts = {"name": found.name, "kubernetes": str(found.kubernetes), "endpoint": found.api}
    _show(app, facts, made, as_json=as_json)


@node.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--kind", type=KINDS, default="nocloud", show_default=True, help="Form of the disc.")
@click.option("--out", type=NEW_FILE, help="The ISO.  [default: FOLDER/seed.iso]")
def seed(folder: Path, kind: SeedKind, out: Path | None) -> None:
    """Pack user-data, meta-data and network-config in FOLDER as a disc for cloud-init."""
    from isobuilder.cli.outputs import refuse_same
    from isobuilder.pipeline.cluster import PARTS, make_seed

    target = out or folder / "seed.iso"
    refuse_same("--out", target, "FOLDER", (folder / name for name in PARTS))
    tell_path(make_seed(folder, target, kind=kind))


@node.command()
@click.argument("folder", type=FOLDER)
@click.option("--no-ca", is_flag=True, help="Make no certificate authority.")
def secrets(folder: Path, no_ca: bool) -> None:
    """Make in FOLDER the token and keys of a new cluster; what is there stays."""
    from isobuilder.nodeconfig.secrets import make_secrets

    for path in make_secrets(folder, authority=not no_ca):
        tell_path(path)


@node.command()
@click.argument("description", metavar="FILE", type=FILE)
@click.option(
    "--secrets",
    type=FOLDER,
    default="nodes/secrets",
    show_default=True,
    help="Folder with the cluster's certificate authority.",
)
@click.option("--user", default="admin", show_default=True, help="Who it is for.")
@click.option(
    "--days",
    type=WholeNumber(1, 3650),
    default=365,
    show_default=True,
    help="How long it is good.",
)
@click.option(
    "--out", type=NEW_FILE, default="admin.conf", show_default=True, help="The file to write."
)
def kubeconfig(description: Path, secrets: Path, user: str, days: int, out: Path) -> None:
    """Write a kubeconfig for the cluster that FILE describes.

    It is made from the certificate authority in the folder of secrets; no node is asked. Whoever
    has it may do anything in the cluster.
    """
    from isobuilder.model.cluster_checks import load_cluster
    from isobuilder.nodeconfig.kubeconfig import write_kubeconfig

    if out.resolve().is_relative_to(secrets.resolve()):
        raise UsageProblem(
            f"{out}: is in {secrets}, where the keys of the cluster are",
            hint="name a file elsewhere with --out",
        )
    write_kubeconfig(load_cluster(description), secrets, out, user=user, days=days)
    tell_path(out)


@node.command()
@click.argument("iso", type=FILE)
@click.option("--cluster", type=FILE, help="The cluster file, if all nodes are as it says.")
@click.option("--nodes", type=FILE, help="What kubectl get nodes -o json prints.")
@json_option
@click.pass_obj
def upgrade(
    app: App, iso: Path, cluster: Path | None, nodes: Path | None, *, as_json: bool
) -> None:
    """Say how a running cluster gets to ISO: what to do on which node, in which order.

    The commands call a script that ISO carries. It checks everything again on the node itself
    (versions, certificates, images, room), and every command may be given again: after an
    interruption it goes on where it was. Clusters of Mold are upgraded by Mold.
    """
    from isobuilder.pipeline.upgrade import plan_upgrade

    if (cluster is None) == (nodes is None):
        raise UsageProblem(
            "expected either --cluster or --nodes",
            hint="kubectl get nodes -o json > nodes.json, then --nodes nodes.json",
        )
    plan = plan_upgrade(iso, cluster=cluster, nodes=nodes)
    if as_json:
        app.show_json(plan)
        return
    if not plan["steps"]:
        tell(f"nothing to do: all nodes have v{plan['to']}")
        return
    tell(f"Kubernetes {plan['from']} -> {plan['to']}, from {plan['iso']}")
    tell()
    for step in plan["steps"]:
        tell(f"{step['number']:3}. on {step['node']}: {step['what']}")
        tell(f"     {step['command']}")
    tell()
    for note in plan["notes"]:
        tell(f"- {note}")


@node.command()
@click.pass_obj
def schema(app: App) -> None:
    """Print the JSON Schema of cluster files, for editors."""
    from isobuilder.model.cluster import cluster_schema

    app.show_json(cluster_schema())


_PLACES = {
    "role": ("nodes", "0", "role"),
    "name": ("nodes", "0", "name"),
    "kubernetes": ("kubernetes",),
    "endpoint": ("endpoint",),
    "address": ("nodes", "0", "address"),
    "gateway": ("networks", "nodes", "gateway"),
    "nameserver": ("networks", "nodes", "nameservers"),
    "ssh_key": ("users", "0", "ssh_key_files"),
}
"""Where the plain options stand in a cluster file."""


def _options(given: dict[str, Any]) -> Iterator[Option]:
    """Return what was given, at its place in a cluster's description."""
    from isobuilder.pipeline.cluster import Option, parse_setting

    if given["ssh_key"]:
        yield Option(("users", "0", "name"), "admin", "--ssh-key")
    for name, steps in _PLACES.items():
        if given[name] not in {None, ()}:
            yield Option(steps, given[name], "--" + name.replace("_", "-"))
    yield from map(parse_setting, given["settings"])


def _check_options(options: Sequence[Option]) -> None:
    """Refuse what would be right in a file and is not on the command line."""
    values = {option.steps: option.value for option in options}
    for option in options:
        if option.steps[0] == "proxy" and "@" in str(option.value):
            raise UsageProblem(
                f"{option.flag}: a password there shows in the list of processes",
                hint="write a cluster file with proxy, and use isobuilder node cluster",
            )
    joins = values["nodes", "0", "role"] != "first-control-plane"
    if joins and values.get(("cni",)) == "bridge" and ("nodes", "0", "pods") not in values:
        raise UsageProblem(
            "--set cni=bridge: no part of the pod network for a node that joins",
            hint="give each node its own: --set nodes.0.pods=10.244.1.0/24",
        )


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
    tell_text(table(rows, ("NAME", "ROLE", "ADDRESS", "WHERE")))
