"""Make the project's virtual environment, also where Debian's python3-venv is not installed.

Debian and Ubuntu leave pip's bootstrap out of plain ``python3``. Then pip itself comes from the
package index as a wheel whose SHA-256 the index names, and installs the rest.
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
from pathlib import Path
from urllib.parse import urljoin

INDEX = "https://pypi.org/simple/"  # PIP_INDEX_URL overrides it, as it does for pip
# The Simple API of PEP 503: links whose fragment is the hash.
WHEEL = re.compile(
    r'href="(?P<url>[^"#]*/(?P<name>pip-(\d+)\.(\d+)(?:\.(\d+))?-py3-none-any\.whl))'
    r'#sha256=(?P<sha256>[0-9a-f]{64})"'
)


def main() -> None:
    """Make or refresh the environment and install the project with its development tools."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without-ensurepip", action="store_true", help="bootstrap pip ourselves")
    options = parser.parse_args()
    if sys.version_info < (3, 11):
        sys.exit(f"error: Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    bundled = importlib.util.find_spec("ensurepip") is not None and not options.without_ensurepip
    if not (options.folder / "bin" / "python").exists():
        shutil.rmtree(options.folder, ignore_errors=True)
        venv.create(options.folder, with_pip=bundled, symlinks=True)
    python = options.folder.resolve() / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not bundled:
        with tempfile.TemporaryDirectory() as scratch:
            wheel = fetch_pip(Path(scratch))
            subprocess.run([str(python), f"{wheel}/pip", *install[3:], str(wheel)], check=True)
    subprocess.run([*install, "--editable", ".[dev]"], check=True)


def fetch_pip(scratch: Path) -> Path:
    """Download the newest pip wheel of the index into ``scratch`` and check its hash."""
    index = os.environ.get("PIP_INDEX_URL", INDEX).rstrip("/") + "/pip/"
    with urllib.request.urlopen(index, timeout=60) as answer:
        wheels = list(WHEEL.finditer(answer.read().decode()))
    if not wheels:
        sys.exit(f"error: {index}: lists no pip wheel")
    newest = max(wheels, key=lambda wheel: [int(part or 0) for part in wheel.groups()[2:5]])
    with urllib.request.urlopen(urljoin(index, newest["url"]), timeout=60) as answer:
        data = answer.read()
    if (got := hashlib.sha256(data).hexdigest()) != newest["sha256"]:
        sys.exit(f"error: {newest['name']}: expected sha256 {newest['sha256']}, got {got}")
    path = scratch / newest["name"]
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    main()
