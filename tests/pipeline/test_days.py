"""What upstream's stories come to, day by day, whole: what is noticed, and each proposal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipeline.days import all_days

TESTS = Path(__file__).parents[1]
GOLDEN = TESTS / "golden" / "upstream" / "days.txt"


@pytest.mark.slow
def test_each_day_of_the_year_is_told_and_answered_as_it_was() -> None:
    """One test for all of them: who looks remembers the days before."""
    days = GOLDEN.read_text("utf-8").split("== ")[1:]
    golden = {one[:10]: one[11:].rstrip("\n").splitlines() for one in days}
    assert {day: text.splitlines() for day, text in all_days().items()} == golden


def test_every_release_of_the_year_is_proposed_or_told_to_be_the_last_of_its_minor() -> None:
    text = GOLDEN.read_text("utf-8")
    facts = json.loads((TESTS / "facts" / "upstream-timeline.json").read_bytes())
    wanted = [
        row["version"]
        for row in facts["releases"]
        if "-" not in row["version"] and "2025-11-02" <= row["day"] <= "2026-11-28"
    ]
    assert len(wanted) > 40
    for version in wanted:
        told = (f"\npropose {version} from ", f"\nnotice new-patch {version}: ")
        assert any(one in text for one in told), version
