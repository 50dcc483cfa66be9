"""What was measured of deltas, as it is kept and as the page shows it, beside what was aimed at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite, nan
from pathlib import Path
from statistics import median

from bench import page

OURS = "ours"
KINDS = {
    "patch": "One patch release",
    "patches": "Nine patch releases at once",
    "minor": "A minor release",
    "general": "Not of Go, or of Go by way of C",
    "iso": "A whole ISO",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A file and its next version."""

    name: str
    kind: str
    size: int  # bytes of the next version


@dataclass(frozen=True, slots=True)
class Cost:
    """What a delta of one tool comes to: bytes, seconds of the processor, MiB."""

    size: int
    cpu: float
    memory: float
    apply: float = 0
    apply_memory: float = 0
    alone: float = 0  # without any library that makes it quick
    alone_memory: float = 0


Costs = dict[str, Cost]
Records = dict[Pair, Costs]


def read(path: Path) -> Records:
    """Return what was measured so far."""
    if not path.exists():
        return {}
    return {
        Pair(one["name"], one["kind"], one["size"]): {
            tool: Cost(**cost) for tool, cost in one["costs"].items()
        }
        for one in json.loads(path.read_bytes())
    }


def told(records: Records) -> list[dict[str, object]]:
    """Return what ``read`` reads."""
    return [
        asdict(pair) | {"costs": {tool: asdict(cost) for tool, cost in costs.items()}}
        for pair, costs in records.items()
    ]


def text(records: Records) -> str:
    """Return the section of the page."""
    whole = {pair: costs for pair, costs in records.items() if OURS in costs}
    about = "; ".join(_ABOUT[tool] for tool in _used(whole))
    parts = [_INTRODUCTION, f"Tools: {about}.", page.table(_goals(whole), numbers=False)]
    for kind, title in KINDS.items():
        some = {pair: costs for pair, costs in whole.items() if pair.kind == kind}
        if some:
            parts += [f"### {title}", page.table(_sizes(some)), page.table(_times(some))]
    return "\n\n".join(parts)


_INTRODUCTION = """\
What the chooser takes, beside what general tools make of the same two files. Written of
`bench/deltas.json`, which `python -m bench.delta` measures, pair by pair and tool by tool; goals
are judged by the pairs below and by no others, a ratio of sums by the pairs that the tool was tried
on. "Carried" is what a delta of ours has of the pair. A dash: not measured. Sizes do not depend on
other work on the machine; seconds of the processor do:
each was taken once, on two processors that had much other work.

Where a version names an architecture, the program is upstream's own, as published on PyPI or npm;
those of "kubernetes-" are built from its modules, as are those of ISOs; all else is Debian's.

Nine patches stay below their goal where the compiler stays: kubectl 1.33.0 and 1.33.9 are built by
Go 1.24.2 and 1.24.13. 1.31.0 and 1.31.9 are built by Go 1.22.5 and 1.23.8, another compiler, which
costs what a minor release costs.

kubelet 1.36.5 -> 1.37.1 alone is above the goal of minors: much of what it costs are calls inside
of code that resembles other code and so name other places, descriptors of types, and tables of
functions.

helm 4.2.2 -> 4.2.3 and what is Debian's are told by the maker before that of today, whose deltas of
patches are some hundredths smaller or larger, and kube-proxy's a fifth larger. A year of releases,
below, is by the maker of today."""

_ABOUT = {
    "bsdiff4": "bsdiff4 1.3.2",
    "hdiffpatch": "hdiffpatch 2.6.0 with zstd",
    "xdelta3": "xdelta3 3.0.11, `-9 -S lzma`",
    "zstd": "zstd 1.5.4, `-19 --long=31 --patch-from`",
    "casync": "casync 2: the chunks that a store of the old file lacks, and the list of chunks",
}


def _goals(records: Records) -> Iterator[Sequence[str]]:
    yield ["What", "Goal", "Measured", ""]

    def of(kind: str) -> Records:
        return {pair: costs for pair, costs in records.items() if pair.kind == kind}

    def goal(what: str, wanted: str, measured: str, *, met: bool) -> list[str]:
        return [what, wanted, measured, _met(met)]

    if some := of("patch"):
        share = median(_share(pair, costs) for pair, costs in some.items())
        yield goal("a patch, of the file, median", "0.1 %", f"{share:.4f} %", met=share <= 0.1)
        yield _goal_of_sums("patches, best tool / ours, in sum", 15, _best_of_sums(some))
    if some := of("patches"):
        share = max(_share(pair, costs) for pair, costs in some.items())
        yield goal(
            "nine patches, of the file, largest", "0.5 %", f"{share:.3f} %", met=share <= 0.5
        )
    some = of("minor")
    shares = [_share(pair, costs) for pair, costs in some.items()]
    for which, measure in (("median", median), ("most", max)):
        minor = f"a minor release, of the file, {which}"
        if shares:
            share = measure(shares)
            yield goal(minor, "3 %", f"{share:.2f} %", met=share <= 3)
        else:
            yield [minor, "3 %", "-", "not measured"]
    yield _goal_of_sums("minor releases, best tool / ours, in sum", 2, _best_of_sums(some))
    yield from _iso_goals(of("iso"))
    beaten = [pair for pair, costs in records.items() if _best(costs) < costs[OURS].size]
    names = "; ".join(pair.name for pair in beaten)
    yield goal("pairs where a general tool is smaller", "0", names or "0", met=not beaten)


