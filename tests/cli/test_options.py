"""The options that every command takes, before its name and after it."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from isobuilder.cli.progress import Lines
from isobuilder.store import Store
from tests.cli.calling import call, errors
from tests.pipeline.world import Locked, World


def shown(*arguments: str | Path, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(
        call(*arguments, "config", "show", "--json", env=env).stdout
    )
    return found


def test_flag_variable_file_and_default_win_in_this_order(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("jobs: 2\nper_host: 2\nretries: 2\n")
    env = {"ISOBUILDER_JOBS": "3", "ISOBUILDER_PER_HOST": "3"}
    found = shown("--config", file, "--jobs", "4", env=env)
    assert found["jobs"] == {"value": 4, "origin": "--jobs"}
    assert found["per_host"] == {"value": 3, "origin": "ISOBUILDER_PER_HOST"}
    assert found["retries"] == {"value": 2, "origin": f"{file}:3:1"}
    assert found["offline"] == {"value": False, "origin": "default"}


def test_a_settings_file_named_by_flag_wins_over_one_named_by_variable(tmp_path: Path) -> None:
    flag, variable = tmp_path / "flag.yaml", tmp_path / "variable.yaml"
    flag.write_text("jobs: 2\n")
    variable.write_text("jobs: 3\n")
    env = {"ISOBUILDER_CONFIG": str(variable)}
    assert shown(env=env)["jobs"]["value"] == 3
    assert shown("--config", flag, env=env)["jobs"]["value"] == 2
    after = call("config", "show", "--json", "--config", flag, env=env)
    assert json.loads(after.stdout)["jobs"]["value"] == 2


def test_a_flag_after_the_command_wins_over_one_before_it() -> None:
    done = call("--jobs", "2", "config", "show", "--json", "--jobs", "3")
    assert json.loads(done.stdout)["jobs"]["value"] == 3


def test_every_flag_of_a_setting_is_shown_with_its_origin() -> None:
    found = shown("--store", "s", "-j", "1", "--per-host", "1", "--limit-rate", "20M", "--offline")
    origins = {name: entry["origin"] for name, entry in found.items()}
    assert {name for name, origin in origins.items() if origin.startswith("--")} == {
        *("store", "jobs", "per_host", "limit_rate", "offline")
    }
    assert found["limit_rate"]["value"] == 20 * 1024 * 1024


def test_settings_are_shown_as_a_table(world: World) -> None:
    lines = call("config", "show", "--config", world.config_file).stdout.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "ORIGIN"]
    assert any(line.split() == ["jobs", "16", "default"] for line in lines)
    assert any(world.upstream.url in line and "https://dl.k8s.io" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "env", "error"),
    [
        (["--limit-rate", "abc"], {}, "--limit-rate: .*got 'abc'"),
        ([], {"ISOBUILDER_JOBS": "many"}, "ISOBUILDER_JOBS: .*'many'"),
        ([], {"ISOBUILDER_OFFLINE": "maybe"}, "ISOBUILDER_OFFLINE: .*'maybe'"),
        ([], {"ISOBUILDER_MIRRORS": "nonsense"}, "ISOBUILDER_MIRRORS"),
    ],
)
def test_a_wrong_setting_is_named_with_its_origin(
    arguments: list[str], env: dict[str, str], error: str
) -> None:
    done = call(*arguments, "config", "show", env=env, code=3)
    assert done.stdout == ""
    assert re.search(error, errors(done)[0]), done.stderr


# --- how much is said


@pytest.mark.parametrize("place", ["before", "after"])
def test_vv_logs_requests_wherever_it_stands(
    world: World, locked: Locked, tmp_path: Path, place: str
) -> None:
    fetch: list[str | Path] = ["fetch", locked.path, "--config", world.config_file]
    fetch += ["--store", tmp_path / place]
    done = call(*(["-vv", *fetch] if place == "before" else [*fetch, "-vv"]))
    assert "DEBUG: isobuilder" in done.stderr
    assert f"{world.upstream.url}/dl.k8s.io/release" in done.stderr


def test_without_v_nothing_is_logged(world: World, locked: Locked, tmp_path: Path) -> None:
    done = call("fetch", locked.path, "--config", world.config_file, "--store", tmp_path / "s")
    assert "DEBUG" not in done.stderr
    assert "INFO" not in done.stderr


def test_quiet_prints_the_result_only(world: World, locked: Locked, tmp_path: Path) -> None:
    done = call(
        *("-q", "build", locked.path, "--config", world.config_file),
        *("--store", tmp_path / "store", "--out", tmp_path),
    )
    assert done.stderr == ""
    assert done.stdout == f"{tmp_path / 'kubernetes-v1.34.12-mold-cks-amd64-r1.iso'}\n"


def test_quiet_still_prints_errors(tmp_path: Path) -> None:
    file = tmp_path / "no.lock.json"
    file.write_text("{")
    assert errors(call("fetch", file, "-q", code=3))


# --- how long work looks


def built_with(style: str, world: World, locked: Locked, tmp_path: Path) -> str:
    done = call(
        *("build", locked.path, "--config", world.config_file, "--store", tmp_path / "store"),
        *("--out", tmp_path, "--progress", style),
    )
    assert done.stdout.splitlines() == [str(next(tmp_path.glob("*.iso")))]
    return done.stderr


def test_progress_plain_is_one_line_a_stage(world: World, locked: Locked, tmp_path: Path) -> None:
    lines = built_with("plain", world, locked, tmp_path).splitlines()
    assert lines.pop(0) == "warning: upstream's support of Kubernetes 1.34 ended on 2026-10-27"
    assert lines[0].startswith("fetching into ")
    assert lines[1].startswith("writing ")
    assert lines[2].startswith("built: sha256:")


def test_progress_none_says_only_what_happened(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    said = built_with("none", world, locked, tmp_path)
    assert [line.partition(":")[0] for line in said.splitlines()] == ["warning", "built"]


def test_progress_auto_is_plain_where_there_is_no_terminal(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    _warning, line, *_rest = built_with("auto", world, locked, tmp_path).splitlines()
    assert line.startswith("fetching into ")


def test_progress_json_is_one_object_a_line_and_adds_up(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    events = [json.loads(line) for line in built_with("json", world, locked, tmp_path).splitlines()]
    assert {event["event"] for event in events} >= {"step", "start", "done", "message"}
    done = {event["name"]: event for event in events if event["event"] == "done"}
    size = next(file.size for file in locked.lock.files if file.name == "kubeadm")
    assert done["kubeadm"]["count"] == done["kubeadm"]["total"] == size
    assert {event["name"] for event in events if event["event"] == "start"} == set(done)


def test_progress_bar_writes_bars_to_stderr_only(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    assert "fetching into " in built_with("bar", world, locked, tmp_path)


def test_progress_can_be_chosen_by_variable(world: World, locked: Locked, tmp_path: Path) -> None:
    done = call(
        *("fetch", locked.path, "--config", world.config_file, "--store", tmp_path / "store"),
        env={"ISOBUILDER_PROGRESS": "json"},
    )
    assert json.loads(done.stderr.splitlines()[0])["event"] == "step"


def test_v_tells_what_lock_fetch_and_build_do(world: World, locked: Locked, tmp_path: Path) -> None:
    recipe = Path(shutil.copy(world.recipe, tmp_path))
    shared = ("--config", world.config_file, "--store", tmp_path / "store", "-v")
    told = call("lock", recipe, "--arch", "amd64", *shared).stderr
    assert "kubeadm: sha256:" in told
    assert "kubeadm.sha256" in told
    assert "registry.k8s.io/pause:3.10.1: sha256:" in told
    told = call("fetch", recipe, *shared).stderr
    assert re.search(r"INFO: .*registry.k8s.io/pause.*: \d+ bytes from 127.0.0.1", told)
    told = call("build", recipe, "--out", tmp_path, *shared).stderr
    assert f"the lock in {tmp_path / locked.path.name}" in told
    assert f"from the lock {locked.lock.digest}" in told


def test_all_downloads_are_summed_up(world: World, locked: Locked, tmp_path: Path) -> None:
    done = call(
        *("fetch", locked.path, "--config", world.config_file, "--store", tmp_path / "store"),
        *("--progress", "json"),
    )
    events = [json.loads(line) for line in done.stderr.splitlines()]
    ended = {event["name"]: event for event in events if event["event"] == "done"}
    (name,) = (name for name in ended if re.fullmatch(r"\d\d downloads", name))
    each = [event["count"] for other, event in ended.items() if "downloads" not in other]
    assert ended[name]["count"] == ended[name]["total"]
    assert ended[name]["total"] >= max(each)


def test_plain_progress_tells_sizes_and_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    out = io.StringIO()
    work = Lines(out).start("12 downloads", total=4 * 1024**2)
    now[0] = 30.0
    work.advance(1024**2)
    assert out.getvalue() == "  12 downloads: 1.0 MiB of 4.0 MiB, 1 min 30 s left\n"


def test_settings_show_the_store_that_is_used(tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    assert shown(env=env)["store"] == {"value": str(tmp_path / "isobuilder"), "origin": "default"}


def test_how_many_isos_are_done_is_told_where_there_are_several(
    world: World, locked: Locked, full_store: Store, tmp_path: Path
) -> None:
    other = locked.lock.model_copy(update={"revision": 7})
    second = tmp_path / "second.amd64.lock.json"
    second.write_bytes(other.to_bytes())
    config = ("--config", world.config_file, "--store", full_store.root, "--progress", "json")
    for paths, count in (((locked.path,), None), ((locked.path, second), 2)):
        done = call("build", *paths, *config, "--out", tmp_path / f"{len(paths)}")
        events = [json.loads(line) for line in done.stderr.splitlines()]
        ended = [one for one in events if one["event"] == "done" and one["name"] == "ISOs"]
        assert [one["count"] for one in ended] == ([] if count is None else [count])


@pytest.mark.parametrize("number", ["٤", "1_0", "four", "9" * 5000])
def test_numbers_of_options_are_in_plain_digits(number: str) -> None:
    for words in (("-j", number, "store", "path"), ("mold", "simulate", "--port", number)):
        assert "expected a whole number, got " in errors(call(*words, code=2))[0]
