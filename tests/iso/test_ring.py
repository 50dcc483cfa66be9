from __future__ import annotations

import threading

import pytest

from isobuilder.digest import BUFFER_SIZE
from isobuilder.iso.ring import Ring


def test_every_consumer_gets_every_buffer_in_order() -> None:
    seen: list[list[bytes]] = [[], []]
    slow = threading.Event()

    def first(data: memoryview) -> None:
        slow.wait(0.001)  # so that the other one runs ahead
        seen[0].append(bytes(data))

    with Ring([first, lambda data: seen[1].append(bytes(data))]) as ring:
        for number in range(100):
            buffer = ring.take()
            assert len(buffer) == BUFFER_SIZE
            text = b"%d" % number
            buffer[: len(text)] = text
            ring.give(buffer[: len(text)])
    assert seen[0] == seen[1] == [b"%d" % number for number in range(100)]


def fill(ring: Ring, count: int) -> None:
    for number in range(count):
        buffer = ring.take()
        buffer[0] = number % 256
        ring.give(buffer[:1])


def test_the_error_of_a_consumer_reaches_the_one_who_fills() -> None:
    given = []

    def fails(data: memoryview) -> None:
        given.append(data[0])
        if data[0] == 3:
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"), Ring([fails, lambda data: None]) as ring:
        fill(ring, 1000)
    assert given == [0, 1, 2, 3]


def test_an_error_with_the_last_buffer_is_not_lost() -> None:
    def fails(data: memoryview) -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"), Ring([fails]) as ring:
        ring.give(ring.take()[:1])


def test_the_error_of_the_one_who_fills_ends_the_threads() -> None:
    before = threading.active_count()
    with pytest.raises(IndexError), Ring([lambda data: None]) as ring:
        ring.take()[BUFFER_SIZE] = 1
    assert threading.active_count() == before
