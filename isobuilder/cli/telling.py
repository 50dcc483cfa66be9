"""What commands print: the only door through which text reaches the terminal.

Most of it has words of others in it: of servers, ISOs, recipes. Each line is one that a terminal
only shows, and nothing of it can look like another line of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from isobuilder.errors import UsageProblem
from isobuilder.text import printable, width

_LONGEST = 8000  # characters of a line


def tell(text: object = "", *, err: bool = False) -> None:
    """Print one line, on stderr with ``err``."""
    click.echo(printable(str(text), _LONGEST), err=err)


def tell_path(path: object) -> None:
    """Print the path of what was made, as the bytes it is: scripts open it."""
    click.echo(path, file=sys.stdout)  # else click puts ? for bytes where the locale is ASCII


def tell_text(text: str | bytes, *, nl: bool = True) -> None:
    """Print a text of several lines, each for itself: a document that we wrote, or a table."""
    lines = (text if isinstance(text, str) else text.decode("utf-8", "replace")).split("\n")
    click.echo("\n".join(printable(line, len(line) * 12 + 3) for line in lines), nl=nl)


def tell_json(text: str) -> None:
    """Print JSON of ``as_json``, which is fit for a terminal."""
    click.echo(text, file=sys.stdout)


def agreed(question: str) -> bool:
    """Ask a yes-or-no question on stderr; no is what is meant by an empty answer.

    Raises:
        UsageProblem: nobody is there to answer; whoever asks has the option ``--yes``.
    """
    try:
        return click.confirm(printable(question, _LONGEST), err=True)
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):  # Ctrl-C is an answer
            raise
        click.echo(err=True)  # ends the line of the question
        raise UsageProblem("nobody answered the question", hint="answer it with --yes") from None


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Return rows in aligned columns; no row, no table."""
    if not rows:
        return ""
    shown = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(width(row[i]) for row in shown) for i in range(len(header))]
    lines = [
        "  ".join(
            cell + " " * (most - width(cell)) for cell, most in zip(row, widths, strict=True)
        ).rstrip()
        for row in shown
    ]
    return "\n".join(lines)
