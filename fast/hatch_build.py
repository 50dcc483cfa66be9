"""Compiles the library into the wheel: plain C without Python's headers, so one for all Pythons."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Compile(BuildHookInterface[Any]):
    """Runs the C compiler that ``CC`` names, or ``cc``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say for which machines the wheel is."""
        del version  # all are built alike
        source = Path(self.root, "isobuilder_fast", "deflate.c")
        self._scratch = tempfile.TemporaryDirectory()
        library = Path(self._scratch.name, "libdeflate.so")
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source],
            check=True,
        )
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["force_include"][str(library)] = "isobuilder_fast/libdeflate.so"
