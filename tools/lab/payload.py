"""The OS payload that makes the lab's ISO bootable, made by the product's own command."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.lab.place import CHECKOUT, fingerprint, lab_dir, once, run, say

NEEDED = {"mmdebstrap": "mmdebstrap", "sqfstar": "squashfs-tools"}
"""Programs, and the Debian packages that have them."""

_MADE_OF = ("os", "osbuild.py", "payload.py")
_SECONDS = {"amd64": 1800, "arm64": 7200}


def payload_store(
    kernel: str = "cloud", lab: Path | None = None, *, architecture: str = "amd64"
) -> Path | None:
    """Return a store with the payload that has ``kernel``; None where it cannot be made.

    Of another architecture than this machine's it can be made within ``cross.emulated``.

    Raises:
        LabError: making it failed.
    """
    missing = [package for name, package in NEEDED.items() if shutil.which(name) is None]
    if missing:
        say(f"no OS payload, so no bootable ISO: install {' '.join(missing)}")
        return None
    machine = CHECKOUT / "isobuilder" / "machine"

    def make(target: Path) -> None:
        words = [sys.executable, "-m", "isobuilder", "os", "build", "--kernel", kernel]
        words += ["--arch", architecture, "--store", str(target / "store")]
        run(words, cwd=CHECKOUT, timeout=_SECONDS[architecture])

    suffix = "" if architecture == "amd64" else f"-{architecture}"
    mark = fingerprint(f"{kernel}{suffix}", *(machine / name for name in _MADE_OF))
    return once((lab or lab_dir()) / f"payload-{kernel}{suffix}", mark, make) / "store"
