"""Two containerds to import into: 1.6 of Debian bookworm and the 2.x of the lab's recipes.

Neither is installed; each runs with directories and a socket of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.lab.debian import Apt
from tools.lab.place import LabError, fingerprint, lab_dir, once, run
from tools.lab.servers import within

_LIBRARIES = ("libc6", "libseccomp2")
_PROGRAMS = {
    "containerd": "usr/bin/containerd",
    "containerd-shim-runc-v2": "usr/bin/containerd-shim-runc-v2",
    "ctr": "usr/bin/ctr",
    "runc": "usr/sbin/runc",
}
_READY_SECONDS = 30.0


def paths(lab: Path | None = None) -> dict[str, dict[str, Path]]:
    """Return ``{"1": programs, "2": programs}``, programs by name, ready to be executed.

    Raises:
        LabError: the lab is not prepared.
    """
    lab = lab or lab_dir()
    found = {
        major: {name: lab / f"containerd{major}/bin/{name}" for name in _PROGRAMS}
        for major in ("1", "2")
    }
    for programs in found.values():
        for program in programs.values():
            if not program.is_file():
                raise LabError(f"{program}: missing\nhint: make lab")
    return found


def containerd1(lab: Path, apt: Apt) -> Path:
    """Prepare bookworm's containerd."""

    def make(target: Path) -> None:
        packages = ("containerd", "runc", *_LIBRARIES)
        apt.unpack(packages, target / "tree")
        _wrap(target, lab / "containerd1/tree")

    return once(lab / "containerd1", fingerprint(Path(__file__), apt.suite), make)


def containerd2(lab: Path, built: Mapping[str, Path]) -> Path:
    """Prepare containerd 2.x: the one of the lab's own recipes."""

    def make(target: Path) -> None:
        (target / "bin").mkdir()
        for name in _PROGRAMS:
            folder = built["runc" if name == "runc" else "containerd"]
            (target / "bin" / name).symlink_to(folder / name)

    marks = [(built[name] / ".mark").read_text() for name in ("containerd", "runc")]
    return once(lab / "containerd2", fingerprint(Path(__file__), *marks), make)


def _wrap(target: Path, tree: Path) -> None:
    """Make ``bin/`` of ``target``: links, or scripts that bring the tree's own libc along."""
    (target / "bin").mkdir()
    draft = target / "tree"
    for name, place in _PROGRAMS.items():
        program = target / "bin" / name
        if _runs([str(draft / place)]):
            program.symlink_to(f"../tree/{place}")
            continue
        if not _runs(within(draft, place)):
            raise LabError(f"{name} of containerd 1: runs neither with this libc nor its own")
        words = " ".join(f"'{word}'" for word in within(draft, place))
        script = words.replace(str(draft), str(tree))
        program.write_text(f'#!/bin/sh\nexec {script} "$@"\n')
        program.chmod(0o755)


def _runs(program: list[str]) -> bool:
    done = subprocess.run(
        [*program, "-v"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


@contextlib.contextmanager
def running(programs: Mapping[str, Path]) -> Iterator[list[str]]:
    """Start a containerd of its own and yield the words of a ``ctr`` that talks to it.

    It needs root, as containerd does; nothing of it is left when the block ends.

    Raises:
        LabError: it does not start.
    """
    # A short path: the socket in it must stay below 108 bytes.
    with tempfile.TemporaryDirectory(prefix="lab-ctd-", dir="/tmp") as folder:
        place = Path(folder)
        config = place / "config.toml"
        config.write_text(_CONFIG.format(place=place))
        log = place / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(programs["containerd"]), "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PATH": f"{programs['runc'].parent}:{os.environ['PATH']}"},
            )
        ctr = [str(programs["ctr"]), "--address", str(place / "socket")]
        try:
            _wait(process, ctr, log)
            yield ctr
        finally:
            process.terminate()
            process.wait(20)


def _wait(process: subprocess.Popen[bytes], ctr: list[str], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _succeeds([*ctr, "version"]):
            return
        time.sleep(0.1)
    last = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    raise LabError(f"containerd: does not answer\n{last}")


def _succeeds(command: list[str]) -> bool:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


def prove(programs: Mapping[str, Path], major: str, archive: Path, reference: str) -> str:
    """Import an image archive and return the version of the containerd that did it.

    Raises:
        LabError: the version is another, or the image is not there afterwards.
    """
    with running(programs) as ctr:
        said = run([*ctr, "version"])
        versions = re.findall(r"Version:\s+v?(\d+)(\S*)", said)
        if not versions or {version[0] for version in versions} != {major}:
            raise LabError(f"ctr version: expected {major}.x, got\n{said}")
        run([*ctr, "-n", "k8s.io", "images", "import", archive])
        names = run([*ctr, "-n", "k8s.io", "images", "ls", "-q"]).split()
        if reference not in names:
            raise LabError(f"{archive.name}: imported, but {reference} is not among {names}")
        return "".join(versions[0])


_CONFIG = """
version = 2
root = "{place}/root"
state = "{place}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{place}/socket"
[ttrpc]
address = "{place}/socket.ttrpc"
"""
