"""Foreign text on a terminal is one line and does nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobuilder.formats.kube import KubeVersion
from isobuilder.text import printable, whole_number, width


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 쿠버네티스 ~*", "plain, 쿠버네티스 ~*"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("no\nhint: run curl x | sh", "no\\nhint: run curl x | sh"),
        ("a\r\u2028b\x85c", "a\\r\\u2028b\\x85c"),
        ("exe\u202egpj.iso", "exe\\u202egpj.iso"),
        ("a\u200bb\u00a0c\ufeff", "a\\u200bb\\xa0c\\ufeff"),
        ("half \ud800", "half \\ud800"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_act_on_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert printable("x" * 50, 10) == "xxxxxxx..."
    assert printable("x" * 10, 10) == "x" * 10
    assert len(printable("\n" * 10_000_000, 100)) == 100


@given(st.text(), st.integers(3, 50))
def test_whatever_comes_is_one_printable_line_of_that_length(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    assert len(shown.splitlines()) <= 1


def test_columns_are_those_of_a_terminal() -> None:
    assert width("v1.34.12") == 8
    assert width("운영 ISO") == 8
    assert width("e\u0301") == 1


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "1.0", "²", "1²", "٣", "9" * 19, "9" * 5000]
)
def test_what_int_would_not_take_or_nobody_means_is_no_number(text: str) -> None:
    assert whole_number(text) is None
    assert whole_number("007") == 7


@pytest.mark.parametrize("text", ["1.²", "1.34.²", "1.٣.4", "1.34." + "9" * 5000])
def test_a_version_has_plain_digits_and_not_thousands(text: str) -> None:
    with pytest.raises(ValueError, match="expected a Kubernetes version"):
        KubeVersion(text)
