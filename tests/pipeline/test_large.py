"""The whole program on a payload over 4 GiB: whole ISO, and memory that stays flat."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.pipeline.build import Built
from isobuilder.store import Store
from tests.pipeline.world import Locked

# ru_maxrss of a child would count the process that started it.
PROGRAM = """
import re, sys
from pathlib import Path
from isobuilder.cli import main
try:
    main(sys.argv[1:], prog_name="isobuilder")
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
    print("peak", peak, file=sys.stderr)
"""

SIZE = 4 * 1024**3 + 12345  # bytes


def peak_of(*arguments: str | Path) -> tuple[str, int]:
    """Run a command and return what it printed and the most memory it had, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout, int(done.stderr.split()[-1]) // 1024


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_stays_flat_from_build_to_verify(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    if shutil.disk_usage(tmp_path).free < 2 * SIZE:
        pytest.skip("less than 9 GB free for an ISO of 4 GiB: set TMPDIR to a larger disk")
    store = Store(tmp_path / "store")
    shutil.copytree(full_store.root / "blobs", store.root / "blobs")
    zeros = tmp_path / "zeros"
    with zeros.open("wb") as file:
        file.truncate(SIZE)
    digest = Digest.of_file(zeros)
    store.path_of(digest).parent.mkdir(parents=True, exist_ok=True)
    zeros.rename(store.path_of(digest))
    model = next(file for file in locked.lock.files if file.name == "kubectl")
    big = model.model_copy(
        update={"name": "big", "path": "extra/big.bin", "sha256": digest, "size": SIZE}
    )
    lock = tmp_path / "big.lock.json"
    lock.write_bytes(locked.lock.model_copy(update={"files": (*locked.lock.files, big)}).to_bytes())
    out = tmp_path / "out"
    printed, peak = peak_of("build", lock, "--offline", "--store", store.root, "--out", out)
    assert peak < 120
    iso = Path(printed.strip())
    printed, peak = peak_of("verify", iso, "--lock", lock, "--json")
    assert peak < 120
    found = json.loads(printed)
    assert found["passed"], found["findings"]
    assert found["size"] == iso.stat().st_size > SIZE
    assert Path(f"{iso}.sha256").read_text().startswith(Digest(found["digest"]).hex)
    iso.unlink()
