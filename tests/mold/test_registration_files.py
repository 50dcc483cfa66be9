"""registration.json files that somebody else wrote."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from isobuilder.errors import InputError
from isobuilder.mold.catalogue import SUFFIX, lock_beside, read_catalogue, read_registration
from tests.mold.conftest import PublishedOf

NAMES = [
    "../x.iso",
    "..",
    ".",
    "",
    "/etc/passwd",
    "a/b.iso",
    "a\0b",
    "-x",
    "a\nb",
    "a" * 300,
    None,
    3,
]


@pytest.fixture
def text(publish: PublishedOf) -> dict[str, object]:
    made = publish("1.34.12")
    data: dict[str, object] = json.loads(made.path.with_suffix(SUFFIX).read_bytes())
    return data


def test_a_pipe_in_the_place_of_a_side_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "k.iso").touch()
    os.mkfifo(side := tmp_path / f"k{SUFFIX}")
    with pytest.raises(InputError, match="is no file"):
        read_catalogue(tmp_path)
    with pytest.raises(InputError, match="is no file"):
        read_registration(side)


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_file_name_that_leaves_the_folder_is_refused(
    name: object, text: dict[str, object], tmp_path: Path
) -> None:
    place = tmp_path / f"x{SUFFIX}"
    place.write_text(json.dumps(text | {"filename": name}))
    for read in (read_registration, read_catalogue):
        with pytest.raises(InputError, match="filename") as caught:
            read(place)
        assert str(caught.value).isprintable()


def test_an_iso_that_was_renamed_with_its_files_is_found(
    publish: PublishedOf, tmp_path: Path
) -> None:
    made = publish("1.34.12")
    folder = tmp_path / "renamed"
    folder.mkdir()
    iso, side, lock = (folder / f"renamed{end}" for end in (".iso", SUFFIX, ".lock.json"))
    shutil.copy(made.path, iso)
    shutil.copy(made.path.with_suffix(SUFFIX), side)
    lock.write_bytes(b"{}")
    assert read_registration(side)[1] == iso
    (item,) = read_catalogue(folder)
    assert (item.iso, item.lock) == (iso, lock)
    for path in (iso, side):
        assert lock_beside(made.registration, path) == lock


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"a":' * 100_000, b"", b"3", b"[]", b'"x"', b"\xff", b"{", b"null"]
)
def test_what_is_no_registration_is_told(data: bytes, tmp_path: Path) -> None:
    place = tmp_path / f"x{SUFFIX}"
    place.write_bytes(data)
    for read in (read_registration, read_catalogue):
        with pytest.raises(InputError):
            read(place)


@pytest.mark.parametrize("key", ["name", "kubernetesversion", "arch", "checksum", "size"])
@pytest.mark.parametrize("value", [None, [], {}, "", "\x1b[2J", 10**30, -1, True])
def test_a_field_of_another_kind_is_told(
    key: str, value: object, text: dict[str, object], tmp_path: Path
) -> None:
    place = tmp_path / f"x{SUFFIX}"
    place.write_text(json.dumps(text | {key: value}))
    with pytest.raises(InputError) as caught:
        read_registration(place)
    assert str(caught.value).isprintable()
