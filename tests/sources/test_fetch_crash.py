"""Processes that are killed, and processes that want the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.store import Store, check, collect
from tests.fakes.hostile import FileServer, cut, slow, stall
from tests.sources.fetching import MIB, content_of

FETCH = """
import json, sys
from pathlib import Path
from isobuilder.digest import Digest
from isobuilder.http.client import Http
from isobuilder.http.settings import HttpSettings
from isobuilder.sources.fetch import Fetcher, Download
from isobuilder.store import Store

wanted = [
    Download(url, (url,), Digest(digest), size, 2**30)
    for url, digest, size in json.loads(sys.argv[2])
]
with Http(HttpSettings(first_delay=0.01)) as http:
    print("ready", flush=True)
    Fetcher(Store(Path(sys.argv[1])), http, jobs=3).fetch(wanted)
"""


def start(store: Store, files: FileServer) -> subprocess.Popen[str]:
    """Fetch everything the server has, in another process."""
    wanted = [
        (files.url(path), Digest.of(thing.content), len(thing.content))
        for path, thing in files.things.items()
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", FETCH, str(store.root), json.dumps(wanted)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> None:
    _, problems = process.communicate(timeout=60)
    assert process.returncode == 0, problems


def kept(store: Store) -> int:
    """Return how many bytes are there, of whole files and of others."""
    size = 0
    for path in (*store.root.glob("partial/*"), *store.root.glob("blobs/sha256/*/*")):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def test_killed_at_any_moment_the_same_command_goes_on_and_ends_right(
    store: Store, files: FileServer
) -> None:
    sizes = [4 * MIB, 3 * MIB, 2 * MIB, 100_000, 70, 0]
    for number, size in enumerate(sizes):
        content = content_of(str(number), size)
        files.add(str(number), content, always=slow(8 * MIB), etag=f'"{number}"')
    chance = random.Random(20)
    for _ in range(6):
        # Moments are counted in bytes: in the same time a busy machine may have got to none.
        enough = kept(store) + chance.randrange(3 * MIB // 2)
        process = start(store, files)
        while kept(store) < enough and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.communicate()
        assert check(store).damaged == ()
    finish(start(store, files))
    report = check(store)
    assert (report.blobs, report.damaged) == (len(sizes), ())
    assert any(seen.status == 206 for seen in files.seen), "nothing was resumed"
    # What the dead left behind is swept, and the blobs stay.
    for path in (store.root / "partial").iterdir():
        os.utime(path, (0, 0))
    collect(store, [Digest.of(thing.content) for thing in files.things.values()])
    assert list((store.root / "partial").iterdir()) == []
    assert check(store).blobs == len(sizes)


def test_two_processes_that_want_the_same_fetch_it_once(store: Store, files: FileServer) -> None:
    for number in range(4):
        files.add(str(number), content_of(str(number), MIB), always=slow(4 * MIB))
    first, second = start(store, files), start(store, files)
    finish(first)
    finish(second)
    assert sorted(seen.path for seen in files.seen) == ["0", "1", "2", "3"]
    assert check(store).damaged == ()


def test_when_the_process_that_fetches_is_killed_the_waiting_one_goes_on(
    store: Store, files: FileServer
) -> None:
    content = content_of("kubelet", 2 * MIB)
    files.add("kubelet", content, stall(MIB), cut(100))
    first = start(store, files)
    assert files.stalled.wait(60)
    partial = store.root / "partial" / f"{Digest.of(content).hex}.part"
    wait_for_size(partial, MIB // 2)
    second = start(store, files)
    time.sleep(0.3)  # it looks, and waits
    assert len(files.seen) == 1
    first.kill()
    first.communicate()
    finish(second)
    assert check(store).damaged == ()
    assert "range" in files.seen[1].headers


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_process_ends_soon_and_leaves_its_bytes(
    store: Store, files: FileServer, signum: int
) -> None:
    content = content_of("kubelet", 2 * MIB)
    files.add("kubelet", content, stall(MIB))
    process = start(store, files)
    partial = store.root / "partial" / f"{Digest.of(content).hex}.part"
    wait_for_size(partial, MIB // 2)
    begin = time.monotonic()
    process.send_signal(signum)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - begin < 60
    assert partial.stat().st_size >= MIB // 2
    finish(start(store, files))
    assert "range" in files.seen[1].headers


def wait_for_size(path: Path, size: int) -> None:
    end = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < end, "the download never came that far"
        time.sleep(0.005)
