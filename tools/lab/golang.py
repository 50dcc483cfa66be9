"""The machine's Go, with caches of the lab's own, and the modules that programs are built from.

``modules/NAME`` has a go.mod whose ``tool`` lines name the programs and a go.sum that holds every
module they are made of: the Go client compares what it downloads with that, so a program is what
these files say or is not built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tools.lab.place import HERE, LabError, fingerprint, once, run

MODULES = HERE / "modules"
OLDEST_GO = (1, 26)
"""Of the ``go`` lines of the modules: with GOTOOLCHAIN=local an older one refuses them."""


@dataclass(frozen=True, slots=True)
class Target:
    """How programs are built: for which processor, and with which extra words."""

    architecture: str = "amd64"
    cgo: bool = False
    tags: str = ""
    stamps: Mapping[str, str] | None = None  # variable -> value, for the linker
    linker: str = ""  # more words for the linker


@cache
def version() -> str:
    """Return the version of the machine's Go, such as ``1.26.8``.

    Raises:
        LabError: there is none, or it is too old for the modules.
    """
    try:
        said = run(["go", "version"])
    except LabError as error:
        raise LabError(f"{error}\nhint: https://go.dev/dl/") from error
    match = re.search(r"\bgo(\d+)\.(\d+)(\S*)", said)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_GO:
        wanted = ".".join(map(str, OLDEST_GO))
        raise LabError(
            f"{said.strip()}: the lab's modules need Go {wanted} or newer\nhint: https://go.dev/dl/"
        )
    return f"{match[1]}.{match[2]}{match[3]}"


@dataclass(frozen=True, slots=True)
class Go:
    """Go with its caches below ``root``; both may be thrown away at any time."""

    root: Path

    def environment(self, *, network: bool = False) -> dict[str, str]:
        """Return the variables that keep the user's settings out, and the network if not asked for.

        Where modules come from is the machine's own setting.
        """
        machine = dict(zip(("GOPROXY", "GOSUMDB"), _machine_settings(), strict=True))
        return {
            "CGO_ENABLED": "0",
            "GOARCH": "amd64",
            "GOCACHE": str(self.root / "build"),
            "GOENV": "off",
            "GOFLAGS": "-buildvcs=false",
            "GOMODCACHE": str(self.root / "modules"),
            "GOPATH": str(self.root / "path"),
            "GOTOOLCHAIN": "local",
            "GOWORK": "",
            "GOPROXY": machine["GOPROXY"] if network else "off",
            "GOSUMDB": machine["GOSUMDB"],
        }

    def programs(self, name: str, into: Path, target: Target | None = None) -> None:
        """Build every tool of ``modules/NAME`` into the folder ``into``.

        Raises:
            LabError: a module cannot be had or is not the one of go.sum, or a build failed.
        """
        target = target or Target()
        stamps = [f"-X {key}={value}" for key, value in (target.stamps or {}).items()]
        words = ["-s", "-w", target.linker, *stamps]
        into.mkdir(parents=True, exist_ok=True)
        run(
            [
                *("go", "build", "-mod=readonly", "-trimpath", "-tags", target.tags),
                f"-ldflags={' '.join(word for word in words if word)}",
                *("-o", f"{into}/", "tool"),
            ],
            cwd=MODULES / name,
            env=self.environment(network=True)
            | {"GOARCH": target.architecture, "CGO_ENABLED": "1" if target.cgo else "0"},
            timeout=3600,
        )

    def source(self, folder: Path, output: Path, target: Target | None = None) -> None:
        """Build the program of a folder of ours, which needs nothing but the standard library."""
        target = target or Target()
        stamps = [f"-X {key}={value}" for key, value in (target.stamps or {}).items()]
        run(
            [
                *("go", "build", "-trimpath", f"-ldflags=-s -w -buildid= {' '.join(stamps)}"),
                *("-o", output, "main.go"),
            ],
            cwd=folder,
            env=self.environment() | {"GO111MODULE": "off", "GOARCH": target.architecture},
            timeout=600,
        )


@cache
def _machine_settings() -> tuple[str, str]:
    proxy, sums = run(["go", "env", "GOPROXY", "GOSUMDB"]).split("\n")[:2]
    return proxy, sums


def built(lab: Path, go: Go, name: str, target: Target | None = None) -> Path:
    """Return the folder with the programs of ``modules/NAME``, built once."""
    target = target or Target()

    def make(folder: Path) -> None:
        go.programs(name, folder, target)

    suffix = "" if target.architecture == "amd64" else f"-{target.architecture}"
    mark = fingerprint(version(), repr(target), MODULES / name, "1")
    return once(lab / "programs" / f"{name}{suffix}", mark, make)


def search_path() -> str:
    """Return the machine's PATH."""
    return os.environ.get("PATH", os.defpath)
