"""Which matches a compressor takes: the search along hash chains that Go, zlib and gzip share.

All three descend from one algorithm (RFC 1951, 4) and differ in what ``MatchSearch`` says. For each
place, those before it whose next bytes have the same hash are tried, the newest first; a match is
taken at once (greedy), or only if the next place has none that is longer (lazy). Sources: Go 1.26,
compress/flate/deflate.go; zlib 1.3.1, deflate.c; gzip 1.12, deflate.c. Written anew, for the same
results.

The window is two halves; once the second is nearly used up it becomes the first, and what lay
before can no longer be reached. That moment decides which matches are found, so it is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from isobuilder.delta.deflate.symbols import DISTANCE_EXTRA, DISTANCE_SYMBOL, LONGEST, WINDOW
from isobuilder.delta.methods import DeltaError

_AHEAD = LONGEST + 4
"""Bytes that must lie ahead before a place is looked at, unless nothing follows."""

STEPS = 1 << 22
"""Candidates that may be tried, and for each byte of content ``STEPS_PER_BYTE`` more: programs
need some ten for each byte; content that is made for it would need thousands."""

STEPS_PER_BYTE = 96

TOO_LONG = "gzip: content in which matches are looked for longer than any real one needs"

_NONE = -1
_KEPT = 8 * WINDOW  # bytes before the window that wait to be let go, for that takes its time


@dataclass(frozen=True, slots=True)
class MatchSearch:
    """How a compressor looks for matches.

    With Go's habits the first byte of the window may be reached, and 32 KiB back, not 262 less; a
    match that waits does not shorten the search; at the end the last candidate is tried again;
    what could not be hashed before a flush is not hashed after it. gzip, which flushes only at the
    end, compares beyond it with what its window still holds, and looks for no match in the last 262
    bytes of a full window.
    """

    least: int  # bytes of the shortest match; as many are hashed
    hash_bits: int
    tokens: int  # of a full block
    good: int  # once a match of that many bytes waits, the chain is followed a quarter of the way
    lazy: int  # longest match after which a longer one is looked for; greedy: that is hashed inside
    nice: int  # a match of that many bytes: no other is looked for
    chain: int  # candidates for each place
    greedy: bool = False
    go: bool = False
    gzip: bool = False
    cut: bool = False  # gzip above level 2 ends a block early where few matches say much
    window: int = WINDOW
    far: int = 0  # shortest match that may lie further back than ``near``
    near: int = 4096

    @property
    def reach(self) -> int:
        """How far back the newest candidate may lie; zlib's older ones one byte less."""
        return self.window if self.go else self.window - _AHEAD


class Matching(Protocol):
    """A search under way: in Python, or by the extra, with the same result."""

    def feed(self, data: bytes) -> None:
        """Take further bytes."""

    def block(self, *, flush: bool) -> Sequence[int] | None:
        """Return the tokens of the next full block; None once more bytes are needed.

        With ``flush`` nothing follows for now, and every byte is used.

        Raises:
            DeltaError: more than ``STEPS`` would be tried.
        """

    def rest(self) -> Sequence[int]:
        """Return the tokens that are left after a flush; there may be none."""

    def close_block(self) -> bytes | None:
        """Return the bytes of the block, None if its begin left the window; the next one begins."""


