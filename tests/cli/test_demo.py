from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints
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


COMMANDS = ["build", "verify", "boot"]
QEMU = """\
#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in -serial) log=${2#file:} ;; esac
    shift
done
printf '[  1.0] Linux version 6.12\\n' >> "$log"
programs='kiso: setup: Kubernetes programs installed'
printf '[  9.0] %s: done in 1.0 s, 321 of 1973 MiB of memory in use\\n' "$programs" >> "$log"
exec sleep 60
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with an OS payload in small, and a QEMU that says what a node says."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "qemu-system-x86_64").write_text(QEMU, encoding="ascii")
    (programs / "qemu-system-x86_64").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    make_payload(Store(tmp_path / "store"))
    return tmp_path / "store"


def test_the_demo_that_boots_shows_the_commands_and_what_was_reached(
    store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "demo"
    done = call("demo", "--boot", "--out", out, "--store", store)
    (iso,) = out.glob("*.iso")
    assert str(iso) in done.stdout
    assert "boot/kiso/vmlinuz" in call("inspect", iso).stdout
    shown = [line.split() for line in done.stderr.splitlines() if line.startswith("$ isobuilder")]
    assert [next(word for word in COMMANDS if word in line) for line in shown] == COMMANDS
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("node1")]
    assert [row[1] for row in rows] == ["kernel", "programs"]
    assert rows[-1][-2:] == ["321", "MiB"]
    assert "Not shown: images and a cluster" in done.stdout
    assert (out / "boot-logs/node1.log").is_file()


def test_the_commands_it_shows_are_those_that_a_user_can_repeat(
    store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "demo"
    shown = call("demo", "--boot", "--out", out, "--store", store).stderr
    for line in shown.splitlines():
        if line.startswith("$ isobuilder ") and " verify " in line:
            assert "good" in call(*shlex.split(line)[2:]).stdout


def test_a_step_that_fails_ends_the_demo_with_its_own_words(store: Path, tmp_path: Path) -> None:
    qemu = tmp_path / "programs/qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\necho no firmware >&2; exit 1\n", encoding="ascii")
    done = call("demo", "--boot", "--out", tmp_path / "demo", "--store", store, code=6)
    assert len(errors(done)) == 1
    assert "Shown:" not in done.stdout


def test_the_demo_that_boots_says_first_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = call("demo", "--boot", "--out", tmp_path / "demo", code=6)
    assert "qemu-system-x86_64" in errors(done)[0]
    assert "apt-get install qemu-system-x86" in hints(done)[0]
    assert not (tmp_path / "demo").exists()


def test_without_a_payload_the_first_command_is_os_build(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))  # which has QEMU and no mmdebstrap
    done = call("demo", "--boot", "--out", tmp_path / "demo", "--store", tmp_path / "new", code=6)
    assert "os build" in next(line for line in done.stderr.splitlines() if line.startswith("$"))
    assert len(errors(done)) == 1


def test_the_demo_serves_or_boots(tmp_path: Path) -> None:
    done = call("demo", "--boot", "--serve", "--out", tmp_path / "demo", code=2)
    assert errors(done) == ["error: --boot and --serve contradict each other"]
