"""Which function is which: by name, by the name without its numbers, by code."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from isobuilder.delta.golang.program import FORMS, Program, read_program
from tests.delta.golang.golden import base

fast = pytest.importorskip("isobuilder.delta.golang.fast", exc_type=ImportError)
matching = pytest.importorskip("isobuilder.delta.golang.matching", exc_type=ImportError)
np = pytest.importorskip("numpy")


def renamed(program: Program, numbers: set[int], change: Callable[[bytes], bytes]) -> Program:
    """Return ``program`` with other names of functions, each as long as it was."""
    data = bytearray(program.data)
    start = program.layout.offset(program.places.names, 0)
    for number in numbers:
        record = program.records[number]
        at = start + int.from_bytes(program.data[record + 4 : record + 8], "little")
        end = program.data.find(b"\0", at)
        data[at:end] = change(program.data[at:end])
        assert len(data) == len(program.data)
    return read_program(bytes(data), FORMS[0])


def likes(old: Program, new: Program) -> dict[int, int]:
    codes = [
        np.frombuffer(fast.without_places(one, fast.fields_of(one)), np.uint8) for one in (old, new)
    ]
    i, j = matching.matched(old, new, *codes)
    assert len(set(i.tolist())) == len(i) == len(set(j.tolist()))
    return dict(zip(i.tolist(), j.tolist(), strict=True))


def named(program: Program, pattern: bytes) -> set[int]:
    """Return the numbers of the functions that alone have their name, if it is like that."""
    names = matching._names(program)
    found = {n for n, name in enumerate(names) if re.search(pattern, name)}
    return {n for n in found if names.count(names[n]) == 1}


def with_code(program: Program, numbers: set[int]) -> set[int]:
    """Return those of them of whose code enough is in the golden program."""
    shift = program.text.offset - program.text.address
    entries = program.entries
    return {
        n
        for n in numbers
        if sum(map(bool, program.data[shift + entries[n] : shift + entries[n + 1]])) > 150
    }


def test_functions_are_matched_by_name() -> None:
    program = read_program(base("amd64"), FORMS[0])
    assert likes(program, program) == {n: n for n in range(len(program.entries) - 1)}


def test_versions_in_names_may_change() -> None:
    program = read_program(base("amd64"), FORMS[0])
    numbers = named(program, rb"[0-9]")
    assert len(numbers) > 10
    new = renamed(program, numbers, lambda name: re.sub(rb"[0-9]", b"7", name))
    found = likes(program, new)
    # Those of one name without its numbers keep their order, unless one of them had that name.
    assert sum(found.get(n) == n for n in numbers) > 0.7 * len(numbers)


def test_what_has_another_name_is_known_by_its_code() -> None:
    program = read_program(base("amd64"), FORMS[0])
    numbers = set(sorted(with_code(program, named(program, rb"[a-z]{8}")))[:40])
    assert len(numbers) > 5
    new = renamed(program, numbers, lambda name: b"Q" * len(name))
    found = likes(program, new)
    assert {n: found.get(n) for n in numbers} == {n: n for n in numbers}
