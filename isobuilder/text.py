"""Text that somebody else wrote, made fit for a terminal: one line, and nothing that acts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

_DIGITS = 18  # of a number of bytes, seconds or pieces
_MANY = 1000  # characters of a foreign text that a message shows


def printable(text: str, limit: int = _MANY) -> str:
    r"""Return ``text`` as one line of at most ``limit`` characters that a terminal only shows.

    Control characters, line ends, marks that turn the direction of writing, invisible characters,
    unusual blanks and halves of surrogate pairs are written as Python escapes (``\x1b``,
    ``\u202e``), so what was there can still be told. What is cut off is marked by ``...``.
    """
    cut = text[: limit + 1]
    shown = cut if cut.isprintable() else "".join(map(_shown, cut))
    return shown if len(shown) <= limit else shown[: max(limit - 3, 0)] + "..."


def shown_lines(text: str) -> str:
    """Return a text of several lines, of which each is made ``printable`` and none is cut."""
    return "\n".join(printable(line, len(line) * 10) for line in text.split("\n"))


_LEAST = 4  # characters of a secret: what is shorter stands in many a word by chance
_KNOWN_BY = 48  # characters: a longer secret is known by these, and one that was cut off as well


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with ``***`` for each of ``secrets``, however forms and JSON escape them.

    Some servers repeat what they were sent.
    """
    for secret in sorted(set(secrets), key=len, reverse=True):  # one may be a part of another
        if len(secret) >= _LEAST:
            text = _pattern_of(secret).sub("***", text.replace(secret, "***"))
    return text


@lru_cache(maxsize=16)
def _pattern_of(secret: str) -> re.Pattern[str]:
    begin = "".join(map(_any_form, secret[:_KNOWN_BY]))
    rest = r"[^\s\"'<>,;]*" if len(secret) > _KNOWN_BY else ""
    return re.compile(begin + rest)


def _any_form(character: str) -> str:
    """Return a pattern for a character as it is, in an address, in a form and in JSON."""
    code = "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    units = character.encode("utf-16-be", "surrogatepass")
    unit = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    plus = r"|\+" if character == " " else ""
    return rf"(?:\\?{re.escape(character)}|(?i:{re.escape(code)}|{re.escape(unit)}){plus})"


_HOST, _WORD = re.compile(r"[^/\s]*"), re.compile(r"\S+")


def without_login(text: str) -> str:
    """Return ``text`` without the user and the password of an address in it.

    Before it is cut: half of a password has no mark of its end. The time it takes grows with the
    text, which a stranger may have written, and no faster.
    """
    if "@" not in text:
        return text
    host = _HOST.match(text)
    name = host[0] if host else ""
    colon, end = name.find(":", 1), len(name)
    while 0 < colon < (end := name.rfind("@", 0, end)):
        if not text.startswith("sha256:", end + 1):  # else it may be the digest of an image
            text = f"...@{text[end + 1 :]}"
            break
    return _WORD.sub(lambda found: _without_logins(found[0]), text)


def _without_logins(word: str) -> str:
    """Return a word without what stands between ``//`` and ``@`` in it; passwords may have any."""
    last, parts, done = word.rfind("@"), [], 0
    at = word.find("//")
    while 0 <= at < last:
        slash = word.find("/", at + 2)
        host_end = len(word) if slash < 0 else slash
        has_password = 0 <= word.find(":", at + 2, host_end) < last
        end = last if has_password else word.rfind("@", at + 2, host_end)
        if end >= 0:
            parts += [word[done:at], "//...@"]
            done = end + 1
        at = word.find("//", done if end >= 0 else at + 1)
    return "".join([*parts, word[done:]])


def as_json(
    value: object, *, indent: int | None = None, default: Callable[[Any], Any] | None = None
) -> str:
    """Return a value as JSON in which whatever a terminal would act on is escaped.

    Bytes of paths that are no text stay, as Python keeps them, for whoever opens those paths.
    """
    import json  # not needed to say what is wrong

    text = json.dumps(
        value, indent=indent, ensure_ascii=False, sort_keys=indent is not None, default=default
    )
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" or "\udc80" <= c <= "\udcff" else json.dumps(c)[1:-1]
        for c in text
    )


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def whole_number(text: str) -> int | None:
    """Return what digits mean; None for anything else, and for more of them than anybody means.

    ``str.isdigit`` alone also takes ``²``, which ``int`` does not; nor does it take thousands.
    """
    is_one = text.isascii() and text.isdigit() and len(text) <= _DIGITS
    return int(text) if is_one else None


def moment_of(text: str) -> datetime | None:
    """Return the time that a text in ISO 8601 means, in UTC; None where it is none.

    A time without a zone is taken as UTC; one that UTC has no year for is none.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def day_of(text: str) -> date | None:
    """Return the day, in UTC, of a day or a time in ISO 8601; None where it is none."""
    moment = moment_of(text)
    return moment.date() if moment else None


def width(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes; a Korean syllable takes two.

    So it does where it is spelled letter by letter, as names of files from a Mac are.
    """
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    # Vowels and finals of such a syllable stand in the columns of its first letter.
    joined = "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7ff"
    if joined or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def human_size(size: int | None) -> str:
    """Return a size in bytes as a person reads it; a question mark when it is not known."""
    if size is None:
        return "?"
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError
