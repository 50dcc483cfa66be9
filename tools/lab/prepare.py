"""Prepare the lab: ``python3 -m tools.lab.prepare``, which is what ``make lab`` does.

What is done stays; a second run takes seconds and asks no mirror.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools.lab import arm64, catalogue, containerd2, cross, golang, kubernetes, parts
from tools.lab.debian import Apt, check_machine
from tools.lab.images import oci_archive, read_catalogue
from tools.lab.payload import payload_store
from tools.lab.place import (
    HERE,
    LabError,
    alone,
    fingerprint,
    lab_dir,
    once,
    remove,
    say,
    size_of,
)
from tools.lab.push import push
from tools.lab.servers import registry
from tools.lab.shelf import shelf

SUITE = "bookworm"
RELEASES = (kubernetes.CURRENT, kubernetes.NEXT)
_WHOLE = 14_000_000_000  # bytes on disk from nothing: modules, objects, programs, images, payload
_GROWN = 4_000_000_000  # when parts are made again
_ARM64 = 6_000_000_000  # objects and parts of arm64, beside all that
_ALWAYS = {release.version for release in RELEASES}


def prepare(lab: Path, more: Sequence[str] = ()) -> None:
    """Make everything below ``lab`` that is not there yet.

    ``more`` names versions of Kubernetes beside those that every lab has; what is there stays.

    Raises:
        LabError: something cannot be had or does not work; what was finished before is kept.
    """
    check_machine()
    check_room(lab)
    with alone(lab):
        (lab / "ready").unlink(missing_ok=True)
        apt = Apt(lab / "apt", SUITE)
        go = golang.Go(lab / "go")
        releases = {release.version: release for release in RELEASES}
        releases |= {
            version: release
            for version, release in kubernetes.RELEASES.items()
            if version in more or (lab / f"programs/kubernetes-{version}/.mark").is_file()
        }
        programs = {
            version: kubernetes.kubernetes(lab, go, release)
            for version, release in releases.items()
        }
        built = parts.programs(lab, go, releases)
        debian = parts.unpacked(lab, apt)
        archives = parts.repacked(lab, built)
        images = catalogue.images(lab, debian, programs, built, go)
        shelf(lab, programs, archives, images)
        fill_registry(lab, debian, images)
        containerd2.containerd1(lab, apt)
        containerd2.containerd2(lab, built)
        prove_runtimes(lab, images)
        payload_store(lab=lab)
        for name in parts.CHECKERS:
            golang.built(lab, go, name)
        # The compiler's objects are a third of the lab; only what is built anew would want them.
        remove(go.root / "build")
        (lab / "ready").write_text("")


def prepare_arm64(lab: Path) -> None:
    """Make the parts of arm64, an OS payload among them, below a lab that is ready.

    Raises:
        LabError: something cannot be had or does not work; the lab itself stays as it was.
    """
    cross.check_programs()
    own = arm64.folder(lab)
    check_room(lab, 0 if (own / "ready").is_file() else _ARM64)
    with alone(lab):
        (own / "ready").unlink(missing_ok=True)
        go = golang.Go(lab / "go")
        apt = Apt(lab / "apt", SUITE, arm64.NAME)
        made = arm64.programs(lab, go, Apt(lab / "apt", SUITE), apt)
        debian = arm64.unpacked(lab, apt)
        images = arm64.images(lab, debian, made, go)
        arm64.shelf(lab, made)
        fill_registry(own, debian, images)
        with cross.emulated():
            payload_store(lab=lab, architecture=arm64.NAME)
        remove(go.root / "build")
        (own / "ready").write_text("")


def check_room(lab: Path, needed: int | None = None) -> None:
    """Return if the disk has room for what is missing, or for ``needed`` bytes.

    Raises:
        LabError: it has not; nothing was begun.
    """
    lab.mkdir(parents=True, exist_ok=True)
    if needed is None:
        missing = 0 if (lab / "ready").is_file() else _WHOLE - size_of([lab])
        needed = max(_GROWN, missing)
    free = shutil.disk_usage(lab).free
    if free < needed:
        raise LabError(
            f"{lab}: {free / 1e9:.1f} GB are free, the lab takes up to {needed / 1e9:.0f} GB\n"
            "hint: make room, or name a folder on another disk with ISOBUILDER_LAB"
        )


def fill_registry(lab: Path, debian: parts.Debian, images: Path) -> Path:
    """Push the lab's images to a registry whose storage stays."""

    def make(target: Path) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="isobuilder-lab-") as scratch,
            registry(debian.peers, target / "storage", Path(scratch), read_only=False) as port,
        ):
            push(read_catalogue(images / "catalogue.json"), images / "blobs", port)

    mark = fingerprint((images / ".mark").read_text(), HERE / "push.py", HERE / "servers.py")
    return once(lab / "registry", mark, make)


def prove_runtimes(lab: Path, images: Path) -> None:
    """Import one image into both containerds, if this machine lets us start one."""

    def make(target: Path) -> None:
        pause = next(
            image
            for image in read_catalogue(images / "catalogue.json")
            if "/pause:" in image.reference
        )
        archive = oci_archive(pause, images / "blobs", target / "pause.tar")
        for major, programs in containerd2.paths(lab).items():
            version = containerd2.prove(programs, major, archive, pause.reference)
            say(f"containerd {version} imports {pause.reference}")
        archive.unlink()

    if os.geteuid() != 0:
        say("not root: whether the containerds import an image stays untried")
        return
    marks = [(lab / name / ".mark").read_text() for name in ("containerd1", "containerd2")]
    once(lab / "proof", fingerprint(*marks, (images / ".mark").read_text()), make)


def main() -> int:
    """Prepare, say what it took, and turn a problem into two lines."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.lab.prepare", description=__doc__)
    parser.add_argument("--again", action="store_true", help="remove the lab and begin anew")
    parser.add_argument(
        "--with",
        dest="more",
        action="append",
        default=[],
        choices=[*(v for v in kubernetes.RELEASES if v not in _ALWAYS), arm64.NAME],
        metavar="WHAT",
        help="another Kubernetes as well, or the parts for another processor: %(choices)s",
    )
    options = parser.parse_args()
    lab = lab_dir()
    begun = time.monotonic()
    try:
        if options.again:
            remove(lab)
        prepare(lab, options.more)
        if arm64.NAME in options.more:
            prepare_arm64(lab)
    except LabError as error:
        print(f"error: lab: {error}", file=sys.stderr)
        return 6
    except KeyboardInterrupt:
        say("interrupted; the next run goes on where this one was")
        return 130
    say(f"images {size_of([lab / 'images/blobs']) / 1e6:.0f} MB")
    say(f"ready in {time.monotonic() - begun:.0f} s: {lab}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
