"""A mended copy from parity, of a medium that fails or is only read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.pipeline.build import Built
from tests.cli.calling import call, errors, hints
from tests.site.test_parity import program, scratch

pytestmark = pytest.mark.skipif(shutil.which("par2") is None, reason="par2 is not installed")


@pytest.fixture
def iso(built: Built, tmp_path: Path) -> Path:
    """A copy of the demonstration's ISO with its sum and parity beside it."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name in (built.iso.name, f"{built.iso.name}.sha256"):
        shutil.copyfile(built.iso.with_name(name), folder / name)
    call("site", "protect", folder / built.iso.name, "--percent", "10")
    return folder / built.iso.name


@pytest.mark.parametrize("at", [32768, 102_400])
def test_sectors_that_cannot_be_read_are_mended_in_a_copy(
    at: int, iso: Path, built: Built, tmp_path: Path, dead: Callable[[Path, int], None]
) -> None:
    before = sorted(iso.parent.iterdir())
    dead(iso, at)
    done = call("site", "repair", iso, "--parity", code=6)
    assert errors(done) == [f"error: {iso}: byte {at}: Input/output error"]
    assert "--out" in hints(done)[0]
    out = tmp_path / "new" / "folder" / "mended.iso"
    done = call("site", "repair", iso, "--parity", "--out", out)
    assert f"{iso}: sectors that cannot be read: 1, the first at byte {at}" in done.stderr
    assert done.stdout.strip() == str(out)
    assert list(out.parent.iterdir()) == [out]
    assert Digest.of_file(out) == built.digest
    assert sorted(iso.parent.iterdir()) == before
    assert "is there already" in call("site", "repair", iso, "--parity", "--out", out).stderr
    call("site", "repair", iso, "--parity", "--out", iso)  # which is the copy then
    assert "nothing was damaged" in call("site", "repair", iso, "--parity").stderr


def test_parity_with_sectors_that_cannot_be_read_mends_with_the_rest(
    iso: Path, built: Built, tmp_path: Path, dead: Callable[[Path, int], None]
) -> None:
    scratch(iso, at=100_000, size=5_000)
    dead(max(iso.parent.glob("*.vol*.par2")), 4096)
    call("site", "repair", iso, "--parity")
    assert Digest.of_file(iso) == built.digest


def test_a_medium_that_is_only_read_is_mended_as_a_copy_with_its_parity(
    iso: Path, built: Built, tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    scratch(iso, at=100_000, size=20_000)
    read_only(iso.parent)
    assert "--out" in hints(call("site", "repair", iso, "--parity", code=6))[0]
    out = tmp_path / "mended.iso"
    done = call("site", "repair", iso, "--parity", "--out", out, "--json")
    assert json.loads(done.stdout)["written"] == out.stat().st_size
    assert Digest.of_file(out) == built.digest


def test_another_file_of_the_name_of_a_copy_by_parity_stays(
    iso: Path, built: Built, tmp_path: Path
) -> None:
    scratch(iso, at=100_000, size=20_000)
    out = tmp_path / "mended.iso"
    out.write_bytes(b"dear")
    done = call("site", "repair", iso, "--parity", "--out", out, code=3)
    assert f"is there already, and is not {iso.name} of {built.digest}" in errors(done)[0]
    assert out.read_bytes() == b"dear"
    call("site", "repair", iso, "--parity", "--out", out, "--replace")
    assert Digest.of_file(out) == built.digest


def test_a_copy_that_takes_the_place_of_the_iso_is_read_by_nobody_else(
    iso: Path, built: Built
) -> None:
    scratch(iso, at=100_000, size=20_000)
    iso.chmod(0o600)
    call("site", "repair", iso, "--parity", "--out", iso)
    assert Digest.of_file(iso) == built.digest
    assert iso.stat().st_mode & 0o777 == 0o600


def test_a_link_to_the_iso_stays_where_a_copy_by_parity_would_go(
    iso: Path, built: Built, tmp_path: Path
) -> None:
    scratch(iso, at=100_000, size=20_000)
    out = tmp_path / "ln.iso"
    out.symlink_to(iso)
    done = call("site", "repair", iso, "--parity", "--out", out, code=3)
    assert f"is there already, and is not {iso.name} of {built.digest}" in errors(done)[0]
    assert out.is_symlink()
    call("site", "repair", iso, "--parity", "--out", out, "--replace")
    assert not out.is_symlink()
    assert Digest.of_file(out) == built.digest


def test_what_came_to_lie_there_while_par2_ran_stays(
    iso: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch(iso, at=100_000, size=20_000)
    out = tmp_path / "mended.iso"
    program(tmp_path, f'echo dear > {out}; exec par2 "$@"', monkeypatch)
    done = call("site", "repair", iso, "--parity", "--out", out, code=3)
    assert f"is there already, and is not {iso.name} of {built.digest}" in errors(done)[0]
    assert out.read_text() == "dear\n"
    call("site", "repair", iso, "--parity", "--out", out, "--replace")
    assert Digest.of_file(out) == built.digest
