"""A cluster as a user makes it: two commands, and what the consoles of its nodes then say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from isobuilder.machine.console import Console
from isobuilder.model.architecture import DEFAULT
from tests.boot.conftest import isobuilder

HERE = Path(__file__).parent
PATIENCE = int(os.environ.get("ISOBUILDER_TEST_PATIENCE", "1"))
"""Multiplies every time limit of these tests, for a machine that has other things to do."""
CLOCK = int(os.environ.get("ISOBUILDER_TEST_CLOCK", "1"))
"""How many seconds of the host a second of the machines takes; see `clock.py`."""
HOST_PATIENCE = PATIENCE * CLOCK
"""Multiplies the time limits that the host's clock measures."""

Started = subprocess.Popen[str]
"""The command that runs the machines."""

_LINE = re.compile(r"\[ *(\d+\.\d+)\] ((?:kiso|lab): .*)")


@dataclass(frozen=True)
class Case:
    """A cluster, and the bounds of its test."""

    title: str
    description: Path
    memory: tuple[int, ...]  # MiB of each node
    minutes: int
    kubernetes: str = "1.37.1"  # of the ISO it is started from
    architecture: str = DEFAULT  # of that, too


@dataclass(frozen=True)
class Line:
    """One line of ours on a console."""

    seconds: float  # since the kernel of that node started
    text: str


@dataclass(frozen=True)
class Node:
    """One machine of a cluster that has run."""

    name: str
    memory: int  # MiB it was given
    log: Path

    @cached_property
    def console(self) -> list[str]:
        return Console(self.log).update(0.0)

    @cached_property
    def lines(self) -> list[Line]:
        found = (_LINE.search(line) for line in self.console)
        return [Line(float(match[1]), match[2]) for match in found if match]

    def said(self, pattern: str) -> list[re.Match[str]]:
        """Return where ``pattern`` matches a whole line of ours."""
        found = (re.fullmatch(pattern, line.text) for line in self.lines)
        return [match for match in found if match]

    def when(self, pattern: str) -> float | None:
        """Return the seconds of the first line of ours that begins so."""
        return next((line.seconds for line in self.lines if re.match(pattern, line.text)), None)


@dataclass(frozen=True)
class Run:
    """A cluster that has run."""

    case: Case
    code: int
    wall: float  # seconds, from before QEMU to after it
    nodes: tuple[Node, ...]
    errors: tuple[str, ...]

    @property
    def trouble(self) -> str:
        """All that a person needs who was not there."""
        parts = [f"exit {self.code} after {self.wall:.0f} s: {'; '.join(self.errors)}"]
        parts += [f"--- {node.name}\n" + "\n".join(node.console[-150:]) for node in self.nodes]
        return "\n".join(parts)


@dataclass(frozen=True)
class Rendered:
    """What makes a machine that node of a cluster."""

    name: str
    seed: Path


def render(case: Case, folder: Path, *, plan: str = "{}") -> list[Rendered]:
    """Render the nodes of ``case``; ``plan`` is that of an upgrade, for those that follow it."""
    sources = folder / "description"
    shutil.copytree(HERE, sources, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (sources / "patience").write_text(f"{PATIENCE}\n", encoding="ascii")
    (sources / "plan.json").write_text(plan, encoding="utf-8")
    description = sources / case.description.name
    made = json.loads(
        isobuilder("node", "cluster", description, "--out", folder / "nodes", "--json")
    )
    return [Rendered(node["name"], Path(node["seed"])) for node in made["nodes"]]


def run_cluster(
    case: Case,
    iso: Path,
    folder: Path,
    nodes: Sequence[Rendered],
    *,
    data: Path | None = None,
    discs: Sequence[Path] = (),
    meanwhile: Callable[[tuple[Node, ...], Started], None] | None = None,
) -> Run:
    """Start the nodes of ``case`` from ``iso`` until all are up, or one fails.

    Their consoles are shown on stderr meanwhile. ``data`` is the disk of the only node; ``discs``
    are in every node beside the ISO. ``meanwhile`` is called once the command runs.
    """
    words: list[str | Path] = [sys.executable, "-m", "isobuilder", "boot", iso, "--json"]
    limit = case.minutes * 60 * HOST_PATIENCE
    words += ["--until", "node up", "--timeout", str(limit), "--logs", folder / "logs"]
    for node in nodes:
        words += ["--seed", node.seed]
    for disc in discs:
        words += ["--disc", disc]
    if data is not None:
        words += ["--data", data]
    for memory in case.memory:
        words += ["--memory", str(memory)]
    machines = tuple(
        Node(node.name, memory, folder / "logs" / f"node{number}.log")
        for number, (node, memory) in enumerate(zip(nodes, case.memory, strict=True), 1)
    )
    began = time.monotonic()
    with subprocess.Popen(
        list(map(str, words)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            if meanwhile is not None:
                meanwhile(machines, process)
            said, _ = process.communicate(timeout=limit + 120)
        except BaseException:
            process.terminate()  # it takes its machines along
            raise
    wall = time.monotonic() - began
    outcomes: list[dict[str, Any]] = json.loads(said or "[]")
    return Run(
        case=case,
        code=process.returncode,
        wall=wall,
        nodes=machines if outcomes else (),
        errors=tuple(_errors(outcomes)),
    )


def _errors(outcomes: list[dict[str, Any]]) -> Iterator[str]:
    for outcome in outcomes:
        for error in outcome["errors"]:
            yield f"{outcome['name']}: {error}"
