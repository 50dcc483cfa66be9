"""What makes the ISO of a lock start machines."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from isobuilder.content.blobs import Find, held
from isobuilder.digest import BlobLike
from isobuilder.errors import InputError
from isobuilder.machine.bootmenu import boot_menu, finder, identity_of
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.model.payload import ArtifactName, OsPayload, read_payload
from isobuilder.nodeconfig.upgrade import upgrade_script

if TYPE_CHECKING:
    from isobuilder.iso.write.bootable import BootTree
    from isobuilder.iso.write.entries import IsoEntry

_NEEDED = ("runtime/containerd-linux-*.tar.gz", "runtime/runc", "cni/cni-plugins-*.tgz")


def locked_payload(lock: Lock, find: Find) -> OsPayload | None:
    """Return the payload that ``lock`` pins; None for a plain ISO.

    Raises:
        EnvironmentProblem: its description is not there.
        InputError: the lock leaves it open, or says otherwise of it.
    """
    if lock.boot is None:
        return None
    if lock.boot.payload is None:
        raise InputError(
            f"{lock.base_name}: boot: the lock leaves the OS payload {lock.boot.name} open",
            hint="isobuilder build takes that of the store and pins it in the lock beside the ISO",
        )
    place = f"the OS payload {lock.boot.os}"
    description = held(find, lock.boot.payload, place)
    payload = read_payload(description.read(), place=str(lock.boot.payload))
    told = LockedBoot.of(payload, url=lock.boot.url)
    if told != lock.boot or payload.architecture != lock.architecture:
        raise InputError(
            f"{lock.base_name}: boot: the OS payload {payload.digest} is {payload.name}, and the "
            f"lock says otherwise of it",
            hint="make the lock again with isobuilder lock; locks are not edited by hand",
        )
    return payload


def boot_files(
    lock: Lock,
    payload: OsPayload,
    find: Find,
    others: Sequence[IsoEntry],
    *,
    planned: Sequence[str],
    tool: str,
) -> BootTree:
    """Return the boot files of the ISO of ``lock``, which also has ``others`` and ``planned``.

    Raises:
        EnvironmentProblem: an artifact of the payload is not there.
        InputError: a node could not run what is on the ISO, or a path is taken.
    """
    from isobuilder.iso.write.bootable import BootParts, boot_tree  # heavy, and few ISOs start

    paths = [file.path for file in lock.files]
    for pattern in _NEEDED:
        if not any(fnmatchcase(path, pattern) for path in paths):
            raise InputError(
                f"{lock.base_name}: a node that starts from the ISO needs {pattern}",
                hint="add it to the recipe's files, or build a plain ISO with --no-boot",
            )

    def artifact(name: ArtifactName) -> BlobLike:
        return held(find, payload.artifacts[name].digest, f"{name} of {payload.name}")

    identity = identity_of(lock, payload, tool)
    names = ARCHITECTURES[payload.architecture].efi
    has_bios = "bios" in payload.artifacts
    parts = BootParts(
        identity=identity,
        kernel=artifact("kernel"),
        initrd=artifact("initrd"),
        root=artifact("root"),
        efi={names[name]: artifact(name) for name in ("shim", "grub", "mok-manager")},
        bios=artifact("bios") if has_bios else None,
        mbr=artifact("bios-mbr") if has_bios else None,
        payload=payload.to_bytes(),
        menu=boot_menu(
            identity=identity,
            title=f"Kubernetes {lock.kubernetes} node",
            architecture=payload.architecture,
        ),
        finder=finder(identity=identity),
        upgrade=upgrade_script(),
    )
    return boot_tree(parts, others, planned=planned, epoch=lock.epoch)
