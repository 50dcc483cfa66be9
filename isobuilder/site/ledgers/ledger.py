"""What a site holds, so short that it fits on paper: a set of digests, exactly.

Each digest is hashed to a number below n * 2^p and the sorted numbers are written as differences in
Golomb-Rice codes, about p + 1.6 bits each. That alone would be true of some strangers too; a hash
over all digests tells which of those that the reader knows are really meant, so the answer is exact
or is said not to be. Ledgers of a site are numbered and each names the one before, so that an old
one, and two that follow the same one, are noticed.

The text is Crockford's base 32 in groups, each with a check letter of its own: a wrong letter, or
two that changed places, are found and their group is named. Source: Douglas Crockford, "Base 32",
for the letters and the check modulo 37; the five letters beyond 32 are ones that QR codes have.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from isobuilder.digest import Digest
from isobuilder.errors import InputError

Kind = Literal["isos", "blobs"]

_MOST = 100_000
"""Digests of one ledger; a text of more is no ledger."""

LONGEST = 1024 * 1024
"""Characters of a text; one of 100,000 blobs has 450,000."""

FORMAT = 0xB1
"""The first byte; another format will have another."""

_KINDS: tuple[Kind, ...] = ("isos", "blobs")
_BITS = {"isos": 40, "blobs": 20}  # of each number beyond those that tell n of them apart
_SHORT = 8  # bytes of a hash where nobody gains by a second text with the same
_SEAL = 4  # bytes against slips of a pen that the groups' letters miss
_GROUP = 15  # bytes
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CHECKS = _LETTERS + "*$+/:"
_ALIKE = str.maketrans("OIL", "011")
_MOST_DOUBTS = 12  # strangers that may be sorted out by trying


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one site holds."""

    site: bytes  # the beginning of the hash of its name
    number: int  # from 1
    before: bytes  # the beginning of the hash of the ledger before; zeros for the first
    kind: Kind
    count: int
    numbers: frozenset[int]  # of the digests, see ``_number``
    check: bytes  # over all digests

    def to_bytes(self) -> bytes:
        """Return it as bytes, the same for the same ledger."""
        head = bytes([FORMAT, _KINDS.index(self.kind)]) + self.site + self.before + self.check
        body = head + _varint(self.number) + _varint(self.count)
        body += _golomb(sorted(self.numbers), _BITS[self.kind])
        return body + seal_of(body)

    @property
    def mark(self) -> bytes:
        """By which the next one names it."""
        return hashlib.sha256(self.to_bytes()).digest()[:_SHORT]


@dataclass(frozen=True, slots=True)
class LedgerAnswer:
    """What a reader learns of those that it knows."""

    there: frozenset[Digest]
    unknown: int  # that the site holds as well, and the reader does not know
    exact: bool  # False: among thousands of strangers one may be taken for being there


def site_mark(name: str) -> bytes:
    """Return by what ledgers tell sites apart."""
    return hashlib.sha256(name.encode()).digest()[:_SHORT]


def make_ledger(
    site: str, held: Collection[Digest], kind: Kind, *, last: Ledger | None = None
) -> Ledger:
    """Return the ledger of what ``site`` holds; ``last`` itself if that is the same.

    Raises:
        InputError: it is too much for one.
    """
    unique = sorted(set(held))
    if len(unique) > _MOST:
        raise InputError(f"{len(unique)} digests: a ledger has at most {_MOST}")
    made = Ledger(
        site=site_mark(site),
        number=1 if last is None else last.number + 1,
        before=bytes(_SHORT) if last is None else last.mark,
        kind=kind,
        count=len(unique),
        numbers=frozenset(_number(digest, len(unique), kind) for digest in unique),
        check=_check(unique),
    )
    if last is not None and (last.kind, last.count, last.check) == (kind, made.count, made.check):
        return last
    return made


def among(ledger: Ledger, known: Iterable[Digest]) -> LedgerAnswer:
    """Return which of ``known`` the site holds."""
    found = [
        digest
        for digest in sorted(set(known))
        if ledger.count and _number(digest, ledger.count, ledger.kind) in ledger.numbers
    ]
    if len(found) >= ledger.count:
        # One too many for each stranger that happens to have a number of the set.
        doubts = _of_one_number(found, ledger)
        surplus = len(found) - ledger.count
        if surplus <= len(doubts) <= _MOST_DOUBTS or not surplus:
            for out in itertools.combinations(doubts, surplus):
                rest = [digest for digest in found if digest not in out]
                if _check(rest) == ledger.check:
                    return LedgerAnswer(frozenset(rest), 0, exact=True)
    unknown = max(ledger.count - len(found), 0)
    return LedgerAnswer(frozenset(found), unknown, exact=False)


def to_text(ledger: Ledger) -> str:
    """Return the text that people print, scan and type: groups of 25 letters with blanks."""
    return as_groups(ledger.to_bytes())


def as_groups(data: bytes) -> str:
    """Return bytes as groups of letters."""
    groups = (data[at : at + _GROUP] for at in range(0, len(data), _GROUP))
    return " ".join(map(_letters, groups))


def read_text(text: str, place: str) -> Ledger:
    """Return the ledger of a text; small letters, blanks, lines and dashes do not matter.

    Raises:
        InputError: a letter is wrong, with its group; it is cut off; or it is no ledger.
    """
    return ledger_of(of_groups(text, place), place)


