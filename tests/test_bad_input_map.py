"""docs/bad-input.md names tests that exist, for every line of its tables."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
ROWS = [
    line
    for line in (PROJECT / "docs" / "bad-input.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| Input")
]
TEST_ID = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def functions_of(file: str) -> frozenset[str]:
    """Return the names of the test functions of a file, without importing it."""
    tree = ast.parse((PROJECT / file).read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_line_names_tests_that_exist(row: str) -> None:
    named = TEST_ID.findall(row)
    assert named
    assert [f"{file}::{test}" for file, test in named if test not in functions_of(file)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_line_says_what_happens(row: str) -> None:
    _, what, happens, _, tests, _ = row.split(" | ".strip())
    assert what.strip()
    assert happens.strip()
    assert tests.count("::") == len(TEST_ID.findall(tests))
