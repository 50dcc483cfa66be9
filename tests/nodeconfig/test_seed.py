"""Seed discs: what cloud-init looks for is there, whole, the same every time, and for its owner."""

from __future__ import annotations

import gzip
import json
import os
import uuid
from pathlib import Path

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.iso.read.reader import IsoReader
from isobuilder.nodeconfig.seed import seed_files
from isobuilder.pipeline.cluster import make_seed

FILES = {
    "user-data": b"#cloud-config\nhostname: one\n",
    "meta-data": b"instance-id: one-1\nlocal-hostname: one\n",
    "network-config": b"version: 2\n",
    "network_data.json": b"{}\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "one"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


def contents(disc: Path) -> tuple[str, dict[str, bytes]]:
    with IsoReader(disc) as reader:
        files = {path: reader.open(path).read() for path in reader.files}
        return reader.label, files


def test_nocloud_has_its_files_at_the_root(folder: Path, tmp_path: Path) -> None:
    label, files = contents(make_seed(folder, tmp_path / "seed.iso", kind="nocloud"))
    assert label == "cidata"
    assert files == {name: FILES[name] for name in ("user-data", "meta-data", "network-config")}


def test_config_drive_has_openstacks_form(folder: Path, tmp_path: Path) -> None:
    label, files = contents(make_seed(folder, tmp_path / "seed.iso", kind="config-drive"))
    assert label == "config-2"
    assert files["openstack/latest/user_data"] == FILES["user-data"]
    assert files["openstack/latest/network_data.json"] == b"{}\n"
    meta = json.loads(files["openstack/latest/meta_data.json"])
    assert meta["hostname"] == "one"
    assert len(meta["uuid"]) == 36


def test_the_same_files_give_the_same_disc_and_another_instance_another_id(
    folder: Path, tmp_path: Path
) -> None:
    discs = [tmp_path / f"{number}.iso" for number in range(3)]
    make_seed(folder, discs[0], kind="config-drive")
    make_seed(folder, discs[1], kind="config-drive")
    (folder / "meta-data").write_bytes(b"instance-id: one-2\nlocal-hostname: one\n")
    make_seed(folder, discs[2], kind="config-drive")
    assert discs[0].read_bytes() == discs[1].read_bytes()
    assert discs[0].read_bytes() != discs[2].read_bytes()


def test_only_its_owner_may_read_it_and_nothing_else_is_left(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    before = os.umask(0)
    try:
        disc = make_seed(folder, out / "seed.iso", kind="nocloud")
    finally:
        os.umask(before)
    assert disc.stat().st_mode & 0o777 == 0o600
    assert list(out.iterdir()) == [disc]


def test_without_a_network_file_config_drive_leaves_it_to_dhcp(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "network-config").unlink()
    (folder / "network_data.json").unlink()
    _, files = contents(make_seed(folder, tmp_path / "seed.iso", kind="config-drive"))
    assert sorted(files) == ["openstack/latest/meta_data.json", "openstack/latest/user_data"]


def test_a_network_that_config_drive_cannot_say_is_not_dropped_in_silence(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "network_data.json").unlink()
    with pytest.raises(InputError, match="ConfigDrive names an interface by its MAC") as caught:
        make_seed(folder, tmp_path / "seed.iso", kind="config-drive")
    assert "mac" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("user-data", None, "user-data: cannot be read"),
        ("meta-data", None, "meta-data: cannot be read"),
        ("meta-data", b"local-hostname: one\n", "meta-data has no instance-id"),
        ("meta-data", b"instance-id: [1]\nlocal-hostname: one\n", "meta-data has no instance-id"),
        ("meta-data", b"instance-id:\nlocal-hostname: one\n", "meta-data has no instance-id"),
        ("meta-data", b"instance-id: a\nlocal-hostname: 5\n", "a local-hostname that is not text"),
        ("meta-data", b"- a\n", "expected keys and values"),
        ("user-data", b"hostname: one\n", "cloud-init would ignore user-data"),
        ("user-data", b"#cloud-confg\nhostname: one\n", "cloud-init would ignore user-data"),
        ("user-data", b"Content-Type: text/plain\n\na\n", "cloud-init would ignore user-data"),
    ],
)
def test_what_is_missing_is_named(
    name: str, data: bytes | None, message: str, folder: Path, tmp_path: Path
) -> None:
    (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        make_seed(folder, tmp_path / "seed.iso", kind="nocloud")
    assert not (tmp_path / "seed.iso").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"#!/bin/sh\n",
        b"## template: jinja\n#cloud-config\n",
        b"Content-Type: multipart/mixed; boundary=b\nMIME-Version: 1.0\n",
        b"From nobody Thu Jan  1 00:00:00 1970\nX-A: b\nMIME-Version: 1.0\n",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_every_form_of_user_data_is_taken(data: bytes, folder: Path, tmp_path: Path) -> None:
    (folder / "user-data").write_bytes(data)
    _, files = contents(make_seed(folder, tmp_path / "seed.iso", kind="nocloud"))
    assert files["user-data"] == data


@pytest.mark.parametrize(
    ("data", "instance"), [(b"instance-id: 5\n", "5"), (b"instance-id: one\n", "one")]
)
def test_meta_data_needs_an_instance_and_no_name(
    data: bytes, instance: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "meta-data").write_bytes(data)
    _, files = contents(make_seed(folder, tmp_path / "seed.iso", kind="nocloud"))
    assert files["meta-data"] == data
    _, files = contents(make_seed(folder, tmp_path / "drive.iso", kind="config-drive"))
    meta = json.loads(files["openstack/latest/meta_data.json"])
    assert meta == {"uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, instance))}


@pytest.mark.parametrize(
    "data",
    [
        b"version: 2\nethernets: {e0: {dhcp4: true}}\n",
        b"network: {version: 2, ethernets: {e0: {dhcp4: true}}}\n",
        b"version: 1\nconfig: [{type: physical, name: e0}]\n",
        b"network:\n  version: 1\n  config: []\n",
        b'{"version": 2}\n',
        b"config: disabled\n",
        b"network: {config: disabled}\n",
        b"network: &n {version: 2}\n",
        b"# by DHCP\n",
        b"",
    ],
)
def test_every_network_that_cloud_init_takes_is_taken(
    data: bytes, folder: Path, tmp_path: Path
) -> None:
    (folder / "network-config").write_bytes(data)
    _, files = contents(make_seed(folder, tmp_path / "seed.iso", kind="nocloud"))
    assert files["network-config"] == data


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"ethernets: {e0: {dhcp4: true}}\n", ":1:1: version: expected 1 or 2, found none"),
        (b"\nversion: 3\n", ":2:10: version: expected 1 or 2, found 3"),
        (b'version: "2"\n', ":1:10: version: expected 1 or 2, found '2'"),
        (b"version: true\n", ":1:10: version: expected 1 or 2, found True"),
        (b"version: 1\n", ":1:1: config: expected the list"),
        (b"version: 1\nconfig: e0\n", ":2:9: config: expected the list"),
        (b"network: {ethernets: {}}\n", ":1:10: network.version: expected 1 or 2, found none"),
        (b"network: off\n", ":1:10: network: expected keys and values"),
        (b"- version: 2\n", ":1:1: expected keys and values"),
        (b"version: 2\n---\nversion: 2\n", ":3:1: a second document"),
        (b"version: [\n", "not YAML"),
    ],
)
def test_a_network_that_cloud_init_would_not_take_is_refused_with_its_place(
    data: bytes, told: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "network-config").write_bytes(data)
    with pytest.raises(InputErrors) as caught:
        make_seed(folder, tmp_path / "seed.iso", kind="nocloud")
    assert f"{folder}/network-config" in str(caught.value)
    assert told in str(caught.value)
    assert not (tmp_path / "seed.iso").exists()


