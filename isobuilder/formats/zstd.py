"""zstd, with what somebody has already as a dictionary, and with bounds on what it may cost.

Sources: RFC 8878; a raw dictionary as a prefix is what ``zstd --patch-from`` uses.
"""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

from isobuilder.errors import EnvironmentProblem, IntegrityError

_PIECE = 1024 * 1024  # bytes that are unpacked at a time
_SHORTEST = 8  # bytes of a dictionary; zstd takes no shorter one
_FAR = 1024 * 1024  # bytes of a dictionary in which long matches are looked for by themselves
_LEAST_WINDOW, _MOST_WINDOW = 10, 31  # logarithms that zstd takes
_USUAL_WINDOW = 27  # what zstd takes that was told nothing


def zstd_module() -> Any | None:
    """Return the library; None where there is none."""
    for name in ("compression.zstd", "backports.zstd"):  # the first from Python 3.14 on
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def compressed(data: bytes, *, old: bytes = b"", level: int = 19) -> bytes:
    """Return ``data`` as one frame that says its size; whoever unpacks it has ``old``.

    Raises:
        EnvironmentProblem: this Python has no zstd.
    """
    zstd = _needed()
    parameter = zstd.CompressionParameter
    options = {parameter.compression_level: level}
    if len(old) < _SHORTEST:
        return bytes(zstd.compress(data, options=options))
    options[parameter.window_log] = min(_window(len(old) + len(data)), _MOST_WINDOW - 1)
    if len(old) + len(data) > _FAR:
        options[parameter.enable_long_distance_matching] = 1
    dictionary = zstd.ZstdDict(old, is_raw=True).as_prefix
    return bytes(zstd.compress(data, options=options, zstd_dict=dictionary))


def decompressed(data: bytes | memoryview, size: int, *, old: bytes = b"") -> bytes:
    """Return the ``size`` bytes of the one frame ``data``, which ``compressed`` made with ``old``.

    Raises:
        IntegrityError: they are not that many, or damaged; a sentence without place.
        EnvironmentProblem: this Python has no zstd.
    """
    zstd = _needed()
    # Who makes a frame says how much is kept to unpack it: not more than there will be.
    most = _window(len(old) + size) if old else min(_window(size), _USUAL_WINDOW)
    options = {zstd.DecompressionParameter.window_log_max: most}
    made = io.BytesIO()  # which gives its bytes without a copy
    done = 0
    try:
        promised = zstd.get_frame_info(data).decompressed_size
        if promised != size:
            raise IntegrityError(f"damaged zstd data: of {promised} bytes, expected {size}")
        usable = len(old) >= _SHORTEST
        dictionary = zstd.ZstdDict(old, is_raw=True).as_prefix if usable else None
        unpacker = zstd.ZstdDecompressor(zstd_dict=dictionary, options=options)
        at = 0
        while not unpacker.eof:
            given = data[at : at + _PIECE] if unpacker.needs_input else b""  # it keeps a copy
            at += len(given)
            if not given and unpacker.needs_input:
                raise IntegrityError("the zstd data ends early")
            piece = unpacker.decompress(given, _PIECE)
            made.write(piece)
            done += len(piece)
            if done > size:
                break
        if done != size or unpacker.unused_data or at < len(data):
            raise IntegrityError(f"damaged zstd data: {done} bytes or more, expected {size}")
    except zstd.ZstdError as error:
        raise IntegrityError(f"damaged zstd data: {error}") from error
    return made.getvalue()


def _window(size: int) -> int:
    return max(_LEAST_WINDOW, min(size.bit_length(), _MOST_WINDOW))


def _needed() -> Any:
    zstd = zstd_module()
    if zstd is None:
        raise EnvironmentProblem(
            "this Python has no zstd", hint="install the Python package backports.zstd"
        )
    return zstd
