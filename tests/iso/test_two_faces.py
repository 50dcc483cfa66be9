"""No ISO shows us other files than it shows Linux, blkid or other people's readers.

What other readers would read otherwise is refused, each kind once here; what we accept is given to
readers of other people, who must see the same.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.errors import IntegrityError
from isobuilder.iso.check.contents import check_iso
from isobuilder.iso.check.structure import check_structure
from isobuilder.iso.read.reader import IsoReader
from tests.iso.makers import entry, iso_of, subject_of
from tests.iso.test_bad_isos import BLOCK, FILES, PVD, SVD, Crafted

PX = b"PX\x24\x01" + struct.pack("<I", 0o100444) + struct.pack(">I", 0o100444) + bytes(24)
RR = b"RR\x05\x01\x89"


def nm(name: bytes, flags: int = 0) -> bytes:
    return b"NM" + bytes([5 + len(name), 1, flags]) + name


NAME = nm(b"network.yaml")
ST = b"ST\x04\x01"


@pytest.fixture
def crafted(tmp_path: Path) -> Crafted:
    return Crafted(tmp_path / "a.iso")


def system_use(iso: Crafted, fields: bytes, path: str = "network.yaml") -> None:
    """Give the record of a file another system use area, padded with an unknown time."""
    at = iso.record(path)
    length = iso.data[at + 32]
    start = at + 33 + length + (1 - length % 2)
    size = at + iso.data[at] - start
    assert len(fields) <= size
    iso.data[start : start + size] = fields + bytes(size - len(fields))


def padded(fields: bytes) -> bytes:
    """Fill up the 84 bytes of the record with a link, which takes any length."""
    left = 84 - len(fields)
    return fields + b"SL" + bytes([left, 1]) + bytes(left - 4)


def test_a_record_made_here_is_read(crafted: Crafted) -> None:
    system_use(crafted, padded(RR + PX + NAME))
    with crafted.open() as reader:
        assert reader.tree.specials == {"network.yaml": "symbolic link"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(padded(RR + PX + nm(b"network.yaml", 0x20)), "with flags", id="flag 0x20"),
        pytest.param(padded(RR + PX + nm(b"network.yaml", 0x80)), "with flags", id="flag 0x80"),
        pytest.param(padded(RR + PX + nm(b"", 2)), "with flags", id="the current folder"),
        pytest.param(padded(RR + PX + nm(b"netw", 1)), "half of one", id="continues nowhere"),
        pytest.param(
            padded(RR + PX + nm(b"netw") + nm(b"ork")), "none belongs", id="continues unasked"
        ),
        pytest.param(padded(RR + PX), "no name", id="no name"),
        pytest.param(padded(PX + PX), "a second system use field", id="two modes"),
        pytest.param(RR + PX + ST + NAME, "behind the end", id="ST before the name"),
        pytest.param(RR + ST + PX + NAME, "behind the end", id="ST before the mode"),
        pytest.param(RR + PX + NAME + bytes(3), "0 bytes do not fit", id="zeros behind"),
        pytest.param(RR + PX + bytes(3) + NAME, "0 bytes do not fit", id="zeros before the name"),
        pytest.param(
            RR + PX + b"\0M\x05\x01\0" + NAME, "unknown", id="a field that begins with zero"
        ),
        pytest.param(padded(RR + PX + b"NM\x04\x01" + NAME), "with flags", id="NM of 4 bytes"),
        pytest.param(padded(b"RR\x05\x01\x81" + PX + NAME), "hides fields", id="RR without names"),
        pytest.param(padded(b"RR\x05\x01\xe9" + PX + NAME), "hides fields", id="RR relocates"),
        pytest.param(padded(b"SP\x07\x01\xbe\xef\x0e" + PX + NAME), "root folder", id="SP"),
        pytest.param(padded(b"ER\x08\x01\0\0\0\x01" + PX + NAME), "root folder", id="ER"),
        pytest.param(padded(b"AL\x05\x01\0" + PX + NAME), "unknown", id="AL"),
        pytest.param(padded(b"ES\x05\x01\0" + PX + NAME), "unknown", id="ES"),
        pytest.param(padded(b"XX\x05\x01\0" + PX + NAME), "unknown", id="nobody's"),
        pytest.param(padded(RR + PX + b"NM\x11\x02\0network.yaml"), "version 2", id="version"),
        pytest.param(padded(RR + b"PX\x14\x01" + bytes(16) + NAME), "expected 32", id="short PX"),
        pytest.param(padded(RR + PX + NAME + b"TF\x0b\x01\x02" + bytes(6)), "expected 8", id="TF"),
        pytest.param(padded(RR + PX + NAME + b"PN\x04\x01"), "a device", id="a device"),
        pytest.param(padded(RR + PX + NAME + b"CL\x04\x01"), "relocated", id="CL"),
    ],
)
def test_what_linux_reads_otherwise_in_a_record_is_refused(
    fields: bytes, message: str, crafted: Crafted
) -> None:
    system_use(crafted, fields)
    with pytest.raises(IntegrityError, match=message):
        crafted.open()


def put(at: Callable[[Crafted], int], data: bytes) -> Callable[[Crafted], None]:
    def craft(iso: Crafted) -> None:
        iso.data[at(iso) : at(iso) + len(data)] = data

    return craft


def dot_mode(iso: Crafted) -> int:
    return iso.data.index(b"PX", iso.folders["k8s"].offset) + 4


MODE = struct.pack("<I", 0o040777) + struct.pack(">I", 0o040777)


REGULAR = struct.pack("<I", 0o100644) + struct.pack(">I", 0o100644)


def enhanced(iso: Crafted, at: int, data: bytes) -> None:
    """Put an enhanced volume in place of Joliet's: the primary one again, but for ``data``."""
    iso.data[SVD : SVD + BLOCK] = iso.data[PVD : PVD + BLOCK]
    iso.data[SVD], iso.data[SVD + 6], iso.data[SVD + 881] = 2, 2, 2
    iso.data[SVD + at : SVD + at + len(data)] = data


