"""The node programs of many releases: ``python3 -m tools.lab.year --out FOLDER VERSION...``.

They are what ``bench.year`` carries from one release to the next. The module files of so many
releases are not committed: they are written here by upstream's own, and what they name is proved by
the Go client's database of sums. What the lab has anyway is taken from there.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.lab import kubernetes
from tools.lab.golang import Go
from tools.lab.kubernetes import PROJECT, Release
from tools.lab.place import LabError, alone, lab_dir, once, remove, run

PROGRAMS = ("kubeadm", "kubelet", "kubectl")


class _Uncommitted(Release):
    """A release whose module files are written when they are wanted."""

    @property
    def modules(self) -> Path:
        return lab_dir() / "year" / self.version


def node_programs(go: Go, out: Path, version: str) -> Path:
    """Return the folder of ``out`` that holds the node programs of a release, made once.

    Raises:
        LabError: there is no such release, or its build failed.
    """

    def make(target: Path) -> None:
        had = lab_dir() / "programs" / f"kubernetes-{version}"
        if had.is_dir():
            for program in PROGRAMS:
                shutil.copyfile(had / program, target / program)
            return
        release = _Uncommitted(version)
        _write_modules(go, release)
        tree = go.root / f"tree-{version}-year"
        kubernetes.lay_out(go, release, tree, PROGRAMS, "amd64")
        kubernetes.build(go, release, tree, target, PROGRAMS)
        remove(tree)

    return once(out / version, version, make)


def _write_modules(go: Go, release: Release) -> None:
    folder = release.modules
    remove(folder)
    folder.mkdir(parents=True)
    network = go.environment(network=True)
    wanted = f"{PROJECT}@v{release.version}"
    had = json.loads(run(["go", "mod", "download", "-json", wanted], cwd=folder, env=network))
    staging = f"v0.{release.version.partition('.')[2]}"
    text = Path(had["GoMod"]).read_text(encoding="utf-8")
    text = re.sub(r"^module .*$", "module isobuilder.lab/kubernetes", text, flags=re.MULTILINE)
    text = re.sub(r"=> \./staging/src/(\S+)", rf"=> \1 {staging}", text)
    text += f"\nrequire {PROJECT} v{release.version}\n"
    (folder / "go.mod").write_text(text, encoding="utf-8")
    programs = [f"{PROJECT}/cmd/{program}" for program in PROGRAMS]
    run(["go", "list", "-mod=mod", "-deps", *programs], cwd=folder, env=network, timeout=1800)


def main(words: Sequence[str] | None = None) -> int:
    """Build what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.lab.year", description=__doc__)
    parser.add_argument("versions", nargs="+", metavar="VERSION", help="such as 1.36.4")
    parser.add_argument("--out", type=Path, required=True, help="VERSION/kubeadm ... go there")
    told = parser.parse_args(words)
    try:
        with alone(lab_dir()):
            for version in told.versions:
                node_programs(Go(lab_dir() / "go"), told.out, version)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
