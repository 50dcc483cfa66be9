"""What a delta that a stranger closed again may cost: work, memory and disk."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest

from isobuilder.delta import assembling
from isobuilder.delta.assembling import Workbench
from isobuilder.delta.container import Delta
from isobuilder.delta.deflate import fast
from isobuilder.delta.deflate.encoders import PureEngine
from isobuilder.delta.deflate.fast import FastEngine
from isobuilder.delta.deflate.rebuild import rebuild
from isobuilder.delta.deflate.recipe import Compressor, GzipMember, GzipRecipe, Making
from isobuilder.delta.methods import DeltaError, methods
from isobuilder.delta.streams import numbers
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.formats.zstd import compressed
from isobuilder.pipeline.delta.apply import apply_deltas
from tests.delta.sealing import sealed

OLD = b"x" * 1000
GIVEN = ["given", "old.bin", str(Digest.of(OLD)), len(OLD)]


def closed(
    folder: Path, runs: list[Any], new: bytes, carried: bytes, *, size: int | None = None
) -> tuple[Path, Path]:
    """Return the old file and a delta whose last run is said to be ``new``."""
    old, delta = folder / "old.bin", folder / "x.delta"
    old.write_bytes(OLD)
    link = {
        "name": "new.iso",
        "digest": str(Digest.of(new)),
        "size": len(new) if size is None else size,
        "runs": [GIVEN, *runs],
        "result": len(runs),
        "beside": {},
    }
    delta.write_bytes(sealed(json.dumps({"links": [link]}).encode(), carried))
    return old, delta


@pytest.fixture
def little_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less work is free, so that a test of what is beyond takes no minute."""
    monkeypatch.setattr(assembling, "_FREE", 1024 * 1024)


@pytest.mark.usefixtures("little_free")
@pytest.mark.parametrize("count", [1000, 20_000])
def test_segments_that_are_read_count_as_work(count: int, tmp_path: Path) -> None:
    """A byte that is made of a run of one-byte copies takes the time of all of them."""
    packed = compressed(b"Q")
    runs: list[Any] = [
        ["put", *([0, at % 1000, 1] for at in range(count))],
        ["put", [2, 1, 0, count, len(packed), 1, "piece"]],
    ]
    old, delta = closed(tmp_path, runs, b"Q", packed)
    if count == 1000:
        apply_deltas([old], [delta], tmp_path / "new.iso")
        return
    with pytest.raises(IntegrityError, match="far more work than what it makes is worth"):
        apply_deltas([old], [delta], tmp_path / "new.iso")


@pytest.mark.usefixtures("little_free")
def test_what_is_unpacked_counts_as_work_however_little_comes_of_it(tmp_path: Path) -> None:
    empty = b"\0\0\0\xff\xff" * 40_000  # stored blocks without a byte
    stream = b"\x1f\x8b\x08" + bytes(6) + b"\xff" + empty + b"\x01\x01\x00\xfe\xffZ"
    stream += zlib.crc32(b"Z").to_bytes(4, "little") + (1).to_bytes(4, "little")
    packed, count = compressed(stream), 20
    runs: list[Any] = [["put", [1, 0, 0, 0, len(packed), len(stream), "stream"]]]
    runs += [["unpacked", 1, 0, len(stream), 1]] * count
    runs += [["put", *([2 + number, 0, 1] for number in range(count))]]
    old, delta = closed(tmp_path, runs, b"Z" * count, packed)
    with pytest.raises(IntegrityError, match="far more work than what it makes is worth"):
        apply_deltas([old], [delta], tmp_path / "new.iso")