def test_a_folder_has_the_mode_that_linux_takes_and_another_one_is_told(crafted: Crafted) -> None:
    put(dot_mode, MODE)(crafted)
    with crafted.open() as reader:
        assert reader.tree.modes["k8s"] == 0o777
        told = [f for f in check_structure(subject_of(reader)) if f.rule == "iso.rock-ridge"]
    assert [(one.place, one.severity) for one in told] == [("k8s", "warning")]
    assert "mode 777 by its own record, 555 by its name" in told[0].fact


@pytest.mark.parametrize(
    ("craft", "message"),
    [
        pytest.param(put(lambda i: i.record("other") + 25, b"\x01"), "flags 0x1", id="hidden"),
        pytest.param(put(lambda i: i.record("other") + 25, b"\x08"), "flags 0x8", id="format"),
        pytest.param(put(lambda i: i.record("other") + 25, b"\x10"), "flags 0x10", id="protection"),
        pytest.param(
            put(lambda i: i.record("other") + 28, b"\2\0\0\2"), "another volume", id="volume"
        ),
        pytest.param(
            put(lambda i: i.record("other") + 33 + 8, b"x"), "byte of padding", id="padding"
        ),
        pytest.param(
            put(lambda i: i.folders["k8s"].end - 1, b"x"), "behind the last record", id="a folder"
        ),
        pytest.param(
            put(lambda i: i.joliet_folders["k8s"].end - 1, b"x"),
            "behind the last record",
            id="a Joliet folder",
        ),
        pytest.param(put(dot_mode, REGULAR), "another by its name", id="a folder that is a file"),
        pytest.param(put(dot_mode, b"\0" * 8), "relocated", id="a folder without a mode"),
        pytest.param(
            lambda i: i.both(i.folders["k8s"].offset + i.data[i.folders["k8s"].offset] + 2, 20),
            r"expected the record of \.\.",
            id="another parent",
        ),
        pytest.param(put(lambda _: SVD, b"\1"), "type 1 that is not expected", id="two trees"),
        pytest.param(put(lambda _: SVD, b"\3"), "type 3 that is not expected", id="partition"),
        pytest.param(put(lambda _: SVD + 6, b"\2"), "structure version", id="enhanced"),
        pytest.param(
            lambda i: enhanced(i, 88, b"%/E"), "another one than the primary", id="enhanced Joliet"
        ),
        pytest.param(
            lambda i: enhanced(i, 158, struct.pack("<I", 20) + struct.pack(">I", 20)),
            "another one than the primary",
            id="an enhanced tree",
        ),
        pytest.param(
            lambda i: enhanced(i, 40, b"OTHER"), "another one than the primary", id="its label"
        ),
        pytest.param(put(lambda _: SVD + 88, b"%/F"), "not expected", id="unknown escape"),
        pytest.param(put(lambda _: PVD + 120, b"\2\0\0\2"), "expected 1, got 2", id="a set"),
        pytest.param(put(lambda _: PVD + 144, b"\x14"), "optional path tables", id="path table"),
        pytest.param(put(lambda _: PVD + 181, b"\3"), "not one of a folder", id="root record"),
        pytest.param(
            put(lambda _: SVD + BLOCK + 100, b"x"), "in the end of the volume", id="terminator"
        ),
    ],
)
def test_what_others_read_otherwise_in_records_and_descriptors_is_refused(
    craft: Callable[[Crafted], None], message: str, crafted: Crafted
) -> None:
    craft(crafted)
    with pytest.raises(IntegrityError, match=message):
        crafted.open()


