"""A new user's way, typed into systems that have nothing but what its first page asks for.

Install from a release, build a real ISO from the lab's upstream, register it on the simulator,
carry it to a site; no network is there but loopback.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder import __version__
from tests.roots.root import HOME, Root, lab_server, make_root
from tests.site.test_page import steps
from tools.lab.place import HERE, lab_dir
from tools.tables import DOCS
from tools.way import script

pytestmark = [
    pytest.mark.roots,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not (lab_dir() / "ready").is_file(), reason="run make lab first"),
]
SUITES = {"bookworm": "3.11", "trixie": "3.13", "noble": "3.12"}
RECIPE = "kubernetes-1.37.1.yaml"


@pytest.fixture(scope="module", params=SUITES)
def root(
    request: pytest.FixtureRequest, released: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Root]:
    """A system with what the page names, and a release in the home folder."""
    folder = tmp_path_factory.mktemp(request.param)
    made = make_root(request.param, folder / "system")
    told = re.search(r"`(apt-get install [^`]*)`", (DOCS / "installing.md").read_text("utf-8"))
    assert told
    made.as_root(f"apt-get update\n{told[1]} --yes --no-install-recommends")
    made.give(*released.iterdir(), HERE / "recipes" / RECIPE)
    yield made
    shutil.rmtree(folder)


def test_the_four_pages_lead_from_nothing_to_a_site(
    root: Root, request: pytest.FixtureRequest
) -> None:
    """What is left to who types: which recipe, as the lab has a network add-on of its own."""
    server, settings = lab_server(root)
    given = f"export RECIPE=/{HOME}/{RECIPE} ISOBUILDER_CONFIG=/{HOME}/{settings.name}\n"
    said = root.alone(f"{given}python3 --version\n{script()}", server)
    suite = request.node.callspec.params["root"]
    assert f"Python {SUITES[suite]}." in said
    assert f"isobuilder, version {__version__}\n" in said
    assert "\nbuild       yes" in said
    for sign in ("reproduced: ", "Seoul  Ready", "Busan  Ready", "nothing to change"):
        assert sign in said
    assert said.count("\ngood: ") == 2
    assert (root.home / ".local/share/man/man1/isobuilder-build.1").is_file()
    completion = root.home / ".local/share/bash-completion/completions/isobuilder"
    assert "_isobuilder" in completion.read_text()
    (iso,) = (root.home / "inside" / "dist").glob("*.iso")
    assert iso.name == "kubernetes-v1.37.1-mold-cks-amd64-r1.iso"


def test_the_checklist_of_a_site_leads_to_the_same_iso(root: Root) -> None:
    text = ['PATH="$HOME/.local/bin:$PATH"\nmkdir -p outside inside-2\n']
    for number, commands in steps(DOCS / "air-gapped-site.md"):
        if number == "3":
            text.append("mv ~/outside/carry ~/inside-2\n")
        if number == "5":
            text.append("mv ~/inside-2/ledger.txt ~/outside\n")
        place = "outside" if number in "15" else "inside-2"
        text.append(f"cd /{HOME}/{place}\nexport HOME=$PWD\n" + "\n".join(commands) + "\n")
        text.append(f"export HOME=/{HOME}\n")
    root.alone("".join(text))
    made = [list((root.home / place / "dist").glob("*.iso")) for place in ("outside", "inside-2")]
    assert [one.read_bytes() for one in made[0]] == [one.read_bytes() for one in made[1]]
    assert len(made[0]) == 1
