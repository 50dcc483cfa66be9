"""The lines of a check, and what was asked."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from isobuilder.errors import MoldError
from isobuilder.model.registration import RegistrationFile
from isobuilder.mold.address import resolve_host
from isobuilder.mold.api.commands import Mold
from isobuilder.rules.fit import Unfit


class Level(StrEnum):
    """How good a line is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


def setting_command(mold: Mold, name: str, value: str) -> str:
    """Return the command that gives a setting of this very server a value."""
    return " ".join(filter(None, ["isobuilder mold setting", name, value, mold.server.options]))


@dataclass(frozen=True, slots=True)
class Fix:
    """A setting that would mend a problem."""

    setting: str
    old: str
    new: str
    then: str | None = None  # what else a person has to do

    @property
    def ready(self) -> bool:
        """Whether nothing is left to do, so that what it mends is mended at once."""
        return self.then is None

    def restore_command(self, mold: Mold) -> str:
        """Return the command that puts the old value back."""
        return setting_command(mold, self.setting, shlex.quote(self.old))

    def apply(self, mold: Mold) -> None:
        """Change the setting.

        Raises:
            MoldError: refused, or somebody changed it meanwhile.
        """
        current = mold.setting(self.setting)
        if current is None or current.effective != self.old:
            found = "gone" if current is None else repr(current.effective)
            raise MoldError(
                f"{mold.name}: {self.setting} is {found}, it was {self.old!r} when it was checked",
                hint="check again",
            )
        mold.set_setting(self.setting, self.new)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    level: Level
    subject: str
    fact: str
    remedy: str | None = None
    fix: Fix | None = None


@dataclass(slots=True)
class Question:
    """What is to be checked, beside the server itself."""

    registration: RegistrationFile | None = None
    url: str | None = None
    zones: tuple[str, ...] = ()
    direct_download: bool = False
    download: bool = False  # fetch the whole ISO and compare its hash
    ceiling: int = 4 * 1024**3  # bytes of one whose registration does not say its size
    resolve: Callable[[str], Sequence[str]] = resolve_host
    unfit: tuple[Unfit, ...] | None = None  # what does not fit together; None: nobody looked


@dataclass(slots=True)
class Report:
    """The lines so far."""

    lines: list[Line] = field(default_factory=list)

    def ok(self, subject: str, fact: str) -> None:
        """Note something good."""
        self.lines.append(Line(Level.OK, subject, fact))

    def warn(
        self, subject: str, fact: str, remedy: str | None = None, fix: Fix | None = None
    ) -> None:
        """Note something to think about."""
        self.lines.append(Line(Level.WARNING, subject, fact, remedy, fix))

    def problem(
        self, subject: str, fact: str, remedy: str | None = None, fix: Fix | None = None
    ) -> None:
        """Note something that has to be mended."""
        self.lines.append(Line(Level.PROBLEM, subject, fact, remedy, fix))

    @contextmanager
    def looking_at(self, subject: str) -> Iterator[None]:
        """Turn a server's refusal to show something into a line."""
        try:
            yield
        except MoldError as error:
            self.warn(subject, f"cannot be looked at: {error}", error.hint)
