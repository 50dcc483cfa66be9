"""Secrets in bytes that pass: private keys, tokens and logins, by their form and nothing else.

A form needs what only a real one has: a key its lines of base64, a token its length. So the words
``PRIVATE KEY`` in a program are none. In programs and other binary files only the long marks are
looked for, which cost little; in texts all forms are, where a mark or a word of a token's length
says that one may begin: all forms tried at every byte take twenty times as long.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from isobuilder.digest import Digest

VERSION = 1
"""Of the forms; whoever keeps what was found keeps it by this."""

_REACH = 4096  # bytes that a form has at most
_BEFORE = 64  # bytes of it that may lie before its mark
_MOST = 20  # of one file that are told
_ENOUGH = 128 * 1024  # bytes that are searched at once: the ends of each are searched twice

_B64 = rb"[A-Za-z0-9+/]"
_NEWLINE = rb"(?:\r?\n|\\r\\n|\\n)"
_FORMS: dict[str, re.Pattern[bytes]] = {
    name: re.compile(form)
    for name, form in {
        "private-key": rb"-----BEGIN (?:[A-Z0-9]{2,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----[ \t]*"
        + _NEWLINE
        + rb"(?:[A-Za-z-]{2,30}: ?[^\r\n\\]{0,200}"
        + _NEWLINE
        + rb"){0,6}"
        + _NEWLINE
        + rb"{0,2}[ \t]*"
        + _B64
        + rb"{40}",
        "github-token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})",
        "gitlab-token": rb"\bglpat-[A-Za-z0-9_-]{20,64}",
        "aws-key": rb"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
        "slack-token": rb"\bxox[abposr]-[0-9]{8,}-[0-9A-Za-z-]{16,}",
        "google-key": rb"\bAIza[0-9A-Za-z_-]{35}\b",
        "npm-token": rb"\bnpm_[A-Za-z0-9]{36}\b",
        "pypi-token": rb"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}",
        "jwt": rb"\beyJhbGciOi[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}",
        "encoded-key": rb"LS0tLS1CRUdJTi" + _B64 + rb"{60,2000}",
        "registry-login": rb'"auth"\s{0,9}:\s{0,9}"' + _B64 + rb'{8,2000}={0,2}"',
        "login-in-address": rb"\bhttps?://[A-Za-z0-9._-]{1,64}:[A-Za-z0-9._~!*+-]{8,128}@[a-z0-9]",
    }.items()
}
_ANY = re.compile(b"|".join(b"(?:%s)" % form.pattern for form in _FORMS.values()))
_EVERYWHERE = {
    b"PRIVATE KEY": "private-key",
    b"github_pat_": "github-token",
    b"eyJhbGciOi": "jwt",
    b"LS0tLS1CRUdJTi": "encoded-key",
}
"""Marks that are looked for in every file -> the form that decides."""

_IN_TEXTS = (b"PRIVATE KEY", b"LS0tLS1CRUdJTi", b'"auth"')
_LOGIN = re.compile(rb"https?(?=://[A-Za-z0-9._-]{1,64}:)")
"""What tells of the forms that are not one word; others are words of ``_WORD`` letters or more."""

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_SHAPE = bytes(ord("x") if one in _LETTERS else ord(" ") for one in range(256))
_WORD = b"x" * 20  # the shortest is aws-key
_HEADS = rb"gh[pousr]_|github_pat_|glpat-|AKIA|ASIA|xox[abposr]-|AIza|npm_|pypi-AgEI|eyJhbGciOi"
_HEAD, _INSIDE = re.compile(_HEADS), re.compile(rb"-(?=%s)" % _HEADS)


@dataclass(frozen=True, slots=True)
class Leak:
    """Something of the form of a secret. What it is, is kept by nobody."""

    form: str
    at: int  # the byte at which it begins
    digest: Digest  # of its text, by which it can be allowed


def search(pieces: Iterable[bytes]) -> Iterator[Leak]:
    """Give what is of the form of a secret in the bytes of one file, in their order.

    How the bytes are cut into pieces makes no difference.
    """
    window, start, found, behind = b"", 0, 0, 0
    text: bool | None = None
    for piece in _ended(pieces):
        window += piece or b""
        if piece is not None and len(window) < _ENOUGH:
            continue
        if text is None:
            text = b"\0" not in window[:_REACH]
        # What begins near the end is left for the next window, where all of it is.
        end = start + len(window) - (_REACH if piece is not None else 0)
        for at, form, match in sorted(_texts(window) if text else _marked(window)):
            if not behind <= start + at < end:
                continue
            behind, found = start + at + 1, found + 1
            yield Leak(form, start + at, Digest.of(match))
            if found == _MOST:
                return
        behind = max(behind, end)
        kept = window[max(end - start - _BEFORE, 0) :]
        start += len(window) - len(kept)
        window = kept


def _ended(pieces: Iterable[bytes]) -> Iterator[bytes | None]:
    yield from pieces
    yield None


def _texts(window: bytes) -> Iterator[tuple[int, str, bytes]]:
    end = 0
    for place in sorted({*_words(window), *_marks(window)}):
        # One that begins inside of one that was found is a part of it.
        if place < end or (found := _ANY.match(window, place)) is None:
            continue
        end = found.end()
        name = next(name for name, form in _FORMS.items() if form.match(window, place))
        if name != "encoded-key" or _is_key(found[0]):
            yield place, name, found[0]


def _words(window: bytes) -> Iterator[int]:
    """Give where a word of the length of a token begins as one."""
    shape = window.translate(_SHAPE) + b" "
    at = shape.find(_WORD)
    while at >= 0:
        end = shape.find(b" ", at)
        if _HEAD.match(window, at, end):
            yield at
        yield from (dash.end() for dash in _INSIDE.finditer(window, at, end))
        at = shape.find(_WORD, end)


def _marks(window: bytes) -> Iterator[int]:
    """Give where a form that is not one word may begin."""
    for mark in _IN_TEXTS:
        for at in _all(window, mark):
            yield _begin(window, mark, at)
    yield from (login.start() for login in _LOGIN.finditer(window))


def _begin(window: bytes, mark: bytes, at: int) -> int:
    """Return where the form begins whose mark is at ``at``."""
    if mark == b"PRIVATE KEY":
        return max(window.rfind(b"-----BEGIN ", max(at - _BEFORE, 0), at), 0)
    return at


def _all(window: bytes, mark: bytes) -> Iterator[int]:
    at = window.find(mark)
    while at >= 0:
        yield at
        at = window.find(mark, at + len(mark))


def _marked(window: bytes) -> Iterator[tuple[int, str, bytes]]:
    for mark, form in _EVERYWHERE.items():
        for at in _all(window, mark):
            match = _FORMS[form].match(window, _begin(window, mark, at))
            if match is not None and (form != "encoded-key" or _is_key(match[0])):
                yield match.start(), form, match[0]


def _is_key(text: bytes) -> bool:
    """Say if base64 is that of a private key in PEM; certificates begin alike."""
    begin = text[: len(text) // 4 * 4][:80]
    try:
        return b"PRIVATE KEY-----" in base64.b64decode(begin)
    except binascii.Error:
        return False
