"""The extra ``isobuilder-fast``: the two slow loops, compiled; bits.py and matching.py say what.

Nothing needs it to be right: it is used where it is installed, and the same tests run with both.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from isobuilder.delta.deflate.bits import Codes, TokenPacking
from isobuilder.delta.deflate.encoders import Engine, PureEngine
from isobuilder.delta.deflate.matching import (
    STEPS,
    STEPS_PER_BYTE,
    TOO_LONG,
    MatchSearch,
    Window,
)
from isobuilder.delta.deflate.symbols import (
    DISTANCE_BASE,
    DISTANCE_EXTRA,
    DISTANCES,
    END,
    LENGTH_BASE,
    LENGTH_EXTRA,
    LITERALS,
)
from isobuilder.delta.methods import DeltaError

VERSION = 1
"""Of the library's functions and their struct."""

_SETTINGS = (
    *("least", "hash_bits", "tokens", "good", "lazy", "nice", "chain", "greedy", "go"),
    *("gzip", "cut", "window", "far", "near"),
)
_PLACES = ("steps", "place", "begin", "edge", "base", "late", "ended", "candidate")
_STATE = ("length", "distance", "waiting", "count", "seen_end")


_DISTANCE_BASES = array("H", DISTANCE_BASE)
_DISTANCE_EXTRA = array("B", DISTANCE_EXTRA)


class _Matcher(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in _SETTINGS),
        *((name, ctypes.c_int64) for name in _PLACES),
        *((name, ctypes.c_int32) for name in _STATE),
        ("distance_bases", ctypes.c_void_p),
        ("distance_extra", ctypes.c_void_p),
        ("head", ctypes.c_void_p),
        ("prev", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
    )


@cache
def best_engine() -> Engine:
    """Return the extra, or Python where it is not installed or is another version."""
    try:
        library: Path = import_module("isobuilder_fast").LIBRARY
        return FastEngine(library)
    except (ImportError, OSError, ValueError):
        return PureEngine()


def slowness() -> int:
    """Return for how many bytes of other work one counts that is compressed.

    Python takes far longer for one than this; but what is made has to be compressed once, however
    long that takes, so the number says how often that may be, and not how long.
    """
    return 2 if isinstance(best_engine(), FastEngine) else 8


class FastEngine:
    """The compiled loops.

    Raises:
        OSError: the library cannot be loaded here.
        ValueError: it is another version.
    """

    def __init__(self, library: Path) -> None:
        """Load the library."""
        self._library = ctypes.CDLL(str(library))
        self._library.isobuilder_fast_pack.restype = ctypes.c_int64
        if (found := self._library.isobuilder_fast_version()) != VERSION:
            raise ValueError(f"{library}: expected version {VERSION}, got {found}")
        self.packing: TokenPacking = _FastPacking(self._library)

    def matcher(self, search: MatchSearch, dictionary: bytes = b"") -> FastMatcher:
        """Return a search that begins behind ``dictionary``."""
        return FastMatcher(self._library, search, dictionary)


class FastMatcher(Window):
    """The compiled search; see ``PureMatcher``."""

    def __init__(self, library: ctypes.CDLL, search: MatchSearch, dictionary: bytes) -> None:
        super().__init__(search, dictionary)
        self._library = library
        self._state = _Matcher(**{name: getattr(search, name) for name in _SETTINGS})
        self._state.steps, self._state.candidate = STEPS, -1
        self._state.length = search.least - 1
        self._head = array("i", [-1]) * (1 << search.hash_bits)
        self._prev = array("i", [-1]) * search.window
        self._out = array("I", [0]) * (search.tokens + 1)
        state = self._state
        buffers = (self._head, self._prev, self._out, _DISTANCE_BASES, _DISTANCE_EXTRA)
        state.head, state.prev, state.out, state.distance_bases, state.distance_extra = (
            buffer.buffer_info()[0] for buffer in buffers
        )

    def feed(self, data: bytes) -> None:
        """Take further bytes."""
        super().feed(data)
        self._state.steps += STEPS_PER_BYTE * len(data)

    def forget(self, count: int) -> None:
        """Let the first bytes go."""
        super().forget(count)
        self._library.isobuilder_fast_forget(ctypes.byref(self._state), ctypes.c_int64(count))

    def block(self, *, flush: bool) -> Sequence[int] | None:
        """Return the tokens of the next full block; see ``Matching``."""
        state = self._state
        if flush:
            self.end()
        state.place, state.begin, state.edge, state.base = (
            self.place,
            self.begin,
            self.edge,
            self.base,
        )
        state.late, state.ended = self.late, self.ended
        end = ctypes.c_int64(len(self.data) - self.ended)
        full = self._library.isobuilder_fast_block(ctypes.byref(state), self.data, end, int(flush))
        self.place, self.edge, self.base = state.place, state.edge, state.base
        self.late = state.late
        if full < 0:
            raise DeltaError(TOO_LONG)
        return self.rest() if full else None

    def rest(self) -> Sequence[int]:
        """Return the tokens that are left."""
        count, self._state.count = self._state.count, 0
        return self._out[:count]


class _FastPacking:
    """The compiled packing; see ``PurePacking``."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Lay the tables out as the library wants them."""
        self._library = library
        self._bases = array("H", [*LENGTH_BASE, *DISTANCE_BASE])
        self._extra = bytes([*LENGTH_EXTRA, *DISTANCE_EXTRA])

    def frequencies(self, tokens: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return how often each symbol for literals and each for distances occurs."""
        given = _array(tokens)
        literals, distances = array("I", [0]) * LITERALS, array("I", [0]) * DISTANCES
        self._library.isobuilder_fast_frequencies(
            _address(given),
            ctypes.c_int64(len(given)),
            _address(self._bases),
            _address(literals),
            _address(distances),
        )
        literals[END] = 1
        return list(literals), list(distances)

    def packed(self, tokens: Sequence[int], literals: Codes, distances: Codes) -> tuple[int, int]:
        """Return the tokens as bits, the first one lowest, and how many there are."""
        given = _array(tokens)
        codes = array("I", [0]) * (LITERALS + DISTANCES)
        for place, (code, bits) in enumerate(literals[:LITERALS]):
            codes[place] = code | bits << 16
        for place, (code, bits) in enumerate(distances[:DISTANCES], start=LITERALS):
            codes[place] = code | bits << 16
        out = ctypes.create_string_buffer(6 * len(given) + 8)
        bits = self._library.isobuilder_fast_pack(
            _address(given),
            ctypes.c_int64(len(given)),
            _address(self._bases),
            self._extra,
            _address(codes),
            out,
        )
        return int.from_bytes(out.raw[: (bits + 7) // 8], "little"), bits


def _array(tokens: Sequence[int]) -> array[int]:
    return (
        tokens if isinstance(tokens, array) else array("I", list(tokens))
    )  # of bytes it would take four for one


def _address(values: array[int]) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.buffer_info()[0])
