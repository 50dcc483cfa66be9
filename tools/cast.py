"""Write docs/images/tour.cast and tour.svg: a session in a terminal, as asciicast and as a picture.

What is typed and printed is what docs/tour.md shows, which `make readme` takes from real runs; only
the times are made up, so that the same page gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from isobuilder.text import width

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHOWN = ("isobuilder build demo-out/kubernetes-1.34.12.yaml", "ls dist", "isobuilder verify dist/")
COLUMNS = 104
_TYPING, _ANSWER, _PAUSE = 0.04, 0.25, 1.2  # seconds: a letter, a line, before the next command
_LINE, _LETTER, _EDGE = 19, 8.45, 14  # pixels
_STYLE = (
    "text{font:14px ui-monospace,'DejaVu Sans Mono',monospace;fill:#e6edf3;white-space:pre}"
    ".typed{fill:#7ee787}.warn{fill:#f2cc60}"
    "@media (prefers-reduced-motion:no-preference){text{opacity:0;animation:show .01s forwards}"
    "@keyframes show{to{opacity:1}}}"
)


def session() -> list[tuple[str, list[str]]]:
    """Return the commands that are shown, each with what it prints."""
    text = (DOCS / "tour.md").read_text(encoding="utf-8")
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *printed = part.rstrip("\n").split("\n")
            if command.startswith(SHOWN) and command not in [one for one, _ in found]:
                found.append((command, printed))
    return found[: len(SHOWN)]


def _wrapped(line: str) -> Iterator[str]:
    """Give a line in the pieces in which a terminal shows it."""
    piece = ""
    for character in line:
        if width(piece + character) > COLUMNS:
            yield piece
            piece = ""
        piece += character
    yield piece


def rows() -> Iterator[tuple[float, str, str]]:
    """Give what appears when: seconds, what kind of line it is, its text."""
    now = 0.5
    for command, printed in session():
        for piece in _wrapped(f"$ {command}"):
            yield now, "typed", piece
        now += len(command) * _TYPING
        for line in printed:
            now += _ANSWER
            kind = "warn" if line.startswith(("warning:", "hint:")) else ""
            for piece in _wrapped(line):
                yield now, kind, piece
        now += _PAUSE


def cast() -> str:
    """Return the session as asciicast, version 2."""
    head = {"version": 2, "width": COLUMNS, "height": 30, "title": "isobuilder"}
    lines = [json.dumps(head)]
    now = 0.5
    for command, printed in session():
        for letter in ("$ ", *command, "\r\n"):
            lines.append(json.dumps([round(now, 2), "o", letter], ensure_ascii=False))
            now += _TYPING
        for line in printed:
            now += _ANSWER
            lines.append(json.dumps([round(now, 2), "o", f"{line}\r\n"], ensure_ascii=False))
        now += _PAUSE
    return "\n".join(lines) + "\n"


def picture() -> str:
    """Return the session as SVG: line after line, or all at once for who wants no motion."""
    shown = list(rows())
    wide, high = round(COLUMNS * _LETTER + 2 * _EDGE), len(shown) * _LINE + 2 * _EDGE
    commands = "; ".join(command for command, _ in session())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img" '
        'aria-labelledby="title desc">',
        '<title id="title">isobuilder in a terminal</title>',
        f'<desc id="desc">What these commands print: {escape(commands)}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect width="{wide}" height="{high}" rx="8" fill="#0d1117"/>',
    ]
    for number, (when, kind, text) in enumerate(shown, 1):
        place = f'x="{_EDGE}" y="{number * _LINE + _EDGE - 5}"'
        named = f' class="{kind}"' if kind else ""
        delay = f' style="animation-delay:{when:.2f}s"'
        lines.append(f"<text {place}{named}{delay}>{escape(text)}</text>")
    return "\n".join([*lines, "</svg>"]) + "\n"


PAGES = {DOCS / "images" / "tour.cast": cast, DOCS / "images" / "tour.svg": picture}


def main() -> None:
    """Compare or, with ``--write``, write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    old = [p for p, made in PAGES.items() if not p.is_file() or p.read_text("utf-8") != made()]
    for path in old if write else ():
        path.write_text(PAGES[path](), encoding="utf-8")
    if old and not write:
        sys.exit(f"not current: {', '.join(map(str, old))}; run python -m tools.cast --write")


if __name__ == "__main__":
    main()
