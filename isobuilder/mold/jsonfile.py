"""A JSON file that a person names becomes typed data, or one sentence about its first mistake."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from isobuilder.documents.json import DOCUMENT
from isobuilder.errors import InputError
from isobuilder.files import read_bytes
from isobuilder.model.validation import NewerFormat, cause_of, model_of

M = TypeVar("M", bound=BaseModel)


def read_json_file(path: Path, model: type[M], *, hint: str) -> M:
    """Return the model in the file.

    Raises:
        InputError: the file is missing or holds something else.
    """
    data = read_bytes(path, DOCUMENT.size)
    try:
        return model_of(data, str(path), model)
    except NewerFormat:
        raise
    except InputError as error:
        raise InputError(str(error), hint=hint) from None


def unexpected(path: Path, error: ValidationError, *, hint: str) -> InputError:
    """Return the error for a file whose content is not what ``hint`` says."""
    return InputError(f"{path}: {cause_of(error, 'the file')}", hint=hint)
