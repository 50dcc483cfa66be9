from __future__ import annotations

import re

from isobuilder.machine.bootmenu import boot_menu, finder

IDENTITY = "0123456789abcdef"


def menu(architecture: str = "amd64") -> str:
    title = "Kubernetes 1.34.12 node"
    return boot_menu(identity=IDENTITY, title=title, architecture=architecture).decode()


def test_every_entry_starts_the_very_iso_it_is_on() -> None:
    assert menu().count(f"kiso.id={IDENTITY}") == 1
    assert menu().count("linux /boot/kiso/vmlinuz $kiso_options") == 2
    assert f"/boot/kiso/{IDENTITY}.id" in finder(identity=IDENTITY).decode()


def test_only_the_entry_for_a_disk_needs_one() -> None:
    memory, disk = re.findall(r"linux /boot/kiso/vmlinuz (.*)", menu())
    assert "kiso.data" not in memory
    assert disk.endswith("kiso.data=kiso-data")


def test_the_default_is_an_entry_there_is() -> None:
    entries = set(re.findall(r"--id (\w+)", menu()))
    assert set(re.findall(r"set default=(\w+)", menu())) == entries == {"memory", "disk"}


def test_the_last_console_is_the_serial_line_of_the_architecture() -> None:
    for architecture, name in (("amd64", "ttyS0"), ("arm64", "ttyAMA0")):
        consoles = re.findall(r" console=(\w+)", menu(architecture))
        assert consoles == ["tty0", name]
