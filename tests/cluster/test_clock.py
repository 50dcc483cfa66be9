"""The clock on which machines run where the host is too slow for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.clock import slowed

MEASURED = """\
import select, sys, time

def host():  # by what the kernel says, in place of libc
    return float(open("/proc/uptime").read().split()[0])

def clocks():  # the host's on both sides, because anything may come in between
    return host(), time.monotonic(), time.time(), host()

began = clocks()
if sys.argv[1] == "waits":
    select.poll().poll(500)
while time.monotonic() < began[1] + 0.5:
    pass
ended = clocks()
print(*began)
print(*ended)
"""
TICK = 0.02  # seconds; /proc/uptime has hundredths


@pytest.mark.parametrize("what", ["waits", "works"])
@pytest.mark.parametrize("factor", [1, 4])
def test_a_second_of_a_slow_clock_takes_some_of_the_host(
    tmp_path: Path, factor: int, what: str
) -> None:
    program = slowed(sys.executable, tmp_path, factor=factor)
    argv = [str(program), "-c", MEASURED, what]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    begin, end = (list(map(float, line.split())) for line in shown.splitlines())
    shortest, longest = end[0] - begin[3] - TICK, end[3] - begin[0] + TICK
    for own in (end[1] - begin[1], end[2] - begin[2]):
        assert own >= 0.49
        assert shortest <= factor * own <= longest
