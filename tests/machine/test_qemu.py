from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem, UsageProblem
from isobuilder.machine import qemu as lab
from isobuilder.machine.console import MILESTONES, STUMBLE, Console
from isobuilder.machine.qemu import (
    Attachment,
    BootOutcome,
    Machine,
    make_data_disk,
    qemu_command,
    start,
)

Install = Callable[..., None]

ISO = Machine(name="node1", iso=Path("/isos/a,b.iso"))

FAKE = """#!/bin/sh
# A stand-in for QEMU: it says what a node says.
while [ $# -gt 0 ]; do
    case "$1" in -serial) log=${2#file:} ;; esac
    shift
done
{
    printf '\\033[2J\\033[1;1HGNU GRUB  version 2.12\\033[0m'
    printf '\\r\\n[    0.0] Linux version 6\\r\\n[    9.1] kiso: medium found on /dev/sr0\\r\\n'
    %s
} >> "$log"
%s
"""

TALKING = f"""#!{sys.executable}
# A stand-in for QEMU: it sends its name to the private network and logs what comes from there.
import re, socket, sys
words = " ".join(sys.argv)
link = socket.socket(fileno=int(re.search(r"id=private,fd=([0-9]+)", words)[1]))
link.sendall(b"from " + re.search(r"-name ([a-z0-9]+)", words)[1].encode())
with open(re.search(r"-serial file:(\\S+)", words)[1], "ab", buffering=0) as log:
    log.write(link.recv(100))
"""


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a stand-in for QEMU on the path, which says more and then does something."""

    def install(says: str, does: str = "exec sleep 60") -> None:
        path = tmp_path / "qemu-system-x86_64"
        path.write_text(FAKE % (says, does))
        path.chmod(0o755)
        monkeypatch.setattr(lab, "find_program", lambda _name: path)

    return install


def run_it(
    tmp_path: Path, until: str | None = "cloud-init done", timeout: float = 60.0
) -> tuple[BootOutcome, list[str]]:
    lines: list[str] = []
    (outcome,) = start(
        [ISO],
        logs=tmp_path,
        until=until,
        timeout=timeout,
        kvm=False,
        listener=lambda _name, line: lines.append(line),
    )
    return outcome, lines


def words(machine: Machine, tmp_path: Path, *, link: str | None = None, kvm: bool = False) -> str:
    try:
        argv = qemu_command(machine, serial=Path("/s"), scratch=tmp_path, kvm=kvm, link=link)
    except EnvironmentProblem as error:
        pytest.skip(str(error))
    return " ".join(str(word) for word in argv[1:])


def test_a_boot_is_followed_to_its_milestone(qemu: Install, tmp_path: Path) -> None:
    qemu("echo '[   99.0] cloud-init[1]: kiso: cloud-init: done, 9 of 99 MiB of memory in use'")
    outcome, lines = run_it(tmp_path)
    assert not outcome.failed
    assert list(outcome.reached) == ["loader", "kernel", "medium found", "cloud-init done"]
    assert outcome.memory == {"cloud-init done": 9}
    assert "[    9.1] kiso: medium found on /dev/sr0" in lines
    assert not any("\x1b" in line for line in lines)


def test_an_error_on_the_console_ends_it_with_the_hint(qemu: Install, tmp_path: Path) -> None:
    qemu("echo '[ 9] kiso: error: no disk'; echo '[ 9] kiso: hint: attach it'")
    outcome, _lines = run_it(tmp_path)
    assert outcome.failed
    assert (outcome.errors, outcome.hints) == (("no disk",), ("attach it",))


def test_a_machine_that_goes_off_early_did_not_reach_it(qemu: Install, tmp_path: Path) -> None:
    qemu(":", "exit 0")
    outcome, _lines = run_it(tmp_path)
    assert outcome.failed
    assert outcome.ended
    assert outcome.wanted == "cloud-init done"


INT3 = "[    2.726484] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"


def test_a_machine_that_emulation_broke_is_started_again(qemu: Install, tmp_path: Path) -> None:
    once = tmp_path / "once"
    done = "[   99.0] cloud-init[1]: kiso: cloud-init: done"
    qemu(f"if mkdir {once}; then echo '{INT3}'; else echo '{done}'; fi")
    outcome, lines = run_it(tmp_path)
    assert not outcome.failed
    assert "cloud-init done" in outcome.reached
    assert INT3 in lines
    assert lines[lines.index(INT3) + 1] == f"isobuilder: {STUMBLE}; starting again"


def test_emulation_that_breaks_each_time_is_an_error(qemu: Install, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    qemu(f"echo '{INT3}'; echo >> {tries}")
    outcome, _lines = run_it(tmp_path)
    assert outcome.errors == (STUMBLE,)
    assert "newer QEMU" in outcome.hints[0]
    assert tries.read_text() == "\n" * 3


def test_a_machine_may_run_until_it_goes_off(qemu: Install, tmp_path: Path) -> None:
    qemu(":", "exit 0")
    outcome, _lines = run_it(tmp_path, until=None)
    assert not outcome.failed
    assert outcome.ended


def test_time_is_bounded(qemu: Install, tmp_path: Path) -> None:
    qemu(":")
    outcome, _lines = run_it(tmp_path, timeout=0.5)
    assert outcome.wanted == "cloud-init done"
    assert not outcome.ended


def test_a_qemu_that_does_not_start_says_why(qemu: Install, tmp_path: Path) -> None:
    qemu(":", ":")
    script = tmp_path / "qemu-system-x86_64"
    script.write_text("#!/bin/sh\necho 'Could not access KVM kernel module' >&2\nexit 1\n")
    with pytest.raises(EnvironmentProblem, match="Could not access KVM kernel module"):
        run_it(tmp_path)


def test_a_qemu_that_gives_up_at_once_says_why_too(qemu: Install, tmp_path: Path) -> None:
    qemu(":", ":")
    script = tmp_path / "qemu-system-x86_64"
    log = tmp_path / "node1.log"
    script.write_text(f"#!/bin/sh\n: > {log}\necho 'no room on the bus' >&2\nsleep 0.3\nexit 1\n")
    outcome, _lines = run_it(tmp_path)
    assert outcome.ended
    assert outcome.errors == ("QEMU ended: no room on the bus",)


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="no QEMU")
@pytest.mark.parametrize("attachment", ["cd", "disk", "usb"])
def test_qemu_accepts_every_way_to_attach_an_iso_with_a_seed_and_another_disc(
    attachment: Attachment, tmp_path: Path
) -> None:
    # Nothing on it starts; a device that has no place would end QEMU at once.
    iso, seed, disc = tmp_path / "a,b.iso", tmp_path / "seed.iso", tmp_path / "next.iso"
    for path in (iso, seed, disc):
        path.write_bytes(bytes(1 << 20))
    machine = dataclasses.replace(ISO, iso=iso, seed=seed, discs=(disc,), attachment=attachment)
    machine = dataclasses.replace(machine, memory=64)
    (outcome,) = start([machine], logs=tmp_path, until="kernel", timeout=2.0, kvm=False)
    assert outcome.errors == ()
    assert not outcome.ended


def test_an_unknown_milestone_is_a_usage_problem(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="no milestone 'done'"):
        run_it(tmp_path, until="done")


def test_the_console_is_read_in_any_pieces(tmp_path: Path) -> None:
    log = tmp_path / "log"
    text = (
        b"\x1b[0m[ 1.0] kiso: medium fo\x1b[31mund on /dev/vda\r\n"
        b"[ 2.0] kiso: root file system ready, 95 of 1980 MiB of memory in use\r\n"
        b"Kernel panic - not syncing: x\n"
    )
    console = Console(log)
    assert console.update(0.0) == []
    with log.open("wb", buffering=0) as file:
        for number, start_ in enumerate(range(0, len(text), 29)):
            file.write(text[start_ : start_ + 29])
            console.update(float(number))
    assert "medium found" in console.reached
    assert console.memory == {"root ready": 95}
    assert console.errors == ["Kernel panic - not syncing: x"]


def test_a_console_that_writes_without_end_is_left_and_costs_little(tmp_path: Path) -> None:
    console = Console(tmp_path / "log")
    with console.log.open("wb") as log:
        log.write(b"kiso: error: x\nkiso: hint: y\n" * 5000 + b"9" * 5000)
        log.write(b" of 9 MiB of memory in use\n\x1b[" + b"z" * 9_000_000)
        log.truncate(300 * 1024 * 1024)
    tracemalloc.start()
    for _ in range(300):
        console.update(1.0)
    assert tracemalloc.get_traced_memory()[1] < 100 * 1024 * 1024
    tracemalloc.stop()
    assert console.errors[-1] == "its console has more than 268435456 bytes: it writes without end"
    assert len(console.errors) <= 51
    assert len(console.hints) <= 50
    assert console.memory == {}


def test_a_kernel_that_halts_does_not_end_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(
        b"kiso: loading the kernel\r\n\r\nZSTD-compressed data is corrupt\n\n -- System halted"
    )
    console = Console(log)
    console.update(1.0)
    console.update(2.0)
    assert console.errors == ["the kernel halted: ZSTD-compressed data is corrupt"]
    assert ".sha256" in console.hints[0]


def test_milestones_have_different_names() -> None:
    names = [name for name, _pattern in MILESTONES]
    assert len(set(names)) == len(names)


def test_a_comma_in_a_path_does_not_become_an_option(tmp_path: Path) -> None:
    assert "file=/isos/a,,b.iso" in words(ISO, tmp_path)


@pytest.mark.parametrize(
    ("attachment", "device", "mode"),
    [
        ("cd", "scsi-cd,drive=medium,bootindex=1", "media=cdrom,readonly=on"),
        ("disk", "virtio-blk-pci,drive=medium,bootindex=1", "snapshot=on"),
        ("usb", "usb-storage,drive=medium,bootindex=1", "snapshot=on"),
    ],
)
def test_the_iso_is_never_written_to(
    attachment: lab.Attachment, device: str, mode: str, tmp_path: Path
) -> None:
    line = words(dataclasses.replace(ISO, attachment=attachment), tmp_path)
    assert device in line
    assert mode in line


@pytest.mark.parametrize("firmware", ["uefi", "secureboot"])
def test_firmware_keeps_its_variables_in_a_copy(firmware: lab.Firmware, tmp_path: Path) -> None:
    line = words(dataclasses.replace(ISO, firmware=firmware), tmp_path)
    assert f"if=pflash,format=raw,file={tmp_path}/node1.vars" in line
    assert ("smm=on" in line) == (firmware == "secureboot")


def test_nodes_share_a_network_and_one_alone_has_none(tmp_path: Path) -> None:
    assert "private" not in words(ISO, tmp_path)
    second = dataclasses.replace(ISO, number=2)
    assert "socket,id=private,fd=7" in words(second, tmp_path, link="fd=7")
    assert "mac=52:54:00:6b:01:02" in words(second, tmp_path, link="fd=7")


def test_two_machines_hear_each_other_however_late_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(TALKING)
    program.chmod(0o755)
    monkeypatch.setattr(lab, "find_program", lambda _name: program)
    outcomes = start(
        [ISO, dataclasses.replace(ISO, name="node2", number=2)],
        logs=tmp_path, until=None, timeout=60.0, kvm=False,
    )  # fmt: skip
    assert [outcome.log.read_text() for outcome in outcomes] == ["from node2", "from node1"]


def test_nothing_outside_is_reached_unless_asked_for(tmp_path: Path) -> None:
    assert "restrict=on" in words(ISO, tmp_path)
    assert "restrict=off" in words(dataclasses.replace(ISO, online=True), tmp_path)


ARM = dataclasses.replace(ISO, architecture="arm64")


def test_arm64_has_no_bios(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lab, "find_program", lambda _name: "qemu")
    machine = dataclasses.replace(ARM, firmware="bios")
    with pytest.raises(UsageProblem, match="arm64 has no BIOS"):
        qemu_command(machine, serial=Path("/s"), scratch=tmp_path, kvm=False)


@pytest.mark.parametrize(("machine", "firmware"), [(ISO, "bios"), (ARM, "uefi")])
def test_what_starts_a_machine_is_chosen_by_its_architecture(
    machine: Machine, firmware: lab.Firmware, tmp_path: Path
) -> None:
    named = dataclasses.replace(machine, firmware=firmware)
    assert words(machine, tmp_path) == words(named, tmp_path)


def test_secure_boot_of_arm64_has_no_system_management_mode(tmp_path: Path) -> None:
    line = words(dataclasses.replace(ARM, firmware="secureboot"), tmp_path)
    assert "AAVMF_CODE.ms.fd" in line
    assert "smm" not in line


@pytest.mark.skipif(shutil.which("blkid", path="/sbin:/usr/sbin") is None, reason="no blkid")
def test_a_data_disk_has_the_label_the_menu_looks_for(tmp_path: Path) -> None:
    path = tmp_path / "data.img"
    make_data_disk(path, mebibytes=64)
    done = subprocess.run(["/sbin/blkid", "-p", path], capture_output=True, text=True, check=True)
    assert 'LABEL="kiso-data"' in done.stdout
    assert 'TYPE="ext4"' in done.stdout
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(EnvironmentProblem, match="File exists"):
        make_data_disk(path, mebibytes=64)
    assert path.exists()


@pytest.mark.parametrize("mebibytes", [0, 8 * 10**12])
def test_a_data_disk_that_cannot_be_made_leaves_nothing(mebibytes: int, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem):
        make_data_disk(tmp_path / "data.img", mebibytes=mebibytes)
    assert not (tmp_path / "data.img").exists()
