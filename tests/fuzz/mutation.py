"""Good bytes made bad: small changes of bytes, of lines and of JSON values, decided by a seed."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

Chance = random.Random
Edit = Callable[[bytearray, Chance], None]

LARGEST = 1024 * 1024
"""Bytes of a case; what a reader may cost is promised for four MiB."""

WORDS = (
    *("", "-", "0", "-1", "null", "true", "~", "{}", "[]", "''", "..", "../../x", "/etc/passwd"),
    *("C:\\x", "a/../b", "%2e%2e", "\x00", "\x1b]0;x\x07", "\x1b[2J", "\r", "\r\n", "\n"),
    *("no\nhint: run sh", "error: x", "\x85", "\u2028", "\u202e", "\ufeff", "\u00b2", "\u0661"),
    *("\ud800", "é", "한국어", "1e999", "-0", "0x10", "1_000", "²", "9" * 400, "9" * 5000),
    *("&a", "*a", "!!python/object:os.system", "!!binary x", "!!timestamp x", "!!int ''", "<<"),
    *("? ", "- - - -", "|", ">", "---", "...", "%YAML 9.9", "\t", "#", "{{ x }}", "{% for %}"),
    *("sha256:", "sha256:" + "0" * 64, "sha512:" + "0" * 128, "@", ":", "a:b:c", "[::1]", "[::"),
    *("http://", "https://[", "file:///etc/passwd", "http://a:b@c/", "https://x:99999/", "\\"),
    *("chunked", "gzip", "identity", "bytes 0-0/1", "bytes */*", "Basic", "Bearer realm=", '"'),
    *("A" * 300, "a/" * 600, "(" * 400, "[" * 2000, '{"a":' * 2000, "not " * 300, "\xff"),
)
"""Texts on which readers stumble; each is put in the place of something harmless."""

NUMBERS: tuple[int, ...] = (
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    31,
    127,
    128,
    254,
    255,
    256,
    511,
    512,
    2047,
    2048,
    4095,
    32767,
)
NUMBERS += (32768, 65535, 65536, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32)
NUMBERS += ((1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def encoded(text: str) -> bytes:
    """Return the bytes of any text, halves of surrogate pairs included."""
    return text.encode("utf-8", "surrogatepass")


def times(chance: Chance, most: int = 6) -> int:
    """Return a small number, mostly one."""
    count = 1
    while count < most and chance.random() < 0.4:
        count += 1
    return count


# --- bytes ---


def _flip(data: bytearray, chance: Chance) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _byte(data: bytearray, chance: Chance) -> None:
    data[chance.randrange(len(data))] = chance.choice((0, 1, 32, 47, 127, 128, 255))


def _number(data: bytearray, chance: Chance) -> None:
    size = chance.choice((1, 2, 4, 8))
    at = chance.randrange(len(data))
    value = (chance.choice(NUMBERS) % (1 << 8 * size)).to_bytes(
        size, chance.choice(("little", "big"))
    )
    data[at : at + size] = value[: len(data) - at]


def _slice(data: bytearray, chance: Chance) -> slice:
    begin = chance.randrange(len(data))
    longest = chance.choice((1, 4, 16, 64, 512, 4096, len(data)))
    return slice(begin, begin + chance.randint(1, longest))


def _cut(data: bytearray, chance: Chance) -> None:
    del data[_slice(data, chance)]


def _truncate(data: bytearray, chance: Chance) -> None:
    del data[chance.randrange(len(data)) :]


def _zero(data: bytearray, chance: Chance) -> None:
    part = _slice(data, chance)
    data[part] = bytes(len(data[part]))


def _double(data: bytearray, chance: Chance) -> None:
    part = data[_slice(data, chance)]
    at = chance.randrange(len(data) + 1)
    data[at:at] = part


def _repeat(data: bytearray, chance: Chance) -> None:
    part = data[_slice(data, chance)]
    room = max(LARGEST - len(data), 0) // max(len(part), 1)
    data += part * min(room, chance.choice((10, 100, 1000, 100_000)))


def _splice(data: bytearray, chance: Chance) -> None:
    part = data[_slice(data, chance)]
    at = chance.randrange(len(data))
    data[at : at + len(part)] = part


def _word(data: bytearray, chance: Chance) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = encoded(chance.choice(WORDS))


BYTES: tuple[Edit, ...] = (
    *(_flip, _flip, _byte, _number, _number, _cut, _truncate, _zero, _double, _repeat, _splice),
    _word,
)


def edited(data: bytes, chance: Chance, edits: Sequence[Edit] = BYTES) -> bytes:
    """Return ``data`` after a few of ``edits``."""
    changed = bytearray(data)
    for _ in range(times(chance)):
        if not changed:
            changed += b"\0"
        chance.choice(edits)(changed, chance)
    return bytes(changed[:LARGEST])


# --- lines ---

_TOKEN = re.compile(rb"[A-Za-z0-9_.+-]+|\"[^\"\n]*\"|'[^'\n]*'")


def _lines(data: bytearray, change: Callable[[list[bytes]], None]) -> None:
    lines = bytes(data).splitlines(keepends=True) or [b"\n"]
    change(lines)
    data[:] = b"".join(lines)


def _drop_line(data: bytearray, chance: Chance) -> None:
    def change(lines: list[bytes]) -> None:
        del lines[chance.randrange(len(lines))]

    _lines(data, change)


def _double_line(data: bytearray, chance: Chance) -> None:
    def change(lines: list[bytes]) -> None:
        begin = chance.randrange(len(lines))
        part = lines[begin : begin + times(chance)]
        many = chance.choice((1, 1, 1, 2, 50, 5000))
        room = LARGEST // (sum(map(len, part)) + 1)
        lines[begin:begin] = part * min(many, room)

    _lines(data, change)


def _move_line(data: bytearray, chance: Chance) -> None:
    def change(lines: list[bytes]) -> None:
        line = lines.pop(chance.randrange(len(lines)))
        lines.insert(chance.randint(0, len(lines)), line)

    _lines(data, change)


def _indent(data: bytearray, chance: Chance) -> None:
    def change(lines: list[bytes]) -> None:
        number = chance.randrange(len(lines))
        blank = chance.choice((b"  ", b" ", b"\t", b"- ", b"\xc2\xa0"))
        line = lines[number]
        lines[number] = blank + line if chance.random() < 0.6 else line.lstrip()

    _lines(data, change)


def _token(data: bytearray, chance: Chance) -> None:
    """One word or number becomes another one of the text, a number, or a bad word."""
    found = list(_TOKEN.finditer(bytes(data[: 256 * 1024])))
    if not found:
        return
    match = chance.choice(found)
    new = chance.choice(
        (
            chance.choice(found)[0],
            str(chance.choice(NUMBERS) * chance.choice((1, 1, -1))).encode(),
            encoded(chance.choice(WORDS)),
            match[0] * chance.choice((2, 30, 3000)),
        )
    )
    data[match.start() : match.end()] = new


TEXT: tuple[Edit, ...] = (
    *(_token, _token, _token, _token, _drop_line, _double_line, _move_line, _indent, _word, _flip),
    *(_cut, _truncate, _double, _repeat),
)


def edited_text(data: bytes, chance: Chance) -> bytes:
    """Return a text of lines and words after a few changes."""
    return edited(data, chance, TEXT)


# --- JSON ---


@dataclass(slots=True)
class Pairs:
    """An object whose keys may be there twice."""

    items: list[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Raw:
    """A piece of text where a value belongs."""

    text: str


_RAW: tuple[str, ...] = (
    "NaN",
    "Infinity",
    "1e999",
    "-1e999",
    "9" * 400,
    "9" * 5000,
    "01",
    "1.",
    "tru",
    '"\\ud800"',
)
_RAW += ('"\\u0000"', "'x'", "", "/**/1", "[" * 5000, '{"a":' * 3000, "[1,]", '"\x01"')
_SMALL: tuple[Any, ...] = (None, True, False, [], "", 0, -1, 1.5, 1e300, [None], [[]], {"a": 1})


_COPIED = 10_000  # values of one that is put elsewhere


def edited_json(value: Any, chance: Chance) -> bytes:
    """Return the text of a JSON value after a few changes of its structure."""
    tree = _opened(value)
    for _ in range(times(chance)):
        tree = _changed(tree, chance)
    data = encoded(_beginning(_dumped(tree, "\n" * chance.choice((0, 0, 1)))))[:LARGEST]
    return edited(data, chance) if chance.random() < 0.1 else data


def _opened(value: Any) -> Any:
    if isinstance(value, dict):
        return Pairs([(key, _opened(one)) for key, one in value.items()])
    return [_opened(one) for one in value] if isinstance(value, list) else value


def _places(tree: Any) -> Iterator[tuple[Any, int]]:
    """Yield every container with each of its positions; what is there often, often."""
    values = [one for _, one in tree.items] if isinstance(tree, Pairs) else tree
    for number, one in enumerate(values):
        yield tree, number
        if isinstance(one, Pairs | list):
            yield from _places(one)


def _changed(tree: Any, chance: Chance) -> Any:
    places = [*islice(_places(tree), LARGEST)] if isinstance(tree, Pairs | list) else []
    if not places or chance.random() < 0.03:
        return _other(tree, chance)
    holder, number = chance.choice(places)
    items = holder.items if isinstance(holder, Pairs) else holder
    one = items[number]
    key, value = one if isinstance(holder, Pairs) else ("", one)

    def put(new_key: str, new: Any) -> Any:
        return (new_key, new) if isinstance(holder, Pairs) else new

    match chance.randrange(8):
        case 0:
            del items[number]
        case 1:
            items[number:number] = [one] * chance.choice((1, 1, 2, 20, 2000))
        case 2:
            items[number] = put(chance.choice((*WORDS, key + "x", key.upper())), value)
        case 3:
            other, there = chance.choice(places)
            found = other.items if isinstance(other, Pairs) else other
            if there < len(found):
                new = found[there][1] if isinstance(other, Pairs) else found[there]
                if not isinstance(new, Pairs | list):
                    items[number] = put(key, new)
                elif sum(1 for _ in islice(_places(new), _COPIED)) < _COPIED:
                    items[number] = put(key, _copied(new))
        case _:
            items[number] = put(key, _other(value, chance))
    return tree


def _copied(value: Any) -> Any:
    if isinstance(value, Pairs):
        return Pairs([(key, _copied(one)) for key, one in value.items])
    return [_copied(one) for one in value] if isinstance(value, list) else value


def _other(value: Any, chance: Chance) -> Any:
    """Return something else than ``value``: of its kind, of another, or no JSON at all."""
    if isinstance(value, str) and chance.random() < 0.5:
        return edited_text(encoded(value), chance)[:20_000].decode("utf-8", "replace")
    if isinstance(value, int) and chance.random() < 0.5:
        return chance.choice(NUMBERS) * chance.choice((1, 1, -1))
    small = _opened(chance.choice(_SMALL))
    makes: tuple[Callable[[], Any], ...] = (
        lambda: Raw(chance.choice(_RAW)),
        lambda: [value],
        lambda: [small] * chance.choice((1, 100, 40_000)),
        lambda: Pairs([(f"k{number}", 0) for number in range(chance.choice((10, 1000, 20_000)))]),
        lambda: chance.choice(WORDS),
        lambda: small,
    )
    return chance.choice(makes)()


def _dumped(tree: Any, gap: str) -> Iterator[str]:
    """Yield the text piece by piece: a few changes may mean more of it than there is memory."""
    if isinstance(tree, Raw):
        yield tree.text
    elif isinstance(tree, Pairs | list):
        begin, end = "{}" if isinstance(tree, Pairs) else "[]"
        yield begin + gap
        between = ""
        for one in tree.items if isinstance(tree, Pairs) else tree:
            yield between
            key, value = one if isinstance(tree, Pairs) else (None, one)
            if key is not None:
                yield f"{json.dumps(key)}: "
            yield from _dumped(value, gap)
            between = f",{gap}"
        yield gap + end
    else:
        yield json.dumps(tree)


def _beginning(pieces: Iterator[str]) -> str:
    kept, length = [], 0
    for piece in pieces:
        kept.append(piece)
        length += len(piece)
        if length > LARGEST:
            break
    return "".join(kept)
