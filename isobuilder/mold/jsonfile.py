"""A person's JSON file becomes typed data, or one sentence about its first mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from isobuilder.errors import InputError

T = TypeVar("T")


def read_json_file(path: Path, parse: Callable[[bytes], T], *, hint: str) -> T:
    """Return what ``parse``, a pydantic reader of JSON, makes of the file.

    Raises:
        InputError: the file is missing or holds something else.
    """
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise unexpected(path, error, hint=hint) from error


def unexpected(path: Path, error: ValidationError, *, hint: str) -> InputError:
    """Return the error for a file whose content is not what ``hint`` says."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return InputError(f"{path}: {place or 'the file'}: {first['msg']}", hint=hint)