def test_a_name_that_linux_would_cut_is_refused(crafted: Crafted) -> None:
    at = crafted.field("k8s/" + "n" * 190, b"CE")
    block, offset, size = struct.unpack_from("<I4xI4xI", crafted.data, at + 4)
    area = block * BLOCK + offset
    longer = nm(b"m" * 120) + crafted.data[area + crafted.data[area + 2] : area + size]
    crafted.data[area : area + len(longer)] = longer
    crafted.both(at + 20, len(longer))
    with pytest.raises(IntegrityError, match=r"a name of \d+ bytes"):
        crafted.open()


@pytest.mark.parametrize("order", ["again", "backwards", "empty"])
def test_sections_of_a_file_that_are_not_in_order_are_refused(order: str, crafted: Crafted) -> None:
    """Each byte is read once: 2,000 sections of the same 8 MiB were 16 GiB to hash."""
    at = crafted.record("k8s/kubeadm")
    length = crafted.data[at]
    record = bytearray(crafted.data[at : at + length])
    record[25] = 0x80
    record[10:18] = struct.pack("<I", BLOCK) + struct.pack(">I", BLOCK)
    last = bytearray(record)
    last[25] = 0
    (block,) = struct.unpack_from("<I", record, 2)
    if order == "backwards":
        record[2:10] = struct.pack("<I", block + 1) + struct.pack(">I", block + 1)
    elif order == "empty":
        last[10:18] = bytes(8)
    rest = crafted.data[at + length : crafted.folders["k8s"].end]
    changed = record + last + rest[: len(rest) - length]
    crafted.data[at : at + len(changed)] = changed
    with pytest.raises(IntegrityError, match="extents that are empty, or not in order"):
        crafted.open()


def test_records_that_share_continuation_areas_are_refused_at_once(tmp_path: Path) -> None:
    """Records that continue in the areas of others would be read again for each of them."""
    names = [f"{number:03}" + "n" * 190 for number in range(400)]
    iso_of([entry(name) for name in names], tmp_path / "a.iso")
    data = bytearray((tmp_path / "a.iso").read_bytes())
    found = [match.start() for match in re.finditer(rb"CE\x1c\x01", data)]
    assert len(found) >= 400
    for at in found[2:]:
        data[at + 4 : at + 28] = data[found[1] + 4 : found[1] + 28]
    (tmp_path / "a.iso").write_bytes(data)
    started = time.process_time()
    with pytest.raises(IntegrityError, match="in one another"):
        IsoReader(tmp_path / "a.iso")
    assert time.process_time() - started < 10


# --- bytes that nothing claims ---


def rules_of(path: Path, label: str | None = None) -> set[str]:
    with IsoReader(path) as reader:
        return {finding.rule for finding in check_iso(reader, label=label).findings}


@pytest.mark.parametrize(
    ("at", "data"),
    [
        pytest.param(446, b"\x80\0\0\0\x17" + bytes(59) + b"\x55\xaa", id="an active partition"),
        pytest.param(1080, b"\x53\xef", id="ext4 for blkid"),
        pytest.param(32767, b"x", id="the last byte before the descriptors"),
        pytest.param(SVD + 2 * BLOCK, b"\0BEA01\1", id="UDF behind the descriptors"),
        pytest.param(SVD + 3 * BLOCK - 8, b"\0NSR02\1", id="the end of that block"),
    ],
)
def test_bytes_that_no_file_has_are_found(at: int, data: bytes, crafted: Crafted) -> None:
    before = rules_of(crafted.path)
    crafted.data[at : at + len(data)] = data
    crafted.path.write_bytes(crafted.data)
    found = rules_of(crafted.path)
    assert found - before == {"iso.unclaimed"}


def test_bytes_between_and_behind_files_are_found(crafted: Crafted) -> None:
    ends = {crafted.files[path].extents[-1].end for path in FILES if crafted.files[path].size}
    for at in [*ends, len(crafted.data) - 1]:
        assert crafted.data[at] == 0
        changed = bytearray(crafted.data)
        changed[at] = 0x90
        crafted.path.write_bytes(changed)
        assert "iso.unclaimed" in rules_of(crafted.path), at


