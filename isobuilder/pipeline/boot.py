"""What makes the ISO of a lock bootable."""

from __future__ import annotations

from isobuilder import __version__
from isobuilder.iso.bootable import BootParts
from isobuilder.model.lock import Lock
from isobuilder.model.ospayload import UEFI_NAMES, OsPayload
from isobuilder.node.bootmenu import boot_menu, finder, identity_of
from isobuilder.node.ospayload import artifact
from isobuilder.store import Store


def boot_parts(lock: Lock, payload: OsPayload, store: Store) -> BootParts:
    """Return ``payload`` as it goes on the ISO of ``lock``.

    Raises:
        EnvironmentProblem: the store lacks an artifact of the payload.
    """
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
