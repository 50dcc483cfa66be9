from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.pipeline.build import Built
from isobuilder.store import Store
from tests.cli.calling import call, errors, half_written, hints
from tests.pipeline.world import Locked, World

NAME = "kubernetes-v1.34.12-mold-cks-amd64-r1"


@pytest.fixture
def recipe(world: World, tmp_path: Path) -> Path:
    """The demo's recipe in a folder of its own, not locked yet."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    return Path(shutil.copy(world.recipe, folder))


def away(world: World, folder: Path) -> Path:
    """Settings that lead to an upstream that has gone."""
    config = folder / "away.yaml"
    mirrors = {origin: ["http://127.0.0.1:9/"] for origin in world.upstream.mirrors}
    settings = {"mirrors": mirrors, "retries": 0, "connect_timeout": 1}
    config.write_text(json.dumps(settings), encoding="utf-8")
    return config


# --- lock


def test_lock_prints_the_path_of_each_lock(world: World, recipe: Path, tmp_path: Path) -> None:
    shared = ("--config", world.config_file, "--store", tmp_path / "store")
    done = call("lock", recipe, *shared)
    locks = [
        recipe.with_name(f"kubernetes-1.34.12.{arch}.lock.json") for arch in ("amd64", "arm64")
    ]
    assert done.stdout.splitlines() == [str(path) for path in locks]
    assert "amd64: written" in done.stderr
    again = call("lock", recipe, *shared)
    assert again.stdout == done.stdout
    assert "amd64: unchanged" in again.stderr


def test_lock_with_an_output_takes_one_architecture(
    world: World, recipe: Path, tmp_path: Path
) -> None:
    done = call("lock", recipe, "-o", tmp_path / "x.json", "--config", world.config_file, code=2)
    assert "has 2 architectures" in errors(done)[0]
    assert "--arch" in hints(done)[0]


def test_an_architecture_that_upstream_lacks_does_not_cost_the_other_its_lock(
    world: World, recipe: Path, tmp_path: Path
) -> None:
    text = recipe.read_text()
    address = "bin/linux/{{ arch }}/kubeadm"
    assert address in text
    branch = "bin/linux/{{ 'amd64' if arch == 'amd64' else 'nowhere' }}/kubeadm"
    recipe.write_text(text.replace(address, branch))
    done = call(
        "lock", recipe, "--config", world.config_file, "--store", tmp_path / "store", code=7
    )
    assert done.stdout.splitlines() == [str(recipe.with_name("kubernetes-1.34.12.amd64.lock.json"))]
    assert "nowhere/kubeadm.sha256: the server answered 404" in errors(done)[0]
    assert errors(done)[1] == "error: 1 of 2 failed, the others are done"


def test_update_names_what_is_known(world: World, recipe: Path, tmp_path: Path) -> None:
    arguments = ("lock", recipe, "--arch", "amd64", "--update", "kubelett")
    shared = ("--config", world.config_file, "--store", tmp_path / "store")
    assert (
        "run isobuilder lock without --update first" in hints(call(*arguments, *shared, code=3))[-1]
    )


def test_update_of_a_name_that_is_mistyped_gets_the_nearest(
    world: World, recipe: Path, tmp_path: Path
) -> None:
    shared = ("--config", world.config_file, "--store", tmp_path / "store")
    call("lock", recipe, "--arch", "amd64", *shared)
    done = call("lock", recipe, "--arch", "amd64", "--update", "kubelett", *shared, code=3)
    assert hints(done)[-1].startswith("hint: did you mean 'kubelet'? names are ")


def test_a_replacement_that_replaces_nothing_is_told(
    world: World, recipe: Path, tmp_path: Path
) -> None:
    text = recipe.read_text()
    assert "  replace:" in text
    recipe.write_text(
        text.replace("  replace:", "  replace:\n    example.com/gone:1: example.com/here:1", 1)
    )
    shared = ("--config", world.config_file, "--store", tmp_path / "store")
    done = call("lock", recipe, "--arch", "amd64", *shared)
    assert "no manifest has example.com/gone:1" in done.stderr


# --- plan and fetch


def test_plan_tells_what_is_missing_and_then_what_is_cached(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    store = ("--store", tmp_path / "store")
    before = call("plan", locked.path, *store).stdout
    assert before.splitlines()[0].split() == ["KIND", "NAME", "SIZE", "DOWNLOAD"]
    assert "cached" not in before
    data = json.loads(call("plan", locked.path, "--json", *store).stdout)
    assert data["download"] == sum(item["missing"] for item in data["items"]) > 0
    assert data["disk"] == data["download"] + data["iso"]
    done = call("fetch", locked.path, "--config", world.config_file, *store)
    assert done.stdout == ""
    after = json.loads(call("plan", locked.path, "--json", *store).stdout)
    assert after["download"] == 0


def test_a_recipe_without_a_lock_cannot_be_planned_or_fetched_yet(recipe: Path) -> None:
    for command in ("plan", "fetch"):
        done = call(command, recipe, "--arch", "amd64", code=3)
        assert errors(done) == [f"error: {recipe}: no lock for amd64"]
        assert hints(done) == [f"hint: run isobuilder lock {recipe} --arch amd64"]


def test_a_recipe_without_locks_keeps_nothing_in_a_store(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    done = call("store", "gc", recipe, "--store", tmp_path / "store", code=3)
    assert errors(done)[0].startswith(f"error: {recipe}: no lock for ")
    assert f"isobuilder lock {recipe}" in hints(done)[0]


def test_an_iso_where_a_lock_belongs_is_told_as_such(built: Built) -> None:
    for command in ("plan", "fetch", "build"):
        done = call(command, built.iso, code=3)
        assert errors(done)[0].endswith("got an ISO")
        assert f"isobuilder inspect {built.iso}" in hints(done)[0]


# --- build


def test_build_locks_a_recipe_that_has_no_lock_and_prints_the_iso(
    world: World, recipe: Path, built: Built, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = call(
        *("build", recipe, "--arch", "amd64", "--out", out),
        *("--config", world.config_file, "--store", tmp_path / "store"),
    )
    iso = out / f"{NAME}.iso"
    assert done.stdout == f"{iso}\n"
    assert Digest.of_file(iso) == built.digest
    assert recipe.with_name("kubernetes-1.34.12.amd64.lock.json").exists()


def test_build_json_names_iso_digest_and_side_files(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    arguments = ("build", locked.path, "--offline", "--store", full_store.root, "--out", tmp_path)
    found = json.loads(call(*arguments, "--json").stdout)
    assert [entry["digest"] for entry in found] == [built.digest]
    assert all(Path(path).is_file() for path in found[0]["side_files"])
    assert [entry["reused"] for entry in json.loads(call(*arguments, "--json").stdout)] == [True]


def test_build_says_whether_it_built(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    arguments = ("build", locked.path, "--offline", "--store", full_store.root, "--out", tmp_path)
    assert f"built: {built.digest}" in call(*arguments).stderr
    assert f"unchanged: {built.digest}" in call(*arguments).stderr
    assert f"built: {built.digest}" in call(*arguments, "--force").stderr


def test_build_takes_another_revision(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    shared = ("build", locked.path, "--offline", "--store", full_store.root, "--out", tmp_path)
    assert call(*shared, "--revision", "r7").stdout.strip().endswith("amd64-r7.iso")
    note = json.loads(next(tmp_path.glob("*.registration.json")).read_bytes())
    assert note["name"].endswith("r7") or "r7" in json.dumps(note)
    for wrong in ("r0", "x", "7r", "r-1", "r٣", "r1000001"):
        assert "expected r and a number" in errors(call(*shared, "--revision", wrong, code=2))[0]


def test_build_check_says_reproduced_and_refuses_what_is_not(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    shared = ("build", locked.path, "--offline", "--store", full_store.root, "--check")
    assert f"reproduced: {built.iso} is {built.digest}" in call(*shared, built.iso).stderr
    copy = tmp_path / "copy.iso"
    copy.write_bytes(built.iso.read_bytes()[:-1] + b"!")
    assert "not reproduced" in errors(call(*shared, copy, code=5))[0]


def test_locked_refuses_a_recipe_without_a_lock(recipe: Path) -> None:
    done = call("build", recipe, "--locked", "--arch", "amd64", code=3)
    assert errors(done) == [f"error: {recipe}: no lock for amd64"]
    assert hints(done) == [f"hint: run isobuilder lock {recipe} --arch amd64"]


def test_a_lock_of_another_architecture_is_refused(locked: Locked) -> None:
    done = call("build", locked.path, "--arch", "arm64", code=3)
    assert "is for amd64, --arch asks for arm64" in errors(done)[0]


@pytest.mark.parametrize("command", ["build", "lock", "plan", "fetch", "verify", "inspect"])
def test_a_folder_or_nothing_at_all_is_a_usage_error(command: str, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.yaml"):
        done = call(command, path, code=2)
        assert done.stdout == ""
        assert str(path) in errors(done)[0]
        assert hints(done) == [f"hint: main {command} --help tells what it takes"]


def test_one_lock_that_cannot_be_built_does_not_keep_the_others_from_it(
    world: World, locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    stale = locked.lock.files[0].model_copy(update={"sha256": Digest.of(b"gone")})
    files = (stale, *locked.lock.files[1:])
    bad = tmp_path / "bad.lock.json"
    bad.write_bytes(locked.lock.model_copy(update={"files": files, "revision": 2}).to_bytes())
    shared = ("--offline", "--store", full_store.root, "--out", tmp_path / "out")
    done = call("build", bad, locked.path, *shared, code=7)
    assert done.stdout == f"{tmp_path / 'out' / NAME}.iso\n"
    assert "offline, and the store" in errors(done)[0]
    found = json.loads(call("build", bad, locked.path, "--json", *shared, code=7).stdout)
    assert [entry["digest"] for entry in found] == [built.digest]


def test_a_lock_that_was_changed_by_hand_does_not_get_other_bytes_in(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    text = locked.path.read_text()
    kubeadm = next(file for file in locked.lock.files if file.name == "kubeadm")
    wrong = tmp_path / "wrong.lock.json"
    wrong.write_text(text.replace(kubeadm.sha256, Digest.of(b"another")))
    done = call(
        *("build", wrong, "--config", world.config_file),
        *("--store", tmp_path / "store", "--out", tmp_path / "out"),
        code=5,
    )
    assert f"expected {Digest.of(b'another')}, got {kubeadm.sha256}" in errors(done)[0]
    assert list((tmp_path / "out").iterdir()) == []
    assert half_written(tmp_path / "store") == []


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"schema": 1', '"schema": 2', "schema"),
        ('"revision": 1', '"revision": "1"', "revision"),
        ('"kubernetes": "1.34.12"', '"kubernetes": "1.34"', "kubernetes"),
        ('"files": [', '"fles": [', "unknown key 'fles'"),
        ("sha256:", "sha512:", "sha256"),
        ('  "epoch"', '\t"epoch\u0000"', "U+0000"),
        ("{", "", "JSON"),
    ],
)
def test_a_lock_that_is_no_lock_any_more_is_refused_with_line_and_column(
    locked: Locked, tmp_path: Path, old: str, new: str, error: str
) -> None:
    path = tmp_path / "edited.lock.json"
    text = locked.path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    done = call("build", path, "--out", tmp_path / "out", code=3)
    assert any(f"{path}:" in line and error in line for line in errors(done)), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_lock_that_does_not_answer_its_recipe_is_refused_with_the_command_to_run(
    world: World, recipe: Path, tmp_path: Path
) -> None:
    shared = ("--config", world.config_file, "--store", tmp_path / "store")
    call("lock", recipe, "--arch", "amd64", *shared)
    recipe.write_text(recipe.read_text().replace('crictl: "1.34.0"', 'crictl: "1.34.1"'))
    done = call("build", recipe, "--arch", "amd64", "--out", tmp_path / "out", *shared, code=3)
    assert any("1.34.1" in line for line in errors(done))
    assert hints(done) == [f"hint: run isobuilder lock {recipe} --arch amd64"]
    assert not (tmp_path / "out").exists()


# --- places that cannot be written, and an upstream that is away


def test_a_recipe_in_a_read_only_folder_is_told_before_anything_is_asked(
    world: World, recipe: Path, tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    read_only(recipe.parent)
    config = away(world, tmp_path)  # whoever asks gets another error
    for command in (("lock", recipe), ("build", recipe, "--out", tmp_path / "out")):
        done = call(*command, "--arch", "amd64", "--config", config, code=6)
        assert f"{recipe.parent}/kubernetes-1.34.12.amd64.lock.json: the lock cannot" in done.stderr
        assert f"isobuilder lock {recipe} --arch amd64 --output FILE" in hints(done)[-1]


def test_an_output_folder_that_is_read_only_is_named(
    locked: Locked,
    built: Built,
    full_store: Store,
    tmp_path: Path,
    read_only: Callable[[Path], None],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    read_only(out)
    done = call(
        *("build", locked.path, "--offline", "--store", full_store.root, "--out", out), code=6
    )
    assert str(out) in errors(done)[0]
    assert "writable" in hints(done)[0]
    assert list(out.iterdir()) == []


def test_a_full_disk_under_the_output_is_named(
    locked: Locked, built: Built, full_store: Store, small_disk: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes(900_000))
    arguments = ("build", locked.path, "--offline", "--store", full_store.root)
    done = call(*arguments, "--out", small_disk / "out", code=6)
    assert str(small_disk) in errors(done)[0]
    assert "free space" in hints(done)[0]
    assert [path.name for path in small_disk.rglob("*.iso*")] == []


def test_a_full_disk_under_the_store_is_named_and_the_same_command_goes_on(
    world: World, locked: Locked, small_disk: Path, tmp_path: Path
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_040_000))
    arguments = ("fetch", locked.path, "--config", world.config_file)
    store = small_disk / "store"
    done = call(*arguments, "--store", store, code=6)
    assert str(small_disk) in errors(done)[0]
    assert "free space" in hints(done)[0]
    filler.unlink()
    call(*arguments, "--store", store)
    assert half_written(store) == []


def test_an_upstream_that_is_away_is_told_with_the_place_and_what_to_do(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    shared = ("--config", away(world, tmp_path), "--store", tmp_path / "store")
    done = call("fetch", locked.path, *shared, code=4)
    assert "http://127.0.0.1:9/" in errors(done)[0]
    assert "Connection refused" in errors(done)[0]
    assert "run the same command again" in hints(done)[-1]


def test_offline_names_what_is_missing(locked: Locked, tmp_path: Path) -> None:
    done = call(
        *("build", locked.path, "--offline", "--store", tmp_path / "s", "--out", tmp_path / "o"),
        code=6,
    )
    assert "lacks 25 things: kubeadm" in errors(done)[0]
    assert "--store" in hints(done)[0]


def test_the_checksum_beside_the_iso_is_one_that_sha256sum_reads(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    call("build", locked.path, "--offline", "--store", full_store.root, "--out", tmp_path)
    subprocess.run(["sha256sum", "-c", "--strict", f"{NAME}.iso.sha256"], cwd=tmp_path, check=True)
