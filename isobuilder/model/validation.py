"""Values become models, and pydantic's errors mistakes: the place, what was found and expected.

Files of people end in ``check``, ``build`` or ``parse_json``, which tell all that is wrong with its
place; what programs wrote ends in ``model_of``, which tells the first of it.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from isobuilder.documents.json import (
    DOCUMENT,
    DoubledKey,
    JsonLimits,
    JsonProblem,
    json_tree,
    parse,
    value_of,
)
from isobuilder.documents.mistakes import SHOWN, InputErrors, Mark, Mistake, nearest
from isobuilder.documents.nodes import Items, Map, Node, Scalar, locate, path_text, plain
from isobuilder.documents.yaml import decode
from isobuilder.errors import InputError, IsobuilderError
from isobuilder.files import read_bytes
from isobuilder.model import architecture
from isobuilder.model.base import ONE_LINE
from isobuilder.text import without_login

M = TypeVar("M", bound=BaseModel)

_NEWER = "a newer isobuilder wrote it: use that one"


class NewerFormat(InputError):
    """A newer isobuilder wrote a document, so nothing of it is known to be wrong."""


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "date_type": "a date such as 2026-10-08",
    "date_parsing": "a date such as 2026-10-08",
    "date_from_datetime_parsing": "a date such as 2026-10-08",
    "date_from_datetime_inexact": "a date such as 2026-10-08",
}

_FORMS = {  # the pattern of a field -> what a person calls it
    r"^[a-z0-9][a-z0-9._-]{0,99}$": "a name of lower-case letters, digits, dot, dash, underscore",
    architecture.PATTERN: " or ".join(architecture.ARCHITECTURES),
    r"^0[0-7]{3}$": 'a file mode such as "0755"',
    r"^[0-9a-f]{64}$": "64 lower-case hexadecimal digits",
    r"^[0-9a-f]{40}$": "a commit of 40 hexadecimal digits",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "a date such as 2026-10-08",
    r"^sha256:[0-9a-f]{64}$": "sha256: and 64 lower-case hexadecimal digits",
    r"^[^@\s]+@sha256:[0-9a-f]{64}$": "the name of an image with its digest, name@sha256:...",
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$": "a name of lower-case letters, digits and dashes",
    r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$": "a MAC address such as 52:54:00:12:34:56",
    ONE_LINE: "one line",
    r"^[a-z_][a-z0-9_-]{0,31}$": "a user's name of lower-case letters, digits, dash, underscore",
    r"^[a-zA-Z0-9_.*-]{1,15}$": "the name of an interface, of at most 15 characters, such as ens3",
    r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$": "at most 30 lower-case letters, digits and dashes",
    r"^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$": "at most 53 lower-case letters, digits and dashes",
    r"^[a-z0-9-]{1,40}$": "at most 40 lower-case letters, digits and dashes",
    r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$": "the name of a bucket, 3 to 63 lower-case letters, "
    "digits, dots and dashes",
    r"^([A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?$": "a path such as isos/lab",
    r"^v?[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?$": "a whole version such as 1.36.5",
    r"^1\.(0|[1-9][0-9]{0,3})$": "a minor such as 1.36",
    r"^[0-9]{1,4}(\.[0-9]{1,4})?$": "a line of releases such as 2.3",
    r"^[0-9A-F]{40}([0-9A-F]{24})?$": "a fingerprint of 40 or 64 upper-case hexadecimal digits",
    r"^[^\x00]+$": "some text, without NUL characters",
}


def check(node: Map, model: type[M]) -> tuple[M | None, list[Mistake]]:
    """Return the model that ``node`` describes, or all reasons why it describes none."""
    # Through JSON, because strict models take a list for a tuple only from there.
    text = json.dumps(plain(node))
    if "\\ud" in text and (undecoded := list(_undecoded(node, node, ()))):
        return None, undecoded
    try:
        return model.model_validate_json(text), []
    except ValidationError as error:
        return None, _mistakes_of(error, node, model)


def _undecoded(root: Map, node: Node, steps: tuple[str | int, ...]) -> Iterator[Mistake]:
    """Yield each value that has bytes of another encoding, as options and variables may."""
    if isinstance(node, Map):
        for key, entry in node.entries.items():
            yield from _undecoded(root, entry.value, (*steps, key))
    elif isinstance(node, Items):
        for number, item in enumerate(node.items):
            yield from _undecoded(root, item, (*steps, number))
    elif isinstance(node.value, str) and not node.value.isascii():
        try:
            node.value.encode()
        except UnicodeEncodeError:
            yield Mistake(node.mark, path_text(root, steps), "expected text in UTF-8")


def build(node: Map, model: type[M]) -> M:
    """Return the model that ``node`` describes.

    Raises:
        InputErrors: all reasons why it describes none.
    """
    found, mistakes = check(node, model)
    if found is None:
        raise InputErrors(mistakes)
    return found


def load_json(path: Path, model: type[M]) -> M:
    """Return the model in a JSON file.

    Raises:
        InputError: the file cannot be read or is too large.
        InputErrors: all that is wrong with it.
    """
    return parse_json(read_bytes(path, DOCUMENT.size), str(path), model)


def parse_json(data: bytes, place: str, model: type[M], limits: JsonLimits = DOCUMENT) -> M:
    """Return the model in a JSON text that ``place`` names in messages.

    Raises:
        InputErrors: all that is wrong with it.
    """
    text = decode(data, place)
    try:
        value_of(text.encode(), limits)
    except DoubledKey:
        raise InputErrors(json_tree(text, place).doubled) from None
    except JsonProblem as problem:
        mark = Mark(place, problem.line, problem.column)
        raise InputErrors([Mistake(mark, "", str(problem))]) from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        tree = json_tree(text, place)
        raise InputErrors(_mistakes_of(error, tree.root, model)) from None


def model_of(
    data: bytes,
    place: str,
    model: type[M],
    limits: JsonLimits = DOCUMENT,
    error: type[IsobuilderError] = InputError,
) -> M:
    """Return the model in a JSON text that a program wrote; only its first mistake is told.

    Raises:
        NewerFormat: a newer isobuilder wrote it.
        error: what else is wrong with it, as one sentence that begins with ``place``.
    """
    parse(data, place, limits, error)
    try:
        return model.model_validate_json(data)
    except ValidationError as wrong:
        for detail in wrong.errors(include_url=False):
            if _is_newer(detail, detail["input"]):
                known = " or ".join(_words(detail))
                fact = f"is of format {detail['input']}, this isobuilder reads format {known}"
                raise NewerFormat(f"{place}: {fact}", hint=_NEWER) from None
        raise error(f"{place}: {cause_of(wrong)}") from None


def cause_of(error: ValidationError, whole: str = "") -> str:
    """Return the first mistake as ``where: what``; ``whole`` is where that is no single value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"]) or whole
    return f"{where}: {first['msg']}" if where else first["msg"]


