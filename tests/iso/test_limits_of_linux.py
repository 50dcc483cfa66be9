"""Files that Linux would read otherwise or not at all: longer names, more sections than it takes.

Source of the limits: Linux ``fs/isofs/inode.c``, ``isofs_read_level3_size``, which gives up after
100 sections, and ``fs/isofs/rock.c``, ``get_rock_ridge_filename``, which leaves out the part of a
name by which that would have 254 bytes or more.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from isobuilder.errors import IntegrityError
from isobuilder.iso.read.reader import IsoReader

BLOCK = 2048
needs_xorriso = pytest.mark.skipif(shutil.which("xorriso") is None, reason="no xorriso")


def made(folder: Path, *options: str) -> Path:
    iso = folder.with_suffix(".iso")
    words = ["xorriso", "-as", "mkisofs", "-quiet", *options, "-o", str(iso), str(folder)]
    subprocess.run(words, check=True, capture_output=True)
    return iso


@needs_xorriso
@pytest.mark.parametrize("length", [252, 253])
def test_a_name_as_long_as_linux_takes_is_read(tmp_path: Path, length: int) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / ("n" * length)).write_bytes(b"x")
    with IsoReader(made(folder, "-R")) as reader:
        assert "n" * length in reader.files


@needs_xorriso
@pytest.mark.parametrize("length", [254, 255])
def test_a_name_that_linux_would_cut_is_refused(tmp_path: Path, length: int) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / ("n" * length)).write_bytes(b"x")
    with pytest.raises(IntegrityError, match=f"a name of {length} bytes"):
        IsoReader(made(folder, "-R"))


def joined(iso: Path, count: int) -> Path:
    """Make one file of the first ``count`` files of the root folder: its sections."""
    data = bytearray(iso.read_bytes())
    root = struct.unpack_from("<I", data, 16 * BLOCK + 156 + 2)[0] * BLOCK
    size = struct.unpack_from("<I", data, 16 * BLOCK + 156 + 10)[0]
    at, found = root, []
    while at < root + size:
        if data[at] == 0:  # the next record begins with the next block
            at += BLOCK - at % BLOCK
            continue
        found.append(at)
        at += data[at]
    records = found[2:]  # after "." and ".."
    length = data[records[0] + 32]
    name = data[records[0] + 33 : records[0] + 33 + length]
    for number, record in enumerate(records[:count]):
        data[record + 33 : record + 33 + length] = name
        if number < count - 1:
            data[record + 25] |= 0x80  # more sections follow
    iso.write_bytes(data)
    return iso


def of_sections(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"F{number:03}.DAT").write_bytes(bytes([number]) * BLOCK)
    return joined(made(folder, "-iso-level", "3"), count)


@needs_xorriso
def test_a_file_of_as_many_sections_as_linux_takes_is_read(tmp_path: Path) -> None:
    with IsoReader(of_sections(tmp_path / "tree", 100)) as reader:
        (found,) = reader.files.values()
        assert sum(extent.size for extent in found.extents) == 100 * BLOCK


@needs_xorriso
def test_a_file_of_more_sections_than_linux_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="a file of more than 100 extents"):
        IsoReader(of_sections(tmp_path / "tree", 101))
