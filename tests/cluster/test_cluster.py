"""One ISO, no network to the outside, a Kubernetes cluster that works."""

from __future__ import annotations

from pathlib import Path

import pytest

from isobuilder.machine.qemu import Machine, make_data_disk
from tests.boot.conftest import cut_power
from tests.cluster.runs import HERE, Case, Run, render, run_cluster
from tests.cluster.summary import Summary, restarts_of, section

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(3600)]

ONE = Case("One node", HERE / "one-node.yaml", (3072,), minutes=30)
TWO = Case("Two nodes", HERE / "two-nodes.yaml", (4096, 2560), minutes=30)

SYSTEM = {"coredns": 2, "etcd": 1, "kube-apiserver": 1, "kube-controller-manager": 1}
SYSTEM |= {"kube-scheduler": 1}


def check_cluster(run: Run, *, home: str) -> None:
    """Check that the cluster works and that the test pod, on the node ``home``, is reached."""
    assert run.code == 0, run.trouble
    control = run.nodes[0]
    assert [node.name for node in run.nodes if node.said(rf"kiso: node: up: {node.name}")] == [
        node.name for node in run.nodes
    ]
    states = [match.groups() for match in control.said(r"lab: node (\S+) +(\S+) .* v1\.37\.1 .*")]
    assert sorted(states) == [(node.name, "Ready") for node in run.nodes]
    assert control.said(f"lab: pod runs on {home}"), run.trouble
    body = r"docker\.io/library/hello-web \(stand-in of the isobuilder lab\) on hello"
    assert control.said(rf"lab: pod http://10\.244\.\d+\.\d+/ answers: {body}"), run.trouble
    assert control.said(r"lab: log: docker\.io/library/hello-web .*"), run.trouble
    for node in run.nodes:
        assert node.said(rf"lab: service http://10\.96\.100\.100/ answers: {body}"), run.trouble
        assert node.said(r"lab: API service https://10\.96\.0\.1/healthz answers: ok"), run.trouble
    restarts = restarts_of(control)  # proof.sh has judged how late they came
    pods = [name.removeprefix("kube-system/") for name in restarts if name != "default/hello"]
    assert "default/hello" in restarts
    for name, count in (SYSTEM | {"kube-proxy": len(run.nodes)}).items():
        assert sum(pod.startswith(f"{name}-") for pod in pods) == count, pods


def run_and_check(case: Case, iso: Path, folder: Path, summary: Summary, *, home: str) -> None:
    run = run_cluster(case, iso, folder, render(case, folder))
    assert run.nodes, run.trouble
    text = section(run, iso)
    print(f"\n{case.title}\n\n{text}")
    check_cluster(run, home=home)
    summary.add(run, text)


def test_one_node_runs_a_pod_and_its_service(iso: Path, tmp_path: Path, summary: Summary) -> None:
    run_and_check(ONE, iso, tmp_path, summary, home="control")


def test_a_worker_of_the_same_iso_joins_and_runs_a_pod_that_both_nodes_reach(
    iso: Path, tmp_path: Path, summary: Summary
) -> None:
    run_and_check(TWO, iso, tmp_path, summary, home="worker")


def test_a_node_whose_power_went_while_kubeadm_was_at_work_begins_again(
    iso: Path, tmp_path: Path
) -> None:
    nodes = render(ONE, tmp_path)
    disk = tmp_path / "data.img"
    make_data_disk(disk, mebibytes=8192)
    machine = Machine("cut", iso, memory=ONE.memory[0], seed=nodes[0].seed, data=disk)
    cut_power(machine, tmp_path, behind="kiso: node: kubeadm init: begins", within=100)
    run = run_cluster(ONE, iso, tmp_path, nodes, data=disk)
    assert run.nodes[0].said("kiso: node: an earlier try did not finish: starting over")
    check_cluster(run, home="control")
