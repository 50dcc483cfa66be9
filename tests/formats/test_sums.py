"""One line of sha256sum, read once for everybody who asks something of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.formats.sums import SumLine, sum_line, written_sums

DIGITS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (f"{DIGITS}  k8s/kubeadm", SumLine(DIGITS, "k8s/kubeadm", escaped=False, exact=True)),
        (f"{DIGITS} *a b", SumLine(DIGITS, "a b", escaped=False, exact=True)),
        (f"\\{DIGITS}  a\\nb", SumLine(DIGITS, "a\nb", escaped=True, exact=True)),
        (f"\\{DIGITS}  a\\\\nb", SumLine(DIGITS, "a\\nb", escaped=True, exact=True)),
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


SHA256SUM = pytest.mark.skipif(
    shutil.which("sha256sum") is None, reason="sha256sum is not installed"
)
NAMES = [
    "plain",
    "with space",
    "back\\slash",
    "two\nlines",
    "\\n",
    "*star",
    "한국어",
    "tab\t",
    "\udcff",
]


@SHA256SUM
@pytest.mark.parametrize("name", NAMES)
def test_what_sha256sum_writes_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"content")
    done = subprocess.run(["sha256sum", name], cwd=tmp_path, capture_output=True, check=True)
    line = sum_line(os.fsdecode(done.stdout).removesuffix("\n"))
    assert line is not None
    assert line.is_sha256
    assert line.escaped == any(character in name for character in "\n\r\\")
    assert line.path == name


@SHA256SUM
@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_sha256sum_writes(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"content")
    command = ["sha256sum", "--", name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert written_sums([(Digest.of(b"content"), name)]) == done.stdout


@SHA256SUM
def test_every_name_is_found_by_what_is_written(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(os.fsencode(name))
    sums = written_sums((Digest.of_file(tmp_path / name), name) for name in NAMES)
    command = ["sha256sum", "--check", "--strict", "--quiet"]
    subprocess.run(command, cwd=tmp_path, input=sums, check=True)
