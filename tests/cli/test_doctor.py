from __future__ import annotations

import json
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from isobuilder.machine import host
from isobuilder.run import PACKAGES
from tests.cli.calling import call, errors, hints

PACKAGE = Path(host.__file__).parents[1]
LOOKED_FOR = re.compile(r'find_program\("([^"]+)"\)')


def told(*names: str, store: Path, code: int = 0, path: Path | None = None) -> dict[str, Any]:
    """Return the abilities by name, as --json has them."""
    env = {"PATH": str(path)} if path else None
    done = call("doctor", *names, "--json", "--store", store, code=code, env=env)
    said = json.loads(done.stdout)
    assert said["python"].startswith("3.")
    return {one["name"]: one for one in said["abilities"]}


def test_what_is_missing_comes_with_its_package(tmp_path: Path) -> None:
    found = told(store=tmp_path, path=tmp_path)
    lacks = {lack["what"]: lack["package"] for lack in found["os"]["lacks"]}
    assert lacks["sqfstar"] == "squashfs-tools"
    assert lacks["mmdebstrap"] == "mmdebstrap"
    assert found["photo"]["lacks"][0]["package"] == "zbar-tools"
    assert not found["os"]["here"]
    assert found["build"]["here"]


def test_a_person_gets_one_line_to_type(tmp_path: Path) -> None:
    done = call("doctor", "os", "photo", "--store", tmp_path, code=6, env={"PATH": str(tmp_path)})
    (line,) = [line for line in done.stdout.splitlines() if "apt-get install" in line]
    assert {"mmdebstrap", "squashfs-tools", "zbar-tools"} <= set(line.split())
    assert errors(done) == ["error: this machine cannot do: os, photo"]


def test_a_program_that_is_there_is_not_missed(tmp_path: Path) -> None:
    program = tmp_path / "zbarimg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert told("photo", store=tmp_path, path=tmp_path)["photo"]["here"]


def test_without_a_name_only_what_every_build_needs_has_to_be_here(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = told(store=tmp_path / "file" / "store", code=6)
    assert found["build"]["lacks"][0]["remedy"] == "choose another with --store"


def test_settings_that_are_wrong_are_told_and_the_rest_too(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("jobs: many\n")
    done = call("doctor", "--json", "--config", config, code=6)
    found = {one["name"]: one for one in json.loads(done.stdout)["abilities"]}
    assert f"{config}:1" in found["build"]["lacks"][0]["what"]
    assert len(found) > 10


def test_an_ability_that_is_none_is_refused_with_those_that_are(tmp_path: Path) -> None:
    done = call("doctor", "fly", "--store", tmp_path, code=2)
    assert errors(done) == ["error: no ability 'fly'"]
    assert "kustomize" in hints(done)[0]


def programs() -> set[str]:
    """Return the programs that any module looks for by its name."""
    texts = (path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    return {name for text in texts for name in LOOKED_FOR.findall(text)}


def test_every_program_that_some_command_needs_is_looked_for(tmp_path: Path) -> None:
    assert len(programs()) > 5
    found = told(store=tmp_path, path=tmp_path)
    missed = {lack["what"] for one in found.values() for lack in one["lacks"]}
    present = {name for name in programs() if name not in missed}
    # What lies in sbin is found whatever PATH says, and root needs no help to have other ids.
    there = {name for name in present if any(Path(p, name).exists() for p in SBIN)}
    own = {"par2"} if find_spec("par2") else set()  # with the extra it needs no other
    assert present - there - own <= ({"newuidmap"} if os.geteuid() == 0 else set())


SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@pytest.mark.parametrize("program", ["mkfs.ext4", "unshare", "sqfstar", "ctr", "zbarimg"])
def test_a_program_whose_package_has_another_name_is_known_by_it(program: str) -> None:
    assert PACKAGES[program] != program
