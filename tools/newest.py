"""Run the quick tests with the newest release of every library, and say which one broke what.

The lock says what this project's tests run with; who installs the program gets what is newest that
day. This tells what that would change: first within the ranges of pyproject.toml, then, where a
range forbids a newer release, beyond them. A test that fails with the lock too is nobody's fault
here. For the others each changed library is tried alone: the lock with that one newer.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from tools.lock_dependencies import read_project
from tools.make_venv import (
    HELD,
    LOCK,
    PROJECT,
    empty_environment,
    install_project,
    pip_install,
)

FOLDER = PROJECT / ".venv-newest"
# No test calls these; `make check` does, and an interpreter's pip is no part of the program.
NOT_TESTED = re.compile(r"(ruff|mypy.*|librt|ast-serialize|types-.*|pip)")
ALL = "tests"  # the folder stands for every test, where none could even be collected
Versions = Mapping[str, str]


def main() -> None:
    """Try the newest releases; the exit code is 1 when a library breaks a test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the environment it makes")
    options, quick = parser.parse_known_args()  # pytest gets what is not ours
    locked = installed()
    wanted = requirements()
    broken = False
    tried: Versions = {}
    for title, asked in (
        ("newest releases that pyproject.toml allows", wanted),
        ("newest releases of all, beyond those ranges too", [without_range(x) for x in wanted]),
    ):
        newer = changed(locked, resolve(asked))
        if newer == tried:
            continue
        tried = newer
        print(f"\n{title}:\n" + table(locked, newer), flush=True)
        broken = not holds(options.folder, quick, locked, newer) or broken
    if not tried:
        print("the lock has the newest release of everything that tests run with")
    sys.exit(1 if broken else 0)


def requirements() -> list[str]:
    """Return what pyproject.toml asks for, its own extras resolved and linters left out."""
    project = read_project()
    extras = project["project"]["optional-dependencies"]
    asked = [*project["project"]["dependencies"], *extras["dev"]]
    asked += project["build-system"]["requires"]
    ours = project["project"]["name"]
    return [
        line for line in asked if not NOT_TESTED.fullmatch(name_of(line)) and name_of(line) != ours
    ]


def name_of(requirement: str) -> str:
    """Return the name in its canonical form."""
    return canonical(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0])


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def without_range(requirement: str) -> str:
    """Return the requirement with its extras and its marker, in any version."""
    wanted, semicolon, marker = requirement.partition(";")
    return re.sub(r"[<>=!~].*", "", wanted).strip() + (f" {semicolon}{marker}" if marker else "")


def installed(python: Path = Path(sys.executable)) -> Versions:
    """Return what an environment holds besides the project itself."""
    if python == Path(sys.executable):
        found = {canonical(item.name): item.version for item in metadata.distributions()}
    else:
        text = pip(python, "list", "--format", "json")
        found = {canonical(item["name"]): item["version"] for item in json.loads(text)}
    found.pop("isobuilder", None)
    return found


