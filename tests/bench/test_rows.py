"""Which rows are measured on the lab's release as well, and where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import lab as lab_of_bench
from bench.lab import BEFORE, RECIPES, VERSION, LabGround
from bench.measure import BenchError
from bench.rows import LAB, PLANS


def test_the_rows_of_the_lab_are_rows() -> None:
    assert set(LAB) <= PLANS.keys()
    assert (RECIPES / f"kubernetes-{VERSION}.yaml").is_file()
    assert (RECIPES / f"kubernetes-{BEFORE}.yaml").is_file()


def test_without_a_lab_it_is_told_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_of_bench, "lab_dir", lambda: tmp_path / "nowhere")
    with pytest.raises(BenchError, match="the lab is not prepared: make lab"):
        _ = LabGround(tmp_path / "work").payload
