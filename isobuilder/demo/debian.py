"""containerd and runc out of Debian packages, in the shape in which their projects release them."""

from __future__ import annotations

import gzip
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isobuilder.demo.content import Release
from isobuilder.demo.images import EPOCH
from isobuilder.errors import EnvironmentProblem, UpstreamError
from isobuilder.progress import SILENT, Progress
from isobuilder.run import find_program, run

_FETCHING, _UNPACKING = 900.0, 120.0  # seconds
_CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")  # what a node uses of the package
_NETWORK = ("Failed to fetch", "Temporary failure", "Could not connect", "Unable to connect")


@dataclass(frozen=True, slots=True)
class Part:
    """One package and what was made of it."""

    package: str  # Debian's name of it, and its version
    version: str  # upstream's
    path: Path


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs containers on a node, for amd64."""

    containerd: Part
    runc: Part

    @property
    def releases(self) -> tuple[Release, Release]:
        """What the embedded upstream serves in place of its stand-ins."""
        archive = f"containerd-{self.containerd.version}-linux-amd64.tar.gz"
        return (
            Release(
                "containerd/containerd",
                self.containerd.version,
                {archive: self.containerd.path},
                ".sha256sum",
            ),
            Release(
                "opencontainers/runc",
                self.runc.version,
                {"runc.amd64": self.runc.path},
                "runc.sha256sum",
                signed=True,
            ),
        )


def fetch_runtime(folder: Path, *, progress: Progress = SILENT) -> Runtime:
    """Fetch containerd and runc as apt on this machine has them and repack them in ``folder``.

    apt does the fetching and the checking; nothing is installed, and root is not needed. The same
    packages give the same bytes.

    Raises:
        EnvironmentProblem: apt does not know the packages, or they are not what is expected.
        UpstreamError: they could not be had.
    """
    progress.step("fetching Debian's packages of containerd and runc")
    _download(("containerd", "runc"), folder)
    progress.step("repacking them as their projects release them")
    archive = folder / "containerd.tar.gz"
    tree, package, version = _unpack("containerd", folder)
    programs = [tree / "usr/bin" / name for name in _CONTAINERD]
    if missing := [path.name for path in programs if not path.is_file()]:
        raise EnvironmentProblem(f"the package {package} has no {', '.join(missing)}")
    _pack(programs, archive)
    containerd = Part(package, version, archive)
    tree, package, version = _unpack("runc", folder)
    found = [tree / place / "runc" for place in ("usr/bin", "usr/sbin")]
    runc = next((path for path in found if path.is_file()), None)
    if runc is None:
        raise EnvironmentProblem(f"the package {package} has no runc")
    return Runtime(containerd, Part(package, version, runc.resolve()))


def upstream_version(debian: str) -> str:
    """Return ``1.7.24`` for Debian's ``1.7.24~ds1-6+deb13u1``.

    Raises:
        EnvironmentProblem: there is no version of three numbers in it.
    """
    match = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", debian)
    if match is None:
        raise EnvironmentProblem(f"{debian}: no version of three numbers in it")
    return match[1]


def _download(packages: Sequence[str], folder: Path) -> None:
    argv: list[str | Path] = [find_program("apt-get"), "-q"]
    # As root apt would fetch as a user who may not write into our folder, and complain about that.
    argv += ["-oAPT::Sandbox::User=root", "download", *(f"{name}:amd64" for name in packages)]
    try:
        run(argv, timeout=_FETCHING, cwd=folder)
    except EnvironmentProblem as error:
        hint = "run apt-get update: apt may have no lists of packages, or old ones"
        if any(words in str(error) for words in _NETWORK):
            raise UpstreamError(str(error), hint=f"check the network, or {hint}") from error
        raise EnvironmentProblem(str(error), hint=hint) from error


def _unpack(name: str, folder: Path) -> tuple[Path, str, str]:
    """Unpack the package and return where, its name with Debian's version, and upstream's."""
    found = sorted(folder.glob(f"{name}_*.deb"))
    if len(found) != 1:
        raise EnvironmentProblem(f"{folder}: {len(found)} files of package {name}, expected 1")
    tree = folder / name
    program = find_program("dpkg-deb")
    run([program, "-x", found[0], tree], timeout=_UNPACKING)
    version = run([program, "-f", found[0], "Version"], timeout=_UNPACKING).strip()
    return tree, f"{name} {version}", upstream_version(version)


def _pack(programs: Sequence[Path], target: Path) -> None:
    """Write ``programs`` below bin/ in an archive whose bytes depend on nothing else."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path in programs:
            entry = tarfile.TarInfo(f"bin/{path.name}")
            entry.size, entry.mode, entry.mtime = path.stat().st_size, 0o755, EPOCH
            with path.open("rb") as file:
                archive.addfile(entry, file)
