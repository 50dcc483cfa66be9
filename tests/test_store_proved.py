"""A store of which only what is right counts as there."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.store import ProvedStore, Store

GOOD, BAD = b"kubelet v1.33.1", b"kubelet v6.66.6"


def damaged(root: Path) -> Digest:
    blob = Store(root).add_bytes(GOOD)
    blob.path.chmod(0o644)
    blob.path.write_bytes(BAD)
    return blob.digest


def test_what_is_damaged_is_not_there_until_it_is_added_again(tmp_path: Path) -> None:
    digest = damaged(tmp_path)
    store = ProvedStore(tmp_path)
    assert store.find(digest) is None
    assert Store(tmp_path).path_of(digest).read_bytes() == BAD  # for who wants to look at it
    store.add_bytes(GOOD)
    found = store.find(digest)
    assert found is not None
    assert found.read() == GOOD


def test_who_helps_is_asked_for_what_is_damaged_and_that_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest = damaged(tmp_path / "own")
    helper = Store(tmp_path / "other")
    helper.add_bytes(GOOD)
    store = ProvedStore(tmp_path / "own", [helper])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = store.find(digest)
            assert found is not None
            assert found.read() == GOOD
    assert len(caplog.records) == 1


def test_what_cannot_be_read_is_not_there_and_why_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    digest = Store(tmp_path).add_bytes(GOOD).digest

    def refuse(_: Path) -> Digest:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Digest, "of_file", refuse)
    assert ProvedStore(tmp_path).find(digest) is None
    assert caplog.messages[-1].endswith(": Too many open files, so it counts as not there")
