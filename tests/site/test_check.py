"""What arrived, proved where it lies, and what a site can do with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from isobuilder.content.donor import FolderDonor
from isobuilder.content.from_iso import BytesBlob
from isobuilder.demo.mold import Cloud, CloudUser
from isobuilder.digest import Digest
from isobuilder.model.lock import Lock
from isobuilder.pipeline.build import Built, build
from isobuilder.site.bundles.export import write_parts
from isobuilder.site.bundles.packing import Packing, packing
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints
from tests.fakes.mold import FakeMold
from tests.mold.messes import add_directly
from tests.pipeline.signed import copied, new_key
from tests.pipeline.world import World


def bundle_of(lock: Lock, store: Store, path: Path, *, without: str) -> Path:
    """Write a bundle that leaves one file of its lock out, as one made with --known may."""
    (left_out,) = [file.sha256 for file in lock.files if file.name == without]
    write_parts(packing([lock], store.find, without={left_out}), path)
    return path


def test_an_iso_and_a_bundle_are_proved_and_their_use_is_told(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    lock = built.iso.with_suffix(".lock.json")
    part = ("--out", tmp_path / "b.tar", "--part-size", "40K", "--offline")
    call("site", "export", lock, *part, "--store", full_store.root)
    parts = sorted(tmp_path.glob("b.*.tar"))
    here = ("--have", "1.33.9", "--have", "1.34.12", "--store", tmp_path / "none")
    done = call("site", "check", built.iso, *reversed(parts), *here, "--digest", built.digest)
    assert f"{built.iso}: good, {built.digest}" in done.stdout
    assert ": complete\n  builds kubernetes-v1.34.12-mold-cks-amd64-r1\n" in done.stdout
    assert "1.33.9 -> 1.34.12\n" in done.stdout
    assert "1.34.12: nothing here is an upgrade of it\n" in done.stdout
    assert not (tmp_path / "none").exists()
    data = json.loads(call("site", "check", *parts[1:], *here, "--json", code=7).stdout)
    assert data["bundles"][0]["missing"]
    store = ("--store", tmp_path / "store")
    call("site", "import", *parts, "--out", tmp_path / "site", *store)
    done = call("site", "check", parts[-1], *store)
    assert ": complete\n  builds kubernetes-v1.34.12-mold-cks-amd64-r1\n" in done.stdout


def test_what_the_sites_mold_has_is_what_clusters_run(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = Cloud()
    cloud.users = [CloudUser("admin", "Ak-lab-0123456789", "Sk-lab-9876543210", "password")]
    add_directly(cloud, "1.33.9")
    add_directly(cloud, "1.33.8", name="for others", arch="aarch64")
    with FakeMold(cloud) as simulator:
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"mold": {"lab": {"endpoint": simulator.endpoint}}}))
        monkeypatch.setenv("ISOBUILDER_CONFIG", str(path))
        monkeypatch.setenv("ISOBUILDER_MOLD_API_KEY", "Ak-lab-0123456789")
        monkeypatch.setenv("ISOBUILDER_MOLD_SECRET_KEY", "Sk-lab-9876543210")
        done = call("site", "check", built.iso, "--server", "lab")
        assert "\namd64: 1.33.9 -> 1.34.12\n" in done.stdout
        assert "\narm64: 1.33.8: nothing here is an upgrade of it\n" in done.stdout
    done = call("site", "check", built.iso, "--server", "lab", code=4)
    assert f"{built.iso}: good" in done.stdout


def test_a_digest_that_came_another_way_is_compared(built: Built, tmp_path: Path) -> None:
    wrong = "sha256:" + "0" * 64
    done = call("site", "check", built.iso, "--digest", wrong, code=5)
    assert "do not use it" in errors(done)[0]


def test_a_lock_of_another_iso_beside_it_is_told(built: Built, tmp_path: Path) -> None:
    here = copied(built, tmp_path / "dist")
    beside = here.with_suffix(".lock.json")
    other = json.loads(beside.read_bytes())
    other["epoch"] += 1
    beside.write_text(json.dumps(other))
    store = ("--store", tmp_path / "store")
    done = call("site", "check", here, *store, code=5)
    assert "error: lock.pin: " in done.stdout
    assert "do not use it" in errors(done)[0]
    of_another = f"{here}: the lock beside it is of another ISO: sha256:"
    done = call("site", "import", here, *store, "--out", tmp_path / "site")
    assert of_another in done.stderr
    done = call("site", "export", here, *store, "--out", tmp_path / "b.tar", "--offline", code=3)
    assert of_another in errors(done)[0]
    assert errors(done)[0].endswith(f", expected {built.lock.digest}")


def test_what_is_no_lock_beside_an_iso_is_told(built: Built, tmp_path: Path) -> None:
    here = copied(built, tmp_path / "dist")
    beside = here.with_suffix(".lock.json")
    beside.write_text("{")
    store = ("--store", tmp_path / "store")
    done = call("site", "check", here, *store, code=3)
    assert f"{beside}:1:2: not JSON" in errors(done)[0]
    done = call("site", "import", here, *store, "--out", tmp_path / "site")
    assert f"{here}: the lock beside it cannot be read, so manifests" in done.stderr


def test_the_key_of_whoever_signs_isos_is_enough(built: Built, tmp_path: Path) -> None:
    for name in ("ours", "stranger"):
        new_key(tmp_path, name)
    ours, stranger = (("--key", tmp_path / f"{name}.pub") for name in ("ours", "stranger"))
    here = copied(built, tmp_path / "dist")
    done = call("site", "check", here, *ours, code=5)
    assert "no signature by a key that counts" in done.stdout
    call("sign", here, "--key", tmp_path / "ours.pem")
    assert "signed by ours (sha256:" in call("site", "check", here, *ours).stdout
    told = json.loads(call("site", "check", here, *ours, "--json").stdout)
    assert told["isos"][0]["signatures"][0].startswith("signed by ours")
    call("site", "check", here, *stranger, code=5)
    call("site", "export", here, "--out", tmp_path / "b.tar", "--store", tmp_path / "store")
    done = call("site", "check", tmp_path / "b.tar", *ours, code=2)
    assert "--key is about ISOs" in errors(done)[0]


def test_what_the_store_has_is_there_and_the_missing_parts_are_told(
    packed: Packing, tmp_path: Path
) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    store = ("--store", tmp_path / "store")
    out = ("--out", tmp_path / "site")
    call("site", "import", parts[1], *store, *out, code=7)
    before = sorted(tmp_path.rglob("*"))
    done = call("site", "check", parts[0], *parts[3:], *store, code=7)
    assert f"2 missing, in part 3 of {len(parts)}\n" in done.stdout
    assert errors(done)[0].endswith(f"is here: missing part 3 of {len(parts)}")
    call("site", "check", parts[0], *parts[2:], *store)
    told = json.loads(call("site", "check", parts[5], *store, "--json", code=7).stdout)
    assert told["bundles"][0]["missing_parts"] == [1, 3, 4, 5]
    assert told["bundles"][0]["parts"] == len(parts)
    assert sorted(tmp_path.rglob("*")) == before
    call("site", "import", parts[0], *parts[2:-1], *store, *out, code=7)
    assert ": complete\n" in call("site", "check", parts[-1], *store).stdout


def test_a_piece_that_was_damaged_in_the_store_is_told(packed: Packing, tmp_path: Path) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    store = ("--store", tmp_path / "store")
    call("site", "import", parts[-1], *store, "--out", tmp_path / "site", code=7)
    (piece,) = (tmp_path / "store" / "partial").glob("*.stretch")
    piece.write_bytes(bytes(piece.stat().st_size))
    done = call("site", "check", *parts[:-1], *store, code=5)
    last = packed.bundle.contents[-1]
    assert f"{last.names[0]}: expected {last.digest}, got " in errors(done)[1]


def test_a_proof_that_is_asked_of_what_is_not_here_is_refused(
    built: Built, packed: Packing, tmp_path: Path
) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    identity = ("--bundle", packed.bundle.identity)
    store = ("--store", tmp_path / "store")
    done = call("site", "check", *parts, "--trust", *store, code=2)
    assert "--trust is about ISOs, and none is here" in errors(done)[0]
    done = call("site", "check", built.iso, *identity, *store, code=2)
    assert "--bundle is about bundles, and none is here" in errors(done)[0]
    out = ("--out", tmp_path / "site", *store)
    done = call("site", "import", built.iso, *identity, *out, code=2)
    assert "--bundle is about bundles, and only ISOs are here" in errors(done)[0]
    assert not (tmp_path / "store").exists()
    call("site", "check", built.iso, *parts, *identity, *store)
    call("site", "import", built.iso, *parts, *identity, *out)


def test_a_damaged_part_is_told_without_writing_anything(packed: Packing, tmp_path: Path) -> None:
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    data = bytearray(parts[2].read_bytes())
    data[-3000] ^= 1
    parts[2].write_bytes(data)
    before = sorted(tmp_path.rglob("*"))
    done = call("site", "check", *parts, "--store", tmp_path / "none", code=5)
    assert f"bundle {packed.bundle.identity}: not all that it promises" in errors(done)[0]
    assert "expected sha256:" in errors(done)[1]
    assert sorted(tmp_path.rglob("*")) == before


def test_of_what_was_cut_no_part_is_blamed_that_may_be_right(
    packed: Packing, tmp_path: Path
) -> None:
    """And what else is in the last of them is read all the same."""
    parts = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    data = bytearray(parts[0].read_bytes())
    data[100_000] ^= 1
    parts[0].write_bytes(data)
    done = call("site", "check", *parts, "--store", tmp_path / "none", code=5)
    first = packed.bundle.contents[0]
    assert (
        f": 1 missing, in part 1, 2 of {len(parts)}\n  missing: {first.names[0]}\n" in done.stdout
    )
    assert errors(done)[1].startswith(f"error: {first.names[0]}: expected {first.digest}, got ")
    assert errors(done)[1].endswith(", put together of parts 1, 2")
    assert len(errors(done)) == 2
    assert "sha256sum -c" in hints(done)[1]


def test_a_lock_that_was_cut_is_read_like_any_other(
    packed: Packing, built: Built, tmp_path: Path
) -> None:
    lock = built.lock.to_bytes()
    name = f"{built.lock.base_name}.lock.json"
    (tmp_path / name).write_bytes(lock)
    whole = packing([], lambda _: None, extras=[tmp_path / name])
    (item,) = whole.bundle.contents
    item = item.model_copy(update={"kind": "lock"})
    bundle = whole.bundle.model_copy(update={"contents": (item,), "part_size": len(lock)})
    done = write_parts(Packing(bundle, whole.texts, whole.find), tmp_path / "b.tar")
    assert len(done.parts) > 1
    paths = [part.path for part in done.parts]
    told = call("site", "check", *paths, "--store", tmp_path / "none", "--json", code=7)
    (found,) = json.loads(told.stdout)["bundles"]
    assert found["builds"] == []
    assert f"kubeadm of {name}" in found["not_carried"]


def test_a_lock_that_is_too_much_to_keep_is_told_as_not_looked_at(
    built: Built, full_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("--out", tmp_path / "b.tar", "--offline", "--store", full_store.root)
    call("site", "export", built.iso, *common)
    monkeypatch.setattr("isobuilder.site.check._MOST_KEPT", 5000)
    done = call("site", "check", tmp_path / "b.tar", "--store", tmp_path / "none", code=7)
    name = f"{built.lock.base_name}.lock.json"
    assert f"not looked at, so what it needs is not known: {name}\n" in done.stdout


def test_a_manifest_that_is_too_much_to_keep_withdraws_no_offer(
    built: Built, full_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"a: b\n" * 20_000
    first, *rest = built.lock.manifests
    large = first.model_copy(update={"sha256": Digest.of(data), "size": len(data)})
    lock = built.lock.model_copy(update={"manifests": (large, *rest)})
    store = Store(tmp_path / "store", (FolderDonor(full_store.root),))
    store.add_bytes(data)
    write_parts(packing([lock], store.find), tmp_path / "b.tar")
    monkeypatch.setattr("isobuilder.site.check._MOST_KEPT", len(data) - 1)
    done = call("site", "check", tmp_path / "b.tar", "--store", tmp_path / "none", code=7)
    assert f": complete\n  builds {lock.base_name}\n  not looked at, so " in done.stdout
    assert f"is not known: {first.name}\n" in done.stdout


def test_parts_are_told_by_what_they_say_and_not_by_their_names(
    packed: Packing, tmp_path: Path
) -> None:
    paths = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    paths[0] = paths[0].rename(tmp_path / "zz.tar")
    (tmp_path / "copies").mkdir()
    copies = [Path(shutil.copy(path, tmp_path / "copies")) for path in paths]
    for carried in ([tmp_path], [*paths, *copies]):
        assert ": complete\n" in call("site", "check", *carried).stdout


def test_what_is_refused_keeps_nothing_else_from_being_told(
    built: Built, packed: Packing, tmp_path: Path
) -> None:
    bad, empty = tmp_path / "bad.tar", tmp_path / "empty"
    bad.write_bytes(b"<html>" * 200)
    empty.mkdir()
    paths = [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]
    done = call("site", "check", bad, empty, built.iso, *paths, "--json", code=5)
    told = json.loads(done.stdout)
    assert [iso["passed"] for iso in told["isos"]] == [True]
    assert [bundle["missing"] for bundle in told["bundles"]] == [[]]
    assert f"{empty}: neither a bundle" in errors(done)[0]
    assert f"{bad}: no part of a bundle" in errors(done)[1]


def test_a_folder_with_parts_is_checked_as_they_are(packed: Packing, tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    for part in write_parts(packed, tmp_path / "b.tar").parts:
        shutil.move(part.path, folder)
    assert ": complete" in call("site", "check", folder).stdout


def test_a_folder_may_hold_isos_parts_or_both(
    built: Built, packed: Packing, tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    shutil.copy(built.iso, stick)
    shutil.copy(built.iso.with_suffix(".lock.json"), stick)
    done = call("site", "check", stick, "--store", tmp_path / "none")
    assert f"{stick / built.iso.name}: good, {built.digest}" in done.stdout
    write_parts(packed, stick / "b.tar")
    done = call("site", "check", stick, "--store", tmp_path / "none")
    assert ": good, " in done.stdout
    assert ": complete" in done.stdout
    done = call("site", "import", stick, "--store", tmp_path / "store", "--out", tmp_path / "out")
    assert ": complete" in done.stdout + done.stderr
    assert f"{built.iso.name}: " in done.stdout + done.stderr


def test_an_iso_with_a_very_long_name_keeps_no_other_from_being_told(
    built: Built, tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    shutil.copy(built.iso, stick)
    long = shutil.copy(built.iso, stick / f"{'n' * 250}.iso")
    done = call("site", "check", stick, "--store", tmp_path / "none")
    for path in (stick / built.iso.name, long):
        assert f"{path}: good, {built.digest}" in done.stdout
    done = call("verify", long, stick / built.iso.name)
    assert done.stdout.count("passed: ") == 2


def test_an_iso_that_cannot_be_read_to_its_end_has_no_digest(built: Built, tmp_path: Path) -> None:
    short = tmp_path / "short.iso"
    short.write_bytes(built.iso.read_bytes()[:100_000])
    done = call("site", "check", short, "--store", tmp_path / "none", code=5)
    assert f"{short}: 1 wrong, not a whole ISO" in done.stdout


def test_what_is_not_whole_or_not_right_is_no_upgrade(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    """A bundle without a part, one that leaves out what the store lacks, an ISO with damage."""
    here = copied(built, tmp_path / "dist")
    out = ("--out", tmp_path / "b.tar", "--part-size", "40K", "--offline")
    call("site", "export", here, *out, "--store", full_store.root)
    parts = sorted(tmp_path.glob("b.*.tar"))
    have = ("--have", "1.33.9", "--store", tmp_path / "none")
    lacks = bundle_of(built.lock, full_store, tmp_path / "k.tar", without="kubeadm")
    data = bytearray(here.read_bytes())
    data[len(data) // 2] ^= 1
    here.write_bytes(data)
    for carried, code in ((parts[1:], 7), ([lacks], 7), ([here], 5)):
        done = call("site", "check", *carried, *have, code=code)
        assert "1.33.9: nothing here is an upgrade of it\n" in done.stdout
        assert "builds" not in done.stdout
        told = json.loads(call("site", "check", *carried, *have, "--json", code=code).stdout)
        assert told["upgrades"][0]["steps"] == []
        assert [iso["version"] for iso in told["isos"]] == [None] * len(told["isos"])
        assert [one["builds"] for one in told["bundles"]] == [[]] * len(told["bundles"])
    done = call("site", "check", here, *parts, *have, code=5)
    assert "1.33.9 -> 1.34.12\n" in done.stdout


def test_of_two_locks_only_the_one_that_can_be_built_is_an_offer(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    kubeadm = next(file for file in built.lock.files if file.name == "kubeadm")
    other = kubeadm.model_copy(update={"sha256": Digest.of(b"new"), "size": 3})
    files = tuple(other if file is kubeadm else file for file in built.lock.files)
    newer = built.lock.model_copy(update={"revision": 2, "files": files})
    text = BytesBlob(b"new", "kubeadm")
    both = packing(
        [built.lock, newer],
        lambda digest: text if digest == other.sha256 else full_store.find(digest),
        without={other.sha256},
    )
    write_parts(both, tmp_path / "b.tar")
    done = call("site", "check", tmp_path / "b.tar", "--store", tmp_path / "none", code=7)
    assert (
        f"  builds {built.lock.base_name}\n  not carried: kubeadm of {newer.base_name}"
        in done.stdout
    )
    assert f"builds {newer.base_name}" not in done.stdout


OPERATOR = b"""apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - name: c
    image: registry.k8s.io/pause:3.10.1
    env: [{name: RELATED_IMAGE_AGENT, value: "extra.example/agent:1"}]