def _iso_goals(records: Records) -> Iterator[Sequence[str]]:
    """Yield how the ISO that is furthest from a goal stands to it."""
    costs = [costs[OURS] for costs in records.values()]
    if not costs:
        return
    largest = max(cost.size for cost in costs)
    memory = max(max(cost.apply_memory, cost.alone_memory) for cost in costs)
    seconds = {
        "making it": (360, max(cost.cpu for cost in costs)),
        "applying it": (90, max(cost.apply for cost in costs)),
        "applying it without any library": (720, max(cost.alone for cost in costs)),
    }
    yield ["an ISO, bytes carried", "512 KB", f"{largest:,}", _met(largest <= 512_000)]
    for what, (most, taken) in seconds.items():
        yield [f"{what}, CPU time", f"{most} s", f"{taken:.0f} s", _met(taken <= most)]
    yield ["applying it, memory", "512 MiB", f"{memory:.0f} MiB", _met(memory <= 512)]


def _goal_of_sums(what: str, wanted: int, ratio: float) -> list[str]:
    verdict = _met(ratio >= wanted) if isfinite(ratio) else "not measured"
    return [what, str(wanted), _ratio(ratio), verdict]


def _met(met: bool) -> str:
    return "met" if met else "**not met**"


def _share(pair: Pair, costs: Costs) -> float:
    return 100 * costs[OURS].size / pair.size


def _best(costs: Costs) -> float:
    """Return the bytes that the best general tool needs; without any it is beyond all."""
    return min((costs[tool].size for tool in _ABOUT if tool in costs), default=inf)


def _best_of_sums(records: Records) -> float:
    """Return the sum of the tool that comes nearest to ours, of the pairs that it has, to ours."""
    ratios = []
    for tool in _ABOUT:
        some = {pair: costs for pair, costs in records.items() if tool in costs}
        if some:
            ratios.append((_sum(some, tool) or 0) / (_sum(some, OURS) or 1))
    return min(ratios, default=nan)


def _ratio(ratio: float) -> str:
    return f"{ratio:.1f}" if isfinite(ratio) else "-"


def _sum(records: Records, tool: str) -> int | None:
    sizes = [costs[tool].size for costs in records.values() if tool in costs]
    return sum(sizes) if len(sizes) == len(records) else None


def _sizes(records: Records) -> Iterator[Sequence[str]]:
    tools = _used(records)
    yield ["Pair", "Bytes", "carried", "of the file", *tools, "best other / ours"]
    for pair, costs in records.items():
        yield [
            pair.name,
            f"{pair.size:,}",
            f"{costs[OURS].size:,}",
            f"{_share(pair, costs):.4f} %",
            *_each(costs, tools, lambda cost: f"{cost.size:,}"),
            _ratio(_best(costs) / costs[OURS].size),
        ]
    whole = sum(pair.size for pair in records)
    ours = _sum(records, OURS) or 0
    sums = [_sum(records, tool) for tool in tools]
    yield [
        "together",
        f"{whole:,}",
        f"{ours:,}",
        f"{100 * ours / whole:.4f} %",
        *("-" if size is None else f"{size:,}" for size in sums),
        _ratio(_best_of_sums(records)),
    ]


def _times(records: Records) -> Iterator[Sequence[str]]:
    tools = _used(records)
    yield [
        *("Seconds of the processor", "make", "apply", "apply, no library", "MiB of these"),
        *(f"{tool}: make" for tool in tools),
    ]
    for pair, costs in records.items():
        ours = costs[OURS]
        memory = (ours.memory, ours.apply_memory, ours.alone_memory)
        yield [
            pair.name,
            *(f"{seconds:.1f}" for seconds in (ours.cpu, ours.apply, ours.alone)),
            " / ".join(f"{one:.0f}" for one in memory),
            *_each(costs, tools, lambda cost: f"{cost.cpu:.1f}"),
        ]


def _used(records: Records) -> list[str]:
    return [tool for tool in _ABOUT if any(tool in costs for costs in records.values())]


def _each(costs: Costs, tools: Sequence[str], show: Callable[[Cost], str]) -> list[str]:
    return [show(costs[tool]) if tool in costs else "-" for tool in tools]
