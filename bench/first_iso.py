"""How long a new patch takes from its marker to Ready: ``python -m bench.first_iso``.

One run of ``isobuilder upstream sync`` as a timer starts it, with an empty store: it notices the
patch, proposes, locks, builds, verifies, publishes and registers it with a simulated Mold. Upstream
is nginx and docker-registry on loopback, and has a release of the size and shape of a real one.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from bench import page, payload, section
from bench.ground import PRODUCT, SMALL, Ground, say
from bench.measure import BenchError
from isobuilder.demo import content
from isobuilder.demo.mold import Cloud, Simulator, Timing

BEFORE = "1.34.11"  # the patch that there is a recipe for
_PACE = Timing(allocated=0.1, downloading=0.2, installing=0.1, job=0.1)
_NOWHERE = ("https://proxy.golang.org", "https://api.github.com", "https://kubernetes.io")
_PHASES = (  # what a step's text begins with -> what it is part of
    ("what upstream has", "look at upstream"),
    ("whether Kubernetes", "whether it is whole"),
    ("checksums of", "lock: download files, manifests of images"),
    ("fetching", "fetch the layers of images"),
    ("writing", "write the ISO, verify and publish it"),
    ("lab: registering", "register, until every zone is Ready"),
)


@dataclass(frozen=True, slots=True)
class Took:
    """What one run took, in seconds."""

    phases: dict[str, float]
    ready: float  # from the start of the command to its end, when every zone is Ready
    iso: int  # bytes


def main() -> int:
    """Return the exit code: 0 when it could be measured."""
    parser = section.parser("bench.first_iso", __doc__, space="6 GB")
    parser.add_argument("--scale", type=float, default=1.0, help="shrink the payload (default 1)")
    options = parser.parse_args()

    def measure(folder: Path) -> str:
        ground = Ground(folder, options.scale, SMALL)
        with ground.closing:
            return _told(_run(ground))

    return section.measured(page.FIRST_ISO, options, measure)


def _run(ground: Ground) -> Took:
    _release(ground.payload)
    work = ground.work / "sync"
    recipes, published = work / "recipes", work / "published"
    published.mkdir(parents=True)
    recipe = payload.recipe(recipes, 0)
    text = recipe.read_text(encoding="utf-8").replace(content.KUBERNETES, BEFORE)
    recipe.unlink()
    (recipes / f"kubernetes-{BEFORE}.yaml").write_text(text, encoding="utf-8")
    with Simulator(Cloud(zones=("Seoul",), pace=_PACE)) as simulator, _serving(published) as url:
        user = simulator.admin
        keys = work / "keys"
        keys.write_text(f"api_key = {user.key}\nsecret_key = {user.secret}\n", encoding="ascii")
        keys.chmod(0o600)
        settings = yaml.safe_load(ground.settings("full").read_text("utf-8"))
        nowhere = f"{ground.served.full.files}/nowhere"
        settings["mirrors"] |= {origin: [nowhere] for origin in _NOWHERE}
        settings["mold"] = {"lab": {"endpoint": simulator.endpoint, "key_file": str(keys)}}
        settings["store"] = str(work / "store")
        config = work / "config.yaml"
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        policy = {
            "schema": 1,
            "recipes": str(recipes),
            "hold_days": 0,
            "ended_minors": True,
            "publish": {"folder": str(published), "url": url},
            "servers": ["lab"],
            "architectures": ["amd64"],
            "known_bad": True,  # the stand-ins are of an older containerd
        }
        policy_file = work / "policy.yaml"
        policy_file.write_text(yaml.safe_dump(policy), encoding="utf-8")
        say("sync")
        phases, ready = _timed(ground, ["--config", config, "--progress", "json"], policy_file)
        states = [version.semver for version in simulator.cloud.versions.values()]
    isos = list(published.glob(f"*{content.KUBERNETES}*.iso"))
    if states != [content.KUBERNETES] or len(isos) != 1:
        raise BenchError(f"registered are {states}, published {[path.name for path in isos]}")
    return Took(phases, ready, isos[0].stat().st_size)


def _timed(
    ground: Ground, options: list[str | Path], policy: Path
) -> tuple[dict[str, float], float]:
    """Run a sync and return how long it was at what, by the steps that it reports."""
    report = policy.with_name("report.md")
    argv = [PRODUCT, *options, "upstream", "sync", policy, "--report", report]
    start = at = time.monotonic()
    phases: dict[str, float] = {}
    phase = "start the program, read recipes"
    said = []
    with subprocess.Popen(
        argv, env=ground.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        for line in child.stderr or ():
            said.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            text = event.get("text", "") if event.get("event") == "step" else ""
            new = next((name for begins, name in _PHASES if text.startswith(begins)), None)
            if new is not None:
                now = time.monotonic()
                phases[phase] = phases.get(phase, 0.0) + now - at
                phase, at = new, now
    end = time.monotonic()
    phases[phase] = phases.get(phase, 0.0) + end - at
    if child.returncode:
        told = report.read_text("utf-8") if report.exists() else "".join(said)
        raise BenchError(f"sync ended with {child.returncode}\n{told}")
    return phases, end - start


def _release(made: payload.Payload) -> None:
    """Make a release whole: markers, and checksums and signatures of its programs."""
    folder = made.files / "dl.k8s.io" / "release"
    for marker in ("stable", f"stable-{content.KUBERNETES.rpartition('.')[0]}"):
        (folder / f"{marker}.txt").write_text(f"v{content.KUBERNETES}", encoding="ascii")
    for name in ("kubeadm", "kubelet", "kubectl"):
        sums = folder / f"v{content.KUBERNETES}/bin/linux/amd64/{name}.sha256"
        sums.write_text(sums.read_text("ascii").split()[0], encoding="ascii")  # as upstream has it
        for suffix in ("sig", "cert"):
            path = folder / f"v{content.KUBERNETES}/bin/linux/amd64/{name}.{suffix}"
            path.write_text("c3RhbmQtaW4=", encoding="ascii")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _told(took: Took) -> str:
    rows = [["what", "seconds"]]
    rows += [[name, f"{seconds:.1f}"] for name, seconds in took.phases.items()]
    rows.append(["marker to Ready", f"{took.ready:.1f}"])
    day = datetime.now(UTC).date()
    return f"""One run of `isobuilder upstream sync` with an empty store, unattended, from a marker
that names a new patch to Ready in every zone of a simulated Mold: {day}, Python
{platform.python_version()}, ISO of {took.iso / 1e6:.0f} MB, all servers on loopback, a load of
{os.getloadavg()[0]:.0f} on {os.cpu_count()} processors at the end. Written by

    python -m bench.first_iso --report bench/RESULTS.md

{page.table(rows)}

To that come what no program shortens: up to one interval of the timer, the hold days of the
policy, the way to upstream (0.85 GB), and what a real Mold takes to fetch the ISO in each zone."""


if __name__ == "__main__":
    sys.exit(main())