def resolve(asked: Sequence[str]) -> Versions:
    """Return what pip would choose today for ``asked`` in an empty environment."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        arguments = ["--dry-run", "--ignore-installed", "--only-binary", ":all:", "--report"]
        pip_install(Path(sys.executable), *arguments, report.name, *asked)
        chosen = json.loads(Path(report.name).read_text(encoding="utf-8"))["install"]
    return {canonical(item["metadata"]["name"]): item["metadata"]["version"] for item in chosen}


def changed(locked: Versions, newest: Versions) -> Versions:
    """Return the newest versions that the lock does not have, what pyproject names first."""
    named = {name_of(line) for line in requirements()}
    names = [name for name in newest if newest[name] != locked.get(name)]
    return {
        name: newest[name] for name in sorted(names, key=lambda name: (name not in named, name))
    }


def table(locked: Versions, newer: Versions) -> str:
    """Return a line for each library that differs."""
    lines = [f"  {name} {locked.get(name, '(none)')} -> {newer[name]}" for name in newer]
    return "\n".join(lines) or "  none is newer than the lock's"


def holds(folder: Path, quick: list[str], locked: Versions, newer: Versions) -> bool:
    """Say whether the quick tests pass with ``newer``, and on paper why not."""
    python = locked_environment(folder)
    pip_install(python, "--no-deps", *pins(newer))
    first = failing(python, quick)
    again = failing(python, quick, first) if first else []
    anyway = failing(Path(sys.executable), quick, again) if again else []
    for test in first:
        if test not in again:
            print(f"passed when it ran again: {test}")
    for test in anyway:
        print(f"not the libraries' doing, it fails with the lock too: {test}")
    theirs = [test for test in again if test not in anyway]
    if theirs:
        tell(locked, newer, theirs, suspects(python, quick, locked, newer, theirs))
    else:
        print("with these, all quick tests pass that pass with the lock")
    return not theirs


def locked_environment(folder: Path) -> Path:
    """Return the interpreter of a new environment that has what the lock says."""
    python = empty_environment(folder)
    pip_install(python, *HELD, "--requirement", str(LOCK))
    install_project(python)
    return python


def pins(versions: Versions) -> list[str]:
    return [f"{name}=={version}" for name, version in versions.items()]


def failing(python: Path, quick: Sequence[str], tests: Sequence[str] = ()) -> list[str]:
    """Return which of ``tests`` fail there, ALL when pytest did not come to run any."""
    if tests:  # instead of the folders that were asked for
        quick = [argument for argument in quick if not (PROJECT / argument).exists()]
    with tempfile.TemporaryDirectory() as scratch:
        command = [str(python), "-m", "pytest", "-q", "--tb=short", "-o", f"cache_dir={scratch}"]
        environment = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
        code = subprocess.run(
            [*command, *quick, *tests], check=False, cwd=PROJECT, env=environment
        ).returncode
        last = Path(scratch) / "v" / "cache" / "lastfailed"
        if code == 0:
            return []
        found = json.loads(last.read_text(encoding="utf-8")) if last.exists() else {}
    return list(found) or [ALL]


def suspects(
    python: Path, quick: Sequence[str], locked: Versions, newer: Versions, tests: Sequence[str]
) -> dict[str, list[str]]:
    """Return for each library which of ``tests`` fail when it alone is newer than the lock."""
    found: dict[str, list[str]] = {}
    for name, version in newer.items():
        back_to(python, locked)
        # With what it needs itself: pydantic, say, goes only with one pydantic-core.
        pip(python, "install", "--quiet", f"{name}=={version}", fails=True)
        if conflicts(python):
            print(f"{name} {version} does not go with the lock alone")
            continue
        print(f"\nthe lock with {name} {version} alone:", flush=True)
        if failed := failing(python, quick, tests):
            found[name] = failed
    return found


def back_to(python: Path, locked: Versions) -> None:
    """Give the environment the lock's versions again."""
    extra = [name for name in installed(python) if name not in locked]
    if extra:
        pip(python, "uninstall", "--yes", *extra)
    pip_install(python, "--no-deps", *HELD, "--requirement", str(LOCK))


def conflicts(python: Path) -> bool:
    """Say whether a library there wants another version of one; our own ranges do not count."""
    said = pip(python, "check", fails=True)
    return any(
        "has requirement" in line and not line.startswith("isobuilder ")
        for line in said.splitlines()
    )


def pip(python: Path, *arguments: str, fails: bool = False) -> str:
    """Return what pip prints."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=not fails, stdout=subprocess.PIPE, text=True).stdout


def tell(
    locked: Versions, newer: Versions, tests: Iterable[str], found: Mapping[str, Sequence[str]]
) -> None:
    """Print who broke what, so that nobody can miss it."""
    print("\n" + "=" * 80 + "\nWARNING: newest releases break tests")
    for name, broken in found.items():
        print(f"  {name} {locked.get(name, '(none)')} -> {newer[name]} breaks:")
        print("".join(f"    {shlex.quote(test)}\n" for test in broken), end="")
    blamed = {test for broken in found.values() for test in broken}
    together = [test for test in tests if test not in blamed and not (test == ALL and blamed)]
    if together:
        print("  none alone, but all together:")
        print("".join(f"    {shlex.quote(test)}\n" for test in together), end="")


if __name__ == "__main__":
    main()
