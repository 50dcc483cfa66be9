"""The clusters' descriptions and the page about them, without any machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.model.cluster_checks import load_cluster
from tests.cluster.runs import HERE, Case, Node, Run
from tests.cluster.summary import Summary, restarts_of, section

CASE = Case("One node", HERE / "one-node.yaml", (3072,), minutes=12)

CLUSTERS = sorted(path for path in HERE.glob("*.yaml") if "\nnodes:\n" in path.read_text())

CONSOLE = """\
[    9.5] kiso: medium found on /dev/sr0\r
[   70.0] systemd[1]: Started something.\r
[  100.1] lab: machine: qemu, 2 processors\r
[  100.2] lab: memory: 700 of 2960 MiB in use, state 400 MiB\r
[  150.4] kiso: images: 14 imported: done in 52.0 s\r
[  330.7] kiso: node: node control Ready: done in 2 s\r
[  420.2] lab: memory: 1400 of 2960 MiB in use, state 610 MiB\r
[  430.0] lab: pod of default       hello          1/1   Running   0   40s   10.244.0.4   control\r
[  430.1] lab: pod of kube-system   etcd-control   1/1   Running   2   90s   10.0.2.15    control\r
[  431.0] kiso: node: up: control\r
"""


def run_of(tmp_path: Path) -> Run:
    log = tmp_path / "node1.log"
    log.write_text(CONSOLE, encoding="utf-8", newline="")
    return Run(CASE, code=0, wall=440.4, nodes=(Node("control", 3072, log),), errors=())


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_a_description_is_one_that_node_cluster_takes(path: Path) -> None:
    assert load_cluster(path).first is not None


def test_restarts_are_read_from_the_console(tmp_path: Path) -> None:
    found = restarts_of(run_of(tmp_path).nodes[0])
    assert found == {"default/hello": 0, "kube-system/etcd-control": 2}


def test_a_section_has_times_memory_and_restarts(tmp_path: Path) -> None:
    text = section(run_of(tmp_path), Path(__file__))
    assert "| images imported | 150 |" in text
    assert "| memory in use at most, MiB | 1400 |" in text
    assert "| of it state, at most, MiB | 610 |" in text
    assert "each guest: emulation (no KVM), 2 processors" in text
    assert "**440 s**" in text
    assert "2 pods, 2 restarts." in text
    assert "kubeadm begins" not in text


def test_a_page_keeps_the_sections_of_other_runs(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("# What it costs\n\n## Goals\n\nmet\n", encoding="utf-8")
    run = run_of(tmp_path)
    other = replace(run, case=replace(run.case, title="Two nodes"))
    for done, text in ((other, "old"), (run, "new")):
        Summary(page).add(done, text)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# What it costs\n\n## Goals\n\nmet\n\n## A real cluster\n")
    assert text.endswith("\n\n### One node\n\nnew\n\n### Two nodes\n\nold\n")
