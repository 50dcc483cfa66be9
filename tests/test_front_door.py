"""``import isobuilder`` does what the command line does, and docs/python.md says so truly."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import isobuilder
from isobuilder.demo.tour import embedded_upstream
from isobuilder.pipeline.shipped import shipped

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
NAMES = [name for name in dir(isobuilder) if not name.startswith("__")]


def test_the_scripts_of_the_page_make_a_verified_iso_and_serve_it_to_a_site(
    tmp_path: Path,
) -> None:
    script = "".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    with embedded_upstream(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={"PYTHONPATH": str(PAGE.parents[1]), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stderr == ""
    assert re.fullmatch(
        r"(kubernetes-v1\.34\.12-mold-cks-amd64-r1)\.iso sha256:[0-9a-f]{64} good\n"
        r"site/\1\.lock\.json\n"
        r"http://127\.0\.0\.1:\d+\n",
        done.stdout,
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_front_door_is_explained(name: str) -> None:
    value = getattr(isobuilder, name)
    assert inspect.getdoc(value)
    assert (
        f"`{name}" in PAGE.read_text("utf-8")
        or f".{name}`" in PAGE.read_text("utf-8")
        or (
            name == "Session"  # what open_session gives
        )
    )


def test_importing_it_imports_nothing_else_of_ours() -> None:
    script = "import sys, isobuilder; print([m for m in sys.modules if m.startswith('isobuilder')])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['isobuilder']\n"


def test_a_name_that_is_not_there_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match="no attribute 'bake'"):
        isobuilder.bake  # noqa: B018


def test_what_is_no_iso_is_told_as_one_of_our_errors(tmp_path: Path) -> None:
    for ask in (isobuilder.verify, lambda path: isobuilder.diff(path, path)):
        with pytest.raises(isobuilder.IsobuilderError, match=r"none\.iso: No such file"):
            ask(tmp_path / "none.iso")


def test_locks_are_compared_as_values_and_by_their_paths() -> None:
    old, new = (one.locks["amd64"] for one in shipped()[:2])
    found = isobuilder.diff(old, new)
    assert found == isobuilder.diff(isobuilder.load_lock(old), isobuilder.load_lock(new))
    assert "kubernetes" in [one.name for one in found]
    assert isobuilder.diff(isobuilder.load_lock(old), old) == ()


def test_recipes_are_cells_by_their_paths() -> None:
    [recipe] = (one.recipe for one in shipped()[:1])
    cells = isobuilder.cells_of([recipe], ["amd64"])
    assert [cell.source for cell in cells] == [str(recipe)]
