"""The lab's recipe as a bootable ISO, and machines that start from it."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.page import VARIABLE
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from isobuilder.machine.qemu import BootOutcome, Machine, start
from tests.boot.host import KVM
from tests.boot.summary import Summary
from tools.lab import payload
from tools.lab.place import HERE as LAB_SOURCE
from tools.lab.place import lab_dir
from tools.lab.upstream import lab_upstream

NEEDED = ("qemu-system-x86_64", *payload.NEEDED)
PATIENCE = 900.0
"""Seconds for a whole boot in emulation on two busy processors."""

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def isobuilder(*words: str | Path) -> str:
    """Run the program as a person does and return what it prints."""
    argv = [sys.executable, "-m", "isobuilder", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def store_with(kernel: str) -> Path:
    """Return the lab's store with the payload that has that kernel; made when it is not there."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    store = payload.payload_store(kernel)
    assert store is not None
    return store


@pytest.fixture(scope="session")
def boot_store() -> Path:
    """A store with the OS payload that most tests start from."""
    return store_with("cloud")


def built_iso(
    store: Path,
    folder: Path,
    *words: str,
    version: str = "1.37.1",
    more: str = "",
    lab: Path | None = None,
) -> Path:
    """Return the lab's ISO of a Kubernetes version, of the recipe whose name ends with ``more``.

    ``words`` are more for ``build``; ``lab`` is another one, such as that of arm64.
    """
    if not (lab_dir() / "ready").is_file():
        pytest.skip("run make lab first")
    if not (lab_dir() / f"programs/kubernetes-{version}").is_dir():
        pytest.skip(f"run python3 -m tools.lab.prepare --with {version} first")
    recipes = shutil.copytree(LAB_SOURCE / "recipes", folder / "recipes")
    with lab_upstream(lab) as upstream:
        built = isobuilder(
            "build", recipes / f"kubernetes-{version}{more}.yaml", *words, "--out", folder,
            "--store", store, "--config", upstream.config_path,
        )  # fmt: skip
    return Path(built)


@pytest.fixture(scope="session")
def iso(boot_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lab's recipe, built with an OS payload."""
    path = built_iso(boot_store, tmp_path_factory.mktemp("boot"), "--boot", "debian-13")
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def generic_iso(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same with the kernel that knows real hardware."""
    folder = tmp_path_factory.mktemp("generic")
    path = built_iso(store_with("generic"), folder, "--boot", "debian-13")
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def results() -> Path | None:
    """The page of results, if the environment names one: what was measured is written there."""
    name = os.environ.get(VARIABLE)
    return Path(name).absolute() if name else None


@pytest.fixture(scope="session")
def summary(
    results: Path | None, boot_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Summary:
    """Where each boot writes how long it took."""
    made = Summary(results)
    if results is not None:
        plain = built_iso(boot_store, tmp_path_factory.mktemp("plain"), "--no-boot")
        made.add_size("without an operating system", plain)
        plain.unlink()
    return made


@pytest.fixture
def copy(iso: Path, tmp_path: Path) -> Iterator[Path]:
    """The ISO once more, to be spoiled."""
    path = tmp_path / "copy.iso"
    shutil.copyfile(iso, path)
    yield path
    path.unlink()


def seed(path: Path, user_data: str) -> Path:
    """Write cloud-init's configuration of one node."""
    files = {"user-data": user_data, "meta-data": "instance-id: n1\nlocal-hostname: n1\n"}
    entries = [IsoEntry(name, 0o644, (text.encode(),)) for name, text in files.items()]
    return write_iso(entries, path, label="cidata", epoch=1_700_000_000).path


@dataclass(frozen=True)
class Booted:
    """How a boot went, and all that was said."""

    outcome: BootOutcome

    @property
    def text(self) -> str:
        raw = self.outcome.log.read_bytes().decode("utf-8", "replace")
        return _ANSI.sub("", raw).replace("\r", "")

    def said(self, name: str) -> str:
        """Return what the node reported as ``name`` by ``report`` in its user-data."""
        found = re.findall(rf"report {name}=(.*)", self.text)
        assert found, f"no {name} in the log:\n{self.text[-4000:]}"
        return str(found[-1]).strip()


def boot(
    machine: Machine, logs: Path, *, until: str | None = "cloud-init done", limit: float = PATIENCE
) -> Booted:
    (outcome,) = start([machine], logs=logs, until=until, timeout=limit, kvm=KVM)
    return Booted(outcome)


class _PowerCut(Exception):
    """Raised to end a machine at once."""


def cut_power(machine: Machine, logs: Path, *, behind: str, within: float) -> None:
    """Start ``machine`` and kill it some seconds, ``within`` at most, behind a line of its console.

    Raises:
        AssertionError: it ended, or took too long, before it came to a line with ``behind``.
    """

    def cut(_name: str, line: str) -> None:
        if behind in line:
            time.sleep(random.uniform(0, within))
            raise _PowerCut

    try:
        (outcome,) = start(
            [machine], logs=logs, until=None, timeout=PATIENCE, kvm=KVM, listener=cut
        )
    except _PowerCut:
        return
    raise AssertionError(f"never said {behind!r}: {outcome}")


REPORT = """#cloud-config
hostname: n1
write_files:
  - path: /var/lib/cloud/scripts/per-boot/report
    permissions: "0755"
    content: |
      #!/bin/sh
      # One line of the kernel log for each fact, so that no other line can cut it in two.
      say() { echo "<4>report $1=$2" > /dev/kmsg; sleep 0.1; }
      say host "$(hostname)"
      say processor "$(uname -m)"
      say images "$(ctr -n k8s.io images ls -q 2> /dev/null | grep -c -v -e @ -e ^sha256:)"
      say kubeadm "$(kubeadm version -o short)"
      say kubelet "$(kubelet --version)"
      say plugins "$(ls /opt/cni/bin | wc -l)"
      say containerd "$(systemctl is-active containerd)"
      say ssh "$(systemctl is-active ssh)"
      say failed "$(systemctl --failed --quiet --no-legend --plain | cut -d ' ' -f 1 | xargs)"
      say machine "$(cat /etc/machine-id)"
      say root "$(stat -c %a:%u /)"
      say done yes
"""
"""User-data that reports, at every boot, what became of the machine."""
