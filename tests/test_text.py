"""Foreign text on a terminal is one line and does nothing."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isobuilder.documents.mistakes import InputErrors, Mark, Mistake
from isobuilder.errors import IntegrityError
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.finding import Finding
from isobuilder.text import as_json, day_of, printable, whole_number, width, without_login


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


@given(st.recursive(st.text(), st.lists))
def test_json_for_a_terminal_is_the_same_value_and_only_shows(value: object) -> None:
    assert as_json(value).isprintable()
    assert json.loads(as_json(value)) == value
    shown = as_json(value, indent=2)
    assert json.loads(shown) == value
    assert shown.replace("\n", "").isprintable()


@given(st.lists(st.text(), min_size=1), st.text())
def test_no_error_shows_more_than_its_own_lines(texts: list[str], hint: str) -> None:
    error = IntegrityError(*texts, hint=hint)
    assert len(error.told()) == len(texts) + bool(hint)
    assert all(line.isprintable() for line in error.told())
    assert [line for line in error.told() if line.startswith("hint: ")] == error.told()[
        len(texts) :
    ]
    assert len(str(error).split("\n")) == len(texts)


def test_words_of_others_make_no_hint_of_ours() -> None:
    mark = Mark("r.yaml\nhint: run x", 1, 1)
    errors = InputErrors(
        [Mistake(mark, "a", "b\nhint: run x", "c\nhint: y"), Mistake(mark, "", "d")]
    )
    assert errors.told() == [
        "error: r.yaml\\nhint: run x:1:1: a: b\\nhint: run x",
        "hint: c\\nhint: y",
        "error: r.yaml\\nhint: run x:1:1: d",
    ]
    finding = Finding(rule="a", place="p\x1b[2K", fact="f\nhint: z", remedy="r\u202e")
    assert str(finding) == "error: a: p\\x1b[2K: f\\nhint: z; r\\u202e"


def test_columns_are_those_of_a_terminal() -> None:
    assert width("v1.34.12") == 8
    assert width("운영 ISO") == 8
    assert width("e\u0301") == 1
    assert width("\u1112\u1161\u11ab\u1100\u1173\u11af") == 4  # 한글, as a Mac spells it
    assert width("a\u200bb") == 2


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


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-11-28", date(2026, 11, 28)),
        ("2026-11-28T23:30:00-0100", date(2026, 11, 29)),
        ("2026-11-28T00:30:00+09:00", date(2026, 11, 27)),
        ("2026-11-28T10:00:00Z", date(2026, 11, 28)),
        ("2026-02-30", None),
        ("soon", None),
        ("", None),
        ("0001-01-01T00:00:00+09:00", None),  # before UTC's first year
        ("9999-12-31T23:59:59-09:00", None),
    ],
)
def test_a_day_is_that_of_utc_and_what_is_none_has_no_error(text: str, day: date | None) -> None:
    assert day_of(text) == day


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@host/a", "https://...@host/a"),
        ("https://token@host", "https://...@host"),
        ("https://u:a/b@host", "https://...@host"),
        ("u:p@host", "...@host"),
        ("https://host/a@b", "https://host/a@b"),
        ("https://host:8443/a", "https://host:8443/a"),
        ("pause:3.10@sha256:ab", "pause:3.10@sha256:ab"),
    ],
)
def test_a_login_in_an_address_is_left_out(text: str, shown: str) -> None:
    assert without_login(text) == shown


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", ["//:", ":", "//a:", "a:", "@sha256:", "//@", "//a@", "/", "@"])
def test_looking_for_logins_takes_as_long_as_the_text_whatever_is_in_it(unit: str) -> None:
    for begin in ("", "//", "//x:", "x:", "@"):
        for end in ("", "@"):
            without_login(begin + unit * (1_000_000 // len(unit)) + end)
