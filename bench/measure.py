"""Commands in turn, A B C A B C, and what each of them took."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

LAUNCH = Path(__file__).with_name("launch.py")
Figure = Literal["wall", "cpu", "peak"]


class BenchError(Exception):
    """Something cannot be measured."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run of a command took, its children included."""

    wall: float  # seconds
    user: float  # seconds
    sys: float  # seconds
    peak: float  # MiB, of the largest process
    others: float  # share of all processors that foreign work took meanwhile, servers included

    @property
    def cpu(self) -> float:
        """Seconds of processor time."""
        return self.user + self.sys


@dataclass(frozen=True, slots=True)
class Contender:
    """One command of a comparison."""

    name: str
    argv: Sequence[str | Path]
    before: Callable[[], None] | None = None  # not measured, before each run


@dataclass(slots=True)
class Measured:
    """All runs of one command."""

    name: str
    runs: list[Usage] = field(default_factory=list)

    def values(self, figure: Figure) -> list[float]:
        """Return one figure of each run, in their order."""
        return [getattr(run, figure) for run in self.runs]

    def median(self, figure: Figure) -> float:
        """Return the median of one figure."""
        return median(self.values(figure))

    def ratio(self, figure: Figure, to: Measured) -> float:
        """Return the median of the ratios of runs of the same round."""
        pairs = zip(self.values(figure), to.values(figure), strict=True)
        return median(mine / theirs for mine, theirs in pairs)


def in_turn(
    contenders: Sequence[Contender], rounds: int, *, environment: dict[str, str], log: Path
) -> list[Measured]:
    """Run every command once in each round.

    Raises:
        BenchError: a command fails; the text has the end of what it printed.
    """
    found = [Measured(contender.name) for contender in contenders]
    for _ in range(rounds):
        for contender, measured in zip(contenders, found, strict=True):
            if contender.before is not None:
                contender.before()
            measured.runs.append(run(contender, environment=environment, log=log))
    return found


def run(contender: Contender, *, environment: dict[str, str], log: Path) -> Usage:
    """Run one command and return what it took.

    Raises:
        BenchError: it fails.
    """
    with tempfile.TemporaryDirectory(prefix="isobuilder-bench-") as folder, log.open("wb") as out:
        result = Path(folder) / "usage.json"
        words = [sys.executable, "-I", "-S", LAUNCH, result, *contender.argv]
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, check=False
        )
        if done.returncode:
            said = log.read_text(errors="replace").splitlines()[-12:]
            raise BenchError("\n".join([f"{contender.name}: exit code {done.returncode}", *said]))
        return Usage(**json.loads(result.read_text()))


def clean_environment(home: Path) -> dict[str, str]:
    """Return an environment without this user's settings, proxies and caches."""
    home.mkdir(parents=True, exist_ok=True)
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TMPDIR": str(home)}


def processor() -> str:
    """Return what the processors of this machine call themselves."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
