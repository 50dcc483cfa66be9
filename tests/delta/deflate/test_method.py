"""gzip as a method of a delta."""

from __future__ import annotations

import gzip
import zlib

import pytest

from isobuilder.delta.deflate.method import GzipMethod
from isobuilder.delta.methods import DeltaError, Method
from tests.delta.deflate.contents import programs

CONTENT = programs(30_000)
PACKED = gzip.compress(CONTENT, mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(b"end")
OLD = CONTENT + b"end"
METHOD: Method = GzipMethod()


def test_a_file_comes_from_its_content_and_a_few_bytes() -> None:
    delta = METHOD.make(OLD, PACKED)
    assert delta is not None
    assert len(delta) < 80
    assert METHOD.apply(OLD, delta, len(PACKED)) == PACKED


@pytest.mark.parametrize("other", [OLD[:-1], OLD + b"x", b"x" + OLD[1:], b""])
def test_content_of_another_file_makes_no_delta(other: bytes) -> None:
    assert METHOD.make(other, PACKED) is None


def test_what_is_no_gzip_file_makes_no_delta() -> None:
    assert METHOD.make(CONTENT, zlib.compress(CONTENT)) is None


@pytest.mark.parametrize("size", [0, len(PACKED) - 1, len(PACKED) + 1])
def test_another_size_is_refused(size: int) -> None:
    delta = METHOD.make(OLD, PACKED)
    assert delta is not None
    with pytest.raises(DeltaError, match=f"expected a file of {size} bytes"):
        METHOD.apply(OLD, delta, size)


@pytest.mark.parametrize("other", [OLD[:-1], b"x" + OLD[1:]])
def test_another_content_is_refused(other: bytes) -> None:
    delta = METHOD.make(OLD, PACKED)
    assert delta is not None
    with pytest.raises(DeltaError, match="content"):
        METHOD.apply(other, delta, len(PACKED))
