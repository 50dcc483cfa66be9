from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.pipeline.build import Built
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints
from tests.pipeline.world import Locked


@pytest.fixture
def second(locked: Locked, built: Built, full_store: Store, tmp_path: Path) -> Path:
    """The same as another revision."""
    done = call(
        *("build", locked.path, "--offline", "--store", full_store.root),
        *("--out", tmp_path / "r2", "--revision", "r2"),
    )
    return Path(done.stdout.strip())


def test_inspect_tells_facts_files_and_images(built: Built) -> None:
    done = call("inspect", built.iso)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["kubernetes:", "1.34.12"]
    assert any(line.split()[:1] == ["label:"] and line.endswith("CDROM") for line in lines)
    files = next(number for number, line in enumerate(lines) if line.startswith("FILE"))
    pictures = next(number for number, line in enumerate(lines) if line.startswith("IMAGE"))
    assert [line.split()[0] for line in lines[files + 1 : pictures - 1]] == sorted(
        line.split()[0] for line in lines[files + 1 : pictures - 1]
    )
    assert any(line.startswith("registry.k8s.io/pause:3.10.1 ") for line in lines[pictures:])


def test_inspect_json_of_an_iso_and_of_its_lock_agree(built: Built, locked: Locked) -> None:
    iso = json.loads(call("inspect", built.iso, "--json").stdout)
    lock = json.loads(call("inspect", locked.path, "--json").stdout)
    assert (iso["kind"], lock["kind"]) == ("iso", "lock")
    assert iso["facts"] == lock["facts"]
    assert iso["images"] == lock["images"]
    on_iso = {item["path"]: item["digest"] for item in iso["files"]}
    assert {item["path"]: item["digest"] for item in lock["files"]}.items() <= on_iso.items()
    assert iso["label"] == "CDROM"


def test_what_is_neither_lock_nor_iso_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>")
    assert "not an ISO 9660 image" in errors(call("inspect", page, code=5))[0]


def test_an_iso_and_its_lock_do_not_differ(built: Built, locked: Locked) -> None:
    for pair in ((built.iso, locked.path), (locked.path, built.iso), (built.iso, built.iso)):
        assert call("diff", *pair, "--exit-code").stdout == "no differences\n"
        assert json.loads(call("diff", *pair, "--json").stdout) == []


def test_differences_are_a_table_and_end_with_9_when_asked(built: Built, second: Path) -> None:
    done = call("diff", built.iso, second)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["WHAT", "NAME", "LEFT", "RIGHT", "GROWTH"]
    assert ["fact", "revision", "1", "2"] in lines
    assert done.stderr == ""
    asked = call("diff", built.iso, second, "--exit-code", code=9)
    assert asked.stdout == done.stdout
    assert errors(asked) == [f"error: {built.iso} and {second}: {len(lines) - 1} differences"]


def test_differences_as_json_name_both_sides(built: Built, second: Path) -> None:
    found = json.loads(call("diff", built.iso, second, "--json").stdout)
    assert {"what": "fact", "name": "revision", "left": "1", "right": "2", "growth": None} in found


def test_a_changed_component_is_found_between_two_locks(locked: Locked, tmp_path: Path) -> None:
    file = locked.lock.files[0].model_copy(update={"sha256": "sha256:" + "1" * 64})
    files = (file, *locked.lock.files[1:])
    other = tmp_path / "other.lock.json"
    other.write_bytes(locked.lock.model_copy(update={"files": files}).to_bytes())
    found = json.loads(call("diff", locked.path, other, "--json").stdout)
    assert [(item["what"], item["name"]) for item in found] == [("file", "k8s/kubeadm")]


# --- store


