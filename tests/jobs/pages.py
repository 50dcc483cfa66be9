"""What pages tell people to type, and a shell that types it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def blocks_of(name: str) -> list[str]:
    """Return the blocks of a page that are to be typed, in their order."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


@dataclass(slots=True)
class Shell:
    """Types block after block; where one goes with cd, the next one begins."""

    folder: Path
    env: Mapping[str, str]

    def type(self, block: str, *, code: int = 0) -> str:
        end = self.folder.parent / ".where"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f'{block}\npwd > "$0"', str(end)],
            cwd=self.folder,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == code, f"{block}\n{done.stdout}\n{done.stderr}"
        if code == 0:
            self.folder = Path(end.read_text().strip())
        return done.stdout + done.stderr
