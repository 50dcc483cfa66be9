from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from isobuilder import __version__
from isobuilder.cli.app import WholeNumber
from isobuilder.cli.examples import EXAMPLES
from isobuilder.cli.main import COMMANDS, main
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints
from tests.pipeline.test_boot import make_payload

HEAVY = (
    *("pycdlib", "pydantic", "urllib3", "requests", "tqdm", "jinja2", "yaml"),
    *("cyclonedx", "http.server", "http.client", "ssl", "asyncio"),
)
NOT_SERVED = (
    *(name for name in HEAVY if name != "ssl"),
    *("isobuilder.http.client", "isobuilder.delta.container", "isobuilder.store.blobs"),
    "isobuilder.cli.site.push",
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


def command_of(words: tuple[str, ...]) -> click.Command:
    context = click.Context(main)
    command: click.Command | None = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(context, word)
    assert command is not None
    return command


@pytest.mark.parametrize("words", [words for words in commands() if words], ids=" ".join)
def test_no_option_takes_digits_of_other_scripts_for_a_number(words: tuple[str, ...]) -> None:
    given = [option for option in command_of(words).params if not getattr(option, "count", False)]
    numbers = (click.types.IntParamType, click.types.FloatParamType)
    taking = [option for option in given if isinstance(option.type, numbers)]
    assert [option.opts for option in taking if not isinstance(option.type, WholeNumber)] == []


def leaves() -> list[tuple[str, ...]]:
    return [words for words in commands() if not isinstance(command_of(words), click.Group)]


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_every_help_has_an_example_that_can_be_typed(words: tuple[str, ...]) -> None:
    command = command_of(words)
    options = {name: parameter for parameter in command.params for name in parameter.opts}
    shown = call(*words, "--help").stdout.partition("Examples:\n")[2].splitlines()
    assert [line.strip() for line in shown] == list(EXAMPLES[" ".join(words)])
    for line in shown:
        typed = line.partition("   #")[0].split()
        assert typed[: len(words) + 1] == ["isobuilder", *words]
        for word, value in zip(typed, [*typed[1:], ""], strict=True):
            if word.startswith("-"):
                kind = options[word].type
                assert not isinstance(kind, click.Choice) or value in kind.choices, line


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_common_options_are_told_once(words: tuple[str, ...]) -> None:
    told = call(*words, "--help").stdout
    assert "--per-host" not in told
    assert "isobuilder --help" in told
    assert "--per-host" in call("--help").stdout


def test_no_text_of_a_command_is_cut_off() -> None:
    for words in commands():
        assert "..." not in call(*words, "--help").stdout.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("biuld",), "main build"),
        (("store", "lsit"), "main store list"),
        (("mold", "regster"), "main mold register"),
    ],
)
def test_a_mistyped_command_gets_the_nearest(typed: tuple[str, ...], meant: str) -> None:
    done = call(*typed, code=2)
    assert errors(done) == [f"error: no command {typed[-1]!r}"]
    assert hints(done) == [f"hint: did you mean {meant}?"]


def test_a_mistyped_option_gets_the_nearest() -> None:
    done = call("build", "--offlin", code=2)
    assert errors(done) == ["error: no such option '--offlin'"]
    assert hints(done) == ["hint: did you mean --offline?"]


@pytest.mark.parametrize(
    ("typed", "example"),
    [
        (("mold", "--server", "prod", "list"), "mold apply --server"),
        (("store", "--dry-run", "gc"), "store gc --dry-run"),
        (("--json", "plan", "1.36.5"), "plan --json"),
    ],
)
def test_an_option_before_its_command_is_told_where_it_stands(
    typed: tuple[str, ...], example: str
) -> None:
    assert hints(call(*typed, code=2)) == [f"hint: options follow the command: main {example}"]


def test_an_option_that_no_command_has_gets_the_help() -> None:
    assert hints(call("mold", "--colour", code=2)) == ["hint: main mold --help tells what it takes"]


def test_a_command_like_no_other_gets_the_list() -> None:
    assert hints(call("xyzzy", code=2)) == ["hint: main --help tells what it takes"]


def loaded(names: Sequence[str], first: str, *words: str) -> str:
    """Return which of ``names`` are imported after ``first`` and a call of the program."""
    script = (
        f"import sys, {first}\n"
        "from isobuilder.cli import main\n"
        "try:\n"
        f"    main({list(words)!r}, prog_name='isobuilder')\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print('loaded:', *sorted(set({names!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


def test_help_imports_nothing_heavy() -> None:
    assert loaded(HEAVY, "isobuilder", "--help") == "loaded:"


def test_a_server_starts_without_what_asks_others_and_without_other_commands() -> None:
    words = ("site", "serve", "--help")
    assert loaded(NOT_SERVED, "isobuilder.site.server", *words) == "loaded:"


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


def completed(folder: Path, *words: str, config: str = "") -> list[str]:
    """Return what bash itself offers for the last of ``words``, with the script sourced."""
    program = shutil.which("bash")
    if program is None:
        pytest.skip("bash is not installed")
    starter = folder / "isobuilder"
    starter.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m isobuilder "$@"\n')
    starter.chmod(0o755)
    typed = " ".join(f"'{word}'" for word in ("isobuilder", *words))
    script = (
        "source <(isobuilder completion bash)\n"
        f"COMP_WORDS=({typed}) COMP_CWORD={len(words)}\n"
        "_isobuilder_completion isobuilder\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [program, "--norc", "-c", script],
        env={
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "ISOBUILDER_CONFIG": config,
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_bash_completes_commands_of_a_group(tmp_path: Path) -> None:
    assert sorted(completed(tmp_path, "store", "")) == ["check", "gc", "list"]


def test_bash_completes_versions_servers_and_payloads(tmp_path: Path) -> None:
    assert {"1.36.5", "1.34.12"} <= set(completed(tmp_path, "build", "1.3"))
    make_payload(Store(tmp_path / "store"))
    config = tmp_path / "config.yaml"
    config.write_text(
        "store: store\nmold: {seoul: {endpoint: 'https://s'}, busan: {endpoint: 'https://b'}}\n"
    )
    assert completed(tmp_path, "mold", "list", "--server", "s", config=str(config)) == ["seoul"]
    assert completed(tmp_path, "os", "show", "", config=str(config)) == ["debian-13-cloud-amd64"]
    config.write_text("nonsense: [\n")
    assert completed(tmp_path, "mold", "list", "--server", "s", config=str(config)) == []


def test_the_help_of_completion_makes_its_folder() -> None:
    lines = [line.strip() for line in call("completion", "--help").stdout.splitlines()]
    assert "mkdir -p $folder" in lines
    assert "isobuilder completion bash > $folder/isobuilder" in lines
