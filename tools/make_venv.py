"""Make the project's virtual environment from the lock, also where python3-venv is not installed.

Every wheel is one that ``requirements/locked.txt`` names with its SHA-256, pip and the build
backend among them. Debian and Ubuntu leave pip's bootstrap out of plain ``python3``. Then pip's
wheel comes from the package index to this script, which checks its hash and lets it install the
rest.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

PROJECT = Path(__file__).resolve().parents[1]
LOCK = PROJECT / "requirements" / "locked.txt"
INDEX = "https://pypi.org/simple/"  # PIP_INDEX_URL overrides it, as it does for pip
OLDEST = (3, 11)
# Only wheels: an sdist would build with whatever its backend is on the day.
HELD = ("--require-hashes", "--only-binary", ":all:")


class Locked(NamedTuple):
    """One line of the lock with the hashes below it."""

    name: str
    version: str
    marker: str
    sha256: tuple[str, ...]

    def __str__(self) -> str:
        condition = f" ; {self.marker}" if self.marker else ""
        hashes = " ".join(f"--hash=sha256:{digest}" for digest in self.sha256)
        return f"{self.name}=={self.version}{condition} {hashes}"


def main() -> None:
    """Make the environment anew and install the project with its development tools."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without-ensurepip", action="store_true", help="bootstrap pip ourselves")
    options = parser.parse_args()
    if sys.version_info < OLDEST:
        sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    print(f"making {options.folder} of {LOCK.relative_to(PROJECT)}, about a minute", flush=True)
    python = empty_environment(options.folder, without_ensurepip=options.without_ensurepip)
    pip_install(python, *HELD, "--requirement", str(LOCK))
    install_project(python)


def empty_environment(folder: Path, *, without_ensurepip: bool = False) -> Path:
    """Return the interpreter of a new environment that has the lock's pip and nothing else."""
    bundled = importlib.util.find_spec("ensurepip") is not None and not without_ensurepip
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=bundled, symlinks=True)
    python = folder.resolve() / "bin" / "python"
    pip = next(item for item in read_lock() if item.name == "pip")
    with tempfile.TemporaryDirectory() as scratch:
        if bundled:
            wanted = Path(scratch) / "pip.txt"
            wanted.write_text(f"{pip}\n", encoding="utf-8")
            pip_install(python, *HELD, "--requirement", str(wanted))
            # Before Python 3.12 ensurepip brings it along, in no version that anybody chose.
            remove = ["uninstall", "--yes", "--quiet", "--disable-pip-version-check", "setuptools"]
            subprocess.run([python, "-m", "pip", *remove], check=True, stderr=subprocess.DEVNULL)
        else:
            wheel = fetch_pip(pip, Path(scratch))
            pip_install(python, "--no-index", "--no-deps", str(wheel), pip=[f"{wheel}/pip"])
    return python


def install_project(python: Path) -> None:
    """Install the project itself, with the backend of the lock, and see that all fits together."""
    pip_install(python, "--no-deps", "--no-build-isolation", "--editable", str(PROJECT))
    if subprocess.run([python, "-m", "pip", "--quiet", "check"], check=False).returncode:
        sys.exit("error: the lock is not what pyproject.toml asks for; run make lock-deps")


def pip_install(python: Path, *arguments: str, pip: list[str] | None = None) -> None:
    """Run ``pip install``; its own message says what is wrong, ours would only hide it."""
    command = [
        str(python),
        *(pip or ["-m", "pip"]),
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    done = subprocess.run([*command, *arguments], check=False)
    if done.returncode:
        sys.exit(f"error: pip ended with {done.returncode}")


def read_lock(lock: Path = LOCK) -> Iterator[Locked]:
    """Return what the lock names, in its order."""
    text = re.sub(r"#.*", "", lock.read_text(encoding="utf-8")).replace("\\\n", " ")
    for line in filter(str.strip, text.splitlines()):
        wanted, *hashes = line.split("--hash=sha256:")
        requirement, _, marker = wanted.partition(";")
        name, _, version = requirement.strip().partition("==")
        yield Locked(name, version, marker.strip(), tuple(digest.strip() for digest in hashes))


def fetch_pip(pip: Locked, scratch: Path) -> Path:
    """Download the lock's pip from the index into ``scratch`` and check its hash."""
    name = f"pip-{pip.version}-py3-none-any.whl"
    index = os.environ.get("PIP_INDEX_URL", INDEX).rstrip("/") + "/pip/"
    with urllib.request.urlopen(index, timeout=60) as answer:
        # The Simple API of PEP 503: one link for each file.
        link = re.search(rf'href="((?:[^"#]*/)?{re.escape(name)})["#]', answer.read().decode())
    if link is None:
        sys.exit(f"error: {index}: lists no {name}")
    with urllib.request.urlopen(urljoin(index, link[1]), timeout=60) as answer:
        data = answer.read()
    if (got := hashlib.sha256(data).hexdigest()) not in pip.sha256:
        sys.exit(f"error: {name}: its sha256 {got} is not in {LOCK.name}")
    path = scratch / name
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    main()