def _mistakes_of(error: ValidationError, root: Node, model: type[M]) -> list[Mistake]:
    """Return one mistake for each error of ``model``, with the place of its value in ``root``.

    They are in the order of the text; those that a message shows also have their hints. What a
    newer isobuilder wrote has one: nothing else of it is known to be wrong.
    """
    details = [one for one in error.errors(include_url=False) if not _other_words(one, root)]
    details = [one for one in details if _is_of_newer(one, root)] or details
    found = [(_mark_of(detail, root), detail) for detail in details]
    found.sort(key=lambda one: (one[0].file, one[0].line or 0, one[0].column or 0))
    return [
        _mistake(mark, detail, root, model, suggest=number < SHOWN)
        for number, (mark, detail) in enumerate(found)
    ]


def _steps(detail: ErrorDetails, root: Node) -> list[str | int]:
    """Return where in ``root`` a mistake is: pydantic's path also names alternatives of a type."""
    path = _path(detail)
    missing = path.pop() if detail["type"] == "missing" else None
    steps: list[str | int] = []
    for step in path:
        if locate(root, [*steps, step])[1] is not None:
            steps.append(step)
    if missing is not None:
        steps.append(missing)
    return steps


def _path(detail: ErrorDetails) -> list[str | int]:
    return [step for step in detail["loc"] if step != "[key]"]


def _other_words(detail: ErrorDetails, root: Node) -> bool:
    """Tell if it only says that a value is not one of the words that could stand in its place."""
    path = _path(detail)
    return detail["type"] == "literal_error" and path[-1:] != _steps(detail, root)[-1:]


def _is_of_newer(detail: ErrorDetails, root: Node) -> bool:
    node = locate(root, _steps(detail, root))[1]
    return _is_newer(detail, node.value if isinstance(node, Scalar) else None)


