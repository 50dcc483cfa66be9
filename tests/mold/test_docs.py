"""The pages about registering show commands that exist, the same in both languages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from isobuilder.cli.mold.group import mold

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "registering-with-mold.md", DOCS / "ko" / "registering-with-mold.md"]


def blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def command_lines(page: Path) -> list[list[str]]:
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"^\$ (isobuilder mold .*)$", text, re.MULTILINE)
    named = re.findall(r"`(isobuilder mold [^`]*)`", text)
    return [shlex.split(line) for line in shown + named]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_command_and_option_on_the_page_exists(page: Path) -> None:
    lines = command_lines(page)
    assert len(lines) > 15
    for words in lines:
        command = mold.commands.get(words[2])
        assert command is not None, words
        options = {
            option for param in command.params for option in (*param.opts, *param.secondary_opts)
        }
        for word in words[3:]:
            assert not word.startswith("--") or word in options, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_option_in_prose_belongs_to_some_command(page: Path) -> None:
    known = {
        option
        for command in mold.commands.values()
        for param in command.params
        for option in (*param.opts, *param.secondary_opts)
    }
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert option in known, option


@pytest.mark.parametrize("kind", ["console", "python", "ini"])
def test_both_languages_show_the_same(kind: str) -> None:
    english, korean = (blocks(page, kind) for page in PAGES)
    assert english
    assert english == korean


def test_the_program_on_the_page_is_python_that_imports() -> None:
    [program] = blocks(PAGES[0], "python")
    compile(program, "docs", "exec")
    imports = [line for line in program.splitlines() if line.startswith(("from ", "import "))]
    exec("\n".join(imports), {})


def test_the_commands_have_help() -> None:
    for name, command in mold.commands.items():
        assert command.help, name
        assert isinstance(command, click.Command)


def test_every_bad_day_on_the_page_has_its_tests() -> None:
    text = (DOCS / "mold-api.md").read_text(encoding="utf-8").split("## Bad days")[1]
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            source = (Path(__file__).parent / file).read_text(encoding="utf-8")
            assert f"def {test}(" in source, (file, test)


def test_every_section_that_comments_cite_is_on_the_page() -> None:
    page = (DOCS / "mold-api.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## ([D-G](?:\.\d+)?)", page, re.MULTILINE))
    for path in (Path(__file__).parents[2] / "isobuilder" / "mold").rglob("*.py"):
        for cited in re.findall(r"\b([DEFG]\.\d+)\b", path.read_text(encoding="utf-8")):
            assert cited in sections, (path.name, cited)
