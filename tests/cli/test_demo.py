from __future__ import annotations

from pathlib import Path

from isobuilder.digest import Digest
from tests.cli.calling import call, errors
from tests.pipeline.world import run_cli


def test_the_demo_ends_with_an_iso_and_its_digest(tmp_path: Path) -> None:
    done = run_cli("demo", "--out", tmp_path / "demo", env={"HOME": str(tmp_path / "nobody")})
    lines = done.stdout.splitlines()
    iso = next((tmp_path / "demo").glob("*.iso"))
    assert any(str(iso) in line for line in lines)
    assert any(str(Digest.of_file(iso)) in line for line in lines)
    assert "starts no cluster" in lines[-1]
    assert "verified" in done.stdout
    registered = [line.split() for line in lines if line.endswith(" Ready")]
    assert [line[1:] for line in registered] == [
        ["1.34.12", "x86_64", zone, "Enabled", "Ready"] for zone in ("Seoul", "Busan")
    ]
    assert "none when asked again" in done.stdout
    assert not (tmp_path / "nobody").exists()
    again = run_cli("demo", "--out", tmp_path / "demo")
    assert f"{iso}: " in again.stdout
    assert "unchanged" in again.stdout


def test_the_demo_names_a_folder_that_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert errors(call("demo", "--out", tmp_path / "file" / "below", code=6))
