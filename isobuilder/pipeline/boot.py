"""A try whether an ISO starts machines."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from isobuilder.digest import BUFFER_SIZE
from isobuilder.errors import InputError
from isobuilder.iso.boot_names import KERNEL, PAYLOAD
from isobuilder.iso.read.reader import IsoReader
from isobuilder.machine.payload import LARGEST_DESCRIPTION
from isobuilder.machine.qemu import BootOutcome, Listener, Machine, kvm_works, make_data_disk, start
from isobuilder.model.payload import read_payload
from isobuilder.progress import SILENT, Progress


def try_boot(
    iso: Path,
    machines: Sequence[Machine],
    *,
    logs: Path,
    until: str | None,
    timeout: float,
    kvm: bool | None = None,
    data_size: int = 8192,
    listener: Listener = lambda _name, _line: None,
    progress: Progress = SILENT,
) -> list[BootOutcome]:
    """Start ``machines`` from ``iso`` and return how far each came; see ``node.lab.start``.

    ``kvm`` says whether to use it; None finds out whether it really works with the ISO's kernel. A
    machine's disk for data that is not there is made, of ``data_size`` MiB; it is not left behind
    when no machine could be started.

    Raises:
        InputError: the ISO is no boot medium.
        EnvironmentProblem: QEMU or firmware is missing.
    """
    with IsoReader(iso) as reader, tempfile.TemporaryDirectory(prefix="isobuilder-") as folder:
        if KERNEL not in reader.files or PAYLOAD not in reader.files:
            raise InputError(
                f"{iso}: not a boot medium: it has no {KERNEL}",
                hint="build it with an OS payload: see isobuilder os build",
            )
        with reader.open(PAYLOAD) as file:
            payload = read_payload(file.read(LARGEST_DESCRIPTION), place=f"{iso}: {PAYLOAD}")
        architecture = payload.architecture
        if kvm is None:
            kernel = Path(folder) / "vmlinuz"
            with reader.open(KERNEL) as source, kernel.open("wb") as target:
                shutil.copyfileobj(source, target, BUFFER_SIZE)
            kvm = kvm_works(kernel, architecture=architecture)
    with ExitStack() as undo:
        for machine in machines:
            if machine.data is not None and not machine.data.exists():
                make_data_disk(machine.data, mebibytes=data_size)
                undo.callback(machine.data.unlink, missing_ok=True)
        how = "in KVM" if kvm else "in emulation, which is slow: no KVM here"
        progress.step(f"starting {how}")
        outcomes = start(
            [replace(machine, iso=iso, architecture=architecture) for machine in machines],
            logs=logs,
            until=until,
            timeout=timeout,
            kvm=kvm,
            listener=listener,
        )
        undo.pop_all()
    return outcomes
