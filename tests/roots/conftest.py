"""Fresh systems and a container image: only with ``make test-roots``, for they take packages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tools.release.dist import release

PYTHONS = ("3.11", "3.12", "3.13")  # of Debian 12, Ubuntu 24.04, Debian 13


@pytest.fixture(autouse=True, scope="session")
def _what_it_takes_is_here() -> None:
    if why := _missing():
        pytest.skip(why)


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    programs = ("mmdebstrap", "unshare", "chroot", "ip", "buildah")
    missing = [name for name in programs if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make dist PYTHONS=...`` writes."""
    folder = tmp_path_factory.mktemp("release") / "made"
    release(folder, PYTHONS)
    return folder
