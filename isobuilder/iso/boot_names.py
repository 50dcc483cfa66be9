"""Where the parts that start machines lie on an ISO."""

from __future__ import annotations

FOLDER = "boot/kiso"
KERNEL, INITRD, ROOT = f"{FOLDER}/vmlinuz", f"{FOLDER}/initrd.img", f"{FOLDER}/root.squashfs"
PAYLOAD = f"{FOLDER}/payload.json"
UPGRADE = f"{FOLDER}/upgrade"  # the script that brings nodes of a running cluster to this ISO
CATALOG = "boot/grub/boot.cat"
MENU = "boot/grub/grub.cfg"
BIOS = "boot/grub/i386-pc/eltorito.img"
EFI = "boot/grub/efi.img"
EFI_FOLDER = "EFI/BOOT"
EFI_MENUS = ("boot/grub/grub.cfg", "EFI/BOOT/grub.cfg")
"""Where signed GRUBs look on the FAT image: which of them depends on how the machine started."""
