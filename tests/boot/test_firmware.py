"""Every way to start the ISO ends in a node that is ready for kubeadm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.machine.qemu import Attachment, Firmware, Machine
from isobuilder.model.architecture import ARCHITECTURES
from tests.boot.conftest import PATIENCE, REPORT, Booted, boot, seed
from tests.boot.summary import Summary

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(1200)]


def comes_up(
    machine: Machine,
    logs: Path,
    summary: Summary,
    *,
    kernel: str = "cloud",
    limit: float = PATIENCE,
) -> Booted:
    """Start ``machine`` and look whether everything of the ISO is there and works."""
    configuration = seed(logs / "seed.iso", REPORT)
    booted = boot(replace(machine, seed=configuration), logs, limit=limit)
    assert not booted.outcome.failed, booted.text[-4000:]
    assert booted.said("host") == "n1"
    assert booted.said("processor") == ARCHITECTURES[machine.architecture].mold
    assert booted.said("images") == "13"
    assert booted.said("kubeadm") == "v1.37.1"
    assert booted.said("kubelet") == "Kubernetes v1.37.1"
    assert booted.said("containerd") == "active"
    assert booted.said("ssh") == "active"
    assert booted.said("failed") == ""
    assert booted.said("root") == "755:0"
    assert ("Secure boot enabled" in booted.text) == (machine.firmware == "secureboot")
    summary.add(machine, booted.outcome, kernel=kernel)
    return booted


@pytest.mark.parametrize(
    ("firmware", "attachment"),
    [("bios", "cd"), ("uefi", "disk"), ("secureboot", "cd")],
)
def test_it_comes_up_to_cloud_init_done(
    firmware: Firmware, attachment: Attachment, iso: Path, tmp_path: Path, summary: Summary
) -> None:
    comes_up(Machine("node1", iso, firmware=firmware, attachment=attachment), tmp_path, summary)


@pytest.mark.parametrize(
    ("firmware", "attachment"),
    [("bios", "disk"), ("uefi", "cd"), ("secureboot", "disk")],
)
def test_every_other_drive_does_as_well(
    firmware: Firmware, attachment: Attachment, iso: Path, tmp_path: Path, summary: Summary
) -> None:
    comes_up(Machine("node1", iso, firmware=firmware, attachment=attachment), tmp_path, summary)


@pytest.mark.parametrize("firmware", ["bios", "uefi", "secureboot"])
def test_a_usb_stick_with_the_generic_kernel_does_as_well(
    firmware: Firmware, generic_iso: Path, tmp_path: Path, summary: Summary
) -> None:
    machine = Machine("node1", generic_iso, firmware=firmware, attachment="usb")
    comes_up(machine, tmp_path, summary, kernel="generic")


def test_a_usb_stick_with_the_cloud_kernel_says_what_is_missing(iso: Path, tmp_path: Path) -> None:
    # The cloud kernel has no USB storage, so it cannot find again what GRUB read it from.
    booted = boot(Machine("node1", iso, attachment="usb"), tmp_path, until="root ready", limit=300)
    assert "kernel" in booted.outcome.reached
    assert any("was found in 60 s" in error for error in booted.outcome.errors)
    assert any("generic kernel" in hint for hint in booted.outcome.hints)


def test_without_configuration_nothing_waits(iso: Path, tmp_path: Path, summary: Summary) -> None:
    machine = Machine("node1", iso)
    booted = boot(machine, tmp_path, until="system up")
    assert not booted.outcome.failed, booted.text[-4000:]
    assert "no configuration was attached" in booted.text
    assert "kiso: error" not in booted.text
    summary.add(machine, booted.outcome, kernel="cloud", detail="no configuration")
