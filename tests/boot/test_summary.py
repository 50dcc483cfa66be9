"""The section about booting, without any machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.machine.qemu import BootOutcome, Machine
from tests.boot.summary import Summary

OTHERS = "# What it costs\n\n## Goals\n\nmet\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "RESULTS.md"
    path.write_text(OTHERS, encoding="utf-8")
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    iso = tmp_path / "cloud.iso"
    iso.write_bytes(b"")
    with iso.open("r+b") as file:
        file.truncate(485_400_000)
    return Machine("node1", iso)


def outcome(reached: dict[str, float], memory: dict[str, int]) -> BootOutcome:
    return BootOutcome("node1", Path("log"), reached=reached, memory=memory)


def test_a_boot_has_sizes_seconds_and_memory(page: Path, machine: Machine) -> None:
    went = outcome({"loader": 1.2, "kernel": 4.0, "root ready": 13.6}, {"root ready": 310})
    Summary(page).add(machine, went, kernel="cloud")
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"{OTHERS}\n## Booting\n\n")
    assert "| with the cloud kernel | 485 |" in text
    assert "|  | loader | kernel | root ready |" in text
    assert "| BIOS, CD, cloud kernel | 1 | 4 | 14 |" in text
    assert "|  | given | root ready |" in text
    assert "| BIOS, CD, cloud kernel | 3072 | 310 |" in text
    assert "emulation (no KVM)" in text
    assert "system up |" not in text


def test_a_run_keeps_the_rows_of_others_and_replaces_its_own(page: Path, machine: Machine) -> None:
    summary = Summary(page)
    slow = outcome({"kernel": 9.0, "programs installed": 80.0}, {"programs installed": 700})
    quick = outcome({"kernel": 4.0, "system up": 70.0}, {})
    stick = replace(machine, firmware="secureboot", attachment="usb")
    summary.add(machine, slow, kernel="cloud")
    summary.add(stick, slow, kernel="generic")
    summary.add(machine, slow, kernel="cloud", detail="empty data disk")
    summary.add(machine, quick, kernel="cloud")
    text = page.read_text(encoding="utf-8")
    seconds, memory = text.split("\n### ")[2:4]
    assert seconds.splitlines()[4:] == [
        "|  | kernel | programs installed | system up |",
        "| --- | ---: | ---: | ---: |",
        "| BIOS, CD, cloud kernel | 4 |  | 70 |",
        "| BIOS, CD, cloud kernel, empty data disk | 9 | 80 |  |",
        "| Secure Boot, USB stick, generic kernel | 9 | 80 |  |",
    ]
    assert memory.splitlines()[4:] == [
        "|  | given | programs installed |",
        "| --- | ---: | ---: |",
        "| BIOS, CD, cloud kernel | 3072 |  |",
        "| BIOS, CD, cloud kernel, empty data disk | 3072 | 700 |",
        "| Secure Boot, USB stick, generic kernel | 3072 | 700 |",
    ]
    summary.add(machine, quick, kernel="cloud")
    again = page.read_text(encoding="utf-8")  # but how busy the host is may have changed
    assert again.partition("When and where")[0] == text.partition("When and where")[0]


def test_the_size_of_an_iso_that_is_not_started_is_there_as_well(
    page: Path, machine: Machine
) -> None:
    summary = Summary(page)
    summary.add_size("without an operating system", machine.iso)
    assert "| without an operating system | 485 |" in page.read_text(encoding="utf-8")
    assert "Seconds" not in page.read_text(encoding="utf-8")


def test_without_a_page_nothing_is_written(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Summary().add(machine, outcome({"kernel": 4.0}, {}), kernel="cloud")
    assert [path.name for path in tmp_path.iterdir()] == ["cloud.iso"]
