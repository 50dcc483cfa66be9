"""This machine: what isobuilder can do on it, and what is missing for the rest."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from isobuilder.errors import EnvironmentProblem
from isobuilder.machine.osbuild import KEYRING
from isobuilder.machine.qemu import firmware_files
from isobuilder.model.architecture import ARCHITECTURES, host_architecture
from isobuilder.run import PACKAGES, can_confine, find_program

_GIB = 1024**3
_ROOM = 4 * _GIB  # a Kubernetes release takes about 1 GiB, in the store and on its ISO
_HELM = "https://helm.sh/docs/intro/install: Debian has no package of it"
_NAMESPACES = (
    "let users make user namespaces: sysctl kernel.unprivileged_userns_clone=1, on Ubuntu "
    "kernel.apparmor_restrict_unprivileged_userns=0; in a container, its runtime has to"
)


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing that is not here, and how it gets here."""

    what: str
    package: str | None = None  # of Debian and Ubuntu
    extra: str | None = None  # of isobuilder's own Python package
    remedy: str | None = None  # where it is neither


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that isobuilder does where a machine has what it takes."""

    name: str
    does: str
    lacks: tuple[Lack, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def here(self) -> bool:
        """Whether this machine can do it."""
        return not self.lacks


def abilities(store: Path) -> list[Ability]:
    """Return everything that depends on the machine, with what is missing for it here.

    Nothing is installed, started for long or asked of a network.
    """
    return [
        Ability("build", "lock, fetch, build and verify ISOs", (*_store(store),), (*_room(store),)),
        Ability("kubeadm", "lock: ask kubeadm itself for its images", (*_shut_in(),)),
        Ability("charts", "lock: Helm charts of recipes", (*_programs("helm"),)),
        Ability("kustomize", "lock: kustomizations of recipes", (*_programs("kubectl"),)),
        Ability("trust", "signatures: to make and to check them", (*_trust(),)),
        Ability("rebuild", "trust rebuild: upstream's programs, from source", (*_programs("go"),)),
        Ability("fast", "site delta: small ones of programs", (*_fast(),)),
        Ability("deep", "verify --deep: import images into containerd", (*_deep(),)),
        Ability("os", "os build: what makes ISOs bootable", (*_os(),)),
        *map(_boot, ARCHITECTURES),
        Ability("data", "boot --data: a disk that keeps state", (*_programs("mkfs.ext4"),)),
        Ability("keys", "node: keys and certificates of clusters", (*_programs("openssl"),)),
        Ability("schema", "node: cloud-init's own check", (*_programs("cloud-init"),)),
        Ability("photo", "site ledger --read: codes in pictures", (*_programs("zbarimg"),)),
        Ability("parity", "site protect and repair --parity", (*_parity(),)),
        Ability("s3", "upstream sync: publish to a bucket", (*_library("obstore", "s3"),)),
        Ability("keyring", "mold: keys in the keyring", (*_library("keyring", "keyring"),)),
    ]


def _programs(*names: str) -> Iterator[Lack]:
    for name in names:
        try:
            find_program(name)
        except EnvironmentProblem:
            if name == "helm":
                yield Lack(name, remedy=_HELM)
            else:
                yield Lack(name, package=PACKAGES.get(name, name))


def _library(name: str, extra: str) -> Iterator[Lack]:
    if find_spec(name) is None:
        yield Lack(f"the library {name}", extra=extra)


def _store(root: Path) -> Iterator[Lack]:
    place = _nearest(root)
    if not os.access(place, os.W_OK | os.X_OK) or not place.is_dir():
        yield Lack(f"a store: {place} cannot be written", remedy="choose another with --store")


def _room(root: Path) -> Iterator[str]:
    free = shutil.disk_usage(_nearest(root)).free
    if free < _ROOM:
        yield f"{free / _GIB:.1f} GiB are free for the store; a release takes about 1 GiB, twice"


def _nearest(path: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def _shut_in() -> Iterator[Lack]:
    missing = list(_programs("prlimit", "unshare"))
    yield from missing
    if not missing and not can_confine():
        yield Lack("user namespaces", remedy=_NAMESPACES)


def _trust() -> Iterator[Lack]:
    for name in ("cryptography", "pysequoia", "rfc3161_client"):
        yield from _library(name, "trust")


def _fast() -> Iterator[Lack]:
    for name in ("numpy", "bsdiff4"):
        yield from _library(name, "fast")


def _deep() -> Iterator[Lack]:
    yield from _programs("containerd", "ctr")
    if os.geteuid() != 0:
        yield Lack("root", remedy="run it with sudo: containerd mounts what it imports")


def _os() -> Iterator[Lack]:
    yield from _programs("mmdebstrap", "sqfstar", "apt-get", "dpkg-deb")
    if not KEYRING.exists():
        yield Lack("Debian's keys", package="debian-archive-keyring")
    if os.geteuid() == 0:
        return
    yield from _programs("newuidmap")
    yield from (lack for lack in _shut_in() if lack.package is None)
    user = _user()
    if not any(line.startswith(f"{user}:") for line in _lines(Path("/etc/subuid"))):
        ids = "100000-165535"
        remedy = f"usermod --add-subuids {ids} --add-subgids {ids} {user}"
        yield Lack(f"ids for {user} in /etc/subuid", remedy=remedy)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()


def _boot(architecture: str) -> Ability:
    traits = ARCHITECTURES[architecture]
    lacks = [*_programs(traits.qemu)]
    if firmware_files(architecture, "uefi") is None:
        lacks.append(Lack(f"UEFI for {architecture}", package=traits.firmware))
    notes = []
    if host_architecture() != architecture:
        notes.append("emulated, which is slow: this machine is of another architecture")
    elif not os.access("/dev/kvm", os.R_OK | os.W_OK):
        notes.append("emulated, which is slow: /dev/kvm is not there or not for this user")
    return Ability(f"boot-{architecture}", "boot: an ISO in QEMU", (*lacks,), (*notes,))


def _parity() -> Iterator[Lack]:
    if find_spec("par2") is None:
        yield from _programs("par2")
