"""Both engines: in Python, and the extra, from its wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from isobuilder.delta.deflate.encoders import Engine, PureEngine
from isobuilder.delta.deflate.fast import FastEngine

EXTRA = Path(__file__).parents[3] / "fast"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler is here")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, check=True, cwd=EXTRA, capture_output=True)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="session")
def library(wheel: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract("isobuilder_fast/libdeflate.so", wheel.parent / "unpacked"))


@pytest.fixture(params=["python", "extra"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "python":
        return PureEngine()
    return FastEngine(request.getfixturevalue("library"))
