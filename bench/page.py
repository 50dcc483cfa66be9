"""The page of results: it has several writers, and each leaves the sections of the others alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from isobuilder.files import write_whole

VARIABLE = "ISOBUILDER_RESULTS"
"""The environment variable by which tests of virtual machines are told of the page."""

FIRST_ISO, BOOTING, CLUSTER = "First ISO of a new patch", "Booting", "A real cluster"
SITE = "A site"
CLIENTS = "Fifty clients of a site"
WAY = "A new user's way"
DELTAS = "Deltas of Go programs"
YEAR = "A year of releases"
TRUST = "Signatures and bills"
SECTIONS = (WAY, FIRST_ISO, SITE, CLIENTS, DELTAS, YEAR, TRUST, BOOTING, CLUSTER)
"""Sections of other runs than the comparison, in the order in which they end the page."""

_HEADING = re.compile(r"(#+) +(.*?)\s*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and all lines up to the next one of its level, or what precedes the first."""

    title: str  # empty for what precedes the first heading, and for a heading of a higher level
    text: str  # the heading included

    @property
    def body(self) -> str:
        """What is below the heading, without empty lines around it."""
        return self.text.partition("\n")[2].strip()


def sections(text: str, level: int = 2) -> list[Section]:
    """Cut Markdown before each heading of ``level``; all parts together are ``text`` again."""
    found = [Section("", "")]
    for line, is_heading in _lines(text):
        match = _HEADING.match(line) if is_heading else None
        if match and len(match[1]) <= level:
            found.append(Section(match[2] if len(match[1]) == level else "", line))
        else:
            found[-1] = Section(found[-1].title, found[-1].text + line)
    return [section for section in found if section.text]


def with_section(text: str, title: str, body: str) -> str:
    """Return the page ``text`` with ``body`` below the heading ``title``, new or replaced.

    All other sections keep every byte; only an empty line may come before a new heading.
    """
    return _with(text, Section(title, f"## {title}\n\n{body.strip()}\n"))


def keeping(text: str, old: str) -> str:
    """Return the page ``text`` with the sections of ``old`` that other runs wrote."""
    for section in sections(old):
        if section.title in SECTIONS:
            text = _with(text, Section(section.title, section.text.rstrip("\n") + "\n"))
    return text


def update(path: Path, title: str, change: Callable[[str], str]) -> None:
    """Put ``change`` of the body of a section in its place; it gets "" where there is none.

    The file is either the old one or the whole new one, and is made if it is missing.

    Raises:
        EnvironmentProblem: the folder cannot be written or the disk is full; the old file stays.
    """
    old = read(path)
    body = next((section.body for section in sections(old) if section.title == title), "")
    write(path, with_section(old, title, change(body)))


def read(path: Path) -> str:
    """Return the page as it is, empty if there is none."""
    return path.read_bytes().decode("utf-8") if path.exists() else ""


def write(path: Path, text: str) -> None:
    """Write the page so that it is either the old one or the whole new one.

    Raises:
        EnvironmentProblem: the folder cannot be written or the disk is full; the old file stays.
    """
    write_whole(path, text.encode("utf-8"))


def table(rows: Iterable[Sequence[str]], *, numbers: bool = True) -> str:
    """Return a table, the first row as its head; ``numbers``: in all columns but the first."""
    head, *rest = rows
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rest)]
    rule = " ---: |" if numbers else " --- |"
    return "\n".join([lines[0], "| --- |" + rule * (len(head) - 1), *lines[1:]])


def rows_of(text: str) -> list[list[str]]:
    """Return the rows of the tables in Markdown, the head first: what ``table`` was given."""
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [row for row in rows if not all(re.fullmatch(":?-+:?", cell) for cell in row)]


def _with(text: str, new: Section) -> str:
    found = sections(text)
    titles = [section.title for section in found]
    if new.title in titles:
        at = titles.index(new.title)
        before, after = found[:at], found[at + 1 :]
    else:
        at = _place(titles, new.title)
        before, after = found[:at], found[at:]
    head = "".join(section.text for section in before)
    tail = "".join(section.text for section in after)
    if head:
        head += "\n" * (2 - (len(head) - len(head.rstrip("\n"))))
    return head + new.text + ("\n" + tail if tail else "")


def _place(titles: Sequence[str], title: str) -> int:
    """Return where a new section goes: before those that come after it, else at the end."""
    later = SECTIONS[SECTIONS.index(title) + 1 :] if title in SECTIONS else ()
    return next((at for at, other in enumerate(titles) if other in later), len(titles))


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line with its end, and whether it may be a heading: not inside of a fence."""
    fence = ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        match = _FENCE.match(line)
        if fence:
            if match and match[1].startswith(fence) and line.strip() == match[1]:
                fence = ""
            yield line, False
        else:
            fence = match[1] if match else ""
            yield line, not match
