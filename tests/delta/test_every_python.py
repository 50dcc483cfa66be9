"""What was told once is made by every supported Python that is here, with nothing installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delta.golang.golden import ARCHITECTURES, MADE
from tests.delta.test_sums import GOLDEN
from tests.delta.test_sums import MADE as MADE_BY_SUMS

ROOT = Path(__file__).parents[2]
SUPPORTED = re.findall(r"Python :: (3\.\d+)\"", (ROOT / "pyproject.toml").read_text("utf-8"))
PROGRAM = """\
import sys
from hashlib import sha256
from pathlib import Path
from isobuilder.delta.sums import Sums
from tests.delta.golang.golden import ARCHITECTURES, later
print("%d.%d" % sys.version_info[:2])
for architecture in ARCHITECTURES:
    print(sha256(later(architecture)).hexdigest())
old, delta = (Path(sys.argv[1], name).read_bytes() for name in ("old", "format1.sums"))
print(sha256(Sums().apply(old, delta, int(sys.argv[2]))).hexdigest())
"""


def pythons(version: str) -> Iterator[str]:
    """Give the interpreters of a version: this one, where pyenv keeps several, by its name."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield sys.executable
    kept = Path.home() / ".pyenv" / "versions"
    yield from map(str, kept.glob(f"{version}.*/bin/python{version}"))
    if found := shutil.which(f"python{version}"):
        yield found


def starts(python: str) -> bool:
    """Return whether it is one: what pyenv puts in the path may only say that none is chosen."""
    return (
        subprocess.run([python, "-S", "-c", ""], check=False, capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("version", SUPPORTED)
def test_deltas_that_were_made_once_are_applied_by_every_python(version: str) -> None:
    python = next(filter(starts, pythons(version)), None)
    if python is None:
        pytest.skip(f"no python{version} is here")
    size, made = MADE_BY_SUMS
    words = [python, "-S", "-c", PROGRAM, str(GOLDEN), str(size)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    expected = [version, *(MADE[architecture][1] for architecture in ARCHITECTURES), made]
    assert done.stdout.split() == expected


def test_every_python_that_the_project_names_is_tried() -> None:
    assert len(SUPPORTED) >= 4
    assert SUPPORTED[0] == "3.11"
