"""What the measurements have in common that write one section of the page each."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import page
from bench.ground import say
from bench.measure import BenchError, Measured, processor
from tools.lab.place import LabError


def parser(name: str, told: str | None, *, space: str) -> argparse.ArgumentParser:
    """Return the parser of ``python -m name``: where it works, and which page it writes."""
    found = argparse.ArgumentParser(prog=f"python -m {name}", description=told)
    found.add_argument("--work", type=Path, help=f"a folder with {space} free, emptied at the end")
    found.add_argument("--report", type=Path, help="the page to write; default: print")
    return found


def measured(title: str, options: argparse.Namespace, measure: Callable[[Path], str]) -> int:
    """Measure in an empty folder and tell it; the exit code is 0 if all could be measured."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each start compiles the program again
    try:
        with tempfile.TemporaryDirectory(prefix="isobuilder-bench-", dir=options.work) as folder:
            text = measure(Path(folder))
    except (BenchError, LabError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.report is None:
        print(text)
    else:
        page.update(options.report, title, lambda _old: text)
        say(f"written: {options.report}")
    return 0


def load() -> str:
    """Return what else was going on, for the end of a section."""
    found = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{os.cpu_count()} processors ({processor()}), load at the end {found}."


def figures(found: Sequence[Measured]) -> Iterator[Sequence[str]]:
    """Yield the rows of a table: what each command took in the median."""
    yield ("Command", "wall, s", "CPU, s", "peak, MiB")
    for one in found:
        figures = f"{one.median('wall'):.2f}", f"{one.median('cpu'):.2f}"
        yield (one.name, *figures, f"{one.median('peak'):.0f}")