@pytest.mark.usefixtures("little_free")
@pytest.mark.parametrize("engine", ["fast", "slow"])
def test_what_is_compressed_counts_as_more_work_where_it_takes_longer(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = PureEngine() if engine == "slow" else object.__new__(FastEngine)
    monkeypatch.setattr(fast, "best_engine", lambda: made)
    stream = gzip.compress(bytes(65536), mtime=0, compresslevel=6)
    recipe = methods()[20].make(bytes(65536), stream)
    assert recipe is not None
    piece = [20, 1, 0, 65536, len(recipe), len(stream), "layer"]
    runs: list[Any] = [["put", 65536], ["put", *([piece] * 7)]]
    old, delta = closed(tmp_path, runs, 7 * stream, 7 * recipe)
    if engine == "fast":
        apply_deltas([old], [delta], tmp_path / "new.iso")
        return
    with pytest.raises(IntegrityError, match="far more work than what it makes is worth"):
        apply_deltas([old], [delta], tmp_path / "new.iso")


def test_without_room_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size that a delta promises bounds the work, so it has to be one that fits the disk."""
    monkeypatch.setattr(Workbench, "spend", lambda *_: pytest.fail("something is made"))
    packed = compressed(b"Q")
    runs: list[Any] = [["put", [1, 0, 0, 0, len(packed), 1, "piece"], (1 << 40) - 1]]
    old, delta = closed(tmp_path, runs, b"", packed, size=1 << 40)
    with pytest.raises(EnvironmentProblem, match=f"the ISO needs {1 << 40} bytes"):
        apply_deltas([old], [delta], tmp_path / "new.iso")


MIB = 1024 * 1024


def test_old_bytes_delta_and_new_ones_are_bounded_together(tmp_path: Path) -> None:
    runs: list[Any] = [["put", 256 * MIB], ["put", [1, 1, 0, 200 * MIB, 0, 200 * MIB, "piece"]]]
    _, delta = closed(tmp_path, runs, b"", b"", size=200 * MIB)
    with pytest.raises(IntegrityError, match=f"a piece that takes {400 * MIB} bytes of memory"):
        Delta(delta)


def test_sums_of_much_are_refused_before_anything_is_unpacked() -> None:
    with pytest.raises(DeltaError, match="would take too much memory"):
        methods()[4].apply(b"", b"", 180_000_000)


def test_edits_of_much_are_refused_before_anything_is_unpacked() -> None:
    size = 170_000_000
    with pytest.raises(DeltaError, match="would take too much memory"):
        methods()[3].apply(bytes(size), numbers((size,)), size)


@pytest.mark.parametrize("number", [3, 20, 30, 31])
def test_what_a_method_makes_is_in_memory_once(number: int) -> None:
    size = 4 * MIB
    old = random.Random(number).randbytes(size)
    recipe = GzipMember(b"", Making(Compressor.GO, (3,)), size, zlib.crc32(old))
    edit = numbers((1, size // 2, 1)) + b"x"
    block = MIB << 1 | 1  # not compressed
    delta = {
        3: numbers((len(edit),)) + compressed(edit),
        20: GzipRecipe((recipe,)).to_bytes(),
        30: numbers((1, MIB, *[block] * 4)),
        31: numbers((1, 9, 15, 8, *[block] * 4)),
    }[number]
    expected = len(b"".join(rebuild(GzipRecipe((recipe,)), [old]))) if number == 20 else size
    tracemalloc.start()
    try:
        made = methods()[number].apply(old, delta, expected)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(made) == expected
    assert most < 1.6 * size


def test_a_piece_that_needs_no_old_bytes_reads_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = compressed(b"Q")
    runs: list[Any] = [["put", [1, 0, 0, 1000, len(packed), 1, "piece"]]]
    old, delta = closed(tmp_path, runs, b"Q", packed)
    seen = []
    whole = methods()[1]
    apply = type(whole).apply

    def looking(method: Any, old: bytes, delta: bytes, size: int) -> bytes:
        seen.append(len(old))
        return apply(method, old, delta, size)

    monkeypatch.setattr(type(whole), "apply", looking)
    apply_deltas([old], [delta], tmp_path / "new.iso")
    assert seen == [0]
