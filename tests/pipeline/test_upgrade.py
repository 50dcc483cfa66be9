"""The plan of an upgrade, from an ISO as it is built and nodes as people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import InputError, UsageProblem
from isobuilder.iso.boot_names import UPGRADE
from isobuilder.iso.read.reader import IsoReader
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.nodeconfig.upgrade import upgrade_script
from isobuilder.pipeline.build import build
from isobuilder.pipeline.upgrade import plan_upgrade
from isobuilder.sources.session import Session
from tests.cli.calling import call
from tests.pipeline.test_boot import make_payload
from tests.pipeline.world import Locked


@pytest.fixture
def iso(locked: Locked, session: Session, tmp_path: Path) -> Path:
    boot = LockedBoot.of(make_payload(session.store))
    return build(locked.lock.model_copy(update={"boot": boot}), tmp_path, session).iso


@pytest.fixture
def older(locked: Locked) -> str:
    """The patch before that of the ISO."""
    version = locked.lock.kubernetes
    return f"{version.minor_text}.{version.patch - 1}"


def listed(*nodes: tuple[str, str], architecture: str = "amd64") -> dict[str, Any]:
    """Return what kubectl prints of nodes: name and version of each, the first a control plane."""
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "metadata": {
                    "name": name,
                    "labels": {} if number else {"node-role.kubernetes.io/control-plane": ""},
                },
                "status": {
                    "nodeInfo": {"kubeletVersion": f"v{version}", "architecture": architecture},
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
            for number, (name, version) in enumerate(nodes)
        ],
    }


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_a_bootable_iso_carries_the_script(iso: Path) -> None:
    with IsoReader(iso) as reader, reader.open(UPGRADE) as file:
        assert file.read() == upgrade_script()


def test_a_plain_iso_upgrades_nothing(
    locked: Locked, session: Session, tmp_path: Path, older: str
) -> None:
    plain: Lock = locked.lock
    iso = build(plain, tmp_path, session).iso
    nodes = write(tmp_path / "nodes.json", listed(("one", older)))
    with pytest.raises(InputError, match="only bootable ISOs upgrade their nodes") as caught:
        plan_upgrade(iso, nodes=nodes)
    assert "Mold upgrades its clusters itself" in str(caught.value.hint)


def test_a_plan_is_for_people_and_for_machines(iso: Path, tmp_path: Path, older: str) -> None:
    nodes = write(tmp_path / "nodes.json", listed(("one", older), ("two", older)))
    told = call("node", "upgrade", str(iso), "--nodes", str(nodes), "--json")
    plan = json.loads(told.stdout)
    assert plan["from"] == older
    assert plan["steps"][-1]["command"] == f"bash /run/kiso/next/{UPGRADE} uncordon two"
    text = call("node", "upgrade", str(iso), "--nodes", str(nodes)).stdout
    for step in plan["steps"]:
        assert f"on {step['node']}: {step['what']}\n     {step['command']}\n" in text
    with IsoReader(iso) as reader:
        (marker,) = [path for path in reader.files if path.endswith(".id")]
    assert marker in text


def test_the_nodes_may_be_those_of_a_cluster_file(iso: Path, tmp_path: Path, older: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(
        f'schema: 1\nkubernetes: "{older}"\nendpoint: api.example\nnodes:\n'
        "  - {name: one, role: first-control-plane}\n  - {name: two, role: worker}\n",
        encoding="utf-8",
    )
    plan = plan_upgrade(iso, cluster=path)
    assert [node["role"] for node in plan["nodes"]] == ["control-plane", "worker"]


def test_nothing_is_to_be_done_where_all_is_done(iso: Path, locked: Locked, tmp_path: Path) -> None:
    nodes = write(tmp_path / "nodes.json", listed(("one", str(locked.lock.kubernetes))))
    assert call("node", "upgrade", str(iso), "--nodes", str(nodes)).stdout.startswith(
        "nothing to do: all nodes have v"
    )


def test_nodes_of_another_architecture_are_refused(iso: Path, tmp_path: Path, older: str) -> None:
    nodes = write(tmp_path / "nodes.json", listed(("one", older), architecture="arm64"))
    with pytest.raises(InputErrors, match="node one is arm64"):
        plan_upgrade(iso, nodes=nodes)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"items": []},
        {"items": [1]},
        {"items": [{"metadata": {"name": "a"}, "status": {}}]},
        {"items": [{"metadata": {}, "status": {"nodeInfo": {"kubeletVersion": "v1.2.3"}}}]},
    ],
)
def test_what_is_no_list_of_nodes_is_refused(iso: Path, tmp_path: Path, value: Any) -> None:
    nodes = write(tmp_path / "nodes.json", value)
    with pytest.raises(InputError, match=r"nodes\.json: not a list of nodes"):
        plan_upgrade(iso, nodes=nodes)


@pytest.mark.parametrize(
    "name", ["two; reboot #", "$(reboot)", "Two", "a..b", "", "a\n", "a" * 254]
)
def test_what_is_no_name_of_a_node_becomes_no_word_of_a_command(
    iso: Path, tmp_path: Path, older: str, name: str
) -> None:
    nodes = write(tmp_path / "nodes.json", listed(("one", older), (name, older)))
    with pytest.raises(InputError, match=r"nodes\.json: '.*' is no name of a node"):
        plan_upgrade(iso, nodes=nodes)


def test_nodes_may_have_names_of_domains(iso: Path, tmp_path: Path, older: str) -> None:
    nodes = write(tmp_path / "nodes.json", listed(("one.site-1.example", older)))
    assert plan_upgrade(iso, nodes=nodes)["nodes"][0]["name"] == "one.site-1.example"


@pytest.mark.parametrize("version", ["1.36.5-eks-1", "1.36", "1.37.0-rc.1"])
def test_a_version_that_is_none_of_kubernetes_is_told_with_its_node(
    iso: Path, tmp_path: Path, older: str, version: str
) -> None:
    nodes = write(tmp_path / "nodes.json", listed(("one", older), ("two", version)))
    fact = rf"nodes\.json: node two has a kubelet of version 'v{version}', expected one such as"
    with pytest.raises(InputError, match=fact):
        plan_upgrade(iso, nodes=nodes)


def test_neither_or_both_kinds_of_nodes_are_refused(iso: Path, tmp_path: Path) -> None:
    nodes = write(tmp_path / "nodes.json", {})
    call("node", "upgrade", str(iso), code=UsageProblem.exit_code)
    both = ("--nodes", str(nodes), "--cluster", str(nodes))
    call("node", "upgrade", str(iso), *both, code=UsageProblem.exit_code)
