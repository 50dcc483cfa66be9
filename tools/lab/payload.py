"""The OS payload that makes the lab's ISO bootable, made by the product's own command."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.lab.place import CHECKOUT, fingerprint, lab_dir, once, run, say

NEEDED = {"mmdebstrap": "mmdebstrap", "sqfstar": "squashfs-tools"}
"""Programs, and the Debian packages that have them."""

_MADE_OF = ("os", "osbuild.py", "payload.py")
_SECONDS = 1800


def payload_store(kernel: str = "cloud", lab: Path | None = None) -> Path | None:
    """Return a store with the payload that has ``kernel``; None where it cannot be made.

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
        run([*words, "--store", target / "store"], cwd=CHECKOUT, timeout=_SECONDS)

    mark = fingerprint(kernel, *(machine / name for name in _MADE_OF))
    return once((lab or lab_dir()) / f"payload-{kernel}", mark, make) / "store"
