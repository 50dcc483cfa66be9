"""Which function of the new program is which of the old one.

By name; of what is left by the name without its numbers, for versions of packages and the numbers
of closures change; of what is left then by code. No function is the like of two.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from isobuilder.delta.golang.fast import Bytes, Ints, read, view
from isobuilder.delta.golang.program import Program

Pair = tuple[int, int]
"""The numbers of an old function and of the new one that is its like."""

_SAMPLE = np.uint64(4)  # of so many runs of eight bytes one is looked at
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_COMMON = 64  # functions; what more of them have says nothing
_LEAST = 3  # runs that two functions must share
_SHARE = 0.4  # of the larger one's


def matched(old: Program, new: Program, code: Bytes, new_code: Bytes) -> tuple[Ints, Ints]:
    """Return the numbers of functions that are each other's like, in the order of the new ones.

    ``code`` and ``new_code`` are the bytes of the programs without the places that they name.
    """
    names, new_names = _names(old), _names(new)
    left, new_left = set(range(len(names))), set(range(len(new_names)))
    pairs: list[Pair] = []

    def take(found: Iterable[Pair]) -> None:
        for i, j in found:
            left.remove(i)
            new_left.remove(j)
            pairs.append((i, j))

    def by_name(key: Callable[[bytes], bytes]) -> list[Pair]:
        waiting: dict[bytes, deque[int]] = defaultdict(deque)
        for number in sorted(left):
            waiting[key(names[number])].append(number)
        keys = ((key(new_names[number]), number) for number in sorted(new_left))
        return [(waiting[name].popleft(), number) for name, number in keys if waiting.get(name)]

    take(by_name(bytes))
    take(by_name(lambda name: re.sub(rb"[0-9]+", b"0", name)))
    take(_by_code(_functions(old, code, left), _functions(new, new_code, new_left)))
    both = np.array(sorted(pairs, key=lambda pair: pair[1]), np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _names(program: Program) -> list[bytes]:
    start = program.layout.offset(program.places.names, 0)
    size = program.places.units - program.places.names
    table = program.data[start : start + size]
    offsets = read(program.data, "<u4", np.array(program.records, np.int64) + 4)
    return [table[at : table.find(b"\0", at)] for at in offsets.tolist()]


def _functions(program: Program, code: Bytes, numbers: set[int]) -> dict[int, list[int]]:
    """Return of functions some of the runs of eight bytes that they are made of."""
    base = program.text.offset - program.text.address
    ends = [base + int(entry) for entry in program.entries]
    return {number: _sampled(code[ends[number] : ends[number + 1]]) for number in sorted(numbers)}


def _sampled(code: Bytes) -> list[int]:
    words = view(code, "<u8")
    some = words[((words * _SPREAD) >> np.uint64(32)) % _SAMPLE == 0]
    found: list[int] = np.unique(some).tolist()
    return found


def _by_code(olds: dict[int, list[int]], news: dict[int, list[int]]) -> Iterator[Pair]:
    """Give pairs of functions that share much, those that share the greatest part first."""
    where: dict[int, list[int]] = defaultdict(list)
    for number, words in olds.items():
        for word in words:
            where[word].append(number)
    candidates = []
    for number, words in news.items():
        having = (where.get(word, []) for word in words)
        shared = Counter(i for some in having if len(some) <= _COMMON for i in some)
        for i, count in shared.items():
            share = count / max(len(olds[i]), len(words))
            if count >= _LEAST and share >= _SHARE:
                candidates.append((-share, -count, abs(i - number), i, number))
    used: set[int] = set()
    new_used: set[int] = set()
    for *_, i, j in sorted(candidates):
        if i not in used and j not in new_used:
            used.add(i)
            new_used.add(j)
            yield i, j