def _is_newer(detail: ErrorDetails, number: object) -> bool:
    """Tell if the mistake is a format with a higher number than those that we read."""
    return (
        (detail["type"], *detail["loc"]) == ("literal_error", "schema")
        and isinstance(number, int)
        and number > max(int(word) for word in _words(detail))
    )


def _words(detail: ErrorDetails) -> list[str]:
    """Return what could stand in the place of a value that is none of a few."""
    first, *last = str(detail["ctx"]["expected"]).split(" or ")
    return [word.strip("'") for word in (*first.split(", "), *last)]


def _mark_of(detail: ErrorDetails, root: Node) -> Mark:
    steps = _steps(detail, root)
    if detail["type"] == "extra_forbidden":
        parent = locate(root, steps[:-1])[1]
        if isinstance(parent, Map):
            return parent.entries[str(steps[-1])].mark
    return locate(root, steps)[0]


def _mistake(
    mark: Mark, detail: ErrorDetails, root: Node, model: type[BaseModel], *, suggest: bool
) -> Mistake:
    steps, kind = _steps(detail, root), detail["type"]
    if kind == "missing":
        fact, hint = f"the key {steps[-1]!r} is missing", None
        return Mistake(mark, path_text(root, steps[:-1]), fact, hint)
    if kind == "extra_forbidden":
        key = str(steps[-1])
        hint = nearest(key, _keys_at(model, steps[:-1])) if suggest else None
        return Mistake(
            mark, path_text(root, steps[:-1]), f"unknown key {without_login(key)[:80]!r}", hint
        )
    node = locate(root, steps)[1]
    if detail["loc"][-1:] == ("[key]",):
        node = Scalar(str(steps[-1]), str(steps[-1]), mark, quoted=True)
    fact, hint = _fact(detail, steps, node)
    if _is_of_newer(detail, root):
        hint = _NEWER
    return Mistake(mark, path_text(root, steps), fact, hint)


def _fact(
    detail: ErrorDetails, steps: Sequence[str | int], node: Node | None
) -> tuple[str, str | None]:
    kind, context = detail["type"], detail.get("ctx", {})
    found = _found(node)
    wants_text = kind == "string_type" or (kind == "value_error" and steps[-1:] == ["kubernetes"])
    if wants_text and isinstance(node, Scalar) and not isinstance(node.value, str):
        return _not_text(node, steps)
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {found}", None
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern", ""))
        return f"expected {_FORMS.get(pattern, f'text like {pattern}')}, found {found}", None
    if kind == "literal_error":
        words = _words(detail)
        hint = nearest(node.text, words) if isinstance(node, Scalar) and len(words) > 1 else None
        return f"expected {context['expected']}, found {found}", hint
    if kind == "value_error":
        return str(context["error"]), None
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, found {found}", None


def _not_text(node: Scalar, steps: Sequence[str | int]) -> tuple[str, str | None]:
    if node.value is None:
        return "expected text, found nothing", None
    read_as = "true or false" if isinstance(node.value, bool) else "a number"
    meant = node.text
    if steps[-1:] == ["kubernetes"] and isinstance(node.value, float):
        meant += ".0"
    return f"{node.text} is read as {read_as}, expected text", f'write "{meant}"'


def _found(node: Node | None) -> str:
    if node is None:
        return "something else"
    if isinstance(node, Map):
        return "keys and values"
    if isinstance(node, Items):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, str):
        shown = without_login(node.value)
        return repr(shown) if len(shown) <= 80 else repr(shown[:80]) + "..."
    return node.text[:80]


def _keys_at(model: type[BaseModel], steps: Sequence[str | int]) -> tuple[str, ...]:
    """Return the keys that a file may have at the place ``steps`` of ``model``."""
    kind: Any = model
    for step in steps:
        kind = _inside(kind, step)
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return tuple(field.alias or name for name, field in kind.model_fields.items())
    return ()


def _inside(kind: Any, step: str | int) -> Any:
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if step in {name, field.alias}:
                return field.annotation
        return None
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return arguments[1]
    return arguments[0] if get_origin(kind) is tuple and arguments else None


def _bare(kind: Any) -> Any:
    """Return the type without ``Annotated`` and without "or None"."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif get_origin(kind) in {Union, types.UnionType}:
            kind = next(part for part in get_args(kind) if part is not type(None))
        else:
            return kind