class Window:
    """The bytes of a search, and where it is in them."""

    def __init__(self, search: MatchSearch, dictionary: bytes = b"") -> None:
        self.search = search
        self.data = dictionary
        self.place = len(dictionary)  # the byte that is looked at
        self.begin = self.edge = self.place  # of the block, and where it ends when it is full
        self.base = 0  # of the window
        self.late = 0 if search.go else self.place  # places before this one that are not hashed
        self.ended = 0  # bytes behind the end, once gzip came to it

    def feed(self, data: bytes) -> None:
        """Take further bytes; those before the window are let go."""
        if self.base >= _KEPT:
            self.forget(self.base // WINDOW * WINDOW)  # places keep their slots in the chains
        self.data += data

    def forget(self, count: int) -> None:
        """Let the first bytes go."""
        self.data = self.data[count:]
        self.place -= count
        self.begin -= count
        self.edge -= count
        self.base -= count

    def end(self) -> None:
        """Let what gzip's window still holds follow the last bytes: zeros, then what lay before."""
        if self.search.gzip and not self.ended:
            self.ended = _AHEAD
            behind = bytes(2)
            if len(self.data) - self.base > WINDOW and self.base:
                start = len(self.data) - WINDOW
                behind += self.data[start + 2 : start + _AHEAD]
            self.data += behind.ljust(_AHEAD, b"\0")

    def close_block(self) -> bytes | None:
        """Return the bytes of the block, None if its begin left the window; the next one begins."""
        begin, self.begin = self.begin, self.edge
        return self.data[begin : self.edge] if begin >= self.base else None


class PureMatcher(Window):
    """The search in Python."""

    def __init__(self, search: MatchSearch, dictionary: bytes = b"") -> None:
        super().__init__(search, dictionary)
        self._head = [_NONE] * (1 << search.hash_bits)
        self._prev = [_NONE] * search.window
        self._hashes = self._hashes_from(0)  # of each place that has enough bytes behind it
        self._tokens: list[int] = []
        self._length, self._distance = search.least - 1, 0  # of the match that waits
        self._waiting = False  # a byte waits
        self._candidate = _NONE
        self._steps = STEPS
        self._seen_end = False

    def feed(self, data: bytes) -> None:
        """Take further bytes."""
        super().feed(data)
        self._steps += STEPS_PER_BYTE * len(data)
        self._hashes += self._hashes_from(len(self._hashes))

    def forget(self, count: int) -> None:
        """Let the first bytes go."""
        super().forget(count)
        del self._hashes[:count]
        self._head = [place - count for place in self._head]
        self._prev = [place - count for place in self._prev]
        self._candidate -= count

    def block(self, *, flush: bool) -> list[int] | None:
        """Return the tokens of the next full block; see ``Matching``."""
        if flush and self.search.gzip:
            self.end()
            self._hashes += self._hashes_from(len(self._hashes))
        if self.late:
            first = self.place - self.late
            self._insert(first, min(self.place, len(self._hashes)))
            self.late = self.place - max(first, min(self.place, len(self._hashes)))
        full = (self._greedy if self.search.greedy else self._lazy)(flush=flush)
        return self.rest() if full else None

    def rest(self) -> list[int]:
        """Return the tokens that are left."""
        tokens, self._tokens = self._tokens, []
        return tokens

    def _hashes_from(self, start: int) -> list[int]:
        search, data = self.search, self.data
        count = max(0, len(data) - start - search.least + 1)
        found = [0] * count
        padded = data[start:] + bytes(4)
        shift, mask = 32 - search.hash_bits, (1 << search.hash_bits) - 1
        one = (search.hash_bits + 2) // 3
        two = 2 * one
        for lane in range(min(4, count)):
            values = struct.unpack_from(f">{(count - lane + 3) // 4}I", padded, lane)
            if search.go:
                found[lane::4] = [(value * 0x1E35A7BD >> shift) & mask for value in values]
            else:
                found[lane::4] = [
                    (value >> 24 << two ^ (value >> 16 & 255) << one ^ value >> 8 & 255) & mask
                    for value in values
                ]
        return found

    def _insert(self, first: int, end: int) -> None:
        hashes, head, prev, mask = self._hashes, self._head, self._prev, self.search.window - 1
        for place in range(first, end):
            value = hashes[place]
            prev[place & mask] = head[value]
            head[value] = place

    def _candidate_at(self, place: int, ahead: int) -> int:
        """Hash ``place``; return the newest place of the same hash that may be reached, or -1."""
        search = self.search
        double = 2 * search.window
        inside = place - self.base
        if inside >= double - _AHEAD:  # is it time to move the window?
            if search.go:
                moved = inside > double - _AHEAD and len(self.data) - self.base > double
            else:
                moved = inside > double - _AHEAD or ahead < _AHEAD
            if moved and not (search.gzip and self._seen_end):
                self.base += search.window
        if ahead < _AHEAD:
            self._seen_end = True
        if place < len(self._hashes):
            value = self._hashes[place]
            self._candidate = self._head[value]
            self._prev[place & search.window - 1] = self._candidate
            self._head[value] = place
        elif not search.go:
            self._candidate = _NONE
        if search.gzip and place - self.base > double - _AHEAD:
            return _NONE
        lowest = max(place - search.reach, self.base + (not search.go))
        return self._candidate if self._candidate >= lowest else _NONE

    def _lazy(self, *, flush: bool) -> bool:
        search, data, tokens = self.search, self.data, self._tokens
        least, go = search.least, search.go
        place, length, distance = self.place, self._length, self._distance
        waiting, full = self._waiting, False
        end, hashed = len(data) - self.ended, len(self._hashes)
        while not full:
            ahead = end - place
            if ahead < _AHEAD and (not flush or ahead == 0):
                break
            candidate = self._candidate_at(place, ahead)
            before, before_distance = length, distance
            length = least - 1
            if candidate >= 0 and before < search.lazy and before < ahead:
                start = length if go else before
                length, distance = self._longest(place, candidate, start, ahead)
            if before >= least and length <= before:
                tokens.append(before << 16 | before_distance)
                full = self._is_full(place)
                stop = place + before - 1
                self._insert(place + 1, min(stop, hashed))
                place = self.edge = stop
                length, waiting = least - 1, False
            else:
                if waiting:
                    tokens.append(data[place - 1])
                    self.edge = place
                    full = self._is_full(place)
                waiting = True
                place += 1
        if flush and not full:
            if waiting:
                tokens.append(data[place - 1])
                waiting = False
            self._flushed(place)
        self.place, self._length, self._distance, self._waiting = place, length, distance, waiting
        return full

    def _greedy(self, *, flush: bool) -> bool:
        search, data, tokens = self.search, self.data, self._tokens
        least, place, full = search.least, self.place, False
        end, hashed = len(data) - self.ended, len(self._hashes)
        while not full:
            ahead = end - place
            if ahead < _AHEAD and (not flush or ahead == 0):
                break
            candidate = self._candidate_at(place, ahead)
            length, distance = least - 1, 0
            if candidate >= 0 and ahead >= least:
                length, distance = self._longest(place, candidate, least - 1, ahead)
            if length >= least:
                tokens.append(length << 16 | distance)
                full = self._is_full(place)
                anyway = search.go or search.gzip
                if length <= search.lazy and (anyway or ahead - length >= least):
                    self._insert(place + 1, min(place + length, hashed))
                place += length
            else:
                tokens.append(data[place])
                full = self._is_full(place)
                place += 1
            self.edge = place
        if flush and not full:
            self._flushed(place)
        self.place = place
        return full

    def _is_full(self, place: int) -> bool:
        tokens, search = self._tokens, self.search
        if len(tokens) == search.tokens:
            return True
        if not search.cut or len(tokens) % 4096:
            return False
        matches = [token & 0xFFFF for token in tokens if token > 255]
        size = 8 * len(tokens) + sum(5 + DISTANCE_EXTRA[DISTANCE_SYMBOL[far]] for far in matches)
        return len(matches) < len(tokens) // 2 and size // 8 < (place - self.begin) // 2

    def _flushed(self, place: int) -> None:
        self.edge = place
        if not self.search.go:
            self.late = min(place, self.search.least - 1)

    def _longest(self, place: int, candidate: int, best: int, ahead: int) -> tuple[int, int]:
        """Return length and distance of the first longest match that is longer than ``best``.

        Without any, the length is one below the least.
        """
        search, data, prev = self.search, self.data, self._prev
        mask, oldest = search.window - 1, place - search.window
        lowest = max(place - search.reach, self.base) + (not search.go)
        far, near = search.far, search.near
        limit = LONGEST if search.gzip else min(LONGEST, ahead)
        nice = min(search.nice, limit)
        most = search.chain >> 2 if best >= search.good else search.chain
        tries = distance = 0
        wanted, last = data[place : place + best + 1], data[place + best]
        for tries in range(1, most + 1):  # noqa: B007
            if data[candidate + best] == last and data[candidate : candidate + best + 1] == wanted:
                found = same_bytes(data[candidate : candidate + limit], data[place : place + limit])
                if found >= far or place - candidate <= near:
                    best, distance = found, place - candidate
                    if best >= nice:
                        break
                    wanted, last = data[place : place + best + 1], data[place + best]
            if candidate == oldest:
                break
            candidate = prev[candidate & mask]
            if candidate < lowest:
                break
        self._steps -= tries
        if self._steps < 0:
            raise DeltaError(TOO_LONG)
        best = min(best, ahead)
        if not distance or (best < far and distance > near):
            return search.least - 1, 0
        return best, distance


def same_bytes(one: bytes, other: bytes) -> int:
    """Return how many bytes at the begin of two runs of one length are the same."""
    if one == other:
        return len(one)
    differing = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return ((differing & -differing).bit_length() - 1) // 8
