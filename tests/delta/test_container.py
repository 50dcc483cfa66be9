"""What a delta may say, and what is refused of it before anything is made."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from isobuilder.delta.container import Delta, is_delta, write_delta
from isobuilder.delta.deflate.recipe import Compressor, GzipMember, GzipRecipe, Making
from isobuilder.delta.plan import Copy, Given, Link, Made, Put, Unpacked, Zeros
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError, IsobuilderError
from isobuilder.files import new_file
from tests.delta.sealing import HEAD, opened, sealed

OLD, NEW = Digest.of(b"old"), Digest.of(b"new")
RUNS = (
    Given("old.iso", OLD, 5000),
    Unpacked(0, 100, 200, 1000),
    Put((Copy(1, 0, 600), Zeros(400))),
    Put((Made(1, 0, 0, 0, 3, 2000, "one"), Copy(0, 5, 10), Made(2, 2, 0, 1000, 4, 90, "two"))),
    Put((Made(2, 3, 0, 2100, 2, 20, "beside"),)),
)
LINK = Link("new.iso", NEW, 2100, RUNS, 3, {"lock.json": 4})
NEEDED = (b"abc", b"defg", b"hi")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A delta that nobody can apply, but that is well formed."""
    with new_file(tmp_path / "x.delta") as put:
        write_delta(put, [(LINK, NEEDED)])
    return tmp_path / "x.delta"


def test_what_is_written_is_read(path: Path) -> None:
    assert is_delta(path)
    with Delta(path) as delta:
        (needed,) = delta.links
        assert needed.link == LINK
        assert delta.read(needed.begins, 9) == b"".join(NEEDED)


def test_the_same_delta_is_the_same_bytes(path: Path, tmp_path: Path) -> None:
    with new_file(tmp_path / "y.delta") as put:
        write_delta(put, [(LINK, NEEDED)])
    assert path.read_bytes() == (tmp_path / "y.delta").read_bytes()


BAD: dict[str, tuple[tuple[str | int, ...], Any, str]] = {
    "no runs": (("runs",), None, "a link without runs"),
    "a later run": (("runs", 2, 1, 0), 3, "made of a later one"),
    "itself": (("runs", 3, 2, 0), 3, "made of a later one"),
    "behind the end": (("runs", 2, 1, 1), 500, "behind the end"),
    "before the begin": (("runs", 2, 1, 1), -1, "expected a number"),
    "another size": (("size",), 5, "2100 bytes for 5"),
    "no bytes": (("runs", 2, 2), 0, "a segment of no bytes"),
    "a true number": (("runs", 2, 2), True, "expected a number"),
    "a large piece": (("runs", 4, 1, 5), 1 << 33, "a piece of 8589934592 bytes"),
    "a bomb": (("runs", 1, 4), 1 << 39, "expected a number"),
    "a result that is given": (("result",), 0, "not put together"),
    "no result": (("result",), 9, "expected a number"),
    "no digest": (("digest",), "md5:1", "expected sha256:"),
    "a long name": (("name",), "x" * 400, "a short text"),
    "more is needed": (("runs", 4, 1, 4), 3, "expected"),
    "beside is no table": (("beside",), [], "no table"),
    "a run of no kind": (("runs", 4), ["found", 1], "an unknown kind"),
    "a run of nothing": (("runs", 4), [], "a run that is none"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_delta_that_contradicts_itself_is_refused(what: str, path: Path) -> None:
    (*way, last), value, fact = BAD[what]
    data, needed = opened(path)
    at = data["links"][0]
    for key in way:
        at = at[key]
    at[last] = value
    path.write_bytes(sealed(json.dumps(data).encode(), needed))
    with pytest.raises(IntegrityError, match=fact):
        Delta(path)


def test_a_delta_with_a_method_of_a_newer_isobuilder_is_not_called_damaged(path: Path) -> None:
    data, needed = opened(path)
    data["links"][0]["runs"][3][1][0] = 250
    path.write_bytes(sealed(json.dumps(data).encode(), needed))
    with pytest.raises(InputError, match="by a method that is not known here: 250") as refused:
        Delta(path)
    assert refused.value.hint == "apply it with the isobuilder that made it, or a newer one"


def test_runs_of_runs_are_read_to_a_bounded_depth(path: Path) -> None:
    data, needed = opened(path)
    data["links"][0]["runs"] += [["put", [number, 0, 1]] for number in range(4, 40)]
    path.write_bytes(sealed(json.dumps(data).encode(), needed))
    with pytest.raises(IntegrityError, match="more than 24 deep"):
        Delta(path)


def test_a_delta_of_many_segments_is_read_within_bounds(path: Path) -> None:
    data, needed = opened(path)
    data["links"][0]["runs"].append(["put", *([1] * 600_000)])
    path.write_bytes(sealed(json.dumps(data).encode(), needed))
    with pytest.raises(IntegrityError, match="more than 500000 segments"):
        Delta(path)


@pytest.mark.parametrize("packed", [10_000, 1 << 30])
def test_what_a_delta_says_is_not_read_where_it_is_packed_in_more_than_it_can_be(
    packed: int, path: Path
) -> None:
    with path.open("wb") as file:
        file.write(HEAD.pack(b"isodelta", 1, packed, 1000, bytes(32)))
        file.truncate(HEAD.size + packed)
    with pytest.raises(IntegrityError, match=f"is packed in {packed} bytes, at most 5111"):
        Delta(path)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (b'{"links":[' + b",".join([b'{"1":1}'] * 100_000) + b"]}", "more than 100000 tables"),
        (b'{"links":[' + b"1," * 2_000_000 + b"1]}", "JSON of more than 2000000 values"),
        (b'{"links":["' + b"a" * (32 << 20) + b'"]}', "bytes, at most 33554432"),
    ],
    ids=["tables", "values", "bytes"],
)
def test_what_a_delta_says_is_bounded_before_anything_is_made_of_it(
    text: bytes, fact: str, path: Path
) -> None:
    path.write_bytes(sealed(text, b""))
    with pytest.raises(IntegrityError, match=fact):
        Delta(path)


