"""The lab's ISO of arm64: only with ``make test-boot-arm64``, which first makes its parts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.machine.qemu import firmware_files
from isobuilder.model.architecture import ARCHITECTURES
from tests.boot.conftest import built_iso, results
from tools.lab import arm64
from tools.lab.place import lab_dir

__all__ = ["results"]


@pytest.fixture(scope="session")
def iso(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lab's recipe of arm64, locked and built here with an OS payload."""
    traits = ARCHITECTURES[arm64.NAME]
    if shutil.which(traits.qemu) is None or firmware_files(arm64.NAME, "uefi") is None:
        pytest.skip(f"not installed: qemu-system-arm {traits.firmware}; then make test-boot-arm64")
    lab = arm64.folder(lab_dir())
    if not (lab / "ready").is_file():
        pytest.skip("the lab has no parts of arm64; run make test-boot-arm64")
    store = lab_dir() / f"payload-cloud-{arm64.NAME}/store"
    folder = tmp_path_factory.mktemp("arm64")
    path = built_iso(store, folder, "--boot", "debian-13", more=f"-{arm64.NAME}", lab=lab)
    yield path
    path.unlink()
