"""Work in several threads: what becomes of it when something ends it early."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from isobuilder.cancel import pooled


def test_all_is_done_at_the_end_and_results_come_in_order() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        done.append(number)
        return -number

    with pooled(3, "x") as pool:
        results = pool.map(work, range(50))
        late = pool.submit(str, 7)
    assert list(results) == [-number for number in range(50)]
    assert late.result() == "7"
    assert sorted(done) == list(range(50))


def test_an_error_comes_from_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise ValueError("of a thread")

    with pooled(2, "x") as pool:
        failed = pool.submit(fail)
        with pytest.raises(ValueError, match="of a thread"):
            failed.result()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, GeneratorExit])
def test_nothing_new_is_begun_and_what_is_at_files_comes_to_its_end(
    error: type[BaseException],
) -> None:
    done: list[int] = []
    begun, go = threading.Event(), threading.Event()

    def work(number: int) -> None:
        begun.set()
        go.wait(60)
        time.sleep(0.2)
        done.append(number)

    def all_of_it() -> None:
        with pooled(1, "x") as pool:
            pool.map(work, range(100))
            assert begun.wait(60)
            go.set()
            raise error

    with pytest.raises(error):
        all_of_it()
    assert done == [0]


def end_after_two(
    act: Callable[[], object],
    begun: threading.Event,
    jobs: list[Future[object]],
    closed: list[int],
    error: type[BaseException],
) -> None:
    """Submit ``act`` twice to one thread, and raise ``error`` when it is at it."""
    with pooled(1, "x", end=lambda: closed.append(1)) as pool:
        jobs += [pool.submit(act), pool.submit(act)]
        assert begun.wait(60)
        raise error


def test_an_interruption_closes_connections_and_waits_no_longer_for_who_does_not_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isobuilder.cancel._STOPPING", 0.1)
    closed: list[int] = []
    begun, for_ever = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        for_ever.wait(600)

    jobs: list[Future[object]] = []
    with pytest.raises(KeyboardInterrupt):
        end_after_two(wait, begun, jobs, closed, KeyboardInterrupt)
    assert closed == [1]
    assert not jobs[0].done()
    assert jobs[1].cancelled()
    for_ever.set()


def test_an_error_leaves_connections_to_those_who_go_on() -> None:
    before = threading.active_count()
    closed: list[int] = []
    begun, go = threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        go.wait(60)
        return "came"

    jobs: list[Future[object]] = []
    with pytest.raises(ZeroDivisionError):
        end_after_two(wait, begun, jobs, closed, ZeroDivisionError)
    go.set()
    assert jobs[0].result(60) == "came"
    assert jobs[1].cancelled()
    assert closed == []
    end = time.monotonic() + 60  # and its thread goes
    while threading.active_count() > before:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_threads_keep_no_program_from_ending() -> None:
    with pooled(1, "x") as pool:
        assert pool.submit(lambda: threading.current_thread().daemon).result()
