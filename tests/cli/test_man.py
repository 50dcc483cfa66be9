from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from isobuilder.cli.main import main
from isobuilder.cli.setup.man import contexts
from tests.cli.calling import call, errors

WORDS = [tuple(context.command_path.split()[1:]) for context in contexts(main)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man") / "man1"
    assert call("man", "--out", folder).stdout.strip() == str(folder)
    return folder


def test_every_command_has_a_page(pages: Path) -> None:
    assert {path.name for path in pages.iterdir()} == {
        f"{'-'.join(('isobuilder', *words))}.1" for words in WORDS
    }


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_mandoc_and_groff_find_nothing_wrong(pages: Path) -> None:
    files = sorted(pages.iterdir())
    lint = subprocess.run(
        [program("mandoc"), "-T", "lint", "-W", "warning", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    # A date would make two builds of one version differ.
    assert [line for line in lint.stdout.splitlines() if "missing date" not in line] == []
    groff = [program("groff"), "-man", "-ww", "-z", "-K", "utf8", *map(str, files)]
    shown = subprocess.run(groff, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_a_reader_sees_options_examples_and_lines_that_stay_apart(pages: Path) -> None:
    shown = subprocess.run(
        [program("mandoc"), "-T", "utf8", "-O", "width=100", pages / "isobuilder-completion.1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    plain = "".join(c for i, c in enumerate(shown) if c != "\b" and shown[i + 1 : i + 2] != "\b")
    lines = [line.strip() for line in plain.splitlines()]
    assert "mkdir -p $folder" in lines
    assert "isobuilder completion bash" in lines
    assert "isobuilder-completion - Print the completion script for SHELL" in lines


def test_common_options_and_exit_codes_are_on_the_first_page_only() -> None:
    first, build = call("man").stdout, call("man", "build").stdout
    assert ".SH COMMON OPTIONS" in first
    assert "\\-\\-per\\-host" in first
    assert ".B 130\ninterrupted" in first
    assert "\\-\\-per\\-host" not in build
    assert "isobuilder build 1.36.5" in build
    assert ".BR isobuilder (1)" in build


def test_a_command_that_is_none_is_refused() -> None:
    assert errors(call("man", "fly", code=2)) == ["error: no command 'isobuilder fly'"]
    assert errors(call("man", "build", "--out", "x", code=2)) == [
        "error: --out writes the pages of all commands; name none"
    ]
