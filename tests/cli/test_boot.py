"""``isobuilder boot``, with a stand-in for QEMU that says what a node says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from isobuilder.iso.boot_names import KERNEL, PAYLOAD
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from isobuilder.model.payload import ALWAYS, BIOS
from tests.cli.calling import call, errors
from tests.pipeline.world import command

QEMU = """\
#!/bin/sh
echo "$*" >> "$(dirname "$0")/calls"
while [ $# -gt 0 ]; do
    case "$1" in -serial) log=${2#file:} ;; esac
    shift
done
echo $$ > "$(dirname "$0")/pid"
printf '[  1.0] kiso: medium found on /dev/sr0\\n[ 99.0] kiso: node: up: one\\n' >> "$log"
exec sleep 60
"""


@pytest.fixture
def iso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "qemu-system-x86_64").write_text(QEMU, encoding="ascii")
    (programs / "qemu-system-x86_64").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    artifacts = {key: {"digest": f"sha256:{'0' * 64}", "size": 1} for key in ALWAYS | BIOS}
    payload = {"schema": 1, "os": "debian-13", "suite": "trixie", "kernel": "cloud", "tool": "1"}
    payload |= {"kernel_version": "6.12", "architecture": "amd64", "epoch": 0, "packages": []}
    described = json.dumps(payload | {"artifacts": artifacts}).encode()
    entries = [IsoEntry(KERNEL, 0o644, (b"k",)), IsoEntry(PAYLOAD, 0o644, (described,))]
    return write_iso(entries, tmp_path / "a.iso", label="CDROM", epoch=1_700_000_000).path


def test_each_node_has_its_memory_and_is_waited_for(iso: Path, tmp_path: Path) -> None:
    words: list[str | Path] = ["boot", iso, "--accel", "tcg", "--nodes", "2", "--until", "node up"]
    words += ["--memory", "4096", "--memory", "2560", "--logs", tmp_path / "logs", "--json"]
    words += ["--disc", iso]
    nodes = json.loads(call(*words).stdout)
    assert [(node["name"], "node up" in node["reached"]) for node in nodes] == [
        ("node1", True),
        ("node2", True),
    ]
    calls = (tmp_path / "bin/calls").read_text(encoding="utf-8").splitlines()
    assert ["-m 4096" in line for line in calls] == [True, False]
    assert ["-m 2560" in line for line in calls] == [False, True]
    assert ["drive=disc1" in line for line in calls] == [True, True]


def test_one_amount_of_memory_is_for_all_nodes(iso: Path, tmp_path: Path) -> None:
    words: list[str | Path] = ["boot", iso, "--accel", "tcg", "--nodes", "2", "--until", "node up"]
    call(*words, "--memory", "2000", "--logs", tmp_path / "logs")
    calls = (tmp_path / "bin/calls").read_text(encoding="utf-8").splitlines()
    assert ["-m 2000" in line for line in calls] == [True, True]


def test_more_amounts_than_nodes_are_refused(iso: Path) -> None:
    done = call("boot", iso, "--memory", "1000", "--memory", "2000", code=2)
    assert errors(done) == ["error: --memory given 2 times for 1 nodes"]


def test_a_machine_that_should_go_off_and_stays_on_is_no_success(iso: Path, tmp_path: Path) -> None:
    words: list[str | Path] = ["boot", iso, "--accel", "tcg", "--until", "off", "--timeout", "1"]
    done = call(*words, "--logs", tmp_path / "logs", code=6)
    assert errors(done) == ["error: node1: still on after 1 s"]


def test_what_was_not_reached_in_time_is_told(iso: Path, tmp_path: Path) -> None:
    words: list[str | Path] = ["boot", iso, "--accel", "tcg", "--timeout", "1", "--json"]
    done = call(*words, "--logs", tmp_path / "logs", code=6)
    assert errors(done) == ["error: node1: was stopped and did not reach 'cloud-init done'"]
    assert json.loads(done.stdout)[0]["log"] == str(tmp_path / "logs/node1.log")


def test_a_milestone_nobody_knows_is_told_before_a_disk_is_made(iso: Path, tmp_path: Path) -> None:
    done = call("boot", iso, "--until", "done", "--data", tmp_path / "disk", code=2)
    assert errors(done) == ["error: no milestone 'done'"]
    assert not (tmp_path / "disk").exists()


@pytest.mark.parametrize("option", ["--timeout", "--memory", "--cpus", "--data-size"])
@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_amounts_that_make_no_sense_are_refused(option: str, value: str, iso: Path) -> None:
    assert option in errors(call("boot", iso, f"{option}={value}", code=2))[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=str)
def test_no_machine_outlives_the_command(number: signal.Signals, iso: Path, tmp_path: Path) -> None:
    process = start(iso, tmp_path, "env", "--default-signal")  # these tests too may run under nohup
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("error: interrupted; the same command carries on from here\n")
    machine = int((tmp_path / "bin/pid").read_text(encoding="ascii"))
    with pytest.raises(ProcessLookupError):
        os.kill(machine, 0)


def test_many_signals_end_as_one_and_no_machine_stays(iso: Path, tmp_path: Path) -> None:
    process = start(iso, tmp_path, "env", "--default-signal")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        process.send_signal(number)
        time.sleep(0.01)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("error: interrupted; the same command carries on from here\n")
    assert "Traceback" not in said
    machine = int((tmp_path / "bin/pid").read_text(encoding="ascii"))
    with pytest.raises(ProcessLookupError):
        os.kill(machine, 0)


def test_nohup_outlives_the_terminal(iso: Path, tmp_path: Path) -> None:
    process = start(iso, tmp_path, "nohup")
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "was stopped and did not reach" in said


def start(iso: Path, tmp_path: Path, *before: str) -> subprocess.Popen[str]:
    """Return the running command, whose machine has said something."""
    words = command("boot", iso, "--accel", "tcg", "--timeout", "3", "--logs", tmp_path / "logs")
    process = subprocess.Popen(
        [*before, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "kiso: node: up" not in (line := process.stderr.readline()):
        assert line, "it ended before"
    return process
