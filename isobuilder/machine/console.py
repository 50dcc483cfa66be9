"""What a starting node says on its serial console, and what that means."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from isobuilder.text import printable

_CONTROL = re.compile(
    rb"\x1b\[[0-9;?]*[ -/]*[@-~]"  # colours and cursor
    rb"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles
    rb"|\x1b[()][A-Za-z0-9]|\x1b[A-Za-z=><78]"
)
_UNSEEN = bytes(range(0x20)).translate(None, b"\t\n\r\x1b")  # control characters that mean nothing

MILESTONES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("loader", re.compile(r"GNU GRUB|kiso: loading the kernel")),
    ("kernel", re.compile(r"Linux version|kiso: initramfs started")),
    ("medium found", re.compile(r"kiso: medium found on ")),
    ("root ready", re.compile(r"kiso: root file system ready")),
    ("programs installed", re.compile(r"kiso: setup: (?:Kubernetes programs|was finished)")),
    ("images imported", re.compile(r"kiso: images: ")),
    ("kubeadm done", re.compile(r"kiso: node: kubeadm (?:init|join): done")),
    ("node Ready", re.compile(r"kiso: node: node \S+ Ready: done")),
    ("node up", re.compile(r"kiso: node: up: ")),
    ("cloud-init done", re.compile(r"kiso: cloud-init: ")),
    ("system up", re.compile(r"kiso: system up")),
)
"""What a boot passes, in order, and the text by which one knows."""

NAMES = tuple(name for name, _pattern in MILESTONES)

_MEMORY = re.compile(r"([0-9]{1,9}) of [0-9]+ MiB of memory in use")
_TROUBLE = re.compile(r"kiso: error: (.*)|(Kernel panic - not syncing.*)")
_HALTED = "-- System halted"
"""The last a kernel says that cannot unpack itself; it does not end that line."""
_STUMBLED = re.compile(r"\] (?:Oops: )?int3: 0000 \[#1\]")
STUMBLE = "the kernel ran a breakpoint that it had removed, as emulation makes it do now and then"
"""The error of QEMU up to 8.0 without KVM: one processor runs code the other has just patched.

It is seen once in some sixty boots. Others met it in 2023: the thread "qemu-x86_64 booting with
8.0.0 stil see int3" on linux-kernel.
"""
_HINT = re.compile(r"kiso: hint: (.*)")
_LONGEST = 16384  # bytes kept of a line that has not ended
_AT_ONCE = 1024 * 1024  # bytes read at a time: cleaning may cost a hundred times as much memory
_MOST = 256 * 1024 * 1024  # bytes of a console: a boot writes some hundred KiB
_TOLD = 50  # errors and hints that are kept


@dataclass(slots=True)
class Console:
    """The console of one machine, read while it is written."""

    log: Path
    reached: dict[str, float] = field(default_factory=dict)  # milestone -> seconds after the start
    memory: dict[str, int] = field(
        default_factory=dict
    )  # milestone -> MiB in use, where it says so
    errors: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    _read: int = 0
    _last: str = ""
    _rest: bytes = b""  # of a line that has not ended, as it came: a control may be cut in two

    def update(self, seconds: float) -> list[str]:
        """Read on and return the new lines; ``seconds`` is how long the machine runs by now."""
        try:
            with self.log.open("rb") as file:
                file.seek(self._read)
                data = file.read(_AT_ONCE)
        except FileNotFoundError:
            return []
        if self._read <= _MOST < self._read + len(data):
            self.errors.append(f"its console has more than {_MOST} bytes: it writes without end")
        self._read += len(data)
        whole, _end, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest[-_LONGEST:]
        lines = [printable(line.rstrip()) for line in _text(whole).splitlines() if line.strip()]
        for line in lines:
            self._notice(line, seconds, whole=True)
        # A menu draws without ever ending a line, so an unfinished line counts too.
        self._notice(_text(rest), seconds, whole=False)
        return lines

    def _notice(self, line: str, seconds: float, *, whole: bool) -> None:
        for name, pattern in MILESTONES:
            if not pattern.search(line):
                continue
            self.reached.setdefault(name, seconds)
            if whole and (match := _MEMORY.search(line)):
                self.memory.setdefault(name, int(match[1]))
        if _HALTED in line and not self.errors:
            self.errors.append(f"the kernel halted: {self._last or 'it said nothing'}")
            self.hints.append(
                "the kernel on the medium is damaged: compare the ISO with its .sha256"
            )
        if not whole:
            return
        self._last = line.strip()
        if len(self.errors) < _TOLD and _STUMBLED.search(line):
            self.errors.append(STUMBLE)
            self.hints.append("start it again, or use a newer QEMU, or a machine with KVM")
        if len(self.errors) < _TOLD and (match := _TROUBLE.search(line)):
            self.errors.append(next(text for text in match.groups() if text))
        if len(self.hints) < _TOLD and (match := _HINT.search(line)):
            self.hints.append(match[1])


def _text(data: bytes) -> str:
    seen = _CONTROL.sub(b"", data).translate(None, _UNSEEN)
    return seen.decode("utf-8", "replace").replace("\r", "\n")
