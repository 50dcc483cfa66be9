from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest

from tests.pipeline.conftest import built, full_store, locked, world

__all__ = ["built", "full_store", "locked", "world"]


STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """The program sets up logging and signal handlers; the test process gets its own back."""
    root = logging.getLogger()
    stops = {number: signal.getsignal(number) for number in STOPS}
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for number, stop in stops.items():
        signal.signal(number, stop)