@pytest.mark.parametrize("what", ["model", "format", "damaged"])
def test_a_gzip_recipe_of_a_newer_isobuilder_is_not_called_damaged(what: str, path: Path) -> None:
    making = Making(Compressor.GO, (9,))
    recipe = bytearray(GzipRecipe((GzipMember(b"", making, 1000, 0),)).to_bytes())
    place, value = {"model": (4, 72), "format": (0, 2), "damaged": (1, 0)}[what]
    assert recipe[4] == Compressor.GO
    recipe[place] = value
    data, needed = opened(path)
    data["links"][0]["runs"][3].append([20, 2, 0, 1000, len(recipe), 90, "layer"])
    data["links"][0]["size"] += 90
    path.write_bytes(sealed(json.dumps(data).encode(), needed[:7] + recipe + needed[7:]))
    if what == "damaged":  # that is told with the piece
        Delta(path).close()
        return
    with pytest.raises(InputError, match="how a gzip file is made: ") as refused:
        Delta(path)
    assert refused.value.hint == "apply it with the isobuilder that made it, or a newer one"


def test_no_value_of_a_delta_makes_more_than_an_error_of_ours(path: Path) -> None:
    data, needed = opened(path)
    chance = random.Random(2)
    odd: list[Any] = [None, -1, 1 << 70, 0.5, "x", [], {}, True, "sha256:", 255, 20_000]
    refused = 0
    for _ in range(300):
        changed = copy.deepcopy(data)
        at: Any = changed["links"][0]
        while isinstance(at, list | dict) and at:
            key = chance.choice(sorted(at)) if isinstance(at, dict) else chance.randrange(len(at))
            if chance.random() < 0.3 or not isinstance(at[key], list | dict):
                at[key] = chance.choice(odd)
                break
            at = at[key]
        path.write_bytes(sealed(json.dumps(changed).encode(), needed))
        try:
            Delta(path).close()
        except IsobuilderError:
            refused += 1
    assert refused > 200
