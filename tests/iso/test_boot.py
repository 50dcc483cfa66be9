from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isobuilder.digest import Digest
from isobuilder.iso.boot_names import CATALOG
from isobuilder.iso.check.boot import check_boot
from isobuilder.iso.check.contents import check_sums
from isobuilder.iso.check.structure import check_structure
from isobuilder.iso.read.reader import IsoReader, hash_iso
from isobuilder.store import Store
from tests.iso.boots import IDENTITY, Booted, bios_image, boot_medium, boot_parts
from tests.iso.makers import subject_of


@pytest.fixture
def medium(store: Store, tmp_path: Path) -> Booted:
    return boot_medium(store, tmp_path / "boot.iso")


def findings(path: Path) -> list[str]:
    with IsoReader(path) as reader:
        files = hash_iso(reader, whole=False).files
        return [finding.rule for finding in check_boot(subject_of(reader, files))]


def test_a_written_boot_medium_has_nothing_wrong(medium: Booted) -> None:
    with IsoReader(medium.path) as reader:
        files = hash_iso(reader, whole=False).files
        assert not list(check_boot(subject_of(reader, files)))
        assert not list(check_structure(subject_of(reader, label="CDROM")))
        assert not list(check_sums(subject_of(reader, files)))


def test_every_boot_file_had_its_digest_before_anything_was_written(medium: Booted) -> None:
    with IsoReader(medium.path) as reader:
        files = hash_iso(reader, whole=False).files
    assert CATALOG in medium.tree.facts
    for path, (digest, _size) in medium.tree.facts.items():
        assert files[path] == digest, path


def test_the_same_parts_give_the_same_iso(medium: Booted, store: Store, tmp_path: Path) -> None:
    again = boot_medium(store, tmp_path / "again.iso")
    assert again.written.digest == medium.written.digest


def test_the_iso_is_a_disk_of_whole_mebibytes(medium: Booted) -> None:
    assert medium.written.size % (1024 * 1024) == 0
    assert medium.path.stat().st_size == medium.written.size


def test_a_medium_without_bios_has_one_entry_and_no_code(store: Store, tmp_path: Path) -> None:
    medium = boot_medium(store, tmp_path / "efi.iso", boot_parts(store, architecture="arm64"))
    assert findings(medium.path) == []
    assert medium.path.read_bytes()[:440] == bytes(440)


def test_an_iso_without_boot_files_has_no_boot_findings(store: Store, tmp_path: Path) -> None:
    from tests.iso.makers import entry, iso_of

    assert findings(iso_of([entry("a", b"a")], tmp_path / "plain.iso").path) == []