def test_a_boot_record_on_an_iso_that_starts_nothing_is_found(crafted: Crafted) -> None:
    end = bytes(crafted.data[SVD + BLOCK : SVD + 2 * BLOCK])
    joliet = bytes(crafted.data[SVD : SVD + BLOCK])
    record = b"\0CD001\1" + b"EL TORITO SPECIFICATION".ljust(64, b"\0") + struct.pack("<I", 20)
    crafted.data[SVD : SVD + BLOCK] = record.ljust(BLOCK, b"\0")
    crafted.data[SVD + BLOCK : SVD + 2 * BLOCK] = joliet
    crafted.data[SVD + 2 * BLOCK : SVD + 3 * BLOCK] = end
    with crafted.open() as reader:  # as far as there is a block for it
        assert "boot.record" in {finding.rule for finding in check_iso(reader).findings}


def test_a_joliet_label_that_blkid_would_tell_is_found(crafted: Crafted) -> None:
    crafted.data[SVD + 40 : SVD + 72] = "OTHER".ljust(16).encode("utf-16-be")
    crafted.path.write_bytes(crafted.data)
    assert "iso.label" in rules_of(crafted.path, label="CDROM")
    with crafted.open() as reader:
        assert (reader.label, reader.other_labels) == ("CDROM", ("OTHER",))


# --- readers of other people ---


def program(name: str, package: str) -> str:
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install {package}")
    return found


def output_of(*command: str | Path) -> bytes:
    return subprocess.run(command, capture_output=True, check=True).stdout


def unpacked_by(reader: str, iso: Path, folder: Path) -> dict[str, bytes]:
    """Return every file as another reader sees it."""
    folder.mkdir()
    if reader == "bsdtar":
        output_of(program("bsdtar", "libarchive-tools"), "-xf", iso, "-C", folder)
    elif reader == "7z":
        output_of(program("7z", "p7zip-full"), "x", "-y", f"-o{folder}", iso)
    elif reader == "xorriso":
        osirrox = [program("xorriso", "xorriso"), "-osirrox", "on", "-indev", iso]
        output_of(*map(str, osirrox), "-extract", "/", folder / "root")
        folder = folder / "root"
    elif reader == "fuseiso":
        mounted = subprocess.run(
            [program("fuseiso", "fuseiso"), iso, folder], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("fuseiso cannot mount on this machine")
    try:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
    finally:
        if reader == "fuseiso":
            output_of("fusermount", "-u", folder)
        elif reader == "xorriso":
            output_of("chmod", "-R", "u+w", folder)


READERS = ["bsdtar", "7z", "xorriso", "fuseiso"]


@pytest.mark.parametrize("reader", READERS)
def test_other_readers_see_our_files(reader: str, crafted: Crafted, tmp_path: Path) -> None:
    seen = unpacked_by(reader, crafted.path, tmp_path / "out")
    if reader == "7z":  # which takes Joliet's names
        with crafted.open() as iso:
            assert iso.joliet is not None
            assert seen.keys() == iso.joliet.files.keys()
            assert seen == {
                path: iso.image.stream(file.extents).read()
                for path, file in iso.joliet.files.items()
            }
    else:
        assert seen == FILES


@pytest.mark.parametrize("reader", ["bsdtar", "xorriso", "fuseiso"])
def test_what_we_accept_of_changed_isos_others_read_alike(
    reader: str, crafted: Crafted, tmp_path: Path
) -> None:
    """Records with a byte changed: refused, or the same files for us and for others."""
    chance = random.Random(7)
    good, accepted = bytes(crafted.data), 0
    folders = [crafted.folders[path] for path in ("", "k8s", "a/b/c")]
    for number in range(400):
        folder = chance.choice(folders)
        block = good[folder.offset : folder.offset + BLOCK].rstrip(b"\0")
        crafted.data[:] = good
        crafted.data[folder.offset + chance.randrange(len(block))] ^= 1 << chance.randrange(8)
        try:
            with crafted.open() as iso:
                if iso.tree.specials:
                    continue
                ours = {path: iso.open(path).read() for path in iso.files}
        except IntegrityError:
            continue
        accepted += 1
        if accepted > 25:
            break
        assert unpacked_by(reader, crafted.path, tmp_path / f"out{number}") == ours
    assert accepted > 5


def test_blkid_tells_the_label_that_we_tell(crafted: Crafted) -> None:
    text = output_of(program("blkid", "util-linux"), "-p", "-o", "export", crafted.path).decode()
    assert {"LABEL=CDROM", "TYPE=iso9660"} <= set(text.split())
