"""The whole way to a machine that runs, on the embedded upstream, Debian's packages and QEMU.

Real are the kernel, the root file system, cloud-init, containerd and runc; Kubernetes and all
images are stand-ins, so that a machine comes up and no cluster does.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isobuilder.demo.content import KUBERNETES
from isobuilder.demo.debian import Runtime, fetch_runtime
from isobuilder.demo.tour import embedded_upstream, verified
from isobuilder.errors import EnvironmentProblem
from isobuilder.files import write_whole
from isobuilder.machine.console import NAMES
from isobuilder.machine.osbuild import build_payload, check_programs, host_mirror
from isobuilder.machine.payload import keep_payload, needed_by, payloads
from isobuilder.machine.qemu import Listener, Machine, Outcome
from isobuilder.model.payload import OsPayload
from isobuilder.nodeconfig.seed import META_DATA, USER_DATA
from isobuilder.pipeline.boot import try_boot
from isobuilder.pipeline.build import Built, build
from isobuilder.pipeline.cluster import make_seed
from isobuilder.pipeline.fetch import fetch
from isobuilder.pipeline.lock import LockFile, lock_recipe
from isobuilder.pipeline.verify import Verification
from isobuilder.progress import SILENT, Progress
from isobuilder.run import PACKAGES, find_program
from isobuilder.sources.session import open_session
from isobuilder.store import Store

PAYLOAD = "debian-13-cloud-amd64"
UNTIL = NAMES[-1]
"""The last milestone: everything on the ISO is in place, and cloud-init has done its work."""

_NAME = "demo-node"
_MEMORY = 2048  # MiB; without Kubernetes that is plenty
_TIMEOUT = 1800.0  # seconds, for a busy machine without KVM

_SAYS = re.compile(r"\] demo: (.+)")
_USER_DATA = f"""\
#cloud-config
hostname: {_NAME}
runcmd:
  - |
    # One line of the kernel log for each fact, so that no other line can cut it in two.
    say() {{ echo "<4>demo: $1" > /dev/kmsg; sleep 0.1; }}
    say "$(hostname) runs $(. /etc/os-release; echo "$PRETTY_NAME") with Linux $(uname -r)"
    say "$(containerd --version | cut -d ' ' -f 1,3) and $(runc --version | head -n 1)"
    images=$(ctr -n k8s.io images ls -q | grep -v -e @ -e ^sha256:)
    say "$(echo "$images" | wc -l) images are imported"
    image=$(echo "$images" | grep -m 1 /kube-proxy:)
    result=$(ctr -n k8s.io run --rm "$image" demo /usr/local/bin/kube-proxy 2>&1 | tail -n 1)
    say "a container of $image said: $result"