def spoil(path: Path, offset: int, value: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(value)


Place = Callable[[IsoReader], int]


def of(path: str, offset: int = 0) -> Place:
    return lambda reader: reader.files[path].extents[0].offset + offset


BIOS, EFI = "boot/grub/i386-pc/eltorito.img", "boot/grub/efi.img"


@pytest.mark.parametrize(
    ("place", "value", "rule"),
    [
        pytest.param(lambda _: 17 * 2048 + 71, b"\x11", "boot.record", id="catalogue elsewhere"),
        pytest.param(lambda _: 17 * 2048 + 71, b"\xff" * 4, "boot.record", id="behind the end"),
        pytest.param(lambda _: 17 * 2048 + 7, b"x", "boot.record", id="no boot record"),
        pytest.param(of(CATALOG, 28), b"\1", "boot.catalog", id="catalogue's checksum"),
        pytest.param(of(CATALOG, 32 + 6), b"\5", "boot.catalog", id="BIOS load size"),
        pytest.param(of(CATALOG, 32 + 8), b"\1", "boot.catalog", id="BIOS image elsewhere"),
        pytest.param(of(CATALOG, 32 + 1), b"\2", "boot.catalog", id="BIOS image as a floppy"),
        pytest.param(of(CATALOG, 32 + 2), b"\1", "boot.catalog", id="BIOS image elsewhere loaded"),
        pytest.param(of(CATALOG, 64 + 1), b"\0", "boot.catalog", id="UEFI entry of no platform"),
        pytest.param(of(CATALOG, 96 + 6), b"\1", "boot.catalog", id="UEFI load size"),
        pytest.param(of(BIOS, 12), b"\1", "boot.info-table", id="info table's block"),
        pytest.param(of(BIOS, 20), b"\1", "boot.info-table", id="info table's sum"),
        pytest.param(of(BIOS, 2548), b"\1", "boot.bios", id="continues elsewhere"),
        pytest.param(of(BIOS, 5000), b"\0", "boot.payload", id="another GRUB"),
        pytest.param(lambda _: 510, b"\0", "boot.mbr", id="signature"),
        pytest.param(lambda _: 100, b"\xcc", "boot.payload", id="code of the MBR"),
        pytest.param(lambda _: 450, b"\x83", "boot.mbr", id="protective entry"),
        pytest.param(lambda _: 478, b"\x83", "boot.mbr", id="third entry"),
        pytest.param(lambda _: 462, b"\0", "boot.mbr", id="active entry"),
        pytest.param(lambda _: 432, b"\1", "boot.mbr", id="hybrid continues elsewhere"),
        pytest.param(lambda _: 512 + 60, b"\1", "boot.gpt", id="GUID of the disk"),
        pytest.param(lambda _: 1024 + 200, b"\1", "boot.gpt", id="entry of the first table"),
        pytest.param(lambda r: r.size - 512 + 80, b"\1", "boot.gpt", id="second header"),
        pytest.param(lambda r: r.size - 33 * 512 + 9, b"\1", "boot.gpt", id="second table"),
        pytest.param(of(EFI, 510), b"\0", "boot.efi", id="FAT boot sector"),
        pytest.param(of("boot/kiso/vmlinuz", 9), b"K", "boot.payload", id="another kernel"),
        pytest.param(of("boot/kiso/root.squashfs"), b"K", "boot.payload", id="another root"),
        pytest.param(of("boot/kiso/payload.json"), b"!", "boot.payload", id="no description"),
        pytest.param(of("boot/grub/grub.cfg", 37), b"f", "boot.identity", id="another ISO's menu"),
    ],
)
def test_what_is_spoiled_is_found(medium: Booted, place: Place, value: bytes, rule: str) -> None:
    with IsoReader(medium.path) as reader:
        offset = place(reader)
    spoil(medium.path, offset, value)
    assert rule in findings(medium.path)


def test_no_changed_byte_of_the_boot_structure_makes_the_check_end_in_another_way(
    medium: Booted,
) -> None:
    size = medium.path.stat().st_size
    with IsoReader(medium.path) as reader:
        files = hash_iso(reader, whole=False).files
        starts = {path: reader.files[path].extents[0].offset for path in (CATALOG, BIOS, EFI)}
    places = [*range(430, 600), *range(1024, 1200), *range(17 * 2048 + 7, 17 * 2048 + 80)]
    places += [*range(size - 512, size - 410), *range(size - 33 * 512, size - 33 * 512 + 100)]
    places += [start + at for start in starts.values() for at in range(70)]
    for place in places:
        with medium.path.open("r+b") as disk:
            disk.seek(place)
            before = disk.read(1)
            for value in (b"\xff", b"\0", bytes([before[0] ^ 0x10])):
                disk.seek(place)
                disk.write(value)
                disk.flush()
                with IsoReader(medium.path) as reader:
                    assert all(str(finding) for finding in check_boot(subject_of(reader, files))), (
                        place
                    )
            disk.seek(place)
            disk.write(before)
    assert findings(medium.path) == []


def gpt_with(entry: bytes, number: int) -> Callable[[bytes], bytes]:
    """Return what changes one entry of both partition tables and makes all checksums right."""

    def change(data: bytes) -> bytes:
        disk, end = bytearray(data), len(data)
        for header, table in ((512, 1024), (end - 512, end - 33 * 512)):
            at = table + number * 128
            disk[at : at + len(entry)] = entry
            sums = zlib.crc32(disk[table : table + 128 * 128])
            struct.pack_into("<I", disk, header + 88, sums)
            struct.pack_into("<I", disk, header + 16, 0)
            struct.pack_into("<I", disk, header + 16, zlib.crc32(disk[header : header + 92]))
        return bytes(disk)

    return change


@pytest.mark.parametrize(
    ("entry", "number"),
    [
        pytest.param(struct.pack("<16s16sQQ", b"k" * 16, b"u" * 16, 64, 1 << 40), 3, id="too long"),
        pytest.param(struct.pack("<16s16sQQ", b"k" * 16, b"u" * 16, 70, 80), 3, id="overlapping"),
        pytest.param(struct.pack("<16s16sQQ", b"k" * 16, b"u" * 16, 3, 9), 0, id="in the table"),
        pytest.param(bytes(128), 1, id="no ESP"),
    ],
)
def test_partitions_that_cannot_be_are_found_though_checksums_are_right(
    medium: Booted, entry: bytes, number: int
) -> None:
    medium.path.write_bytes(gpt_with(entry, number)(medium.path.read_bytes()))
    assert set(findings(medium.path)) == {"boot.gpt"}


@pytest.mark.parametrize("size", [-512, -1, 1, 512, 1024 * 1024])
def test_a_medium_of_another_length_is_found(medium: Booted, size: int) -> None:
    data = medium.path.read_bytes()
    medium.path.write_bytes(data[:size] if size < 0 else data + bytes(size))
    assert "boot.gpt" in findings(medium.path)


@pytest.fixture
def stick(medium: Booted, tmp_path: Path) -> Iterator[Path]:
    """A block device that the medium was written to, and that is larger than it."""
    image = tmp_path / "stick"
    image.write_bytes(medium.path.read_bytes() + b"old" * 1_000_000 + bytes(72))
    command = ["losetup", "--find", "--show", "--read-only", str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs root and a loop device: {done.stderr.strip()}")
    device = Path(done.stdout.strip())
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


@pytest.mark.skipif(shutil.which("losetup") is None, reason="losetup is not installed")
def test_a_larger_stick_with_the_medium_is_the_medium(medium: Booted, stick: Path) -> None:
    with IsoReader(stick) as reader:
        hashes = hash_iso(reader, whole=True)
        assert hashes.image == medium.written.digest
        assert not list(check_boot(subject_of(reader, hashes.files)))
        assert not list(check_structure(subject_of(reader, label="CDROM")))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        pytest.param({"menu": b"linux /vmlinuz kiso.id=" + IDENTITY.encode()}, "boot.menu"),
        pytest.param({"menu": b""}, "boot.files", id="empty menu"),
        pytest.param({"menu": b"#" * (1024 * 1024 + 1)}, "boot.files", id="endless menu"),
        pytest.param({"finder": b"search --file /boot/kiso/x.id"}, "boot.identity"),
        pytest.param({"efi": {}}, "boot.efi", id="no shim"),
        pytest.param({"payload": b"[" * 100_000}, "boot.payload", id="bottomless description"),
        pytest.param({"payload": b""}, "boot.payload", id="empty description"),
        pytest.param({"bios": None, "mbr": None}, "boot.files", id="no BIOS image"),
    ],
)
def test_a_medium_that_was_made_wrong_is_found(
    store: Store, tmp_path: Path, change: dict[str, Any], rule: str
) -> None:
    parts = replace(boot_parts(store), **change)
    medium = boot_medium(store, tmp_path / "wrong.iso", parts)
    assert rule in findings(medium.path)


