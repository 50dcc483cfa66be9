"""One line of sha256sum, read once for everybody who asks something of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from isobuilder.formats.sums import SumLine, sum_line

DIGITS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (f"{DIGITS}  k8s/kubeadm", SumLine(DIGITS, "k8s/kubeadm", escaped=False, exact=True)),
        (f"{DIGITS} *a b", SumLine(DIGITS, "a b", escaped=False, exact=True)),
        (f"\\{DIGITS}  a\\nb", SumLine(DIGITS, "a\\nb", escaped=True, exact=True)),
        (f"{DIGITS}\ta", SumLine(DIGITS, "a", escaped=False, exact=False)),
        (f"{DIGITS} a", SumLine(DIGITS, "a", escaped=False, exact=False)),
        (f"{DIGITS[:40]}  a", SumLine(DIGITS[:40], "a", escaped=False, exact=True)),
        (DIGITS, None),
        (f"{DIGITS[:20]}  a", None),
        (f"x{DIGITS}  a", None),
        ("", None),
    ],
)
def test_a_line_is_taken_apart(line: str, read: SumLine | None) -> None:
    assert sum_line(line) == read


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
@pytest.mark.parametrize("name", ["plain", "with space", "back\\slash", "two\nlines", "*star"])
def test_what_sha256sum_writes_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"content")
    done = subprocess.run(["sha256sum", name], cwd=tmp_path, capture_output=True, check=True)
    line = sum_line(done.stdout.decode().removesuffix("\n"))
    assert line is not None
    assert line.is_sha256
    assert line.escaped == (not name.isprintable() or "\\" in name)
    assert line.escaped or line.path == name
