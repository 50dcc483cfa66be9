"""What makes the ISO of a lock bootable, and a try whether it does."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from isobuilder import __version__
from isobuilder.digest import BUFFER_SIZE
from isobuilder.errors import InputError
from isobuilder.iso.boot_names import KERNEL, PAYLOAD
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.bootable import BootParts
from isobuilder.machine.bootmenu import boot_menu, finder, identity_of
from isobuilder.machine.payload import artifact, read_payload
from isobuilder.machine.qemu import Listener, Machine, Outcome, kvm_works, start
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.model.payload import UEFI_NAMES, OsPayload
from isobuilder.pipeline.payload import check_payload
from isobuilder.progress import SILENT, Progress
from isobuilder.store import Store

_LARGEST_PAYLOAD = 16 * 1024 * 1024  # bytes of a description
_NEEDED = ("runtime/containerd-linux-*.tar.gz", "runtime/runc", "cni/cni-plugins-*.tgz")


def locked_payload(lock: Lock, store: Store) -> OsPayload | None:
    """Return the payload that ``lock`` pins; None for a plain ISO.

    Raises:
        EnvironmentProblem: the store does not have it.
        InputError: it is not what else the lock says of it.
    """
    if lock.boot is None:
        return None
    check_payload(lock, store)
    description = None if lock.boot.payload is None else store.find(lock.boot.payload)
    if description is None:
        raise AssertionError  # the build has chosen one, and check_payload would have raised
    payload = read_payload(description.read(), place=str(lock.boot.payload))
    told = LockedBoot.of(payload, url=lock.boot.url)
    if told != lock.boot or payload.architecture != lock.architecture:
        raise InputError(
            f"{lock.base_name}: boot: the OS payload {payload.digest} is {payload.name}, and the "
            f"lock says otherwise of it",
            hint="make the lock again with isobuilder lock; locks are not edited by hand",
        )
    return payload


def boot_parts(lock: Lock, payload: OsPayload, store: Store) -> BootParts:
    """Return ``payload`` as it goes on the ISO of ``lock``.

    Raises:
        EnvironmentProblem: the store lacks an artifact of the payload.
        InputError: a node could not run what is on the ISO.
    """
    paths = [file.path for file in lock.files]
    for pattern in _NEEDED:
        if not any(fnmatchcase(path, pattern) for path in paths):
            raise InputError(
                f"{lock.base_name}: a node that starts from the ISO needs {pattern}",
                hint="add it to the recipe's files, or build a plain ISO with --no-boot",
            )
    identity = identity_of(lock, payload, __version__)
    has_bios = "bios" in payload.artifacts
    return BootParts(
        identity=identity,
        kernel=artifact(store, payload, "kernel"),
        initrd=artifact(store, payload, "initrd"),
        root=artifact(store, payload, "root"),
        efi={
            UEFI_NAMES[payload.architecture][name]: artifact(store, payload, name)
            for name in ("shim", "grub", "mok-manager")
        },
        bios=artifact(store, payload, "bios") if has_bios else None,
        mbr=artifact(store, payload, "bios-mbr") if has_bios else None,
        payload=payload.to_bytes(),
        menu=boot_menu(
            identity=identity,
            title=f"Kubernetes {lock.kubernetes} node",
            architecture=payload.architecture,
        ),
        finder=finder(identity=identity),
    )


def try_boot(
    iso: Path,
    machines: Sequence[Machine],
    *,
    logs: Path,
    until: str | None,
    timeout: float,
    kvm: bool | None = None,
    listener: Listener = lambda _name, _line: None,
    progress: Progress = SILENT,
) -> list[Outcome]:
    """Start ``machines`` from ``iso`` and return how far each came; see ``node.lab.start``.

    ``kvm`` says whether to use it; None finds out whether it really works with the ISO's kernel.

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
            payload = read_payload(file.read(_LARGEST_PAYLOAD), place=f"{iso}: {PAYLOAD}")
        architecture = payload.architecture
        if kvm is None:
            kernel = Path(folder) / "vmlinuz"
            with reader.open(KERNEL) as source, kernel.open("wb") as target:
                shutil.copyfileobj(source, target, BUFFER_SIZE)
            kvm = kvm_works(kernel, architecture=architecture)
    progress.step("starting in KVM" if kvm else "starting in emulation, which is slow: no KVM here")
    return start(
        [replace(machine, iso=iso, architecture=architecture) for machine in machines],
        logs=logs,
        until=until,
        timeout=timeout,
        kvm=kvm,
        listener=listener,
    )