def of_groups(text: str, place: str) -> bytes:
    """Return the bytes of groups of letters.

    Raises:
        InputError: a letter is wrong, with its group.
    """
    if len(text) > LONGEST:
        raise InputError(f"{place}: more than {LONGEST} characters, which no ledger has")
    plain = _plain(text)
    size = _width(_GROUP) + 1
    groups = [plain[at : at + size] for at in range(0, len(plain), size)]
    return b"".join(_bytes(group, n, place) for n, group in enumerate(groups, 1))


def first_byte(text: str) -> int | None:
    """Return what a text in our letters begins with, whatever becomes of it; None in others."""
    plain = _plain(text)
    if len(plain) < 2 or not set(plain) <= set(_CHECKS):
        return None
    return (_CHECKS.index(plain[0]) << 5 | _CHECKS.index(plain[1])) >> 2


def _plain(text: str) -> str:
    return "".join(text.split()).replace("-", "").upper().translate(_ALIKE)


def seal_of(body: bytes) -> bytes:
    """Return what is behind ``body`` against slips that the groups' letters miss."""
    return hashlib.sha256(body).digest()[:_SEAL]


def unsealed(data: bytes, place: str) -> bytes:
    """Return what is before the seal.

    Raises:
        InputError: groups are missing, or not where they belong.
    """
    body, seal = data[:-_SEAL], data[-_SEAL:]
    if seal_of(body) != seal:
        raise InputError(
            f"{place}: its letters do not belong together: groups are missing or have changed "
            "places",
            hint="compare the number of groups and their order",
        )
    return body


def ledger_of(data: bytes, place: str) -> Ledger:
    """Return the ledger that ``data`` is.

    Raises:
        InputError: it is none, or none that this isobuilder reads.
    """
    head = 2 + 3 * _SHORT
    if not data:
        raise InputError(f"{place}: no ledger: there is nothing")
    if data[0] != FORMAT:
        raise InputError(
            f"{place}: no ledger that this isobuilder reads: it begins with {data[:1].hex()}",
            hint="a newer isobuilder may have made it",
        )
    if len(data) < head + 2 + _SEAL or data[1] >= len(_KINDS):
        raise InputError(f"{place}: no ledger, or cut off after {len(data)} bytes")
    body = unsealed(data, place)
    kind = _KINDS[data[1]]
    try:
        number, at = _read_varint(body, head)
        count, at = _read_varint(body, at)
        numbers = _read_golomb(body[at:], min(count, _MOST), _BITS[kind])
    except (ValueError, IndexError):
        raise InputError(f"{place}: no ledger: its numbers make no sense") from None
    site, before, check = (body[2 + n * _SHORT :][:_SHORT] for n in range(3))
    ledger = Ledger(site, number, before, kind, count, numbers, check)
    if not number or count > _MOST or ledger.to_bytes() != data:
        raise InputError(f"{place}: no ledger: written otherwise than we write it")
    return ledger


def _number(digest: Digest, count: int, kind: Kind) -> int:
    return int(digest.hex[:32], 16) * (count << _BITS[kind]) >> 128


def _check(digests: Sequence[Digest]) -> bytes:
    return hashlib.sha256(b"".join(bytes.fromhex(one.hex) for one in digests)).digest()[:_SHORT]


def _of_one_number(found: Sequence[Digest], ledger: Ledger) -> list[Digest]:
    """Return those of ``found`` that share their number with another one of them, or all if few."""
    if len(found) <= _MOST_DOUBTS:
        return list(found)
    numbers: dict[int, list[Digest]] = {}
    for digest in found:
        numbers.setdefault(_number(digest, ledger.count, ledger.kind), []).append(digest)
    return [digest for group in numbers.values() if len(group) > 1 for digest in group]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 63, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError


def _golomb(values: Iterable[int], bits: int) -> bytes:
    text: list[str] = []
    before = 0
    for value in values:
        high, low = divmod(value - before, 1 << bits)
        text.append("1" * high + "0" + format(low, f"0{bits}b"))
        before = value
    joined = "".join(text)
    joined += "0" * (-len(joined) % 8)
    return int(joined or "0", 2).to_bytes(len(joined) // 8, "big")


def _read_golomb(data: bytes, count: int, bits: int) -> frozenset[int]:
    text = "".join(format(byte, "08b") for byte in data)
    return frozenset(_values(text, count, bits))


def _values(text: str, count: int, bits: int) -> Iterator[int]:
    at = value = 0
    while at + bits < len(text):
        end = text.index("0", at)
        low = text[end + 1 : end + 1 + bits]
        if len(low) < bits:
            return  # padding
        value += (end - at << bits) + int(low, 2)
        at = end + 1 + bits
        yield value
        count -= 1
        if not count:
            return


def _width(size: int) -> int:
    """Return how many letters so many bytes take."""
    return -(-size * 8 // 5)


def _letters(data: bytes) -> str:
    value = int.from_bytes(data, "big")
    digits = [_LETTERS[value >> 5 * n & 31] for n in reversed(range(_width(len(data))))]
    return "".join(digits) + _CHECKS[value % 37]


def _bytes(group: str, number: int, place: str) -> bytes:
    size = (len(group) - 1) * 5 // 8
    value = 0
    for letter in group[:-1]:
        if letter not in _LETTERS:
            raise InputError(f"{place}: group {number}, {group}: {letter!r} is in no ledger")
        value = value << 5 | _LETTERS.index(letter)
    if not size or value >> 8 * size or _CHECKS[value % 37] != group[-1]:
        raise InputError(
            f"{place}: group {number}, {group}: a letter is wrong, or one is missing",
            hint="a group has 25 letters, the last one fewer; the last letter of each proves it",
        )
    return value.to_bytes(size, "big")
