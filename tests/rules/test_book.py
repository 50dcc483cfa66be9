"""The book of rules: each with a source, and a file of one's own on top."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion
from isobuilder.rules.book import Least, RuleBook, read_rules, shipped_rules

OWN = """
schema: 1
as_of: "2027-01-05"
sources: {ours: "what our own tests said on 2027-01-04"}
minors:
  - {minor: "1.37", released: "2026-08-26", end: "2027-12-01", source: ours}
pairings:
  - {first: "1.36.6", last: "1.36.6", etcd: 3.6.9-0, coredns: v1.14.2, pause: 3.10.2, source: ours}
"""


def own(tmp_path: Path, text: str = OWN) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    return path


def test_every_shipped_rule_names_a_source_that_is_told_and_every_source_is_used() -> None:
    book = shipped_rules()
    used = {
        row.source
        for name in RuleBook.model_fields
        if isinstance(rows := getattr(book, name), tuple)
        for row in rows
    }
    assert used | {book.skew.source if book.skew else ""} == set(book.sources)


def test_no_two_shipped_rules_are_about_the_same_thing() -> None:
    book = shipped_rules()
    for name in RuleBook.model_fields:
        rows = getattr(book, name)
        if isinstance(rows, tuple):
            about = [row.about for row in rows]
            assert len(about) == len(set(about)), name


def test_minors_are_released_before_they_end() -> None:
    for row in shipped_rules().minors:
        days = [day for day in (row.released, row.maintenance, row.end) if day is not None]
        assert days == sorted(days), row


def test_a_minor_has_ended_on_the_day_after_its_last() -> None:
    minor = shipped_rules().minor("1.34")
    assert minor is not None
    assert not minor.ended(date(2026, 10, 27))
    assert minor.ended(date(2026, 10, 28))


def test_a_row_of_ones_own_takes_the_place_of_ours_and_others_stay(tmp_path: Path) -> None:
    book = read_rules(own(tmp_path))
    minor = book.minor("1.37")
    assert minor is not None
    assert minor.end == date(2027, 12, 1)
    pairing = book.pairing(KubeVersion("1.36.6"))
    assert pairing is not None
    assert pairing.etcd == "3.6.9-0"
    assert book.pairing(KubeVersion("1.36.5")) == shipped_rules().pairing(KubeVersion("1.36.5"))
    assert book.as_of == date(2027, 1, 5)


def test_rules_may_be_json_too(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"schema": 1, "as_of": "2027-01-05", "sources": {}}))
    assert read_rules(path).as_of == date(2027, 1, 5)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("source: ours}\npair", "source: theirs}\npair", "the source 'theirs' is not among"),
        ('end: "2027-12-01"', "end: soon", "minors[0].end"),
        ('minor: "1.37"', 'minor: "37"', "minors[0].minor"),
        ('last: "1.36.6"', 'last: "1.36"', "pairings[0].last"),
        ("etcd: 3.6.9-0", "ectd: 3.6.9-0", "unknown key 'ectd'"),
        ("schema: 1", "schema: 2", "schema"),
    ],
)
def test_what_is_wrong_with_a_file_of_rules_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert old in OWN
    with pytest.raises(InputErrors) as caught:
        read_rules(own(tmp_path, OWN.replace(old, new)))
    assert told in str(caught.value)
    assert "rules.yaml:" in str(caught.value)


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("2.1.3", True),
        ("2.1.2", False),
        ("2.0.6", True),
        ("1.7.28", True),
        ("1.7.27", False),
        ("1.6.38", False),
        ("2.2.0", True),
        ("3.0.0", True),
        ("1.8.0", False),
        ("1.5.18", False),
    ],
)
def test_a_least_version_counts_in_its_line_and_newer_lines_are_good(
    version: str, good: bool
) -> None:
    row = Least(
        component="containerd",
        kubernetes="1.34",
        any_of=tuple(map(ReleaseVersion, ("2.1.3", "2.0.6", "1.7.28", "1.6.39"))),
        source="x",
    )
    assert row.allows(ReleaseVersion(version)) is good


@pytest.mark.parametrize(
    ("version", "facts"),
    [
        ("1.29.4", []),
        ("1.34.12", ["kernel 4.19", "containerd 2.1.3 of 2.1 or 2.0.6 of 2.0 or 1.7.28"]),
        ("1.36.5", ["kernel 4.19", "cgroup v2: the kubelet", "containerd 2.3.0 of 2.3 or 2.2.0"]),
        ("1.99.0", ["kernel 4.19", "cgroup v2: the kubelet", "containerd 2.4.0 of 2.4 or 2.3.0"]),
    ],
)
def test_what_nodes_need_is_the_newest_word_on_each_thing(version: str, facts: list[str]) -> None:
    found = shipped_rules().node_needs(KubeVersion(version))
    assert len(found) == len(facts)
    assert all(fact.startswith(begin) for fact, begin in zip(found, facts, strict=True))
