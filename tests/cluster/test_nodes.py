"""Real clusters of other kinds: other addresses, a newer ISO, several control planes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot.conftest import built_iso, isobuilder
from tests.cluster.nodes import held_back, let_go, switch_off, wait_for_line
from tests.cluster.runs import HERE, HOST_PATIENCE, Case, Node, Run, Started, render, run_cluster
from tests.cluster.summary import Summary, section

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(9000 * HOST_PATIENCE)]

IPV6 = Case("IPv6 alone", HERE / "ipv6.yaml", (3072,), minutes=40)
DUAL = Case("IPv4 and IPv6", HERE / "dual-stack.yaml", (3072,), minutes=40)
PLAN = Case("The plan of an upgrade", HERE / "node-upgrade.yaml", (5120, 5120), minutes=120)
PLANES = Case("Three control planes", HERE / "planes.yaml", (3584, 3584, 3584), minutes=150)

WEB = r"docker\.io/library/hello-web \(stand-in of the isobuilder lab\) on .*"


def check_up(run: Run, iso: Path, summary: Summary, nodes: tuple[Node, ...]) -> None:
    """Check that ``nodes`` are up, and keep what the run took."""
    text = section(run, iso)
    print(f"\n{run.case.title}\n\n{text}")
    for node in nodes:
        assert node.said(f"kiso: node: up: {node.name}"), run.trouble
    summary.add(run, text)


@pytest.mark.parametrize(("case", "families"), [(IPV6, (6,)), (DUAL, (4, 6))], ids=["6", "46"])
def test_a_node_comes_up_with_other_addresses_than_ipv4(
    iso: Path, tmp_path: Path, summary: Summary, case: Case, families: tuple[int, ...]
) -> None:
    run = run_cluster(case, iso, tmp_path, render(case, tmp_path))
    assert run.code == 0, run.trouble
    (control,) = run.nodes
    for family in families:
        assert control.said(f"lab: IPv{family} pod answers: {WEB}")
        assert control.said(f"lab: IPv{family} service answers: {WEB}")
    assert control.said("lab: API service answers: ok")
    (networks,) = control.said("lab: pod networks: (.*)")
    assert len(networks[1].split()) == len(families)
    check_up(run, iso, summary, run.nodes)


def test_two_nodes_follow_the_plan_of_an_upgrade_though_it_is_killed_in_the_middle(
    iso_of: Callable[[str], Path], tmp_path: Path, summary: Summary
) -> None:
    old, new = iso_of("1.37.1"), iso_of("1.37.2")
    plan = isobuilder("node", "upgrade", new, "--cluster", PLAN.description, "--json")
    nodes = render(PLAN, tmp_path, plan=plan)
    run = run_cluster(PLAN, old, tmp_path, nodes, discs=[new])
    assert run.code == 0, run.trouble
    control, worker = run.nodes
    steps = json.loads(plan)["steps"]
    assert control.said("lab: killed in the middle: .*"), run.trouble
    done = r"lab: all \d+ steps are done: control,? ?Ready v1\.37\.2,worker Ready v1\.37\.2"
    assert control.said(done), run.trouble
    assert len(control.said("lab: step .*")) + len(worker.said("lab: step .*")) == len(steps)
    answered = control.said(f"lab: IPv4 service answers: {WEB}")
    assert len(answered) == 2, "pods of before do not answer after"
    before, after = (match[1] for match in control.said(f"lab: IPv4 pod answers: ({WEB})"))
    assert before == after, "the pod of before was made anew"
    check_up(run, old, summary, run.nodes)


def test_three_control_planes_go_on_when_one_is_switched_off(
    boot_store: Path, tmp_path: Path, summary: Summary
) -> None:
    def meanwhile(nodes: tuple[Node, ...], process: Started) -> None:
        with held_back(nodes[1:], process) as others:
            for node, other in zip(nodes, others, strict=False):
                ready = rf"kiso: node: node {node.name} Ready: done.*"
                wait_for_line(node, ready, process, within=3600)
                let_go(other)
        for node in nodes[1:]:
            ready = "lab: three nodes are Ready, watching the API at .*"
            wait_for_line(node, ready, process, within=7200)
        switch_off(nodes[0], process)

    iso = built_iso(boot_store, tmp_path, "--boot", "debian-13", more="-virtual-ip")
    run = run_cluster(PLANES, iso, tmp_path, render(PLANES, tmp_path), meanwhile=meanwhile)
    assert run.nodes, run.trouble
    for node in run.nodes[1:]:
        assert node.said("lab: the API at .* knows that one is gone"), run.trouble
        # The first has the address until it is switched off, so that everybody misses it.
        again = node.said(r"lab: API at \S+ answers again after (\d+) s")
        away = [int(found[1]) for found in again]
        assert away, run.trouble
        assert max(away) <= 60, run.trouble
    check_up(run, iso, summary, run.nodes[1:])
    iso.unlink()
