"""The page about air-gapped sites is followed word for word, inside without any network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from isobuilder.digest import Digest
from tests.site.test_carry import NAME

DOCS = Path(__file__).parents[2] / "docs"


def steps(page: Path) -> list[tuple[str, list[str]]]:
    """Return the commands of each section, by its number."""
    found = []
    for section in page.read_text(encoding="utf-8").split("\n## ")[1:]:
        blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
        lines = "".join(blocks).splitlines()
        assert all(line.startswith("$ ") for line in lines)
        if lines:
            found.append((section[0], [line[2:] for line in lines]))
    return found


def test_both_languages_have_the_same_commands() -> None:
    english = DOCS / "air-gapped-site.md"
    korean = DOCS / "ko" / "air-gapped-site.md"
    assert steps(english) == steps(korean)
    boxes = [page.read_text(encoding="utf-8").count("- [ ]") for page in (english, korean)]
    assert boxes[0] == boxes[1] > 10


def test_the_checklist_leads_to_the_same_iso(tmp_path: Path) -> None:
    outside, inside, programs = (tmp_path / name for name in ("outside", "inside", "bin"))
    for folder in (outside, inside, programs):
        folder.mkdir()
    program = programs / "isobuilder"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m isobuilder "$@"\n')
    program.chmod(0o755)
    folders = {"1": outside, "3": inside, "4": inside, "5": outside, "6": inside}
    done = {}
    for number, commands in steps(DOCS / "air-gapped-site.md"):
        if number == "3":
            shutil.move(outside / "carry", inside / "carry")
        if number == "5":
            for name in ("ledger.txt", "signed.txt", "plant-7.pub"):
                shutil.move(inside / name, outside)
        for line in commands:
            done[line] = run_line(line, folders[number], programs, alone=folders[number] == inside)
    iso = f"dist/{NAME}.iso"
    assert Digest.of_file(inside / iso) == Digest.of_file(outside / iso)
    told = "".join(done.values())
    assert "1.33.9 -> 1.34.12\n" in told
    assert f"there: {iso}\n" in told
    assert "signed by plant-7 (sha256:" in told
    assert "nothing was damaged" in told
    assert (inside / "site" / "kubernetes-1.34.12.yaml").is_file()
    assert (inside / "ledger.png").read_bytes().startswith(b"\x89PNG")


def run_line(line: str, folder: Path, programs: Path, *, alone: bool) -> str:
    argv = ["bash", "-c", line]
    unshare = ["unshare", "--net", "--map-root-user"]
    if alone and shutil.which("unshare") and not subprocess.call([*unshare, "true"], stderr=-3):
        argv = [*unshare, *argv]
    own = {"HOME": str(folder / "home"), "PATH": f"{programs}:{os.environ['PATH']}"}
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        own[name] = str(folder / "home" / name)
    done = subprocess.run(
        argv,
        cwd=folder,
        env={**os.environ, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}"
    return done.stdout
