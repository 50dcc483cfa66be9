"""An OS payload from Debian packages: the same packages, the same bytes."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from isobuilder import __version__
from isobuilder.digest import BUFFER_SIZE, Digest
from isobuilder.errors import EnvironmentProblem, UpstreamError
from isobuilder.machine.payload import replace_payload
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.payload import (
    ArtifactName,
    Kernel,
    OsPayload,
    PayloadArtifact,
    PayloadPackage,
)
from isobuilder.progress import SILENT, Progress
from isobuilder.run import find_program, run
from isobuilder.store import Store, hold_collections

_MINUTES = 60.0
_PATIENCE = 4 * 60 * _MINUTES
"""For each big step: emulating another architecture takes a quarter of an hour when all is free."""

_HARMLESS = ("usr/share/doc/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/man/*")
"""Left out of every package; licences stay."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


_PROXIES = {"http_proxy": "Acquire::http::Proxy", "https_proxy": "Acquire::https::Proxy"}


@dataclass(frozen=True, slots=True)
class Suite:
    """One release of Debian that was proved to work."""

    os: str
    epoch: int  # its release day: package files that are newer get this time stamp


SUITES = {"trixie": Suite("debian-13", 1754697600)}


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where packages come from."""

    archive: str
    security: str | None
    frozen: bool = False  # a snapshot: its Release file may be out of date


def host_mirror() -> Mirror:
    """Return the Debian mirrors that this machine's apt is set up with.

    Raises:
        EnvironmentProblem: there is no apt, or it knows no Debian archive.
    """
    find_program("apt-get")
    archive = security = None
    form = "$(REPO_URI) $(ORIGIN) $(LABEL)"
    for line in run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"], timeout=_MINUTES
    ).splitlines():
        match line.split():
            case [url, "Debian", "Debian"]:
                archive = archive or url
            case [url, "Debian", "Debian-Security"]:
                security = security or url
    if archive is None:
        raise EnvironmentProblem(
            "apt on this machine knows no Debian archive",
            hint="name one with --mirror, or run apt-get update if its lists are missing",
        )
    return Mirror(archive, security)


def host_proxies() -> dict[str, str]:
    """Return by which proxies this machine reaches mirrors: apt's settings, else the environment's.

    As variables, because mmdebstrap reads no settings of this machine.
    """
    asked = [word for pair in _PROXIES.items() for word in pair]
    found = {}
    for line in run(["apt-config", "shell", *asked], timeout=_MINUTES).splitlines():
        name, _, value = line.partition("=")
        found[name] = "".join(shlex.split(value))
    for name in (*_PROXIES, "no_proxy"):
        if given := os.environ.get(name) or os.environ.get(name.upper()):
            found.setdefault(name, given)
    return {name: value for name, value in found.items() if value != "DIRECT"}


def build_payload(
    store: Store,
    *,
    suite: str,
    kernel: Kernel,
    architecture: str,
    mirror: Mirror,
    progress: Progress = SILENT,
) -> OsPayload:
    """Make a payload, keep its artifacts in ``store`` and return its description.

    It takes the place of an older payload of the same name.

    Two builds from one state of the mirror give the same bytes. Without root it uses user
    namespaces, which gives the same bytes again.

    Raises:
        EnvironmentProblem: a program is missing, or the machine may not make user namespaces.
        UpstreamError: packages could not be had.
    """
    check_programs()
    facts = SUITES[suite]
    with tempfile.TemporaryDirectory(prefix="isobuilder-os-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # inside a user namespace somebody else reads it
        own = folder / "own.tar"
        own.write_bytes(own_files(facts.epoch))
        tree = folder / "tree.tar"
        progress.step(f"installing {facts.os} ({kernel} kernel, {architecture}): some minutes")
        argv = mmdebstrap_command(
            tree, own, suite=suite, kernel=kernel, architecture=architecture, mirror=mirror
        )
        environment = {"SOURCE_DATE_EPOCH": str(facts.epoch)}
        try:
            run(argv, timeout=_PATIENCE, env=environment | host_proxies())
        except EnvironmentProblem as error:
            raise explained(error) from error
        progress.step("packing the root file system: about a minute")
        root = folder / "root.squashfs"
        run(squashfs_command(root), timeout=_PATIENCE, stdin=tree, env=environment)
        taken = _take_out(tree, folder)
        packages = read_packages(taken.pop("packages").read_text(encoding="utf-8"))
        version = taken.pop("kernel-version").read_text(encoding="utf-8")
        taken["root"] = root
        about = {
            "os": facts.os,
            "suite": suite,
            "kernel": kernel,
            "kernel_version": version,
            "architecture": architecture,
            "epoch": facts.epoch,
            "packages": packages,
        }
        return _keep(store, taken, about)


def _keep(store: Store, taken: Mapping[str, Path], about: Mapping[str, object]) -> OsPayload:
    """Keep the files of a payload in ``store``, and the payload that they are."""
    with hold_collections(store):  # nobody knows of the files until the payload is kept
        artifacts = {key: _add(store, key, path) for key, path in taken.items()}
        payload = OsPayload.model_validate(
            {"schema": 1, "tool": __version__, "artifacts": artifacts, **about}
        )
        replace_payload(store, payload)
    return payload


def check_programs() -> None:
    """Return if every program a build needs is installed.

    Raises:
        EnvironmentProblem: one is not; the hint names its package.
    """
    for program in ("mmdebstrap", "sqfstar", "apt-get", "dpkg-deb"):
        find_program(program)
    if not KEYRING.exists():
        raise EnvironmentProblem(
            f"{KEYRING}: not installed, so packages could not be checked",
            hint="on Debian or Ubuntu: apt-get install debian-archive-keyring",
        )
    if os.geteuid() != 0:
        find_program("newuidmap")


def mmdebstrap_command(
    target: Path, own: Path, *, suite: str, kernel: Kernel, architecture: str, mirror: Mirror
) -> list[str | Path]:
    """Return the command that writes the whole tree to the tar file ``target``."""
    flavour = f"cloud-{architecture}" if kernel == "cloud" else architecture
    hooks = files("isobuilder.machine") / "os"
    loaders = " ".join(loader_packages(architecture))
    loader = (hooks / "loader.sh").read_text(encoding="utf-8").replace("$LOADERS", loaders)
    argv: list[str | Path] = [
        "mmdebstrap",
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        "--variant=minbase",
        f"--architectures={architecture}",
        "--format=tar",
        f"--include={','.join([*package_names(), f'linux-image-{flavour}'])}",
        '--aptopt=Apt::Install-Recommends "false"',
        '--aptopt=Acquire::Languages "none"',
        *(['--aptopt=Acquire::Check-Valid-Until "false"'] if mirror.frozen else []),
        *(f"--dpkgopt=path-exclude=/{pattern}" for pattern in _HARMLESS),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        f"--keyring={KEYRING}",
        # mmdebstrap removes what it fetched only when our hook has read the lists.
        f"--customize-hook={loader}",
        f"--customize-hook=tar-in {own} /",
        f'--customize-hook=chroot "$1" /boot/kiso/customize.sh {architecture}',
    ]
    argv += [suite, target, f"deb {mirror.archive} {suite} main"]
    argv.append(f"deb {mirror.archive} {suite}-updates main")
    if mirror.security is not None:
        argv.append(f"deb {mirror.security} {suite}-security main")
    return argv


def squashfs_command(target: Path) -> list[str | Path]:
    """Return the command that packs a tree, a tar file on stdin, without its folder boot."""
    # What the archive says of the root folder itself is not used: it becomes that of whoever runs
    # this, who therefore has to look like root.
    argv: list[str | Path] = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    argv += ["sqfstar", "-quiet", "-no-progress"]
    # So that a delta of two payloads is small (docs/deltas.md): a block has one file only, and is
    # compressed in a way that can be done again bit for bit.
    argv += ["-comp", "gzip", "-b", "128K", "-no-fragments", "-noI"]
    return [*argv, "-root-mode", "755", target, "boot"]


def package_names() -> tuple[str, ...]:
    """Return the packages of the root file system beside Debian's minimal set."""
    text = (files("isobuilder.machine") / "os" / "packages.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def loader_packages(architecture: str) -> tuple[str, ...]:
    """Return the packages boot loaders are taken from; they are not installed."""
    signed = ("shim-signed", f"shim-helpers-{architecture}-signed")
    return (*signed, *ARCHITECTURES[architecture].loaders)


def own_files(epoch: int) -> bytes:
    """Return our own files for the root file system as a tar archive, the same on every machine."""
    buffer = io.BytesIO()
    folder = files("isobuilder.machine") / "os"
    found = dict(_walk(folder / "tree"))
    found["boot/kiso/customize.sh"] = folder / "customize.sh"
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, source in sorted(found.items()):
            data = source.read_bytes()
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(data), epoch
            # An installed wheel has no execute bits, so the first line decides.
            member.mode = 0o755 if data.startswith(b"#!") else 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _walk(item, f"{prefix}{item.name}/")
        else:
            yield prefix + item.name, item


_OUTPUTS: dict[str, str] = {
    "bios": "bios.img",
    "bios-mbr": "bios.mbr",
    "shim": "shim.efi",
    "grub": "grub.efi",
    "mok-manager": "mok-manager.efi",
    "packages": "packages.list",
}


def _take_out(tree: Path, folder: Path) -> dict[str, Path]:
    """Copy out of the tree what lies below boot and is part of the payload."""
    wanted = {f"boot/kiso/{name}": key for key, name in _OUTPUTS.items()}
    taken: dict[str, Path] = {}
    with tarfile.open(tree, "r|") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            key = wanted.get(name)
            if match := re.fullmatch(r"boot/(vmlinuz|initrd\.img)-(.+)", name):
                key = "kernel" if match[1] == "vmlinuz" else "initrd"
                taken["kernel-version"] = folder / "kernel-version"
                taken["kernel-version"].write_text(match[2], encoding="utf-8")
            source = archive.extractfile(member) if key is not None and member.isreg() else None
            if key is not None and source is not None:
                taken[key] = folder / key
                with source, taken[key].open("wb") as target:
                    shutil.copyfileobj(source, target, BUFFER_SIZE)
    return taken


def read_packages(text: str) -> Sequence[PayloadPackage]:
    """Read what ``apt-cache show`` printed: paragraphs of fields."""
    found = set()
    for paragraph in text.strip().split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in paragraph.splitlines()
            if ": " in line and not line.startswith(" ")
        )
        if "SHA256" in fields:  # else it is a description of an installed package only
            found.add(
                (fields["Package"], fields["Version"], fields["Architecture"], fields["SHA256"])
            )
    return tuple(
        PayloadPackage(
            name=name, version=version, architecture=architecture, sha256=Digest.from_hex(digest)
        )
        for name, version, architecture, digest in sorted(found)
    )