"""


def test_images_that_will_be_started_and_are_not_there_are_told(
    world: World, built: Built, full_store: Store, tmp_path: Path
) -> None:
    first = built.lock.manifests[0]
    changed = {"sha256": Digest.of(OPERATOR), "size": len(OPERATOR), "images": "keep"}
    manifests = (first.model_copy(update=changed), *built.lock.manifests[1:])
    lock = built.lock.model_copy(update={"manifests": manifests})
    store = Store(tmp_path / "store", (FolderDonor(full_store.root),))
    store.add_bytes(OPERATOR)
    with open_session(world.config, store) as session:
        iso = build(lock, tmp_path / "dist", session).iso
    write_parts(packing([lock], store.find), tmp_path / "b.tar")
    none = ("--store", tmp_path / "none")
    starts = "  will be started and is not there: extra.example/agent:1"
    done = call("site", "check", iso, tmp_path / "b.tar", *none)
    assert f"{starts} ({first.path})\n" in done.stdout
    assert f"{starts} ({first.path} of {lock.base_name}.lock.json)\n" in done.stdout
    told = json.loads(call("site", "check", iso, tmp_path / "b.tar", *none, "--json").stdout)
    assert told["isos"][0]["will_be_missing"] == ["extra.example/agent:1"]
    by_lock = {"lock": f"{lock.base_name}.lock.json", "image": "extra.example/agent:1"}
    assert told["bundles"][0]["will_be_missing"] == [by_lock]


def test_of_a_bundle_as_it_should_be_no_image_is_told(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    write_parts(packing([built.lock], full_store.find), tmp_path / "b.tar")
    done = call("site", "check", built.iso, tmp_path / "b.tar", "--store", tmp_path / "none")
    assert "will be started" not in done.stdout
