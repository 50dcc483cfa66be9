"""The embedded upstream, a configuration that leads to it, and the command line in a child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isobuilder.model.config import Config
from isobuilder.model.lock import Lock
from tests.fakes.upstream import FakeUpstream


@dataclass(frozen=True, slots=True)
class World:
    """Everything a build needs, served on loopback for as long as the tests run."""

    upstream: FakeUpstream
    recipe: Path
    csi_recipe: Path
    config_file: Path

    @property
    def config(self) -> Config:
        return Config(mirrors=self.upstream.mirrors, retries=1, retry_budget=2.0)


@dataclass(frozen=True, slots=True)
class Locked:
    """The demo's lock, and the file it is in."""

    lock: Lock
    path: Path


def write_config(path: Path, upstream: FakeUpstream) -> Path:
    mirrors = {origin: list(places) for origin, places in upstream.mirrors.items()}
    path.write_text(json.dumps({"mirrors": mirrors}), encoding="utf-8")
    return path


def command(*arguments: str | Path, python: str | Path = sys.executable) -> list[str]:
    return [str(python), "-m", "isobuilder", *(str(argument) for argument in arguments)]


def run_cli(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: int | None = 0,
) -> subprocess.CompletedProcess[str]:
    """Run the program as a person would, in a process of its own."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if check is not None:
        assert done.returncode == check, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done
