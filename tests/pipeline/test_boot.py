"""A lock with an OS payload: built, checked, reproduced, moved. The payload is a stand-in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from isobuilder.content.needed import digests, missing_names
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.iso.boot_names import KERNEL, PAYLOAD
from isobuilder.iso.check.contents import check_manifest
from isobuilder.iso.read.reader import IsoReader, hash_iso
from isobuilder.machine.payload import export_payload, forget_payload, keep_payload, payloads
from isobuilder.machine.qemu import Machine
from isobuilder.model.loading import load_lock, parse_manifest_json
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.model.payload import OsPayload
from isobuilder.pipeline.boot import try_boot
from isobuilder.pipeline.build import build, check
from isobuilder.pipeline.compare import contents_of, diff
from isobuilder.pipeline.fetch import fetch, plan
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.pipeline.payload import pin_payload
from isobuilder.pipeline.verify import verify
from isobuilder.sources.session import Session
from isobuilder.store import Store
from tests.iso.boots import bios_image, mbr_image
from tests.iso.makers import subject_of
from tests.pipeline.world import Locked, World, run_cli

SERVED = "https://dl.k8s.io/os/payload.json"


def make_payload(store: Store, *, mark: str = "") -> OsPayload:
    contents = {name: f"{name}{mark} ".encode() * 999 for name in ("kernel", "initrd", "root")}
    contents |= {name: name.encode() * 9999 for name in ("shim", "grub", "mok-manager")}
    contents |= {"bios": bios_image(), "bios-mbr": mbr_image()}
    blobs = {name: store.add_bytes(data) for name, data in contents.items()}
    artifacts = {name: {"digest": blob.digest, "size": blob.size} for name, blob in blobs.items()}
    data = {
        "schema": 1,
        "os": "debian-13",
        "suite": "trixie",
        "kernel": "cloud",
        "kernel_version": "6.12",
        "architecture": "amd64",
        "epoch": 1,
        "tool": "0",
        "artifacts": artifacts,
        "packages": [
            {
                "name": "bash",
                "version": "5.2",
                "architecture": "amd64",
                "sha256": blobs["bios"].digest,
            }
        ],
    }
    payload = OsPayload.model_validate_json(json.dumps(data))
    keep_payload(store, payload)
    return payload


@pytest.fixture
def payload(session: Session) -> OsPayload:
    return make_payload(session.store)


@pytest.fixture
def bootable(locked: Locked, payload: OsPayload) -> Lock:
    return locked.lock.model_copy(update={"boot": LockedBoot.of(payload)})


def test_a_bootable_iso_passes_every_check_and_is_reproduced(
    bootable: Lock, session: Session, tmp_path: Path
) -> None:
    built = build(bootable, tmp_path, session)
    found = verify(built.iso)
    assert not [finding for finding in found.findings if finding.rule.startswith(("iso.", "boot."))]
    assert check(bootable, built.iso, session) == built.digest
    with IsoReader(built.iso) as reader:
        assert "boot/kiso/root.squashfs" in reader.files
        with reader.open("boot/grub/grub.cfg") as file:
            assert b"Kubernetes 1." in file.read()


def test_the_lock_beside_a_bootable_iso_builds_it_again(
    bootable: Lock, session: Session, tmp_path: Path
) -> None:
    built = build(bootable, tmp_path / "one", session)
    (beside,) = (tmp_path / "one").glob("*.lock.json")
    again = build(load_lock(beside), tmp_path / "two", session)
    assert again.digest == built.digest


def test_the_packages_are_in_the_bill_of_materials(
    bootable: Lock, session: Session, tmp_path: Path
) -> None:
    build(bootable, tmp_path, session)
    (bill,) = tmp_path.glob("*.sbom.cdx.json")
    components = json.loads(bill.read_bytes())["components"]
    libraries = [item["purl"] for item in components if item["type"] == "library"]
    assert libraries == ["pkg:deb/debian/bash@5.2?arch=amd64&distro=debian-13"]


def test_the_operating_system_and_its_packages_are_in_the_manifest(
    bootable: Lock, payload: OsPayload, session: Session, tmp_path: Path
) -> None:
    built = build(bootable, tmp_path, session)
    (beside,) = tmp_path.glob("*.manifest.json")
    system = parse_manifest_json(beside.read_bytes(), beside.name).operating_system
    assert system is not None
    assert (system.name, system.kernel_version) == ("debian-13-cloud-amd64", "6.12")
    assert system.packages == payload.packages
    with IsoReader(built.iso) as reader:
        files = dict(hash_iso(reader).files) | {PAYLOAD: Digest.of(b"another")}
        places = [finding.place for finding in check_manifest(subject_of(reader, files))]
    assert places == [PAYLOAD, "manifest.json operating_system"]


def test_a_plain_iso_has_no_operating_system_in_its_manifest(
    locked: Locked, session: Session, tmp_path: Path
) -> None:
    build(locked.lock, tmp_path, session)
    (beside,) = tmp_path.glob("*.manifest.json")
    assert "operating_system" not in json.loads(beside.read_bytes())


def test_an_iso_with_another_operating_system_than_its_lock_is_noticed(
    bootable: Lock, locked: Locked, session: Session, tmp_path: Path
) -> None:
    other = bootable.model_copy(
        update={"boot": LockedBoot.of(make_payload(session.store, mark="2"))}
    )
    isos = {
        name: build(lock, tmp_path / name, session).iso
        for name, lock in (("boots", bootable), ("other", other), ("plain", locked.lock))
    }
    pairs = [("other", bootable), ("plain", bootable), ("boots", locked.lock)]
    for name, lock in pairs:
        found = verify(isos[name], lock=lock, layers=False).findings
        assert PAYLOAD in {finding.place for finding in found if finding.rule == "lock.pin"}, name
    found = verify(isos["boots"], lock=bootable, layers=False).findings
    assert "lock.pin" not in {finding.rule for finding in found}


def test_two_locks_with_other_operating_systems_differ(
    bootable: Lock, locked: Locked, undecided: Lock, session: Session, tmp_path: Path
) -> None:
    other = LockedBoot.of(make_payload(session.store, mark="2"))
    locks = {
        "boots": bootable,
        "other": bootable.model_copy(update={"boot": other}),
        "open": undecided,
        "plain": locked.lock,
    }
    contents = {}
    for name, lock in locks.items():
        path = tmp_path / f"{name}.lock.json"
        path.write_bytes(lock.to_bytes())
        contents[name] = contents_of(path)
    iso = contents_of(build(bootable, tmp_path, session).iso)
    named = [item.name for item in diff(contents["boots"], contents["other"])]
    assert named == ["boot/kiso/initrd.img", PAYLOAD, "boot/kiso/root.squashfs", KERNEL]
    assert [item.name for item in diff(contents["plain"], iso)] == ["operating system"]
    assert diff(contents["boots"], iso) == ()
    assert diff(contents["open"], iso) == ()


def test_another_payload_gives_another_iso(
    bootable: Lock, session: Session, tmp_path: Path
) -> None:
    other = LockedBoot.of(make_payload(session.store, mark="2"))
    first = build(bootable, tmp_path / "one", session)
    second = build(bootable.model_copy(update={"boot": other}), tmp_path / "two", session)
    assert first.digest != second.digest


def test_a_lock_without_boot_is_written_as_before(locked: Locked) -> None:
    assert "boot" not in locked.lock.to_data()


def test_a_payload_counts_as_reachable_and_as_missing(
    bootable: Lock, session: Session, empty_session: Session
) -> None:
    assert bootable.boot is not None
    assert bootable.boot.blobs <= digests([bootable], session.store.find)
    assert any("OS payload" in name for name in missing_names(bootable, empty_session.store.find))
    assert "kernel" in {item.name for item in plan(bootable, session.store).items}


def test_a_payload_nobody_serves_is_an_error_with_the_ways_out(
    bootable: Lock, empty_session: Session, tmp_path: Path
) -> None:
    with pytest.raises(EnvironmentProblem, match="lacks the OS payload debian-13") as caught:
        build(bootable, tmp_path, empty_session)
    assert "os build" in str(caught.value.hint)
    assert "--no-boot" in str(caught.value.hint)
    assert not list(tmp_path.glob("*.iso"))


def test_an_iso_that_no_node_could_run_is_refused(
    locked: Locked, session: Session, payload: OsPayload, tmp_path: Path
) -> None:
    lock = locked.lock.model_copy(update={"boot": LockedBoot.of(payload)})
    without = tuple(file for file in lock.files if not file.path.startswith("runtime/"))
    with pytest.raises(InputError, match="needs runtime/") as caught:
        build(lock.model_copy(update={"files": without}), tmp_path, session)
    assert "--no-boot" in str(caught.value.hint)


def wishing(world: World, folder: Path, boot: str) -> Path:
    path = folder / world.recipe.name
    path.write_text(world.recipe.read_text(encoding="utf-8") + f"boot: {boot}\n", encoding="utf-8")
    return path


def test_a_recipe_that_wishes_for_an_os_is_locked_with_the_one_of_the_store(
    world: World, empty_session: Session, tmp_path: Path
) -> None:
    made = make_payload(empty_session.store)
    recipe = wishing(world, tmp_path, "{os: debian-13, secure_boot: true}")
    locked = lock_recipe(recipe, "amd64", empty_session)
    assert locked.lock.boot == LockedBoot.of(made)
    assert load_lock(locked.path) == locked.lock


@pytest.fixture
def undecided(world: World, empty_session: Session, tmp_path: Path) -> Lock:
    """A lock that leaves the payload to the build, made where the store has none."""
    lock = lock_recipe(wishing(world, tmp_path, "{os: debian-13}"), "amd64", empty_session).lock
    assert lock.boot == LockedBoot(os="debian-13", kernel="cloud")
    return lock


def test_a_wish_that_the_store_cannot_fulfil_is_left_to_the_build(
    undecided: Lock, empty_session: Session, tmp_path: Path
) -> None:
    made = make_payload(empty_session.store, mark="own")
    built = build(undecided, tmp_path / "out", empty_session)
    assert built.lock.boot == LockedBoot.of(made)
    (beside,) = (tmp_path / "out").glob("*.lock.json")
    assert load_lock(beside) == built.lock
    assert check(undecided, built.iso, empty_session) == built.digest
    assert build(undecided, tmp_path / "out", empty_session).reused


def test_a_build_without_any_payload_gives_a_plain_iso_and_says_so(
    undecided: Lock, locked: Locked, world: World, tmp_path: Path
) -> None:
    path = tmp_path / "undecided.lock.json"
    path.write_bytes(undecided.to_bytes())
    arguments = ("build", path, "--config", world.config_file, "--store", tmp_path / "own")
    done = run_cli(*arguments, "--out", tmp_path / "out")
    iso = Path(done.stdout.strip())
    assert "no OS payload debian-13-cloud for amd64 in the store" in done.stderr
    assert "isobuilder os build makes one" in done.stderr
    assert iso.name == "kubernetes-v1.34.12-mold-cks-amd64-r1.iso"
    assert load_lock(iso.with_suffix(".lock.json")) == undecided.model_copy(update={"boot": None})
    assert "lock.pin" not in {finding.rule for finding in verify(iso, lock=undecided).findings}
    run_cli(*arguments, "--check", iso)
    wanted = run_cli(*arguments, "--boot", "--out", tmp_path / "out", check=6)
    assert "no OS payload debian-13-cloud" in wanted.stderr
    assert "isobuilder os build" in wanted.stderr


def test_an_iso_that_boots_and_a_plain_one_of_one_lock_have_two_names(
    undecided: Lock, empty_session: Session, tmp_path: Path
) -> None:
    plain = build(undecided, tmp_path / "out", empty_session)
    make_payload(empty_session.store)
    boots = build(undecided, tmp_path / "out", empty_session)
    assert plain.iso.name == "kubernetes-v1.34.12-mold-cks-amd64-r1.iso"
    assert boots.iso.name == "kubernetes-v1.34.12-mold-cks.boot-amd64-r1.iso"
    names = [
        json.loads(built.iso.with_suffix(".registration.json").read_bytes())["name"]
        for built in (plain, boots)
    ]
    assert names == ["v1.34.12-mold-cks-amd64-r1", "v1.34.12-mold-cks.boot-amd64-r1"]
    assert check(undecided, plain.iso, empty_session) == plain.digest
    assert check(undecided, boots.iso, empty_session) == boots.digest


def test_an_iso_agrees_with_the_lock_that_left_its_payload_open(
    undecided: Lock, empty_session: Session, tmp_path: Path
) -> None:
    make_payload(empty_session.store)
    iso = build(undecided, tmp_path / "out", empty_session).iso
    against = {finding.rule for finding in verify(iso, lock=undecided).findings}
    assert "lock.pin" not in against
    generic = undecided.model_copy(update={"boot": LockedBoot(os="debian-13", kernel="generic")})
    against = {finding.rule for finding in verify(iso, lock=generic).findings}
    assert "lock.pin" in against


def test_a_shipped_lock_says_what_it_lacks_and_both_ways_out(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "recipes" / "kubernetes-1.34.12.yaml"
    options = ("--store", tmp_path / "store")
    planned = run_cli("plan", shipped.with_suffix(".amd64.lock.json"), *options).stdout
    assert "none, so a plain ISO; isobuilder os build makes one" in planned
    assert "35 things to download, of sizes that nobody here has seen yet" in planned
    assert "0 B" not in planned
    done = run_cli("build", shipped, "--boot", "--out", tmp_path / "out", *options, check=6)
    assert "no OS payload debian-13-cloud for amd64" in done.stderr
    assert "isobuilder os build" in done.stderr
    assert "--no-boot" in done.stderr


def test_a_plan_names_the_payload_that_is_still_to_be_made(
    undecided: Lock, empty_session: Session
) -> None:
    items = [item for item in plan(undecided, empty_session.store).items if item.kind == "payload"]
    assert [(item.name, item.missing) for item in items] == [("debian-13-cloud", 0)]
    make_payload(empty_session.store)
    items = [item for item in plan(undecided, empty_session.store).items if item.kind == "payload"]
    assert "kernel" in {item.name for item in items}


@pytest.mark.parametrize(
    "boot",
    [
        {"os": "debian-13", "kernel": "cloud", "url": SERVED},
        {"os": "debian-13", "kernel": "cloud", "payload": "sha256:" + "0" * 64},
    ],
    ids=["address-without-payload", "payload-without-artifacts"],
)
def test_half_a_payload_is_refused(locked: Locked, tmp_path: Path, boot: dict[str, str]) -> None:
    path = tmp_path / "half.lock.json"
    path.write_text(json.dumps(locked.lock.to_data() | {"boot": boot}))
    with pytest.raises(InputError, match="boot"):
        load_lock(path)


def test_a_served_payload_is_locked_and_fetched_by_digest(
    world: World, session: Session, empty_session: Session, tmp_path: Path
) -> None:
    made = make_payload(session.store, mark="served")
    description = export_payload(session.store, made, tmp_path / "export")
    for path in description.parent.iterdir():
        world.upstream.put_file(f"dl.k8s.io/os/{path.name}", path)
    text = f"{{os: debian-13, payload: {{url: '{SERVED}', sha256: '{made.digest}'}}}}"
    locked = lock_recipe(wishing(world, tmp_path, text), "amd64", empty_session)
    assert locked.lock.boot == LockedBoot.of(made, url=SERVED)
    fetch([locked.lock], empty_session)
    assert missing_names(locked.lock, empty_session.store.find) == []
    assert not payloads(empty_session.store)  # it belongs to the lock, not to this machine


def test_a_forgotten_payload_is_not_chosen(session: Session, locked: Locked) -> None:
    made = make_payload(session.store, mark="old")
    forget_payload(session.store, made)
    assert made not in payloads(session.store)
    with pytest.raises(EnvironmentProblem, match="no OS payload debian-14"):
        pin_payload(locked.lock, "debian-14", session)


def test_a_plain_iso_is_not_started(session: Session, locked: Locked, tmp_path: Path) -> None:
    built = build(locked.lock, tmp_path, session)
    machine = Machine(name="one", iso=built.iso, data=tmp_path / "disk")
    with pytest.raises(InputError, match="not a boot medium"):
        try_boot(built.iso, [machine], logs=tmp_path, until=None, timeout=1)
    assert not (tmp_path / "disk").exists()


def test_a_medium_with_a_damaged_description_is_not_started(
    bootable: Lock, session: Session, tmp_path: Path
) -> None:
    iso = build(bootable, tmp_path, session).iso
    with IsoReader(iso) as reader:
        offset = reader.files[PAYLOAD].extents[0].offset
    with iso.open("r+b") as file:
        file.seek(offset)
        file.write(b"!")
    with pytest.raises(InputError, match=r"boot/kiso/payload\.json: "):
        try_boot(iso, [], logs=tmp_path, until=None, timeout=1)


@pytest.mark.parametrize("change", [{"kernel": "generic"}, {"artifacts": {}}])
def test_a_lock_that_says_other_things_of_its_payload_is_refused(
    bootable: Lock, session: Session, tmp_path: Path, change: dict[str, str]
) -> None:
    assert bootable.boot is not None
    boot = bootable.boot.model_copy(update=change)
    with pytest.raises(InputError, match="debian-13-cloud-amd64, and the lock says otherwise"):
        build(bootable.model_copy(update={"boot": boot}), tmp_path, session)


def test_payloads_are_listed_shown_exported_and_removed(tmp_path: Path) -> None:
    made = make_payload(Store(tmp_path / "store"))
    options = ("--store", tmp_path / "store")
    assert made.digest[:19] in run_cli("os", "list", *options).stdout
    shown = run_cli("os", "show", "debian-13", "--json", *options).stdout
    assert json.loads(shown)["kernel_version"] == "6.12"
    where = run_cli("os", "export", "debian-13", "--out", tmp_path / "out", *options).stdout
    assert Path(where.strip()).read_bytes() == made.to_bytes()
    assert (tmp_path / "out" / "kernel").exists()
    run_cli("os", "remove", "debian-13", *options)
    assert run_cli("os", "list", *options).stdout == ""


def test_build_refuses_contradicting_wishes(locked: Locked) -> None:
    done = run_cli("build", locked.path, "--boot", "debian-13", "--no-boot", check=2)
    assert "contradict" in done.stderr


@pytest.mark.skipif(
    shutil.which("mkfs.ext4", path="/sbin:/usr/sbin") is None, reason="no mkfs.ext4"
)
def test_a_disk_for_data_is_not_left_behind_when_nothing_starts(
    bootable: Lock,
    locked: Locked,
    session: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = tmp_path / "data.img"

    def tried(iso: Path) -> None:
        machine = Machine("one", iso, data=disk)
        try_boot(iso, [machine], logs=tmp_path, until=None, timeout=1.0, kvm=False, data_size=64)

    plain = build(locked.lock, tmp_path / "plain", session).iso
    with pytest.raises(InputError, match="not a boot medium"):
        tried(plain)
    assert not disk.exists()
    iso = build(bootable, tmp_path / "boots", session).iso
    monkeypatch.setenv("PATH", str(tmp_path))  # a machine without QEMU
    with pytest.raises(EnvironmentProblem, match="qemu"):
        tried(iso)
    assert not disk.exists()
    disk.write_bytes(b"of before")
    with pytest.raises(EnvironmentProblem, match="qemu"):
        tried(iso)
    assert disk.read_bytes() == b"of before"
