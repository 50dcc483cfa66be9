"""What every command shares: settings, the store, progress, and errors in two lines."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from isobuilder.errors import EnvironmentProblem, IsobuilderError, PartlyDone, UpstreamError

if TYPE_CHECKING:
    from isobuilder.http import Http
    from isobuilder.model.config import Config
    from isobuilder.model.lock import Lock
    from isobuilder.progress import Progress
    from isobuilder.store import Store

INTERRUPTED = 130  # as shells say it of Ctrl-C: 128 and the signal's number
READER_GONE = 141
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TRY_AGAIN = (
    "run the same command again, what was fetched stays; "
    "isobuilder config show tells which mirrors are asked"
)

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


Item = TypeVar("Item")
Result = TypeVar("Result")


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
    def store(self) -> Store:
        """The store of this user, or the one that was chosen."""
        from isobuilder.store import Store, default_root

        chosen = self.config.store
        return Store(Path(chosen).expanduser() if chosen else default_root())

    @cached_property
    def http(self) -> Http:
        """The opener of outgoing connections, closed when the command ends."""
        from isobuilder.http import Http, settings_of

        return self.closing.enter_context(Http(settings_of(self.config)))

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
            text = json.dumps({"event": "message", "text": text}, ensure_ascii=False)
        click.echo(text, err=True)

    def show_json(self, value: Any) -> None:
        """Print a result for machines."""
        click.echo(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


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


def _common_options(*, root: bool = False) -> list[click.Option]:
    """Return the options that stand before or after any command's name.

    Only those of the root look at variables: else a variable, read again for the command, would win
    over a flag before the command's name.
    """
    hidden: dict[str, Any] = {"expose_value": False}
    styles = click.Choice(["auto", "bar", "plain", "json", "none"])
    return [
        click.Option(
            ["--config"],
            type=FILE,
            envvar="ISOBUILDER_CONFIG" if root else None,
            help="Settings file.",
            callback=_set("config_file"),
            **hidden,
        ),
        click.Option(
            ["--store"],
            metavar="DIR",
            help="Where blobs are kept.",
            callback=_set_flag("store"),
            **hidden,
        ),
        click.Option(
            ["-j", "--jobs"],
            type=click.IntRange(1, 64),
            help="Transfers at once.",
            callback=_set_flag("jobs"),
            **hidden,
        ),
        click.Option(
            ["--per-host"],
            type=click.IntRange(1, 64),
            help="Transfers at once to one host.",
            callback=_set_flag("per_host"),
            **hidden,
        ),
        click.Option(
            ["--limit-rate"],
            metavar="BYTES",
            help="Bytes per second over all transfers, such as 20M.",
            callback=_set_flag("limit_rate"),
            **hidden,
        ),
        click.Option(
            ["--offline"],
            is_flag=True,
            help="Use only what the store has.",
            callback=_set_flag("offline"),
            **hidden,
        ),
        click.Option(
            ["--progress"],
            type=styles,
            envvar="ISOBUILDER_PROGRESS" if root else None,
            help="How long work shows on stderr.  [default: auto]",
            callback=_set("progress_style"),
            **hidden,
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            help="Print results and errors only.",
            callback=_set("quiet"),
            **hidden,
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            help="Say more; -vv logs requests.",
            callback=_set_verbosity,
            **hidden,
        ),
    ]


class AppCommand(click.Command):
    """A command that also takes the common options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken = {option for parameter in self.params for option in parameter.opts}
        self.params.extend(
            option for option in _common_options() if not taken.intersection(option.opts)
        )


class AppGroup(click.Group):
    """A group whose commands take the common options."""

    command_class = AppCommand
    group_class = type


