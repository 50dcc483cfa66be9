"""Machines that are held back, or switched off, while others of their cluster run on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.cluster.runs import HOST_PATIENCE, Node, Started


def wait_for_line(node: Node, pattern: str, process: Started, *, within: int) -> None:
    """Wait until ``node`` has said a line of ours, for so many seconds.

    Raises:
        AssertionError: it has not, or the command that runs it has ended.
    """
    end = time.monotonic() + within * HOST_PATIENCE
    while time.monotonic() < end:
        fresh = Node(node.name, node.memory, node.log)
        if node.log.exists() and fresh.said(pattern):
            return
        assert process.poll() is None, f"ended before {node.name} said {pattern}"
        time.sleep(2)
    raise AssertionError(f"{node.name} did not say {pattern} within {within} s")


def switch_off(node: Node, process: Started) -> None:
    """Take the power from one machine of the command ``process``, and from nothing else."""
    os.kill(_machines(process)[node.log.stem], signal.SIGKILL)


@contextmanager
def held_back(nodes: Sequence[Node], process: Started) -> Iterator[list[int]]:
    """Hold machines of the command ``process`` before they start, and give them for `let_go`.

    Machines in emulation that share two processors are each so slow while all of them start that
    a control plane ends itself by limits of Kubernetes that no setting lengthens. On processors
    of their own they would start together.
    """
    end = time.monotonic() + 60 * HOST_PATIENCE
    while not all(node.log.exists() for node in nodes):  # what the command itself waits for
        assert time.monotonic() < end, f"not all of {len(nodes)} machines were started"
        time.sleep(0.1)
    machines = _machines(process)
    held = [machines[node.log.stem] for node in nodes]
    for machine in held:
        os.kill(machine, signal.SIGSTOP)
    try:
        yield held
    finally:  # so that the command can end them; it may have, and what went wrong is to be told
        for machine in held:
            with suppress(ProcessLookupError):
                let_go(machine)


def let_go(machine: int) -> None:
    """Let a machine that was held back start."""
    os.kill(machine, signal.SIGCONT)


def _machines(process: Started) -> dict[str, int]:
    """Return the process of each machine that the command ``process`` runs, by its name."""
    shown = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = (re.match(r" *(\d+) .* -name (\S+) ", line) for line in shown.splitlines())
    return {match[2]: int(match[1]) for match in found if match}
