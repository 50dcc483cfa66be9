"""Where the files of a cpio archive lie is told right, or it is refused."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

import pytest

from isobuilder.errors import IntegrityError
from isobuilder.formats.cpio import CpioFile, cpio_files


def header(name: str, mode: int, size: int, *, length: int | None = None) -> bytes:
    numbers = [1, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length or len(name) + 1, 0]
    made = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
    return made + bytes(-len(made) % 4)


def cpio(files: Mapping[str, bytes]) -> bytes:
    made = header("folder", 0o040755, 0)
    for name, data in files.items():
        made += header(name, 0o100644, len(data)) + data + bytes(-len(data) % 4)
    return made + header("TRAILER!!!", 0, 0) + bytes(200)


def test_every_file_is_where_it_is_said_to_be() -> None:
    files = {"init": b"#!/bin/sh\n", "usr/lib/a.ko": bytes(range(256)), "none": b""}
    data = cpio(files)
    found = {one.name: data[one.offset : one.offset + one.size] for one in _read(data)}
    assert found == {name: content for name, content in files.items() if content}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no header of cpio at byte 0"),
        (cpio({"a": b"x" * 100})[:250], "cut off"),
        (header("a", 0o100644, 0xFFFF_FFFF), "cut off: 42949"),
        (header("a", 0o100644, 1, length=0xFFFF_FFFF), "a name of 4294967295 bytes"),
        (header("a", 0o100644, 0) + b"no header", "no header of cpio at byte 112"),
        (header("a", 0o100644, 0).replace(b"000081A4", b"0000 1A4"), "for a number"),
    ],
)
def test_what_contradicts_itself_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(IntegrityError, match=said):
        list(_read(data))


def test_members_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isobuilder.formats.cpio.MOST_MEMBERS", 3)
    with pytest.raises(IntegrityError, match="more than 3 members"):
        list(_read(cpio({"a": b"1", "b": b"2", "c": b"3"})))


def _read(data: bytes) -> Iterator[CpioFile]:
    return cpio_files(io.BytesIO(data))
