from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from isobuilder import __version__
from isobuilder.cli.main import COMMANDS, main
from tests.cli.calling import call

HEAVY = (
    *("pycdlib", "pydantic", "urllib3", "requests", "tqdm", "jinja2", "yaml"),
    *("cyclonedx", "http.server", "http.client", "ssl", "asyncio"),
)


def commands() -> list[tuple[str, ...]]:
    """Return the words that lead to each command, groups included."""
    context = click.Context(main)
    found: list[tuple[str, ...]] = [()]
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.list_commands(context)]
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_help_on_stdout(words: tuple[str, ...]) -> None:
    done = call(*words, "--help")
    assert " ".join(("main", *words)) in done.stdout.splitlines()[0]
    assert done.stderr == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_command_says_of_itself(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.help is not None
    assert COMMANDS[name][1] == command.help.splitlines()[0]


@pytest.mark.parametrize("words", [words for words in commands() if words], ids=" ".join)
def test_every_option_of_every_command_is_explained(words: tuple[str, ...]) -> None:
    context = click.Context(main)
    command: click.Command | None = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(context, word)
    assert command is not None
    unexplained = [
        option.opts
        for option in command.params
        if isinstance(option, click.Option) and not option.help and not option.hidden
    ]
    assert unexplained == []


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from isobuilder.cli import main\n"
        "try:\n"
        "    main(['--help'], prog_name='isobuilder')\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_the_version_is_told() -> None:
    assert call("--version").stdout == f"isobuilder, version {__version__}\n"


def test_without_a_command_help_goes_to_stderr() -> None:
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert all(name in done.stderr for name in COMMANDS)


# --- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_it_understands(shell: str, tmp_path: Path) -> None:
    script = call("completion", shell).stdout
    assert f"_ISOBUILDER_COMPLETE={shell}_complete" in script
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "script"
    file.write_text(script)
    subprocess.run([program, "-n", file], check=True)


@pytest.fixture
def completed(tmp_path: Path) -> list[str]:
    """What bash itself offers after ``isobuilder store``, with the script sourced."""
    program = shutil.which("bash")
    if program is None:
        pytest.skip("bash is not installed")
    starter = tmp_path / "isobuilder"
    starter.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m isobuilder "$@"\n')
    starter.chmod(0o755)
    script = (
        "source <(isobuilder completion bash)\n"
        "COMP_WORDS=(isobuilder store '') COMP_CWORD=2\n"
        "_isobuilder_completion isobuilder\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [program, "--norc", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_bash_completes_commands_of_a_group(completed: list[str]) -> None:
    assert sorted(completed) == ["check", "gc", "list"]
