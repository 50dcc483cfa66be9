"""The host of virtual machines: what its figures depend on."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from isobuilder.model.architecture import ARCHITECTURES, DEFAULT

KVM = False
"""Machines of these tests run in emulation, on whatever host."""


def when_and_where() -> str:
    """Return the date, the processors of this machine and how busy they are."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors, "
        f"load {os.getloadavg()[0]:.0f} at the end{_priority()}"
    )


def qemu(architecture: str = DEFAULT) -> str:
    """Return the version of QEMU for machines of an architecture."""
    argv = [ARCHITECTURES[architecture].qemu, "--version"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    match = re.search(r"version (\S+)", text)
    return f"QEMU {match[1]}" if match else "QEMU"


def _priority() -> str:
    """Return whether the kernel preferred this session to others, which the load would hide."""
    try:
        text = Path("/proc/self/autogroup").read_text(encoding="ascii")
    except OSError:
        return ""
    # "/autogroup-66 nice 0"; empty where the process belongs to none, as in some containers.
    value = text.rpartition("nice")[2].strip()
    return f", priority of nice {value}" if value not in {"", "0"} else ""
