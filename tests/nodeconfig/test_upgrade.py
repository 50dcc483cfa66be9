"""The plan of an upgrade: what is in the way, and the order of what is to be done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isobuilder.formats.kube import KubeVersion
from isobuilder.nodeconfig.upgrade import (
    NewIso,
    RunningNode,
    UpgradeStep,
    obstacles,
    plan_data,
    steps_of,
)
from isobuilder.rules.pairings import core_images

NEW = KubeVersion("1.37.1")
ISO = NewIso(
    name="new.iso",
    version=NEW,
    architecture="amd64",
    images=core_images(NEW) or (),
    script="boot/kiso/upgrade",
    marker="boot/kiso/abc.id",
)
SCRIPT = "bash /run/kiso/next/boot/kiso/upgrade"


def nodes(version: str = "1.36.5", **changes: str) -> tuple[RunningNode, ...]:
    """Return a control plane, a worker and a control plane; ``changes`` are versions of some."""
    made = (("one", "control-plane"), ("three", "worker"), ("two", "control-plane"))
    return tuple(
        RunningNode(name, role, KubeVersion(changes.get(name, version)), "amd64", ready=True)  # type: ignore[arg-type]
        for name, role in made
    )


def facts(running: tuple[RunningNode, ...], iso: NewIso = ISO) -> list[str]:
    return [str(mistake) for mistake in obstacles(running, iso, "nodes.json")]


def test_images_come_to_all_nodes_then_control_planes_and_workers_one_by_one() -> None:
    steps = steps_of(nodes(), ISO)
    assert [step.node for step in steps[:6:2]] == ["one", "three", "two"]
    assert all(step.command.startswith("mkdir -p /run/kiso/next ") for step in steps[:6:2])
    assert {step.command for step in steps[1:6:2]} == {f"{SCRIPT} images"}
    assert [(step.node, step.command) for step in steps[6:]] == [
        ("one", f"{SCRIPT} check"),
        ("one", SCRIPT),
        ("two", SCRIPT),
        ("one", f"{SCRIPT} drain three"),
        ("three", SCRIPT),
        ("one", f"{SCRIPT} uncordon three"),
    ]
    data = plan_data(nodes(), ISO)
    assert (data["from"], data["to"]) == ("1.36.5", "1.37.1")
    assert [step["number"] for step in data["steps"]] == list(range(1, 13))


def test_the_iso_is_found_by_its_own_file() -> None:
    step: UpgradeStep = steps_of(nodes(), ISO)[0]
    assert "[ -e /run/kiso/next/boot/kiso/abc.id ] || umount /run/kiso/next" in step.command


def test_the_name_of_a_file_on_an_iso_becomes_no_command() -> None:
    odd = steps_of(nodes(), replace(ISO, marker="boot/kiso/$(reboot);.id"))[0].command
    assert "[ -e '/run/kiso/next/boot/kiso/$(reboot);.id' ] || umount" in odd


def test_a_cluster_that_is_there_has_nothing_to_do() -> None:
    assert steps_of(nodes("1.37.1"), ISO) == ()
    assert facts(nodes("1.37.1")) == []


def test_one_that_was_interrupted_gets_the_whole_plan_again() -> None:
    running = nodes(one="1.37.1")
    assert facts(running) == []
    assert len(steps_of(running, ISO)) == 12


@pytest.mark.parametrize(
    ("running", "fact"),
    [
        (
            nodes("1.35.9"),
            "nodes.json: nodes have v1.35.9 and new.iso v1.37.1: "
            "kubeadm goes from one minor to the next",
        ),
        (nodes("1.37.2"), "nodes.json: nodes have v1.37.2 and new.iso v1.37.1: no way back"),
        (nodes("1.38.0"), "nodes.json: nodes have v1.38.0 and new.iso v1.37.1: no way back"),
        (
            nodes(three="1.36.4"),
            "nodes.json: nodes of several versions beside v1.37.1: "
            "three: v1.36.4, one, two: v1.36.5",
        ),
        (
            nodes(one="1.37.1", three="1.36.4"),
            "nodes.json: nodes of several versions beside v1.37.1: three: v1.36.4, two: v1.36.5",
        ),
        (
            nodes()[1:2],
            "nodes.json: no control plane among the nodes; an upgrade begins with one",
        ),
        (
            (replace(nodes()[0], ready=False),),
            "nodes.json: node one is not Ready; an upgrade begins with all nodes well",
        ),
        (
            (replace(nodes()[0], architecture="arm64"),),
            "nodes.json: node one is arm64 and new.iso is amd64",
        ),
    ],
)
def test_what_is_in_the_way_is_told(running: tuple[RunningNode, ...], fact: str) -> None:
    assert facts(running) == [fact]
    assert all(mistake.hint for mistake in obstacles(running, ISO, "nodes.json"))


def test_a_medium_that_lacks_an_image_is_told() -> None:
    iso = replace(ISO, images=tuple(name for name in ISO.images if "/etcd:" not in name))
    assert facts(nodes(), iso) == [
        "new.iso: it lacks registry.k8s.io/etcd:3.7.0-0, which kubeadm v1.37.1 wants"
    ]


def test_all_that_is_in_the_way_is_told_at_once() -> None:
    running = (replace(nodes("1.35.9")[1], ready=False, architecture="arm64"),)
    assert len(facts(running)) == 4
