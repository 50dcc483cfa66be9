"""Whatever a real compressor made is rebuilt bit for bit, in Python and by the extra."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isobuilder.delta.deflate import library, models
from isobuilder.delta.deflate.encoders import Engine, PureEngine
from isobuilder.delta.deflate.library import LibraryEncoder
from isobuilder.delta.deflate.rebuild import rebuild
from isobuilder.delta.deflate.recipe import Compressor, GzipMember, GzipRecipe, Making
from isobuilder.delta.methods import DeltaError
from tests.delta.deflate.contents import CONTENTS, dice, mixed, noise, programs

GOLDEN = Path(__file__).parents[2] / "golden" / "deflate"
PLAIN = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def recipe_of(content: bytes, making: Making, joins: tuple[int, ...] = ()) -> GzipRecipe:
    return GzipRecipe((GzipMember(PLAIN, making, len(content), zlib.crc32(content), joins),))


def rebuilt(recipe: GzipRecipe, content: bytes, engine: Engine | None = None) -> bytes:
    return b"".join(rebuild(recipe, [content] if content else [], engine))


def zlib_made(
    content: bytes, level: int, memory: int = 8, window: int = 15, strategy: int = 0
) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy)
    made = stream.compress(content) + stream.flush()
    trailer = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    return PLAIN + made + trailer


@pytest.mark.parametrize("level", range(1, 10))
def test_our_model_of_zlib_makes_what_zlib_makes(level: int, engine: Engine) -> None:
    for name, content in CONTENTS.items():
        making = Making(Compressor.ZLIB, (level, 8, 15, 0))
        made = rebuilt(recipe_of(content, making), content, engine)
        assert made == zlib_made(content, level), name


@pytest.mark.parametrize("memory", [1, 5, 9])
@pytest.mark.parametrize("window", [9, 12, 15])
@pytest.mark.parametrize(("level", "strategy"), [(1, 0), (6, 0), (9, 1)])
def test_so_it_does_with_other_settings(
    level: int, memory: int, window: int, strategy: int, engine: Engine
) -> None:
    content = mixed()[60_000:160_000]
    making = Making(Compressor.ZLIB, (level, memory, window, strategy))
    made = rebuilt(recipe_of(content, making), content, engine)
    assert made == zlib_made(content, level, memory, window, strategy)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([noise(300), programs(3000), bytes(400), b"ab" * 40]), max_size=6),
    st.binary(max_size=200),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_whatever_zlib_compressed_is_rebuilt(
    parts: list[bytes], more: bytes, level: int, memory: int
) -> None:
    content = b"".join(parts) + more
    making = Making(Compressor.ZLIB, (level, memory, 15, 0))
    made = rebuilt(recipe_of(content, making), content, PureEngine())
    assert made == zlib_made(content, level, memory)


def test_our_model_of_newer_go_makes_what_go_made(engine: Engine) -> None:
    known = json.loads((GOLDEN / "go.json").read_text("utf-8"))["1.27: 6"]
    for name, content in CONTENTS.items():
        made = rebuilt(recipe_of(content, Making(Compressor.GO_127, (6,))), content, engine)
        assert hashlib.sha256(made[10:-8]).hexdigest() == known[name], name


@pytest.mark.parametrize("level", range(1, 10))
def test_our_model_of_gzip_makes_what_gzip_makes(level: int, engine: Engine) -> None:
    for name in ("nothing", "a line", "zeros", "gaps", "mixed"):
        content = CONTENTS[name]
        command = ["gzip", f"-{level}", "-nc"]
        packed = subprocess.run(command, input=content, check=True, stdout=subprocess.PIPE).stdout
        made = rebuilt(recipe_of(content, Making(Compressor.GZIP, (level,))), content, engine)
        assert made[10:] == packed[10:], name


@pytest.mark.parametrize("size", [65_536, 65_400, 65_274, 98_042])
def test_so_it_does_where_the_window_ends_with_the_file(size: int, engine: Engine) -> None:
    content = programs(size - 60) + bytes(60)
    packed = subprocess.run(
        ["gzip", "-nc"], input=content, check=True, stdout=subprocess.PIPE
    ).stdout
    made = rebuilt(recipe_of(content, Making(Compressor.GZIP, (6,))), content, engine)
    assert made[10:] == packed[10:]


def test_a_library_that_is_not_zlib_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems have another library under zlib's name; it compresses to other bytes."""
    making = Making(Compressor.ZLIB, (6, 8, 15, 0))
    content = mixed()[:20_000]
    good = zlib_made(content, 6)

    class Other(LibraryEncoder):
        def __init__(self, level: int, *settings: int) -> None:
            super().__init__(level - 1, *settings)

    monkeypatch.setattr(models, "LibraryEncoder", Other)
    monkeypatch.setattr(library, "LibraryEncoder", Other)
    library.library_is_zlib.cache_clear()
    try:
        assert rebuilt(recipe_of(content, making), content) == good
    finally:
        library.library_is_zlib.cache_clear()


