"""The plan of an upgrade, from an ISO as it is built and nodes as people have them."""

from __future__ import annotations

import json
import os
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
from isobuilder.pipeline.upgrade import plan_upgrade, running_nodes
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


OTHERS = [None, True, 7, 1.5, "x", "", ["amd64"], [], {"a": 1}, {}]
FIELDS: dict[tuple[str | int, ...], tuple[type, ...]] = {
    (): (dict,),
    ("items",): (list,),
    ("items", 0): (dict,),
    ("items", 0, "metadata"): (dict,),
    ("items", 0, "metadata", "name"): (str,),
    ("items", 0, "metadata", "labels"): (dict, type(None)),
    ("items", 0, "status"): (dict,),
    ("items", 0, "status", "nodeInfo"): (dict,),
    ("items", 0, "status", "nodeInfo", "kubeletVersion"): (str,),
    ("items", 0, "status", "nodeInfo", "architecture"): (str, type(None)),
    ("items", 0, "status", "conditions"): (list, type(None)),
    ("items", 0, "status", "conditions", 0): (dict,),
    ("items", 0, "status", "conditions", 0, "type"): (str,),
    ("items", 0, "status", "conditions", 0, "status"): (str,),
}


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: ".".join(map(str, path)) or "all of it")
def test_a_field_of_another_type_is_refused_whichever_it_is(
    tmp_path: Path, path: tuple[str | int, ...]
) -> None:
    for other in OTHERS:
        holder: dict[str | int, Any] = {"": listed(("one", "1.36.5"))}
        value: Any = holder
        for key in ("", *path)[:-1]:
            value = value[key]
        value[("", *path)[-1]] = other
        nodes = write(tmp_path / "nodes.json", holder[""])
        try:
            read = running_nodes(nodes)
        except InputError as error:
            assert error.lines[0].startswith(f"{nodes}: ")  # noqa: PT017 - others are good
        else:
            assert isinstance(other, FIELDS[path])
            assert [node.name for node in read] == ["x" if path[-1] == "name" else "one"]


def test_a_node_that_is_there_twice_is_refused(iso: Path, tmp_path: Path, older: str) -> None:
    names = [("one", older), ("two", older), ("two", older)]
    nodes = write(tmp_path / "nodes.json", listed(*names))
    with pytest.raises(InputError, match=r"nodes\.json: two nodes with the name two"):
        plan_upgrade(iso, nodes=nodes)


def image_of_a_node(number: int) -> dict[str, Any]:
    name = f"registry.k8s.io/some/image-{number}"
    return {"names": [f"{name}@sha256:{number:064}", f"{name}:v1.2.3"], "sizeBytes": number}


def test_all_that_kubectl_prints_of_the_largest_cluster_is_read(tmp_path: Path) -> None:
    node = listed(("NAME", "1.36.5"))["items"][0]
    node["metadata"]["annotations"] = {f"a{number}": "x" for number in range(30)}
    node["status"]["images"] = [image_of_a_node(number) for number in range(50)]
    text = json.dumps(node)
    path = tmp_path / "nodes.json"
    items = ",".join(text.replace("NAME", f"n{number}") for number in range(5000))
    path.write_text(f'{{"items": [{items}]}}')
    assert len(running_nodes(path)) == 5000


@pytest.mark.parametrize("large", [b"[" + b"0," * 3_000_000 + b"0]", None], ids=["values", "bytes"])
def test_a_list_that_is_too_large_says_how_it_becomes_smaller(
    tmp_path: Path, large: bytes | None
) -> None:
    path = tmp_path / "nodes.json"
    path.write_bytes(large or b"[]")
    if large is None:
        os.truncate(path, 1 << 40)
    with pytest.raises(InputError, match=r"nodes\.json: .*(at most|more than)") as caught:
        running_nodes(path)
    assert str(caught.value.hint).endswith("| jq 'del(.items[].status.images)'")
