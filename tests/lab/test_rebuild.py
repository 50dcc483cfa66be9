"""Upstream's own bytes, made here from source: only with ``make rebuild``, it takes ten minutes."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.model.loading import load_lock
from isobuilder.model.trust.claims import EvidenceFile
from isobuilder.store import Store
from isobuilder.trust.publickeys import read_keys
from isobuilder.trust.rebuild import source
from isobuilder.trust.rebuild.claims import judge_rebuilt
from tests.cli.calling import call
from tests.pipeline.signed import new_key
from tools.lab import golang
from tools.lab.kubernetes import CURRENT
from tools.lab.place import CHECKOUT, LabError, alone, lab_dir, run
from tools.lab.rebuild import RELEASED, Program, rebuilt

BEFORE = "1.37.0"


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
    [one for one in RELEASED if one.name != "kubelet"],
    ids=str,
)
def test_the_command_proves_a_locked_program(program: Program, tmp_path: Path) -> None:
    key = new_key(tmp_path, "builder")
    signed: list[str | Path] = ["--sign", "--key", key, "--builder", "https://a.example"]
    (proof,) = json.loads(call(*typed(program, tmp_path), *signed, "--json").stdout)
    assert proof["sha256"] == f"sha256:{program.digest}"
    assert "k8s.io/kubernetes" in {module["path"] for module in proof["modules"]}
    assert all(module["h1"].startswith("h1:") for module in proof["modules"])
    lock = load_lock(tmp_path / "mine.lock.json")
    assert lock.trust is not None
    (rebuilt,) = lock.trust.rebuilt
    folder = tmp_path / str(lock.trust.folder)

    def body(one: EvidenceFile) -> bytes:
        return (folder / Path(one.path).name).read_bytes()

    proven = judge_rebuilt(rebuilt, body, read_keys([key.with_suffix(".pub")]))
    assert (proven.count, proven.builders) == (1, ("https://a.example",))
    print(f"{program}: {proof['sha256']}, {proven.proof}")


@pytest.mark.rebuild
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_build_with_another_flag_is_not_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "TAGS", "selinux,notest")
    done = call(*typed(RELEASED[0], tmp_path), code=5)
    refused(done.stderr)


@pytest.mark.rebuild
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_source_of_another_patch_is_not_identical(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the stamps of the release: nothing but the source is another.

    The patch before, in which a file of kubeadm is another; in the one after it none is, and what
    is built of that is identical.
    """
    lay_out = source.SourceTree.lay_out

    def other(tree: source.SourceTree) -> tuple[source.GoModule, ...]:
        return lay_out(replace(tree, stamps=replace(tree.stamps, version=BEFORE)))

    monkeypatch.setattr(source.SourceTree, "lay_out", other)
    refused(call(*typed(RELEASED[0], tmp_path), code=5).stderr)


@pytest.mark.rebuild
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_another_go_is_not_identical_and_the_right_one_is_named(tmp_path: Path) -> None:
    """The patch of Go before upstream's, which Go's index has as a module."""
    release, _, patch = CURRENT.compiler.rpartition(".")
    version = f"go{release}.{int(patch) - 1}"
    modules = tmp_path / "modules"
    wanted = {"GOTOOLCHAIN": version, "GOMODCACHE": str(modules), "GOFLAGS": "-modcacherw"}
    run(["go", "version"], env=os.environ | wanted, timeout=600)
    (other,) = modules.glob(f"golang.org/toolchain@*{version}.*/bin/go")
    done = call(*typed(RELEASED[0], tmp_path), "--go", other, code=5)
    refused(done.stderr)
    assert f"hint: upstream used Go {CURRENT.compiler}, this is {version[2:]}: name" in done.stderr


def refused(told: str) -> None:
    assert f"kubeadm: not identical: locked sha256:{RELEASED[0].digest}, built" in told
    assert "the first difference is in ." in told
    print(told)


def typed(program: Program, folder: Path) -> list[str | Path]:
    """Return the words that build a program again which the store has."""
    store = Store(folder / "store")
    store.add_bytes(released(program).read_bytes())
    caches = lab_dir() / "go"
    return [
        *("--store", store.root, "trust", "rebuild", lock_for(program, folder)),
        *("--file", program.name, "--caches", caches),
    ]


def lock_for(program: Program, folder: Path) -> Path:
    """Write the shipped lock, or what of it there is for another architecture."""
    path = folder / "mine.lock.json"
    lock = load_lock(CHECKOUT / f"recipes/kubernetes-{CURRENT.version}.amd64.lock.json")
    if program.architecture != lock.architecture:
        (file,) = (one for one in lock.files if one.name == program.name)
        changed = {
            "url": file.url.replace("/amd64/", f"/{program.architecture}/"),
            "sha256": Digest.from_hex(program.digest),
            "size": None,
        }
        nothing: dict[str, object] = {"manifests": (), "images": (), "render": (), "boot": None}
        only = {"files": (file.model_copy(update=changed),), "components": {}, **nothing}
        lock = lock.model_copy(update={"architecture": program.architecture, **only})
    path.write_bytes(lock.to_bytes())
    return path


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
