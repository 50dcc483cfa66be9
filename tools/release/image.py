"""Build the container image of isobuilder and write it as an OCI archive; needs no daemon.

It is made by the container file that ``isobuilder upstream schedule`` writes, of the wheelhouse.
Without ``--base`` it stands on a Debian that mmdebstrap makes here, so that no registry is needed;
with it on any image that buildah can name. The same packages give the same image.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isobuilder import __version__
from isobuilder.jobs.files import schedule_files
from tools.lab.debian import host_sources, mirrors
from tools.make_venv import PROJECT
from tools.release.dist import NAME, build, wheelhouse

SUITE, PYTHON = "trixie", "3.13"
PACKAGES = "python3,python3-venv,ca-certificates"
TAG = f"localhost/isobuilder:{__version__}"
ARCHIVE = f"{NAME}-image-{platform.machine()}.oci.tar"


def main() -> None:
    """Build it and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PROJECT / "dist" / ARCHIVE)
    parser.add_argument("--base", help="such as docker.io/library/python:3.13-slim-trixie")
    parser.add_argument("--python", default=PYTHON, help="the base's Python")
    options = parser.parse_args()
    for program in ("buildah", *(() if options.base else ("mmdebstrap",))):
        if shutil.which(program) is None:
            sys.exit(f"error: {program}: not installed; apt-get install {program}")
    with tempfile.TemporaryDirectory(prefix="isobuilder-image-") as name:
        scratch = Path(name)
        context = context_of(scratch, options.python)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with buildah_in(scratch / "storage") as buildah:
            base = options.base or import_tree(buildah, debian(scratch / "debian.tar"))
            image(buildah, context, options.out, base)
    print(options.out)


def context_of(scratch: Path, python: str) -> Path:
    """Return a folder of what the image is made: container file and wheelhouse."""
    context = scratch / "context"
    context.mkdir()
    build(scratch)
    (wheel,) = scratch.glob("*.whl")
    wheelhouse(context / "wheelhouse", wheel, [python])
    for name, text in schedule_files("containerfile", newest="", install="./wheelhouse/").items():
        (context / name).write_text(text, encoding="utf-8")
    return context


def debian(tree: Path) -> Path:
    """Make a small Debian with Python of the packages of this machine's mirror."""
    where = mirrors(host_sources())
    words = ["--variant=minbase", f"--include={PACKAGES}", f"--keyring={where.signed_by}"]
    # Else the tree holds the day on which it was made.
    env = {"SOURCE_DATE_EPOCH": "1580601600", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    command = ["mmdebstrap", "--quiet", *words, SUITE, str(tree), where.archive]
    subprocess.run(command, check=True, env=env)
    return tree


@contextmanager
def buildah_in(folder: Path) -> Iterator[list[str]]:
    """Give the words that call buildah with a storage of its own, which is gone afterwards."""
    buildah = [
        "buildah",
        "--storage-driver=vfs",
        f"--root={folder}/root",
        f"--runroot={folder}/run",
    ]
    try:
        yield buildah
    finally:
        # What other users of a name space own, only buildah can remove.
        for command in ("rm", "rmi"):
            subprocess.run([*buildah, command, "--all"], check=False, stdout=subprocess.DEVNULL)


def import_tree(buildah: list[str], tree: Path) -> str:
    """Make an image of an archive, and return its name."""
    name = f"localhost/debian:{SUITE}"
    file = tree.with_suffix(".containerfile")
    file.write_text(f"FROM scratch\nADD {tree.name} /\n", encoding="utf-8")
    ignored = tree.with_suffix(".ignored")
    ignored.write_text(f"*\n!{tree.name}\n", encoding="utf-8")
    words = ["--timestamp=0", f"--file={file}", f"--ignorefile={ignored}", f"--tag={name}"]
    subprocess.run([*buildah, "build", "--quiet", *words, str(tree.parent)], check=True)
    return name


def image(buildah: list[str], context: Path, out: Path, base: str) -> None:
    """Build the image on ``base`` and write it to ``out``."""
    # chroot: neither a daemon nor a runtime is needed; pip is told to ask no index.
    how = ["--isolation=chroot", "--timestamp=0", "--format=oci", f"--build-arg=BASE={base}"]
    subprocess.run([*buildah, "build", *how, f"--tag={TAG}", str(context)], check=True)
    with tempfile.TemporaryDirectory(prefix="isobuilder-layout-") as name:
        subprocess.run([*buildah, "push", "--quiet", TAG, f"oci:{name}:{TAG}"], check=True)
        archived(Path(name), out)


def archived(layout: Path, out: Path) -> None:
    """Write an OCI layout as an archive that does not tell when."""
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(path for path in layout.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(str(path.relative_to(layout)))
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)


if __name__ == "__main__":
    main()
