"""Build the container image of isobuilder without root, and write it as an archive.

Without ``--base`` the image stands on a Debian that mmdebstrap makes here, so that no registry is
needed; with it on any image that buildah can name.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.make_venv import PROJECT
from tools.release.dist import NAME, build, wheelhouse

SUITE, PYTHON = "trixie", "3.13"
PACKAGES = "python3,python3-venv,ca-certificates"


def main() -> None:
    """Build it and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PROJECT / "dist" / f"{NAME}.oci.tar")
    parser.add_argument("--base", help="such as docker.io/library/python:3.13-slim-trixie")
    parser.add_argument("--python", default=PYTHON, help="the base's Python")
    parser.add_argument("--mirror", help="Debian archive for the base that is made here")
    options = parser.parse_args()
    for program in ("buildah", *(() if options.base else ("mmdebstrap",))):
        if shutil.which(program) is None:
            sys.exit(f"error: {program}: not installed; apt-get install {program}")
    with tempfile.TemporaryDirectory(prefix="isobuilder-image-") as name:
        image(Path(name), options.out, options.base, options.python, options.mirror)
    print(options.out)


def image(scratch: Path, out: Path, base: str | None, python: str, mirror: str | None) -> None:
    """Build the image in ``scratch`` and write it to ``out``."""
    context = scratch / "context"
    context.mkdir()
    build(scratch)
    (wheel,) = scratch.glob("*.whl")
    wheelhouse(context / "wheelhouse", wheel, [python])
    shutil.copy(PROJECT / "Containerfile", context)
    storage = ["--storage-driver=vfs", f"--root={scratch}/root", f"--runroot={scratch}/run"]
    buildah = ["buildah", *storage]
    if base is None:
        base = debian(buildah, scratch, mirror)
    # chroot: neither a daemon nor a runtime is needed; pip is told to ask no index.
    how = ["--isolation=chroot", "--timestamp=0", "--format=oci"]
    what = [f"--build-arg=BASE={base}", f"--tag=localhost/{NAME.replace('-', ':')}", str(context)]
    subprocess.run([*buildah, "build", "--quiet", *how, *what], check=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    name = f"localhost/{NAME.replace('-', ':')}"
    subprocess.run([*buildah, "push", "--quiet", name, f"oci-archive:{out}:{name}"], check=True)


def debian(buildah: list[str], scratch: Path, mirror: str | None) -> str:
    """Return the name of a small Debian with Python, made of its packages."""
    context = scratch / "base"
    context.mkdir()
    tree = context / "debian.tar"
    words = ["--variant=minbase", "--mode=auto", f"--include={PACKAGES}", SUITE, str(tree)]
    subprocess.run(["mmdebstrap", "--quiet", *words, *([mirror] if mirror else [])], check=True)
    holder = context / "Containerfile"
    holder.write_text("FROM scratch\nADD debian.tar /\n", encoding="utf-8")
    name = f"localhost/debian:{SUITE}"
    how = ["--quiet", "--timestamp=0", f"--tag={name}", str(context)]
    subprocess.run([*buildah, "build", *how], check=True)
    return name


if __name__ == "__main__":
    main()
