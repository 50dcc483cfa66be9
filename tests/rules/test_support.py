"""Until when a minor is mended is known from one table, with its sources, or not known."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from isobuilder.pipeline.shipped import shipped
from isobuilder.rules.support import end_notice, end_of_life, ended, ends, version_order


def test_the_end_of_life_of_a_minor_is_known_or_not() -> None:
    assert end_of_life("1.34.12") == date(2026, 10, 27)
    assert end_of_life("1.37.1") == date(2027, 10, 28)
    assert end_of_life("1.31.14") == date(2025, 11, 11)
    assert end_of_life("1.99.0") is None
    assert end_of_life("1.34.12", {}) is None


def test_what_is_older_than_the_table_ended_no_later_than_its_oldest() -> None:
    oldest = min(ends(), key=version_order)
    assert end_of_life("1.2.1") == end_of_life("0.9") == ends()[oldest]


def test_every_shipped_version_has_its_end() -> None:
    assert [str(item.version) for item in shipped() if end_of_life(str(item.version)) is None] == []


@pytest.mark.parametrize(
    ("days", "said"),
    [(-1, "ended on 2027-02-28"), (0, "ends on 2027-02-28"), (60, "ends on 2027-02-28"), (61, "")],
)
def test_an_end_is_told_from_two_months_before_on(days: int, said: str) -> None:
    today = date(2027, 2, 28) - timedelta(days=days)
    notice = end_notice("1.35.9", today) or ""
    assert said in notice
    assert bool(notice) is bool(said)
    assert (ended("1.35.9", today) is not None) is (days < 0)
