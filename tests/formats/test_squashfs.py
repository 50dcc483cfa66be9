"""Where the files of a squashfs lie is told right, or the squashfs is refused within bounds."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.errors import IntegrityError
from isobuilder.formats.squashfs import Squashfs, read_squashfs, unpacked_block
from tests.formats.squashing import DIRECTORIES, INODES, ROOT, squashfs

FILES = {
    "bin/program": random.Random(1).randbytes(9000) + b"and the same again " * 900,
    "etc/one.conf": b"a = 1\n" * 300,
    "etc/deep/er/two.conf": b"b = 2\n",
    "zeros": bytes(10_000) + b"not all",
    "empty": b"",
}


def read(data: bytes) -> Squashfs:
    return read_squashfs(lambda at, size: data[at : at + size], len(data))


def contents(data: bytes) -> dict[str, bytes]:
    """Return what the runs of blocks unpack to."""
    found = read(data)
    made = {}
    for run in found.runs:
        at, content = run.offset, b""
        for block in run.blocks:
            part = data[at : at + block.packed]
            at += block.packed
            content += part if block.plain else unpacked_block(part, found.packing, block.size)
        assert len(content) == sum(block.size for block in run.blocks)
        made[run.path] = content
    return made


def without_zero_blocks(data: bytes, block: int = 4096) -> bytes:
    parts = (data[at : at + block] for at in range(0, len(data), block))
    return b"".join(part for part in parts if any(part))


@pytest.mark.parametrize("plain", [True, False], ids=["tables as they are", "packed tables"])
def test_every_file_is_where_it_is_said_to_be(plain: bool) -> None:
    expected = {name: without_zero_blocks(data) for name, data in FILES.items() if data}
    assert contents(squashfs(FILES, plain=plain)) == expected


def test_many_files_are_in_tables_of_many_blocks() -> None:
    files = {f"{n % 7}/{n}": str(n).encode() * 40 for n in range(2000)}
    assert contents(squashfs(files, plain=False)) == files


def test_ends_of_files_that_are_packed_together_are_runs_too() -> None:
    found = contents(squashfs(FILES, fragments=True))
    tails = [FILES[name][-(len(FILES[name]) % 4096) :] for name in sorted(FILES) if FILES[name]]
    ends = [data for name, data in found.items() if name.startswith("fragment ")]
    assert b"".join(ends) == b"".join(tails)
    assert found["bin/program"] == FILES["bin/program"][: -(len(FILES["bin/program"]) % 4096)]


@pytest.mark.skipif(shutil.which("mksquashfs") is None, reason="squashfs-tools is not installed")
@pytest.mark.parametrize("packing", ["gzip", "xz", "zstd"])
def test_what_squashfs_tools_write_is_read(packing: str, tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    out = tmp_path / "x.squashfs"
    words = ["-comp", packing, "-b", "4096", "-no-fragments", "-quiet", "-no-progress"]
    subprocess.run(["mksquashfs", tmp_path / "tree", out, *words], check=True)
    expected = {name: without_zero_blocks(data) for name, data in FILES.items() if data}
    assert contents(out.read_bytes()) == expected


def at(place: int, form: str, value: int) -> Callable[[bytearray], None]:
    """Return what writes a number over a place of the head."""
    return lambda data: struct.pack_into(form, data, place, value)


def in_table(table: int, place: int, form: str, value: int) -> Callable[[bytearray], None]:
    """Return what writes a number over a place of a table, behind the head of its first block."""

    def write(data: bytearray) -> None:
        (begin,) = struct.unpack_from("<Q", data, table)
        struct.pack_into(form, data, begin + 2 + place, value)

    return write


def together(*steps: Callable[[bytearray], None]) -> Callable[[bytearray], None]:
    def write(data: bytearray) -> None:
        for step in steps:
            step(data)

    return write


LIES: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "another version": (at(28, "<H", 3), "squashfs 3.0"),
    "packed by something unknown": (at(20, "<H", 9), "packed by 9"),
    "blocks of no bytes": (at(12, "<I", 0), "blocks of 0 bytes"),
    "blocks of a gigabyte": (at(12, "<I", 1 << 30), "blocks of 1073741824 bytes"),
    "billions of inodes": (at(4, "<I", 0xFFFF_FFFF), "4294967295 inodes, at most 500000"),
    "fewer inodes than there are": (at(4, "<I", 2), "more than the 2 inodes it says"),
    "larger than the file": (at(40, "<Q", 1 << 50), "tables lie outside"),
    "tables behind the end": (at(INODES, "<Q", 1 << 60), "tables lie outside"),
    "a root that is nowhere": (at(ROOT, "<Q", 1 << 40), "outside of it"),
    "a root behind the end of its block": (at(ROOT, "<Q", 8000), "behind the end of a block"),
    "a block of a table that is damaged": (in_table(INODES, -2, "<H", 30), "a damaged block"),
    "a block of a table of no bytes": (in_table(INODES, -2, "<H", 0x8000), "a block of 0 bytes"),
    "a file of billions of blocks": (
        together(in_table(INODES, 0, "<H", 9), in_table(INODES, 24, "<Q", 1 << 62)),
        "more than 67108864 bytes of tables",
    ),
    "a file with more blocks than told": (in_table(INODES, 28, "<I", 1 << 30), "a squashfs"),
    "a block larger than blocks are": (in_table(INODES, 32, "<I", 0xFF_FFFF), "of 16777215 bytes"),
    "a file in the tables": (in_table(INODES, 16, "<I", 11_500), "blocks lie in its tables"),
    "the end of a file that is nowhere": (in_table(INODES, 20, "<I", 7), "fragment 7"),
    "a list of names that ends early": (in_table(DIRECTORIES, 0, "<I", 200), "ends early"),
}


@pytest.mark.parametrize("lie", LIES)
def test_tables_that_lie_are_refused(lie: str) -> None:
    change, said = LIES[lie]
    data = bytearray(squashfs(FILES))
    change(data)
    tracemalloc.start()
    with pytest.raises(IntegrityError, match=said):
        read(bytes(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_table_that_is_a_bomb_is_refused() -> None:
    data = bytearray(squashfs(FILES))
    bomb = zlib.compress(bytes(10_000_000), 9)
    (begin,) = struct.unpack_from("<Q", data, INODES)
    data[begin:begin] = struct.pack("<H", len(bomb)) + bomb
    for place in (40, DIRECTORIES):
        (value,) = struct.unpack_from("<Q", data, place)
        struct.pack_into("<Q", data, place, value + 2 + len(bomb))
    struct.pack_into("<Q", data, ROOT, 0)
    with pytest.raises(IntegrityError, match="of more than 8192 bytes"):
        read(bytes(data))


def test_folders_that_are_within_each_other_are_followed_once_and_not_without_end() -> None:
    deep = squashfs({"/".join("a" * 130): b"x"})
    with pytest.raises(IntegrityError, match="more than 128 deep"):
        read(deep)
    data = bytearray(squashfs({"a/b": b"x" * 100}))
    (root,) = struct.unpack_from("<Q", data, ROOT)
    in_table(DIRECTORIES, 12, "<H", root & 0xFFFF)(data)  # what was a/b is the root again
    assert read(bytes(data)).runs == ()


@pytest.mark.parametrize("size", [0, 4, 95, 200, 9_000])
def test_what_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(IntegrityError):
        read(squashfs(FILES)[:size])