class RootGroup(AppGroup):
    """The whole program: imports a command when it is called, and turns errors into exit codes."""

    lazy: dict[str, tuple[str, str]]

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy
        self.params.extend(_common_options(root=True))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order in which one meets them."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of one command and return the command."""
        if cmd_name not in self.lazy:
            return None
        command = getattr(import_module(self.lazy[cmd_name][0]), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the program; what click objects to looks like every other error."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        _open_closed_streams()
        _print_any_path()
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _show_usage(error)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; every failure becomes two lines and its exit code."""
        app = ctx.ensure_object(App)
        _become_interruptible()
        with app.closing:
            try:
                return super().invoke(ctx)
            except IsobuilderError as error:
                show_error(error, verbose=app.verbosity > 1)
                ctx.exit(error.exit_code)
            except KeyboardInterrupt:
                click.echo("error: interrupted; the same command carries on from here", err=True)
                ctx.exit(INTERRUPTED)
            except BrokenPipeError:
                # The reader of our output has gone: nothing more to say, and nobody to say it to.
                _discard_output()
                ctx.exit(READER_GONE)
            except (click.ClickException, click.exceptions.Exit, click.Abort):
                raise
            except Exception as error:  # noqa: BLE001 - the last door: a bug is reported as one
                if isinstance(error, OSError) and error.errno in _DISK_FULL:
                    # Every file of ours names its place; what is left is the result on stdout.
                    _discard_output()
                    click.echo(f"error: cannot write the result: {error.strerror}", err=True)
                    click.echo("hint: free space there and run the command again", err=True)
                    ctx.exit(EnvironmentProblem.exit_code)
                if app.verbosity > 0:
                    traceback.print_exc()
                click.echo(f"error: bug in isobuilder: {type(error).__name__}: {error}", err=True)
                click.echo("hint: run it again with -v and report what it prints", err=True)
                ctx.exit(1)


def show_error(error: IsobuilderError, *, verbose: bool = False) -> None:
    """Print an error, and what to do about it."""
    for line in str(error).splitlines() or [""]:
        click.echo(line if line.startswith(("error: ", "hint: ")) else f"error: {line}", err=True)
    hint = error.hint
    if hint is None and isinstance(error, UpstreamError):
        hint = _TRY_AGAIN
    if hint:
        click.echo(f"hint: {hint}", err=True)
    if verbose:
        traceback.print_exception(error)


def _show_usage(error: click.ClickException) -> None:
    message = error.format_message().rstrip(".")
    click.echo(f"error: {message[:1].lower()}{message[1:]}", err=True)
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(f"hint: {context.command_path} --help tells what it takes", err=True)


def _open_closed_streams() -> None:
    """Give stdin, stdout and stderr a place when we were started with one of them closed.

    Else the next file that is opened, perhaps a blob, would be what programs take for their stderr.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _print_any_path() -> None:
    """Let stdout take names of files that are no text, as the bytes they are."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="surrogateescape")


def _discard_output() -> None:
    """Let what is still buffered for stdout go nowhere, silently."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _become_interruptible() -> None:
    """Let SIGTERM end us as Ctrl-C does, so that temporary files go away."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def set_up_logging(verbosity: int) -> None:
    """Send log lines to stderr: warnings always, more with -v and -vv."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(levelname)s: %(name)s: %(message)s", force=True
    )


def load_lock_file(path: Path) -> Lock:
    """Return the lock in ``path``.

    Raises:
        InputError: it is not a lock; a recipe or an ISO in its place is told as such.
    """
    from isobuilder.errors import InputError
    from isobuilder.model.document import load_lock

    if path.suffix in {".yaml", ".yml"}:
        raise InputError(
            f"{path}: expected a lock, got a recipe",
            hint=f"run isobuilder lock {path}, then name the lock it prints",
        )
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


def for_each(items: Sequence[Item], act: Callable[[Item], Result]) -> list[Result]:
    """Return what ``act`` makes of each item; one that fails does not keep the others from theirs.

    Raises:
        PartlyDone: some failed, as was printed, and some did not.
        IsobuilderError: all failed; the last one's error, the others' were printed.
    """
    results: list[Result] = []
    failures: list[IsobuilderError] = []
    for item in items:
        try:
            results.append(act(item))
        except IsobuilderError as error:
            failures.append(error)
    if not failures:
        return results
    for failure in failures[: None if results else -1]:
        show_error(failure)
    if not results:
        raise failures[-1]
    raise PartlyDone(
        f"{len(failures)} of {len(items)} failed, the others are done",
        hint="mend what the errors above say, then run the same command again",
    )


def plural(number: int, noun: str) -> str:
    """Return ``1 error`` or ``2 errors``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Return rows in aligned columns; no row, no table."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join(lines)


def human_size(size: int | None) -> str:
    """Return a size in bytes as a person reads it; a question mark when it is not known."""
    if size is None:
        return "?"
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError
