"""What the reference says of ``--json`` is what is printed; the tests of all commands hold it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from isobuilder.cli.main import main
from isobuilder.cli.setup import doctor
from isobuilder.cli.setup.man import contexts
from isobuilder.pipeline.build import Built
from isobuilder.store import Store
from tests.cli.calling import call
from tests.cli.printed import faults
from tests.pipeline.test_boot import make_payload
from tests.pipeline.world import Locked, World
from tools.printed.page import PRINTED


def test_every_command_that_prints_json_is_in_the_reference() -> None:
    found = {
        context.command_path.partition(" ")[2]
        for context in contexts(main)
        if any("--json" in parameter.opts for parameter in context.command.params)
    }
    assert found == set(PRINTED)


def test_what_lies_here_is_told_as_the_reference_says(
    world: World, locked: Locked, built: Built, full_store: Store
) -> None:
    make_payload(full_store)
    for words in (
        ("recipe", "list"),
        ("recipe", "check", world.recipe),
        ("recipe", "show", world.recipe),
        ("plan", locked.path),
        ("plan", locked.path, built.iso.with_suffix(".lock.json")),
        ("inspect", built.iso),
        ("inspect", locked.path),
        ("diff", locked.path, built.iso),
        ("store", "list"),
        ("store", "check"),
        ("store", "gc", locked.path, "--dry-run"),
        ("os", "list"),
        ("os", "show", "debian-13"),
        ("config", "show"),
        ("trust", "show"),
        ("upstream", "rules"),
        ("site", "check", built.iso, "--have", "1.33.1"),
    ):
        told = json.loads(call(*words, "--json", "--store", full_store.root).stdout)
        assert told or words == ("diff", locked.path, built.iso)


def test_what_is_carried_is_told_as_the_reference_says(
    built: Built, full_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here, there = ("--json", "--store", full_store.root), ("--json", "--store", tmp_path / "there")
    done = json.loads(call("site", "export", built.iso, "--out", "b.tar", *here).stdout)
    part = done["parts"][0]["path"]
    assert json.loads(call("site", "check", part, *there).stdout)["bundles"]
    assert json.loads(call("site", "import", part, *there).stdout)["locks"]
    folder = built.iso.parent
    made = json.loads(call("site", "ledger", folder, "--site", "s", "--out", "l.txt", *here).stdout)
    assert made["count"] == 1
    read = call("site", "ledger", "--read", "l.txt", "--site", "s", folder, *here)
    assert json.loads(read.stdout)["there"]
    copy = shutil.copytree(folder, tmp_path / "copy") / built.iso.name
    assert json.loads(call("site", "repair", copy, "--offline", *here).stdout)["written"] == 0
    assert json.loads(call("build", copy.with_suffix(".lock.json"), "--check", copy, *here).stdout)


def test_a_field_that_is_not_in_the_reference_is_a_fault_and_so_is_one_that_is_missing() -> None:
    good = {"files": ["a.par2"], "size": 3}
    assert faults("site protect", good) == []
    assert "'more' was unexpected" in faults("site protect", good | {"more": 1})[0]
    assert faults("site protect", {"files": []}) != []
    assert faults("site protect", good | {"size": "3"}) != []


def test_a_test_of_a_command_that_prints_something_else_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_as_data", lambda one: {"name": one.name})
    done = CliRunner().invoke(main, ["doctor", "--json"])
    assert done.exit_code == 1
    assert "not as in docs/reference/output.md: ['$.abilities[0]: 'does'" in done.stderr.replace(
        '"', "'"
    )
