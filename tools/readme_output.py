"""Run the console blocks of docs/tour.md and put in what they print.

A block begins with ```` ```console ````; a line that begins with ``$ `` is a command, what follows
is its output on stdout and stderr. The commands run one after another in one folder, where ``make
demo`` has run before, while the embedded upstream serves on the port that the page names.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from isobuilder.demo.tour import embedded_upstream, tour

PROJECT = Path(__file__).parents[1]
PORT = 8099  # the one that readers are told to serve on
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def main() -> None:
    """Compare or, with ``--write``, refresh the pages that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, default=[PROJECT / "docs" / "tour.md"])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    for page in options.pages:
        text = page.read_text(encoding="utf-8")
        fresh = refreshed(text)
        if options.write:
            page.write_text(fresh, encoding="utf-8")
            _give(page.parent / "ko" / page.name, BLOCK.findall(fresh))
        elif fresh != text:
            sys.exit(f"{page} is not what the commands print; run this with --write")


def _give(page: Path, blocks: list[str]) -> None:
    """Put the blocks into the Korean page, which shows the same."""
    if page.is_file():
        left = iter(blocks)
        text = page.read_text(encoding="utf-8")
        page.write_text(
            BLOCK.sub(lambda _old: f"```console\n{next(left)}```", text), encoding="utf-8"
        )


def refreshed(text: str) -> str:
    """Return the page with the real output of every command in its console blocks."""
    with tempfile.TemporaryDirectory(prefix="isobuilder-readme-") as name:
        folder = Path(name)
        with contextlib.chdir(folder):
            tour(Path("demo-out"))  # as make demo does
        with contextlib.chdir(folder), embedded_upstream(Path("demo-out"), port=PORT):
            return BLOCK.sub(lambda match: f"```console\n{_run(match[1], folder)}```", text)


def _run(block: str, folder: Path) -> str:
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    return "".join(f"$ {command}\n{_output(command, folder)}" for command in commands)


def _output(command: str, folder: Path) -> str:
    programs = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "ISOBUILDER_CONFIG": "demo-out/config.yaml",
            "ISOBUILDER_PROGRESS": "plain",
            "COLUMNS": "100",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout if not done.stdout or done.stdout.endswith("\n") else done.stdout + "\n"


if __name__ == "__main__":
    main()