def test_a_medium_of_an_unknown_architecture_is_found(store: Store, tmp_path: Path) -> None:
    parts = boot_parts(store)
    other = parts.payload.replace(b"amd64", b"sparc")
    medium = boot_medium(store, tmp_path / "wrong.iso", replace(parts, payload=other))
    assert findings(medium.path) == ["boot.payload"]


def test_a_foreign_shim_in_the_fat_image_is_found(medium: Booted) -> None:
    data = medium.path.read_bytes()
    offset = data.index(b"shim shim shim")
    spoil(medium.path, offset, b"SHIM")
    with IsoReader(medium.path) as reader:
        found = list(check_boot(subject_of(reader, hash_iso(reader, whole=False).files)))
    assert [finding.place for finding in found] == [f"{EFI}: EFI/BOOT/BOOTX64.EFI"]


def test_the_bios_image_knows_its_place_and_keeps_the_rest(medium: Booted) -> None:
    with IsoReader(medium.path) as reader:
        block = reader.files[BIOS].extents[0].offset // 2048
        with reader.open(BIOS) as file:
            data = bytearray(file.read())
    assert struct.unpack_from("<QIII", data, 2548)[0] == block * 4 + 5
    assert struct.unpack_from("<III", data, 8) == (16, block, len(data))
    data[8:64] = bytes(56)
    struct.pack_into("<Q", data, 2548, 2)
    assert Digest.of(bytes(data)) == Digest.of(bios_image())


@pytest.mark.skipif(shutil.which("sgdisk") is None, reason="gdisk is not installed")
def test_sgdisk_finds_no_problem(medium: Booted) -> None:
    done = subprocess.run(["sgdisk", "-v", medium.path], capture_output=True, check=True, text=True)
    assert "No problems found" in done.stdout
    assert "Caution" not in done.stdout


@pytest.mark.skipif(shutil.which("xorriso") is None, reason="xorriso is not installed")
def test_xorriso_sees_both_loaders_and_both_tables(medium: Booted) -> None:
    command = ["xorriso", "-indev", str(medium.path)]
    command += ["-report_system_area", "plain", "-report_el_torito", "plain"]
    seen = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert "protective-msdos-label grub2-mbr" in seen
    assert "GPT partition path :   2  /boot/grub/efi.img" in seen
    assert "El Torito img opts :   1  boot-info-table grub2-boot-info" in seen
    assert "El Torito cat path : /boot/grub/boot.cat" in seen
    assert seen.count("El Torito boot img") == 2
