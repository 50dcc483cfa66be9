"""How the program ends: errors in two lines, exit codes, signals, and streams that are closed."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Generic, Self, TypeVar

import click

from isobuilder.cli.telling import tell
from isobuilder.errors import (
    DifferencesFound,
    EnvironmentProblem,
    InputError,
    IntegrityError,
    IsobuilderError,
    MoldError,
    PartlyDone,
    UpstreamError,
    UsageProblem,
)

_ANYHOW = "isobuilder-anyhow"
_AGAIN = 0.05  # seconds until what swallowed an interruption has come back
INTERRUPTED = 130  # as shells say it of Ctrl-C: 128 and the signal's number
_READER_GONE = 141
_BUG = 1
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EIO}
_GRAVITY: tuple[type[IsobuilderError], ...] = (  # what trying again may mend comes last
    IntegrityError,
    InputError,
    UsageProblem,
    EnvironmentProblem,
    MoldError,
    DifferencesFound,
    UpstreamError,
    PartlyDone,
)
_TRY_AGAIN = (
    "run the same command again, what was fetched stays; "
    "isobuilder config show tells which mirrors are asked"
)

Result = TypeVar("Result")


def told(error: BaseException, *, verbosity: int) -> int:
    """Tell the person what ended the program, and return the exit code."""
    match error:
        case _ if _was_interrupted(error):
            if verbosity > 0 and not isinstance(error, KeyboardInterrupt):
                _show_trace(error)
            tell("error: interrupted; the same command carries on from here", err=True)
            return INTERRUPTED
        case IsobuilderError():
            _show_error(error, verbose=verbosity > 1)
            return error.exit_code
        case BrokenPipeError():
            # The reader of our output has gone: nothing more to say, and nobody to say it to.
            _discard_output()
            return _READER_GONE
        case OSError(filename=None) if error.errno in _DISK_FULL:
            _discard_output()
            tell(f"error: cannot write the result: {error.strerror}", err=True)
            tell("hint: free space there and run the command again", err=True)
            return EnvironmentProblem.exit_code
    if verbosity > 0:
        _show_trace(error)
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _MACHINE):
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        tell(f"error: {place}{error.strerror}", err=True)
        return EnvironmentProblem.exit_code
    tell(f"error: bug in isobuilder: {type(error).__name__}: {error}", err=True)
    tell("hint: run it again with -v and report what it prints", err=True)
    return _BUG


def _was_interrupted(error: BaseException) -> bool:
    """Say if an interruption is what went wrong: some code makes an error of its own of it."""
    seen: set[int] = set()  # causes may go in a circle
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, KeyboardInterrupt):
            return True
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            waiting += [cause.__cause__, cause.__context__]
    return False


def _show_trace(error: BaseException) -> None:
    for part in traceback.format_exception(error):
        for line in part.splitlines():
            tell(line, err=True)


def _show_error(error: IsobuilderError, *, verbose: bool = False) -> None:
    """Print an error, and what to do about it."""
    for line in error.told():
        tell(line, err=True)
    if error.hint is None and isinstance(error, UpstreamError):
        tell(f"hint: {_TRY_AGAIN}", err=True)
    if verbose:
        _show_trace(error)


def _where_it_belongs(option: str, context: click.Context) -> str | None:
    """Return where an option stands that a group does not have but its commands do."""
    group = context.command
    if not isinstance(group, click.Group):
        return None
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command and any(option in parameter.opts for parameter in command.params):
            return f"options follow the command: {context.command_path} {name} {option}"
    return None


def show_usage(error: click.ClickException) -> None:
    """Print what click objects to in the form of every other error."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    hint = getattr(error, "hint", None)
    if isinstance(error, click.NoSuchOption):
        message = error.message
        if isinstance(context, click.Context):
            hint = _where_it_belongs(error.option_name, context)
        if hint is None and error.possibilities:
            hint = f"did you mean {' or '.join(sorted(error.possibilities))}?"
    message = message.rstrip(".")
    tell(f"error: {message[:1].lower()}{message[1:]}", err=True)
    if hint is None and context is not None:
        hint = f"{context.command_path} --help tells what it takes"
    if hint:
        tell(f"hint: {hint}", err=True)


