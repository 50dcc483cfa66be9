"""The pages that lead a new user from an installed program to a site are typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import page
from bench.way import free_ports
from isobuilder.demo.content import KUBERNETES
from isobuilder.demo.tour import embedded_upstream
from tools.tables import DOCS
from tools.way import PAGES, blocks, script


def test_the_pages_of_a_new_user_are_typed_in_their_order(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "isobuilder").mkdir(parents=True)
    (home / "isobuilder" / "bin").symlink_to(Path(sys.executable).parent)
    with embedded_upstream(tmp_path / "upstream"):
        own = {
            "HOME": str(home),
            "RECIPE": str(tmp_path / "upstream" / f"kubernetes-{KUBERNETES}.yaml"),
            "ISOBUILDER_CONFIG": str(tmp_path / "upstream" / "config.yaml"),
            "PATH": "/usr/bin:/bin",
        }
        done = subprocess.run(
            ["bash", "-c", script(installed=True, ports=free_ports())],
            env={**{name: os.environ[name] for name in ("LANG",) if name in os.environ}, **own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
    told = done.stdout
    assert done.returncode == 0, told
    for sign in ("reproduced: ", "Busan  Ready", "nothing to change", "1 ISO with 13 images"):
        assert sign in told
    assert told.count("\ngood: ") == 2
    (ledger,) = (home / "inside").glob("ledger.txt")
    assert ledger.read_text()


def test_the_first_block_installs_a_release_without_network() -> None:
    installs = blocks(PAGES[0])[0]
    assert "--no-index" in installs
    assert "--require-hashes" in installs


@pytest.mark.parametrize("place", ["first-iso.md", "ko/first-iso.md"])
def test_times_and_sizes_on_the_page_are_those_that_were_measured(place: str) -> None:
    results = page.read(DOCS.parent / "bench" / "RESULTS.md")
    (measured,) = [one.body for one in page.sections(results) if one.title == page.WAY]
    told, wanted = (
        [row[1:] for row in page.rows_of(text) if re.match(r"\d", row[1])]
        for text in ((DOCS / place).read_text(encoding="utf-8"), measured)
    )
    assert len(wanted) == 13
    assert told == wanted


@pytest.mark.parametrize("name", PAGES)
def test_each_page_leads_to_the_next(name: str) -> None:
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for after in PAGES[PAGES.index(name) + 1 :][:1]:
        assert text.rstrip().splitlines()[-1].startswith("Next: ") or f"({after}.md)" in text
