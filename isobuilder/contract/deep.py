"""Every image archive of a disc, imported into a containerd of our own as a node does it.

The daemon has root, state and socket in a folder of its own, runs no containers and is gone
afterwards; a containerd that the machine may have is not touched. It needs root, as containerd
does. Archives come from the medium one at a time, so beside what containerd keeps of them there is
never more than one copy.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isobuilder.contract.view import NodeView
from isobuilder.digest import BUFFER_SIZE
from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.medium import Files, Medium
from isobuilder.model.finding import Finding
from isobuilder.model.profile import PROFILES, ProfileName
from isobuilder.progress import SILENT, Progress, Task, task
from isobuilder.run import find_program, run, running

IMPORT = "A.4.deep-import"
NAMES = "A.4.deep-names"
COMPLETE = "A.4.deep-complete"

DEEP_RULES: dict[str, str] = {
    IMPORT: "A real containerd imports every archive",
    NAMES: "After the import, images have the names that these rules expect",
    COMPLETE: "After the import, no image lacks content",
}
"""What is looked at, by the id of the finding."""

_NAMESPACE = "k8s.io"
_START_SECONDS = 60.0
_IMPORT_SECONDS = 600.0  # what Mold gives all imports together
_ASK_SECONDS = 60.0
_ROOM = 64 * 1024 * 1024  # bytes; the daemon's own database and log
_PACK_AGAIN = "pack the image again, as isobuilder build does"

_CONFIG = """\
version = 2
root = "{place}/root"
state = "{place}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.internal.v1.opt",
  "io.containerd.nri.v1.nri",
  "io.containerd.runtime.v1.linux",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{place}/socket"
[ttrpc]
address = "{place}/socket.ttrpc"
"""


@dataclass(frozen=True, slots=True)
class Programs:
    """A containerd and the ctr that belongs to it."""

    containerd: Path
    ctr: Path


def installed() -> Programs:
    """Return the containerd of this machine.

    Raises:
        EnvironmentProblem: there is none; the hint names the package.
    """
    return Programs(find_program("containerd"), find_program("ctr"))


def import_all(
    medium: Files | Medium,
    *,
    profile: ProfileName,
    programs: Programs | None = None,
    progress: Progress = SILENT,
    folder: Path | None = None,
) -> list[Finding]:
    """Return what a real containerd has to object to the image archives of ``medium``.

    ``folder`` is where it may work, by default the one for temporary files; the whole of docker/
    must fit in there.

    Raises:
        EnvironmentProblem: no containerd, not root, no room, or the daemon does not start.
    """
    programs = programs or installed()
    if os.geteuid() != 0:
        raise EnvironmentProblem(
            "containerd needs root to import images",
            hint="run the command with sudo, or leave out --deep",
        )
    disc = NodeView(
        Medium.of(medium),
        cloud=PROFILES[profile].cloud,
        profile=profile,
        upgrade=False,
        registered=None,
        architecture=None,
    )
    sizes = [disc.files[f"docker/{name}"].size for name in disc.archive_names]
    with _daemon(programs, folder, room=sum(sizes) + max(sizes, default=0) + _ROOM) as daemon:
        progress.step("importing images into containerd")
        found: list[Finding] = []
        with task(progress, "docker/", total=sum(sizes)) as work:
            for name in disc.archive_names:
                found += daemon.take(disc, name, work)
        return found + daemon.incomplete()


@contextmanager
def _daemon(programs: Programs, folder: Path | None, *, room: int) -> Iterator[_Daemon]:
    # A path of a Unix socket has at most 107 bytes, so the name is short.
    with tempfile.TemporaryDirectory(prefix="iso-", dir=folder) as made:
        place = Path(made)
        free = shutil.disk_usage(place).free
        if free < room:
            raise EnvironmentProblem(
                f"{place.parent}: {free} bytes free, {room} needed to import all images",
                hint="name another place with TMPDIR",
            )
        if len(os.fsencode(place)) > 90:
            raise EnvironmentProblem(
                f"{place.parent}: too long a path for a socket in it",
                hint="name a shorter one with TMPDIR",
            )
        config = place / "config.toml"
        config.write_text(_CONFIG.format(place=place), encoding="utf-8")
        daemon = _Daemon(programs.ctr, place)
        argv: tuple[str | Path, ...] = (programs.containerd, "--config", config)
        with running(argv, ready=daemon.answers, timeout=_START_SECONDS, log=place / "log"):
            yield daemon


class _Daemon:
    """The running containerd, asked through its ctr."""

    def __init__(self, ctr: Path, place: Path) -> None:
        self._place = place
        self._socket = place / "socket"
        words: tuple[str | Path, ...] = (ctr, "--address", self._socket)
        self._ctr = (*words, "--namespace", _NAMESPACE)
        self._options: list[str] | None = None

    def answers(self) -> bool:
        """Whether it can be talked to."""
        if not self._socket.exists():
            return False
        try:
            run([*self._ctr, "version"], timeout=_ASK_SECONDS)
        except EnvironmentProblem:
            return False
        return True

    def take(self, disc: NodeView, name: str, work: Task) -> list[Finding]:
        """Import one archive as a node does and compare the names there are afterwards."""
        path = f"docker/{name}"
        archive = self._place / "archive.tar"
        try:
            with disc.medium.open(path) as source, archive.open("wb") as target:
                while chunk := source.read(BUFFER_SIZE):
                    target.write(chunk)
                    work.advance(len(chunk))
            self._import(archive, disc.base_of(name), mold=disc.cloud == "mold")
        except (IntegrityError, EnvironmentProblem) as error:
            said = str(error).rpartition("ctr: ")[2]
            return [_finding(IMPORT, path, f"containerd refuses it: {said}")]
        except OSError as error:
            raise EnvironmentProblem(f"{archive}: cannot be written: {error.strerror}") from error
        finally:
            archive.unlink(missing_ok=True)
        expected = disc.archive(name)
        if isinstance(expected, IntegrityError):
            return []  # taken with parts missing, which incomplete() tells
        missing = sorted(expected.imported(disc.base_of(name)) - self._names())
        return [
            _finding(NAMES, path, f"{image} is not there after the import") for image in missing
        ]

    def _import(self, archive: Path, base: str, *, mold: bool) -> None:
        if self._options is None:  # containerd 2 has two ways to import; nodes take the old one
            usage = run([*self._ctr, "images", "import", "--help"], timeout=_ASK_SECONDS)
            self._options = ["--local"] if "--local" in usage else []
        # Layers stay packed: that they unpack to what they promise is checked without containerd.
        argv = [*self._ctr, "images", "import", *(self._options if mold else []), "--no-unpack"]
        if mold:
            argv += ["--digests", "--base-name", base]
        run([*argv, archive], timeout=_IMPORT_SECONDS)

    def _names(self) -> frozenset[str]:
        listed = run([*self._ctr, "images", "ls", "--quiet"], timeout=_ASK_SECONDS)
        return frozenset(listed.split())

    def incomplete(self) -> list[Finding]:
        """Return the images of which something is missing."""
        table = run(
            [*self._ctr, "images", "check", "--snapshotter", "native"], timeout=_IMPORT_SECONDS
        )
        found = []
        for line in table.splitlines()[1:]:
            words = line.split()
            if len(words) > 3 and words[3] != "complete":
                fact = f"{words[0]} is {' '.join(words[3:5])} after the import"
                found.append(_finding(COMPLETE, "docker/", fact))
        return found


def _finding(rule: str, place: str, fact: str) -> Finding:
    return Finding(rule=rule, place=place, fact=fact, remedy=_PACK_AGAIN)
