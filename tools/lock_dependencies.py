"""Write the lock: for every library its newest version within pyproject's ranges, with hashes.

One file holds for every Python that pyproject names and for every machine; pip installs from it.
It also locks the pip that installs, the backend that builds, and, in a file of its own, the uv that
writes it next time. No index is named in it: hashes say which files are meant, wherever they lie.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tools.make_venv import HELD, LOCK, OLDEST, PROJECT, empty_environment, pip_install

LOCKER = PROJECT / "requirements" / "uv.txt"
HEAD = "# Written by `make lock-deps`; docs/dependencies.md says how. Do not edit.\n"
EDITABLE = "editables~=0.3"  # what hatchling asks for besides, to install the project in place
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
_OLDEST = ".".join(map(str, OLDEST))


def main() -> None:
    """Write both locks, and see that wheels for every Python and platform answer the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="change only what pyproject.toml no longer allows"
    )
    options = parser.parse_args()
    project = read_project()
    with tempfile.TemporaryDirectory() as scratch:
        python = empty_environment(Path(scratch) / "environment")
        pip_install(python, *HELD, "--requirement", str(LOCKER))
        uv = python.parent / "uv"
        upgrade = [] if options.keep else ["--upgrade"]
        tools = "\n".join(["pip", *project["build-system"]["requires"], EDITABLE])
        held = [*upgrade, "--universal", "--generate-hashes", "--no-annotate"]
        lock(uv, LOCK, ["pyproject.toml", "--extra", "dev", "-", *held], tools)
        lock(uv, LOCKER, ["-", *held], "uv")
        for version in supported(project):
            for platform in PLATFORMS:
                prove(uv, version, platform)
    print(f"{LOCK.relative_to(PROJECT)}: wheels for Python {', '.join(supported(project))}")


def read_project() -> dict[str, Any]:
    """Return what pyproject.toml says."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


def supported(project: dict[str, Any]) -> list[str]:
    """Return the Pythons that pyproject's classifiers name."""
    found = re.compile(r"Programming Language :: Python :: (3\.\d+)").fullmatch
    return [match[1] for line in project["project"]["classifiers"] if (match := found(line))]


def lock(uv: Path, file: Path, arguments: list[str], typed: str) -> None:
    """Let uv resolve ``arguments``, and ``typed`` as on standard input, into ``file``."""
    before = file.read_text(encoding="utf-8")
    compile_all(
        uv,
        [*arguments, "--python-version", _OLDEST, "--output-file", str(file), "--no-header"],
        typed,
    )
    after = HEAD + file.read_text(encoding="utf-8").removeprefix(HEAD)
    file.write_text(after, encoding="utf-8")
    for line in changes(before, after):
        print(line)


def changes(before: str, after: str) -> list[str]:
    """Return a line for each library that one lock has in another version than the other."""
    old, new = (
        dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)) for text in (before, after)
    )
    names = sorted(old.keys() | new.keys())
    return [
        f"{name} {old.get(name, '(none)')} -> {new.get(name, '(none)')}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def prove(uv: Path, version: str, platform: str) -> None:
    """Exit with uv's reason unless that Python has a wheel of everything it needs there."""
    compile_all(
        uv, [str(LOCK), "--python-version", version, "--python-platform", platform, "--no-header"]
    )


def compile_all(uv: Path, arguments: list[str], typed: str = "") -> None:
    command = [str(uv), "pip", "compile", "--quiet", "--no-config", "--no-python-downloads"]
    environment = dict(os.environ)
    if "PIP_INDEX_URL" in environment:
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    done = subprocess.run(
        [*command, "--only-binary", ":all:", *arguments],
        check=False,
        cwd=PROJECT,
        env=environment,
        input=typed,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(f"error: uv ended with {done.returncode}: {' '.join(arguments)}")


if __name__ == "__main__":
    main()
