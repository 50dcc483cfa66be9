"""Values -> HTML: both languages in one file, and nothing of a stranger's that acts.

Whatever a template prints is text: first made one line that only shows (no control characters, no
marks that turn the direction of writing), then escaped. Markup is what stands in a template. A
page says to the browser that it may load nothing and run nothing but its own script.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence, Sized
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import Any, Literal, TypeVar

import jinja2
import segno
from markupsafe import Markup, escape

from isobuilder.text import human_size, printable, width

Language = Literal["en", "ko"]

_LONGEST = 300  # characters of a foreign text on a page
_MARGIN = 12  # units beside a label of a drawing
# Units that a letter of 14 takes in the widest of the usual fonts; see ``_units``.
_WIDEST, _CAPITAL, _USUAL, _NARROW = 14.0, 10.8, 9.0, 5.8
_EARLY = 'document.documentElement.classList.add("js")'
"""What a page with a script runs before anything shows, so that nothing moves later."""
_QUIET = 4  # modules around a code; scanners need them
T = TypeVar("T")


def render(template: str, language: Language, *, script: str | None = None, **values: Any) -> bytes:
    """Return the page that ``template`` makes of ``values``, as UTF-8.

    ``language`` is shown first; the other one is in the page too. ``script`` is the name of the
    only script that it may run, which stands in the page.
    """
    style = _resource("style.css")
    code = _resource(script) if script else None
    page = _environment().get_template(template)
    text = page.render(
        language=language,
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(code) if code else None,  # noqa: S704
        early=Markup(_EARLY),  # noqa: S704
        policy=_policy(style, code),
        **values,
    )
    return text.encode()


@cache
def _resource(name: str) -> str:
    return (files("isobuilder.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(t=both, counted=counted, code=_qr_code, most=most, quoted=quoted)
    environment.filters.update(size=human_size, groups=groups, fitting=fitting)
    return environment


def shown(value: Any) -> Any:
    """Return what is printed of a value: a text of a stranger as one line that only shows."""
    if value is None:
        return ""
    return cut(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def cut(text: str, length: int = _LONGEST) -> str:
    """Return a text as one line of at most ``length`` characters, which only shows."""
    return printable(str(text), length)


def groups(digest: str) -> list[str]:
    """Return the digits of a digest in groups that two people can compare aloud."""
    digits = digest.rpartition(":")[2]
    return [digits[at : at + 8] for at in range(0, len(digits), 8)]


def fitting(label: str, room: float) -> str:
    """Return as much of a label as fits into ``room`` units of a drawing."""
    text = cut(label)
    room -= _MARGIN
    if sum(map(_units, text)) <= room:
        return text
    used = list(accumulate(map(_units, text), initial=_WIDEST))
    return text[: max(sum(one <= room for one in used) - 1, 1)] + "…"


def _units(letter: str) -> float:
    """Return what a letter takes of a drawing: nobody knows the reader's font."""
    if letter in "mwMW@%" or width(letter) > 1:
        return _WIDEST
    if letter in "iljtfrI.,:;-'/| ":
        return _NARROW
    return _CAPITAL if letter.isupper() else _USUAL


def counted(items: Sized, noun: str) -> str:
    """Return ``1 ISO`` or ``2 ISOs``."""
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def both(english: str, korean: str, **values: Any) -> Markup:
    """Return a text of ours in both languages, with values of anybody in it."""
    safe = {name: escape(shown(value)) for name, value in values.items()}
    told = (english.format(**safe), korean.format(**safe))
    return Markup('<span lang="en">{}</span><span lang="ko">{}</span>').format(
        *(Markup(text) for text in told)  # noqa: S704 - ours, and values that are escaped
    )


def quoted(name: str) -> str:
    """Return a file's name as a shell takes it."""
    return shlex.quote(printable(name))


def most(items: Sequence[T], limit: int) -> tuple[Sequence[T], int]:
    """Return the first ``limit`` of a list that may be long, and how many are left out."""
    return items[:limit], max(len(items) - limit, 0)


def _qr_code(text: str) -> Markup:
    """Return a QR code as a drawing, dark on light whatever colours the page has."""
    matrix = [list(row) for row in segno.make_qr(text, error="m").matrix_iter(border=_QUIET)]
    path = "".join(
        f"M{column} {line}h{length}v1h-{length}z"
        for line, row in enumerate(matrix)
        for column, length in _runs(row)
    )
    size = len(matrix)
    return Markup(
        '<svg class="qr" viewBox="0 0 {size} {size}" shape-rendering="crispEdges" '
        'aria-hidden="true"><rect width="{size}" height="{size}" fill="#fff"/>'
        '<path d="{path}" fill="#000"/></svg>'
    ).format(size=size, path=path)


def _runs(row: Sequence[int]) -> list[tuple[int, int]]:
    """Return where dark modules begin and how many follow each other."""
    found: list[tuple[int, int]] = []
    for column, module in enumerate(row):
        if not module:
            continue
        if found and sum(found[-1]) == column:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((column, 1))
    return found


def _policy(style: str, script: str | None) -> str:
    """Return what the page may do. Source: Content Security Policy Level 3."""
    parts = ["default-src 'none'", f"style-src '{_hash(style)}'"]
    if script is not None:
        parts.append(f"script-src 'self' '{_hash(_EARLY)}' '{_hash(script)}'")
    return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
