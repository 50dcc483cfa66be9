from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from isobuilder.content import leaks
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.formats.oci import parse_manifest
from isobuilder.http.replies import Reply, Request
from isobuilder.model.loading import load_lock
from isobuilder.pipeline.build import Built, build, check, manifest_of
from isobuilder.pipeline.fetch import fetch
from isobuilder.pipeline.lock import find_lock, lock_recipe
from isobuilder.report.page import write_report
from isobuilder.sources.session import Session, open_session
from isobuilder.store import Blob, Collected, Store, collect, stored
from tests.pipeline.world import Locked, World, command, run_cli
from tests.test_store import python


def test_the_side_files_describe_the_iso(built: Built) -> None:
    folder = built.iso.parent
    name = "kubernetes-v1.34.12-mold-cks-amd64-r1"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{name}.iso",
        f"{name}.iso.sha256",
        f"{name}.lock.json",
        f"{name}.manifest.json",
        f"{name}.registration.json",
        f"{name}.sbom.cdx.json",
    ]
    subprocess.run(["sha256sum", "-c", "--strict", f"{name}.iso.sha256"], cwd=folder, check=True)
    registration = json.loads((folder / f"{name}.registration.json").read_bytes())
    assert registration["checksum"] == "{SHA-256}" + Digest.of_file(built.iso).hex
    assert registration["arch"] == "x86_64"
    assert registration["kubernetesversion"] == "1.34.12"
    assert registration["size"] == built.iso.stat().st_size
    manifest = json.loads((folder / f"{name}.manifest.json").read_bytes())
    assert manifest["product_version"] == "1.34.12+mold-cks.r1"


def test_a_second_build_of_the_same_reads_and_writes_nothing(
    session: Session, locked: Locked, tmp_path: Path
) -> None:
    first = build(locked.lock, tmp_path, session)
    before = first.iso.stat()
    again = build(locked.lock, tmp_path, session)
    assert again.reused
    assert again.digest == first.digest
    after = first.iso.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert after.st_atime_ns == before.st_atime_ns


def test_an_iso_that_somebody_changed_is_built_again(
    session: Session, locked: Locked, tmp_path: Path
) -> None:
    first = build(locked.lock, tmp_path, session)
    with first.iso.open("r+b") as file:
        file.seek(40000)
        file.write(b"changed")
    again = build(locked.lock, tmp_path, session)
    assert not again.reused
    assert Digest.of_file(again.iso) == first.digest


def test_a_side_file_that_is_missing_comes_back(
    session: Session, locked: Locked, tmp_path: Path
) -> None:
    first = build(locked.lock, tmp_path, session)
    first.side_files[0].unlink()
    build(locked.lock, tmp_path, session)
    assert first.side_files[0].read_text().startswith(first.digest.hex)


def test_offline_builds_from_a_full_store(
    world: World, locked: Locked, full_store: Store, built: Built, tmp_path: Path
) -> None:
    config = world.config.model_copy(update={"offline": True, "mirrors": {}})
    with open_session(config, full_store) as offline:
        assert build(locked.lock, tmp_path, offline).digest == built.digest