def test_what_else_lies_in_the_folder_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_seed(folder, folder / "mine.iso", kind="nocloud")
    make_seed(folder, folder / "seed.iso", kind="nocloud")
    (folder / "mine.iso").unlink()
    assert [record.message for record in caplog.records] == [
        f"{folder}: not on the disc, which has no place for it: mine.iso"
    ]
    caplog.clear()
    (folder / "userdata").touch()
    (folder / "scripts").mkdir()
    (folder / "network-config").unlink()
    make_seed(folder, folder / "seed.iso", kind="nocloud")
    assert [record.message for record in caplog.records] == [
        f"{folder}: not on the disc, which has no place for it: network_data.json, scripts, "
        "userdata"
    ]


def test_a_folder_that_is_not_there_is_a_problem_of_the_machine(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(EnvironmentProblem, match="No such file"):
        make_seed(folder, tmp_path / "none" / "seed.iso", kind="nocloud")


def test_vendor_data_is_on_both_kinds_of_disc() -> None:
    found = {"user-data": b"#cloud-config\n", "vendor-data": b"#cloud-config\ntimezone: UTC\n"}
    meta = {"instance-id": "one", "local-hostname": "one"}
    assert seed_files("nocloud", found, meta, "one")["vendor-data"] == found["vendor-data"]
    drive = seed_files("config-drive", found, meta, "one")
    told = json.loads(drive["openstack/latest/vendor_data.json"])
    assert told == {"cloud-init": "#cloud-config\ntimezone: UTC\n"}


def test_packed_vendor_data_is_whole_on_the_disc_or_refused() -> None:
    packed = gzip.compress(b"#cloud-config\ntimezone: UTC\n")
    found = {"user-data": b"#cloud-config\n", "vendor-data": packed}
    meta = {"instance-id": "one", "local-hostname": "one"}
    assert seed_files("nocloud", found, meta, "one")["vendor-data"] == packed
    with pytest.raises(InputError, match="one: vendor-data is not text") as caught:
        seed_files("config-drive", found, meta, "one")
    assert "make a nocloud seed" in str(caught.value.hint)


def test_vendor_data_that_cloud_init_would_ignore_is_refused() -> None:
    found = {"user-data": b"#cloud-config\n", "vendor-data": b"timezone: UTC\n"}
    meta = {"instance-id": "one", "local-hostname": "one"}
    with pytest.raises(InputError, match="cloud-init would ignore vendor-data"):
        seed_files("nocloud", found, meta, "one")
