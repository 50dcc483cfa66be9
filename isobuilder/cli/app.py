"""What every command shares: settings, the store, progress, options, and how results look."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cached_property
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.examples import EXAMPLES
from isobuilder.cli.telling import tell, tell_json
from isobuilder.text import as_json, printable

if TYPE_CHECKING:
    from isobuilder.http.client import Http
    from isobuilder.model.config import Config
    from isobuilder.model.lock import Lock
    from isobuilder.progress import Progress
    from isobuilder.rules.book import RuleBook
    from isobuilder.store import Store

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
"""What is written: never what the same call reads, see ``refuse_replacing``."""
JUDGED_FILE = click.Path(dir_okay=False, path_type=Path)
"""The same of commands that say for themselves what may be replaced."""


class WholeNumber(click.IntRange):
    """A whole number in plain digits: Python also takes those of other scripts, and ``1_0``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, which is in the range."""
        if isinstance(value, str) and not re.fullmatch("[-+]?[0-9]{1,18}", value):
            self.fail(f"expected a whole number, got {value[:40]!r}", param, ctx)
        return super().convert(value, param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result for machines.")


class App:
    """One call of the command line: its options, and what they lead to, made when first needed."""

    def __init__(self) -> None:
        self.flags: dict[str, Any] = {}
        self.config_file: Path | None = None
        self.progress_style = "auto"
        self.verbosity = 0
        self.quiet = False
        self.closing = ExitStack()

    @cached_property
    def settings(self) -> tuple[Config, dict[str, str]]:
        """The settings, and where each value came from."""
        from isobuilder.model.config import load_config

        return load_config(self.config_file, os.environ, self.flags)

    @property
    def config(self) -> Config:
        """The settings."""
        return self.settings[0]

    @cached_property
    def rules(self) -> RuleBook:
        """The rules by which parts are judged: the shipped ones, and those of the settings."""
        from isobuilder.files import own_path
        from isobuilder.rules.book import read_rules

        return read_rules(own_path(self.config.rules) if self.config.rules else None)

    @cached_property
    def store(self) -> Store:
        """The store of this user, or the one that was chosen."""
        from isobuilder.store import open_store

        return open_store(self.config.store)

    @cached_property
    def http(self) -> Http:
        """The opener of outgoing connections, closed when the command ends."""
        from isobuilder.http.client import Http

        return self.closing.enter_context(Http(self.config.http))

    @cached_property
    def progress(self) -> Progress:
        """How long work shows on stderr."""
        from isobuilder.cli.progress import choose

        return choose("none" if self.quiet else self.progress_style, sys.stderr)

    def say(self, text: str) -> None:
        """Tell the person something that is not the result."""
        if self.quiet:
            return
        if self.progress_style == "json":
            text = as_json({"event": "message", "text": text})
        tell(text, err=True)

    def show_json(self, value: Any) -> None:
        """Print a result for machines; see ``data_of`` for values of ours in it."""
        tell_json(as_json(value, indent=2, default=data_of))


def data_of(value: Any) -> Any:
    """Return a value of ours for ``App.show_json``: a result field by field, a path as text.

    A time is told as RFC 3339 has it, in its zone.
    """
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value.model_dump(mode="json", by_alias=True)


_OF_FILES = re.compile(r"\b(FILE|DIR|ISO|LOCK|RECIPE|NEW|SCRIPT)\b")


class _Text(click.types.StringParamType):
    """Words of a person; a name of a file may have any bytes, they may not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text."""
        text = str(super().convert(value, param, ctx))
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"expected text in UTF-8, got {printable(text, 80)!r}", param, ctx)
        return text


def _judge_texts(parameters: Iterable[click.Parameter]) -> None:
    """Let all that is no name of a file be text; what comes of it is written and sent."""
    for parameter in parameters:
        if parameter.type is click.STRING and not _OF_FILES.search(parameter.metavar or ""):
            parameter.type = _Text()


def _set_flag(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:
            context.ensure_object(App).flags[name] = value

    return callback


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:
            setattr(context.ensure_object(App), name, value)

    return callback


def _set_verbosity(context: click.Context, _parameter: click.Parameter, value: int) -> None:
    app = context.ensure_object(App)
    app.verbosity = max(app.verbosity, value)
    set_up_logging(app.verbosity)


def common_options(*, root: bool = False) -> list[click.Option]:
    """Return the options that stand before or after any command's name.

    Only those of the root look at variables: else a variable, read again for the command, would win
    over a flag before the command's name.
    """
    styles = click.Choice(["auto", "bar", "plain", "json", "none"])
    at_once = WholeNumber(1, 64)
    return [
        _option(
            "--config",
            type=FILE,
            envvar="ISOBUILDER_CONFIG" if root else None,
            help="Settings file.",
            callback=_set("config_file"),
        ),
        _flag("--store", metavar="DIR", help="Where blobs are kept."),
        _flag(
            "--remote-store",
            metavar="oci://HOST/PATH",
            help="Repository of a registry in which machines share blobs.",
        ),
        _flag("-j", "--jobs", type=at_once, help="Transfers at once."),
        _flag("--per-host", type=at_once, help="Transfers at once to one host."),
        _flag(
            "--limit-rate",
            metavar="BYTES",
            help="Bytes per second over all transfers, such as 20M.",
        ),
        _flag("--offline", is_flag=True, help="Use only what the store has."),
        _option(
            "--progress",
            type=styles,
            envvar="ISOBUILDER_PROGRESS" if root else None,
            help="How long work shows on stderr.  [default: auto]",
            callback=_set("progress_style"),
        ),
        _option(
            "-q",
            "--quiet",
            is_flag=True,
            help="Print results and errors only.",
            callback=_set("quiet"),
        ),
        _option(
            "-v",
            "--verbose",
            count=True,
            help="Say more; -vv logs requests.",
            callback=_set_verbosity,
        ),
    ]


def _option(*names: str, **kwargs: Any) -> click.Option:
    """Return an option that its callback takes in, so that no command has a parameter for it."""
    return click.Option(names, expose_value=False, **kwargs)


def _flag(*names: str, **kwargs: Any) -> click.Option:
    """Return an option for the setting that has its name."""
    setting = names[-1].removeprefix("--").replace("-", "_")
    return _option(*names, callback=_set_flag(setting), **kwargs)


class AppCommand(click.Command):
    """A command that also takes the common options, which its help only points at."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken = {option for parameter in self.params for option in parameter.opts}
        self.common = [option for option in common_options() if not taken.intersection(option.opts)]
        self.params.extend(self.common)
        _judge_texts(self.params)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, unless it would write over what it is to read."""
        from isobuilder.cli.outputs import refuse_replacing

        refuse_replacing(ctx, NEW_FILE)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, where the common ones are told, and examples."""
        shown = (
            parameter.get_help_record(ctx)
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and parameter not in self.common
        )
        with formatter.section("Options"):
            formatter.write_dl([record for record in shown if record is not None])
        formatter.write_paragraph()
        formatter.write_text("Common options, such as --offline and -v: isobuilder --help")
        examples = EXAMPLES.get(ctx.command_path.partition(" ")[2], ())
        if examples:
            with formatter.section("Examples"):
                for example in examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")


