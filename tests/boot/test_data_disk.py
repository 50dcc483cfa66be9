"""State on a disk: a second boot is short and complete, and a power cut is no end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from isobuilder.machine.qemu import Machine, make_data_disk, start
from tests.boot.conftest import REPORT, Booted, boot, cut_power, seed
from tests.boot.host import KVM
from tests.boot.summary import Summary

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(7200)]


CUTS = 10


def on_new_disk(iso: Path, folder: Path) -> Machine:
    """Return a machine with an empty data disk."""
    folder.mkdir()
    disk = folder / "data.img"
    make_data_disk(disk, mebibytes=8192)
    return Machine("node1", iso, data=disk, seed=seed(folder / "seed.iso", REPORT))


@pytest.fixture
def machine(iso: Path, tmp_path: Path) -> Machine:
    return on_new_disk(iso, tmp_path / "machine")


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


def complete(booted: Booted) -> None:
    """Look whether a boot ended with everything in place."""
    assert not booted.outcome.failed, booted.text[-4000:]
    assert booted.said("images") == "14"
    assert booted.said("kubeadm") == "v1.37.1"
    assert booted.said("containerd") == "active"
    assert booted.said("failed") == ""


def test_a_power_cut_at_any_moment_of_the_first_boot_is_no_end(iso: Path, tmp_path: Path) -> None:
    whole = on_new_disk(iso, tmp_path / "whole")
    uncut = boot(whole, tmp_path, until="system up")
    complete(uncut)
    end = uncut.outcome.reached["system up"]
    for number in range(CUTS):
        machine = on_new_disk(iso, tmp_path / f"cut{number}")
        seconds = random.uniform(uncut.outcome.reached["kernel"], end)
        (cut,) = start([machine], logs=tmp_path, until="system up", timeout=seconds, kvm=KVM)
        assert not cut.errors
        booted = boot(machine, tmp_path, until="system up")
        print(
            f"cut after {seconds:.0f} of {end:.0f} s, behind {list(cut.reached)[-1]}; then up "
            f"after {booted.outcome.reached.get('system up', 0):.0f} s"
        )
        complete(booted)


@pytest.mark.parametrize("stage", ["init", "modules:config", "modules:final"])
def test_a_power_cut_while_cloud_init_is_at_work_is_no_end(
    iso: Path, tmp_path: Path, stage: str
) -> None:
    machine = on_new_disk(iso, tmp_path / "machine")
    # Long enough for the stage to note what it did, too short for all that to be written.
    cut_power(machine, tmp_path, behind=f"running '{stage}'", within=2)
    booted = boot(machine, tmp_path, until="system up")
    assert "the first boot was cut off: cloud-init begins again" in booted.text
    complete(booted)
