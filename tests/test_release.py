"""A release of isobuilder itself: what it consists of, and that the same tree gives it again."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from isobuilder import __version__
from tools.make_venv import read_lock
from tools.release.dist import NAME, pack, release
from tools.release.parts import runtime

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "first"
    release(folder, [])
    return folder


def test_the_same_tree_gives_the_same_release(made: Path, tmp_path: Path) -> None:
    release(tmp_path / "again", [])
    sums = (made / "SHA256SUMS").read_text()
    assert (tmp_path / "again" / "SHA256SUMS").read_text() == sums
    assert [line.split()[1] for line in sums.splitlines()] == [
        f"{NAME}-man.tar.gz",
        f"{NAME}-py3-none-any.whl",
        f"{NAME}.sbom.cdx.json",
        f"{NAME}.tar.gz",
    ]
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=made, check=True)


def test_the_wheel_has_recipes_and_runs_from_elsewhere(made: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(made / f"{NAME}-py3-none-any.whl") as wheel:
        wheel.extractall(tmp_path)
    script = "from isobuilder.cli import main; main(['recipe', 'list'])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "1.36.5" in done.stdout
    assert (tmp_path / "isobuilder" / "recipes").is_dir()


def test_the_source_archive_has_what_make_needs_and_nothing_that_was_built(made: Path) -> None:
    with tarfile.open(made / f"{NAME}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in ("Makefile", "requirements/locked.txt", "tests/test_release.py"):
        assert wanted in names
    assert not [name for name in names if name.startswith((".venv", ".lab", "dist/", "build/"))]


def test_the_manual_is_in_the_release(made: Path) -> None:
    with tarfile.open(made / f"{NAME}-man.tar.gz") as archive:
        members = archive.getmembers()
    assert "man1/isobuilder-build.1" in [one.name for one in members]
    assert {(one.mtime, one.uid, one.uname) for one in members} == {(0, 0, "")}


def test_the_bill_of_materials_is_one_and_names_what_runs(made: Path) -> None:
    text = (made / f"{NAME}.sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    told = json.loads(text)
    assert told["metadata"]["component"]["version"] == __version__
    names = {one["name"] for one in told["components"]}
    assert {"click", "pydantic", "pydantic-core", "urllib3", "segno", "backports-zstd"} <= names
    assert not {"pytest", "mypy", "hypothesis"} & names


def test_what_runs_is_what_the_lock_has() -> None:
    locked = {item.name for item in read_lock()}
    old, new = ({item.name for item in runtime(python)} for python in ("3.11", "3.14"))
    assert old <= locked
    assert old - new == {"backports-zstd"}


def test_names_of_wheels_may_be_long(tmp_path: Path) -> None:
    house = tmp_path / "wheelhouse"
    house.mkdir()
    name = f"library-1.0-cp311-cp311-{'.'.join(['manylinux_2_28_x86_64'] * 5)}.whl"
    (house / name).write_bytes(b"x")
    pack(house, tmp_path / "house.tar.gz", "wheelhouse")
    with tarfile.open(tmp_path / "house.tar.gz") as archive:
        assert archive.getnames() == [f"wheelhouse/{name}"]
