"""What a command writes is nothing of what it reads, so no file that is named goes unasked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import click

from isobuilder.errors import UsageProblem


def refuse_replacing(context: click.Context, new_file: click.Path) -> None:
    """Raise if what a call would write is another file that it names.

    Outputs are the parameters whose type is ``new_file``, the very object.

    Raises:
        UsageProblem: one is an input, or another output too.
    """
    own = [one for one in context.command.params if one.name in context.params]
    named = [(one, list(_paths(one, context.params[str(one.name)]))) for one in own]
    for (output, paths), (other, others) in permutations(named, 2):
        if output.type is new_file:
            for path in paths:
                refuse_same(_called(output), path, _called(other), others)


def refuse_same(option: str, path: Path, other: str, named: Iterable[Path]) -> None:
    """Raise if ``path``, which ``option`` would write, is one of the files that ``other`` names.

    Raises:
        UsageProblem: it is.
    """
    if any(_same(path, one) for one in named):
        raise UsageProblem(
            f"{path}: {option} would replace what {other} names", hint="name another file"
        )


def _called(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.human_readable_name.strip("[].")


def _paths(parameter: click.Parameter, value: Any) -> Iterator[Path]:
    """Give the files that a value names; a text does where it is an argument, or said to be one."""
    if isinstance(value, tuple):
        for one in value:
            yield from _paths(parameter, one)
    elif isinstance(value, str):
        if isinstance(parameter, click.Argument) or "FILE" in (parameter.metavar or ""):
            yield Path(value)
    elif isinstance(path := getattr(value, "path", value), Path):  # BuildSource has one
        yield path


def _same(left: Path, right: Path) -> bool:
    """Say if both are one file, by any name; what is there and no file may be named twice."""
    try:
        if left.exists() and right.exists():
            return left.is_file() and left.samefile(right)
        return os.path.realpath(left) == os.path.realpath(right)
    except (OSError, ValueError):  # of a name that no file has
        return False