@pytest.mark.parametrize("level", ["-2", *map(str, range(10))])
def test_our_model_of_go_makes_what_go_made(level: str, engine: Engine) -> None:
    known = json.loads((GOLDEN / "go.json").read_text("utf-8"))[level]
    for name, content in CONTENTS.items():
        made = rebuilt(
            recipe_of(content, Making(Compressor.GO, (int(level) + 3,))), content, engine
        )
        deflated = made[len(PLAIN) : -8]
        assert hashlib.sha256(deflated).hexdigest() == known[name], name


# --- what is refused ---

CONTENT = mixed()[:50_000]
GOOD = recipe_of(CONTENT, Making(Compressor.GO, (9,)))


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([CONTENT[:-1]], "expected 50000 bytes of content, got 49999"),
        ([CONTENT, b"x"], "expected 50000 bytes of content, got more"),
        ([CONTENT[:-1], b"x"], "expected content with CRC-32"),
        ([], "expected 50000 bytes of content, got 0"),
    ],
)
def test_other_content_is_refused(pieces: list[bytes], words: str) -> None:
    with pytest.raises(DeltaError, match=words):
        b"".join(rebuild(GOOD, pieces))


@pytest.mark.parametrize(
    "making",
    [
        Making(Compressor.GO, ()),
        Making(Compressor.GO, (0,)),
        Making(Compressor.GO, (2,)),
        Making(Compressor.GO, (13,)),
        Making(Compressor.GO_127, (5,)),
        Making(Compressor.GO, (9, 9)),
        Making(Compressor.ZLIB, (0, 8, 15, 0)),
        Making(Compressor.ZLIB, (6, 10, 15, 0)),
        Making(Compressor.ZLIB, (6, 8, 8, 0)),
        Making(Compressor.ZLIB, (6, 8, 15, 2)),
        Making(Compressor.PIGZ, (6, 128, 2)),
        Making(Compressor.PIGZ, (6, 31, 1)),
        Making(Compressor.GZIP, (0,)),
    ],
)
def test_parameters_that_no_model_has_are_refused(making: Making) -> None:
    with pytest.raises(DeltaError, match="has no parameters"):
        b"".join(rebuild(recipe_of(CONTENT, making), [CONTENT]))


def test_content_that_is_made_to_take_long_is_given_up(engine: Engine) -> None:
    # Every place has thousands before it that begin alike and differ soon after.
    below = dice(7)
    content = b"".join(b"abcd" + bytes((below(256), below(256))) for _ in range(60_000))
    recipe = recipe_of(content, Making(Compressor.GO, (12,)))
    with pytest.raises(DeltaError, match="longer than any real one needs"):
        rebuilt(recipe, content, engine)


def test_pieces_may_come_in_any_size(engine: Engine) -> None:
    whole = rebuilt(GOOD, CONTENT, engine)
    pieces = [CONTENT[start : start + 777] for start in range(0, len(CONTENT), 777)]
    assert b"".join(rebuild(GOOD, pieces, engine)) == whole


def test_memory_does_not_grow_with_the_content() -> None:
    piece = noise(32 * 1024) + bytes(32 * 1024)

    def peak(times: int) -> int:
        content = itertools.repeat(piece, times)
        check = 0
        for _ in range(times):
            check = zlib.crc32(piece, check)
        member = GzipMember(PLAIN, Making(Compressor.GO, (1,)), len(piece) * times, check)
        tracemalloc.start()
        for _ in rebuild(GzipRecipe((member,)), content, PureEngine()):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(24) < 2 * peak(6)
