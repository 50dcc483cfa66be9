"""Machines that are switched off while others of their cluster run on."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from tests.cluster.runs import PATIENCE, Node, Started


def wait_for_line(node: Node, pattern: str, process: Started, *, within: int) -> None:
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


def switch_off(name: str, process: Started) -> None:
    """Take the power from one machine of the command ``process``, and from nothing else."""
    shown = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = [line for line in shown.splitlines() if f"-name {name} " in line]
    os.kill(int(line.split()[0]), signal.SIGKILL)
