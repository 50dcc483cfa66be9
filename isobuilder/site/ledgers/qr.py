"""A text as a QR code: a picture, or half blocks on a terminal; and read back by zbarimg."""

from __future__ import annotations

import binascii
import io
import os
from pathlib import Path

import segno
from segno.encoder import DataOverflowError

from isobuilder.errors import InputError
from isobuilder.files import open_bytes
from isobuilder.run import ProgramFailed, find_program, run

_READING = 60.0  # seconds
_NO_PICTURE, _NO_CODE = 1, 4  # exit codes. Source: zbarimg(1), EXIT STATUS
_MARK = "ledger of a site, by isobuilder"  # in a picture, by which we know it again
_HEAD = 8 + 25  # bytes of a PNG before its second chunk. Source: W3C, PNG, 5.2 and 11.2.2
_BLOCKS = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}  # light modules are drawn


def picture(text: str, suffix: str) -> bytes:
    """Return the code of ``text`` as a ``.png`` or ``.svg``.

    Raises:
        InputError: it is too long for one code.
    """
    out = io.BytesIO()
    title = {"title": _MARK} if suffix == ".svg" else {}
    _code(text).save(out, kind=suffix.removeprefix("."), scale=4, border=4, **title)
    data = out.getvalue()
    return data if suffix == ".svg" else data[:_HEAD] + _note() + data[_HEAD:]


def is_picture(begin: bytes) -> bool:
    """Say if a file that begins so, with ``MARKED`` bytes, is a picture that we wrote."""
    png = begin.startswith(b"\x89PNG") and begin[_HEAD:].startswith(_note())
    return png or (begin.startswith(b"<?xml") and f"<title>{_MARK}</title>".encode() in begin)


MARKED = 512
"""Bytes within which the mark of a picture is."""


def _note() -> bytes:
    """Return the chunk of a PNG that says what it is."""
    body = b"tEXtTitle\0" + _MARK.encode()
    return (len(body) - 4).to_bytes(4, "big") + body + binascii.crc32(body).to_bytes(4, "big")


def blocks(text: str) -> str:
    """Return the code of ``text`` as lines for a terminal with light letters on dark.

    Raises:
        InputError: it is too long for one code.
    """
    rows = [list(row) for row in _code(text).matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    return "\n".join(
        "".join(_BLOCKS[bool(above), bool(below)] for above, below in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    )


def scanned(path: Path) -> str:
    """Return the text of the code in a picture, read by ``zbarimg``.

    Raises:
        InputError: it is no picture, or no code is found in it.
        EnvironmentProblem: zbarimg is not installed or fails, or the picture may not be read.
    """
    zbarimg = find_program("zbarimg")
    os.close(open_bytes(path))  # else zbarimg waits for whoever writes into a pipe
    try:
        return run([zbarimg, "--quiet", "--raw", "--oneshot", path.absolute()], timeout=_READING)
    except ProgramFailed as error:
        facts = {
            _NO_PICTURE: f"zbarimg does not read it as a picture: {error.said}",
            _NO_CODE: "no QR code was found in it",
        }
        if error.code not in facts:
            raise
        raise InputError(
            f"{path}: {facts[error.code]}",
            hint="take a new picture: sharp, with all of the code and a white edge; or send the "
            "text, or type it with --read -",
        ) from error


def _code(text: str) -> segno.QRCode:
    try:
        return segno.make_qr(text, error="l", boost_error=True)
    except DataOverflowError as error:
        raise InputError(
            f"{len(text)} characters are too many for one code",
            hint="write the text into a file, or make the ledger of ISOs instead of blobs",
        ) from error
