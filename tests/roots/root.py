"""A fresh system in a folder, made of packages, and what a person types in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.lab.debian import host_sources, mirrors
from tools.make_venv import PROJECT

USER, USER_ID, HOME = "kim", 4711, "home/kim"
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "LANG": "C.UTF-8"}
_UBUNTU = "http://archive.ubuntu.com/ubuntu"
_UBUNTU_KEYS = (
    f"{_UBUNTU}/pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb",
    "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8",
)

# Name spaces of its own for network, mounts and processes: nothing but loopback is there, two of
# these do not meet, and what was left running ends with it.
_ALONE = r"""
set -eu
ip link set lo up
mount --make-rprivate /
mount -t proc proc "$ROOT/proc"
$SERVER &
until [ -z "$SERVER" ] || [ -s "$ROOT/home/kim/lab.yaml" ]; do sleep 0.2; done
chroot --userspec=kim:kim "$ROOT" /usr/bin/env -i $WORDS bash /home/kim/.typed
"""


@dataclass(frozen=True)
class Root:
    """The system, and what a person has there."""

    tree: Path

    @property
    def home(self) -> Path:
        return self.tree / HOME

    def give(self, *paths: Path) -> None:
        """Put files into the home folder."""
        for path in paths:
            shutil.copy(path, self.home)
            shutil.chown(self.home / path.name, USER_ID, USER_ID)

    def as_root(self, text: str) -> None:
        """Type a text as root, with the network of this machine."""
        env = {**_ENV, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
        command: list[str | Path] = ["chroot", self.tree, "bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    def alone(self, text: str, server: Sequence[str | Path] = ()) -> str:
        """Type a text as the person without any network but loopback, where ``server`` serves."""
        own = {**_ENV, "HOME": f"/{HOME}"}
        words = " ".join(f"{name}={value}" for name, value in own.items())
        (self.home / ".typed").write_text(f"set -euxo pipefail\ncd\n{text}")
        spaces = ["--net", "--mount", "--pid", "--fork", "--kill-child"]
        done = subprocess.run(
            ["unshare", *spaces, "bash", "-c", _ALONE],
            cwd=PROJECT,
            env={
                **os.environ,
                "ROOT": str(self.tree),
                "WORDS": words,
                "SERVER": " ".join(map(str, server)),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=1200,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout


def make_root(suite: str, folder: Path) -> Root:
    """Make the smallest system that its packages give, with a person in it.

    Debian's is made of this machine's mirror, Ubuntu's of its own archive.
    """
    folder.mkdir(parents=True)
    tree = folder / "root"
    where = mirrors(host_sources())
    archive, keys, more = where.archive, Path(where.signed_by), []
    if suite == "noble":
        archive, keys = _UBUNTU, _ubuntu_keys(folder)
        # Its smallest set is without apt, which all images of it have.
        more = ["--components=main,universe", "--include=apt"]
    words = ["--quiet", "--variant=minbase", f"--keyring={keys}", *more]
    subprocess.run(["mmdebstrap", *words, suite, tree, archive], check=True, timeout=900)
    root = Root(tree)
    shutil.copy("/etc/resolv.conf", tree / "etc" / "resolv.conf")
    root.as_root(f"useradd --create-home --shell /bin/bash --uid {USER_ID} {USER}")
    return root


def _ubuntu_keys(folder: Path) -> Path:
    """Fetch the package of Ubuntu's keys, which Debian does not have, by its digest."""
    url, digest = _UBUNTU_KEYS
    package = folder / "keys.deb"
    subprocess.run(["curl", "-fsS", "--max-time", "60", "-o", package, url], check=True)
    sums = f"{digest}  {package}\n"
    subprocess.run(["sha256sum", "--check", "--quiet"], input=sums, text=True, check=True)
    subprocess.run(["dpkg-deb", "-x", package, folder / "keys"], check=True)
    return folder / "keys/usr/share/keyrings/ubuntu-archive-keyring.gpg"


def lab_server(root: Root) -> tuple[list[str | Path], Path]:
    """Return what serves the lab's upstream, and the settings that it writes for the person."""
    settings = root.home / "lab.yaml"
    return [sys.executable, "-m", "tools.lab.upstream", "--config", settings], settings
