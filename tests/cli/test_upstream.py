"""``isobuilder upstream`` and what the rules say of recipes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.calling import call


def test_rules_are_printed_each_with_its_source() -> None:
    out = call("upstream", "rules").stdout
    assert "containerd-13529" in out
    assert "cannot start pods" in out
    found = json.loads(call("upstream", "rules", "--json").stdout)
    assert {row["source"] for row in found["known_bad"]} <= set(found["sources"])


def test_a_rule_of_ones_own_is_printed_in_place_of_ours(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        'schema: 1\nas_of: "2027-02-01"\nsources: {us: "we looked"}\n'
        'minors: [{minor: "1.38", released: "2026-12-16", source: us}]\n'
    )
    out = call("upstream", "rules", "--rules", own).stdout
    assert "minor 1.38, released 2026-12-16" in out
    assert "LOOKED UP ON 2027-02-01" in out


def test_rules_that_are_wrong_are_refused_with_their_place(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("schema: 1\nas_of: soon\nsources: {}\n")
    done = call("upstream", "rules", "--rules", own, code=3)
    assert "own.yaml:2:8: as_of" in done.stderr
