"""What holds for every shell script of ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = [
    path
    for folder in ("isobuilder", "tests", "tools", ".ci")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file()
    and path.suffix not in {".py", ".pyc"}
    and path.read_bytes()[:2] == b"#!"
    and b"pipefail" in path.read_bytes()
]
LEAVES_EARLY = re.compile(r"\| *(?:head\b|grep (?:-\S+ )*-[a-zA-Z]*[qm]|sed [^|]*\bq\b)")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_at_the_end_of_a_pipe_leaves_before_all_is_said(path: Path) -> None:
    # Who still writes then fails, now and then, and with pipefail the whole pipe: `ctr --help |
    # grep -q` said no in one of ten starts of a busy machine.
    lines = path.read_text(encoding="utf-8").splitlines()
    wrong = [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if LEAVES_EARLY.search(line) and not line.lstrip().startswith("#")
    ]
    assert not wrong
