"""Measure every goal and write ``bench/RESULTS.md``: ``python -m bench.run``.

Where ``make lab`` has been, some of the rows are measured on the lab's Kubernetes as well; their
names begin with ``lab-``.

Sections that the tests of virtual machines wrote there stay as they are.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from bench import page, report
from bench.ground import SMALL, Ground, say
from bench.lab import LabGround
from bench.measure import BenchError, Contender, in_turn
from bench.measure import run as run_once
from bench.rows import LAB, PLANS, Row
from tools.lab.place import lab_dir

_LAB = "lab-"
_ALL = [*PLANS, *(f"{_LAB}{name}" for name in LAB)]
NEEDED = ("xorrisofs", "openssl", "curl", "skopeo", "nginx", "docker-registry", "setpriv")


def main() -> int:
    """Return the exit code: 0 when everything could be measured, also if a goal is not met."""
    options = _options()
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        print(f"error: not installed: {', '.join(missing)}", file=sys.stderr)
        print(f"hint: apt-get install {report.PACKAGES}", file=sys.stderr)
        return 6
    names = [name for name in _ALL if name in options.only]
    plain = [name for name in names if name in PLANS]
    holder = tempfile.TemporaryDirectory(prefix="isobuilder-bench-", dir=options.work)
    with holder as folder:
        largest = max((PLANS[name].size for name in plain), default=SMALL)
        ground = Ground(Path(folder, "generated"), options.scale, largest)
        lab = LabGround(Path(folder, "lab"))
        for each in (ground, lab):
            each.work.mkdir()
        try:
            with ground.closing, lab.closing:
                results = [
                    _row(ground if name in PLANS else lab, name, options.rounds) for name in names
                ]
        except BenchError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    text = report.render(results, command=shlex.join(["python", "-m", "bench.run", *sys.argv[1:]]))
    if options.report:
        page.write(options.report, page.keeping(text, page.read(options.report)))
        say(f"written: {options.report}")
    else:
        print(text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--only", action="append", choices=_ALL, help="this row; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each command (default 3)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="shrink the payload for a quick try (default 1)"
    )
    parser.add_argument(
        "--work", type=Path, help="a folder with 30 GB free for the payload, emptied at the end"
    )
    parser.add_argument("--report", type=Path, help="where to write; with --only: stdout")
    options = parser.parse_args()
    if not options.only and options.report is None:
        options.report = Path(__file__).with_name("RESULTS.md")
    if not options.only:
        there = (lab_dir() / "ready").is_file()
        options.only = _ALL if there else list(PLANS)
        if not there:
            say("without the lab's release: make lab")
    return options


def _row(ground: Ground, name: str, rounds: int) -> report.Result:
    row = PLANS[name.removeprefix(_LAB)].make(ground)
    if name not in PLANS and ground.called(0) not in row.title:
        row = dataclasses.replace(row, title=f"{row.title}, {ground.called(0)}")
    say(f"{row.name}: {row.title}")
    log = ground.work / "log"
    measured = in_turn(row.contenders, rounds, environment=ground.environment, log=log)
    result = report.judge(row, measured)
    for line in report.summary(result):
        say(f"  {line}")
    if result.missed:
        result.profile = _profile(ground, row)
    shutil.rmtree(ground.work / "out", ignore_errors=True)
    return result


def _profile(ground: Ground, row: Row) -> str:
    """Return where the product's threads are in the last command, if that is the product's."""
    last = row.contenders[-1]
    if Path(last.argv[0]).name != "isobuilder":
        return ""
    target = ground.work / "profile.txt"
    program = Path(__file__).with_name("profiled.py")
    words = [sys.executable, program, target, *last.argv[1:]]
    if last.before:
        last.before()
    run_once(Contender(last.name, words), environment=ground.environment, log=ground.work / "log")
    return target.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