class AppGroup(click.Group):
    """A group whose commands take the common options."""

    command_class = AppCommand
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _judge_texts(self.params)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named first; a name that is none gets the nearest ones."""
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name) is not None or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from difflib import get_close_matches

        error = click.UsageError(f"No command {name!r}.", ctx)
        close = get_close_matches(name, self.list_commands(ctx), n=3, cutoff=0.6)
        error.hint = (  # type: ignore[attr-defined]
            f"did you mean {' or '.join(f'{ctx.command_path} {word}' for word in close)}?"
            if close
            else None
        )
        raise error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its whole first line."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, (command.help or "").partition("\n")[0]))
        if not rows:
            return
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class LazyGroup(AppGroup):
    """A group that imports the module of a command when the command is called.

    ``lazy`` has the module of each; there it is called like the command, with an underscore behind
    what is a word of Python's.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order in which one meets them."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of one command and return the command."""
        if cmd_name not in self._lazy:
            return None
        module = import_module(self._lazy[cmd_name])
        command = getattr(module, f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is not a command")
        return command


def set_up_logging(verbosity: int) -> None:
    """Send log lines to stderr: warnings always, more with -v and -vv."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(levelname)s: %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(map(printable, super().formatException(ei).splitlines()))


def load_lock_file(path: Path) -> Lock:
    """Return the lock in ``path``.

    Raises:
        InputError: it is not a lock; an ISO in its place is told as such.
    """
    from isobuilder.model.loading import load_lock

    refuse_iso(path, "a lock")
    return load_lock(path)


def refuse_iso(path: Path, expected: str) -> None:
    """Raise an ``InputError`` if a file is called like an ISO where another is expected."""
    from isobuilder.errors import InputError

    if path.suffix == ".iso":
        raise InputError(
            f"{path}: expected {expected}, got an ISO",
            hint=f"name the .lock.json beside it; isobuilder inspect {path} tells what is on it",
        )


def plural(number: int, noun: str) -> str:
    """Return ``1 error`` or ``2 errors``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
