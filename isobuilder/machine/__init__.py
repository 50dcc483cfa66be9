"""The machine that starts from the ISO: OS payload, boot menu, QEMU, console."""
