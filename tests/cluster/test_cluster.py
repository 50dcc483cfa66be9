"""One ISO, no network to the outside, a Kubernetes cluster that works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isobuilder.machine.qemu import Machine, make_data_disk
from tests.boot.conftest import cut_power
from tests.cluster.runs import HERE, HOST_PATIENCE, Case, Run, render, run_cluster
from tests.cluster.summary import Summary, restarts_of, section

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(3600 * HOST_PATIENCE)]

ONE = Case("One node", HERE / "one-node.yaml", (3072,), minutes=30)
TWO = Case("Two nodes", HERE / "two-nodes.yaml", (4096, 2560), minutes=30)

SYSTEM = {"coredns": 2, "etcd": 1, "kube-apiserver": 1, "kube-controller-manager": 1}
SYSTEM |= {"kube-scheduler": 1}


def check_cluster(run: Run) -> None:
    """Check that the cluster works: each node has a pod and a service that all reach, by name too.

    ``proof.sh`` has judged what it asked; here is whether it asked all of it, and of what.
    """
    assert run.code == 0, run.trouble
    control, names = run.nodes[0], [node.name for node in run.nodes]
    assert [node.name for node in run.nodes if node.said(rf"kiso: node: up: {node.name}")] == names
    version = re.escape(f"v{run.case.kubernetes}")
    states = [match.groups() for match in control.said(rf"lab: node (\S+) +(\S+) .* {version} .*")]
    assert sorted(states) == [(name, "Ready") for name in names]
    assert [match[1] for match in control.said(r"lab: pod runs on (\S+)")] == names, run.trouble
    for number, name in enumerate(names, 1):
        body = rf"docker\.io/library/hello-web \(stand-in of the isobuilder lab\) on hello-{name}"
        assert control.said(rf"lab: pod http://10\.244\.\d+\.\d+/ answers: {body}"), run.trouble
        assert control.said(rf"lab: name hello-{name}\.default\.svc\.cluster\.local is .*")
        for node in run.nodes:
            service = rf"lab: service http://10\.96\.100\.{number}/ answers: {body}"
            assert node.said(service), run.trouble
            assert node.said(f"lab: from a pod: hello-{name} answers"), run.trouble
    for node in run.nodes:
        assert node.said(r"lab: API service https://10\.96\.0\.1/healthz answers: ok"), run.trouble
        assert node.said(f"lab: version: kubeadm version: {version}")
        assert node.said(f"lab: version: kubelet --version: Kubernetes {version}")
        assert node.said(r"lab: version: containerd --version: containerd .* v2\.3\.\d+.*")
        # No check of kubeadm was passed over, and none had anything to say.
        assert not node.said(r"lab: kubeadm warned: .*|kiso: node: .*carrying on"), run.trouble
    check_pods(run)


def check_pods(run: Run) -> None:
    """Check that the pods of a whole cluster are there; ``proof.sh`` has seen all Ready."""
    restarts = restarts_of(run.nodes[0])  # proof.sh has judged how late they came
    pods = [name.removeprefix("kube-system/") for name in restarts]
    each = ("kube-proxy", "kube-router", "default/hello")
    for name, count in (SYSTEM | dict.fromkeys(each, len(run.nodes))).items():
        assert sum(pod.startswith(f"{name}-") for pod in pods) == count, pods


def run_and_check(case: Case, iso: Path, folder: Path, summary: Summary) -> None:
    run = run_cluster(case, iso, folder, render(case, folder))
    assert run.nodes, run.trouble
    text = section(run, iso)
    print(f"\n{case.title}\n\n{text}")
    check_cluster(run)
    summary.add(run, text)


def test_one_node_runs_a_pod_and_its_service(iso: Path, tmp_path: Path, summary: Summary) -> None:
    run_and_check(ONE, iso, tmp_path, summary)


def test_a_worker_of_the_same_iso_joins_and_pods_of_both_nodes_reach_each_other(
    iso: Path, tmp_path: Path, summary: Summary
) -> None:
    run_and_check(TWO, iso, tmp_path, summary)


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
    check_cluster(run)