def _add(store: Store, name: ArtifactName | str, path: Path) -> PayloadArtifact:
    digest = Digest.of_file(path)
    with path.open("rb") as file:
        blob = store.add(iter(lambda: file.read(BUFFER_SIZE), b""), digest=digest, name=name)
    return PayloadArtifact(digest=blob.digest, size=blob.size)


def explained(error: EnvironmentProblem) -> Exception:
    """Return what a failure of mmdebstrap means for the person who called for it."""
    # The command with its hooks is long, and of the last lines the first that is an error says why.
    lines = str(error).rpartition(": exit ")[2].split(" | ")
    text = next((line for line in lines if line.startswith("E: ")), lines[-1]).strip()
    if "Failed to fetch" in text or "Temporary failure resolving" in text:
        return UpstreamError(
            f"mmdebstrap: {text}", hint="check the mirror, or name one by --mirror"
        )
    if "qemu user emulation" in text:
        return EnvironmentProblem(
            f"mmdebstrap: {text}",
            hint="on Debian or Ubuntu: apt-get install qemu-user-static binfmt-support arch-test "
            "(since Debian 13: qemu-user-binfmt arch-test), or build it on a machine of that "
            "architecture",
        )
    if "newuidmap" in text or "subuid" in text or "unshare" in text:
        return EnvironmentProblem(
            f"mmdebstrap: {text}",
            hint="give this user a range in /etc/subuid and /etc/subgid (usermod --add-subuids "
            "100000-165535 --add-subgids 100000-165535), or run as root",
        )
    return EnvironmentProblem(f"mmdebstrap: {text}")
