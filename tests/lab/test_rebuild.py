"""Upstream's own bytes, made here from source: only with ``make rebuild``, it takes ten minutes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from isobuilder.store import Store
from isobuilder.trust.rebuild import source
from tests.cli.calling import call
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


def released(program: Program) -> Path:
    """Return upstream's bytes; those that the lab made for its ISOs are that already."""
    made = lab_dir() / f"programs/kubernetes-{CURRENT.version}" / program.name
    if made.is_file() and hashlib.sha256(made.read_bytes()).hexdigest() == program.digest:
        return made
    with alone(lab_dir()):
        return rebuilt(lab_dir(), program)


@pytest.mark.rebuild
@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "program",
    [one for one in RELEASED if one.name != "kubelet" and one.architecture == "amd64"],
    ids=str,
)
def test_the_command_proves_a_locked_program(program: Program, tmp_path: Path) -> None:
    (proof,) = json.loads(call(*typed(program, tmp_path), "--json").stdout)
    assert proof["sha256"] == f"sha256:{program.digest}"
    assert "k8s.io/kubernetes" in {module["path"] for module in proof["modules"]}
    assert all(module["h1"].startswith("h1:") for module in proof["modules"])


@pytest.mark.rebuild
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_build_with_another_flag_is_not_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "TAGS", "selinux,notest")
    done = call(*typed(RELEASED[0], tmp_path), code=5)
    assert f"kubeadm: not identical: locked sha256:{RELEASED[0].digest}, built" in done.stderr
    assert "the first difference is in ." in done.stderr


def typed(program: Program, folder: Path) -> list[str | Path]:
    """Return the words that build a program again which the store has."""
    store = Store(folder / "store")
    store.add_bytes(released(program).read_bytes())
    lock = CHECKOUT / f"recipes/kubernetes-{CURRENT.version}.{program.architecture}.lock.json"
    caches = lab_dir() / "go"
    return [
        *("--store", store.root, "trust", "rebuild", lock),
        *("--file", program.name, "--caches", caches),
    ]


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
