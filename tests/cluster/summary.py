"""What a cluster took, as a page of Markdown."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.cluster.runs import Node, Run

STEPS = (
    ("ISO found", "kiso: medium found"),
    ("root file system checked and mounted", "kiso: root file system ready"),
    ("medium checked", "kiso: setup: medium checked"),
    ("programs in place", "kiso: setup: Kubernetes programs installed"),
    ("images imported", r"kiso: images: \d+ imported"),
    ("kubeadm begins", r"kiso: node: kubeadm (?:init|join): begins"),
    ("kubeadm done", r"kiso: node: kubeadm (?:init|join): done"),
    ("node Ready", r"kiso: node: node \S+ Ready: done"),
    ("all nodes Ready", "lab: node "),
    ("test pod runs", "lab: pod runs on "),
    ("its address answers", "lab: pod http"),
    ("its service's address answers", "lab: service http"),
    ("all pods Ready", "lab: all pods Ready"),
    ("node up", "kiso: node: up: "),
)

_HEAD = """\
# A real cluster, from the ISO alone

Kubernetes 1.20.2 of the lab, without any network to the outside: `isobuilder node cluster` renders
the nodes, `isobuilder boot` starts them from one ISO. A test pod made from an image of the ISO
answers over its own address and over that of its service, the API answers over its service, and no
container was started twice. Written by

    ISOBUILDER_CLUSTER_SUMMARY=bench/CLUSTER.md make test-cluster

Seconds are those of each node's own clock, from the start of its kernel.
"""


@dataclass
class Summary:
    """One section for each cluster."""

    sections: dict[str, str] = field(default_factory=dict)

    def add(self, run: Run, text: str) -> None:
        """Keep ``text``, the section of a run that went well."""
        self.sections[run.case.title] = text

    def write(self, path: Path) -> None:
        """Write the page; a section of another run that is already there stays."""
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        kept = {
            part.partition("\n")[0]: part.partition("\n")[2].strip()
            for part in re.split(r"^## ", old, flags=re.MULTILINE)[1:]
        }
        sections = sorted((kept | self.sections).items())
        parts = [_HEAD, *(f"## {title}\n\n{text.strip()}\n" for title, text in sections)]
        path.write_text("\n".join(parts), encoding="utf-8")


def section(run: Run, iso: Path) -> str:
    """Return how ``run`` went: where, how long, and when each node passed what."""
    guest = _first(run.nodes[0].said(r"lab: machine: (.*)")).replace("qemu,", "emulation (no KVM),")
    rows = [("seconds", *(node.name for node in run.nodes))]
    for name, pattern in STEPS:
        times = [node.when(pattern) for node in run.nodes]
        if any(time is not None for time in times):
            rows.append((name, *("" if time is None else f"{time:.0f}" for time in times)))
    rows += [
        ("memory given, MiB", *(str(node.memory) for node in run.nodes)),
        ("memory in use at most, MiB", *(str(_most(node, "in use")) for node in run.nodes)),
        ("of it state, at most, MiB", *(str(_most(node, "state")) for node in run.nodes)),
    ]
    pods = restarts_of(run.nodes[0])
    facts = (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors, "
        f"load {_load()} at the end{_priority()}; each guest: {guest}; "
        f"{_qemu()}; ISO {iso.stat().st_size / 1e6:.0f} MB.\n\n"
        f"**{run.wall:.0f} s** from the start of `isobuilder boot` until every node was up. "
        f"{len(pods)} pods, {sum(pods.values())} restarts."
    )
    return f"{facts}\n\n{_table(rows)}"


def restarts_of(control: Node) -> dict[str, int]:
    """Return how often the containers of each pod were started again."""
    # Namespace, name, ready, status, restarts, age, address, node: as kubectl get pods -A -o wide.
    found = control.said(r"lab: pod of (\S+) +(\S+) +\S+ +\S+ +(\d+) .*")
    return {f"{match[1]}/{match[2]}": int(match[3]) for match in found}


def _most(node: Node, what: str) -> int:
    pattern = {"in use": r"lab: memory: (\d+) of .*", "state": r"lab: memory: .* state (\d+) MiB"}
    return max((int(match[1]) for match in node.said(pattern[what])), default=0)


def _first(matches: Sequence[re.Match[str]]) -> str:
    return matches[0][1] if matches else "unknown"


def _load() -> str:
    return f"{os.getloadavg()[0]:.0f}"


def _priority() -> str:
    """Return whether the kernel preferred this session to others, which the load would hide."""
    try:
        text = Path("/proc/self/autogroup").read_text(encoding="ascii")
    except OSError:
        return ""
    # "/autogroup-66 nice 0"; empty where the process belongs to none, as in some containers.
    value = text.rpartition("nice")[2].strip()
    return f", priority of nice {value}" if value not in {"", "0"} else ""


def _qemu() -> str:
    argv = ["qemu-system-x86_64", "--version"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    match = re.search(r"version (\S+)", text)
    return f"QEMU {match[1]}" if match else "QEMU"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = ("| " + " | ".join(row) + " |" for row in rows)
    rule = "| --- |" + " ---: |" * (len(rows[0]) - 1)
    return "\n".join([head, rule, *rest])
