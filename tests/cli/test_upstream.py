"""``isobuilder upstream`` and what the rules say of recipes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.cli import upstream
from isobuilder.model.loading import builtin_recipes, load_recipe
from tests.cli.calling import call
from tests.fakes.mold import FakeMold
from tests.fakes.timeline import Timeline
from tests.mold.conftest import ADMIN, clock, cloud, simulator

__all__ = ["clock", "cloud", "simulator"]


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


def test_a_recipe_that_is_none_keeps_list_and_propose_from_nothing(
    settings: Path, tmp_path: Path
) -> None:
    named = ("--recipes", builtin_recipes(), "--recipes", tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("x: [")
    listed = call("upstream", "list", *named, "--config", settings)
    assert "1.37" in listed.stdout
    assert "warning: bad.yaml: left out: " in listed.stderr
    proposed = call("upstream", "propose", "1.37.2", *named, "--config", settings)
    assert 'kubernetes: "1.37.2"' in proposed.stdout or "kubernetes: 1.37.2" in proposed.stdout


@pytest.mark.parametrize("text", ["abc\n", " abc "])
def test_a_token_of_a_file_with_its_last_newline_is_that_token(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", text)
    assert upstream._token() == "abc"
    monkeypatch.setenv("GITHUB_TOKEN", "\n")
    assert upstream._token() is None


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
    arguments = ("upstream", "propose", "1.36", "--config", settings)
    assert call(*arguments, "-o", path).stdout == f"{path}\n"
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


def test_propose_ends_with_7_where_what_it_wrote_could_not_be_locked(
    settings: Path, tmp_path: Path
) -> None:
    path = tmp_path / "new.yaml"
    arguments = ("upstream", "propose", "1.36", "--config", settings, "-o", path)
    done = call(*arguments, "--lock", code=7)
    assert done.stdout == f"{path}\n"
    path.unlink()
    assert "warning: arm64: not locked: " in call(*arguments).stderr
    assert "amd64: not locked: " in done.stderr
    assert "arm64: not locked: " in done.stderr
    assert f"isobuilder lock {path} tries again" in done.stderr


@pytest.mark.parametrize(
    ("text", "version"),
    [("latest", "1.37.2"), ("1.36", "1.36.6"), ("v1.35.10", "1.35.10"), ("1.37.2", "1.37.2")],
)
def test_a_new_recipe_is_for_what_a_person_calls_a_version(
    settings: Path, tmp_path: Path, text: str, version: str
) -> None:
    path = tmp_path / "new.yaml"
    call("recipe", "new", text, "--config", settings, "-o", path)
    assert str(load_recipe(path).kubernetes) == version
    written = path.read_text()
    for component in ("containerd 2.3.7", "runc 1.4.4", "etcd", "crictl", "cni-plugins"):
        assert f"# {component}" in written  # with its reason


def test_a_new_recipe_is_not_locked_where_nothing_is_written(settings: Path) -> None:
    done = call("recipe", "new", "1.37", "--config", settings, "--lock", code=2)
    assert "--lock is for what --output writes" in done.stderr


def test_check_tells_which_isos_nobody_built(settings: Path, tmp_path: Path) -> None:
    isos = tmp_path / "isos"
    isos.mkdir()
    arguments = ("upstream", "check", "--config", settings, "--isos", isos)
    name = "kubernetes-v1.37.1-mold-cks.boot-amd64-r1.iso"
    first = call(*arguments).stdout
    assert f"nobody built {name}" in first
    assert "no lock for arm64" in first
    assert "v1.34.12" not in first  # its minor has ended
    assert "no lock for arm64" not in call(*arguments, "--arch", "amd64").stdout
    for there in (name, name.replace(".boot", "")):  # one or the other will do
        (isos / there).write_bytes(b"")
        assert "kubernetes-v1.37.1" not in call(*arguments, "--arch", "amd64").stdout
        (isos / there).unlink()


def test_check_tells_which_versions_a_server_lacks_and_which_server_is_down(
    settings: Path, tmp_path: Path, simulator: FakeMold
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"api_key = {ADMIN.key}\nsecret_key = {ADMIN.secret}\n")
    keys.chmod(0o600)
    data = json.loads(settings.read_text())
    data["mold"] = {
        "lab": {"endpoint": simulator.endpoint, "key_file": str(keys)},
        "down": {"endpoint": "http://127.0.0.1:9/client/api", "key_file": str(keys)},
    }
    settings.write_text(json.dumps(data))
    found = json.loads(call("upstream", "check", "--config", settings, "--json").stdout)
    lacking = [one for one in found if one["kind"] == "not-registered"]
    assert {one["subject"] for one in lacking} == {"lab"}
    assert "has no Kubernetes 1.37.1 for amd64" in {one["fact"] for one in lacking}
    assert any(one["kind"] == "unreachable" and one["subject"] == "down" for one in found)
    only = call("upstream", "check", "--config", settings, "--server", "down", "--json").stdout
    assert not [one for one in json.loads(only) if one["kind"] == "not-registered"]
