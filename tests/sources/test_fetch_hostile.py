"""Servers and networks that do not do what they promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError, UpstreamError
from isobuilder.http.client import Http
from isobuilder.sources.fetch import Fetcher
from isobuilder.store import Origin, Store, partial_of
from tests.conftest import QUICK, SMALL_DISK
from tests.fakes.hostile import (
    PAGE,
    Fault,
    FileServer,
    answer,
    changed,
    cut,
    endless,
    gzipped,
    html,
    http_date,
    part,
    redirect,
    refuse,
    silent,
    stall,
)
from tests.sources.fetching import MIB, content_of, want

KUBELET = content_of("kubelet", 3 * MIB + 17)
OTHER = content_of("other", len(KUBELET))
SIZE = len(KUBELET)
HALF = SIZE // 2


@pytest.fixture
def fetcher(store: Store, http: Http) -> Fetcher:
    return Fetcher(store, http)


Interrupted = Callable[..., None]


@pytest.fixture
def interrupted(store: Store) -> Interrupted:
    """Leave what a run that was ended in the middle leaves."""

    def leave(url: str, *, content: bytes = KUBELET, amount: int = HALF, **names: str) -> None:
        with partial_of(store, Digest.of(KUBELET).hex) as partial:
            assert partial is not None
            partial.start(Origin(url, **names))
            partial.append(content[:amount])

    return leave


def left_over(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "partial").glob("*"))


def ranges(files: FileServer) -> list[str | None]:
    return [seen.headers.get("range") for seen in files.seen]


# --- resume


def test_a_cut_transfer_goes_on_where_it_ended(fetcher: Fetcher, files: FileServer) -> None:
    url = files.add("k", KUBELET, cut(MIB), cut(MIB), cut(MIB))
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert ranges(files) == [None, *(f"bytes={count * MIB}-" for count in (1, 2, 3))]
    assert {seen.headers.get("if-range") for seen in files.seen[1:]} == {'"v1"'}


def test_progress_renews_the_patience(fetcher: Fetcher, files: FileServer) -> None:
    url = files.add("k", KUBELET, always=cut(SIZE // 9))
    assert QUICK.retries < 8
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET


def test_without_progress_the_patience_ends(fetcher: Fetcher, files: FileServer) -> None:
    url = files.add("k", KUBELET, always=cut(HALF), ranges=False)
    with pytest.raises(UpstreamError, match=f"kubelet: .*/k: .* ended after {HALF} of {SIZE}"):
        fetcher.fetch([want(KUBELET, url)])
    assert len(files.seen) == 1 + QUICK.retries


def test_an_earlier_run_is_continued(
    fetcher: Fetcher, files: FileServer, interrupted: Interrupted
) -> None:
    url = files.add("k", KUBELET)
    interrupted(url, etag='"v1"')
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert ranges(files) == [f"bytes={HALF}-"]


def test_the_date_serves_where_the_entity_tag_is_weak(
    fetcher: Fetcher, files: FileServer, interrupted: Interrupted
) -> None:
    date = http_date(-1000)
    url = files.add("k", KUBELET, etag='W/"v1"', last_modified=date)
    interrupted(url, etag='W/"v1"', last_modified=date)
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert files.seen[0].headers["if-range"] == date
    assert files.seen[0].status == 206


def test_another_mirror_continues_what_the_first_began(fetcher: Fetcher, files: FileServer) -> None:
    urls = [files.add("bad", KUBELET, cut(HALF), always=refuse(404)), files.add("k", KUBELET)]
    assert fetcher.fetch([want(KUBELET, *urls)])[0].read() == KUBELET
    assert files.requests("k")[0].headers["range"] == f"bytes={HALF}-"
    assert "if-range" not in files.requests("k")[0].headers  # its tags are its own


def test_bytes_that_are_complete_are_not_asked_for_again(
    fetcher: Fetcher, files: FileServer, interrupted: Interrupted
) -> None:
    url = files.add("k", KUBELET)
    for wanted in (want(KUBELET, url), want(KUBELET, url, sized=False)):
        interrupted(url, amount=SIZE)
        blob = fetcher.fetch([wanted])[0]
        assert blob.read() == KUBELET
        Path(blob.place).unlink()
    assert files.seen == []


def test_without_a_digest_nothing_is_continued(
    fetcher: Fetcher, store: Store, files: FileServer
) -> None:
    url = files.add("k", KUBELET, cut(HALF))
    assert fetcher.fetch([want(KUBELET, url, known=False)])[0].read() == KUBELET
    assert ranges(files) == [None, None]


@pytest.mark.parametrize(
    "leftover",
    [KUBELET + b"more", content_of("x", SIZE), content_of("x", HALF), b"", KUBELET[:HALF] + b"!"],
    ids=["too long", "wrong and full", "wrong and half", "empty", "one byte more"],
)
def test_wrong_leftovers_cost_one_fetch_from_the_start(
    fetcher: Fetcher, store: Store, files: FileServer, interrupted: Interrupted, leftover: bytes
) -> None:
    url = files.add("k", KUBELET)
    interrupted(url, content=leftover, amount=len(leftover), etag='"v1"')
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert files.seen[-1].headers.get("range") is None
    assert left_over(store) == []


def test_a_leftover_without_its_note_is_continued_and_checked(
    fetcher: Fetcher, store: Store, files: FileServer, interrupted: Interrupted
) -> None:
    interrupted("http://127.0.0.1:1/k")
    for note in (store.root / "partial").glob("*.json"):
        note.write_bytes(b'{"url":')
    assert fetcher.fetch([want(KUBELET, files.add("k", KUBELET))])[0].read() == KUBELET
    assert ranges(files) == [f"bytes={HALF}-"]


# --- what servers do with Range


def test_a_server_that_ignores_range_starts_over(fetcher: Fetcher, files: FileServer) -> None:
    url = files.add("k", KUBELET, cut(HALF), ranges=False)
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert [seen.status for seen in files.seen] == [200, 200]


@pytest.mark.parametrize(
    "fault",
    [
        part(f"bytes 0-{SIZE - 1}/{SIZE}"),
        part(f"bytes {HALF - 1}-{SIZE - 1}/{SIZE}", KUBELET[HALF - 1 :]),
        part(f"bytes {HALF}-{SIZE - 1}/{SIZE + 1}", KUBELET[HALF:]),
        part(f"bytes {HALF}-{SIZE - 2}/{SIZE}", KUBELET[HALF:-1]),
        part(f"bytes {HALF}-{SIZE - 1}/{SIZE}", KUBELET),
        part("bytes nonsense", KUBELET[HALF:]),
        part(None, KUBELET[HALF:]),
        refuse(416),
    ],
    ids=["from 0", "one early", "other total", "ends early", "too much", "garbled", "none", "416"],
)
def test_a_misanswered_range_costs_one_fetch_from_the_start(
    fetcher: Fetcher, files: FileServer, interrupted: Interrupted, fault: Fault
) -> None:
    url = files.add("k", KUBELET, fault)
    interrupted(url, etag='"v1"')
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert ranges(files) == [f"bytes={HALF}-", None]


def test_a_part_with_the_wrong_bytes_costs_one_fetch_from_the_start(
    fetcher: Fetcher, files: FileServer
) -> None:
    wrong = part(f"bytes {HALF}-{SIZE - 1}/{SIZE}", OTHER[HALF:])
    url = files.add("k", KUBELET, cut(HALF), wrong)
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert ranges(files) == [None, f"bytes={HALF}-", None]


def test_a_partial_answer_that_nobody_asked_for_is_refused(
    fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add("k", KUBELET, always=part(f"bytes 5-{SIZE - 1}/{SIZE}", KUBELET[5:]))
    with pytest.raises(UpstreamError, match="answered 206 to a request for the whole file"):
        fetcher.fetch([want(KUBELET, url)])


# --- content that changes


def test_a_change_with_a_new_tag_starts_over(fetcher: Fetcher, files: FileServer) -> None:
    url = files.add("k", OTHER, cut(HALF), changed(KUBELET, '"v2"'))
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert [seen.status for seen in files.seen] == [200, 200]


def test_a_change_of_the_same_size_and_tag_costs_one_fetch_from_the_start(
    fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add("k", OTHER, cut(HALF), changed(KUBELET))
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert [seen.status for seen in files.seen] == [200, 206, 200]


def test_content_that_stays_wrong_is_an_integrity_error(
    fetcher: Fetcher, store: Store, files: FileServer
) -> None:
    url = files.add("k", OTHER, cut(HALF))
    with pytest.raises(
        IntegrityError,
        match=f"kubelet: .*/k: expected {Digest.of(KUBELET)}, got {Digest.of(OTHER)}",
    ):
        fetcher.fetch([want(KUBELET, url)])
    assert [seen.status for seen in files.seen] == [200, 206, 200]
    assert left_over(store) == []


# --- lies about the length


def test_a_body_longer_than_promised_is_ended(
    fetcher: Fetcher, store: Store, files: FileServer
) -> None:
    url = files.add("k", b"", answer(KUBELET + b"more", length=None))
    with pytest.raises(IntegrityError, match=f"longer than the promised {SIZE} bytes"):
        fetcher.fetch([want(KUBELET, url)])
    assert left_over(store) == []


@pytest.mark.parametrize("offered", [SIZE - 1, SIZE + 1, 0])
def test_another_length_than_locked_is_refused_before_the_body(
    fetcher: Fetcher, files: FileServer, offered: int
) -> None:
    url = files.add("k", b"", answer(KUBELET, length=offered))
    with pytest.raises(IntegrityError, match=f"expected {SIZE} bytes, the server offers {offered}"):
        fetcher.fetch([want(KUBELET, url)])


def test_a_body_shorter_than_its_length_is_fetched_to_its_end(
    fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add("k", KUBELET, answer(KUBELET[:-1], length=SIZE))
    assert fetcher.fetch([want(KUBELET, url, sized=False)])[0].read() == KUBELET


def test_a_body_without_length_that_ends_early_is_fetched_to_its_end(
    fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add("k", KUBELET, answer(KUBELET[:HALF], length=None))
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert ranges(files) == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("known", [True, False])
def test_an_endless_body_is_ended_at_the_ceiling(
    fetcher: Fetcher, store: Store, files: FileServer, known: bool
) -> None:
    url = files.add("k", b"", endless)
    with pytest.raises(IntegrityError, match="longer than the 2097152 bytes allowed") as caught:
        fetcher.fetch([want(KUBELET, url, known=known, sized=False, ceiling=2 * MIB)])
    assert "max_file_size" in str(caught.value.hint)
    assert left_over(store) == []


def test_a_length_above_the_ceiling_is_refused_before_the_body(
    fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add("k", b"", answer(b"", length=2**50))
    with pytest.raises(IntegrityError, match="longer than the"):
        fetcher.fetch([want(KUBELET, url, known=False, sized=False)])


# --- something else in place of the file


@pytest.mark.parametrize("sized", [True, False])
def test_a_page_in_place_of_a_locked_file_is_an_integrity_error_that_says_so(
    fetcher: Fetcher, files: FileServer, sized: bool
) -> None:
    url = files.add("k", KUBELET, always=html)
    with pytest.raises(IntegrityError, match="it looks like an HTML page"):
        fetcher.fetch([want(KUBELET, url, sized=sized)])


@pytest.mark.parametrize(
    "fault", [html, answer(PAGE), answer(b"\n\n<html>", Content_Type="text/plain")]
)
def test_a_page_is_refused_also_when_nothing_is_known_about_the_file(
    fetcher: Fetcher, store: Store, files: FileServer, fault: Fault
) -> None:
    url = files.add("k", b"", always=fault)
    with pytest.raises(UpstreamError, match="answered with an HTML page"):
        fetcher.fetch([want(KUBELET, url, known=False, sized=False)])
    assert left_over(store) == []


def test_an_encoded_body_is_named_as_such(fetcher: Fetcher, files: FileServer) -> None:
    url = files.add("k", b"a" * 1000, always=gzipped)
    with pytest.raises(IntegrityError, match="encoded it as gzip without being asked"):
        fetcher.fetch([want(b"a" * 1000, url)])
    with pytest.raises(UpstreamError, match="got it encoded as gzip"):
        fetcher.fetch([want(b"a" * 1000, url, known=False, sized=False)])


def test_a_server_that_labels_an_archive_as_encoded_is_understood(
    fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add("k.tar.gz", b"", answer(KUBELET, Content_Encoding="x-gzip"))
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET


@pytest.mark.parametrize(("name", "taken"), [("k.TGZ", True), ("k.tar", False)])
def test_a_file_that_is_gzip_by_its_name_is_taken_though_nothing_is_known_about_it(
    name: str, taken: bool, fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add(name, b"", always=answer(KUBELET, Content_Encoding="x-gzip"))
    if taken:
        assert fetcher.fetch([want(KUBELET, url, known=False, sized=False)])[0].read() == KUBELET
    else:
        with pytest.raises(UpstreamError, match="encoded as x-gzip"):
            fetcher.fetch([want(KUBELET, url, known=False, sized=False)])


# --- servers that are busy, silent or send us away


@pytest.mark.parametrize(
    "fault", [refuse(503), refuse(429, Retry_After="0"), refuse(500), cut(0), stall(10), silent]
)
def test_what_may_pass_is_tried_again(store: Store, files: FileServer, fault: Fault) -> None:
    url = files.add("k", KUBELET, fault, fault)
    with Http(replace(QUICK, stall_timeout=0.2)) as http:
        assert Fetcher(store, http).fetch([want(KUBELET, url)])[0].read() == KUBELET


@pytest.mark.parametrize("status", [400, 403, 404, 410, 451])
def test_what_will_not_pass_is_asked_once(fetcher: Fetcher, files: FileServer, status: int) -> None:
    url = files.add("k", b"", always=refuse(status))
    with pytest.raises(UpstreamError, match=f"kubelet: .*/k: the server answered {status}"):
        fetcher.fetch([want(KUBELET, url)])
    assert len(files.seen) == 1


def test_a_redirect_loop_is_an_error(fetcher: Fetcher, files: FileServer) -> None:
    url = files.add("k", b"", always=redirect("/k"))
    with pytest.raises(UpstreamError, match="redirects in a loop"):
        fetcher.fetch([want(KUBELET, url)])


def test_a_resumed_transfer_follows_redirects_anew(fetcher: Fetcher, files: FileServer) -> None:
    url = files.add("k", b"", redirect("/cdn1?sig=1"), redirect("/cdn2?sig=2"))
    files.add("cdn1", KUBELET, cut(HALF))
    files.add("cdn2", KUBELET)
    assert fetcher.fetch([want(KUBELET, url)])[0].read() == KUBELET
    assert files.requests("cdn2")[0].headers["range"] == f"bytes={HALF}-"


# --- disks


def test_a_full_disk_is_an_error_with_its_place_and_nothing_half_written(
    small_disk: Path, http: Http, files: FileServer
) -> None:
    store = Store(small_disk)
    wanted = [want(KUBELET, files.add("k", KUBELET))]
    with pytest.raises(EnvironmentProblem, match=f"{small_disk}.*(No space|too large)") as caught:
        Fetcher(store, http).fetch(wanted)
    assert "free space" in str(caught.value.hint)
    assert left_over(store) == []
    small = content_of("small", SMALL_DISK // 3)
    assert Fetcher(store, http).fetch([want(small, files.add("s", small))])[0].read() == small


def test_a_store_that_may_not_be_written_is_an_error_with_its_place(
    store: Store, http: Http, files: FileServer, read_only: Callable[[Path], None]
) -> None:
    blob = store.add_bytes(b"there")
    read_only(store.root)
    wanted = want(KUBELET, files.add("k", KUBELET))
    with pytest.raises(EnvironmentProblem, match=str(store.root)):
        Fetcher(store, http).fetch([wanted])
    assert Fetcher(store, http).fetch([want(b"there", files.url("there"))]) == [blob]
