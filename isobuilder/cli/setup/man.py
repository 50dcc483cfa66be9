"""``isobuilder man``: manual pages, made of what each command says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from isobuilder import __version__
from isobuilder.cli.app import FOLDER, App, AppCommand, common_options
from isobuilder.cli.examples import EXAMPLES
from isobuilder.cli.telling import tell_path, tell_text
from isobuilder.errors import UsageProblem

_PROGRAM = "isobuilder"
_FILES = (
    ("~/.config/isobuilder/config.yaml", "settings; isobuilder config show tells where each is of"),
    ("~/.cache/isobuilder", "the store, where no setting names another"),
)
_VARIABLES = (
    ("ISOBUILDER_CONFIG", "the settings file"),
    ("ISOBUILDER_PROGRESS", "as --progress"),
    ("ISOBUILDER_<SETTING>", "any setting of the file, by its name in capitals"),
)


@click.command(cls=AppCommand)
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.option("--out", type=FOLDER, help="Write the pages of all commands into this folder.")
@click.pass_context
def man(context: click.Context, words: tuple[str, ...], out: Path | None) -> None:
    """Print the manual page of COMMAND, for man to show.

    Without COMMAND it is the page of isobuilder as a whole.

    \b
    isobuilder man site serve | man -l -
    isobuilder man --out ~/.local/share/man/man1
    """  # noqa: D301 - \\b keeps lines apart
    from isobuilder.files import as_environment_problem, write_whole

    root = context.find_root().command
    if out is None:
        tell_text(page(_context_of(root, words)), nl=False)
        return
    if words:
        raise UsageProblem("--out writes the pages of all commands; name none")
    with as_environment_problem(out):
        out.mkdir(parents=True, exist_ok=True)
    pages = {_title(one): page(one) for one in contexts(root)}
    for title, text in pages.items():
        write_whole(out / f"{title}.1", text.encode())
    context.ensure_object(App).say(f"{len(pages)} pages")
    tell_path(out)


def contexts(root: click.Command) -> Iterator[click.Context]:
    """Give the program and each command of it, groups before what is in them."""
    return _below(click.Context(root, info_name=_PROGRAM))


def _below(context: click.Context) -> Iterator[click.Context]:
    yield context
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield from _below(click.Context(command, info_name=name, parent=context))


def _context_of(root: click.Command, words: tuple[str, ...]) -> click.Context:
    path = " ".join((_PROGRAM, *words))
    for context in contexts(root):
        if context.command_path == path:
            return context
    raise UsageProblem(f"no command {path!r}", hint=f"{_PROGRAM} --help lists them")


def page(context: click.Context) -> str:
    """Return the manual page of one command, in the macros of man(7)."""
    command = context.command
    first, *more = paragraphs(command.help or "")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{_title(context).upper()}" "1" "" "{_PROGRAM} {__version__}" "{_PROGRAM}"',
        ".SH NAME",
        f"{_roff(_title(context))} \\- {_roff(first.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_roff(context.command_path)}",
        _roff(usage),
    ]
    if more:
        lines += [".SH DESCRIPTION", *_described(more)]
    own, common = options_of(context)
    lines += _listed("OPTIONS", own)
    if isinstance(command, click.Group):
        lines += _listed("COMMANDS", list(_commands_of(context)))
    lines += _listed("COMMON OPTIONS", common)
    if examples := EXAMPLES.get(_words(context)):
        lines += [".SH EXAMPLES", ".nf", *map(_roff, examples), ".fi"]
    if context.parent is None:
        lines += _listed("EXIT STATUS", exit_codes(command))
        lines += _listed("ENVIRONMENT", list(_VARIABLES))
        lines += _listed("FILES", list(_FILES))
    else:
        above = _title(context.parent)
        lines += [".SH SEE ALSO", f".BR {_roff(above)} (1)"]
    return "\n".join(lines) + "\n"


def _title(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _words(context: click.Context) -> str:
    return context.command_path.partition(" ")[2]


def paragraphs(text: str) -> list[str]:
    r"""Return the paragraphs of a help text; one whose lines stay apart begins with ``\b``."""
    return re.split(r"\n\s*\n", cleandoc(text))


def options_of(context: click.Context) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the options that a page explains: of this command only, and of all commands."""
    command = context.command
    told_elsewhere = command.common if isinstance(command, AppCommand) else []
    shared = [option.opts for option in common_options()] if context.parent is None else []
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        is_told = isinstance(parameter, click.Option) and parameter not in told_elsewhere
        if record is not None and is_told:
            (common if parameter.opts in shared else own).append(record)
    return own, common


def _commands_of(context: click.Context) -> Iterator[tuple[str, str]]:
    """Give the commands of a group, each with the first sentence of its help."""
    for one in _below(context):
        if one.parent is context:
            yield one.command_path, paragraphs(one.command.help or "")[0]


def exit_codes(root: click.Command) -> list[tuple[str, str]]:
    """Return the exit codes of the program and what each means."""
    text = (getattr(root, "epilog", None) or "").partition(":")[2].rstrip(".")
    return re.findall(r"([0-9]+) (.+?)(?=, [0-9]+ |$)", text.strip())


def _listed(title: str, rows: list[tuple[str, str]]) -> list[str]:
    if not rows:
        return []
    lines = [f".SH {title}"]
    for name, meaning in rows:
        lines += [".TP", f".B {_roff(name)}", _roff(meaning)]
    return lines


def _described(parts: list[str]) -> Iterator[str]:
    for number, part in enumerate(parts):
        if number:
            yield ".PP"
        if part.startswith("\b\n"):
            yield from (".nf", *map(_roff, part.split("\n")[1:]), ".fi")
        else:
            yield _roff(" ".join(part.split()))


def _roff(text: str) -> str:
    """Return text as roff shows it: one line, in which nothing is a request."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{shown}" if shown[:1] in {".", "'"} else shown