def gravest(errors: Iterable[IsobuilderError]) -> type[IsobuilderError]:
    """Return the kind whose exit code stands for all of several errors, whatever their order."""
    codes = {error.exit_code for error in errors}
    return next((kind for kind in _GRAVITY if kind.exit_code in codes), IsobuilderError)


def raise_gravest(errors: Sequence[IsobuilderError]) -> None:
    """Tell all of several errors, if there are any.

    Raises:
        IsobuilderError: the last of the gravest kind; the others were printed.
    """
    if not errors:
        return
    code = gravest(errors).exit_code
    last = [error for error in errors if error.exit_code == code][-1]
    for error in errors:
        if error is not last:
            _show_error(error)
    raise last


@dataclass(slots=True)
class Attempts(Generic[Result]):
    """What became of several independent things, each tried in a ``with`` block of this.

    An error of ours ends its block and is kept: one that fails does not keep the others from
    their turn.
    """

    results: list[Result] = field(default_factory=list)
    done: int = 0
    failures: list[IsobuilderError] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> bool:
        if isinstance(error, IsobuilderError):
            self.failures.append(error)
            return True
        self.done += error is None
        return False

    def raise_failures(self) -> None:
        """Tell what failed, after the results were shown.

        Raises:
            PartlyDone: some failed, as was printed, and some did not, or not wholly.
            IsobuilderError: all failed; the gravest error, the others' were printed.
        """
        if not self.failures:
            return
        partly = sum(isinstance(failure, PartlyDone) for failure in self.failures)
        if self.done or (partly and len(self.failures) > 1):
            for failure in self.failures:
                _show_error(failure)
            raise PartlyDone(
                self._count(partly),
                hint="mend what the errors above say, then run the same command again",
            )
        raise_gravest(self.failures)

    def _count(self, partly: int) -> str:
        total, failed = len(self.failures) + self.done, len(self.failures) - partly
        parts = [f"{failed} of {total} failed"] if failed else []
        if partly:
            parts.append(f"{partly}{'' if failed else f' of {total}'} done in part")
        if self.done:
            parts.append("the others are done")
        return ", ".join(parts)


def prepare_streams() -> None:
    """Give stdin, stdout and stderr a place where one is closed, and let stdout take any path.

    Else the next file that is opened, perhaps a blob, would be what programs take for their stderr.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    codecs.register_error(_ANYHOW, _encoded_anyhow)
    ours = {"strict", "surrogateescape"}
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ours:
        sys.stdout.reconfigure(errors=_ANYHOW)


def _encoded_anyhow(error: UnicodeError) -> tuple[bytes, int]:
    """Give what a terminal's encoding has no form for: the name of a file as the bytes it is."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    import json  # rarely wanted

    character = error.object[error.start]
    is_byte = 0xDC80 <= ord(character) <= 0xDCFF  # of a name that is no text
    escaped = json.dumps(character)[1:-1].encode()  # which is right in JSON as well
    return bytes([ord(character) - 0xDC00]) if is_byte else escaped, error.start + 1


def _discard_output() -> None:
    """Let what is still buffered for stdout go nowhere, silently."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end us as Ctrl-C does: no temporary file or machine stays.

    The first signal ends us; those that follow do not disturb what is cleared up then, nor the end
    of the interpreter. Who starts us with nohup means it. Where the interpreter swallows it, in
    what a library calls back, it is sent again.
    """
    numbers = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]
    wanted = [n for n in numbers if n == signal.SIGTERM or signal.getsignal(n) != signal.SIG_IGN]

    def stop(_signal: int, _frame: FrameType | None) -> None:
        for number in wanted:
            signal.signal(number, signal.SIG_IGN)  # also while the interpreter ends
        raise KeyboardInterrupt

    def listen() -> None:
        for number in wanted:
            signal.signal(number, stop)

    before = sys.unraisablehook

    def swallowed(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        listen()
        with contextlib.suppress(RuntimeError):  # no thread starts any more: it ends anyway
            threading.Timer(_AGAIN, os.kill, [os.getpid(), signal.SIGTERM]).start()

    listen()
    sys.unraisablehook = swallowed
    try:
        yield
    finally:
        sys.unraisablehook = before
