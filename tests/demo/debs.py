"""Small Debian packages of containerd and runc, and an apt-get that has them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")

_APT = """\
#!/bin/sh
# As apt-get does: packages named on the command line come into the present folder.
echo "$*" >> {folder}/calls
for word; do
    case $word in *:amd64) cp {folder}/${{word%%:*}}_*.deb . || exit 100 ;; esac
done
"""


def make_deb(folder: Path, name: str, version: str, programs: Sequence[str]) -> Path:
    """Make a package with ``programs``, paths below /; each prints its own path."""
    tree = folder / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
        f"Maintainer: nobody <nobody@example.org>\nDescription: a stand-in\n"
    )
    for path in programs:
        program = tree / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {path}\n")
        program.chmod(0o755)
    (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
    (tree / "usr/bin/a-link").symlink_to("/usr/sbin/elsewhere")
    target = folder / f"{name}_{version}_amd64.deb"
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(target)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return target


def make_both(folder: Path) -> None:
    """Make both packages as Debian 13 has them."""
    programs = [f"usr/bin/{name}" for name in (*CONTAINERD, "containerd-shim-runc-v1")]
    make_deb(folder, "containerd", "1.7.24~ds1-6+deb13u1", programs)
    make_deb(folder, "runc", "1.1.15+ds1-2+b4", ["usr/sbin/runc"])


def put_apt(programs: Path, debs: Path) -> None:
    """Put an apt-get into the folder ``programs`` that has the packages in ``debs``."""
    apt = programs / "apt-get"
    apt.write_text(_APT.format(folder=debs))
    apt.chmod(0o755)
