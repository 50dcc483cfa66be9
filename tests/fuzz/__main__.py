"""``make fuzz``: many cases for each target, each process under watch of another.

``python -m tests.fuzz`` runs all targets for SECONDS together. A case that breaks a promise is kept
as a file, whose name begins with its target; ``python -m tests.fuzz FILE`` tries it again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.judging import CPU, Verdict, at_home, tried
from tests.fuzz.mutation import Chance
from tests.fuzz.samples import Samples
from tests.fuzz.target import Rig, Target
from tests.fuzz.targets import TARGETS

_HUNG = 90.0  # seconds by the clock; the longest of a good case is a few
_ADDRESSES = 4 << 30  # bytes; what takes more ends with a MemoryError before the machine does
_ALIKE = 3  # cases that are kept of one fault


def chance_of(target: str, seed: str, number: int) -> Chance:
    """Return what decides the case of that number."""
    return random.Random(f"{target}/{seed}/{number}")


@contextmanager
def ready(target: Target, samples: Samples) -> Iterator[Rig]:
    """Give a target that can be run."""
    with ExitStack() as stack:
        yield target.rig(samples, stack)


@dataclass
class Tally:
    """What became of the cases of one target."""

    target: str
    cases: int = 0
    answers: int = 0  # errors of ours
    seconds: tuple[float, int] = (0.0, 0)  # of processor time, the most, and of which case
    growth: tuple[int, int] = (0, 0)  # MiB, the same
    faults: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """Return what is printed of it."""
        said = f"{self.target:14} {self.cases:7} cases, {self.answers:7} refused"
        worst = f"at most {self.seconds[0]:.1f} s ({self.seconds[1]}) "
        worst += f"and {self.growth[0]} MiB ({self.growth[1]})"
        return f"{said}, {worst}, {sum(self.faults.values())} faults"


# --- the process that tries ---


def work(
    target: Target, seed: str, begin: int, seconds: float, base: Path, samples: Samples
) -> None:
    """Try one case after another; say of each what became of it, as a line of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    ends, number, current = time.monotonic() + seconds, begin, base / "current"
    with (
        ready(target, samples) as rig,
        at_home(base) as folder,
        (base / "said").open("w", buffering=1) as out,
    ):
        while time.monotonic() < ends:
            data = rig.case(chance_of(target.name, seed, number))
            current.write_bytes(data)
            found = tried(rig.read, data, folder)
            said = (number, found.fault, bool(found.told), found.seconds, found.growth)
            out.write(json.dumps(said) + "\n")
            number += 1
        current.unlink(missing_ok=True)


