"""State on a disk: a second boot is short and complete, and a power cut is no end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from isobuilder.node.lab import Machine, make_data_disk, start
from tests.boot.conftest import REPORT, boot, seed
from tests.boot.summary import Summary

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(7200)]


@pytest.fixture
def machine(iso: Path, tmp_path: Path) -> Machine:
    disk = tmp_path / "data.img"
    make_data_disk(disk, mebibytes=8192)
    return Machine("node1", iso, data=disk, seed=seed(tmp_path / "seed.iso", REPORT))


def test_a_second_boot_finds_everything_and_imports_nothing(
    machine: Machine, tmp_path: Path, summary: Summary
) -> None:
    logs = [tmp_path / "first", tmp_path / "second"]
    for folder in logs:
        folder.mkdir()
    first = boot(machine, logs[0], until="system up")
    assert not first.outcome.failed, first.text[-4000:]
    assert "state is kept on /dev/" in first.text
    second = boot(machine, logs[1], until="system up")
    assert not second.outcome.failed, second.text[-4000:]
    assert "images: were imported by an earlier boot" in second.text
    for fact in ("host", "images", "kubeadm", "plugins", "containerd", "ssh", "machine"):
        assert second.said(fact) == first.said(fact), fact
    assert second.said("failed") == ""
    assert second.outcome.reached["system up"] < first.outcome.reached["system up"]
    summary.add(machine, first.outcome, kernel="cloud", detail="empty data disk")
    summary.add(machine, second.outcome, kernel="cloud", detail="second boot from that data disk")


def test_a_power_cut_at_any_moment_is_no_end(machine: Machine, tmp_path: Path) -> None:
    chosen = random.Random(20)
    for _ in range(10):
        seconds = chosen.uniform(20, 250)
        (outcome,) = start([machine], logs=tmp_path, until="system up", timeout=seconds, kvm=False)
        print(f"cut after {seconds:.0f} s, at {list(outcome.reached)[-1:]}")
        assert not outcome.errors
    booted = boot(machine, tmp_path, until="system up")
    assert not booted.outcome.failed, booted.text[-4000:]
    assert booted.said("images") == "14"
    assert booted.said("failed") == ""