def test_the_store_is_listed_checked_and_cleaned(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    where = ("--store", full_store.root)
    blobs = json.loads(call("store", "list", "--json", *where).stdout)
    assert {blob["digest"] for blob in blobs} >= {file.sha256 for file in locked.lock.files}
    listed = call("store", "list", *where)
    assert len(listed.stdout.splitlines()) == len(blobs) + 1
    assert f"{len(blobs)} blobs, " in listed.stderr
    assert "none damaged" in call("store", "check", *where).stdout
    assert json.loads(call("store", "check", "--json", *where).stdout)["damaged"] == []
    gone = json.loads(call("store", "gc", locked.path, "--dry-run", "--json", *where).stdout)
    kept = {file.sha256 for file in locked.lock.files}
    assert kept.isdisjoint(blob["digest"] for blob in gone["removed"])


def test_an_empty_store_is_listed_as_such(tmp_path: Path) -> None:
    done = call("store", "list", "--store", tmp_path / "none")
    assert done.stdout == ""
    assert done.stderr == f"0 blobs, 0 B in {tmp_path / 'none'}\n"
    unused = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert call("store", "check", env=unused).stdout == "0 blobs, 0 B: none damaged\n"
    done = call("store", "gc", "--all", env=unused)
    assert done.stdout == "removed 0 blobs, 0 B; 0 B stay\n"
    assert not (tmp_path / "cache" / "isobuilder").exists()


def test_a_store_that_is_named_and_not_there_is_not_found_good(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    settings = tmp_path / "config.yaml"
    settings.write_text(f"store: {tmp_path / 'stroe'}\n")
    for option, value, store in (
        ("--store", tmp_path / "stroe", tmp_path / "stroe"),
        ("--store", file, file),
        ("--config", settings, tmp_path / "stroe"),
    ):
        done = call("store", "check", option, value, code=3)
        assert errors(done) == [f"error: {store}: there is no store"]
        assert hints(done) == ["hint: name it with --store"]
        for more in ((), ("--dry-run",)):
            done = call("store", "gc", "--all", *more, option, value, code=3)
            assert errors(done) == [f"error: {store}: there is no store"]
    assert not (tmp_path / "stroe").exists()


def test_damage_ends_with_5_and_says_how_to_get_the_bytes_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    blob = store.add_bytes(b"kubelet")
    blob.path.chmod(0o644)
    blob.path.write_bytes(b"kubelit")
    done = call("store", "check", "--store", store.root, code=5)
    assert done.stdout == "1 blob, 7 B: 1 damaged\n"
    assert blob.digest.hex in errors(done)[0]
    assert "isobuilder fetch LOCK" in hints(done)[0]
    assert not blob.path.exists()
    assert call("store", "check", "--store", store.root).stdout == "0 blobs, 0 B: none damaged\n"


def test_gc_wants_to_be_told_what_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.add_bytes(b"kubelet")
    where = ("--store", store.root)
    done = call("store", "gc", *where, code=2)
    assert "--all" in hints(done)[0]
    assert call("store", "gc", "--all", "--dry-run", *where).stdout.startswith(
        "would remove 1 blob"
    )
    assert call("store", "gc", "--all", "--max-size", "1K", *where).stdout.startswith("removed 0")
    done = call("store", "gc", "--all", "--max-size", "", *where, code=3)
    assert "got ''" in errors(done)[0]
    assert call("store", "gc", "--all", *where).stdout == "removed 1 blob, 7 B; 0 B stay\n"
    assert (
        "got 'lots'"
        in errors(call("store", "gc", "--all", "--max-size", "lots", *where, code=3))[0]
    )


def test_blobs_have_the_names_that_locks_give_them(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    where = ("--store", full_store.root)
    blobs = {
        blob["digest"]: blob["names"]
        for blob in json.loads(call("store", "list", "--json", *where).stdout)
    }
    kubeadm = next(file for file in locked.lock.files if file.name == "kubeadm")
    assert blobs[kubeadm.sha256] == ["kubeadm of 1.34.12-amd64"]
    pause = next(image for image in locked.lock.images if "/pause:" in image.reference)
    assert blobs[pause.digest] == [pause.reference]
    listed = call("store", "list", *where).stdout
    assert listed.splitlines()[0].split() == ["DIGEST", "SIZE", "LAST", "USED", "NAMES"]
    other = Store(tmp_path / "other")
    blob = other.add_bytes(full_store.path_of(kubeadm.sha256).read_bytes())
    where = ("--store", other.root)
    assert call("store", "list", *where).stdout.splitlines()[1].split()[-1] == "-"
    named = call("store", "list", locked.path, *where).stdout.splitlines()[1]
    assert named.startswith(blob.digest)
    assert named.endswith("kubeadm of 1.34.12-amd64")


def test_a_store_on_read_only_media_serves_offline(
    locked: Locked,
    built: Built,
    full_store: Store,
    tmp_path: Path,
    read_only: Callable[[Path], None],
) -> None:
    copy = tmp_path / "store"
    shutil.copytree(full_store.root, copy)
    shutil.rmtree(copy / "notes")
    for name in ("leases", "locks"):
        shutil.rmtree(copy / name, ignore_errors=True)
    read_only(copy)
    shared = ("--offline", "--store", copy)
    call("fetch", locked.path, *shared)
    done = call("build", locked.path, "--out", tmp_path / "out", *shared)
    assert built.digest in done.stderr
    call("store", "list", "--store", copy)
