"""An ISO made here for arm64 starts there, imports all its images, and becomes a Ready node."""

from __future__ import annotations

from pathlib import Path

import pytest

from isobuilder.machine.qemu import Firmware, Machine
from tests.boot.conftest import PATIENCE as BOOT_SECONDS
from tests.boot.summary import Summary as BootSummary
from tests.boot.test_firmware import comes_up
from tests.cluster.runs import HERE, PATIENCE, Case, Node, render, run_cluster
from tests.cluster.summary import Summary, keep_consoles, section
from tests.cluster.test_cluster import check_cluster
from tools.lab.arm64 import NAME

pytestmark = [pytest.mark.arm64, pytest.mark.slow, pytest.mark.timeout(5400 * PATIENCE)]

NODE = Case("One node of arm64", HERE / "one-node.yaml", (3072,), minutes=60, architecture=NAME)


@pytest.mark.parametrize("firmware", ["uefi", "secureboot"])
def test_all_images_are_imported(
    firmware: Firmware, iso: Path, tmp_path: Path, results: Path | None
) -> None:
    machine = Machine("node1", iso, firmware=firmware, architecture=NAME)
    limit = BOOT_SECONDS * PATIENCE
    booted = comes_up(machine, tmp_path, BootSummary(results), kernel=f"cloud {NAME}", limit=limit)
    node = Node("node1", machine.memory, booted.outcome.log)
    assert node.said(r"kiso: images: 13 imported: done in .*"), booted.text[-4000:]
    print(f"\n{firmware}: {booted.outcome.reached}")
    if results is not None:
        keep_consoles(f"Images of {NAME} by {firmware}", [node], results)


def test_a_node_becomes_ready(iso: Path, tmp_path: Path, results: Path | None) -> None:
    run = run_cluster(NODE, iso, tmp_path, render(NODE, tmp_path))
    assert run.nodes, run.trouble
    text = section(run, iso)
    print(f"\n{NODE.title}\n\n{text}")
    check_cluster(run)
    assert run.nodes[0].said(r"lab: version: uname -r -m: \S+ aarch64"), run.trouble
    Summary(results).add(run, text)
