"""What deltas carry beside general tools: ``python -m bench.delta OLD NEW ... --kind patch``.

OLD and NEW are files or folders; folders are taken file by file, where both have one of a name.
With ``--kind iso`` they are ISOs, of which ``site delta`` takes apart what is in them.
What each tool made is kept in ``bench/deltas.json`` as it is measured, by pair, so it takes several
runs, on pairs of several kinds, or one that is interrupted; a pair and a tool that are in it are
not measured again. The page is written of all that is in it.

Each tool runs once, in a process of its own. Ours is what the chooser takes, applied in other
processes with the libraries that make it quick and without any. A tool that is not installed is
left out: bsdiff4 and hdiffpatch are libraries of Python, xdelta3, zstd and casync programs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench import delta_page, page
from bench.delta_page import Cost, Pair, Records
from bench.ground import say
from bench.measure import BenchError
from isobuilder.files import write_whole

KEPT = Path(__file__).with_name("deltas.json")
_READ = "import sys; from pathlib import Path; a, b, c = map(Path, sys.argv[1:4]); "
_OURS = _READ + "from isobuilder.delta.methods import methods; d = c.with_suffix('.method'); "
MAKE = (
    _OURS + "from isobuilder.delta.choose import tried; "
    "way = tried(a.read_bytes(), b.read_bytes()).ways[0]; "
    "d.write_text(str(way.method.number)); c.write_bytes(way.delta)"
)
APPLY = (
    _OURS + "method = methods()[int(d.read_text())]; "
    "new = method.apply(a.read_bytes(), c.read_bytes(), b.stat().st_size); "
    "sys.exit(new != b.read_bytes())"
)
MAKE_ISO = (
    _READ + "from isobuilder.pipeline.delta.make import make_delta; "
    "d = c.with_suffix('.delta'); make_delta([a], b, d); d.replace(c)"
)
APPLY_ISO = (
    _READ + "from isobuilder.pipeline.delta.apply import apply_deltas; "
    "from isobuilder.digest import Digest; made = c.with_suffix('.iso'); "
    "digest = apply_deltas([a], [c], made).digest; made.unlink(); "
    "sys.exit(digest != Digest.of_file(b))"
)
ALONE = "import sys; sys.modules['numpy'] = None; "
LIBRARIES = {
    "bsdiff4": "import bsdiff4; bsdiff4.file_diff(*map(str, (a, b, c)))",
    "hdiffpatch": "import hdiffpatch; "
    "c.write_bytes(hdiffpatch.diff(a.read_bytes(), b.read_bytes(), compression='zstd'))",
}
PROGRAMS = {
    "xdelta3": "xdelta3 -q -f -9 -S lzma -B 268435456 -e -s {old} {new} {out}",
    "zstd": "zstd -q -f -19 --long=31 --patch-from {old} {new} -o {out}",
}


def main() -> int:
    """Return the exit code: 0 when everything could be measured and every delta applied."""
    parser = argparse.ArgumentParser(prog="python -m bench.delta", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="old and new in turn: files or folders")
    parser.add_argument("--kind", default="patch", choices=delta_page.KINDS, help="what pairs are")
    parser.add_argument("--tools", help=f"with commas, {delta_page.OURS} is one; default: all")
    parser.add_argument("--kept", type=Path, default=KEPT, help="what was measured so far")
    parser.add_argument("--report", type=Path, help="the page to write; default: print")
    options = parser.parse_args()
    tools = [name for name in LIBRARIES if find_spec(name)]
    tools += [name for name in (*PROGRAMS, "casync") if shutil.which(name)]
    tools.append(delta_page.OURS)
    if options.tools is not None:
        tools = [name for name in tools if name in options.tools.split(",")]
    records = delta_page.read(options.kept)
    try:
        for old, new in zip(options.paths[0::2], options.paths[1::2], strict=True):
            for pair in _pairs(old, new, options.kind):
                _measure(pair, tools, records, options.kept)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = delta_page.text(records)
    if options.report is None:
        print(text)
    else:
        page.update(options.report, page.DELTAS, lambda _old: text)
    return 0


@dataclass(frozen=True, slots=True)
class _Files:
    pair: Pair
    old: Path
    new: Path


def _pairs(old: Path, new: Path, kind: str) -> Iterator[_Files]:
    if old.is_file():
        name = f"{new.name}, {old.parent.name} -> {new.parent.name}"
        if kind == "iso":
            name = f"{old.name} -> {new.name}"
        yield _Files(Pair(name, kind, new.stat().st_size), old, new)
        return
    for path in sorted(old.iterdir()):
        other = new / path.name
        if other.is_file() and not path.name.startswith("."):
            name = f"{path.name}, {old.name} -> {new.name}"
            yield _Files(Pair(name, kind, other.stat().st_size), path, other)


def _measure(files: _Files, tools: Sequence[str], records: Records, kept: Path) -> None:
    costs = records.setdefault(files.pair, {})
    for tool in tools:
        if tool in costs:
            continue
        say(f"{files.pair.name}: {tool}")
        with tempfile.TemporaryDirectory(prefix="isobuilder-delta-") as folder:
            out = Path(folder) / "delta"
            if tool == delta_page.OURS:
                costs[tool] = _ours(files, out)
            elif tool == "casync":
                costs[tool] = _casync(files, out)
            else:
                costs[tool] = _other(tool, files, out)
        write_whole(kept, (json.dumps(delta_page.told(records), indent=1) + "\n").encode())


def _ours(files: _Files, out: Path) -> Cost:
    make, apply = (MAKE_ISO, APPLY_ISO) if files.pair.kind == "iso" else (MAKE, APPLY)
    made = _python(make, files, out)
    applied, alone = _python(apply, files, out), _python(ALONE + apply, files, out)
    size = out.stat().st_size
    return Cost(size, made.cpu, made.memory, applied.cpu, applied.memory, alone.cpu, alone.memory)


def _other(tool: str, files: _Files, out: Path) -> Cost:
    if tool in LIBRARIES:
        made = _python(_READ + LIBRARIES[tool], files, out)
    else:
        words = PROGRAMS[tool].split()
        made = _run([word.format(old=files.old, new=files.new, out=out) for word in words])
    return Cost(out.stat().st_size, made.cpu, made.memory)


def _casync(files: _Files, out: Path) -> Cost:
    """Measure the chunks that a store of the old file lacks, packed, and the list of chunks."""
    store, index = out.with_name("store"), out.with_suffix(".caibx")
    sizes, made = [0], _Run(0, 0)
    for path in (files.old, files.new):
        made = _run(["casync", "make", f"--store={store}", str(index), str(path)])
        sizes.append(sum(one.stat().st_size for one in store.rglob("*") if one.is_file()))
    return Cost(sizes[2] - sizes[1] + index.stat().st_size, made.cpu, made.memory)


@dataclass(frozen=True, slots=True)
class _Run:
    cpu: float  # seconds
    memory: float  # MiB


def _python(program: str, files: _Files, out: Path) -> _Run:
    return _run([sys.executable, "-c", program, str(files.old), str(files.new), str(out)])


def _run(words: Sequence[str]) -> _Run:
    quiet = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    pid = os.posix_spawnp(words[0], list(words), os.environ, file_actions=[quiet])
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise BenchError(f"{words[0]} {words[1]}: exit {os.waitstatus_to_exitcode(status)}")
    return _Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    sys.exit(main())
