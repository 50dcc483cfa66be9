"""Nodes: from a cluster's description to what cloud-init reads on each machine.

Everything written here may hold secrets: every file is for its owner only, and so are new folders.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isobuilder.documents.mistakes import Mark
from isobuilder.documents.nodes import Items, Map, Node, Pair, node_of, plain
from isobuilder.documents.plain_yaml import MAX_YAML, yaml_map
from isobuilder.documents.text import yaml_text
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.files import as_environment_problem, below, private_folder, read_bytes, write_whole
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from isobuilder.model.cluster import Cluster, ClusterNode
from isobuilder.model.cluster_checks import cluster_of, load_cluster
from isobuilder.nodeconfig.network import network_config, network_data
from isobuilder.nodeconfig.secrets import find_access
from isobuilder.nodeconfig.seed import (
    LABELS,
    META_DATA,
    NETWORK_CONFIG,
    NETWORK_DATA,
    USER_DATA,
    VENDOR_DATA,
    SeedKind,
    json_text,
    seed_files,
)
from isobuilder.nodeconfig.userdata import node_files, sources_of
from isobuilder.run import find_program, run

_log = logging.getLogger(__name__)

SEED = "seed.iso"
PARTS = (USER_DATA, META_DATA, VENDOR_DATA, NETWORK_CONFIG, NETWORK_DATA)  # of a seed, as files

_SEED_EPOCH = 0  # seconds; a seed has no date, so that the same files give the same disc
_SHOWN = 10  # names of files that a line tells
_SECONDS = 60.0  # cloud-init looks for less than ten


@dataclass(frozen=True, slots=True)
class MadeNode:
    """What was written for one node."""

    node: ClusterNode
    instance: str
    folder: Path  # user-data, meta-data, network-config
    seed: Path | None


@dataclass(frozen=True, slots=True)
class Option:
    """A value of a cluster's description that came from the command line."""

    steps: tuple[str, ...]  # keys, and positions in lists: ("nodes", "0", "address")
    value: Any
    flag: str  # what messages call it


def parse_setting(text: str) -> Option:
    """Return what ``nodes.0.address=10.0.0.5/24`` sets; the value is YAML, such as ``[a, b]``.

    Raises:
        InputError: it has another form.
    """
    path, equals, value = text.partition("=")
    steps = tuple(path.split("."))
    flag = f"--set {path}"
    if not equals or not all(steps):
        raise InputError(
            f"{flag}: expected a path in a cluster file and a value, as in cni=bridge",
            hint="a key with a dot in it goes into the value: nodes.0.labels={example.org/a: b}",
        )
    entries = yaml_map(f"value: {value}".encode(), flag).entries
    if list(entries) != ["value"]:
        raise InputError(f"{flag}: expected one value, found several lines")
    return Option(steps, plain(entries["value"].value), flag)


def cluster_from_options(options: Iterable[Option]) -> Cluster:
    """Return the cluster of one node that ``options`` describe; of two for one place the last.

    Raises:
        InputErrors: all that is wrong with them, each with its flag.
        InputError: an option goes into a value that another one gave.
    """
    root = _Branch(Mark("options"))
    root.put(Option(("schema",), 1, "options"))
    for option in options:
        root.put(option)
    tree = root.node()
    return cluster_of(tree if isinstance(tree, Map) else Map({}, root.mark))


@dataclass(slots=True)
class _Branch:
    """What options put below one place."""

    mark: Mark
    below: dict[str, _Branch | Node] = field(default_factory=dict)

    def put(self, option: Option) -> None:
        mark, branch = Mark(option.flag), self
        for step in option.steps[:-1]:
            inner = branch.below.setdefault(step, _Branch(mark))
            if not isinstance(inner, _Branch):
                raise InputError(f"{option.flag}: {inner.mark} gives all of {step}")
            branch = inner
        branch.below[option.steps[-1]] = node_of(option.value, mark)

    def node(self) -> Node:
        """Return it as a list where all keys are positions, else as a map."""
        inner = {
            key: value.node() if isinstance(value, _Branch) else value
            for key, value in self.below.items()
        }
        positions = [str(number) for number in range(len(inner))]
        if set(inner) == set(positions):
            return Items(tuple(inner[position] for position in positions), self.mark)
        return Map({key: Pair(value.mark, value) for key, value in inner.items()}, self.mark)


def make_cluster(
    description: Path, out: Path, *, secrets_folder: Path | None, seed: SeedKind | None
) -> tuple[Cluster, tuple[MadeNode, ...]]:
    """Write what every node of the cluster in ``description`` needs below ``out``.

    Raises:
        InputErrors: all that is wrong with the description.
        InputError, EnvironmentProblem: as ``make_nodes``.
    """
    cluster = load_cluster(description)
    made = make_nodes(
        cluster, out, base=description.parent, secrets_folder=secrets_folder, seed=seed
    )
    return cluster, made


