"""``site serve`` hashes an ISO when its sum is asked for, and goes on serving meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.site.server import SiteServer
from isobuilder.site.shelf import Shelf
from tests.site.asking import Said, ask
from tests.site.isos import ETCD, PAUSE, image, iso

_ENDLESS = 1 << 40  # bytes, none of them on the disk: to hash them takes many minutes anywhere
_SECONDS = 60.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isobuilder.site.server._SUM_WAIT", 0.0, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three ISOs, of which one takes very long to hash."""
    found = tmp_path / "isos"
    found.mkdir()
    for name in ("known.iso", "other.iso"):
        iso(found / name, [image(PAUSE, name.encode())])
    os.truncate(iso(found / "large.iso", [image(ETCD)]), _ENDLESS)
    return found


def serving(folder: Path) -> SiteServer:
    shelf = Shelf([folder])
    shelf.open()
    return SiteServer(shelf)


@contextmanager
def hashing(server: SiteServer) -> Iterator[Future[Said]]:
    """Have the large one hashed during the block; what is said of it comes in the end."""
    pool = ThreadPoolExecutor(1)
    asked = pool.submit(ask, server, "/isos/large.iso.sha256")
    try:
        until_hashed(server)
        yield asked
    finally:
        pool.shutdown(wait=False)


def until_hashed(server: SiteServer) -> None:
    """Wait until no other ISO can be hashed; its sum is asked for as if nobody had."""
    deadline = time.monotonic() + _SECONDS
    while ask(server, "/isos/other.iso.sha256").status != 503:
        server._sums.pop(server._isos["other.iso"].state, None)
        assert time.monotonic() < deadline


def closed(server: SiteServer) -> bool:
    thread = threading.Thread(target=server.close, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return not thread.is_alive()


def test_a_server_that_is_closed_waits_for_no_sum(folder: Path) -> None:
    server = serving(folder).start()
    with hashing(server) as asked:
        assert closed(server)
        assert isinstance(asked.exception(_SECONDS), ConnectionError)


def test_who_asks_for_a_sum_while_another_is_made_is_told_to_come_again(folder: Path) -> None:
    server = serving(folder).start()
    with hashing(server):
        said = ask(server, "/isos/other.iso.sha256")
        assert (said.status, said.headers["retry-after"]) == (503, "5")
        assert said.body == b"an ISO is being hashed; come again\n"
        assert closed(server)


def test_a_sum_that_is_known_is_told_while_another_is_made(folder: Path) -> None:
    server = serving(folder).start()
    before = ask(server, "/isos/known.iso.sha256")
    assert before.status == 200
    with hashing(server):
        assert ask(server, "/isos/known.iso.sha256").body == before.body
        assert closed(server)


def test_an_iso_that_is_replaced_is_not_hashed_to_its_end(folder: Path) -> None:
    server = serving(folder).start()
    with hashing(server) as asked:
        iso(folder / "new", [image(ETCD, b"new")]).replace(folder / "large.iso")
        assert asked.result(_SECONDS).status == 503
    assert closed(server)
    new = Digest.of_file(folder / "large.iso").hex
    with serving(folder) as again:
        assert ask(again, "/isos/large.iso.sha256").body == f"{new}  large.iso\n".encode()
