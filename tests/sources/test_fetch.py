from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError, UpstreamError
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.settings import HttpSettings
from isobuilder.progress import Task
from isobuilder.sources.fetch import Download, Fetcher
from isobuilder.store import Store, check, partial_of
from tests.conftest import QUICK
from tests.fakes.hostile import FileServer, html, redirect, refuse, silent, slow, stall
from tests.sources.fetching import MIB, content_of, want

KUBELET = content_of("kubelet", 3 * MIB + 17)


@pytest.fixture
def fetcher(store: Store, http: Http) -> Fetcher:
    return Fetcher(store, http)


def has_bytes(store: Store) -> bool:
    return any(path.stat().st_size for path in store.root.glob("partial/*.part"))


def left_over(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "partial").glob("*"))


# --- what comes back


def test_blobs_come_back_in_the_order_they_were_wanted(fetcher: Fetcher, files: FileServer) -> None:
    contents = [content_of(str(number), number * 50_000) for number in range(12)]
    wanted = [
        want(content, files.add(str(number), content), name=str(number))
        for number, content in enumerate(contents)
    ]
    assert [blob.read() for blob in fetcher.fetch(wanted)] == contents
    assert fetcher.fetch([]) == []


def test_what_is_stored_is_not_asked_for(fetcher: Fetcher, store: Store, files: FileServer) -> None:
    blob = store.add_bytes(KUBELET)
    assert fetcher.fetch([want(KUBELET, files.add("k", KUBELET))]) == [blob]
    assert files.seen == []


def test_nothing_is_left_beside_the_blob(fetcher: Fetcher, store: Store, files: FileServer) -> None:
    fetcher.fetch([want(KUBELET, files.add("k", KUBELET))])
    assert left_over(store) == []


def test_an_empty_file_is_a_file(fetcher: Fetcher, files: FileServer) -> None:
    (blob,) = fetcher.fetch([want(b"", files.add("empty", b""))])
    assert (blob.size, blob.digest) == (0, Digest.of(b""))


def test_the_same_bytes_travel_once(fetcher: Fetcher, files: FileServer) -> None:
    one, two = files.add("one", KUBELET), files.add("two", KUBELET)
    blobs = fetcher.fetch([want(KUBELET, one), want(KUBELET, two, name="again")])
    assert blobs[0] == blobs[1]
    assert len(files.seen) == 1


def test_one_of_two_addresses_for_the_same_bytes_is_enough(
    fetcher: Fetcher, files: FileServer
) -> None:
    wanted = [want(KUBELET, files.url("gone")), want(KUBELET, files.add("there", KUBELET))]
    assert len(set(fetcher.fetch(wanted))) == 1


def test_without_a_digest_the_blob_says_what_came(fetcher: Fetcher, files: FileServer) -> None:
    url = files.add("k", KUBELET)
    (blob,) = fetcher.fetch([want(KUBELET, url, known=False, sized=False)])
    assert (blob.digest, blob.size) == (Digest.of(KUBELET), len(KUBELET))


def test_a_stored_blob_of_another_size_than_promised_is_refused(
    fetcher: Fetcher, store: Store
) -> None:
    store.add_bytes(KUBELET)
    wanted = replace(want(KUBELET, "http://127.0.0.1:1/k"), size=5)
    with pytest.raises(IntegrityError, match=f"kubelet: expected 5 bytes, .* has {len(KUBELET)}"):
        fetcher.fetch([wanted])


# --- order and connections


def test_the_largest_come_first_and_unknown_sizes_before_them(
    store: Store, http: Http, files: FileServer
) -> None:
    sizes = {"small": 10, "large": 90_000, "middle": 4000}
    wanted = [
        want(content_of(name, size), files.add(name, content_of(name, size)))
        for name, size in sizes.items()
    ]
    wanted.append(want(b"?", files.add("unknown", b"?"), sized=False))
    Fetcher(store, http, jobs=1).fetch(wanted)
    assert [seen.path for seen in files.seen] == ["unknown", "large", "middle", "small"]


@pytest.mark.parametrize(("jobs", "per_host", "most"), [(4, 8, 4), (8, 3, 3), (1, 8, 1)])
def test_connections_are_as_many_as_allowed(
    store: Store, files: FileServer, jobs: int, per_host: int, most: int
) -> None:
    wanted = []
    for number in range(10):
        content = content_of(str(number), 1000)
        wanted.append(want(content, files.add(str(number), content, always=slow(10_000))))
    with Http(replace(QUICK, per_host=per_host)) as http:
        Fetcher(store, http, jobs=jobs).fetch(wanted)
    assert files.most_at_once == most