def started(base: Path, act: Callable[[], None]) -> int:
    """Let a child of this process do something, its words in a file; return the child's number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        handle = os.open(base / "words", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        act()
        code = 0
    except BaseException:  # noqa: BLE001 - nothing of it may go on as if it were the parent
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


# --- the process that watches ---


class Campaign:
    """All targets, one after the other."""

    def __init__(self, seed: str, out: Path, base: Path) -> None:
        self.seed = seed
        self.out = out
        self.samples = Samples(base / "samples").make()
        self._base = base

    def run(self, name: str, seconds: float) -> Tally:
        """Try cases of one target for so long; a process that dies or hangs is a fault too."""
        tally, ends, number = Tally(name), time.monotonic() + seconds, 0
        while (left := ends - time.monotonic()) > 0.1:
            number = self._process(tally, number, left)
        return tally

    def _process(self, tally: Tally, begin: int, seconds: float) -> int:
        base = self._base / tally.target
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir(parents=True)
        said, current = base / "said", base / "current"
        said.touch()
        target = TARGETS[tally.target]
        child = started(base, lambda: work(target, self.seed, begin, seconds, base, self.samples))
        fault = _watched(child, said)
        number = self._count(tally, said, begin)
        if fault is not None:
            words = (base / "words").read_text(errors="replace")[-2000:]
            if not current.exists():
                raise SystemExit(f"{tally.target}: {fault}\n{words}")
            self.keep(tally, number, f"{fault}: {words}", current.read_bytes())
            number += 1
        return number

    def _count(self, tally: Tally, said: Path, number: int) -> int:
        for line in said.read_text().splitlines():
            if not line.endswith("]"):
                break
            number, fault, told, seconds, growth = json.loads(line)
            tally.cases += 1
            tally.answers += told
            tally.seconds = max(tally.seconds, (seconds, number))
            tally.growth = max(tally.growth, (growth, number))
            if fault is not None:
                self.keep(tally, number, fault)
            number += 1
        return number

    def keep(self, tally: Tally, number: int, fault: str, data: bytes | None = None) -> None:
        """Count a fault and keep its case, the first few of each kind."""
        kind = _kind_of(fault)
        tally.faults[kind] += 1
        if tally.faults[kind] > _ALIKE:
            return
        if data is None:
            with ready(TARGETS[tally.target], self.samples) as rig:
                data = rig.case(chance_of(tally.target, self.seed, number))
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"{tally.target}.{self.seed}.{number}.case"
        path.write_bytes(data)
        print(f"FAULT {fault}\n      again with: make fuzz CASE={path}", flush=True)


def _kind_of(fault: str) -> str:
    """Return what faults of one cause have in common: the error and the place it came from."""
    first, _, rest = fault.partition(":")
    return f"{first}:{rest.rpartition(': ')[2]}" if rest.count(":") > 1 else fault[:60]


def _watched(child: int, said: Path) -> str | None:
    """Wait for a process and say how it failed; end it if one case takes too long."""
    length, since, used = -1, time.monotonic(), 0.0
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return f"the process ended with {status}" if status else None
        time.sleep(0.1)
        now, grown = time.monotonic(), said.stat().st_size
        if grown != length:
            length, since, used = grown, now, _processor_time(child)
        slow = _processor_time(child) - used
        if now - since > _HUNG or slow > CPU * 3:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"hung: {now - since:.0f} s by the clock, {slow:.0f} s of processor time"


def _processor_time(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def again(path: Path, base: Path) -> Verdict:
    """Try a case that was kept."""
    target = TARGETS[path.name.partition(".")[0]]
    data = path.read_bytes()
    with ready(target, Samples(base / "samples").make()) as rig, at_home(base / "again") as folder:
        return tried(rig.read, data, folder)


def campaign(seed: str, names: Sequence[str], seconds: float, out: Path, base: Path) -> int:
    """Run targets for so long together; return how many faults there were."""
    print(f"seed {seed}, {seconds:.0f} s for {len(names)} targets", flush=True)
    whole, begun = Campaign(seed, out, base), time.monotonic()
    tallies = []
    for number, name in enumerate(names):
        left = seconds - (time.monotonic() - begun)
        tallies.append(whole.run(name, max(left / (len(names) - number), 1.0)))
        print(tallies[-1].line(), flush=True)
    faults = sum(sum(tally.faults.values()) for tally in tallies)
    total = sum(tally.cases for tally in tallies)
    print(f"seed {seed}: {total} cases, {faults} faults", flush=True)
    return faults


def main() -> None:
    """Read the words of the command line."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("case", nargs="?", type=Path, help="a case that was kept, to try it again")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", default=f"{random.SystemRandom().getrandbits(32):08x}")
    parser.add_argument("--target", choices=[*TARGETS], action="append")
    parser.add_argument("--out", type=Path, default=Path(".fuzz"))
    given: Any = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="isobuilder-fuzz-") as folder:
        base = Path(folder)
        if given.case:
            found = again(given.case, base)
            print(
                found.fault or "no fault any more", f"({found.seconds:.1f} s, {found.growth} MiB)"
            )
            print(found.told, end="")
            raise SystemExit(found.fault is not None)
        names = given.target or [*TARGETS]
        faults = campaign(given.seed, names, given.seconds, given.out.resolve(), base)
    raise SystemExit(faults > 0)


if __name__ == "__main__":
    main()
