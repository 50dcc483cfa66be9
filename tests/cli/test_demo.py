from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints
from tests.demo.debs import make_both, put_apt
from tests.pipeline.test_boot import make_payload
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


QEMU = """\
#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in -serial) log=${2#file:} ;; esac
    shift
done
printf '[  1.0] Linux version 6.12\\n[  9.0] kiso: images: 13 imported: done in 1.0 s\\n' >> "$log"
printf '[  9.5] demo: 13 images are imported\\n' >> "$log"
printf '[  9.6] demo: a container said: %s: a stand-in\\n' "$(cat "$0.says")" >> "$log"
printf '[ 10.0] kiso: system up: demo-node, 321 of 1973 MiB of memory in use\\n' >> "$log"
exec sleep 60
"""


@pytest.fixture
def container_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that booting needs, in small; the file has what the node's container prints."""
    programs, debs = tmp_path / "programs", tmp_path / "debs"
    programs.mkdir()
    debs.mkdir()
    if not shutil.which("dpkg-deb"):
        pytest.skip("apt-get install dpkg")
    make_both(debs)
    put_apt(programs, debs)
    (programs / "qemu-system-x86_64").write_text(QEMU, encoding="ascii")
    (programs / "qemu-system-x86_64").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    make_payload(Store(tmp_path / "store"))
    says = programs / "qemu-system-x86_64.says"
    says.write_text("kube-proxy")
    return says


@pytest.mark.usefixtures("container_says")
def test_the_demo_that_boots_tells_what_was_reached_and_what_is_real(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = call("demo", "--boot", "--out", out, "--store", tmp_path / "store")
    iso = next(out.glob("*.iso"))
    assert str(Digest.of_file(iso)) in done.stdout
    assert "containerd 1.7.24, of the package containerd 1.7.24~ds1-6+deb13u1" in done.stdout
    assert "boot/kiso/vmlinuz" in call("inspect", iso).stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("demo-node")]
    assert [row[1:3] for row in rows] == [
        ["kernel", rows[0][2]],
        ["images", "imported"],
        ["system", "up"],
    ]
    assert rows[-1][-2:] == ["321", "MiB"]
    assert "node says 13 images are imported" in done.stdout
    assert "Not shown: a cluster" in done.stdout
    assert "kiso: system up" in done.stderr
    assert "Linux version" not in done.stderr  # only with -v
    assert (out / "boot-logs/demo-node.log").is_file()


def test_a_node_without_a_running_container_is_no_success(
    container_says: Path, tmp_path: Path
) -> None:
    container_says.write_text("ctr: not found")
    done = call("demo", "--boot", "--out", tmp_path / "a", "--store", tmp_path / "store", code=6)
    assert "system up" in done.stdout
    assert "Shown:" not in done.stdout
    assert "did not say 'kube-proxy: a stand-in'" in errors(done)[0]


def test_the_demo_that_boots_says_first_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = call("demo", "--boot", "--out", tmp_path / "demo", code=6)
    (line,) = errors(done)
    assert "qemu-system-x86_64" in line
    assert "mmdebstrap" in line
    assert "apt-get install qemu-system-x86" in hints(done)[0]
    assert not (tmp_path / "demo").exists()


def test_the_demo_serves_or_boots(tmp_path: Path) -> None:
    done = call("demo", "--boot", "--serve", "--out", tmp_path / "demo", code=2)
    assert errors(done) == ["error: --boot and --serve contradict each other"]
