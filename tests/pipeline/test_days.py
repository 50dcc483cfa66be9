"""What upstream's stories come to, day by day, whole: what is noticed, and each proposal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipeline.days import DAYS, all_days

TESTS = Path(__file__).parents[1]
GOLDEN = TESTS / "golden" / "upstream" / "days.txt"


@pytest.fixture(scope="module")
def days() -> dict[str, str]:
    return all_days()


def golden() -> dict[str, str]:
    parts = GOLDEN.read_text("utf-8").split("== ")[1:]
    return {one[:10]: one[11:].rstrip("\n") for one in parts}


@pytest.mark.parametrize("day", DAYS)
def test_a_day_of_the_year_is_told_and_answered_as_it_was(day: str, days: dict[str, str]) -> None:
    assert days[day].rstrip("\n").splitlines() == golden()[day].splitlines()


def test_every_release_of_the_year_is_proposed_or_told_to_be_the_last_of_its_minor() -> None:
    text = GOLDEN.read_text("utf-8")
    facts = json.loads((TESTS / "facts" / "upstream-timeline.json").read_bytes())
    known = ("2026-10-27", "2026-12-16")  # days that no test may be on, and that are to come
    for row in facts["releases"]:
        version, day = row["version"], row["day"]
        if "-" in version or not "2025-11-02" <= day <= "2026-11-28" or day in known:
            continue
        told = (f"\npropose {version} from ", f"\nnotice new-patch {version}: ")
        assert any(one in text for one in told), row
