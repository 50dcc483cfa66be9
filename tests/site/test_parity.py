"""Parity in the format of PAR2, made and used by par2."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.formats.par2 import read_pieces
from isobuilder.pipeline.build import Built
from isobuilder.site.parity import _zeroed
from tests.cli.calling import call, errors, hints

pytestmark = pytest.mark.skipif(shutil.which("par2") is None, reason="par2 is not installed")


@pytest.fixture
def iso(built: Built, tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    shutil.copytree(built.iso.parent, folder)
    return folder / built.iso.name


def scratch(iso: Path, *, at: int, size: int) -> None:
    data = bytearray(iso.read_bytes())
    data[at : at + size] = bytes(byte ^ 0xFF for byte in data[at : at + size])
    iso.write_bytes(data)


def test_a_scratch_within_the_parity_is_healed(iso: Path, built: Built) -> None:
    done = call("site", "protect", iso, "--percent", "10")
    assert Path(done.stdout.splitlines()[0]).name == f"{iso.name}.par2"
    before = sorted(iso.parent.iterdir())
    scratch(iso, at=100_000, size=20_000)
    call("site", "repair", iso, "--parity")
    assert Digest.of_file(iso) == built.digest
    assert sorted(iso.parent.iterdir()) == before
    assert "nothing was damaged" in call("site", "repair", iso, "--parity").stderr


def test_other_tools_read_the_parity(iso: Path, built: Built) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=50_000, size=5_000)
    command = ["par2", "repair", "-q", f"{iso.name}.par2"]
    subprocess.run(command, cwd=iso.parent, check=True, capture_output=True)
    assert Digest.of_file(iso) == built.digest


def test_more_damage_than_parity_is_told_and_nothing_changed(iso: Path) -> None:
    call("site", "protect", iso, "--percent", "5")
    scratch(iso, at=100_000, size=60_000)
    damaged = iso.read_bytes()
    before = sorted(iso.parent.iterdir())
    done = call("site", "repair", iso, "--parity", code=6)
    assert errors(done)
    assert iso.read_bytes() == damaged
    assert sorted(iso.parent.iterdir()) == before


def test_parity_of_another_iso_changes_nothing(iso: Path) -> None:
    damaged = iso.read_bytes()[:-1] + b"?"
    iso.write_bytes(damaged)
    call("site", "protect", iso, "--percent", "10")  # of what is damaged already
    scratch(iso, at=100_000, size=5_000)
    scratched = iso.read_bytes()
    done = call("site", "repair", iso, "--parity", code=5)
    assert "it is as it was" in errors(done)[0]
    assert iso.read_bytes() == scratched


def test_without_parity_it_says_so(iso: Path) -> None:
    scratch(iso, at=100_000, size=5)
    done = call("site", "repair", iso, "--parity", code=3)
    assert "no parity is beside it" in errors(done)[0]
    call("site", "protect", iso)
    done = call("site", "protect", iso, code=3)
    assert "is there already" in errors(done)[0]
    assert hints(done)


def test_a_name_that_looks_like_an_option_is_a_name(iso: Path, built: Built) -> None:
    odd = iso.rename(iso.with_name("-r99.iso"))
    call("site", "protect", odd, "--percent", "10")
    scratch(odd, at=100_000, size=20_000)
    call("site", "repair", odd, "--parity", "--digest", built.digest)
    assert Digest.of_file(odd) == built.digest


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``text`` run in the place of par2."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setattr("isobuilder.site.parity._program", lambda: path)


def test_what_others_put_beside_an_iso_while_it_is_mended_stays(
    iso: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=100_000, size=20_000)
    program(tmp_path, 'echo dear > other.iso; echo dear > 1.txt; exec par2 "$@"', monkeypatch)
    call("site", "repair", iso, "--parity")
    assert Digest.of_file(iso) == built.digest
    assert all((iso.parent / name).read_text() == "dear\n" for name in ("other.iso", "1.txt"))


def test_par2_that_ends_in_the_middle_leaves_the_iso_as_it_was(
    iso: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=100_000, size=20_000)
    damaged, before = iso.read_bytes(), sorted(iso.parent.iterdir())
    half = f"mv {iso.name} {iso.name}.1; head -c 9000 {iso.name}.1 > {iso.name}; exit 1"
    program(tmp_path, half, monkeypatch)
    call("site", "repair", iso, "--parity", code=6)
    assert iso.read_bytes() == damaged
    assert sorted(iso.parent.iterdir()) == before


def with_zeros(folder: Path) -> Path:
    """Return a protected file in which pieces are zeros, as in the image of a boot partition."""
    chance = random.Random(2)
    path = folder / "zeros.iso"
    path.write_bytes(chance.randbytes(1 << 20) + bytes(1 << 18) + chance.randbytes(1 << 20))
    call("site", "protect", path, "--percent", "10")
    return path


def test_a_scratch_of_zeros_is_healed_where_zeros_are_right_elsewhere(tmp_path: Path) -> None:
    path = with_zeros(tmp_path)
    expected, good = Digest.of_file(path), path.read_bytes()
    path.write_bytes(good[:300_000] + bytes(150_000) + good[450_000:])
    pieces = read_pieces((tmp_path / "zeros.iso.par2").read_bytes())
    assert pieces is not None
    places = list(_zeroed(path, pieces))
    assert len(places) > 100
    assert all(300_000 <= at < 450_000 for at in places)  # and none where zeros are right
    call("site", "repair", path, "--parity", "--digest", expected)
    assert path.read_bytes() == good


def test_what_cannot_be_healed_has_its_zeros_back(tmp_path: Path) -> None:
    path = with_zeros(tmp_path)
    expected, good = Digest.of_file(path), path.read_bytes()
    damaged = good[:300_000] + bytes(400_000) + good[700_000:]
    path.write_bytes(damaged)
    call("site", "repair", path, "--parity", "--digest", expected, code=6)
    assert path.read_bytes() == damaged
