"""What is shipped, by version; variants; names that are used already; what a lock changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.model.loading import load_lock
from isobuilder.pipeline.build import Built
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints
from tests.pipeline.world import Locked, World

PROJECT = Path(__file__).parents[2]
NAME = "kubernetes-v1.34.12-mold-cks-amd64-r1"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own folder, empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def release(world: World, locked: Locked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shipped release whose bytes the embedded upstream has: its recipe and amd64 lock."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    for path in (world.recipe, locked.path):
        shutil.copy(path, folder)
    monkeypatch.setattr("isobuilder.pipeline.shipped.builtin_recipes", lambda: folder)
    return folder


@pytest.fixture
def shared(world: World, full_store: Store, built: Built) -> tuple[str | Path, ...]:
    return ("--config", world.config_file, "--store", full_store.root)


def variant_of(recipe: Path, folder: Path, name: str, text: str) -> Path:
    path = folder / name
    folder.mkdir(exist_ok=True)
    path.write_text(recipe.read_text() + text)
    return path


# --- shipped recipes by version


def test_what_is_shipped_is_listed_with_its_locks() -> None:
    lines = [line.split() for line in call("recipe", "list").stdout.splitlines()]
    assert lines[0] == ["VERSION", "PROFILE", "FOR", "LOCKED", "FOR"]
    assert ["1.36.5", "mold-cks", "amd64,", "arm64", "amd64"] in lines
    found = json.loads(call("recipe", "list", "--json").stdout)
    assert [item["version"] for item in found] == [line[0] for line in lines[1:]]
    assert all(Path(item["recipe"]).is_file() for item in found)
    assert all(Path(path).is_file() for item in found for path in item["locks"].values())


def test_a_version_is_built_without_any_file_at_hand(
    release: Path, here: Path, built: Built, shared: tuple[str | Path, ...]
) -> None:
    done = call("build", "1.34.12", *shared)
    assert done.stdout == f"dist/{NAME}.iso\n"
    assert Digest.of_file(here / "dist" / f"{NAME}.iso") == built.digest
    assert "arm64: left out, 1.34.12 has no lock for it" in done.stderr
    assert "isobuilder lock 1.34.12 --arch arm64 makes one" in done.stderr
    call("fetch", "v1.34.12", *shared)
    assert f'"name": "{NAME}"' in call("plan", "1.34.12", "--json", *shared).stdout


def test_the_lock_of_a_version_goes_into_the_users_folder_and_is_found_there(
    release: Path, here: Path, shared: tuple[str | Path, ...]
) -> None:
    before = {path.name: path.read_bytes() for path in release.iterdir()}
    done = call("lock", "1.34.12", *shared)
    assert done.stdout.splitlines() == [
        f"kubernetes-1.34.12.{arch}.lock.json" for arch in ("amd64", "arm64")
    ]
    assert {path.name: path.read_bytes() for path in release.iterdir()} == before
    plans = json.loads(call("plan", "1.34.12", "--json", *shared).stdout)
    assert [plan["name"] for plan in plans] == [NAME, NAME.replace("amd64", "arm64")]


def test_a_version_that_is_not_shipped_is_refused_with_those_that_are() -> None:
    for command in ("build", "lock", "plan", "fetch"):
        done = call(command, "1.36.6", code=3)
        assert errors(done) == ["error: no recipe is shipped for Kubernetes 1.36.6"]
        assert "1.36.5" in hints(done)[0]
        assert "isobuilder recipe new" in hints(done)[0]
        assert "1.36.5" in hints(call(command, "1.36", code=3))[0]


def test_a_shipped_plan_says_that_sizes_are_not_known(tmp_path: Path) -> None:
    done = call("plan", "1.36.5", "--offline", "--store", tmp_path / "store")
    assert "of sizes that nobody here has seen yet" in done.stdout
    assert " 0 B" not in done.stdout


def test_a_plan_asks_how_large_things_are_and_downloads_none(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    lock = locked.lock
    unsized = lock.model_copy(
        update={
            "files": tuple(file.model_copy(update={"size": None}) for file in lock.files),
            "manifests": tuple(one.model_copy(update={"size": None}) for one in lock.manifests),
            "images": tuple(one.model_copy(update={"size": None}) for one in lock.images),
        }
    )
    path = tmp_path / "k.amd64.lock.json"
    path.write_bytes(unsized.to_bytes())
    words = ("plan", path, "--config", world.config_file, "--json", "--store")
    told = json.loads(call(*words, tmp_path / "new").stdout)
    fetched = json.loads(call(*words[:1], locked.path, *words[2:], tmp_path / "other").stdout)
    assert told["unknown"] == 0
    assert told["download"] > 0
    sizes = {item["name"]: item["size"] for item in told["items"] if item["kind"] != "image"}
    assert sizes == {i["name"]: i["size"] for i in fetched["items"] if i["kind"] != "image"}
    largest = max(blob.stat().st_size for blob in (tmp_path / "new").rglob("*") if blob.is_file())
    assert largest < min(size for name, size in sizes.items() if name.startswith("kube"))


def test_a_plan_without_an_answer_says_of_whom_and_has_the_rest(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    lock = locked.lock
    files = tuple(file.model_copy(update={"size": None}) for file in lock.files)
    path = tmp_path / "k.amd64.lock.json"
    path.write_bytes(lock.model_copy(update={"files": files}).to_bytes())
    config = tmp_path / "config.yaml"
    config.write_text('mirrors: {"https://dl.k8s.io": ["http://127.0.0.1:1"]}\n')
    done = call("plan", path, "--config", config, "--store", tmp_path / "store")
    assert "could not be asked for: " in done.stderr
    assert "127.0.0.1:1" in done.stderr
    assert "of unknown size" in done.stdout


def test_a_new_recipe_takes_a_v_and_says_which_patch_is_known() -> None:
    new = ("recipe", "new", "--offline")
    assert call(*new, "v1.35.9").stdout == call(*new, "1.35.9").stdout
    assert "1.35.9" in hints(call(*new, "1.35", code=3))[0]
    assert "1.37.1" in hints(call(*new, "latest", code=3))[0]


@pytest.mark.slow
def test_an_installed_wheel_has_recipes_and_locks(tmp_path: Path) -> None:
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", *options, PROJECT], check=True)
    site = tmp_path / "site"
    shutil.unpack_archive(next(tmp_path.glob("*.whl")), site, "zip")
    plan = ("plan", "1.36.5", "--offline", "--store", str(tmp_path / "store"))
    for words in (("recipe", "list"), plan):
        done = subprocess.run(
            [sys.executable, "-m", "isobuilder", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "1.36.5" in done.stdout


# --- variants


def test_a_variant_is_part_of_every_name(
    world: World, here: Path, shared: tuple[str | Path, ...]
) -> None:
    recipe = variant_of(world.recipe, here, "gpu.yaml", "variant: gpu\n")
    iso = Path(call("build", recipe, "--arch", "amd64", *shared).stdout.strip())
    assert iso.name == "kubernetes-v1.34.12-mold-cks.gpu-amd64-r1.iso"
    registration = json.loads(iso.with_suffix(".registration.json").read_bytes())
    assert registration["name"] == "v1.34.12-mold-cks.gpu-amd64-r1"
    assert registration["product_version"] == "1.34.12+mold-cks.gpu.r1"
    assert json.loads(iso.with_suffix(".manifest.json").read_bytes())["variant"] == "gpu"
    assert load_lock(here / "gpu.amd64.lock.json").variant == "gpu"
    assert call("verify", iso).stdout.startswith("passed: ")
    recipe.write_text(recipe.read_text().replace("variant: gpu", "variant: cpu"))
    done = call("build", recipe, "--arch", "amd64", *shared, code=3)
    assert "variant: the recipe has cpu, the lock gpu" in errors(done)[0]


def test_without_a_variant_lock_and_manifest_are_as_before(locked: Locked, built: Built) -> None:
    assert "variant" not in locked.lock.to_data()
    assert b'"variant"' not in built.iso.with_suffix(".manifest.json").read_bytes()


@pytest.mark.parametrize("name", ["GPU", "a.b", "-gpu", "gpu-", "a b", "boot", "r2", "x" * 31, ""])
def test_a_variant_that_could_be_mistaken_is_refused(world: World, here: Path, name: str) -> None:
    recipe = variant_of(world.recipe, here, "bad.yaml", f"variant: {json.dumps(name)}\n")
    assert "variant" in errors(call("recipe", "check", recipe, code=3))[0]


# --- names that are used already


def test_two_results_of_one_name_are_refused_before_anything_is_fetched(
    world: World, locked: Locked, here: Path
) -> None:
    mine = variant_of(world.recipe, here, "mine.yaml", "# no lock yet\n")
    done = call(
        *("build", mine, locked.path, "--arch", "amd64", "--config", world.config_file),
        *("--store", here / "store"),
        code=2,
    )
    assert f"{mine} and {locked.path} would both become {NAME}.iso" in errors(done)[0]
    assert "variant" in hints(done)[0]
    assert sorted(path.name for path in here.iterdir()) == ["mine.yaml"]


def test_the_same_lock_twice_is_built_once(
    locked: Locked, here: Path, shared: tuple[str | Path, ...]
) -> None:
    assert call("build", locked.path, locked.path, *shared).stdout == f"dist/{NAME}.iso\n"


def test_other_bytes_under_a_used_name_need_replace(
    locked: Locked, here: Path, built: Built, shared: tuple[str | Path, ...]
) -> None:
    call("build", locked.path, *shared)
    iso = here / "dist" / f"{NAME}.iso"
    other = here / "other.amd64.lock.json"
    other.write_bytes(locked.lock.model_copy(update={"epoch": 1}).to_bytes())
    for more in ((), ("--force",)):
        done = call("build", other, *more, *shared, code=3)
        assert "is there already, made from the lock" in errors(done)[0]
        assert "raise the revision" in hints(done)[0]
        assert "--replace" in hints(done)[0]
        assert Digest.of_file(iso) == built.digest
    assert call("build", other, "--revision", "r2", *shared).stdout.strip().endswith("-r2.iso")
    call("build", other, "--replace", *shared)
    assert Digest.of_file(iso) != built.digest
    iso.write_bytes(b"no ISO at all")
    for side in (here / "dist").glob(f"{NAME}.manifest.json"):
        side.unlink()
    assert "cannot be told" in errors(call("build", other, *shared, code=3))[0]


# --- several sources


def test_locked_refuses_an_architecture_without_a_lock(
    release: Path, here: Path, shared: tuple[str | Path, ...]
) -> None:
    done = call("build", "1.34.12", "--locked", *shared, code=3)
    assert errors(done) == ["error: 1.34.12: no lock for arm64"]
    call("build", "1.34.12", "--locked", "--arch", "amd64", *shared)


def test_one_wrong_lock_does_not_stop_the_others(
    locked: Locked, built: Built, here: Path, shared: tuple[str | Path, ...]
) -> None:
    bad = here / "bad.lock.json"
    bad.write_text("{")
    done = call("build", bad, locked.path, "--json", *shared, code=7)
    assert [entry["digest"] for entry in json.loads(done.stdout)] == [built.digest]
    assert str(bad) in errors(done)[0]
    assert json.loads(call("build", bad, "--json", *shared, code=3).stdout) == []
    lines = call("verify", built.iso, bad, code=7).stdout.splitlines()
    assert lines[0].startswith("passed: ")
    assert lines[-1].startswith(f"BAD: {bad}")
    found = json.loads(call("verify", built.iso, bad, "--json", code=7).stdout)
    assert [entry["passed"] for entry in found] == [True, False]
    plans = json.loads(call("plan", bad, locked.path, "--json", *shared, code=7).stdout)
    assert [plan["name"] for plan in plans] == [NAME]


def test_a_digest_or_lock_is_about_one_iso(built: Built, locked: Locked) -> None:
    for more in (("--digest", built.digest), ("--lock", locked.path)):
        assert "is about one ISO" in errors(call("verify", built.iso, built.iso, *more, code=2))[0]


def test_check_prints_its_result_for_machines(
    locked: Locked, built: Built, here: Path, shared: tuple[str | Path, ...]
) -> None:
    check = ("build", locked.path, "--check")
    found = json.loads(call(*check, built.iso, "--json", *shared).stdout)
    assert found == {"iso": str(built.iso), "digest": built.digest, "reproduced": True}
    copy = here / "copy.iso"
    copy.write_bytes(built.iso.read_bytes()[:-1] + b"!")
    found = json.loads(call(*check, copy, "--json", *shared, code=5).stdout)
    assert found["reproduced"] is False


def test_check_with_another_iso_says_which_it_is(
    locked: Locked, built: Built, here: Path, shared: tuple[str | Path, ...]
) -> None:
    other = here / "arm64.lock.json"
    other.write_bytes(locked.lock.model_copy(update={"architecture": "arm64"}).to_bytes())
    done = call("build", other, "--check", built.iso, *shared, code=5)
    assert (
        "it is 1.34.12+mold-cks.r1 for amd64, the lock is 1.34.12+mold-cks.r1 for arm64"
        in (errors(done)[0])
    )
    assert f"{NAME}.lock.json" in hints(done)[0]


# --- what a lock changed


def test_lock_tells_what_changed_and_can_refuse_it(
    world: World, here: Path, shared: tuple[str | Path, ...], locked: Locked
) -> None:
    recipe = Path(shutil.copy(world.recipe, here))
    lock = here / locked.path.name
    arguments = ("lock", recipe, "--arch", "amd64", *shared)
    assert "there is no such lock yet" in errors(call(*arguments, "--locked", code=9))[0]
    assert not lock.exists()
    call(*arguments)
    call(*arguments, "--locked")
    network = next(item for item in locked.lock.manifests if item.path == "network.yaml")
    files = tuple(
        file.model_copy(update={"sha256": Digest.of(b"old")}) if file.name == "etcd" else file
        for file in locked.lock.files
    )
    manifests = tuple(
        item.model_copy(update={"sha256": Digest.of(b"as it was")}) if item is network else item
        for item in locked.lock.manifests
    )
    images = tuple(
        image.model_copy(update={"reference": image.reference.replace("3.10.1", "3.9")})
        for image in locked.lock.images
    )
    changed = {"files": files, "manifests": manifests, "images": images}
    before = locked.lock.model_copy(update=changed).to_bytes()
    lock.write_bytes(before)
    done = call(*arguments, "--locked", code=9)
    assert any("file network.yaml: sha256:" in line for line in errors(done))
    assert any("file etcd/etcd-linux-amd64.tar.gz: " in line for line in errors(done))
    assert any("image registry.k8s.io/pause: 3.9 -> 3.10.1" in line for line in errors(done))
    assert lock.read_bytes() == before
    done = call(*arguments)
    assert "amd64: image registry.k8s.io/pause: 3.9 -> 3.10.1" in done.stderr
    assert "amd64: file network.yaml: sha256:" in done.stderr
    assert load_lock(lock) == locked.lock
    assert "amd64: image" not in call(*arguments).stderr


# --- differences as release notes


def test_a_diff_of_versions_pairs_what_belongs_together() -> None:
    lines = [line.split() for line in call("diff", "1.34.9", "1.35.9").stdout.splitlines()]
    assert ["image", "registry.k8s.io/kube-apiserver", "v1.34.9", "v1.35.9"] in lines
    assert ["file", "k8s/kubelet", "1.34.9", "1.35.9"] in lines
    assert ["file", "etcd/etcd-linux-amd64.tar.gz", "3.6.5", "3.6.6"] in lines
    assert not [line for line in lines if "docker/" in line[1]]
    found = json.loads(call("diff", "1.34.9", "1.35.9", "--json").stdout)
    etcd = next(item for item in found if item["name"].startswith("etcd/"))
    assert etcd["releases"] == ["3.6.5", "3.6.6"]
    assert etcd["left"].startswith("sha256:")


def test_a_diff_of_isos_lists_each_archive_once_and_knows_releases(
    world: World, built: Built, here: Path, shared: tuple[str | Path, ...]
) -> None:
    recipe = here / "csi.yaml"
    recipe.write_bytes(world.csi_recipe.read_bytes())
    shutil.copy(world.recipe, here)  # which it extends
    iso = call("build", recipe, "--arch", "amd64", *shared).stdout.strip()
    found = json.loads(call("diff", built.iso, iso, "--json").stdout)
    added = [item["name"] for item in found if item["what"] == "image"]
    assert added == ["ghcr.io/ablecloud-team/ablestack-kubernetes-csi:0.1.0"]
    assert not [item for item in found if item["name"].endswith(".tar")]
    driver = next(item for item in found if item["name"] == "manifest.yaml")
    assert driver["releases"][1]  # told by the bill of materials on the ISO


def test_recipes_are_compared_by_what_they_ask_for(here: Path) -> None:
    recipes = PROJECT / "recipes"
    done = call("diff", recipes / "kubernetes-1.35.9.yaml", recipes / "kubernetes-1.36.5.yaml")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["fact", "vars.etcd", "3.6.6", "3.6.8"] in lines
    assert ["file", "k8s/kubeadm", "1.35.9", "1.36.5"] in lines
    same = recipes / "kubernetes-1.35.9.yaml"
    assert call("diff", same, same).stdout == "no differences\n"
    done = call("diff", same, recipes / "kubernetes-1.35.9.amd64.lock.json", code=3)
    assert "expected two recipes, got one" in errors(done)[0]


# --- where else a version or a recipe stands for its locks


def test_gc_keeps_what_a_version_or_a_recipe_needs(
    release: Path, here: Path, locked: Locked, full_store: Store, world: World
) -> None:
    for named in ("1.34.12", world.recipe, locked.path):
        done = call("store", "gc", named, "--dry-run", "--json", "--store", full_store.root)
        gone = {blob["digest"] for blob in json.loads(done.stdout)["removed"]}
        assert gone.isdisjoint(file.sha256 for file in locked.lock.files)


def test_verify_takes_the_lock_of_a_version_or_a_recipe(
    release: Path, here: Path, built: Built, world: World
) -> None:
    for named in ("1.34.12", world.recipe):
        done = call("verify", built.iso, "--lock", named, "--no-layers")
        assert "lock" in done.stdout.partition("checked ")[2]
    done = call("verify", built.iso, "--lock", "1.34.2", code=3)
    assert errors(done) == ["error: no recipe is shipped for Kubernetes 1.34.2"]


def test_verify_with_a_version_of_another_iso_says_so(built: Built, here: Path) -> None:
    done = call("verify", built.iso, "--lock", "1.36.5", "--no-layers", code=5)
    assert any("made from the lock" in line for line in done.stdout.splitlines())


# --- the end of upstream's support


def test_lock_and_build_tell_that_upstream_no_longer_mends_a_version(
    release: Path, here: Path, shared: tuple[str | Path, ...]
) -> None:
    told = "warning: upstream's support of Kubernetes 1.34 ended on 2026-10-27"
    assert told in call("build", "1.34.12", "1.34.12", *shared).stderr.splitlines()
    done = call("lock", "1.34.12", "--arch", "amd64", *shared)
    assert done.stderr.splitlines().count(told) == 1
    assert "warning" not in call("build", "1.34.12", "--quiet", *shared).stderr
