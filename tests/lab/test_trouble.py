"""What the lab says when a machine has not what it needs: before anything is begun."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools.lab import golang, prepare
from tools.lab.place import LabError

Install = Callable[[str], None]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a stand-in for Go on the path; what was asked of another one is forgotten."""

    def install(script: str) -> None:
        path = tmp_path / "bin/go"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")

    golang.version.cache_clear()
    golang._machine_settings.cache_clear()
    yield install
    golang.version.cache_clear()
    golang._machine_settings.cache_clear()


def test_a_go_that_is_too_old_is_told_with_both_versions(go: Install) -> None:
    go("echo go version go1.19.8 linux/amd64")
    with pytest.raises(
        LabError, match=r"go1\.19\.8 linux/amd64: .* need Go 1\.26 or newer\nhint: "
    ):
        golang.version()


def test_a_newer_go_is_taken(go: Install) -> None:
    go("echo go version go1.27.0 linux/amd64")
    assert golang.version() == "1.27.0"


def test_no_go_is_told(monkeypatch: pytest.MonkeyPatch, go: Install, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"^go: not installed\nhint: "):
        golang.version()


def test_a_module_that_cannot_be_had_is_told_and_nothing_looks_finished(
    go: Install, tmp_path: Path
) -> None:
    go(
        "case $1 in\nversion) echo go version go1.26.8 linux/amd64 ;;\n"
        "env) echo direct; echo off ;;\n"
        "*) echo 'example.com/some/module: 403 Forbidden' >&2; exit 1 ;; esac"
    )
    lab = tmp_path / "lab"
    with pytest.raises(LabError, match=r"example\.com/some/module: 403 Forbidden"):
        golang.built(lab, golang.Go(lab / "go"), "crictl")
    assert not (lab / "programs/crictl").exists()


def test_what_is_built_already_asks_no_network(go: Install, tmp_path: Path) -> None:
    begin = (
        "case $1 in\nversion) echo go version go1.26.8 linux/amd64 ;;\nenv) echo off; echo off ;;\n"
    )
    go(f'{begin}build) for word; do case $word in */) touch "$word/crictl" ;; esac; done ;; esac')
    lab = tmp_path / "lab"
    folder = golang.built(lab, golang.Go(lab / "go"), "crictl")
    assert (folder / "crictl").is_file()
    go(f"{begin}*) echo 'dial tcp: network is unreachable' >&2; exit 1 ;; esac")
    assert golang.built(lab, golang.Go(lab / "go"), "crictl") == folder
    with pytest.raises(LabError, match="network is unreachable"):
        golang.built(lab, golang.Go(lab / "go"), "etcd")


def test_a_full_disk_is_told_before_anything_is_begun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=5_000_000_000))
    with pytest.raises(LabError, match=r"5\.0 GB are free, the lab takes up to 14 GB\nhint: "):
        prepare.check_room(tmp_path / "lab")
    assert not any((tmp_path / "lab").iterdir())
    with (tmp_path / "lab/part").open("wb") as part:
        part.truncate(10_000_000_000)
    prepare.check_room(tmp_path / "lab")  # what is missing now takes less
