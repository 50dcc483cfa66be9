"""From a machine with Internet to one without: the same ISO, whatever happens on the way."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from isobuilder.content.blobs import Find
from isobuilder.content.needed import missing_names
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import new_file
from isobuilder.formats.sums import written_sums
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.pipeline.build import Built
from isobuilder.site.bundles.admit import StoreKeeper, arrived, take_folder, take_part
from isobuilder.site.bundles.bundle import Carried
from isobuilder.site.bundles.carry import import_carried
from isobuilder.site.bundles.export import write_folder, write_parts
from isobuilder.site.bundles.packing import Packing, packing
from isobuilder.site.donors import open_donors
from isobuilder.store import Blob, Store, collect, lease
from tests.cli.calling import call, errors, half_written, hints
from tests.pipeline.signed import copied
from tests.pipeline.world import Locked, World, command
from tests.site.alone import run_alone

KILLS = int(os.environ.get("ISOBUILDER_KILLS", "4"))
"""How often each side is killed at a random moment; ``make test-sites`` does it fifty times."""

NAME = "kubernetes-v1.34.12-mold-cks-amd64-r1"


def wrong_blobs(store: Path) -> list[str]:
    return [name for name in half_written(store) if f"{store}/blobs" in name]


def taken(parts: list[Path], store: Store) -> None:
    """Import parts and say that all of it is there."""
    for path in parts:
        with path.open("rb") as file:
            bundle = take_part(file, str(path), StoreKeeper(store)).bundle
    assert not arrived(bundle, store).missing


# --- there and back


def test_what_is_exported_split_and_carried_builds_the_same_iso_without_network(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    arguments = ("--out", outside / "b.tar", "--part-size", "40K", "--store", full_store.root)
    told = call("site", "export", built.iso, *arguments, "--offline")
    parts = [Path(line) for line in told.stdout.splitlines()]
    assert len(parts) >= 3
    checked = subprocess.run(
        ["sha256sum", "-c", "b.sha256"], cwd=outside, capture_output=True, text=True, check=True
    )
    assert checked.stdout.count(": OK") == len(parts)
    inside.mkdir()
    for part in reversed(parts):
        shutil.move(part, inside)
    shutil.rmtree(outside)
    carried = [str(path) for path in sorted(inside.iterdir(), reverse=True)]
    (tmp_path / "home").mkdir()
    done = run_alone(
        [
            ["site", "import", *carried, "--out", inside / "site"],
            ["build", "--offline", inside / "site" / f"{NAME}.lock.json", "--out", inside / "dist"],
        ],
        tmp_path / "home",
    )
    assert done.returncode == 0, done.stderr
    assert Digest.of_file(inside / "dist" / f"{NAME}.iso") == built.digest


def test_a_pipe_and_a_folder_carry_the_same(
    built: Built, locked: Locked, full_store: Store, tmp_path: Path
) -> None:
    lock = built.iso.with_suffix(".lock.json")
    stores = ("--store", full_store.root, "--offline")
    tar = subprocess.run(
        [sys.executable, "-m", "isobuilder", "site", "export", lock, "--out", "-", *stores],
        capture_output=True,
        check=True,
    ).stdout
    call("site", "export", lock, "--out", tmp_path / "b.tar", *stores)
    assert (tmp_path / "b.tar").read_bytes() == tar
    call("site", "export", lock, "--out", f"{tmp_path}/folder/", *stores)
    for number, source in enumerate((tmp_path / "b.tar", tmp_path / "folder")):
        store = Store(tmp_path / f"store{number}")
        out = tmp_path / f"site{number}"
        done = call("site", "import", source, "--store", store.root, "--out", out)
        assert done.stdout.splitlines() == [str(out / f"{NAME}.lock.json")]
        assert (out / f"{NAME}.lock.json").read_bytes() == lock.read_bytes()
        assert all(store.own(file.sha256) for file in locked.lock.files)


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("> /dev/full", 6, "error: cannot write the result: No space left on device"),
        ("| true", 141, ""),
        ("| head -c 100", 141, ""),
        (">&-", 2, "error: --out -: stdout is closed"),
    ],
)
def test_a_pipe_that_takes_no_more_is_told_like_any_other(
    end: str, code: int, told: str, built: Built, full_store: Store
) -> None:
    arguments = ("site", "export", built.iso, "--out", "-", "--store", full_store.root, "--offline")
    done = subprocess.run(
        ["bash", "-c", f'"$@" {end}; exit "${{PIPESTATUS[0]}}"', "bash", *command(*arguments)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.decode().partition("\n")[0] == told
    assert b"Traceback" not in done.stderr


def test_what_is_said_of_an_iso_goes_along_with_it(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    """Statements about vulnerabilities and signatures, which count for what the site builds."""
    here = copied(built, tmp_path / "here")
    said = {f"{NAME}.vex.json": b"{}", f"{NAME}.sigstore.json": b"{ }"}
    for name, data in said.items():
        (here.parent / name).write_bytes(data)
    stores = ("--store", full_store.root, "--offline")
    for number, source in enumerate((here, here.with_suffix(".lock.json"))):
        bundle, site = tmp_path / f"{number}.tar", tmp_path / f"site{number}"
        call("site", "export", source, "--out", bundle, *stores)
        call("site", "import", bundle, "--store", tmp_path / f"store{number}", "--out", site)
        assert {path.name: path.read_bytes() for path in site.iterdir() if path.name in said} == (
            said
        )
    both = ("--add", here.parent / f"{NAME}.vex.json", "--out", tmp_path / "b.tar")
    call("site", "export", here, *both, *stores)
    assert (tmp_path / "b.tar").read_bytes() == (tmp_path / "0.tar").read_bytes()


def test_a_recipe_that_is_named_goes_along_as_that_of_its_lock(
    world: World, locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    """Whatever it is called, so another day's recipe of that name is no other file of the site."""
    stores = ("--store", full_store.root, "--offline")
    recipe = Path(shutil.copy(world.recipe, tmp_path / "레시피.yaml"))
    lock = Path(shutil.copy(locked.path, tmp_path / "레시피.amd64.lock.json"))
    call("site", "export", recipe, "--out", tmp_path / "r.tar", *stores)
    call("site", "export", lock, "--out", tmp_path / "l.tar", *stores)
    for name, expected in (
        ("r", {f"{NAME}.lock.json", f"{NAME}.yaml"}),
        ("l", {f"{NAME}.lock.json"}),
    ):
        site = tmp_path / name
        arguments = ("--store", tmp_path / "store", "--out", site)
        done = call("site", "import", tmp_path / f"{name}.tar", *arguments)
        assert done.stdout.splitlines() == [str(site / f"{NAME}.lock.json")]
        assert {path.name for path in site.iterdir()} == expected
    assert (tmp_path / "r" / f"{NAME}.yaml").read_bytes() == world.recipe.read_bytes()