"""
_META_DATA = f"instance-id: {_NAME}\nlocal-hostname: {_NAME}\n"


@dataclass(frozen=True, slots=True)
class BootTour:
    """What the demonstration made, where it is, and how far the machine came."""

    lock: LockFile
    recipe: Path
    payload: OsPayload
    runtime: Runtime
    built: Built
    verification: Verification
    seed: Path
    outcome: Outcome
    said: tuple[str, ...]  # what the node told of itself

    @property
    def unsaid(self) -> tuple[str, ...]:
        """What it should have told besides, so that the demonstration shows what it claims."""
        wanted = (f"{len(self.lock.lock.images)} images are imported", "kube-proxy: a stand-in")
        return tuple(text for text in wanted if not any(text in line for line in self.said))


def boot_tour(
    out: Path,
    user_store: Store,
    *,
    listener: Listener = lambda _name, _line: None,
    progress: Progress = SILENT,
) -> BootTour:
    """Build an ISO that starts machines in ``out``, verify it and start one.

    The OS payload is that of ``out``, else that of ``user_store``, which is only read, else it is
    made. The console goes to ``out/boot-logs`` and, line by line, to ``listener``.

    Raises:
        EnvironmentProblem: programs are missing, all of them named before anything long begins, or
            the machine could not be started.
        UpstreamError: Debian's packages could not be had.
        IntegrityError: the ISO that was just built does not pass.
    """
    store = Store(out / "store")
    payload = _payload_of(store) or _payload_of(user_store)
    check_needed(builds_payload=payload is None)
    if payload is None:
        payload = build_payload(
            store,
            suite="trixie",
            kernel="cloud",
            architecture="amd64",
            mirror=host_mirror(),
            progress=progress,
        )
    else:
        share_payload(payload, store, user_store, progress=progress)
    with tempfile.TemporaryDirectory(prefix="isobuilder-demo-") as scratch:
        runtime = fetch_runtime(Path(scratch), progress=progress)
        with embedded_upstream(out, runtime=runtime) as config:
            recipe = out / f"kubernetes-{KUBERNETES}-boot.yaml"
            with open_session(config, store, progress=progress) as session:
                lock = lock_recipe(recipe, "amd64", session)
                fetch([lock.lock], session)
                built = build(lock.lock, out, session, replace=True)
    verification = verified(built, progress=progress)
    seed = write_seed(out / "seed")
    logs = out / "boot-logs"
    logs.mkdir(exist_ok=True)
    machine = Machine(_NAME, built.iso, memory=_MEMORY, seed=seed)
    (outcome,) = try_boot(
        built.iso,
        [machine],
        logs=logs,
        until=UNTIL,
        timeout=_TIMEOUT,
        listener=listener,
        progress=progress,
    )
    said = tuple(said_in(outcome.log.read_text(encoding="utf-8", errors="replace").splitlines()))
    return BootTour(lock, recipe, payload, runtime, built, verification, seed, outcome, said)


def check_needed(*, builds_payload: bool) -> None:
    """Return if every program that is needed is installed.

    Raises:
        EnvironmentProblem: some are not; all of them are named, with their packages.
    """
    needed = ["qemu-system-x86_64", "apt-get", "dpkg-deb"]
    if builds_payload:
        needed += ["mmdebstrap", "sqfstar"]
        needed += [] if os.geteuid() == 0 else ["newuidmap"]
    missing = [name for name in needed if not _installed(name)]
    if missing:
        packages = dict.fromkeys(PACKAGES.get(name, name) for name in missing)
        raise EnvironmentProblem(
            f"not installed: {', '.join(missing)}",
            hint=f"on Debian or Ubuntu: apt-get install {' '.join(packages)}",
        )
    if builds_payload:
        check_programs()  # which looks for the archive's keys as well
        host_mirror()


def _installed(name: str) -> bool:
    try:
        find_program(name)
    except EnvironmentProblem:
        return False
    return True


def _payload_of(store: Store) -> OsPayload | None:
    return next((found for found in payloads(store) if found.name == PAYLOAD), None)


def share_payload(
    payload: OsPayload, store: Store, source: Store, *, progress: Progress = SILENT
) -> None:
    """Let ``store`` have the ``payload`` of ``source`` as well, without a copy where possible."""
    if payload in payloads(store):
        return
    progress.step(f"sharing the OS payload {payload.name} of {source.root}")
    for digest in sorted(needed_by(payload)):
        blob = source.find(digest)
        if blob is None:
            raise EnvironmentProblem(f"{digest} has left the store {source.root}")
        store.share(blob)
    keep_payload(store, payload)


def write_seed(folder: Path) -> Path:
    """Write cloud-init's data of the machine into ``folder`` and return the disc with it."""
    write_whole(folder / USER_DATA, _USER_DATA.encode())
    write_whole(folder / META_DATA, _META_DATA.encode())
    return make_seed(folder, folder / "seed.iso", kind="nocloud")


def said_in(lines: Iterable[str]) -> Iterable[str]:
    """Return what the node told of itself on its console."""
    return (match[1].strip() for line in lines if (match := _SAYS.search(line)))
