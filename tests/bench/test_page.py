"""One page, several writers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import page
from isobuilder.errors import EnvironmentProblem

BENCH = """\
# What it costs

Written by a program.

## Goals

| a | b |
|---|---|
| 1 | 2 |

## Not met

```
## Booting
 64.9%  MainThread
```

## Figures

### Warm build

Trailing blanks:  \t
"""

HEADINGS = ["# Title", "## Goals", "## Booting", "## Booting ", "## A real cluster", "### Deeper"]
FENCES = ["```\n## Booting\n```", "~~~~\n```\n## Goals\n~~~~"]
LINES = st.sampled_from(
    [*HEADINGS, *FENCES, "", "words", "#hash", "| a |", "\r", "\x0c", "\x85 ## Goals"]
)
PAGES = st.lists(LINES).map("\n".join) | st.lists(LINES).map(
    lambda lines: "".join(line + "\n" for line in lines)
)


def others(text: str, title: str) -> list[str]:
    """Return all sections but one; empty lines at their ends only keep headings apart."""
    return [
        section.text.rstrip("\n")
        for section in page.sections(text)
        if section.title != title and section.text.strip("\n")
    ]


def test_a_missing_section_is_added_and_the_rest_stays() -> None:
    text = page.with_section(BENCH, "Booting", "quick")
    assert text == BENCH + "\n## Booting\n\nquick\n"


def test_a_section_is_replaced_and_the_others_stay() -> None:
    before = BENCH + "\n## Booting\n\nold\n\n### deeper\n\nold\n\n## A real cluster\n\nstays  \n"
    text = page.with_section(before, "Booting", "\nnew\n\n")
    assert text == BENCH + "\n## Booting\n\nnew\n\n## A real cluster\n\nstays  \n"


def test_the_sections_of_machines_are_in_the_same_order_whoever_comes_first() -> None:
    one = page.with_section(page.with_section(BENCH, "Booting", "b"), "A real cluster", "c")
    two = page.with_section(page.with_section(BENCH, "A real cluster", "c"), "Booting", "b")
    assert one == two == BENCH + "\n## Booting\n\nb\n\n## A real cluster\n\nc\n"


def test_what_looks_like_a_heading_inside_of_a_fence_is_none() -> None:
    assert [one.title for one in page.sections(BENCH)] == ["", "Goals", "Not met", "Figures"]


def test_an_empty_page_gets_the_section_alone() -> None:
    assert page.with_section("", "Booting", "quick") == "## Booting\n\nquick\n"


@given(PAGES)
def test_all_sections_together_are_the_page(text: str) -> None:
    for level in (1, 2, 3):
        assert "".join(section.text for section in page.sections(text, level)) == text


@given(PAGES, st.sampled_from(page.SECTIONS))
def test_writing_twice_is_writing_once_and_touches_nothing_else(text: str, title: str) -> None:
    once = page.with_section(text, title, "new\n\n### deeper")
    again = page.with_section(once, title, "new\n\n### deeper")
    if sum(section.title == title for section in page.sections(text)) <= 1:
        assert others(once, title) == others(text, title)
    assert again == once


def test_a_newly_measured_page_keeps_what_machines_wrote() -> None:
    machines = "\n## Booting\nno empty line above\n\n\n## A real cluster\n\n### One node\n\n1 s  \n"
    new = BENCH.replace("Trailing", "New")
    assert page.keeping(new, BENCH + machines) == (
        new + "\n## Booting\nno empty line above\n\n## A real cluster\n\n### One node\n\n1 s  \n"
    )
    assert page.keeping(new, BENCH) == new


def test_a_file_is_changed_from_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    seen: list[str] = []

    def more(body: str) -> str:
        seen.append(body)
        return f"{body}x"

    path.write_bytes(BENCH.encode())
    page.update(path, "Booting", more)
    page.update(path, "Booting", more)
    assert seen == ["", "x"]
    assert path.read_bytes() == f"{BENCH}\n## Booting\n\nxx\n".encode()
    assert [file.name for file in tmp_path.iterdir()] == ["results.md"]


def test_a_missing_file_is_made(tmp_path: Path) -> None:
    page.update(tmp_path / "results.md", "Booting", lambda _body: "quick")
    assert page.read(tmp_path / "results.md") == "## Booting\n\nquick\n"


def test_a_page_that_does_not_fit_on_the_disk_leaves_the_old_one(small_disk: Path) -> None:
    path = small_disk / "results.md"
    path.write_bytes(BENCH.encode())
    with pytest.raises(EnvironmentProblem):
        page.update(path, "Booting", lambda _body: "x" * 4_000_000)
    assert [file.read_bytes() for file in small_disk.iterdir()] == [BENCH.encode()]


def test_a_table_is_read_as_it_was_written() -> None:
    rows = [["machine", "kernel", "system up"], ["BIOS, CD", "4", ""], ["UEFI", "", "90"]]
    assert page.rows_of(f"words\n\n{page.table(rows)}\n\nwords") == rows
    assert page.rows_of("") == []
