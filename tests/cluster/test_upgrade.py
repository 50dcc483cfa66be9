"""Clusters that are brought to the next ISO, which is attached beside the one they run from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.runs import HERE, HOST_PATIENCE, Case, Run, render, run_cluster
from tests.cluster.summary import Summary, section
from tests.cluster.test_cluster import check_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(9000 * HOST_PATIENCE)]

PATCH = Case("Upgrade 1.37.1 to 1.37.2", HERE / "upgrade-patch.yaml", (5120, 5120), minutes=90)
MINOR = Case(
    "Upgrade 1.36.5 to 1.37.1", HERE / "upgrade-minor.yaml", (5120, 5120), 90, kubernetes="1.36.5"
)


def check_upgrade(run: Run, version: str) -> None:
    """Check that all nodes run ``version`` in the end, and that pods of before are still there."""
    assert run.code == 0, run.trouble
    control = run.nodes[0]
    for node in run.nodes:
        assert control.said(f"lab: upgrade: {node.name} is drained"), run.trouble
        assert control.said(rf"lab: upgrade: {node.name} is v{re.escape(version)}"), run.trouble
        ready = rf"lab: node {node.name} +Ready +\S.* v{re.escape(version)} .*"
        assert control.said(ready), run.trouble
    core = {match[1] for match in control.said(r"lab: core: .*/(kube-[^:@]+):v(\S+)")}
    assert core == {"kube-apiserver", "kube-controller-manager", "kube-scheduler"}, run.trouble
    assert all(match[2] == version for match in control.said(r"lab: core: .*/(kube-[^:@]+):v(\S+)"))
    assert len(control.said("lab: before: hello-.*")) == len(run.nodes)
    assert control.said("lab: after: the pods of before run"), run.trouble
    assert control.said("lab: all pods Ready after the upgrade"), run.trouble


def run_and_check(case: Case, isos: tuple[Path, Path], folder: Path, summary: Summary) -> Run:
    run = run_cluster(case, isos[0], folder, render(case, folder), discs=[isos[1]])
    assert run.nodes, run.trouble
    text = section(run, isos[0])
    print(f"\n{case.title}\n\n{text}")
    check_cluster(run)
    check_upgrade(run, isos[1].name.split("-")[1].removeprefix("v"))
    summary.add(run, text)
    return run


def test_two_nodes_come_to_the_next_patch_although_kubeadm_is_killed_on_the_way(
    iso_of: Callable[[str], Path], tmp_path: Path, summary: Summary
) -> None:
    run = run_and_check(PATCH, (iso_of("1.37.1"), iso_of("1.37.2")), tmp_path, summary)
    assert run.nodes[0].said(r"lab: upgrade: killed behind: .*Moving new manifest.*"), run.trouble


def test_two_nodes_come_to_the_next_minor(
    iso_of: Callable[[str], Path], tmp_path: Path, summary: Summary
) -> None:
    run_and_check(MINOR, (iso_of("1.36.5"), iso_of("1.37.1")), tmp_path, summary)