def test_each_manifest_of_an_image_is_parsed_once_the_page_of_the_iso_included(
    session: Session, locked: Locked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.content.images._parsed", {})  # as in a new process
    parsed = []

    def count(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is parse_manifest.__code__:
            parsed.append(Digest.of(frame.f_locals["data"]))

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        write_report(build(locked.lock, tmp_path, session, force=True))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert sorted(parsed) == sorted({image.digest for image in locked.lock.images})


def test_offline_names_everything_that_is_missing(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    config = world.config.model_copy(update={"offline": True})
    with (
        open_session(config, Store(tmp_path / "store")) as offline,
        pytest.raises(
            EnvironmentProblem, match=r"lacks 25 things: kubeadm, kubelet, .* and 15 more"
        ),
    ):
        build(locked.lock, tmp_path / "out", offline)


def test_build_check_agrees_with_what_was_built(
    session: Session, locked: Locked, built: Built
) -> None:
    assert check(locked.lock, built.iso, session) == built.digest


def test_build_check_refuses_an_iso_with_one_other_bit(
    session: Session, locked: Locked, built: Built, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.iso"
    data = bytearray(built.iso.read_bytes())
    data[-3000] ^= 1
    copy.write_bytes(data)
    with pytest.raises(IntegrityError, match="not reproduced"):
        check(locked.lock, copy, session)


def test_a_lock_that_does_not_answer_its_recipe_is_refused_with_the_difference(
    world: World, session: Session, tmp_path: Path
) -> None:
    recipe = tmp_path / "kubernetes-1.34.12.yaml"
    recipe.write_bytes(world.recipe.read_bytes())
    lock_recipe(recipe, "amd64", session)
    text = recipe.read_text()
    recipe.write_text(text.replace('crictl: "1.34.0"', 'crictl: "1.34.1"'))
    with pytest.raises(InputError, match=r"crictl.*1\.34\.1") as caught:
        find_lock(recipe, "amd64")
    assert "isobuilder lock" in (caught.value.hint or "")


def test_a_lock_from_which_somebody_took_what_nodes_need_is_refused(
    empty_session: Session, locked: Locked, tmp_path: Path
) -> None:
    lock = locked.lock
    changes: dict[str, dict[str, object]] = {
        "needs k8s/kubeadm: nodes": {
            "files": tuple(file for file in lock.files if file.path != "k8s/kubeadm")
        },
        "needs network.yaml: the control node": {
            "manifests": tuple(one for one in lock.manifests if one.path != "network.yaml")
        },
        "needs kubelet.service: nodes": {"render": ()},
    }
    for fact, change in changes.items():
        with pytest.raises(InputError, match=fact):
            build(lock.model_copy(update=change), tmp_path / "out", empty_session)
    assert not (tmp_path / "out").exists()
    assert stored(empty_session.store) == []


def test_the_size_of_an_image_is_that_of_its_parts(
    session: Session, locked: Locked, tmp_path: Path
) -> None:
    first, *others = locked.lock.images
    assert first.size is not None
    wrong = first.model_copy(update={"size": first.size + 1})
    lock = locked.lock.model_copy(update={"images": (wrong, *others)})
    with pytest.raises(IntegrityError, match=f"says {first.size + 1} bytes, .* {first.size}"):
        build(lock, tmp_path, session)
    assert list(tmp_path.iterdir()) == []


def test_locking_twice_gives_the_same_bytes(world: World, session: Session, tmp_path: Path) -> None:
    recipe = tmp_path / "kubernetes-1.34.12.yaml"
    recipe.write_bytes(world.recipe.read_bytes())
    first = lock_recipe(recipe, "amd64", session)
    assert first.changed
    assert not lock_recipe(recipe, "amd64", session).changed


def test_update_changes_only_what_it_names(
    world: World, session: Session, locked: Locked, tmp_path: Path
) -> None:
    recipe = tmp_path / "kubernetes-1.34.12.yaml"
    recipe.write_bytes(world.recipe.read_bytes())
    path = tmp_path / "kubernetes-1.34.12.amd64.lock.json"
    stale = Digest.of(b"what upstream served last year")
    files = tuple(
        file.model_copy(update={"sha256": stale}) if file.name in {"kubelet", "kubectl"} else file
        for file in locked.lock.files
    )
    path.write_bytes(locked.lock.model_copy(update={"files": files}).to_bytes())
    updated = lock_recipe(recipe, "amd64", session, update=["kubelet"]).lock
    digests = {file.name: file.sha256 for file in updated.files}
    assert digests["kubelet"] == next(f.sha256 for f in locked.lock.files if f.name == "kubelet")
    assert digests["kubectl"] == stale


def test_update_of_an_unknown_name_lists_the_known_ones(
    world: World, session: Session, locked: Locked
) -> None:
    with pytest.raises(InputError, match="nothing in the lock is called 'kubelett'") as caught:
        lock_recipe(world.recipe, "amd64", session, update=["kubelett"])
    assert "kubelet," in (caught.value.hint or "")


# --- full disks and read-only folders ---


def test_an_output_folder_that_is_read_only_is_named_before_anything_is_fetched(
    empty_session: Session,
    locked: Locked,
    tmp_path: Path,
    read_only: Callable[[Path], None],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    read_only(out)
    with pytest.raises(EnvironmentProblem, match=str(out)):
        build(locked.lock, out, empty_session)
    assert not list(out.iterdir())
    assert not (empty_session.store.root / "blobs").exists()


def test_a_full_disk_leaves_the_iso_that_was_there(
    session: Session, locked: Locked, small_disk: Path
) -> None:
    first = build(locked.lock, small_disk, session)
    names = sorted(path.name for path in small_disk.iterdir())
    with (small_disk / "ballast").open("wb") as ballast:
        ballast.write(bytes(600 * 1024))
    with pytest.raises(EnvironmentProblem, match=r"\d+ bytes|No space|File too large"):
        build(locked.lock, small_disk, session, force=True)
    (small_disk / "ballast").unlink()
    assert sorted(path.name for path in small_disk.iterdir()) == names
    assert Digest.of_file(first.iso) == first.digest


def test_a_full_store_leaves_nothing_half_written(
    world: World, locked: Locked, small_disk: Path, tmp_path: Path
) -> None:
    (small_disk / "ballast").write_bytes(bytes(1000 * 1024))
    store = Store(small_disk / "store")
    with open_session(world.config, store) as session, pytest.raises(EnvironmentProblem):
        fetch([locked.lock], session)
    for path in (small_disk / "store").rglob("blobs/sha256/*/*"):
        assert Digest.of_file(path).hex == path.name


# --- processes that end early, and several at once ---


def test_killed_at_any_moment_the_same_command_then_gives_the_same_iso(
    world: World, built: Built, tmp_path: Path
) -> None:
    out, store = tmp_path / "out", tmp_path / "store"
    recipe = tmp_path / "kubernetes-1.34.12.yaml"
    recipe.write_bytes(world.recipe.read_bytes())
    arguments: list[str | Path] = [
        "build",
        recipe,
        "--arch",
        "amd64",
        "--out",
        out,
        "--store",
        store,
    ]
    arguments += ["--config", world.config_file, "--progress", "none"]
    moments = random.Random(1)
    for _ in range(8):
        child = subprocess.Popen(
            command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.15, 1.0))
        child.send_signal(signal.SIGKILL)
        child.wait()
        for iso in out.glob("*.iso"):
            assert Digest.of_file(iso) == built.digest
        for blob in store.rglob("blobs/sha256/*/*"):
            assert Digest.of_file(blob).hex == blob.name
    run_cli(*arguments)
    iso = next(out.glob("*.iso"))
    assert Digest.of_file(iso) == built.digest
    names = [path.name for path in built.iso.parent.iterdir()]
    report = f"{built.lock.base_name}.report.html"  # which the command line adds
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, report])


def test_interrupted_builds_say_so_and_leave_no_file(
    world: World, locked: Locked, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments: list[str | Path] = [
        "build",
        locked.path,
        "--out",
        out,
        "--store",
        tmp_path / "store",
    ]
    arguments += ["--config", world.config_file, "--limit-rate", "4K", "--progress", "plain"]
    child = subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    for line in child.stderr:  # at this rate the fetch would take long
        if line.startswith("fetching"):
            break
    child.send_signal(signal.SIGINT)
    said = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=60) == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not list(out.iterdir())


@pytest.mark.parametrize("same", [True, False], ids=["of the same", "of different recipes"])
def test_two_builds_at_once_both_give_whole_isos(
    world: World, built: Built, tmp_path: Path, same: bool
) -> None:
    store, out = tmp_path / "store", tmp_path / "out"
    recipes: list[Path] = []
    for source in (world.recipe, world.recipe if same else world.csi_recipe):
        folder = tmp_path / f"recipes-{len(recipes)}"
        folder.mkdir()
        for path in (world.recipe, world.csi_recipe):
            shutil.copy(path, folder)
        recipes.append(folder / source.name)
    children = [
        subprocess.Popen(
            command(
                *("build", recipe, "--arch", "amd64", "--out", out, "--store", store),
                *("--config", world.config_file, "--progress", "none"),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for recipe in recipes
    ]
    for child in children:
        _, said = child.communicate(timeout=120)
        assert child.returncode == 0, said
    isos = sorted(out.glob("*.iso"))
    assert len(isos) == (1 if same else 2)
    for iso in isos:
        assert iso.with_suffix(".iso.sha256").read_text().startswith(Digest.of_file(iso).hex)
    assert Digest.of_file(out / built.iso.name) == built.digest


@pytest.mark.parametrize("replace", [True, False], ids=["replacing", "or not"])
def test_a_build_that_ends_first_keeps_its_name_and_no_iso_stands_by_files_of_another(
    session: Session,
    locked: Locked,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    replace: bool,
) -> None:
    """Whoever looked for an ISO of that name before it wrote its own has seen none."""
    memory = locked.lock.registration.min_memory_mb + 1
    registration = locked.lock.registration.model_copy(update={"min_memory_mb": memory})
    other = locked.lock.model_copy(update={"registration": registration})
    first: list[Built] = []
    refuse = leaks.refuse_leaks

    def meanwhile(*arguments: object) -> None:
        refuse(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(leaks, "refuse_leaks", refuse)
        first.append(build(locked.lock, tmp_path, session))

    monkeypatch.setattr(leaks, "refuse_leaks", meanwhile)
    if replace:
        last = build(other, tmp_path, session, replace=True)
    else:
        with pytest.raises(InputError, match="made from the lock"):
            build(other, tmp_path, session)
        (last,) = first
    assert last.iso == first[0].iso
    assert len(list(tmp_path.iterdir())) == 1 + len(last.side_files)
    assert Digest.of_file(last.iso) == last.digest
    assert last.iso.with_suffix(".iso.sha256").read_text().startswith(last.digest.hex)
    assert load_lock(last.iso.with_suffix(".lock.json")) == last.lock


def test_an_iso_that_is_replaced_leaves_no_sum_of_its_own_beside_the_new_one(
    session: Session, locked: Locked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(locked.lock, tmp_path, session)
    memory = locked.lock.registration.min_memory_mb + 1
    registration = locked.lock.registration.model_copy(update={"min_memory_mb": memory})
    other = locked.lock.model_copy(update={"registration": registration})
    module = sys.modules[build.__module__]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write_side_files", interrupted)
    path = first.iso.with_suffix(".lock.json")
    path.write_bytes(other.to_bytes())  # which is what is built
    with pytest.raises(KeyboardInterrupt):
        build(other, tmp_path, session, replace=True)
    assert Digest.of_file(first.iso) != first.digest
    assert sorted(tmp_path.iterdir()) == [first.iso, path]


def test_whoever_holds_a_lock_on_the_output_folder_keeps_no_build_from_its_end(
    session: Session, locked: Locked, tmp_path: Path
) -> None:
    """As ``flock FOLDER isobuilder build --out FOLDER`` does."""
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        built = build(locked.lock, tmp_path, session)
    finally:
        os.close(handle)
    assert len(list(tmp_path.iterdir())) == 1 + len(built.side_files)


def test_a_collection_at_any_moment_takes_nothing_from_a_running_build(
    world: World, locked: Locked, built: Built, empty_session: Session, tmp_path: Path
) -> None:
    collections: list[Collected] = []

    def collect_all(request: Request, reply: Reply) -> None:
        if "/blobs/" in request.path or request.path.endswith("kubelet"):
            collections.append(collect(empty_session.store, ()))

    world.upstream.hooks.append(collect_all)
    try:
        again = build(locked.lock, tmp_path / "out", empty_session)
    finally:
        world.upstream.hooks.remove(collect_all)
    assert again.digest == built.digest
    assert len(collections) > 20
    assert [blob for found in collections for blob in found.removed] == []


def test_a_collection_waits_until_a_recipe_is_locked(
    world: World, locked: Locked, empty_session: Session, tmp_path: Path
) -> None:
    store = empty_session.store
    with ThreadPoolExecutor() as pool:
        with collecting(store, pool) as collections:
            found = lock_recipe(
                world.recipe, "amd64", empty_session, output=tmp_path / locked.path.name
            )
        removed = [blob for one in collections for blob in one.ended.result().removed]
    assert found.lock == locked.lock
    assert len(collections) > 5
    assert not any(one.meanwhile for one in collections)
    assert removed


@dataclass(frozen=True, slots=True)
class Collection:
    """One that somebody began."""

    ended: Future[Collected]
    meanwhile: bool  # it was not waiting for those who use the store


@contextmanager
def collecting(store: Store, pool: ThreadPoolExecutor) -> Iterator[list[Collection]]:
    """Begin a collection of everything after each blob that somebody adds."""
    begun: list[Collection] = []
    add = Store.add

    def adding(self: Store, *arguments: Any, **named: Any) -> Blob:
        blob = add(self, *arguments, **named)
        ended = pool.submit(collect, store, ())
        wait([ended], timeout=0.05)
        begun.append(Collection(ended, ended.done()))
        return blob

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "add", adding)
        yield begun


COLLECTING = """
import sys
from pathlib import Path
from isobuilder.store import Store, collect
print("ready", flush=True)
while True:
    collect(Store(Path(sys.argv[1])), ())
"""


def test_a_recipe_is_built_beside_collections_without_end(
    world: World, built: Built, tmp_path: Path
) -> None:
    store, out = tmp_path / "store", tmp_path / "out"
    store.mkdir()
    recipe = Path(shutil.copy(world.recipe, tmp_path))
    with python(COLLECTING, store):
        for _ in range(3):
            (tmp_path / "kubernetes-1.34.12.amd64.lock.json").unlink(missing_ok=True)
            run_cli(
                *("build", recipe, "--arch", "amd64", "--out", out, "--store", store, "--force"),
                *("--config", world.config_file, "--progress", "none"),
            )
    assert Digest.of_file(out / built.iso.name) == built.digest


# --- the same bytes everywhere ---

VARIED = {
    "another time zone": {"TZ": "Asia/Seoul"},
    "another locale": {"LC_ALL": "ko_KR.UTF-8", "LANG": "ko_KR.UTF-8"},
    "another home": {"HOME": "/nonexistent"},
    "another hash seed": {"PYTHONHASHSEED": "12345"},
    "another epoch in the environment": {"SOURCE_DATE_EPOCH": "1"},
}


@pytest.mark.parametrize("env", VARIED.values(), ids=VARIED)
def test_the_environment_does_not_change_a_byte(
    built: Built, locked: Locked, full_store: Store, tmp_path: Path, env: dict[str, str]
) -> None:
    run_cli(
        "build", locked.path, "--offline", "--store", full_store.root, "--out", tmp_path, env=env
    )
    assert Digest.of_file(tmp_path / built.iso.name) == built.digest


def test_another_umask_does_not_change_a_byte(
    built: Built, locked: Locked, full_store: Store, tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        run_cli("build", locked.path, "--offline", "--store", full_store.root, "--out", tmp_path)
    finally:
        os.umask(before)
    assert Digest.of_file(tmp_path / built.iso.name) == built.digest


def test_another_order_on_disk_and_other_modes_do_not_change_a_byte(
    built: Built, locked: Locked, full_store: Store, tmp_path: Path
) -> None:
    copy = tmp_path / "store"
    blobs = sorted((full_store.root / "blobs").rglob("*/*/*"), reverse=True)
    for number, blob in enumerate(blobs):
        target = copy / blob.relative_to(full_store.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(blob, target)
        target.chmod(0o600 if number % 2 else 0o777)
        os.utime(target, (number, number))
    run_cli("build", locked.path, "--offline", "--store", copy, "--out", tmp_path / "out")
    assert Digest.of_file(tmp_path / "out" / built.iso.name) == built.digest


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user: run as root")
def test_another_user_does_not_change_a_byte(
    built: Built, locked: Locked, full_store: Store, tmp_path: Path
) -> None:
    folder = Path("/tmp") / f"isobuilder-nobody-{os.getpid()}"
    try:
        shutil.copytree(full_store.root, folder / "store")
        shutil.copytree(Path(sys.modules["isobuilder"].__path__[0]), folder / "isobuilder")
        shutil.copyfile(locked.path, folder / "demo.amd64.lock.json")
        subprocess.run(["chown", "-R", "65534:65534", folder], check=True)
        done = subprocess.run(
            [
                *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
                *command("build", "demo.amd64.lock.json", "--offline", "--store", "store"),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder)},
        )
        closed = "Permission denied" in done.stderr and "isobuilder" not in done.stderr
        if closed or "error while loading shared libraries" in done.stderr:
            pytest.skip("this interpreter lies in a folder that other users may not enter")
        assert done.returncode == 0, done.stderr
        assert Digest.of_file(folder / "dist" / built.iso.name) == built.digest
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def newer_pythons() -> list[Path]:
    """Return newer interpreters: on the PATH, or beside ours where several are kept."""
    places = [Path(part) for part in os.environ.get("PATH", "").split(os.pathsep)]
    places += sorted(Path(sys.base_prefix).parent.glob("*/bin"))
    found: dict[str, Path] = {}
    for place in places:
        for path in sorted(place.glob("python3.1[2-9]")):
            done = subprocess.run(
                [path, "-c", "import venv, ensurepip"], capture_output=True, check=False
            )
            if done.returncode == 0:
                found.setdefault(path.name, path)
    return [found[name] for name in sorted(found)]


@pytest.mark.slow
def test_a_newer_python_does_not_change_a_byte(
    built: Built, locked: Locked, full_store: Store, tmp_path: Path
) -> None:
    pythons = newer_pythons()
    if not pythons:
        pytest.skip("no Python newer than 3.11 with venv on this machine")
    project = Path(__file__).parents[2]
    subprocess.run([pythons[-1], "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", project], check=True)
    subprocess.run(
        command(
            *("build", locked.path, "--offline", "--store", full_store.root),
            *("--out", tmp_path / "out"),
            python=python,
        ),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert Digest.of_file(tmp_path / "out" / built.iso.name) == built.digest
    pages: list[dict[str, bytes]] = []
    for one in (python, Path(sys.executable)):
        site = tmp_path / f"site {len(pages)}"
        words = command("catalogue", tmp_path / "out", "--out", site, python=one)
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
        pages.append({path.name: path.read_bytes() for path in site.rglob("*") if path.is_file()})
    assert pages[0] == pages[1]
    assert f"{built.iso.stem}.html" in pages[0]


def test_a_pipe_in_the_place_of_a_manifest_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "k.iso").write_bytes(b"damaged")
    os.mkfifo(tmp_path / "k.manifest.json")
    assert manifest_of(tmp_path / "k.iso") is None
