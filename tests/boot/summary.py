"""What a boot took, as a section of the page of results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import page
from isobuilder.machine.console import NAMES
from isobuilder.machine.qemu import BootOutcome, Machine
from tests.boot.host import KVM, qemu, when_and_where

_FIRMWARE = {"bios": "BIOS", "uefi": "UEFI", "secureboot": "Secure Boot"}
_ATTACHMENT = {"cd": "CD", "disk": "disk", "usb": "USB stick"}

_INTRODUCTION = f"""\
Kubernetes 1.37.1 of the lab, 1.20.2 in rows from before 2026-11-24, on an ISO with an operating
system, started in a virtual machine that reaches nothing outside. It runs until its images are
imported and cloud-init is done, or until the whole system is up. Written by

    {page.VARIABLE}=bench/RESULTS.md make test-boot test-boot-arm64

Each row is the last run of that machine in which all was as its test demands. State is
kept in memory, unless there is a data disk."""

_SIZES = "ISO"
_SECONDS = "Seconds after power-on"
_MEMORY = "MiB of memory in use"
_PLACES = "When and where"

_NOTES = {
    _SECONDS: "From the start of QEMU until the console says so.",
    _MEMORY: "What programs and state in memory take, where the machine says it with the step.",
}
_COLUMNS = ("MB", "given", *NAMES)

Row = Mapping[str, str]
Table = dict[str, Row]


@dataclass(frozen=True)
class Summary:
    """The section about booting of the page at ``path``; None keeps nothing."""

    path: Path | None = None

    def add_size(self, name: str, iso: Path) -> None:
        """Keep the size of an ISO."""
        self._put({_SIZES: {name: _size(iso)}})

    def add(self, machine: Machine, outcome: BootOutcome, *, kernel: str, detail: str = "") -> None:
        """Keep how long a boot that went well took."""
        words = [_FIRMWARE[machine.starts_by], _ATTACHMENT[machine.attachment], f"{kernel} kernel"]
        name = ", ".join([*words, detail] if detail else words)
        seconds = {step: f"{value:.0f}" for step, value in outcome.reached.items()}
        memory = {step: str(value) for step, value in outcome.memory.items()}
        guest = f"{machine.processors} processors in {'KVM' if KVM else 'emulation (no KVM)'}"
        run = f"{when_and_where()}; {qemu(machine.architecture)}, {guest}"
        self._put(
            {
                _SIZES: {f"with the {kernel} kernel": _size(machine.iso)},
                _SECONDS: {name: seconds},
                _MEMORY: {name: {"given": str(machine.memory), **memory}},
                _PLACES: {name: {"run": run}},
            }
        )

    def _put(self, new: Mapping[str, Table]) -> None:
        if self.path is not None:
            page.update(self.path, page.BOOTING, lambda body: merged(body, new))


def merged(body: str, new: Mapping[str, Table]) -> str:
    """Return the section with rows of ``new`` in the place of those of the same name."""
    old = {part.title: part.body for part in page.sections(body, level=3)}
    parts = [_INTRODUCTION]
    for title in (_SIZES, _SECONDS, _MEMORY, _PLACES):
        rows = _table_of(old.get(title, "")) | new.get(title, {})
        if rows:
            note = f"{_NOTES[title]}\n\n" if title in _NOTES else ""
            table = page.table(_rows(rows), numbers=title != _PLACES)
            parts.append(f"### {title}\n\n{note}{table}")
    return "\n\n".join(parts)


def _table_of(text: str) -> Table:
    head, *rows = page.rows_of(text) or [[]]
    return {row[0]: dict(zip(head[1:], row[1:], strict=False)) for row in rows}


def _rows(table: Table) -> Iterator[Sequence[str]]:
    said = {column for row in table.values() for column, value in row.items() if value}
    columns = sorted(said, key=lambda name: _COLUMNS.index(name) if name in _COLUMNS else -1)
    yield ["", *columns]
    for name, row in sorted(table.items()):
        yield [name, *(row.get(column, "") for column in columns)]


def _size(iso: Path) -> Row:
    return {"MB": f"{iso.stat().st_size / 1e6:.0f}"}
