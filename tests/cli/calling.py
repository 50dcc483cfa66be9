"""The command line inside the test process, and small locks that point at a hostile server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner, Result

from isobuilder.cli import main
from isobuilder.digest import Digest
from tests.fakes.hostile import FileServer
from tests.pipeline.world import Locked

KUBEADM = "release/v1.34.12/bin/linux/amd64/kubeadm"
"""Where upstream has the only file of ``lock_of_one``, below its host."""


def call(*arguments: str | Path, code: int = 0, env: Mapping[str, str] | None = None) -> Result:
    """Run a command; whatever it ends with, it must not be a traceback."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], env=env)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output or "-vv" in arguments, done.output
    assert "bug in isobuilder" not in done.output
    return done


def errors(done: Result) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def hints(done: Result) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("hint: ")]


def lock_of_one(folder: Path, locked: Locked, content: bytes) -> Path:
    """Write a lock of nothing but ``content``, as kubeadm."""
    kubeadm = next(file for file in locked.lock.files if file.name == "kubeadm")
    file = kubeadm.model_copy(update={"sha256": Digest.of(content), "size": len(content)})
    nothing: dict[str, object] = {"manifests": (), "images": (), "render": (), "components": {}}
    lock = locked.lock.model_copy(update={"files": (file,), **nothing})
    path = folder / "one.amd64.lock.json"
    path.write_bytes(lock.to_bytes())
    return path


def impatient(folder: Path, files: FileServer) -> Path:
    """Write settings that lead to ``files`` and give up soon."""
    settings = {
        "mirrors": {"https://dl.k8s.io": [files.url().rstrip("/")]},
        "retries": 1,
        "retry_budget": 5,
        "stall_timeout": 1.5,  # a busy machine may stop for a second without any fault
        "store": str(folder / "store"),
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def half_written(store: Path) -> list[str]:
    """Return what a store has besides whole blobs: pieces, and blobs that are not their name."""
    pieces = [str(path) for path in (store / "partial").glob("*") if not path.name.endswith("lock")]
    wrong = [
        str(path)
        for path in store.rglob("blobs/sha256/*/*")
        if Digest.of_file(path).hex != path.name
    ]
    return pieces + wrong
