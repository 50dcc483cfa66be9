"""Upstream's own bytes, made here from source: only with ``make rebuild``, it takes ten minutes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tools.lab import golang
from tools.lab.kubernetes import CURRENT
from tools.lab.place import CHECKOUT, LabError, alone, lab_dir
from tools.lab.rebuild import RELEASED, Program, rebuilt


@pytest.mark.rebuild
@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("program", RELEASED, ids=str)
def test_a_program_comes_out_as_upstream_released_it(program: Program) -> None:
    with alone(lab_dir()):
        made = rebuilt(lab_dir(), program)
    assert hashlib.sha256(made.read_bytes()).hexdigest() == program.digest


def test_what_is_rebuilt_for_amd64_is_what_the_shipped_lock_names() -> None:
    lock = CHECKOUT / f"recipes/kubernetes-{CURRENT.version}.amd64.lock.json"
    locked = {item["name"]: item["sha256"] for item in json.loads(lock.read_bytes())["files"]}
    own = [program for program in RELEASED if program.architecture == "amd64"]
    assert len(own) == 3
    for program in own:
        assert locked[program.name] == f"sha256:{program.digest}"


def test_another_compiler_than_upstreams_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(golang, "version", lambda: "1.26.10")
    with pytest.raises(LabError, match=r"Go 1\.26\.10: .* need Go 1\.26\.8") as caught:
        rebuilt(tmp_path, RELEASED[0])
    assert "hint: " in str(caught.value)
    assert not any(tmp_path.iterdir())
