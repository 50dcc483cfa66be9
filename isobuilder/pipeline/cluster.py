"""Nodes: from a cluster's description to what cloud-init reads on each machine.

Everything written here may hold secrets: every file is for its owner only, and so are new folders.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isobuilder.documents.mistakes import Mark
from isobuilder.documents.nodes import Items, Map, Node, Pair, node_of, plain
from isobuilder.documents.text import yaml_text
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from isobuilder.model.cluster import Cluster, ClusterNode
from isobuilder.model.cluster_checks import cluster_of, load_cluster
from isobuilder.model.reading import MAX_YAML, MIB, read_bytes, yaml_map
from isobuilder.nodeconfig.access import (
    Access,
    Authority,
    check_certificate_key,
    check_token,
    new_certificate_key,
    new_token,
    public_key_hash,
)
from isobuilder.nodeconfig.network import network_config, network_data
from isobuilder.nodeconfig.seed import (
    LABELS,
    META_DATA,
    NETWORK_CONFIG,
    NETWORK_DATA,
    USER_DATA,
    SeedKind,
    json_text,
    seed_files,
)
from isobuilder.nodeconfig.userdata import node_files, sources_of
from isobuilder.run import find_program, run
from isobuilder.store import disk_problem

TOKEN, CERTIFICATE_KEY = "token", "certificate-key"
SEED = "seed.iso"
CA_CERTIFICATE, CA_KEY = "ca.crt", "ca.key"
TOKEN_VARIABLE, KEY_VARIABLE = "ISOBUILDER_NODE_TOKEN", "ISOBUILDER_NODE_CERTIFICATE_KEY"

_SEED_EPOCH = 0  # seconds; a seed has no date, so that the same files give the same disc
_SECONDS = 60.0  # an authority is made in less than one

_CA_REQUEST = """\
[req]
prompt = no
distinguished_name = name
x509_extensions = authority
[name]
CN = kubernetes
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,digitalSignature,keyEncipherment,keyCertSign
subjectKeyIdentifier = hash
"""


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

    steps: tuple[str, ...]  # ("node", ...): of its only node
    value: Any
    flag: str  # what messages call it


def cluster_from_options(options: Iterable[Option]) -> Cluster:
    """Return the cluster of one node that ``options`` describe.

    Raises:
        InputErrors: all that is wrong with them, each with its flag.
    """
    root: dict[str, Pair] = {}
    origin = Mark("options")
    _put(root, ("schema",), node_of(1, origin))
    for option in options:
        _put(root, option.steps, node_of(option.value, Mark(option.flag)))
    only = root.pop("node", Pair(origin, Map({}, origin)))
    root["nodes"] = Pair(origin, Items((only.value,), origin))
    return cluster_of(Map(root, origin))


def _put(entries: dict[str, Pair], steps: tuple[str, ...], value: Node) -> None:
    head, *rest = steps
    if not rest:
        entries[head] = Pair(value.mark, value)
        return
    inner = entries.setdefault(head, Pair(value.mark, Map({}, value.mark))).value
    if isinstance(inner, Map):
        _put(inner.entries, tuple(rest), value)


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
    cluster: Cluster, out: Path, *, base: Path, secrets_folder: Path | None, seed: SeedKind | None
) -> tuple[MadeNode, ...]:
    """Write user-data, meta-data and network-config of each node to a folder named so in ``out``.

    Files that ``cluster`` names are looked for from ``base``. Secrets come from the environment,
    then from ``secrets_folder`` (``out/secrets`` if None); what a new cluster lacks is made and
    kept there, so a second call gives the same files. With ``seed`` each folder gets a
    ``seed.iso``.

    Raises:
        InputError: a named file or secret is missing or is not what it should be.
        EnvironmentProblem: a folder may not be written, or openssl is not there.
    """
    sources = {name: read_bytes(base / name, MAX_YAML) for name in sources_of(cluster)}
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
        if len(texts.user_data) > MAX_YAML:
            raise InputError(
                f"{node.name}: its user-data would have {len(texts.user_data)} bytes; "
                f"expected at most {MAX_YAML // MIB} MiB",
                hint="let commands.before fetch what is large",
            )
        if seed is not None:
            seed_files(seed, found, texts.meta_data, node.name)  # refuse before anything is written
        plans.append((node, texts.meta_data["instance-id"], found))
    made = []
    for node, instance, found in plans:
        folder = _private_folder(out / node.name)
        for name in (USER_DATA, META_DATA, NETWORK_CONFIG, NETWORK_DATA):
            if name in found:
                _write_private(folder / name, found[name])
            else:
                (folder / name).unlink(missing_ok=True)
        (folder / SEED).unlink(missing_ok=True)  # of an earlier call, with other contents
        _ask_cloud_init(folder / USER_DATA)
        disc = None if seed is None else _pack(folder, folder / SEED, kind=seed)
        made.append(MadeNode(node, instance, folder, disc))
    return tuple(made)


def make_seed(folder: Path, target: Path, *, kind: SeedKind) -> Path:
    """Pack the files of one node into an ISO that cloud-init reads, and return its path.

    The same files give the same bytes.

    Raises:
        InputError: user-data or meta-data is missing or wrong, or the kind cannot hold the network.
        EnvironmentProblem: ``target`` cannot be written.
    """
    if read_bytes(folder / USER_DATA, MAX_YAML).startswith(b"#cloud-config\n"):
        _ask_cloud_init(folder / USER_DATA)  # somebody may have changed it by hand
    return _pack(folder, target, kind=kind)


def _pack(folder: Path, target: Path, *, kind: SeedKind) -> Path:
    found = {
        name: read_bytes(folder / name, MAX_YAML)
        for name in (USER_DATA, META_DATA, NETWORK_CONFIG, NETWORK_DATA)
        if name in {USER_DATA, META_DATA} or (folder / name).is_file()
    }
    meta = plain(yaml_map(found[META_DATA], str(folder / META_DATA)))
    entries = [
        IsoEntry(path, 0o644, (data,))
        for path, data in seed_files(kind, found, meta, str(folder)).items()
    ]
    try:
        # Made in a folder that only its owner enters, because it holds what user-data holds.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".isobuilder-seed-") as name:
            disc = write_iso(
                entries, Path(name) / "seed.iso", label=LABELS[kind], epoch=_SEED_EPOCH
            ).path
            disc.chmod(0o600)
            disc.replace(target)
    except OSError as error:
        raise disk_problem(error, target) from error
    return target


def make_secrets(folder: Path, *, authority: bool) -> tuple[Path, ...]:
    """Make in ``folder`` what a new cluster needs and has not, and return all secrets' paths.

    Raises:
        InputError: a secret that is there has not the right form.
        EnvironmentProblem: ``folder`` may not be written, or openssl is not there.
    """
    _kept(folder, TOKEN, new_token)
    _kept(folder, CERTIFICATE_KEY, new_certificate_key)
    names = [TOKEN, CERTIFICATE_KEY]
    if authority:
        _authority(folder, makes=True)
        names += [CA_CERTIFICATE, CA_KEY]
    return tuple(folder / name for name in names)


def find_access(cluster: Cluster, folder: Path) -> Access:
    """Return the secrets of ``cluster``: of the environment, of ``folder``, or made and kept there.

    Only a cluster that begins with these nodes gets new ones.

    Raises:
        InputError: a secret is missing, or has not the right form.
        EnvironmentProblem: ``folder`` may not be written, or openssl is not there.
    """
    makes = cluster.first is not None
    token = _secret(folder, TOKEN, TOKEN_VARIABLE)
    if token is None and not makes:
        raise _missing("bootstrap token", folder / TOKEN, TOKEN_VARIABLE, "kubeadm token create")
    if token is None:
        token = _kept(folder, TOKEN, new_token)
    key = _secret(folder, CERTIFICATE_KEY, KEY_VARIABLE)
    if key is None and any(node.role == "control-plane" for node in cluster.nodes):
        if not makes:
            way = "kubeadm init phase upload-certs --upload-certs"
            early = f"before its data is made: isobuilder node secrets {folder}; once it runs, "
            raise _missing("certificate key", folder / CERTIFICATE_KEY, KEY_VARIABLE, way, early)
        key = _kept(folder, CERTIFICATE_KEY, new_certificate_key)
    authority, known = None, cluster.ca_hash
    if cluster.verify_ca and known is None:
        authority = _authority(folder, makes=makes)
        known = authority.hash
    return Access(token, key, authority, known if cluster.verify_ca else None)


def _missing(what: str, path: Path, variable: str, way: str, early: str = "") -> InputError:
    return InputError(
        f"no {what} to join with: neither {path} nor {variable} in the environment",
        hint=f"{early}on the first control plane: {way}",
    )


def _secret(folder: Path, name: str, variable: str) -> str | None:
    check = check_token if name == TOKEN else check_certificate_key
    if text := os.environ.get(variable):
        return check(text, variable)
    path = folder / name
    return check(_read_secret(path), str(path)) if path.exists() else None


def _read_secret(path: Path) -> str:
    return read_bytes(path, 1024 * 1024).decode("utf-8", "replace")


def _kept(folder: Path, name: str, make: Callable[[], str]) -> str:
    path = folder / name
    if not path.exists():
        _private_folder(folder)
        _write_private(path, f"{make()}\n".encode())
    check = check_token if name == TOKEN else check_certificate_key
    return check(_read_secret(path), str(path))


def _authority(folder: Path, *, makes: bool) -> Authority:
    """Return the authority in ``folder``; a cluster that begins gets a new one if there is none."""
    certificate, key = folder / CA_CERTIFICATE, folder / CA_KEY
    if not certificate.exists() and not makes:
        raise InputError(
            f"nothing says which certificate authority the cluster has: no {certificate}",
            hint="put the cluster's /etc/kubernetes/pki/ca.crt there, or give its hash as ca_hash "
            "(--ca-hash); verify_ca: false (--no-verify-ca) joins whoever answers",
        )
    if not certificate.exists() and not key.exists():
        _new_authority(folder)
    if makes and not (certificate.exists() and key.exists()):
        raise InputError(
            f"{folder}: only one of {CA_CERTIFICATE} and {CA_KEY}; a new cluster needs both",
            hint="put the other one there, or remove both to have new ones",
        )
    public = _public_key(certificate, "x509", "-noout", "-pubkey")
    if key.exists() and _public_key(key, "pkey", "-pubout") != public:
        raise InputError(
            f"{folder}: {CA_KEY} is not the key of {CA_CERTIFICATE}",
            hint="put the right one there, or remove both to have new ones",
        )
    return Authority(
        certificate=_read_secret(certificate),
        hash=public_key_hash(public, str(certificate)),
        key=_read_secret(key) if key.exists() else None,
    )


def _public_key(path: Path, command: str, *options: str) -> str:
    """Return the public key in a certificate (``x509``) or of a private key (``pkey``)."""
    read_bytes(path, MIB)  # says so if it cannot be read
    find_program("openssl")
    try:
        # No passphrase, and nobody is asked for one: kubeadm cannot ask either.
        argv: list[str | Path] = ["openssl", command, "-in", path, *options, "-passin", "pass:"]
        return run(argv, timeout=_SECONDS)
    except EnvironmentProblem as error:
        what = "certificate" if command == "x509" else "private key without a passphrase"
        raise InputError(f"{path}: expected a {what} in PEM form") from error


def _new_authority(folder: Path) -> None:
    """Make a certificate authority as kubeadm would, so that nodes can know it beforehand."""
    find_program("openssl")
    _private_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".isobuilder-ca-") as name:
        work = Path(name)
        (work / "request").write_text(_CA_REQUEST, encoding="ascii")
        argv: list[str | Path] = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
        argv += ["-days", "3650", "-set_serial", f"0x{secrets.token_hex(8)}"]
        argv += ["-config", work / "request", "-keyout", work / CA_KEY]
        run([*argv, "-out", work / CA_CERTIFICATE], timeout=_SECONDS)
        for file in (CA_KEY, CA_CERTIFICATE):  # the certificate last: with it there are both
            _write_private(folder / file, (work / file).read_bytes())


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


def _private_folder(folder: Path) -> Path:
    """Make ``folder`` for its owner only; one that is there stays as it is, its files are private.

    It may be anything, such as /tmp or a home, whose mode is for others to choose.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise disk_problem(error, folder) from error
    return folder


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise disk_problem(error, path) from error
