"""Every error raised on purpose, with the exit code the command line gives it."""

from __future__ import annotations

from typing import ClassVar

from isobuilder.text import printable

_LONGEST = 4000  # characters of a sentence; one may list addresses and reasons


class IsobuilderError(Exception):
    """One sentence with place, fact and both values, and a hint when the way out is known.

    Whatever words of others are in it, a sentence is one line that a terminal only shows. ``more``
    are further sentences, where several things are wrong.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *more: str, hint: str | None = None) -> None:
        self.lines = tuple(printable(line, _LONGEST) for line in (message, *more))
        super().__init__("\n".join(self.lines))
        self.hint = None if hint is None else printable(hint, _LONGEST)

    def told(self) -> list[str]:
        """Return the lines a person reads, each with what it is."""
        hints = [f"hint: {self.hint}"] if self.hint else []
        return [*(f"error: {line}" for line in self.lines), *hints]


class UsageProblem(IsobuilderError):
    """The command was called in a way that makes no sense."""

    exit_code = 2


class InputError(IsobuilderError):
    """A recipe, lock or configuration is wrong; its author can mend it."""

    exit_code = 3


class UpstreamError(IsobuilderError):
    """A server or the network failed; trying again later may help."""

    exit_code = 4


class IntegrityError(IsobuilderError):
    """Bytes are not what was promised; nobody may waive it."""

    exit_code = 5


class EnvironmentProblem(IsobuilderError):
    """This machine lacks something: a program, disk space, a permission."""

    exit_code = 6


class PartlyDone(IsobuilderError):
    """Some of several independent things succeeded and some did not."""

    exit_code = 7


class MoldError(IsobuilderError):
    """A Mold management server refused, or what it answers makes no sense."""

    exit_code = 8


class DifferencesFound(IsobuilderError):
    """A comparison was asked for and found differences."""

    exit_code = 9
