"""Machines of a cluster file as a user starts them, and machines of it that are switched off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.boot.conftest import isobuilder
from tests.cluster.runs import PATIENCE, Node


@dataclass(frozen=True)
class Ended:
    """Machines that have run, and how the command that ran them ended."""

    code: int
    nodes: tuple[Node, ...]
    said: str  # by the command itself

    @property
    def trouble(self) -> str:
        """All that a person needs who was not there."""
        parts = [f"exit {self.code}: {self.said[-2000:]}"]
        parts += [f"--- {node.name}\n" + "\n".join(node.console[-150:]) for node in self.nodes]
        return "\n".join(parts)


def run_nodes(
    iso: Path,
    description: Path,
    folder: Path,
    *,
    memory: int,
    minutes: int,
    discs: Sequence[Path] = (),
    meanwhile: Callable[[tuple[Node, ...], subprocess.Popen[str]], None] | None = None,
) -> Ended:
    """Start every node of ``description`` from ``iso`` and return when all are up, or one fails.

    ``meanwhile`` is called once the command runs, with what it may look at.
    """
    words = ["node", "cluster", str(description), "--out", str(folder / "nodes"), "--json"]
    made = json.loads(isobuilder(*words))["nodes"]
    limit = minutes * 60 * PATIENCE
    argv = [sys.executable, "-m", "isobuilder", "boot", str(iso), "--json", "--until", "node up"]
    argv += ["--timeout", str(limit), "--logs", str(folder / "logs"), "--memory", str(memory)]
    for disc in discs:
        argv += ["--disc", str(disc)]
    for node in made:
        argv += ["--seed", node["seed"]]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        logs = folder / "logs"
        nodes = tuple(
            Node(node["name"], memory, logs / f"node{number}.log")
            for number, node in enumerate(made, 1)
        )
        if meanwhile is not None:
            meanwhile(nodes, process)
        said, _ = process.communicate(timeout=limit + 120)
    return Ended(process.returncode, nodes, said)


def wait_for_line(node: Node, pattern: str, process: subprocess.Popen[str], *, within: int) -> None:
    """Wait until ``node`` has said a line of ours, for so many seconds.

    Raises:
        AssertionError: it has not, or the command that runs it has ended.
    """
    end = time.monotonic() + within * PATIENCE
    while time.monotonic() < end:
        fresh = Node(node.name, node.memory, node.log)
        if node.log.exists() and fresh.said(pattern):
            return
        assert process.poll() is None, f"ended before {node.name} said {pattern}"
        time.sleep(2)
    raise AssertionError(f"{node.name} did not say {pattern} within {within} s")


def switch_off(name: str, process: subprocess.Popen[str]) -> None:
    """Take the power from one machine of the command ``process``, and from nothing else."""
    shown = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = [line for line in shown.splitlines() if f"-name {name} " in line]
    os.kill(int(line.split()[0]), signal.SIGKILL)
