"""The demonstration that boots does so with everything that it says is real."""

from __future__ import annotations

from pathlib import Path

import pytest

from isobuilder.machine.console import NAMES
from tests.boot.conftest import isobuilder

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(2400)]

WITHOUT_A_CLUSTER = [
    name for name in NAMES if name not in {"kubeadm done", "node Ready", "node up"}
]


def test_it_ends_with_a_machine_that_is_up(boot_store: Path, tmp_path: Path) -> None:
    text = isobuilder("demo", "--boot", "--out", tmp_path / "demo", "--store", boot_store)
    rows = [line for line in text.splitlines() if line.startswith("demo-node  ")]
    assert [row.split("  ")[1] for row in rows] == WITHOUT_A_CLUSTER
    said = [line for line in text.splitlines() if line.startswith("node says ")]
    assert any("Debian GNU/Linux 13" in line for line in said)
    assert any("containerd 1." in line or "containerd 2." in line for line in said)
    assert any("13 images are imported" in line for line in said)
    assert any("said: kube-proxy: a stand-in" in line for line in said)
    next((tmp_path / "demo").glob("*.iso")).unlink()
