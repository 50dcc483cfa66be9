"""An ISO in QEMU: virtual machines that start from it, and what they say."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from isobuilder.errors import EnvironmentProblem, UsageProblem
from isobuilder.files import disk_problem
from isobuilder.machine.console import NAMES, STUMBLE, Console
from isobuilder.model.architecture import ARCHITECTURES, DEFAULT
from isobuilder.run import find_program, last_lines, run, running

Firmware = Literal["bios", "uefi", "secureboot"]
Attachment = Literal["cd", "disk", "usb"]
Listener = Callable[[str, str], None]
"""Called with the name of a machine and a line of its console."""

_DATA_LABEL = "kiso-data"
"""The file system label by which the boot menu knows a disk that keeps state."""

_ASK_AGAIN = 0.2  # seconds
_HINT_SECONDS = 1.0
_PROBE_SECONDS = 20.0
_TRIES = 3

_SCSI = "cds"  # the controller of CDs; QEMU itself calls buses scsi.0 and so on
_FIRMWARE: dict[tuple[str, Firmware], tuple[tuple[str, str], ...]] = {  # by machine type
    ("q35", "uefi"): (
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ),
    # With Microsoft's keys enrolled, as machines are sold.
    ("q35", "secureboot"): (
        ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
        ("/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"),
    ),
    ("virt", "secureboot"): (
        ("/usr/share/AAVMF/AAVMF_CODE.ms.fd", "/usr/share/AAVMF/AAVMF_VARS.ms.fd"),
    ),
    ("virt", "uefi"): (
        ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        (
            "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
            "/usr/share/edk2/aarch64/vars-template-pflash.raw",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Machine:
    """One virtual machine."""

    name: str
    iso: Path
    firmware: Firmware | None = None  # None: BIOS, where machines of that kind have one
    attachment: Attachment = "cd"
    architecture: str = DEFAULT
    memory: int = 3072  # MiB
    processors: int = 2
    seed: Path | None = None  # cloud-init's configuration, an ISO
    discs: tuple[Path, ...] = ()  # more CDs, such as the ISO of the next version
    data: Path | None = None  # a disk image that keeps state
    number: int = 1  # decides the network addresses
    online: bool = False  # may reach what this machine reaches

    @property
    def starts_by(self) -> Firmware:
        """What starts it: what was asked for, else the simplest that its architecture has."""
        return self.firmware or ("bios" if ARCHITECTURES[self.architecture].bios else "uefi")


@dataclass(frozen=True, slots=True)
class BootOutcome:
    """How far one machine came."""

    name: str
    log: Path
    reached: dict[str, float]  # milestone -> seconds after the start
    memory: dict[str, int] = field(
        default_factory=dict
    )  # milestone -> MiB in use, where it says so
    errors: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    wanted: str | None = None  # the milestone that was not reached
    ended: bool = field(default=False)  # the machine went off by itself

    @property
    def failed(self) -> bool:
        """Whether it did not come as far as it should."""
        return self.wanted is not None or bool(self.errors)


def start(
    machines: Sequence[Machine],
    *,
    logs: Path,
    until: str | None,
    timeout: float,
    kvm: bool,
    listener: Listener = lambda _name, _line: None,
) -> list[BootOutcome]:
    """Start ``machines`` on one private network and return how far each came.

    They run until each has reached the milestone ``until`` (None: until they go off by
    themselves), one of them reports an error, or ``timeout`` seconds are over; then they are
    stopped. Consoles go to ``logs``/NAME.log and, line by line, to ``listener``. When it is
    emulation itself that failed, all are started again, twice at most; times count from the last
    start.

    Raises:
        EnvironmentProblem: QEMU or the firmware is not installed, or QEMU does not start.
    """
    check_milestone(until)
    for count in range(1, _TRIES + 1):
        outcomes = _run(
            machines, logs=logs, until=until, timeout=timeout, kvm=kvm, listener=listener
        )
        stumbled = [outcome.name for outcome in outcomes if STUMBLE in outcome.errors]
        if kvm or not stumbled or count == _TRIES:
            return outcomes
        listener(stumbled[0], f"isobuilder: {STUMBLE}; starting again")
    raise AssertionError  # the last try has returned


def _run(
    machines: Sequence[Machine],
    *,
    logs: Path,
    until: str | None,
    timeout: float,
    kvm: bool,
    listener: Listener,
) -> list[BootOutcome]:
    """Start ``machines`` once."""
    consoles = {machine.name: Console(logs / f"{machine.name}.log") for machine in machines}
    with tempfile.TemporaryDirectory(prefix="isobuilder-boot-") as folder, ExitStack() as stack:
        began = time.monotonic()
        alive = {}
        links = stack.enter_context(_private_network(len(machines)))
        for machine, link in zip(machines, links, strict=True):
            log = consoles[machine.name].log
            log.unlink(missing_ok=True)
            argv = qemu_command(machine, serial=log, scratch=Path(folder), kvm=kvm, link=link.text)
            qemu = Path(folder) / f"{machine.name}.qemu"
            alive[machine.name] = stack.enter_context(
                running(
                    argv, ready=log.exists, timeout=_PROBE_SECONDS, log=qemu, keep=link.descriptors
                )
            )
        _follow(consoles, alive, until=until, deadline=timeout, began=began, listener=listener)
        ended = {name for name, is_on in alive.items() if not is_on()}
        for name in ended:
            console = consoles[name]
            if not console.reached and (said := last_lines(Path(folder) / f"{name}.qemu")):
                console.errors.append(f"QEMU ended: {said}")
    return [
        BootOutcome(
            name=name,
            log=console.log,
            reached=dict(console.reached),
            memory=dict(console.memory),
            errors=tuple(console.errors),
            hints=tuple(console.hints),
            wanted=until if until is not None and until not in console.reached else None,
            ended=name in ended,
        )
        for name, console in consoles.items()
    ]


def check_milestone(name: str | None) -> None:
    """Raise a ``UsageProblem`` if no boot passes the milestone ``name``."""
    if name is not None and name not in NAMES:
        raise UsageProblem(f"no milestone {name!r}", hint=f"known ones: {', '.join(NAMES)}")


def _follow(
    consoles: Mapping[str, Console],
    alive: Mapping[str, Callable[[], bool]],
    *,
    until: str | None,
    deadline: float,
    began: float,
    listener: Listener,
) -> None:
    """Read all consoles until there is nothing more to wait for."""

    def read() -> float:
        seconds = time.monotonic() - began
        for name, console in consoles.items():
            for line in console.update(seconds):
                listener(name, line)
        return seconds

    while True:
        # Asked before reading on, so that the last lines of an ended machine are read.
        on = [name for name, is_on in alive.items() if is_on()]
        seconds = read()
        if any(console.errors for console in consoles.values()):
            time.sleep(_HINT_SECONDS)  # the hint is the next line
            read()
            return
        waiting = [name for name in on if until not in consoles[name].reached]
        if not waiting or seconds > deadline:
            return
        time.sleep(_ASK_AGAIN)


@dataclass(frozen=True, slots=True)
class _Link:
    """One end of the private network, as QEMU takes it."""

    text: str | None = None
    descriptors: tuple[int, ...] = ()


@contextmanager
def _private_network(nodes: int) -> Iterator[list[_Link]]:
    """Make the network between ``nodes`` machines and give each its end of it."""
    if nodes == 1:
        yield [_Link()]
    elif nodes == 2:
        # A pair of sockets that exist before either machine: nobody has to be there first, and
        # nobody else on this machine can listen.
        ends = socket.socketpair()
        with ends[0], ends[1]:
            yield [_Link(f"fd={end.fileno()}", (end.fileno(),)) for end in ends]
    else:
        port = 20000 + os.getpid() % 20000
        yield [_Link(f"mcast=230.77.105.1:{port},localaddr=127.0.0.1")] * nodes


def qemu_command(
    machine: Machine, *, serial: Path, scratch: Path, kvm: bool, link: str | None = None
) -> list[str | Path]:
    """Return the command that runs ``machine``.

    ``serial`` gets its console; ``link`` is its end of the network that it shares with others.
    """
    argv: list[str | Path] = [
        find_program(ARCHITECTURES[machine.architecture].qemu),
        "-name", machine.name,
        "-accel", "kvm" if kvm else "tcg,thread=multi",
        "-cpu", "host" if kvm else ARCHITECTURES[machine.architecture].processor,
        "-smp", str(machine.processors),
        "-m", str(machine.memory),
        "-display", "none",
        "-monitor", "none",
        "-no-reboot",
        "-serial", f"file:{serial}",
    ]  # fmt: skip
    argv += _firmware(machine, scratch)
    argv += _medium(machine)
    if machine.seed is not None:
        argv += ["-drive", _drive("seed", machine.seed, cd=True)]
        argv += ["-device", f"scsi-cd,drive=seed,bus={_SCSI}.0"]
    for number, disc in enumerate(machine.discs, 1):
        argv += ["-drive", _drive(f"disc{number}", disc, cd=True)]
        argv += ["-device", f"scsi-cd,drive=disc{number},bus={_SCSI}.0"]
    if machine.data is not None:
        argv += ["-drive", _drive("data", machine.data, writable=True)]
        argv += ["-device", "virtio-blk-pci,drive=data"]
    argv += _network(machine, link)
    return argv


def firmware_files(architecture: str, firmware: Firmware) -> tuple[Path, Path] | None:
    """Return the code and the variables of a firmware, None if it is not installed."""
    pairs = _FIRMWARE.get((ARCHITECTURES[architecture].machine, firmware), ())
    found = ((Path(code), Path(variables)) for code, variables in pairs)
    return next((pair for pair in found if pair[0].exists() and pair[1].exists()), None)


def _firmware(machine: Machine, scratch: Path) -> list[str | Path]:
    traits = ARCHITECTURES[machine.architecture]
    kind = traits.machine
    firmware = machine.starts_by
    if firmware == "bios":
        if not traits.bios:
            raise UsageProblem(f"{machine.architecture} has no BIOS", hint="use --firmware uefi")
        return ["-machine", kind]
    found = firmware_files(machine.architecture, firmware)
    if found is None:
        raise EnvironmentProblem(
            f"no firmware for {firmware} on {machine.architecture}",
            hint=f"on Debian or Ubuntu: apt-get install {traits.firmware}",
        )
    code, variables = found
    own = scratch / f"{machine.name}.vars"
    shutil.copyfile(variables, own)
    argv: list[str | Path] = ["-machine", kind]
    if firmware == "secureboot" and kind == "q35":
        # Without these the firmware cannot protect its keys, and refuses to enforce them.
        argv = ["-machine", f"{kind},smm=on"]
        argv += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        argv += ["-global", "ICH9-LPC.disable_s3=1"]
    argv += ["-drive", f"if=pflash,format=raw,readonly=on,file={_escaped(code)}"]
    return [*argv, "-drive", f"if=pflash,format=raw,file={_escaped(own)}"]


def _medium(machine: Machine) -> list[str | Path]:
    # Named, because a USB stick brings a SCSI bus of its own, on which nothing else has room.
    controller: list[str | Path] = ["-device", f"virtio-scsi-pci,id={_SCSI}"]
    if machine.attachment == "cd":
        device = ["-device", f"scsi-cd,drive=medium,bootindex=1,bus={_SCSI}.0"]
    elif machine.attachment == "disk":
        device = ["-device", "virtio-blk-pci,drive=medium,bootindex=1"]
    else:
        device = ["-device", "qemu-xhci", "-device", "usb-storage,drive=medium,bootindex=1"]
    drive = _drive("medium", machine.iso, cd=machine.attachment == "cd")
    return [*controller, "-drive", drive, *device]


def _drive(name: str, path: Path, *, cd: bool = False, writable: bool = False) -> str:
    """Return a drive; a disk that is an ISO is written to, if at all, in a scratch file."""
    kind = "media=cdrom,readonly=on" if cd else "" if writable else "snapshot=on"
    return ",".join(filter(None, [f"if=none,id={name},format=raw", kind, f"file={_escaped(path)}"]))


def _escaped(path: Path) -> str:
    return str(path.absolute()).replace(",", ",,")


def _network(machine: Machine, link: str | None) -> list[str | Path]:
    """Return the interfaces: the private network of all nodes first, then the way outside."""
    argv: list[str | Path] = []
    if link is not None:
        address = f"52:54:00:6b:01:{machine.number:02x}"
        argv += ["-netdev", f"socket,id=private,{link}"]
        argv += ["-device", f"virtio-net-pci,netdev=private,mac={address}"]
    restrict = "off" if machine.online else "on"
    address = f"52:54:00:6b:00:{machine.number:02x}"
    argv += ["-netdev", f"user,id=outside,restrict={restrict}"]
    return [*argv, "-device", f"virtio-net-pci,netdev=outside,mac={address}"]


def kvm_works(kernel: Path, *, architecture: str) -> bool:
    """Return whether a guest really runs in KVM here: a device file alone proves little.

    ``kernel`` is started without anything else; it works if it comes as far as its first line.
    """
    device = Path("/dev/kvm")
    if not os.access(device, os.R_OK | os.W_OK):
        return False
    with tempfile.TemporaryDirectory(prefix="isobuilder-kvm-") as name:
        scratch = Path(name)
        console = Console(scratch / "serial")
        argv: list[str | Path] = [
            find_program(ARCHITECTURES[architecture].qemu),
            "-machine", ARCHITECTURES[architecture].machine,
            "-accel", "kvm", "-cpu", "host", "-m", "512",
            "-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none",
            "-serial", f"file:{console.log}",
            "-kernel", kernel,
            "-append", "console=ttyS0 console=ttyAMA0 panic=-1",
        ]  # fmt: skip
        try:
            with running(
                argv, ready=console.log.exists, timeout=_PROBE_SECONDS, log=scratch / "qemu"
            ) as alive:
                began = time.monotonic()
                while alive() and time.monotonic() - began < _PROBE_SECONDS:
                    console.update(time.monotonic() - began)
                    if "kernel" in console.reached:
                        return True
                    time.sleep(_ASK_AGAIN)
        except EnvironmentProblem:
            return False
        console.update(_PROBE_SECONDS)
    return "kernel" in console.reached


def make_data_disk(path: Path, *, mebibytes: int) -> None:
    """Make a disk image that keeps a node's state, empty; ``path`` must not exist yet.

    It will hold the keys of a cluster, so it is for its owner only.

    Raises:
        EnvironmentProblem: mkfs.ext4 is not installed or fails, or ``path`` cannot be made.
    """
    program = find_program("mkfs.ext4")
    with ExitStack() as undo:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                undo.callback(path.unlink)
                file.truncate(mebibytes * 1024 * 1024)
        except OSError as error:
            raise disk_problem(error, path) from error
        run([program, "-q", "-F", "-L", _DATA_LABEL, path], timeout=60)
        undo.pop_all()