def make_nodes(
    cluster: Cluster,
    out: Path,
    *,
    base: Path | None,
    secrets_folder: Path | None,
    seed: SeedKind | None,
) -> tuple[MadeNode, ...]:
    """Write user-data, meta-data and network-config of each node to a folder named so in ``out``.

    Files that ``cluster`` names lie below ``base``; None is for names from the command line, which
    may be any. Secrets come from the environment, then from ``secrets_folder`` (``out/secrets`` if
    None); what a new cluster lacks is made and kept there, so a second call gives the same files.
    With ``seed`` each folder gets a ``seed.iso``.

    Raises:
        InputError: a named file or secret is missing or is not what it should be.
        EnvironmentProblem: a folder may not be written, or openssl is not there.
    """
    sources = {name: _named_file(base, name) for name in sources_of(cluster)}
    access = find_access(cluster, secrets_folder or out / "secrets")
    plans = []
    for node in cluster.nodes:
        network = yaml_text(network_config(cluster, node)).encode()
        texts = node_files(cluster, node, access, sources, network)
        found = {
            USER_DATA: texts.user_data,
            META_DATA: yaml_text(dict(texts.meta_data)).encode(),
            NETWORK_CONFIG: network,
        }
        data = network_data(cluster, node)
        if data is not None:
            found[NETWORK_DATA] = json_text(data)
        if cluster.vendor_data is not None:
            found[VENDOR_DATA] = sources[cluster.vendor_data]
        if len(texts.user_data) > MAX_YAML:
            raise InputError(
                f"{node.name}: its user-data would have {len(texts.user_data)} bytes; "
                f"expected at most {MAX_YAML // 1024**2} MiB",
                hint="let commands.before fetch what is large",
            )
        disc = seed_files(seed or "nocloud", found, texts.meta_data, node.name)
        plans.append((node, texts.meta_data["instance-id"], found, disc))
    made = []  # nothing was written so far
    for node, instance, found, disc in plans:
        folder = private_folder(out / node.name)
        for name in PARTS:
            if name in found:
                write_whole(folder / name, found[name], private=True)
            else:
                (folder / name).unlink(missing_ok=True)
        (folder / SEED).unlink(missing_ok=True)  # of an earlier call, with other contents
        _ask_cloud_init(folder / USER_DATA)
        if seed is not None:
            _pack(disc, folder / SEED, seed)
        made.append(MadeNode(node, instance, folder, folder / SEED if seed else None))
    return tuple(made)


def _named_file(base: Path | None, name: str) -> bytes:
    path = Path(name) if base is None else below(base, name)
    if path is None:
        raise InputError(
            f"{name}: leads out of {base}, the folder of the cluster file",
            hint="copy the file there: a cluster file that somebody sends reads nothing else of "
            "this machine",
        )
    return read_bytes(path, MAX_YAML)


def make_seed(folder: Path, target: Path, *, kind: SeedKind) -> Path:
    """Pack the files of one node into an ISO that cloud-init reads, and return its path.

    The same files give the same bytes. What else lies in ``folder`` is told, and not on the disc.

    Raises:
        InputErrors: the network is none that cloud-init takes.
        InputError: user-data or meta-data is missing or wrong, or the kind cannot hold the network.
        EnvironmentProblem: ``target`` cannot be written.
    """
    if read_bytes(folder / USER_DATA, MAX_YAML).startswith(b"#cloud-config\n"):
        _ask_cloud_init(folder / USER_DATA)  # somebody may have changed it by hand
    found = {
        name: read_bytes(folder / name, MAX_YAML)
        for name in PARTS
        if name in {USER_DATA, META_DATA} or (folder / name).is_file()
    }
    meta = plain(yaml_map(found[META_DATA], str(folder / META_DATA)))
    disc = seed_files(kind, found, meta, str(folder))
    _tell_left_out(folder, target, found, kind)
    _pack(disc, target, kind)
    return target


def _tell_left_out(folder: Path, target: Path, found: Mapping[str, bytes], kind: SeedKind) -> None:
    """Tell what lies among the files of a node and is nothing that cloud-init would look for."""
    taken = {*found, SEED, *([target.name] if target.parent.resolve() == folder.resolve() else [])}
    if kind == "nocloud" and NETWORK_CONFIG not in found:
        taken.discard(NETWORK_DATA)  # a network, in the form of another kind of disc
    with as_environment_problem(folder):
        others = sorted(path.name for path in folder.iterdir() if path.name not in taken)
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        names = ", ".join(others[:_SHOWN])
        _log.warning("%s: not on the disc, which has no place for it: %s%s", folder, names, more)


def _pack(disc: Mapping[str, bytes], target: Path, kind: SeedKind) -> None:
    """Write what lies on a seed disc, by path, as the ISO ``target``."""
    entries = [IsoEntry(path, 0o644, (data,)) for path, data in disc.items()]
    # Made in a folder that only its owner enters, because it holds what user-data holds.
    with (
        as_environment_problem(target),
        tempfile.TemporaryDirectory(dir=target.parent, prefix=".isobuilder-seed-") as name,
    ):
        scratch = Path(name) / SEED
        write_iso(entries, scratch, label=LABELS[kind], epoch=_SEED_EPOCH)
        scratch.chmod(0o600)
        scratch.replace(target)


def _ask_cloud_init(user_data: Path) -> None:
    """Let cloud-init check the file, where this machine has it."""
    try:
        program = find_program("cloud-init")
    except EnvironmentProblem:
        return
    try:
        run([program, "schema", "--config-file", user_data], timeout=_SECONDS)
    except EnvironmentProblem as error:
        said = str(error)
        while (short := re.sub(r"\{[^{}]*\}", "(...)", said)) != said:
            said = short  # it shows what it refuses as a whole, passwords of users as well
        raise InputError(f"cloud-init refuses {user_data}: {said}") from None
