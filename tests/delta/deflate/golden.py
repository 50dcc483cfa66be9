"""What Go's own compressor makes of the contents of these tests; `python -m` writes it down.

With the name of a Go that is newer than 1.26 behind it, as `go1.27.3`, also what that one makes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.delta.deflate.contents import CONTENTS, gaps, mixed, programs

GOLDEN = Path(__file__).parents[2] / "golden" / "deflate"
LEVELS = range(-2, 10)
SMALL = mixed()[70_000:85_000]
BLOCKS = gaps(140_000) + programs(130_000)
"""More than two blocks of pigz."""


class GoGzip:
    """A program that compresses with Go's library."""

    def __init__(self, folder: Path, version: str = "local") -> None:
        """Compile it with the Go that is here, which must be older than 1.27, or another one."""
        self._program = folder / "go-gzip"
        source = Path(__file__).with_name("go_gzip.go")
        environment = {**os.environ, "GOTOOLCHAIN": version}
        command = [str(shutil.which("go")), "build", "-o", str(self._program), str(source)]
        subprocess.run(command, check=True, env=environment, cwd=folder)

    def made(self, content: bytes, level: int, sizes: Sequence[int] = ()) -> bytes:
        """Return the gzip file; see the program about ``sizes``."""
        command = [str(self._program), str(level), *map(str, sizes)]
        return subprocess.run(command, input=content, check=True, stdout=subprocess.PIPE).stdout


def digests(go: GoGzip, level: int) -> dict[str, str]:
    """Return SHA-256 of the compressed data, without header and trailer, by the name of content."""
    return {
        name: hashlib.sha256(go.made(content, level)[10:-8]).hexdigest()
        for name, content in CONTENTS.items()
    }


def streams(go: GoGzip) -> dict[str, bytes]:
    """Return small files of compressors that are not on every machine, by what is recognised."""
    found = {f"go-{level + 3}": go.made(SMALL, level) for level in (-2, 1, 3, 6, 9)}
    for level in (1, 6):
        found[f"go-{level + 3}-flushed"] = go.made(SMALL, level, [4000, 0, 200, 0])
    if pigz := shutil.which("pigz"):
        for name, more in {"pigz-6-128-1": [], "pigz-6-128-0": ["-i"], "pigz-3-128-1": []}.items():
            command = [pigz, f"-{name[5]}", "-p4", "-nc", *more]
            done = subprocess.run(command, input=BLOCKS, check=True, stdout=subprocess.PIPE)
            found[name] = done.stdout
    return found


if __name__ == "__main__":
    known = json.loads((GOLDEN / "go.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        go = GoGzip(Path(scratch))
        known |= {str(level): digests(go, level) for level in LEVELS}
        for name, data in streams(go).items():
            (GOLDEN / f"{name}.gz").write_bytes(data)
        for version in sys.argv[1:]:
            newer = GoGzip(Path(scratch), version)
            known["1.27: 6"] = digests(newer, 6)
            flushed = newer.made(BLOCKS[130_000:], 6, [60_000, 0, 20, 0])
            (GOLDEN / "go_127-6.gz").write_bytes(flushed)
    text = json.dumps(known, indent=1, sort_keys=True) + "\n"
    (GOLDEN / "go.json").write_text(text, encoding="utf-8")