def test_a_recipe_goes_along_once_for_each_lock_that_answers_it(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    """And what is carried as a file as well keeps both names."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes(b"schema: 1\n")
    second = built.lock.model_copy(update={"revision": 2})
    names = {f"{lock.base_name}.yaml": recipe for lock in (built.lock, second)}
    packed = packing([built.lock, second], full_store.find, extras=[recipe], named=names)
    (extra,) = [item for item in packed.bundle.contents if item.kind == "extra"]
    assert extra.names == ("mine.yaml", *names)


def test_a_named_pipe_is_opened_once(packed: Packing, tmp_path: Path) -> None:
    whole = write_parts(packed, tmp_path / "b.tar").parts
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    store = ("--store", tmp_path / "store", "--out", tmp_path / "site")
    for part in whole[:-1]:
        call("site", "import", part.path, *store, code=7)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(pipe.write_bytes, whole[-1].path.read_bytes())
        call("site", "import", pipe, *store)
        assert writing.result(10) == whole[-1].size


def test_parts_of_4g_fit_on_a_stick_of_fat32(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    common = ("--store", full_store.root, "--offline", "--part-size")
    for said, meant in (("4G", 2**32 - 1), ("4095M", 4095 << 20), ("5G", 5 << 30)):
        out = tmp_path / f"{said}.tar"
        call("site", "export", built.iso, *common, said, "--out", out)
        with out.open("rb") as file:
            assert take_part(file, "x", StoreKeeper(full_store)).bundle.part_size == meant


def test_other_tools_read_a_bundle_as_an_oci_layout(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    lock = built.iso.with_suffix(".lock.json")
    call("site", "export", lock, "--out", f"{tmp_path}/b/", "--store", full_store.root, "--offline")
    index = json.loads((tmp_path / "b" / "index.json").read_bytes())
    images = {
        entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]
    }
    assert images == {name for image in built.lock.images for name in image.references}
    for entry in index["manifests"]:
        path = tmp_path / "b" / "blobs" / "sha256" / entry["digest"].partition(":")[2]
        assert path.stat().st_size == entry["size"]
    if skopeo := shutil.which("skopeo"):
        name = sorted(images)[0]
        subprocess.run([skopeo, "inspect", "--raw", f"oci:{tmp_path}/b:{name}"], check=True)


def test_an_iso_fills_the_store_of_a_site(built: Built, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "store")
    out = tmp_path / "site"
    done = call("site", "import", built.iso, *store, "--out", out)
    assert done.stdout.splitlines() == [str(out / f"{NAME}.lock.json")]
    call("build", "--offline", out / f"{NAME}.lock.json", *store, "--out", tmp_path / "dist")
    assert Digest.of_file(tmp_path / "dist" / f"{NAME}.iso") == built.digest
    again = call("site", "import", built.iso, *store, "--out", out)
    assert "0 new blobs" in again.stderr


def test_an_iso_without_its_lock_gives_what_can_be_told(built: Built, tmp_path: Path) -> None:
    iso = Path(shutil.copy(built.iso, tmp_path))
    store = Store(tmp_path / "store")
    done = call("site", "import", iso, "--store", store.root, "--out", tmp_path / "site")
    assert "its lock is not beside it" in done.stderr
    assert done.stdout == ""
    lock = built.lock
    assert all(store.own(digest) for digest in [*(file.sha256 for file in lock.files)])
    assert all(store.own(image.digest) for image in lock.images)


def test_behind_a_damaged_manifest_of_an_iso_that_the_store_has_nothing_is_passed_over(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    here = copied(built, tmp_path / "here")
    manifest = full_store.own(built.lock.images[0].digest)
    assert manifest is not None
    data = here.read_bytes()
    assert data.count(manifest.read()) == 1
    here.write_bytes(data.replace(manifest.read(), manifest.read()[:-1] + b"!"))
    store = Store(tmp_path / "store")
    arguments = ("--store", store.root, "--out", tmp_path / "site")
    done = call("site", "import", here, *arguments, code=7)
    assert done.stdout == ""
    assert f"does not have {built.lock.images[0].reference} as it was" in errors(done)[0]
    told = json.loads(call("site", "import", here, *arguments, "--json", code=7).stdout)
    assert told["lacking"] == [{"lock": str(here), "missing": [built.lock.images[0].reference]}]
    shutil.rmtree(store.root)
    store.add_bytes(manifest.read())
    done = call("site", "import", here, *arguments)
    lock = tmp_path / "site" / f"{NAME}.lock.json"
    assert done.stdout.splitlines() == [str(lock)]
    offline = ("--offline", "--store", store.root, "--out", tmp_path / "dist")
    call("build", lock, *offline)
    assert Digest.of_file(tmp_path / "dist" / f"{NAME}.iso") == built.digest


def test_a_lock_whose_blobs_were_left_out_is_not_told_as_one_that_can_be_built(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    paper, bundle = tmp_path / "ledger.txt", tmp_path / "b.tar"
    full = ("--store", full_store.root)
    words = ("--site", "x", "--records", tmp_path / "records", "--out", paper)
    call("site", "ledger", "--blobs", *full, *words)
    lock = built.iso.with_suffix(".lock.json")
    call("site", "export", lock, *full, "--offline", "--known", paper, "--out", bundle)
    arguments = ("--store", tmp_path / "store", "--out", tmp_path / "site")
    done = call("site", "import", bundle, *arguments, code=7)
    there = tmp_path / "site" / lock.name
    assert done.stdout == ""
    assert f"{there}: cannot be built yet, for the store lacks kubeadm, " in errors(done)[0]
    assert len(errors(done)) == 1
    assert "--known" in hints(done)[0]
    assert there.read_bytes() == lock.read_bytes()
    done = call("site", "check", bundle, "--store", tmp_path / "store", code=7)
    assert "--known" in hints(done)[0]
    assert "--part" not in hints(done)[0]
    both = call("site", "import", bundle, built.iso, *arguments)
    assert both.stdout.splitlines() == [str(there)]


@pytest.mark.parametrize("kind", ["iso", "part", "folder"])
def test_a_collection_takes_nothing_that_is_being_imported(
    kind: str, built: Built, packed: Packing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried = {"iso": built.iso}.get(kind, tmp_path / "b")
    if kind == "folder":
        write_folder(packed, carried)
    elif kind == "part":
        bundle = packed.bundle.model_copy(update={"part_size": None})
        write_parts(Packing(bundle, packed.texts, packed.find), carried / "b.tar")
    store = Store(tmp_path / "store")
    add = Store.add
    removed: list[int] = []

    def adding(self: Store, *arguments: Any, **named: Any) -> Blob:
        blob = add(self, *arguments, **named)
        removed.append(len(collect(store, ()).removed))
        return blob

    def looking(lock: Lock, find: Find) -> list[str]:
        removed.append(len(collect(store, ()).removed))
        return missing_names(lock, find)

    monkeypatch.setattr(Store, "add", adding)
    monkeypatch.setattr("isobuilder.site.bundles.carry.missing_names", looking)
    done = import_carried([carried], store, tmp_path / "site")
    assert done.failures == ()
    assert done.lacking == ()
    assert len(removed) >= 4
    assert not any(removed)


@pytest.mark.parametrize("kind", ["iso", "part", "pieces", "folder"])
def test_what_brings_nothing_new_is_imported_into_a_store_that_may_only_be_read(
    kind: str, built: Built, full_store: Store, tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    carried = built.iso if kind == "iso" else tmp_path / "b.tar"
    if kind != "iso":
        size = ("--part-size", "40K") if kind == "pieces" else ()
        lock = built.iso.with_suffix(".lock.json")
        out = f"{carried}/" if kind == "folder" else carried
        call("site", "export", lock, "--out", out, "--store", full_store.root, *size)
    parts = sorted(tmp_path.glob("b.*tar")) or [carried]
    store = tmp_path / "store"
    call("site", "import", *parts, "--store", store, "--out", tmp_path / "site")
    read_only(store)
    done = call("site", "import", *parts, "--store", store, "--out", tmp_path / "again")
    assert done.stdout


@pytest.mark.parametrize("kind", ["iso", "store", "folder"])
def test_a_build_takes_blobs_from_where_they_lie_and_copies_none(
    kind: str, built: Built, full_store: Store, tmp_path: Path
) -> None:
    lock = built.iso.with_suffix(".lock.json")
    source = {"iso": built.iso, "store": full_store.root, "folder": tmp_path / "bundle"}[kind]
    if kind == "folder":
        arguments = ("--out", f"{source}/", "--store", full_store.root, "--offline")
        call("site", "export", lock, *arguments)
    store = tmp_path / "store"
    common = ("--from", source, "--store", store, "--offline")
    call("fetch", lock, *common)
    call("build", lock, *common, "--out", tmp_path / "dist")
    assert Digest.of_file(tmp_path / "dist" / f"{NAME}.iso") == built.digest
    assert not list(store.rglob("blobs/sha256/*/*"))


def test_a_store_that_is_a_source_is_collected_when_nobody_reads_it(tmp_path: Path) -> None:
    source = Store(tmp_path / "source")
    blob = source.add_bytes(b"kubelet")
    with lease(source, []):
        pass
    with ThreadPoolExecutor() as pool:
        with ExitStack() as closing:
            (donor,) = open_donors([source.root], [], closing)
            ended = pool.submit(collect, source, ())
            wait([ended], timeout=0.2)
            assert donor.find(blob.digest)
        assert [one.digest for one in ended.result().removed] == [blob.digest]


@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOLCK])
def test_a_store_that_cannot_be_locked_is_a_source_all_the_same(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object) -> None:
        raise OSError(error, os.strerror(error))

    source = Store(tmp_path / "source")
    blob = source.add_bytes(b"kubelet")
    with lease(source, []):
        pass
    monkeypatch.setattr("isobuilder.files.fcntl.flock", refused)
    with ExitStack() as closing:
        (donor,) = open_donors([source.root], [], closing)
        assert donor.find(blob.digest)


def test_a_source_with_other_bytes_has_nothing(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(full_store.root / "blobs", other / "blobs")
    kubeadm = next(file for file in built.lock.files if file.name == "kubeadm")
    path = other / "blobs" / "sha256" / kubeadm.sha256.hex[:2] / kubeadm.sha256.hex
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    lock = built.iso.with_suffix(".lock.json")
    common = ("--from", other, "--store", tmp_path / "store", "--offline")
    done = call("fetch", lock, *common, code=6)
    assert "lacks 1 things: kubeadm" in errors(done)[0]


def test_an_iso_does_not_take_the_place_of_another_lock(built: Built, tmp_path: Path) -> None:
    out = tmp_path / "site"
    out.mkdir()
    lock = out / f"{NAME}.lock.json"
    lock.write_text('{"mine": 1}')
    common = ("--store", tmp_path / "store", "--out", out)
    done = call("site", "import", built.iso, *common, code=3)
    assert f"{lock}: is there already and something else" in errors(done)[0]
    assert lock.read_text() == '{"mine": 1}'
    lock.unlink()
    assert call("site", "import", built.iso, *common).stdout.splitlines() == [str(lock)]


# --- one that is refused


def of_one_file(folder: Path, name: str, data: bytes, *, kind: str = "extra") -> Path:
    """Write a bundle of one file that is carried as what it may not be."""
    folder.mkdir()
    (folder / name).write_bytes(data)
    packed = packing([], lambda _: None, extras=[folder / name])
    (item,) = packed.bundle.contents
    item = item.model_copy(update={"kind": kind})
    bundle = packed.bundle.model_copy(update={"contents": (item,)})
    (part,) = write_parts(Packing(bundle, packed.texts, packed.find), folder / "b.tar").parts
    return part.path


def test_a_bundle_that_is_refused_keeps_no_other_from_its_turn(
    packed: Packing, built: Built, full_store: Store, tmp_path: Path
) -> None:
    evil = of_one_file(tmp_path / "evil", "x.lock.json", b"not a lock", kind="lock")
    other = of_one_file(tmp_path / "other", "one", b"another one")
    good = tmp_path / "g.tar"
    call("site", "export", built.iso, "--out", good, "--store", full_store.root, "--offline")
    out = tmp_path / "site"
    out.mkdir()
    (out / "one").write_bytes(b"mine")
    carried = (evil, other, good, "--out", out, "--store", tmp_path / "store", "--json")
    done = call("site", "import", *carried, code=7)
    told = json.loads(done.stdout)
    assert told["locks"] == [str(out / f"{NAME}.lock.json")]
    assert [one["missing"] for one in told["bundles"]] == [[]]
    assert "x.lock.json: carried as a lock: " in errors(done)[0]
    assert f"{out / 'one'}: is there already and something else" in errors(done)[1]
    assert "2 of 3 failed, the others are done" in errors(done)[2]
    assert (out / "one").read_bytes() == b"mine"
    call("site", "import", evil, "--out", out, "--store", tmp_path / "store", code=5)


def test_a_lock_of_a_newer_isobuilder_says_what_to_do(built: Built, tmp_path: Path) -> None:
    """And a lock with several mistakes, which nobody can mend here, is told in one line."""
    text = json.loads(built.lock.to_bytes())
    newer = json.dumps({**text, "schema": 2, "colour": "green"}).encode()
    wrong = json.dumps({**text, "schema": 0, "colour": "green", "epoch": "soon"}).encode()
    for data, code in ((newer, 3), (wrong, 5)):
        part = of_one_file(tmp_path / str(code), "x.lock.json", data, kind="lock")
        for what in (("check",), ("import", "--out", tmp_path / "site")):
            done = call("site", *what, part, "--store", tmp_path / "s", code=code)
            (told,) = errors(done)
            assert told.startswith("error: x.lock.json: carried as a lock: ")
            assert "hint" not in told
            assert "\\n" not in told
            if code == 3:
                assert told.endswith(": is of format 2, this isobuilder reads format 1")
                assert "a newer isobuilder wrote it" in hints(done)[0]
    assert not (tmp_path / "site").exists()


def test_a_lock_that_cannot_be_written_hides_no_other_error(built: Built, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar"
    bad.write_bytes(b"<html>" * 200)
    no_folder = tmp_path / "file"
    no_folder.write_bytes(b"")
    here = ("--store", tmp_path / "store", "--out", no_folder / "site", "--json")
    done = call("site", "import", built.iso, bad, *here, code=5)
    assert json.loads(done.stdout)["imported"][0]["from"] == str(built.iso)
    assert str(no_folder / "site") in errors(done)[0]
    assert f"{bad}: no part of a bundle" in errors(done)[1]


def test_a_damaged_part_in_a_folder_keeps_no_other_from_its_turn(
    packed: Packing, tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    parts = [part.path for part in write_parts(packed, stick / "b.tar").parts]
    whole = parts[0].read_bytes()
    parts[0].write_bytes(whole[:100_000])
    (stick / f"._{parts[0].name}").write_bytes(b"\0\5\26\7" + b"Mac OS X".ljust(4092))
    common = ("--store", tmp_path / "store", "--out", tmp_path / "site")
    done = call("site", "import", stick, *common, code=7)
    assert f"{parts[0]}: cut off at byte 100000" in errors(done)[0]
    assert f"missing part 1 of {len(parts)}: one" in errors(done)[1]
    assert all(f"{path}: " in done.stderr for path in parts[1:])
    call("site", "check", stick, "--store", tmp_path / "none", code=5)
    parts[0].write_bytes(whole)
    assert ": complete\n" in call("site", "check", stick, "--store", tmp_path / "none").stdout
    assert ": complete\n" in call("site", "import", stick, *common).stderr


# --- parts


def test_a_part_that_was_lost_is_made_again_alone(packed: Packing, tmp_path: Path) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    sums = (tmp_path / "b.sha256").read_bytes()
    before = [path.read_bytes() for path in parts]
    for number, path in enumerate(parts, 1):
        path.unlink()
        write_parts(packed, tmp_path / "b.tar", only=number)
        assert path.read_bytes() == before[number - 1]
        assert (tmp_path / "b.sha256").read_bytes() == sums


def test_parts_come_in_any_order_twice_and_on_different_days(
    packed: Packing, tmp_path: Path
) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    assert len(parts) > 4
    store = Store(tmp_path / "store")
    order = [*parts, *parts]
    random.Random(7).shuffle(order)
    taken(order, store)
    assert all(store.own(item.digest) for item in packed.bundle.contents)
    assert half_written(store.root) == []


def test_a_blob_that_was_cut_short_in_the_store_is_taken_again(
    packed: Packing, tmp_path: Path
) -> None:
    """Whole, in pieces, and by itself if its part does not come a second time."""
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    one = packed.bundle.model_copy(update={"part_size": None})
    whole = write_parts(Packing(one, packed.texts, packed.find), tmp_path / "w.tar").parts[0].path
    store = Store(tmp_path / "store")
    taken(parts, store)
    here = ("--store", store.root, "--out", tmp_path / "site")
    blob = store.path_of(packed.bundle.contents[1].digest)
    good = blob.read_bytes()
    for number, again in enumerate(([whole], parts), 1):
        blob.chmod(0o644)
        blob.write_bytes(good[:1000])
        done = call("site", "import", *again, *here)
        assert f"{blob}: damaged, now {store.root}" in done.stderr
        assert blob.read_bytes() == good
        assert len(list((store.root / "quarantine").iterdir())) == number
    blob.chmod(0o644)
    blob.write_bytes(b"")
    done = call("site", "import", parts[-1], *here, code=7)
    assert f"missing part 2, 3 of {len(parts)}: two" in errors(done)[0]


@pytest.mark.parametrize("source", ["bundle", "folder", "iso"])
def test_what_was_damaged_in_the_store_since_comes_again(
    source: str, built: Built, full_store: Store, tmp_path: Path
) -> None:
    stores = ("--store", full_store.root, "--offline")
    carried = {"bundle": tmp_path / "b.tar", "folder": tmp_path / "b", "iso": built.iso}[source]
    if source != "iso":
        out = f"{carried}/" if source == "folder" else carried
        call("site", "export", built.iso.with_suffix(".lock.json"), "--out", out, *stores)
    inside = ("--store", tmp_path / "s", "--out", tmp_path / "site")
    call("site", "import", carried, *inside)
    store = Store(tmp_path / "s")
    image = built.lock.images[0].digest
    damaged = [built.lock.files[0].sha256, built.lock.manifests[0].sha256, image]
    for digest in damaged:
        blob = store.own(digest)
        assert blob is not None
        blob.path.chmod(0o644)
        with blob.path.open("r+b") as file:
            byte = file.read(1)
            file.seek(0)
            file.write(bytes([byte[0] ^ 1]))
    call("site", "import", carried, *inside)
    for digest in damaged:
        blob = store.own(digest)
        assert blob is not None
        assert Digest.of(blob.read()) == digest
    assert len(list((store.root / "quarantine").iterdir())) == len(damaged)


def test_an_iso_brings_again_what_was_cut_short_in_the_store(built: Built, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    here = ("--store", store.root, "--out", tmp_path / "site")
    call("site", "import", built.iso, *here)
    blob = store.path_of(load_lock(built.iso.with_suffix(".lock.json")).files[0].sha256)
    good = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(good[:-1])
    done = call("site", "import", built.iso, *here)
    assert f"{blob}: damaged, now" in done.stderr
    assert blob.read_bytes() == good


def test_what_is_missing_is_told_by_its_part(packed: Packing, tmp_path: Path) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    store = ("--store", tmp_path / "store", "--out", tmp_path / "site")
    done = call("site", "import", *parts[:2], *parts[3:], *store, code=7)
    assert f"missing part 3 of {len(parts)}: " in errors(done)[0]
    assert len(errors(done)) == 1
    assert "--part" in hints(done)[0]
    assert not (tmp_path / "site").exists()
    call("site", "import", parts[2], *store)
    assert (tmp_path / "site" / "one").read_bytes() == (tmp_path / "carried" / "one").read_bytes()


def test_no_part_is_larger_than_asked_for(packed: Packing, tmp_path: Path) -> None:
    done = write_parts(packed, tmp_path / "b.tar")
    assert packed.bundle.part_size is not None
    assert all(part.path.stat().st_size == part.size for part in done.parts)
    assert all(part.size <= packed.bundle.part_size for part in done.parts)
    assert [part.digest for part in done.parts] == [Digest.of_file(p.path) for p in done.parts]


def test_a_part_that_is_there_is_not_made_again(packed: Packing, tmp_path: Path) -> None:
    first = write_parts(packed, tmp_path / "b.tar")
    first.parts[1].path.unlink()
    again = write_parts(packed, tmp_path / "b.tar")
    assert [part.reused for part in again.parts] == [part.number != 2 for part in again.parts]
    assert [part.digest for part in again.parts] == [part.digest for part in first.parts]


@pytest.mark.parametrize(
    "name", ["two\nlines.tar", "back\\slash.tar", "a\u2028b.tar", "\udcff.tar"]
)
def test_sums_of_parts_with_any_name_are_known_again(
    name: str, packed: Packing, tmp_path: Path
) -> None:
    first = write_parts(packed, tmp_path / name)
    again = write_parts(packed, tmp_path / name)
    assert all(part.reused for part in again.parts)
    assert first.sums is not None
    assert first.sums.read_bytes() == written_sums(
        (one.digest, one.path.name) for one in again.parts
    )


def test_another_bundle_of_the_same_name_stays(packed: Packing, tmp_path: Path) -> None:
    path = write_parts(packed, tmp_path / "c.tar").parts[0].path
    target = path.with_name(path.name.replace("c.", "b."))
    target.write_bytes(b"something dear")
    with pytest.raises(InputError, match="is there already, and of another bundle"):
        write_parts(packed, tmp_path / "b.tar")
    assert target.read_bytes() == b"something dear"
    write_parts(packed, tmp_path / "b.tar", replace=True)
    assert target.read_bytes() == path.read_bytes()


def test_a_part_is_not_made_again_beside_those_of_another_bundle(
    packed: Packing, tmp_path: Path
) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    before = {path: path.read_bytes() for path in tmp_path.glob("b.*")}
    parts[1].unlink()
    del before[parts[1]]
    other = Packing(packed.bundle.model_copy(update={"tool": "0.0.9"}), packed.texts, packed.find)
    with pytest.raises(InputError, match=f"{parts[0]}: is of another bundle than part 2 would be"):
        write_parts(other, tmp_path / "b.tar", only=2)
    assert {path: path.read_bytes() for path in tmp_path.glob("b.*")} == before
    write_parts(other, tmp_path / "b.tar", only=2, replace=True)
    assert parts[1].is_file()


def test_a_part_is_not_made_again_of_another_bundle_when_the_others_have_left(
    packed: Packing, tmp_path: Path
) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    noted = (tmp_path / "b.sha256").read_bytes()
    for path in parts:
        path.unlink()
    other = Packing(packed.bundle.model_copy(update={"tool": "0.0.9"}), packed.texts, packed.find)
    with pytest.raises(InputError, match=rf"{parts[1]}: would be sha256:\w+, and is noted as"):
        write_parts(other, tmp_path / "b.tar", only=2)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["b.sha256"]
    assert (tmp_path / "b.sha256").read_bytes() == noted
    write_parts(packed, tmp_path / "b.tar", only=2)
    write_parts(other, tmp_path / "b.tar", only=2, replace=True)


def test_parts_of_another_size_do_not_take_away_the_sums_of_those_that_are_there(
    packed: Packing, tmp_path: Path
) -> None:
    write_parts(packed, tmp_path / "b.tar")
    before = {path: path.read_bytes() for path in tmp_path.glob("b.*")}
    bundle = packed.bundle.model_copy(update={"part_size": 400_000})
    other = Packing(bundle, packed.texts, packed.find)
    told = r"b\.001-of-006\.tar: is a part of another bundle, or of one cut otherwise"
    with pytest.raises(InputError, match=told):
        write_parts(other, tmp_path / "b.tar")
    assert {path: path.read_bytes() for path in tmp_path.glob("b.*")} == before
    (tmp_path / "b.sha256").unlink()
    with pytest.raises(InputError, match=told):
        write_parts(other, tmp_path / "b.tar")
    write_parts(other, tmp_path / "b.tar", replace=True)


@pytest.mark.parametrize("more", [b"0" * 64 + b"  precious.iso\n", b"no sum\n", bytes(5 << 20)])
def test_a_file_of_other_sums_stays(more: bytes, packed: Packing, tmp_path: Path) -> None:
    parts = write_parts(packed, tmp_path / "b.tar").parts
    sums = tmp_path / "b.sha256"
    there = sums.read_bytes() + more
    sums.write_bytes(there)
    with pytest.raises(InputError, match=r"b\.sha256: is there already, and has something else in"):
        write_parts(packed, tmp_path / "b.tar")
    assert sums.read_bytes() == there
    write_parts(packed, tmp_path / "b.tar", replace=True)
    assert len(sums.read_text().splitlines()) == len(parts)


def test_sums_that_went_over_windows_are_still_those_of_the_parts(
    packed: Packing, tmp_path: Path
) -> None:
    write_parts(packed, tmp_path / "b.tar")
    sums = tmp_path / "b.sha256"
    as_written = sums.read_bytes()
    sums.write_bytes(as_written.replace(b"\n", b"\r\n"))
    write_parts(packed, tmp_path / "b.tar")
    assert sums.read_bytes() == as_written


def test_a_damaged_blob_does_not_leave(packed: Packing, tmp_path: Path) -> None:
    two = tmp_path / "carried" / "two"
    two.write_bytes(two.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match=r"two: expected sha256:\w+, got sha256:\w+: damaged"):
        write_parts(packed, tmp_path / "b.tar")
    left = sorted(path.name for path in tmp_path.glob("*.tar"))
    assert left == ["b.001-of-006.tar"]  # which ends within the first file


def test_a_part_that_was_damaged_is_made_again(packed: Packing, tmp_path: Path) -> None:
    first = write_parts(packed, tmp_path / "b.tar")
    second = first.parts[1].path
    good = second.read_bytes()
    second.write_bytes(good[:-2000] + b"!" + good[-1999:])
    again = write_parts(packed, tmp_path / "b.tar")
    assert [part.reused for part in again.parts] == [part.number != 2 for part in again.parts]
    assert second.read_bytes() == good


def test_a_blob_of_a_folder_that_was_damaged_is_written_again(
    packed: Packing, tmp_path: Path
) -> None:
    one = packed.bundle.model_copy(update={"part_size": None})
    packed = Packing(one, packed.texts, packed.find)
    write_folder(packed, tmp_path / "b")
    blob = tmp_path / "b" / "blobs" / "sha256" / one.contents[0].digest.hex
    good = blob.read_bytes()
    blob.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    write_folder(packed, tmp_path / "b")
    assert blob.read_bytes() == good


def test_a_folder_is_not_replaced(built: Built, full_store: Store, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    common = ("--replace", "--store", full_store.root, "--offline")
    for out in (f"{tmp_path}/new/", tmp_path / "there", "-"):
        done = call("site", "export", built.iso, "--out", out, *common, code=2)
        assert errors(done) == [f"error: --replace is about files, and {out} is none"]


# --- what cannot be carried


@pytest.mark.parametrize("size", ["0", "4095", "16385G", "9999999999T"])
def test_parts_of_no_sensible_size_are_refused(
    size: str, built: Built, full_store: Store, tmp_path: Path
) -> None:
    common = ("--store", full_store.root, "--offline", "--out", tmp_path / "b.tar")
    done = call("site", "export", built.iso, *common, "--part-size", size, code=3)
    assert "bytes: expected 4096 to 17592186044416" in errors(done)[0]
    assert not list(tmp_path.glob("b.*"))


@pytest.mark.parametrize(
    "name", [".hidden", "-x", " x", "쿠버네티스 설명.txt", os.fsdecode(b"\xff.txt"), "x" * 241]
)
def test_a_name_that_no_site_takes_is_refused_with_those_it_takes(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be carried by this name: expected at most") as got:
        packing([], lambda _: None, extras=[tmp_path / name])
    assert "pydantic" not in str(got.value)


def test_the_longest_name_that_is_taken_arrives(tmp_path: Path) -> None:
    part = of_one_file(tmp_path / "in", "x" * 240, b"x")
    call("site", "import", part, "--store", tmp_path / "s", "--out", tmp_path / "site")
    assert (tmp_path / "site" / ("x" * 240)).read_bytes() == b"x"


def test_equal_bytes_arrive_under_all_their_names(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    """Such as statements about vulnerabilities of two ISOs, which nobody named."""
    names = ["a.vex.json", "b.vex.json", "c"]
    for name in names:
        (tmp_path / name).write_bytes(b"the same")
    added = [f"--add={tmp_path / name}" for name in names]
    common = ("--store", full_store.root, "--offline", "--out", tmp_path / "b.tar")
    call("site", "export", built.iso, *added, *common)
    site = tmp_path / "site"
    call("site", "import", tmp_path / "b.tar", "--store", tmp_path / "s", "--out", site)
    assert [(site / name).read_bytes() for name in names] == [b"the same"] * 3
    kubeadm = full_store.own(built.lock.files[0].sha256)
    assert kubeadm is not None
    (tmp_path / "kubeadm").write_bytes(kubeadm.read())
    done = call("site", "export", built.iso, f"--add={tmp_path / 'kubeadm'}", *common, code=3)
    assert "the same bytes are carried as" in errors(done)[0]
    (tmp_path / "C").write_bytes(b"the same")
    with pytest.raises(InputError, match="two files called C"):
        packing([], lambda _: None, extras=[tmp_path / "c", tmp_path / "C"])


def test_pipes_are_neither_carried_nor_waited_for(packed: Packing, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="pipe: no regular file"):
        packing([], lambda _: None, extras=[pipe])
    one = packed.bundle.model_copy(update={"part_size": None})
    for replace in (False, True):
        with pytest.raises(InputError, match="pipe: is there already, and no regular file"):
            write_parts(Packing(one, packed.texts, packed.find), pipe, replace=replace)
    os.mkfifo(tmp_path / "b.sha256")
    with pytest.raises(InputError, match="sha256: is there, and is no file"):
        write_parts(packed, tmp_path / "b.tar")
    assert not list(tmp_path.glob("b*.tar"))


# --- killed

_CHILD = """
import os, signal, sys
from isobuilder.cli.main import main
from isobuilder.digest import Hasher

left, folder = int(sys.argv[1]), sys.argv[2]
count = 0

def tick():
    global count
    count += 1
    if count == left:
        os.kill(os.getpid(), signal.SIGKILL)

def hook(event, args):
    if event in {"open", "os.rename", "os.remove", "os.chmod"} and str(args[0]).startswith(folder):
        tick()

sys.addaudithook(hook)
update = Hasher.update
def slow(self, chunk):
    tick()
    update(self, chunk)
Hasher.update = slow
try:
    main(sys.argv[3:])
finally:
    print("moments", count, file=sys.stderr)
"""


def _killed(moment: int, folder: Path, *arguments: object) -> tuple[int, int]:
    """Run a command that is killed at a moment; return its end, and how many moments it had."""
    words = [str(word) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(moment), str(folder), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = done.stderr.splitlines()[-1:] or [""]
    return done.returncode, int(last[0].split()[1]) if last[0].startswith("moments") else 0


def test_killed_at_any_moment_and_repeated_an_export_ends_the_same(
    packed: Packing, built: Built, full_store: Store, tmp_path: Path
) -> None:
    files = [f"--add={path}" for path in sorted((tmp_path / "carried").iterdir())]
    common = ["--part-size", "150000", "--store", full_store.root, "--offline", *files]
    command = ["site", "export", built.iso.with_suffix(".lock.json"), *common, "--out"]
    code, moments = _killed(0, tmp_path, *command, tmp_path / "whole" / "b.tar")
    assert code == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    chance = random.Random()
    out = tmp_path / "out"
    kills = 0
    while kills < KILLS:
        code, _ = _killed(chance.randint(1, moments), tmp_path, *command, out / "b.tar")
        kills += code == -signal.SIGKILL
        there = {path.name: path.read_bytes() for path in out.glob("b.*")} if out.exists() else {}
        assert all(there[name] == whole[name] for name in there if name.endswith(".tar"))
        if code == 0:
            assert {n: data for n, data in there.items() if n in whole} == whole
            shutil.rmtree(out)
    assert _killed(0, tmp_path, *command, out / "b.tar")[0] == 0
    assert {name: (out / name).read_bytes() for name in whole} == whole


def test_killed_at_any_moment_and_repeated_an_import_ends_the_same(
    packed: Packing, tmp_path: Path
) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    store = tmp_path / "store"
    command = ["site", "import", *parts, "--out", tmp_path / "site", "--store", store]
    code, moments = _killed(0, store, *command)
    assert code == 0
    shutil.rmtree(store)
    shutil.rmtree(tmp_path / "site")
    chance = random.Random()
    kills = 0
    while kills < KILLS:
        code, _ = _killed(chance.randint(1, moments), store, *command)
        kills += code == -signal.SIGKILL
        assert wrong_blobs(store) == []
        if code == 0:
            shutil.rmtree(store)
    assert _killed(0, store, *command)[0] == 0
    assert all(Store(store).own(item.digest) for item in packed.bundle.contents)
    for path in (tmp_path / "carried").iterdir():
        assert (tmp_path / "site" / path.name).read_bytes() == path.read_bytes()


def test_what_killed_runs_left_is_removed_and_what_others_write_stays(
    packed: Packing, tmp_path: Path
) -> None:
    one = packed.bundle.model_copy(update={"part_size": None})
    item = one.contents[0]
    parts, folder, site = tmp_path / "parts", tmp_path / "folder", tmp_path / "site"
    left = [
        parts / ".b.001-of-006.tar.abcd1234",
        parts / ".b.sha256.m2nbhrn2",
        folder / ".bundle.json.abcd1234",
        folder / "blobs" / "sha256" / f".{item.digest.hex}.48ebntav",
        site / f".{item.names[0]}.abcd_123",
    ]
    others = [parts / ".b.notes.abcd1234", parts / ".b.002-of-006.tar.vim", site / ".x.abcd1234"]
    for path in (*left, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with new_file(parts / "b.001-of-006.tar") as put:
        put(b"of another run")
        write_parts(packed, parts / "b.tar")
        (held,) = parts.glob(".b.001*")
        assert held not in left
    left[3].rename(tmp_path / "aside")
    left[3].parent.rmdir()
    left[3].parent.parent.rmdir()
    write_folder(Packing(one, packed.texts, packed.find), folder)
    (tmp_path / "aside").rename(left[3])
    write_folder(Packing(one, packed.texts, packed.find), folder)
    import_carried([folder], Store(tmp_path / "store"), site)
    assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in others)
    assert (site / item.names[0]).read_bytes() == (tmp_path / "carried" / "one").read_bytes()


def test_what_another_import_kept_meanwhile_is_passed_over(packed: Packing, tmp_path: Path) -> None:
    class Late(StoreKeeper):
        """Looked for each blob just before the other import had it."""

        def has(self, _: Carried, /) -> bool:
            return False

    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    one = packed.bundle.model_copy(update={"part_size": None})
    alone = Packing(one, packed.texts, packed.find)
    whole = write_parts(alone, tmp_path / "w.tar").parts[0].path
    write_folder(alone, tmp_path / "b")
    store = Store(tmp_path / "store")
    taken(parts, store)
    for path in (*parts, whole):
        with path.open("rb") as file:
            take_part(file, str(path), Late(store))
    take_folder(tmp_path / "b", Late(store))
    assert half_written(store.root) == []


def test_two_imports_at_once_both_end(packed: Packing, tmp_path: Path) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    command = [sys.executable, "-m", "isobuilder", "site", "import", *map(str, parts)]
    both = [
        subprocess.Popen([*command, "--store", tmp_path / "store", "--out", tmp_path / f"{n}"])
        for n in range(2)
    ]
    assert [child.wait(60) for child in both] == [0, 0]
    assert half_written(tmp_path / "store") == []
