"""The extra: one wheel for all Pythons, used where it is there, and nothing without it."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from isobuilder.delta.deflate import fast
from isobuilder.delta.deflate.encoders import PureEngine
from isobuilder.delta.deflate.fast import FastEngine, best_engine


def installed(monkeypatch: pytest.MonkeyPatch, library: Path) -> None:
    module = ModuleType("isobuilder_fast")
    module.__dict__["LIBRARY"] = library
    monkeypatch.setitem(sys.modules, "isobuilder_fast", module)


def test_its_wheel_is_one_for_every_python_of_a_machine(wheel: Path) -> None:
    assert "-py3-none-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"isobuilder_fast/__init__.py", "isobuilder_fast/libdeflate.so"} <= names


def test_it_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, library: Path) -> None:
    installed(monkeypatch, library)
    assert isinstance(best_engine.__wrapped__(), FastEngine)


def test_another_version_of_it_is_not_used(monkeypatch: pytest.MonkeyPatch, library: Path) -> None:
    installed(monkeypatch, library)
    monkeypatch.setattr(fast, "VERSION", 2)
    assert isinstance(best_engine.__wrapped__(), PureEngine)


def test_what_cannot_be_loaded_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libdeflate.so").write_bytes(b"no library")
    installed(monkeypatch, tmp_path / "libdeflate.so")
    assert isinstance(best_engine.__wrapped__(), PureEngine)


def test_nothing_is_missed_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isobuilder_fast", None)
    assert isinstance(best_engine.__wrapped__(), PureEngine)
