"""``isobuilder upstream`` and what the rules say of recipes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.model.loading import load_recipe
from tests.cli.calling import call
from tests.fakes.timeline import Timeline


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Path]:
    """Settings that lead to upstream as it was on the last day of its timeline."""
    with Timeline("2026-11-28") as timeline:
        text = {"mirrors": timeline.mirrors, "retries": 0, "store": str(tmp_path / "store")}
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(text))
        yield path


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


def test_list_shows_minors_and_lines_of_components(settings: Path) -> None:
    out = call("upstream", "list", "--config", settings).stdout
    rows = [line.split() for line in out.splitlines()]
    assert ["1.37", "1.37.2", "2026-10-27", "2027-10-28", "1.37.1"] in rows
    assert ["containerd", "2.3", "2.3.7", "2026-10-13", "2028-04-30"] in rows
    found = json.loads(call("upstream", "list", "--config", settings, "--json").stdout)
    assert {row["minor"] for row in found["kubernetes"]} == {"1.34", "1.35", "1.36", "1.37"}


def test_check_ends_with_9_when_there_is_something_to_do_and_only_if_asked(settings: Path) -> None:
    call("upstream", "check", "--config", settings)
    done = call("upstream", "check", "--config", settings, "--exit-code", code=9)
    assert "containerd 2.3.6 could be 2.3.7" in done.stdout
    assert "wait: 1.37.2: Kubernetes 1.37.2 is out" in done.stdout  # its files are not there
    assert "not whole: amd64: kubeadm" in done.stdout


def test_check_speaks_to_machines_and_to_merge_requests(settings: Path) -> None:
    found = json.loads(call("upstream", "check", "--config", settings, "--json").stdout)
    assert {one["level"] for one in found} <= {"todo", "wait", "warning", "notice"}
    assert "1.37.2" in {one["subject"] for one in found}
    rows = call("upstream", "check", "--config", settings, "--markdown").stdout.splitlines()
    assert len(rows) == len(found) + 2
    assert all(row.startswith(("| ", "|-")) for row in rows)


def test_propose_writes_a_recipe_that_is_good(settings: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    assert (
        call("upstream", "propose", "1.36", "--config", settings, "-o", path).stdout == f"{path}\n"
    )
    assert str(load_recipe(path).kubernetes) == "1.36.6"
    again = call("upstream", "propose", "1.36", "--config", settings, "-o", path, code=2)
    assert "is there already" in again.stderr


def test_propose_explains_each_number(settings: Path) -> None:
    out = call("upstream", "propose", "latest", "--explain", "--config", settings).stdout
    assert out.startswith("# Kubernetes 1.37.2\n")
    assert "| etcd | 3.7.0 | kubeadm 1.37.2 starts 3.7.0-0 |" in out
    found = json.loads(
        call("upstream", "propose", "v1.37.2", "--config", settings, "--json").stdout
    )
    assert found["version"] == "1.37.2"
    assert {one["component"] for one in found["choices"]} >= {"containerd", "runc", "etcd"}


def test_a_folder_without_recipes_has_nothing_to_begin_from(settings: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = call("upstream", "propose", "1.37", "--recipes", empty, "--config", settings, code=3)
    assert "no recipe to begin from" in done.stderr
