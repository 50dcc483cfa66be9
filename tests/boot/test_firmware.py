"""Every way to start the ISO ends in a node that is ready for kubeadm."""

from __future__ import annotations

from pathlib import Path

import pytest

from isobuilder.node.lab import Attachment, Firmware, Machine
from tests.boot.conftest import REPORT, boot, seed

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("firmware", "attachment"),
    [("bios", "cd"), ("uefi", "disk"), ("secureboot", "cd")],
)
def test_it_comes_up_to_cloud_init_done(
    firmware: Firmware, attachment: Attachment, iso: Path, tmp_path: Path
) -> None:
    configuration = seed(tmp_path / "seed.iso", REPORT)
    machine = Machine("node1", iso, firmware=firmware, attachment=attachment, seed=configuration)
    booted = boot(machine, tmp_path)
    assert not booted.outcome.failed, booted.text[-4000:]
    assert booted.said("host") == "n1"
    assert booted.said("images") == "14"
    assert booted.said("kubeadm") == "v1.20.2"
    assert booted.said("kubelet") == "Kubernetes v1.20.2"
    assert booted.said("containerd") == "active"
    assert booted.said("ssh") == "active"
    assert booted.said("failed") == ""
    assert booted.said("root") == "755:0"
    assert ("Secure boot enabled" in booted.text) == (firmware == "secureboot")


@pytest.mark.parametrize(
    ("firmware", "attachment"),
    [("bios", "disk"), ("uefi", "cd"), ("secureboot", "disk")],
)
def test_every_other_way_finds_its_root(
    firmware: Firmware, attachment: Attachment, iso: Path, tmp_path: Path
) -> None:
    machine = Machine("node1", iso, firmware=firmware, attachment=attachment)
    booted = boot(machine, tmp_path, until="root ready", limit=300)
    assert not booted.outcome.failed, booted.text[-4000:]


@pytest.mark.parametrize("firmware", ["bios", "uefi", "secureboot"])
def test_a_usb_stick_starts_loader_and_kernel(
    firmware: Firmware, iso: Path, tmp_path: Path
) -> None:
    # The cloud kernel has no USB storage, so it cannot find the stick again, and says so.
    machine = Machine("node1", iso, firmware=firmware, attachment="usb")
    booted = boot(machine, tmp_path, until="root ready", limit=300)
    assert "kernel" in booted.outcome.reached
    assert any("was found in 60 s" in error for error in booted.outcome.errors)
    assert any("generic kernel" in hint for hint in booted.outcome.hints)


def test_without_configuration_nothing_waits(iso: Path, tmp_path: Path) -> None:
    booted = boot(Machine("node1", iso), tmp_path, until="system up")
    assert not booted.outcome.failed, booted.text[-4000:]
    assert "no configuration was attached" in booted.text
    assert "kiso: error" not in booted.text
