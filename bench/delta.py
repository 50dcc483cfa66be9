"""How large deltas of Go programs are beside general tools': ``python -m bench.delta OLD NEW ...``.

Folders are taken file by file, where both have one of a name. Each tool runs once, in a process of
its own; every delta of ours is applied in another one, with numpy and without, and compared. A tool
that is not installed has no column: bsdiff4 and hdiffpatch are libraries of Python, xdelta3 and
zstd programs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench import page
from bench.ground import say
from bench.measure import BenchError

_READ = "import sys; from pathlib import Path; a, b, c = map(Path, sys.argv[1:4]); "
_OURS = _READ + "from isobuilder.delta.golang import GoMethod, format1, plain; "
MAKE = _OURS + "c.write_bytes(GoMethod().make(a.read_bytes(), b.read_bytes()) or b'')"
_SIZE = "size = b.stat().st_size; "
APPLY = _OURS + _SIZE + "new = GoMethod().apply(a.read_bytes(), c.read_bytes(), size); "
PLAIN = (
    _OURS + _SIZE + "new = format1.applied(a.read_bytes(), c.read_bytes(), size, plain.rewritten); "
)
SAME = "sys.exit(new != b.read_bytes())"
LIBRARIES = {
    "bsdiff4": "import bsdiff4; bsdiff4.file_diff(*map(str, (a, b, c)))",
    "hdiffpatch": "import hdiffpatch; "
    "c.write_bytes(hdiffpatch.diff(a.read_bytes(), b.read_bytes(), compression='zstd'))",
}
PROGRAMS = {
    "xdelta3": "xdelta3 -q -f -9 -S lzma -B 268435456 -e -s {old} {new} {out}",
    "zstd": "zstd -q -f -19 --long=31 --patch-from {old} {new} -o {out}",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process cost."""

    cpu: float  # seconds
    memory: float  # MiB


@dataclass(frozen=True, slots=True)
class Pair:
    """A program and its next version."""

    name: str
    old: Path
    new: Path


def main() -> int:
    """Return the exit code: 0 when everything could be measured and every delta applied."""
    parser = argparse.ArgumentParser(prog="python -m bench.delta", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="old and new in turn: files or folders")
    parser.add_argument("--tools", help="names of others, with commas; default: all installed")
    parser.add_argument("--report", type=Path, help="the page to write; default: print")
    options = parser.parse_args()
    pairs = [
        pair
        for old, new in zip(options.paths[0::2], options.paths[1::2], strict=True)
        for pair in _pairs(old, new)
    ]
    tools = [name for name in LIBRARIES if find_spec(name)]
    tools += [name for name in PROGRAMS if shutil.which(name)]
    if options.tools is not None:
        tools = [name for name in tools if name in options.tools.split(",")]
    try:
        with tempfile.TemporaryDirectory(prefix="isobuilder-delta-") as folder:
            text = page.table(_rows(pairs, tools, Path(folder) / "delta"))
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    text += f"\n\nSizes in bytes, times of the processor. Load at the end {load}."
    if options.report is None:
        print(text)
    else:
        page.update(options.report, page.DELTAS, lambda _old: text)
    return 0


def _pairs(old: Path, new: Path) -> Iterator[Pair]:
    if old.is_file():
        yield Pair(f"{new.name}, {old.parent.name} -> {new.parent.name}", old, new)
        return
    for path in sorted(old.iterdir()):
        if (new / path.name).is_file() and not path.name.startswith("."):
            yield Pair(f"{path.name}, {old.name} -> {new.name}", path, new / path.name)


def _rows(pairs: Sequence[Pair], tools: Sequence[str], out: Path) -> Iterator[Sequence[str]]:
    head = ["Pair", "Bytes", "ours", "of the file", *tools, "best other / ours"]
    yield [*head, "make", "apply", "apply without numpy", "MiB"]
    sums = [0] * (2 + len(tools))
    for pair in pairs:
        say(pair.name)
        sizes = []
        for tool in tools:
            _other(tool, pair, out)
            sizes.append(out.stat().st_size)
        made = _python(MAKE, pair, out)
        size = out.stat().st_size
        if not size:
            raise BenchError(f"{pair.name}: no delta of Go programs")
        applied, without = (_python(way + SAME, pair, out) for way in (APPLY, PLAIN))
        whole = pair.new.stat().st_size
        sums = [a + b for a, b in zip(sums, (whole, size, *sizes), strict=True)]
        yield [
            *_told(pair.name, whole, size, sizes),
            *(f"{cost.cpu:.1f} s" for cost in (made, applied, without)),
            f"{made.memory:.0f} / {applied.memory:.0f} / {without.memory:.0f}",
        ]
    yield [*_told("together", sums[0], sums[1], sums[2:]), "", "", "", ""]


def _told(name: str, whole: int, size: int, sizes: Sequence[int]) -> list[str]:
    best = f"{min(sizes) / size:.1f}" if sizes else ""
    share = f"{100 * size / whole:.4f} %"
    return [name, f"{whole:,}", f"{size:,}", share, *(f"{one:,}" for one in sizes), best]


def _other(tool: str, pair: Pair, out: Path) -> None:
    if tool in LIBRARIES:
        _python(_READ + LIBRARIES[tool], pair, out)
    else:
        words = PROGRAMS[tool].split()
        _cost([word.format(old=pair.old, new=pair.new, out=out) for word in words])


def _python(program: str, pair: Pair, out: Path) -> Cost:
    return _cost([sys.executable, "-c", program, str(pair.old), str(pair.new), str(out)])


def _cost(words: Sequence[str]) -> Cost:
    pid = os.posix_spawnp(words[0], list(words), os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise BenchError(f"{words[0]} {words[1]}: exit {os.waitstatus_to_exitcode(status)}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    sys.exit(main())
