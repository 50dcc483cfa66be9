"""One large file over several connections."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError, UpstreamError
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.sources.fetch import Fetcher
from isobuilder.sources.ranges import ByteRanges
from isobuilder.store import Store, collect
from tests.conftest import QUICK
from tests.fakes.hostile import Exchange, Fault, FileServer, refuse, slow
from tests.sources.fetching import MIB, content_of, want

LARGE = content_of("large", 8 * MIB)
OTHER = content_of("other", 8 * MIB)
RATE = 8 * MIB  # bytes per second and connection: a second for the whole


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ranges", "fetch"):
        monkeypatch.setattr(f"isobuilder.sources.{module}.SMALLEST", MIB)


@pytest.fixture
def fetcher(store: Store, http: Http) -> Fetcher:
    return Fetcher(store, http)


def parts_asked_for(files: FileServer) -> list[str]:
    return [seen.headers["range"] for seen in files.seen if "range" in seen.headers]


def left_over(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "partial").glob("*"))


# --- who brings what


def test_the_second_half_of_the_longest_stretch_is_taken() -> None:
    parts = ByteRanges(16 * MIB, 0, {})
    parts.invite()
    taken = [parts.take() for _ in range(4)]
    in_mib = [part and (part.start // MIB, part.end // MIB) for part in taken]
    assert in_mib == [(8, 12), (4, 8), (12, 16), None], "four connections are enough"


def test_every_byte_belongs_to_one_stretch() -> None:
    parts = ByteRanges(16 * MIB, 3 * MIB, {})
    parts.invite()
    taken = [part for part in (parts.take(), parts.take(), parts.take()) if part]
    head = parts.accept_head(16 * MIB)
    assert 3 * MIB + head == min(part.start for part in taken)
    assert head + sum(parts.accept(part, 16 * MIB) for part in taken) == 13 * MIB


@pytest.mark.parametrize("position", [0, 15 * MIB])
def test_nothing_is_taken_uninvited_or_when_little_is_left(position: int) -> None:
    parts = ByteRanges(16 * MIB, position, {})
    assert parts.take() is None
    parts.invite()
    assert (parts.take() is None) == (position > 0)


def test_stretches_of_an_earlier_run_end_the_head() -> None:
    parts = ByteRanges(16 * MIB, MIB, {4 * MIB: 2 * MIB, 8 * MIB: MIB})
    assert parts.accept_head(16 * MIB) == 3 * MIB
    following = parts.following(4 * MIB)
    assert following is not None
    assert not following.busy
    parts.collect(following, 2 * MIB)
    assert parts.accept_head(16 * MIB) == 2 * MIB


# --- over the wire


def test_idle_connections_help_with_a_large_file(
    store: Store, fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add("large", LARGE, always=slow(RATE))
    assert fetcher.fetch([want(LARGE, url)])[0].read() == LARGE
    assert len(parts_asked_for(files)) >= 2
    assert {seen.headers["if-range"] for seen in files.seen[1:]} == {'"v1"'}
    assert left_over(store) == []


@pytest.mark.parametrize(
    "case", ["one job", "small", "weak", "no ranges", "unknown size", "unknown digest"]
)
def test_a_file_stays_whole_where_parts_are_no_use(
    store: Store, http: Http, files: FileServer, case: str
) -> None:
    content = LARGE[:MIB] if case == "small" else LARGE
    url = files.add(
        "large",
        content,
        always=slow(RATE * 4),
        etag='W/"v1"' if case == "weak" else '"v1"',
        ranges=case != "no ranges",
    )
    wanted = want(content, url, sized=case != "unknown size", known=case != "unknown digest")
    fetcher = Fetcher(store, http, jobs=1 if case == "one job" else 8)
    assert fetcher.fetch([wanted])[0].read() == content
    assert parts_asked_for(files) == []


def test_other_files_come_before_help(store: Store, http: Http, files: FileServer) -> None:
    wanted = [want(LARGE, files.add("large", LARGE, always=slow(RATE)))]
    for number in range(6):
        content = content_of(str(number), 100_000)
        wanted.append(want(content, files.add(str(number), content, always=slow(2 * MIB))))
    Fetcher(store, http, jobs=2).fetch(wanted)
    first_part = next(i for i, seen in enumerate(files.seen) if "range" in seen.headers)
    assert {seen.path for seen in files.seen[:first_part]} == {"large", *map(str, range(6))}


def only_parts(fault: Fault) -> Fault:
    """Serve the whole slowly, and parts in another way."""

    def serve(exchange: Exchange) -> None:
        asked = "Range" in exchange.handler.headers
        (fault if asked else slow(RATE))(exchange)

    return serve


def short(exchange: Exchange) -> None:
    """A part that ends in the middle."""
    text = exchange.handler.headers["Range"].removeprefix("bytes=")
    start, _, end = text.partition("-")
    last = int(end) if end else len(exchange.thing.content) - 1
    said = f"bytes {start}-{last}/{len(exchange.thing.content)}"
    exchange.head(206, {"Content-Range": said, "Content-Length": str(last + 1 - int(start))})
    exchange.write(exchange.thing.content[int(start) : last + 1][: 300_000 if end else None])
    exchange.hang_up()


@pytest.mark.parametrize("fault", [refuse(503), refuse(404), refuse(416), short])
def test_what_helpers_do_not_bring_the_first_connection_fetches(
    store: Store, fetcher: Fetcher, files: FileServer, fault: Fault
) -> None:
    def once(exchange: Exchange) -> None:
        """Parts with an end are those of helpers."""
        helper = not exchange.handler.headers["Range"].endswith("-")
        (fault if helper else slow(RATE * 4))(exchange)

    url = files.add("large", LARGE, always=only_parts(once))
    assert fetcher.fetch([want(LARGE, url)])[0].read() == LARGE
    assert left_over(store) == []


def test_parts_of_another_content_cost_one_fetch_from_the_start(
    store: Store, fetcher: Fetcher, files: FileServer
) -> None:
    def other(exchange: Exchange) -> None:
        exchange.thing = replace(exchange.thing, content=OTHER)
        short(exchange)

    url = files.add("large", LARGE, always=only_parts(other))
    assert fetcher.fetch([want(LARGE, url)])[0].read() == LARGE
    assert "range" not in files.seen[-1].headers
    assert left_over(store) == []


def test_content_that_is_wrong_in_whole_and_in_parts_is_an_integrity_error(
    store: Store, fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add("large", OTHER, always=slow(RATE))
    with pytest.raises(IntegrityError, match=f"got {Digest.of(OTHER)}"):
        fetcher.fetch([want(LARGE, url)])
    assert left_over(store) == []


def test_parts_that_came_before_an_end_are_used_by_the_next_run(
    store: Store, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.sources.fetch.GRACE", 0.1)
    url = files.add("large", LARGE, always=slow(RATE // 4))

    def fail_later(url: str, failure: HttpFailure | None, sent: str | None) -> str | None:
        end = time.monotonic() + 60
        while not any(path.stat().st_size for path in store.root.glob("partial/*.stretch")):
            assert time.monotonic() < end, "nobody helped"
            time.sleep(0.005)
        return None

    failing = replace(want(b"x", files.url("gone"), name="gone"), authorize=fail_later)
    with Http(QUICK) as http, pytest.raises(UpstreamError, match="gone"):
        Fetcher(store, http).fetch([want(LARGE, url), failing])
    assert any(name.endswith(".stretch") for name in left_over(store))
    begin = max(int(name.split(".")[1]) for name in left_over(store) if "stretch" in name)
    files.seen.clear()
    with Http(QUICK) as http:
        assert Fetcher(store, http, jobs=1).fetch([want(LARGE, url)])[0].read() == LARGE
    # The head goes on, and what follows a stretch begins at its end.
    starts = [int(text.removeprefix("bytes=").rstrip("-")) for text in parts_asked_for(files)]
    assert len(starts) >= 2
    assert starts[-1] > begin
    assert left_over(store) == []


def test_abandoned_parts_are_swept_with_their_download(store: Store) -> None:
    folder = store.root / "partial"
    folder.mkdir(parents=True)
    for name in ("key.part", "key.json", "key.1048576.stretch"):
        (folder / name).write_bytes(b"x")
    collect(store, [], partial_age=-1)
    assert left_over(store) == []


def test_logins_are_sent_with_parts(fetcher: Fetcher, files: FileServer) -> None:
    threads: set[str] = set()

    def authorize(url: str, failure: HttpFailure | None, sent: str | None) -> str:
        threads.add(threading.current_thread().name)
        return "Bearer t"

    url = files.add("large", LARGE, always=slow(RATE))
    fetcher.fetch([replace(want(LARGE, url), authorize=authorize)])
    assert len(threads) > 1
    assert {seen.headers["authorization"] for seen in files.seen} == {"Bearer t"}
