"""Real clusters of other kinds: other addresses, a newer ISO, several control planes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.conftest import isobuilder
from tests.cluster.nodes import Ended, run_nodes, switch_off, wait_for_line
from tests.cluster.runs import PATIENCE, Node, described
from tools.lab.place import HERE as LAB_SOURCE
from tools.lab.upstream import lab_upstream

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(9000 * PATIENCE)]

WEB = r"docker\.io/library/hello-web \(stand-in of the isobuilder lab\) on .*"
KEEPALIVED = "docker.io/library/keepalived:2.3.3"


def up(ended: Ended) -> tuple[Node, ...]:
    """Return the nodes, all of which have to be up."""
    assert ended.code == 0, ended.trouble
    for node in ended.nodes:
        assert node.said(f"kiso: node: up: {node.name}"), ended.trouble
    return ended.nodes


@pytest.mark.parametrize(("name", "families"), [("ipv6", (6,)), ("dual-stack", (4, 6))])
def test_a_node_comes_up_with_other_addresses_than_ipv4(
    iso: Path, tmp_path: Path, name: str, families: tuple[int, ...]
) -> None:
    description = described(f"{name}.yaml", tmp_path)
    (control,) = up(run_nodes(iso, description, tmp_path, memory=3072, minutes=40))
    for family in families:
        assert control.said(f"lab: IPv{family} pod answers: {WEB}")
        assert control.said(f"lab: IPv{family} service answers: {WEB}")
    assert control.said("lab: API service answers: ok")
    (networks,) = control.said("lab: pod networks: (.*)")
    assert len(networks[1].split()) == len(families)


@pytest.fixture(scope="session")
def newer_iso(boot_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lab's next patch, bootable."""
    path = built(boot_store, tmp_path_factory.mktemp("newer"), "1.37.2", "")
    yield path
    path.unlink()


def built(store: Path, folder: Path, version: str, more: str) -> Path:
    """Build a recipe of the lab that has ``more`` at its end."""
    for name in {"kubernetes-1.37.1.yaml", f"kubernetes-{version}.yaml"}:
        text = (LAB_SOURCE / "recipes" / name).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8")
    recipe = folder / f"kubernetes-{version}.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8") + more, encoding="utf-8")
    with lab_upstream() as upstream:
        words = ("build", recipe, "--boot", "debian-13", "--out", folder, "--store", store)
        return Path(isobuilder(*words, "--config", upstream.config_path))


def test_two_nodes_follow_the_plan_of_an_upgrade_though_it_is_killed_in_the_middle(
    iso: Path, newer_iso: Path, tmp_path: Path
) -> None:
    description = described("node-upgrade.yaml", tmp_path)
    words = ("node", "upgrade", newer_iso, "--cluster", description, "--json")
    plan = isobuilder(*words)
    (description.parent / "plan.json").write_text(plan, encoding="utf-8")
    ended = run_nodes(iso, description, tmp_path, memory=5120, minutes=120, discs=[newer_iso])
    control, worker = up(ended)
    steps = json.loads(plan)["steps"]
    assert control.said("lab: killed in the middle: .*"), ended.trouble
    done = r"lab: all \d+ steps are done: control,? ?Ready v1\.37\.2,worker Ready v1\.37\.2"
    assert control.said(done), ended.trouble
    assert len(control.said("lab: step .*")) + len(worker.said("lab: step .*")) == len(steps)
    answered = control.said(f"lab: IPv4 service answers: {WEB}")
    assert len(answered) == 2, "pods of before do not answer after"


@pytest.fixture(scope="session")
def iso_with_keepalived(
    boot_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The lab's recipe with the image that a virtual IP needs."""
    text = (LAB_SOURCE / "recipes/kubernetes-1.37.1.yaml").read_text(encoding="utf-8")
    if KEEPALIVED not in text:
        pytest.skip(f"the lab has no {KEEPALIVED} yet")
    path = built(boot_store, tmp_path_factory.mktemp("planes"), "1.37.1", "")
    yield path
    path.unlink()


def test_three_control_planes_go_on_when_one_is_switched_off(
    iso_with_keepalived: Path, tmp_path: Path
) -> None:
    def off(nodes: tuple[Node, ...], process: subprocess.Popen[str]) -> None:
        for node in nodes:
            wait_for_line(node, "kiso: node: node .* Ready: .*", process, within=6000)
        switch_off("node1", process)

    ended = run_nodes(
        iso_with_keepalived,
        described("planes.yaml", tmp_path),
        tmp_path,
        memory=3584,
        minutes=150,
        meanwhile=off,
    )
    _, *others = ended.nodes
    for node in others:
        assert node.said(f"kiso: node: up: {node.name}"), ended.trouble
        for again in node.said(r"lab: API at \S+ answers again after (\d+) s"):
            assert int(again[1]) <= 60, ended.trouble
        assert not node.said("lab: API at .* does not answer") or node.said(
            "lab: API at .* answers again .*"
        ), ended.trouble
