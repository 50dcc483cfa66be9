"""What a cluster took, as a section of the page of results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import page
from tests.boot.host import qemu, when_and_where
from tests.cluster.runs import CLOCK, Node, Run

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
    ("its service's name is known", "lab: name hello-"),
    ("pods reach all services by name", "lab: from a pod: "),
    ("all pods Ready", "lab: all pods Ready$"),
    ("the pod answers", r"lab: IPv\d pod answers"),
    ("its service answers", r"lab: IPv\d service answers"),
    ("three nodes Ready", "lab: three nodes are Ready"),
    ("images of the new medium imported", "lab: upgrade: images "),
    ("first node drained", r"lab: upgrade: \S+ is drained"),
    ("first step of the plan", "lab: step 1 "),
    ("upgrade of the control plane begins", r"lab: step \d+ on \S+: upgrade the control plane"),
    ("kubeadm killed", "lab: (?:upgrade: killed|killed in the middle)"),
    ("kubeadm upgrade begins", r"lab: upgrade: kubeadm upgrade \S+ begins"),
    ("kubeadm upgrade done", r"lab: upgrade: kubeadm upgrade \S+ is done"),
    ("first node has the new version", r"lab: upgrade: \S+ is v"),
    ("pods of before seen again", "lab: after: "),
    ("all pods Ready again", "lab: all pods Ready after"),
    ("all steps done", r"lab: all \d+ steps are done"),
    ("one switched off, the API there again", r"lab: API at \S+ answers again"),
    ("node up", "kiso: node: up: "),
)

_INTRODUCTION = f"""\
Kubernetes of the lab, from the ISO alone, without any network to the outside: `isobuilder node
cluster` renders the nodes, `isobuilder boot` starts them from one ISO. The network is the ISO's own
`network.yaml`, kube-router. On each node a pod made from an image of the ISO answers over its own
address, over that of its service and by its service's name, from nodes and from pods; the API
answers over its service, no check of kubeadm was passed over, and no container was started again
once the nodes were Ready. What the consoles said is in [consoles/](consoles/). Written by

    {page.VARIABLE}=bench/RESULTS.md make test-cluster test-upgrade test-boot-arm64

Seconds are those of each node's own clock, from the start of its kernel. Where a second of it took
several of the host's, because the host is too slow for limits that Kubernetes has built in, it is
said; what is measured from outside is measured by the host's."""


@dataclass(frozen=True)
class Summary:
    """The section about clusters of the page at ``path``; None keeps nothing."""

    path: Path | None = None

    def add(self, run: Run, text: str) -> None:
        """Keep ``text``, which tells of a run that went well."""
        if self.path is not None:
            keep_consoles(run.case.title, run.nodes, self.path)
            page.update(self.path, page.CLUSTER, lambda body: merged(body, run.case.title, text))


def keep_consoles(title: str, nodes: Iterable[Node], page: Path) -> None:
    """Keep what each node said beside the page: the printed lines, without colours."""
    folder = page.parent / "consoles"
    folder.mkdir(exist_ok=True)
    for node in nodes:
        text = "\n".join(line.rstrip() for line in node.console)
        path = folder / f"{title.lower().replace(' ', '-')}-{node.name}.log"
        path.write_text(f"{text}\n", encoding="utf-8")


def merged(body: str, title: str, text: str) -> str:
    """Return the section with ``text`` below the heading ``title``, and what others wrote."""
    parts = {part.title: part.body for part in page.sections(body, level=3) if part.title}
    parts[title] = text.strip()
    told = (f"### {title}\n\n{text}" for title, text in sorted(parts.items()))
    return "\n\n".join([_INTRODUCTION, *told])


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
    counted = f" {len(pods)} pods, {sum(pods.values())} restarts." if pods else ""
    facts = (
        f"{when_and_where()}; each guest: {guest}{_clock()}; "
        f"{qemu(run.case.architecture)}; ISO {iso.stat().st_size / 1e6:.0f} MB.\n\n"
        f"**{run.wall:.0f} s** from the start of `isobuilder boot` until every node was up."
        f"{counted}"
    )
    return f"{facts}\n\n{page.table(rows)}"


def restarts_of(control: Node) -> dict[str, int]:
    """Return how often the containers of each pod were started again."""
    # Namespace, name, ready, status, restarts, age, address, node: as kubectl get pods -A -o wide.
    found = control.said(r"lab: pod of (\S+) +(\S+) +\S+ +\S+ +(\d+) .*")
    return {f"{match[1]}/{match[2]}": int(match[3]) for match in found}


def _clock() -> str:
    """Return how much slower than the host's the clocks of the machines were, if they were."""
    return f", its second {CLOCK} of the host's" if CLOCK > 1 else ""


def _most(node: Node, what: str) -> int:
    pattern = {"in use": r"lab: memory: (\d+) of .*", "state": r"lab: memory: .* state (\d+) MiB"}
    return max((int(match[1]) for match in node.said(pattern[what])), default=0)


def _first(matches: Sequence[re.Match[str]]) -> str:
    return matches[0][1] if matches else "unknown"
