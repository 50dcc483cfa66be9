"""What was measured, in Markdown, each goal with met or not."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench import page
from bench.measure import Measured, processor
from bench.reasons import REASONS
from bench.rows import Goal, Row
from isobuilder import __version__

PACKAGES = "xorriso openssl curl skopeo nginx-light docker-registry util-linux"
_UNITS = {"wall": "s", "cpu": "s", "peak": "MiB"}
_WORDS = {"wall": "wall time", "cpu": "CPU time", "peak": "peak memory"}


@dataclass(frozen=True, slots=True)
class Judged:
    """One goal and what came of it."""

    goal: Goal
    value: float

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.value <= self.goal.limit

    @property
    def text(self) -> str:
        """What is compared, in words."""
        goal = self.goal
        if goal.against:
            less = f", less {goal.less}" if goal.less else ""
            return f"{_WORDS[goal.figure]} of {goal.of} / {goal.against}{less}"
        return f"{_WORDS[goal.figure]} of {goal.of}"

    def number(self, value: float) -> str:
        """Return a value or the limit with its unit."""
        if self.goal.against:
            return f"{value:.2f}x"
        digits = 0 if self.goal.figure == "peak" else 2
        return f"{value:.{digits}f} {_UNITS[self.goal.figure]}"


@dataclass(slots=True)
class Result:
    """One comparison, done."""

    row: Row
    measured: Sequence[Measured]
    judged: Sequence[Judged]
    profile: str = field(default="")

    @property
    def missed(self) -> list[Judged]:
        """The goals that do not hold."""
        return [judged for judged in self.judged if not judged.met]


def judge(row: Row, measured: Sequence[Measured]) -> Result:
    """Compare what was measured with the goals of a row."""
    by_name = {one.name: one for one in measured}
    judged = []
    for goal in row.goals:
        mine = by_name[goal.of]
        if goal.against is None:
            value = mine.median(goal.figure)
        elif goal.less is None:
            value = mine.ratio(goal.figure, by_name[goal.against])
        else:
            rounds = zip(
                *(by_name[name].values(goal.figure) for name in (goal.of, goal.against, goal.less)),
                strict=True,
            )
            value = median((of - less) / (against - less) for of, against, less in rounds)
        judged.append(Judged(goal, value))
    return Result(row, measured, judged)


def summary(result: Result) -> list[str]:
    """Return a line for each command and each goal, for the terminal."""
    lines = [
        f"{one.name}: {one.median('wall'):.2f} s, {one.median('cpu'):.2f} CPU s, "
        f"{one.median('peak'):.0f} MiB"
        for one in result.measured
    ]
    return lines + [
        f"{'met    ' if one.met else 'NOT MET'} {one.text}: {one.number(one.value)}, "
        f"goal {one.number(one.goal.limit)}"
        for one in result.judged
    ]


def render(results: Sequence[Result], *, command: str) -> str:
    """Return the whole report."""
    parts = [_head(command), _machine(), "## Goals\n", _goals(results)]
    missed = [result for result in results if result.missed]
    if missed:
        parts.append("## Not met\n")
        parts += [_why(result) for result in missed]
    parts.append("## Figures\n")
    parts += [_figures(result) for result in results]
    return "\n".join(parts)


def _head(command: str) -> str:
    return _HEAD.format(
        command=command, booting=page.BOOTING, cluster=page.CLUSTER, variable=page.VARIABLE
    )


def _goals(results: Sequence[Result]) -> str:
    lines = ["| Work | What | Goal | Measured | |", "|---|---|---|---|---|"]
    lines += [
        f"| {result.row.title} | {one.text} | {one.number(one.goal.limit)} "
        f"| {one.number(one.value)} | {'met' if one.met else '**not met**'} |"
        for result in results
        for one in result.judged
    ]
    return "\n".join(lines) + "\n"


def _why(result: Result) -> str:
    lines = [f"### {result.row.title}\n"]
    lines += [f"- {one.text}: {one.number(one.value)}" for one in result.missed]
    if reason := REASONS.get(result.row.name):
        lines += ["", reason]
    if result.profile:
        lines += [
            "",
            "Where each thread was, as a share of the looks taken every 4 ms (file, line and "
            "function of the product, then the foreign function it called):",
            "",
            "```",
            result.profile.rstrip(),
            "```",
        ]
    return "\n".join(lines) + "\n"


def _figures(result: Result) -> str:
    lines = [
        f"### {result.row.title}\n",
        "| Command | wall s (min-max) | user s | sys s | CPU s | peak MiB | others |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in result.measured:
        wall = one.values("wall")
        lines.append(
            f"| {one.name} | {median(wall):.2f} ({min(wall):.2f}-{max(wall):.2f}) "
            f"| {median(run.user for run in one.runs):.2f} "
            f"| {median(run.sys for run in one.runs):.2f} | {one.median('cpu'):.2f} "
            f"| {one.median('peak'):.0f} | {median(run.others for run in one.runs):.0%} |"
        )
    if result.row.note:
        lines += ["", result.row.note]
    return "\n".join(lines) + "\n"


def _machine() -> str:
    facts = [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("processor", f"{processor()}, {os.cpu_count()} of them"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"),
        ("system", f"{_system()}, Linux {platform.release()}"),
        ("Python", f"{platform.python_version()}, {_first(['openssl', 'version'])}"),
        ("isobuilder", __version__),
        ("xorriso", _first(["xorrisofs", "--version"])),
        ("skopeo", f"{_first(['skopeo', '--version'])}, {_go('skopeo')}"),
        ("curl", _first(["curl", "--version"]).split(" (")[0]),
        ("nginx", _first(["nginx", "-v"])),
        ("docker-registry", _first(["docker-registry", "--version"])),
    ]
    lines = ["| | |", "|---|---|", *(f"| {name} | {fact} |" for name, fact in facts)]
    return "\n".join(lines) + "\n"


def _first(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip()


def _go(program: str) -> str:
    """Return the version of Go a program was built with: older ones hash slowly."""
    for folder in os.environ["PATH"].split(":"):
        path = Path(folder) / program
        if path.is_file():
            data = path.read_bytes()
            at = data.find(b"\xff Go buildinf:")
            version = data[at + 33 : at + 33 + data[at + 32]] if at >= 0 else b""
            return f"built with {version.decode(errors='replace')}"
    return "not found"


def _system() -> str:
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


_HEAD = """# What it costs

Written by `{command}`; do not edit. Commands of one table ran in turn, A B C A B C, on one machine;
figures are medians of whole process trees, ratios are medians of the ratios within each round. CPU
is user + system time. "others" is the share of all processors that foreign work took during the
runs, the servers of a download included: where it is above a third, trust ratios and CPU more than
seconds. Peak memory is that of the largest process; below 13 MiB it cannot be seen.

The payload is noise in the shape of a Kubernetes release (`bench/payload.py`): 8 files of 12 to
70 MB and 13 images with shared layers; larger ones have further images of 46 MB.

The sections "{booting}" and "{cluster}" at the end are from other runs, each with its own date:
`make test-boot` and `make test-cluster` write them when `{variable}` names this page.
"""
