"""The parts of pycdlib we rely on: this file fails when a new version changes them."""

from __future__ import annotations

import io
import time

import pycdlib
import pytest

from isobuilder.iso.write.author import author, build, fixed_clock
from isobuilder.iso.write.entries import IsoEntry
from tests.iso.makers import EPOCH, entry


def everything() -> list[IsoEntry]:
    return [
        entry("k8s/kubeadm", b"a" * 5000, 0o755),
        entry("k8s/" + "long" * 49, b"needs a continuation area"),
        entry("empty"),
        entry("z-empty"),
        entry("docker/" + "ab" * 32 + ".tar", b"x" * 2048),
        IsoEntry("pieces", 0o644, (b"one", b"", b"two" * 1000)),
        *(entry(f"many/{'name' * 30}{number}", b"q" * number) for number in range(200)),
        *(entry(f"deep/b/c/d/e/f/g/{number}", b"!") for number in range(3)),
    ]


def by_pycdlib(entries: list[IsoEntry]) -> bytes:
    with fixed_clock(EPOCH):
        files = {one.path: io.BytesIO(b"".join(map(bytes, one.pieces))) for one in entries}  # type: ignore[arg-type]
        iso = build(entries, files, label="CDROM")
        out = io.BytesIO()
        iso.write_fp(out)
        iso.close()
    return out.getvalue()


def by_us(entries: list[IsoEntry]) -> bytes:
    plan = author(entries, label="CDROM", epoch=EPOCH)
    image = bytearray(plan.head)
    for offset, one in plan.bodies:
        image += bytes(offset - len(image))
        image += b"".join(map(bytes, one.pieces))  # type: ignore[arg-type]
    return bytes(image) + bytes(plan.size - len(image))


def test_head_and_bodies_are_the_bytes_pycdlib_would_write() -> None:
    assert by_us(everything()) == by_pycdlib(everything())


@pytest.mark.parametrize("entries", [[], [entry("empty")], [entry("one", b"1")]])
def test_nearly_empty_isos_are_too(entries: list[IsoEntry]) -> None:
    assert by_us(entries) == by_pycdlib(entries)


def test_the_clock_of_the_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first = by_us(everything())
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    try:
        with fixed_clock(EPOCH):
            assert time.time() > EPOCH + 1_000_000
        assert by_us(everything()) == first
    finally:
        monkeypatch.undo()
        time.tzset()
    assert pycdlib.pycdlib.time is time  # type: ignore[attr-defined]


def test_every_time_on_the_iso_is_the_epoch() -> None:
    image = by_us([entry("a/b", b"1")])
    assert image.count(b"2023111422132000\0") >= 6  # volume dates of both descriptors
    years = {image[at + 18] for at in (16 * 2048 + 156, 17 * 2048 + 156)}
    assert years == {123}
