"""Sizes beyond the ordinary: files over 4 GiB, 20,000 files, and how much memory they take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isobuilder.digest import Digest
from isobuilder.iso.check.contents import check_iso
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.store import Blob
from tests.iso.makers import entry, iso_of

OVER_4_GIB = 4 * 1024**3 + 4 * 1024**2  # bytes

MEASURED = """
import json, re, sys
from pathlib import Path
from isobuilder.digest import Digest
from isobuilder.iso.check.contents import check_iso
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.writer import write_iso
from isobuilder.store import Blob

def peak():
    # ru_maxrss would count the process that started us
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

kind, folder = sys.argv[1], Path(sys.argv[2])
if kind == "many":
    entries = [
        IsoEntry(f"f{n % 200}/file-{n}.yaml", 0o644, (b"%d" % n * 400,)) for n in range(20_000)
    ]
else:
    path = folder / "zeros"
    with path.open("wb") as file:
        file.truncate(int(kind))
    blob = Blob(Digest.of(b""), int(kind), path)
    entries = [IsoEntry(f"docker/{n}.tar", 0o644, (b"head", blob)) for n in range(2)]
written = write_iso(entries, folder / "a.iso", label="CDROM", epoch=1_700_000_000)
written_with = peak()
with IsoReader(folder / "a.iso") as reader:
    check = check_iso(reader)
print(json.dumps({
    "write": written_with, "check": peak(),
    "files": len(check.files), "same": check.digest == written.digest,
    "rules": sorted({finding.rule for finding in check.findings}),
}))
"""


def measured(kind: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, kind, folder],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_memory_does_not_grow_with_the_payload(tmp_path: Path) -> None:
    facts = measured(str(200 * 1024 * 1024), tmp_path)
    assert facts["same"]
    assert facts["write"] < 80 * 1024
    assert facts["check"] < 80 * 1024


def test_a_root_folder_of_many_blocks_is_read_as_it_is_written(tmp_path: Path) -> None:
    entries = [entry(f"folder-{number}/file") for number in range(120)]
    written = iso_of(entries, tmp_path / "a.iso")
    with IsoReader(written.path) as reader:
        assert set(reader.files) == {one.path for one in entries}


@pytest.mark.slow
def test_20000_files_fit_in_memory_and_are_all_there(tmp_path: Path) -> None:
    facts = measured("many", tmp_path)
    assert facts["files"] == 20_000
    assert facts["same"]
    assert facts["rules"] == ["iso.sums"]  # there are none; nothing else is wrong
    assert facts["write"] < 250 * 1024
    assert facts["check"] < 250 * 1024


@pytest.mark.slow
def test_a_file_over_4_gib_keeps_every_byte(tmp_path: Path) -> None:
    marks = {0: b"begin", 4 * 1024**3 - 2050: b"x" * 4100, OVER_4_GIB - 3: b"end"}
    sparse = tmp_path / "blob"
    with sparse.open("wb") as file:
        file.truncate(OVER_4_GIB)
        for at, data in marks.items():
            file.seek(at)
            file.write(data)
    blob = Blob(Digest.of_file(sparse), OVER_4_GIB, sparse)
    written = iso_of(
        [IsoEntry("big.tar", 0o644, (blob,)), entry("z.yaml", b"after")], tmp_path / "a.iso"
    )
    sparse.unlink()
    try:
        with IsoReader(written.path) as reader:
            assert len(reader.files["big.tar"].extents) == 2
            assert reader.joliet is not None
            assert reader.joliet.files["big.tar"].extents == reader.files["big.tar"].extents
            stream = reader.open("big.tar")
            for at, data in marks.items():
                stream.seek(at)
                assert stream.read(len(data)) == data
            check = check_iso(reader)
        assert check.digest == written.digest
        assert check.files == {"big.tar": blob.digest, "z.yaml": Digest.of(b"after")}
        assert {finding.rule for finding in check.findings} == {"iso.sums"}
    finally:
        written.path.unlink()
