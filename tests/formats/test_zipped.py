"""Members of plain zips are read as they are; what overlaps, lies or grows is refused."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from itertools import islice

import pytest

from isobuilder.errors import InputError
from isobuilder.formats.zipped import is_zip, zip_members

FILES = {"GO-1.json": b'{"id": "GO-1"}', "GO-2.json": b"{" + b" " * 5000 + b"}", "e.json": b""}


def zip_of(
    files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.comment = comment
    return made.getvalue()


def read(data: bytes, most: int = 10_000) -> dict[str, bytes]:
    return dict(zip_members(data, "all.zip", most=most))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("comment", [b"", b"exported"])
def test_members_are_what_was_put_in(method: int, comment: bytes) -> None:
    data = zip_of(FILES | {"folder/": b""}, method, comment)
    assert is_zip(data)
    assert read(data) == FILES


def test_what_is_written_as_a_stream_with_zip64_is_read() -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    made = Stream()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    assert read(made.getvalue()) == FILES


def wide(data: bytes) -> bytes:
    """The same archive of one member, all of whose numbers are in the fields of zip64."""
    end = data.rfind(b"PK\x05\x06")
    (at,) = struct.unpack_from("<L", data, end + 16)
    entry = bytearray(data[at:end])
    packed, whole = struct.unpack_from("<2L", entry, 20)
    entry[20:28], entry[42:46] = b"\xff" * 8, b"\xff" * 4
    entry[30:32] = struct.pack("<H", 28)
    entry += struct.pack("<2H3Q", 1, 24, whole, packed, 0)
    told = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(entry), at)
    found = struct.pack("<4sLQL", b"PK\x06\x07", 0, at + len(entry), 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, *[0xFFFFFFFF] * 2, 0)
    return data[:at] + bytes(entry) + told + found + last


def test_numbers_of_zip64_are_read() -> None:
    one = {"GO-2.json": FILES["GO-2.json"]}
    with zipfile.ZipFile(io.BytesIO(wide(zip_of(one)))) as archive:
        assert archive.read("GO-2.json") == one["GO-2.json"]
    assert read(wide(zip_of(one))) == one


def overlapping() -> bytes:
    """Two members of the directory whose bytes are the same ones."""
    data = zip_of({"a.json": b"{}", "b.json": b"{}"})
    end = data.rfind(b"PK\x05\x06")
    second = data.rfind(b"PK\x01\x02", 0, end)
    first = data.find(b"PK\x01\x02")
    return data[:second] + data[first:second] + data[end:]


def encrypted() -> bytes:
    data = bytearray(zip_of({"a.json": b"{}"}))
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def otherwise_named() -> bytes:
    return zip_of({"a.json": b"{}"}).replace(b"a.json", b"b.json", 1)


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (overlapping(), "a.json: it lies inside of another member"),
        (encrypted(), "expected it stored or deflated"),
        (zip_of({"a.json": b"{}" * 50}, zipfile.ZIP_BZIP2), "deflated, got method 12"),
        (otherwise_named(), "its own header says otherwise"),
        (b"PK\x03\x04", "it has no end"),
        (b"#!/bin/sh\n" + zip_of(FILES), "with other data around it"),
        (zip_of(FILES) + b"more", "with other data around it"),
        (zip_of({"a.json": b"[" * 20_000}), "a.json: it unpacks to more than 10000 bytes"),
    ],
)
def test_other_kinds_of_zip_are_refused(data: bytes, fact: str) -> None:
    with pytest.raises(InputError, match=fact):
        read(data)


def test_a_small_zip_of_very_much_is_refused_before_all_of_it_is_unpacked() -> None:
    full = b" " * 4_000_000
    data = zip_of({f"{number}.json": full for number in range(40)})
    members = zip_members(data, "all.zip", most=5_000_000)
    assert sum(len(content) for _, content in islice(members, 16)) == 64_000_000
    with pytest.raises(InputError, match="the archive up to it unpacks to more than"):
        list(members)


def test_what_is_cut_or_changed_is_right_or_refused() -> None:
    data = zip_of(FILES)
    chance = random.Random(18)
    cases = [data[:size] for size in range(4, len(data))]
    for _ in range(1500):
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 4))):
            changed[chance.randrange(len(changed))] = chance.choice(
                (0, 1, 0xFF, chance.randrange(256))
            )
        cases.append(bytes(changed))
    refused = 0
    for case in cases:
        try:
            found = read(case)
        except InputError:
            refused += 1
        else:
            assert set(found.values()) <= set(FILES.values())
    assert refused > len(data)