def test_a_busy_host_does_not_keep_others_waiting(store: Store, files: FileServer) -> None:
    with FileServer() as other, Http(replace(QUICK, per_host=1)) as http:
        slow_ones = [content_of(f"slow{number}", 5000) for number in range(3)]
        wanted = [
            want(content, files.add(str(number), content, always=slow(10_000)))
            for number, content in enumerate(slow_ones)
        ]
        wanted.append(want(b"quick", other.add("quick", b"quick")))
        threading.Thread(
            target=Fetcher(store, http, jobs=2).fetch, args=(wanted,), daemon=True
        ).start()
        wait_for(lambda: store.find(Digest.of(b"quick")))
        assert not store.find(Digest.of(slow_ones[-1]))
        wait_for(lambda: store.find(Digest.of(slow_ones[-1])))


def wait_for(fact: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def after(fact: Callable[[], object], wanted: Download) -> Download:
    """Let a download begin only when ``fact`` has come true."""

    def authorize(url: str, failure: HttpFailure | None, sent: str | None) -> None:
        wait_for(fact)

    return replace(wanted, authorize=authorize)


class Listener:
    """Progress that adds up."""

    def __init__(self) -> None:
        self.totals: dict[str, int | None] = {}
        self.done: dict[str, int] = {}

    def step(self, text: str) -> None:
        pass

    def start(self, name: str, *, total: int | None, unit: str = "B") -> Task:
        self.totals[name] = total
        self.done[name] = 0
        listener = self

        class Work:
            def advance(self, amount: int) -> None:
                listener.done[name] += amount

            def set_total(self, total: int) -> None:
                listener.totals[name] = total

            def done(self) -> None:
                pass

        return Work()


def test_progress_adds_up_also_when_work_is_repeated(
    store: Store, http: Http, files: FileServer
) -> None:
    listener = Listener()
    sized = want(KUBELET, files.add("k", KUBELET, html, ranges=False), files.url("k"))
    unsized = want(b"other", files.add("o", b"other"), name="other", sized=False)
    Fetcher(store, http, progress=listener).fetch([replace(sized, size=None), unsized])
    assert listener.done == {"kubelet": len(KUBELET), "other": 5}
    assert listener.totals == {"kubelet": len(KUBELET), "other": 5}


# --- mirrors


def test_the_next_mirror_is_asked_when_one_fails(fetcher: Fetcher, files: FileServer) -> None:
    bad = files.add("bad", content_of("other", len(KUBELET)))
    urls = ["http://127.0.0.1:1/k", files.url("gone"), bad, files.add("k", KUBELET)]
    (blob,) = fetcher.fetch([want(KUBELET, *urls)])
    assert blob.read() == KUBELET


def test_when_all_mirrors_fail_each_is_named_with_its_reason(
    fetcher: Fetcher, files: FileServer
) -> None:
    urls = ["http://127.0.0.1:1/k", files.url("gone"), files.add("busy", b"", always=refuse(503))]
    with pytest.raises(UpstreamError) as caught:
        fetcher.fetch([want(KUBELET, *urls)])
    text = str(caught.value)
    assert text.startswith("kubelet: none of 3 addresses delivers: ")
    for place, reason in zip(urls, ["refused", "404 Not Found", "503"], strict=True):
        assert place in text
        assert reason in text


def test_wrong_bytes_at_one_mirror_weigh_more_than_silence_at_another(
    fetcher: Fetcher, files: FileServer
) -> None:
    bad = files.add("bad", content_of("other", len(KUBELET)))
    with pytest.raises(IntegrityError, match=r"addresses delivers: .*expected sha256.*404"):
        fetcher.fetch([want(KUBELET, bad, files.url("gone"))])


def test_a_mirror_on_disk_is_read(fetcher: Fetcher, tmp_path: Path) -> None:
    path = tmp_path / "kubelet"
    path.write_bytes(KUBELET)
    (blob,) = fetcher.fetch([want(KUBELET, path.as_uri())])
    assert blob.read() == KUBELET


# --- several failures


def test_all_failures_are_reported_together(
    fetcher: Fetcher, store: Store, files: FileServer
) -> None:
    good = content_of("good", 200_000)

    begun = threading.Barrier(3)

    def meet(*_: object) -> None:
        begun.wait(60)

    wanted = [
        want(b"a", files.url("gone-a"), name="a"),
        want(b"b", files.url("gone-b"), name="b"),
        want(good, files.add("good", good, always=slow(1_000_000)), name="good"),
    ]
    wanted = [replace(item, authorize=meet) for item in wanted]
    with pytest.raises(UpstreamError, match=r"2 of 3 downloads failed:\n  . ?: .*\n  . ?:"):
        fetcher.fetch(wanted)
    assert store.find(Digest.of(good))


def test_the_gravest_failure_gives_the_exit_code(fetcher: Fetcher, files: FileServer) -> None:
    wrong = want(b"b", files.add("b", b"x"), name="b")
    wanted = [after(lambda: files.requests("b"), want(b"a", files.url("gone-a"), name="a")), wrong]
    with pytest.raises(IntegrityError, match="2 of 2"):
        fetcher.fetch(wanted)


def test_the_first_failure_stops_the_queue(store: Store, http: Http, files: FileServer) -> None:
    first = content_of("first", 5000)
    wanted = [
        want(first, files.add("first", first), name="first"),
        want(content_of("gone", 4000), files.url("gone"), name="gone"),
        want(b"never asked", files.add("never", b"never asked"), name="never"),
    ]
    with pytest.raises(UpstreamError, match="gone"):
        Fetcher(store, http, jobs=1).fetch(wanted)
    assert store.find(Digest.of(first))
    assert [seen.path for seen in files.seen] == ["first", "gone"]


def test_a_failure_does_not_wait_for_a_server_that_stalls(
    store: Store, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.sources.fetch.GRACE", 0.2)
    wanted = [
        want(KUBELET, files.add("k", KUBELET, stall(2 * MIB))),
        after(lambda: has_bytes(store), want(b"b", files.url("gone"), name="b")),
    ]
    begin = time.monotonic()
    with (
        Http(replace(QUICK, stall_timeout=60)) as http,
        pytest.raises(UpstreamError, match=r"^b: .*404"),
    ):
        Fetcher(store, http).fetch(wanted)
    assert time.monotonic() - begin < 50
    # What came so far is there for the next run.
    with partial_of(store, Digest.of(KUBELET).hex) as partial:
        assert partial is not None
        assert 0 < partial.size <= 2 * MIB


def test_an_interrupt_stops_quickly_and_keeps_what_came(store: Store, files: FileServer) -> None:
    wanted = [
        want(KUBELET, files.add("k", KUBELET, stall(2 * MIB))),
        want(b"mute", files.add("mute", b"mute", silent), name="mute"),
        want(b"busy", files.add("busy", b"", always=refuse(503, Retry_After="30")), name="busy"),
    ]
    patient = HttpSettings(stall_timeout=60, retry_budget=300)

    def interrupt() -> None:
        wait_for(lambda: len(files.requests("k")) == len(files.requests("busy")) == 1)
        wait_for(lambda: has_bytes(store))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    begin = time.monotonic()
    with Http(patient) as http, pytest.raises(KeyboardInterrupt):
        Fetcher(store, http).fetch(wanted)
    assert time.monotonic() - begin < 50
    assert Digest.of(KUBELET).hex + ".part" in left_over(store)


# --- offline


def test_offline_names_everything_that_is_missing(store: Store, files: FileServer) -> None:
    store.add_bytes(b"there")
    wanted = [
        want(b"there", files.url("there"), name="there"),
        *(want(name.encode(), files.url(name), name=name) for name in ("kubelet", "kubeadm")),
    ]
    with Http(HttpSettings(offline=True)) as http:
        with pytest.raises(EnvironmentProblem, match="lacks 2 things: kubelet, kubeadm"):
            Fetcher(store, http).fetch(wanted)
        assert Fetcher(store, http).fetch(wanted[:1])[0].read() == b"there"
    assert files.seen == []


def test_offline_still_reads_mirrors_on_disk(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "kubelet"
    path.write_bytes(KUBELET)
    with Http(HttpSettings(offline=True, folders=(tmp_path,))) as http:
        assert Fetcher(store, http).fetch([want(KUBELET, path.as_uri())])[0].read() == KUBELET


# --- logins


def test_a_login_is_sent_and_renewed_once_it_is_refused(
    fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add("k", KUBELET, refuse(401, WWW_Authenticate="Bearer realm=x"))
    asked: list[tuple[int | None, str | None]] = []

    def authorize(url: str, failure: HttpFailure | None, sent: str | None) -> str:
        asked.append((failure.status if failure else None, sent))
        return "Bearer new" if failure else "Bearer old"

    fetcher.fetch([replace(want(KUBELET, url), authorize=authorize)])
    assert asked == [(None, None), (401, "Bearer old")]
    sent = [seen.headers["authorization"] for seen in files.seen]
    assert sent == ["Bearer old", "Bearer new"]


def test_a_login_that_cannot_be_bettered_is_an_error(fetcher: Fetcher, files: FileServer) -> None:
    url = files.add("k", KUBELET, always=refuse(401))
    wanted = replace(want(KUBELET, url), authorize=lambda *_: "Bearer old")
    with pytest.raises(UpstreamError, match="401"):
        fetcher.fetch([wanted])
    assert len(files.seen) == 1


def test_a_login_stays_away_from_the_host_that_content_was_moved_to(
    fetcher: Fetcher, files: FileServer
) -> None:
    url = files.add("k", b"", redirect(files.url("cdn", host="localhost"), 307))
    files.add("cdn", KUBELET)
    fetcher.fetch([replace(want(KUBELET, url), authorize=lambda *_: "Bearer secret")])
    assert "authorization" not in files.requests("cdn")[0].headers


# --- several fetchers at once


def test_two_threads_that_want_the_same_fetch_it_once(
    store: Store, http: Http, files: FileServer
) -> None:
    wanted = [want(KUBELET, files.add("k", KUBELET, always=slow(20 * MIB)))]
    threads = [
        threading.Thread(target=Fetcher(store, http).fetch, args=(wanted,)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files.seen) == 1
    assert check(store).damaged == ()
