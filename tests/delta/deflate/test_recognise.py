"""How a gzip file was made is found out, or it is said that nobody knows."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from isobuilder.delta.deflate.encoders import Engine
from isobuilder.delta.deflate.rebuild import rebuild
from isobuilder.delta.deflate.recipe import Compressor, GzipRecipe, Making
from isobuilder.delta.deflate.recognise import recognise
from tests.delta.deflate.contents import mixed, programs, texts
from tests.delta.deflate.golden import GOLDEN, GoGzip, digests

CONTENT = programs(40_000) + texts(20_000)


def content_of(packed: bytes) -> bytes:
    return gzip.decompress(packed)


def proved(packed: bytes, engine: Engine | None = None) -> GzipRecipe | None:
    """Return the recipe of ``packed``, once its bytes alone made the same file of the content."""
    recipe = recognise(io.BytesIO(packed), engine)
    if recipe is not None:
        again = GzipRecipe.from_bytes(recipe.to_bytes())
        assert again == recipe
        pieces = io.BytesIO(content_of(packed))
        made = rebuild(again, iter(lambda: pieces.read(10_000), b""), engine)
        assert b"".join(made) == packed
    return recipe


def making_of(packed: bytes, engine: Engine | None = None) -> Making:
    recipe = proved(packed, engine)
    assert recipe is not None
    assert {member.making for member in recipe.members} == {recipe.members[0].making}
    return recipe.members[0].making


@pytest.mark.parametrize("level", [1, 4, 6, 9])
def test_what_python_compressed_is_recognised(level: int) -> None:
    packed = gzip.compress(CONTENT, compresslevel=level, mtime=0)
    assert making_of(packed) == Making(Compressor.ZLIB, (level, 8, 15, 0))


@pytest.mark.parametrize("settings_of", [(5, 9, 15, 0), (6, 8, 12, 0)])
def test_so_is_what_was_compressed_with_unusual_settings(
    settings_of: tuple[int, int, int, int],
) -> None:
    level, memory, window, strategy = settings_of
    stream = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy)
    content = mixed()[70_000:]
    made = stream.compress(content) + stream.flush()
    packed = gzip.compress(b"")[:10] + made + gzip.compress(content)[-8:]
    making = making_of(packed)
    assert making.model == Compressor.ZLIB
    assert making.parameters[1:] == (memory, window, strategy)


def test_what_was_flushed_on_the_way_is_recognised_with_its_joins() -> None:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6) as file:
        for start in range(0, len(CONTENT), 7000):
            file.write(CONTENT[start : start + 7000])
            file.flush()
    recipe = proved(out.getvalue())
    assert recipe is not None
    assert recipe.members[0].joins == (*range(7000, len(CONTENT), 7000), len(CONTENT))


def test_a_file_of_many_members_is_recognised() -> None:
    parts = [CONTENT[start : start + 4000] for start in range(0, len(CONTENT), 4000)]
    packed = b"".join(gzip.compress(part, mtime=0) for part in parts)
    recipe = proved(packed)
    assert recipe is not None
    assert [member.size for member in recipe.members] == [4000] * 15
    assert len(recipe.to_bytes()) < 200


def test_headers_are_kept_as_they_are() -> None:
    out = io.BytesIO()
    with gzip.GzipFile("layer.tar", "wb", 6, out, mtime=1_700_000_000) as file:
        file.write(CONTENT)
    packed = out.getvalue()
    extra = packed[:3] + bytes([packed[3] | 4]) + packed[4:10] + b"\x05\0extra" + packed[10:]
    for file_of in (packed, extra):
        assert proved(file_of) is not None


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("*.gz")))
def test_what_others_compressed_is_recognised(name: str, engine: Engine) -> None:
    """Each file is named by its model and what the model was told."""
    making = making_of((GOLDEN / name).read_bytes(), engine)
    assert name.startswith("-".join((making.model.name.lower(), *map(str, making.parameters))))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not here")
def test_go_itself_still_makes_what_our_tests_say(tmp_path: Path, library: Path) -> None:
    version = subprocess.run(["go", "version"], capture_output=True, check=True, text=True).stdout
    if int(version.split("go1.")[1].split(".")[0]) >= 27:
        pytest.skip("Go 1.27 compresses in another way")
    go = GoGzip(tmp_path)
    known = json.loads((GOLDEN / "go.json").read_text("utf-8"))
    assert {str(level): digests(go, level) for level in (1, 4, 6, 9)}.items() <= known.items()
    flushed = go.made(CONTENT, 6, [5000, 0, 30_000, 0, 0, 3])
    recipe = proved(flushed)
    assert recipe is not None
    assert recipe.members[0].joins == (5000, 35_000, 35_000)


# --- what is given up ---


def test_what_another_compressor_made_is_not_recognised() -> None:
    packed = bytearray(gzip.compress(CONTENT, mtime=0))
    stream = zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_RLE)
    packed[10:-8] = stream.compress(CONTENT) + stream.flush()
    assert recognise(io.BytesIO(packed)) is None


def test_what_changes_its_level_on_the_way_is_not_recognised() -> None:
    content = mixed()[60_000:100_000]
    halves = (zlib.compressobj(level, zlib.DEFLATED, -15) for level in (6, 9))
    first, second = halves
    made = first.compress(content[:20_000]) + first.flush(zlib.Z_FULL_FLUSH)
    made += second.compress(content[20_000:]) + second.flush()
    packed = gzip.compress(b"")[:10] + made + gzip.compress(content)[-8:]
    assert content_of(packed) == content
    assert recognise(io.BytesIO(packed)) is None


def test_only_so_many_compressors_are_looked_for_in_one_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = [gzip.compress(CONTENT[:9000], level, mtime=0) for level in (1, 5, 9)]
    assert recognise(io.BytesIO(b"".join(parts))) is not None
    monkeypatch.setattr("isobuilder.delta.deflate.recognise._MAKERS", 2)
    assert recognise(io.BytesIO(b"".join(parts))) is None
    assert recognise(io.BytesIO(b"".join(parts[:2] * 20))) is not None


PACKED = gzip.compress(CONTENT, mtime=0)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x1f\x8b",
        b"PK\3\4" + bytes(40),
        PACKED[:-1],
        PACKED[:5000],
        PACKED + b"\0",
        PACKED + PACKED[:20],
        PACKED[:-8] + bytes(8),
        PACKED[:200] + b"\xff" + PACKED[201:],
        PACKED[:3] + b"\x08" + PACKED[4:10] + b"a name without end" * 4000,
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_what_is_no_sound_gzip_file_is_not_recognised(broken: bytes) -> None:
    assert recognise(io.BytesIO(broken)) is None


def test_a_bomb_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isobuilder.delta.deflate.stream._FREE", 1000)
    packed = gzip.compress(bytes(2_000_000))
    assert recognise(io.BytesIO(packed)) is None
