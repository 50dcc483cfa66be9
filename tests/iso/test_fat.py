from __future__ import annotations

import contextlib
import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from isobuilder.errors import IntegrityError
from isobuilder.iso.read.fat import read_fat
from isobuilder.iso.write.fat import SECTOR, fat_image
from tests.iso.makers import EPOCH, joined

SHIM, GRUB = b"shim" * 250_000, b"grub" * 600_001


def image(**changes: tuple[bytes, ...]) -> bytes:
    files = {
        "EFI/BOOT/BOOTX64.EFI": (SHIM,),
        "EFI/BOOT/grubx64.efi": (GRUB[:1000], GRUB[1000:]),
        "EFI/BOOT/grub.cfg": (b"find\n",),
        "boot/grub/grub.cfg": (b"find\n",),
        "empty.txt": (),
    }
    return joined(fat_image(files | changes, label="KISO", serial=0x12345678, epoch=EPOCH))


def contents(data: bytes) -> dict[str, bytes]:
    files = read_fat(io.BytesIO(data)).files
    return {path: data[file.start : file.start + file.size] for path, file in files.items()}


def test_every_file_reads_back_and_names_are_upper_case() -> None:
    assert contents(image()) == {
        "EFI/BOOT/BOOTX64.EFI": SHIM,
        "EFI/BOOT/GRUBX64.EFI": GRUB,
        "EFI/BOOT/GRUB.CFG": b"find\n",
        "BOOT/GRUB/GRUB.CFG": b"find\n",
        "EMPTY.TXT": b"",
    }


def test_the_same_files_give_the_same_bytes_in_whole_mebibytes() -> None:
    assert image() == image()
    assert len(image()) % (1024 * 1024) == 0


def test_a_few_small_files_are_still_fat16() -> None:
    data = joined(fat_image({"A": (b"a",)}, label="KISO", serial=1, epoch=0))
    assert contents(data) == {"A": b"a"}


@pytest.mark.parametrize("name", ["toolongname.efi", "a.text", "ä.efi", ".efi"])
def test_a_name_that_is_not_8_3_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"8\.3"):
        fat_image({name: (b"x",)}, label="KISO", serial=1, epoch=EPOCH)


def test_more_than_el_torito_can_count_is_refused() -> None:
    with pytest.raises(ValueError, match="33554432"):
        fat_image({"A": (bytes(32 * 1024 * 1024),)}, label="KISO", serial=1, epoch=EPOCH)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (510, b"\0", "55 AA"),
        (11, b"\0\4", "sectors of 512"),
        (SECTOR + 8, b"\x77", "tables differ"),
        (19, b"\xff\xff", "sectors by its own word"),
        (22, b"\xff\x0f", "clusters"),
        (13, b"\xff", "clusters"),
    ],
)
def test_a_damaged_file_system_is_refused(offset: int, value: bytes, message: str) -> None:
    data = bytearray(image())
    data[offset : offset + len(value)] = value
    with pytest.raises(IntegrityError, match=message):
        read_fat(io.BytesIO(data))


def with_listing(entries: list[bytes]) -> bytes:
    """Return an image whose root folder and first other folder both have these entries."""
    data = bytearray(image())
    root = (1 + 2 * int.from_bytes(data[22:24], "little")) * SECTOR
    first_folder = root + 512 * 32
    for place in (root + 32, first_folder + 64):  # behind the label, and behind . and ..
        for number, entry in enumerate(entries):
            data[place + number * 32 : place + number * 32 + 32] = entry
    return bytes(data)


def named(name: bytes, cluster: int, *, size: int = 0) -> bytes:
    kind = 0x20 if size else 0x10
    return struct.pack("<11sB14xHI", name, kind, cluster, size)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param([named(b"LOOP       ", 2)], "LOOP/LOOP leads to cluster 2", id="a loop"),
        pytest.param(
            [named(b"A          ", 2), named(b"B          ", 2)], "taken", id="two folders in one"
        ),
        pytest.param(
            [named(b"A       EFI", 4, size=9), named(b"B       EFI", 4, size=9)],
            r"B\.EFI leads to cluster 4, which is taken",
            id="two files in one",
        ),
        pytest.param(
            [named(b"A       EFI", 4, size=9), named(b"A       EFI", 5, size=9)],
            r"A\.EFI is there twice",
            id="one name twice",
        ),
        pytest.param([named(b"A\x1b[2J", 4, size=9)], "no name of a file", id="not printable"),
        pytest.param(
            [named(b"A          ", 0, size=9)], "cluster 0, which is not there", id="no cluster"
        ),
        pytest.param([named(b"A          ", 0xFFF0, size=9)], "is not there", id="behind the end"),
    ],
)
def test_folders_that_lead_astray_are_refused(entries: list[bytes], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        read_fat(io.BytesIO(with_listing(entries)))


def test_no_flipped_bit_makes_the_reader_fail_in_another_way() -> None:
    data = image()
    for offset in [*range(3, 64), *range(SECTOR, SECTOR + 32), *range(60 * SECTOR, 64 * SECTOR, 7)]:
        damaged = bytearray(data)
        damaged[offset] ^= 0x40
        with contextlib.suppress(IntegrityError):
            contents(bytes(damaged))


@pytest.mark.skipif(shutil.which("mtype") is None, reason="mtools is not installed")
def test_mtools_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "esp.img"
    path.write_bytes(image())
    command = ["mtype", "-i", str(path), "::/EFI/BOOT/grubx64.efi"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == GRUB
