"""``verify --lock``: what an ISO must contain, compared with what it contains."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.content.from_iso import IsoBlobs
from isobuilder.content.needed import needed
from isobuilder.content.tree import tree
from isobuilder.digest import Digest
from isobuilder.iso.check.contents import check_iso
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.writer import write_iso
from isobuilder.medium import Medium
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.pipeline.against_lock import PROVED
from isobuilder.pipeline.build import build
from isobuilder.pipeline.verify import Verification, verify
from isobuilder.sources.session import Session
from isobuilder.store import Store
from tests.pipeline.forging import FILE_CHANGES, Change, Contents, no_file_has
from tests.pipeline.test_boot import make_payload
from tests.pipeline.world import Locked, run_cli

Made = tuple[Lock, Path]
"""A lock and a good ISO of it."""

EVIL = b"""
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: everybody}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: Group, name: "system:unauthenticated"}]
"""


@pytest.fixture(params=["plain", "bootable"])
def made(request: pytest.FixtureRequest, locked: Locked, session: Session, tmp_path: Path) -> Made:
    lock = locked.lock
    if request.param == "bootable":
        boot = LockedBoot.of(make_payload(session.store))
        lock = lock.model_copy(update={"boot": boot})
    built = build(lock, tmp_path / "good", session)
    built.side_files[0].unlink()  # the digest beside it would tell of every change
    return lock, built.iso


def against(lock: Lock, iso: Path, store: Store | None = None) -> Verification:
    return verify(iso, lock=lock, layers=False, store=store)


def pins(found: Verification) -> set[str]:
    assert not found.passed
    return {finding.place for finding in found.findings if finding.rule == "lock.pin"}


def forged(made: Made, store: Store, change: Callable[[Contents], None]) -> Path:
    """Return a copy of the ISO with ``change``, and everything mended that tells of it."""
    lock, iso = made
    contents = Contents.of(iso)
    change(contents)
    contents.mend()
    return contents.write(iso.parent.parent / "forged.iso", tree(lock, store))


def test_a_good_iso_is_proved_without_any_store(made: Made) -> None:
    lock, iso = made
    found = against(lock, iso)
    assert not [finding for finding in found.findings if finding.rule == "lock.pin"]
    assert found.proved == PROVED
    assert found.not_proved == ()


def test_the_tree_of_the_iso_is_the_tree_of_the_store(made: Made, full_store: Store) -> None:
    lock, iso = made
    with IsoReader(iso) as reader:
        medium = Medium(reader)
        files = check_iso(reader, medium=medium).files
        blobs = IsoBlobs(lock, reader, medium, files)
        there, here = tree(lock, blobs), tree(lock, full_store)
        assert {need.digest for need in needed(lock, blobs.find)} == {
            need.digest for need in needed(lock, full_store.find)
        }
        for need in needed(lock, blobs.find):
            blob = blobs.find(need.digest)
            assert blob is not None
            assert Digest.of(blob.read()) == need.digest
    assert there.facts == here.facts
    assert (there.manifest, there.sbom, there.boot) == (here.manifest, here.sbom, here.boot)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("network.yaml", lambda data: data + EVIL),
        ("kubelet.service", lambda data: data.replace(b"[Service]", b"[Service]\nExecStartPre=/x")),
        ("10-kubeadm.conf", lambda data: data + b"\n"),
        ("docker/images.list", lambda data: data.replace(b"pause", b"pause2")),
        ("sbom.cdx.json", lambda data: data.replace(b"1.6", b"1.5")),
        ("k8s/kubeadm", lambda data: data + b"\0"),
    ],
)
def test_another_file_under_a_name_of_the_lock_is_refused(
    made: Made, full_store: Store, path: str, change: Callable[[bytes], bytes]
) -> None:
    def changed(contents: Contents) -> None:
        before = contents.files[path]
        contents.files[path] = change(before)
        assert contents.files[path] != before

    assert path in pins(against(made[0], forged(made, full_store, changed)))


@pytest.mark.parametrize("path", ["SHA256SUMS", "manifest.json"])
def test_what_describes_the_files_in_another_form_is_refused(
    made: Made, full_store: Store, path: str
) -> None:
    """It says the same, and every other check is content with it."""
    contents = Contents.of(made[1])
    data = contents.files[path]
    lines = sorted(data.splitlines(keepends=True), reverse=True)
    contents.files[path] = b"".join(lines) if path == "SHA256SUMS" else data + b"\n"
    if path == "manifest.json":
        before, after = Digest.of(data).hex, Digest.of(data + b"\n").hex
        sums = contents.files["SHA256SUMS"]
        contents.files["SHA256SUMS"] = sums.replace(before.encode(), after.encode())
    iso = contents.write(made[1].with_name("form.iso"), tree(made[0], full_store))
    found = against(made[0], iso)
    assert pins(found) >= {path}
    assert {finding.rule for finding in found.findings} == {"lock.pin"} or made[0].boot


def test_another_image_under_the_name_of_a_locked_one_is_refused(
    made: Made, full_store: Store
) -> None:
    """The locked archive stays under a second name, and manifest.json names the other."""
    first, second = made[0].images[:2]

    def changed(contents: Contents) -> None:
        contents.files["docker/kept.tar"] = contents.files[first.archive]
        contents.files[first.archive] = contents.files[second.archive]

    assert first.archive in pins(against(made[0], forged(made, full_store, changed)))


def test_one_other_byte_in_a_layer_is_refused_with_and_without_unpacking(
    made: Made, full_store: Store
) -> None:
    lock, iso = made
    image = max(lock.images, key=lambda image: image.size or 0)

    def changed(contents: Contents) -> None:
        data = bytearray(contents.files[image.archive])
        data[len(data) - 3000] ^= 1
        contents.files[image.archive] = bytes(data)

    path = forged(made, full_store, changed)
    for layers in (True, False):
        assert image.archive in pins(verify(path, lock=lock, layers=layers))
    del iso


@pytest.mark.parametrize("path", ["run.sh", "docker/more.tar", "boot/kiso/more.cfg", "EFI/BOOT/x"])
def test_a_file_that_nothing_in_the_lock_leads_to_is_refused(
    made: Made, full_store: Store, path: str
) -> None:
    def changed(contents: Contents) -> None:
        contents.files[path] = b"#!/bin/sh\n"

    assert path in pins(against(made[0], forged(made, full_store, changed)))


def test_two_hundred_single_changes_to_a_good_iso_are_all_refused(
    made: Made, full_store: Store, tmp_path: Path
) -> None:
    lock, iso = made
    wanted, free = tree(lock, full_store), no_file_has(iso)
    target = tmp_path / "changed.iso"
    for number in range(100):
        chance = random.Random(number)
        if number % 2:
            change = FILE_CHANGES[number // 2 % len(FILE_CHANGES)]
            changed_by(change, iso, number).write(target, wanted)
            what = change.__name__
        else:
            shutil.copyfile(iso, target)
            offset = chance.choice(free)
            flip(target, offset, 1 << chance.randrange(8))
            what = f"byte {offset}"
        found = against(lock, target)
        assert not found.passed, f"{number}: {what}"
        assert found.digest is None or pins(found), f"{number}: {what}"


def changed_by(change: Change, iso: Path, seed: int) -> Contents:
    """Return what is on the ISO with one change, mended unless that takes the change back."""
    for mends in (True, False):
        contents = Contents.of(iso)
        change(contents, random.Random(seed))
        if mends:
            contents.mend()
        if contents != Contents.of(iso):
            break
    return contents


@pytest.mark.parametrize("offset", [0, 446, 510, 17_000, 32_767])
def test_boot_code_before_the_descriptors_is_refused(made: Made, offset: int) -> None:
    lock, iso = made
    flip(iso, offset, 0x55)
    assert pins(against(lock, iso)) or not against(lock, iso).passed


def test_a_byte_between_two_files_is_refused_by_its_place(made: Made) -> None:
    lock, iso = made
    with IsoReader(iso) as reader:
        kubeadm = reader.files["k8s/kubeadm"].extents[-1]
    assert kubeadm.size % 2048
    flip(iso, kubeadm.end, 0x01)
    assert pins(against(lock, iso)) == {f"byte {kubeadm.end}"}


def test_other_texts_in_the_volume_descriptors_are_refused(made: Made) -> None:
    lock, iso = made
    flip(iso, 16 * 2048 + 574, 0x01)  # the application identifier
    assert pins(against(lock, iso)) == {f"byte {16 * 2048 + 574}"}


def test_bytes_behind_the_volume_are_refused(made: Made) -> None:
    lock, iso = made
    with iso.open("ab") as file:
        file.write(bytes(2048))
    assert pins(against(lock, iso)) == {"the image"}


def test_every_difference_is_told_at_once(made: Made, full_store: Store) -> None:
    def changed(contents: Contents) -> None:
        contents.files["kubelet.service"] += b"#"
        contents.files["network.yaml"] = contents.files["network.yaml"].replace(b"\n", b"\n\n")
        contents.files["run.sh"] = b"x"

    found = pins(against(made[0], forged(made, full_store, changed), full_store))
    assert found >= {"kubelet.service", "network.yaml", "run.sh"}


# --- what was changed for the ISO ---


ODD = b"kind: Pod\nspec:\n  containers:\n  - image: %s\n    imagePullPolicy: Sometimes\n"


@pytest.fixture
def odd(locked: Locked, session: Session, tmp_path: Path) -> Made:
    """A manifest whose pull policy nobody would guess."""
    data = ODD % locked.lock.images[0].reference.encode()
    blob = session.store.add_bytes(data)
    manifests = tuple(
        item.model_copy(update={"sha256": blob.digest, "size": blob.size})
        if item.path == "network.yaml"
        else item
        for item in locked.lock.manifests
    )
    lock = locked.lock.model_copy(update={"manifests": manifests})
    return lock, build(lock, tmp_path / "odd", session).iso


def test_a_manifest_that_the_iso_does_not_lead_to_is_not_called_good(odd: Made) -> None:
    found = against(*odd)
    assert pins(found) == {"network.yaml"}
    (finding,) = (finding for finding in found.findings if finding.rule == "lock.pin")
    assert "nothing proves" in finding.fact
    assert "isobuilder fetch" in finding.remedy


def test_a_store_that_has_the_manifest_proves_it(odd: Made, full_store: Store) -> None:
    found = against(*odd, full_store)
    assert found.proved == PROVED
    assert "lock.pin" not in {finding.rule for finding in found.findings}


def test_a_store_does_not_help_another_manifest(odd: Made, full_store: Store) -> None:
    def changed(contents: Contents) -> None:
        contents.files["network.yaml"] += EVIL

    assert "network.yaml" in pins(against(odd[0], forged(odd, full_store, changed), full_store))


def test_a_store_with_a_damaged_manifest_is_not_believed(
    odd: Made, full_store: Store, tmp_path: Path
) -> None:
    (manifest,) = (item for item in odd[0].manifests if item.path == "network.yaml")
    store = Store(tmp_path / "damaged")
    path = store.path_of(manifest.sha256)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"kind: List\n")
    assert pins(against(*odd, store)) == {"network.yaml"}


# --- what stays open is named ---


def of_another_version(made: Made, store: Store, tool: str) -> Path:
    lock, iso = made
    other = tree(lock, store, tool=tool)
    target = iso.with_name("other.iso")
    write_iso(other.entries, target, label=other.label, epoch=other.epoch, boot=other.boot)
    return target


def test_an_iso_of_another_version_is_proved_but_for_who_made_it(
    made: Made, full_store: Store
) -> None:
    found = against(made[0], of_another_version(made, full_store, "0.0.9"))
    assert "lock.pin" not in {finding.rule for finding in found.findings}
    assert found.proved == PROVED
    assert [text for text in found.not_proved if "0.0.9" in text]


def test_a_difference_in_an_iso_of_another_version_names_that_version(
    made: Made, full_store: Store
) -> None:
    lock, _ = made
    iso = of_another_version(made, full_store, "0.0.9")

    def changed(contents: Contents) -> None:
        contents.files["kubelet.service"] += b"#"

    found = against(lock, forged((lock, iso), full_store, changed))
    assert "kubelet.service" in pins(found)
    remedies = {finding.remedy for finding in found.findings if finding.rule == "lock.pin"}
    assert all("isobuilder 0.0.9" in remedy for remedy in remedies)


def test_a_payload_that_the_lock_leaves_open_is_named_and_good_is_not_said(
    locked: Locked, session: Session, tmp_path: Path
) -> None:
    payload = make_payload(session.store)
    pinned = locked.lock.model_copy(update={"boot": LockedBoot.of(payload)})
    iso = build(pinned, tmp_path, session).iso
    kind = LockedBoot(os=payload.os, kernel=payload.kernel)
    path = tmp_path / "open.lock.json"
    path.write_bytes(locked.lock.model_copy(update={"boot": kind}).to_bytes())
    done = run_cli("verify", iso, "--lock", path, "--no-layers", "--json", check=None)
    told = json.loads(done.stdout)
    assert told["proved"]
    assert "OS payload" in told["not_proved"][0]
    shown = run_cli("verify", iso, "--lock", path, "--no-layers", check=None).stdout
    assert "good" not in shown


def test_the_command_refuses_a_forged_iso_with_5(
    made: Made, full_store: Store, tmp_path: Path
) -> None:
    def changed(contents: Contents) -> None:
        contents.files["network.yaml"] += EVIL

    lock = tmp_path / "the.lock.json"
    lock.write_bytes(made[0].to_bytes())
    iso = forged(made, full_store, changed)
    done = run_cli("verify", iso, "--lock", lock, check=5)
    assert "network.yaml" in done.stdout
    assert "lock.pin" in done.stdout
    assert "good" not in done.stdout


def flip(path: Path, offset: int, mask: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))
