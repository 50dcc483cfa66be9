"""What is wrong in a file that a person wrote, said so that the place is found at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from isobuilder.errors import InputError
from isobuilder.text import printable, without_login

SHOWN = 50
"""Mistakes that a message lists; a file with more of them is not the file somebody meant."""

_COMPARED = 300  # names with which a misspelt one is compared
_LONGEST = 80  # characters of a name that are shown
_LISTED = 50  # names that a hint lists; the settings of a file have fewer


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; line and column count from 1, and are None where only a file is known."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        if self.line is None:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: where, at which key, what is the case, and the way out."""

    mark: Mark
    path: str  # of keys, e.g. images.extra[3]; empty for the whole file
    fact: str
    hint: str | None = None

    def to_data(self) -> dict[str, str | int | None]:
        """Return it as plain JSON values."""
        return {
            "file": self.mark.file,
            "line": self.mark.line,
            "column": self.mark.column,
            "path": self.path,
            "fact": self.fact,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        key = f" {self.path}:" if self.path else ""
        return f"{self.mark}:{key} {self.fact}"


class InputErrors(InputError):
    """All mistakes of a file at once: one line for each, and under it a line ``hint: ...``."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        if len(self.mistakes) == 1:
            super().__init__(str(self.mistakes[0]), hint=self.mistakes[0].hint)
            return
        first = self.mistakes[:SHOWN]
        texts = [str(mistake) for mistake in first]
        if len(self.mistakes) > SHOWN:
            texts.append(f"and {len(self.mistakes) - SHOWN} more")
        super().__init__(*texts)
        self._hints = [mistake.hint and printable(mistake.hint) for mistake in first]

    def __str__(self) -> str:
        """Return each mistake, with its hint under it."""
        if len(self.mistakes) == 1:
            return super().__str__()
        return "\n".join(line.removeprefix("error: ") for line in self.told())

    def told(self) -> list[str]:
        """Return each mistake, with its hint under it."""
        if len(self.mistakes) == 1:
            return super().told()
        found: list[str] = []
        for line, hint in zip_longest(self.lines, self._hints):
            found += [f"error: {line}", *([f"hint: {hint}"] if hint else [])]
        return found


def key_path(steps: Iterable[str | int]) -> str:
    """Return how the steps to a value are written: ``images.extra[3]``, ``labels['a.b']``."""
    text = ""
    for one in steps:
        step = without_login(one) if isinstance(one, str) else one
        if isinstance(step, int):
            text += f"[{step}]"
        elif len(step) > _LONGEST:
            text += f"[{step[:_LONGEST]!r}...]"
        elif step.replace("-", "_").isidentifier():
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the hint for a word that is not among the known ones.

    It takes a millisecond for each hundred of them, so of many only those that begin alike are
    compared, and whoever has many words to hint at does so for the first ``SHOWN``.
    """
    alike = [one for one in known if one[:1] == word[:1]] if len(known) > _COMPARED else known
    close = difflib.get_close_matches(word[:_LONGEST], alike[:_COMPARED], n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0][:_LONGEST]!r}?"
    if not known:
        return "nothing is known here"
    listed = [one[:_LONGEST] for one in sorted(known)]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return f"known here: {', '.join(listed[:_LISTED])}{more}"
