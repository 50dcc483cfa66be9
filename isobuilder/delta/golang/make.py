"""Making a delta of format 1; needs numpy, for what is counted here are tens of millions."""

from __future__ import annotations

import re
from contextlib import suppress
from math import inf

import numpy as np

from isobuilder.delta.borrowed import Borrowed
from isobuilder.delta.golang import fast, format1
from isobuilder.delta.golang.headers import rewrite_headers
from isobuilder.delta.golang.moves import Moves, copies, expected
from isobuilder.delta.golang.pieces import pieces_of
from isobuilder.delta.golang.program import FORMS, Program, read_program
from isobuilder.delta.golang.voting import Search
from isobuilder.delta.methods import DeltaError

_ROUNDS = 3  # of votes; a fourth changes nothing
_NEW_MAPS, _OLD_MAP = 24, 88  # the version of Go that changed maps, and the size before
_SMALL = 4096  # bytes of a delta, below which another one is tried
_HARDLY = 65536  # bytes that are to be told, beyond which the other one is no smaller
_BLOCK = 32  # bytes that are told as they are together
_MOST_WRONG = 12  # of a block; with more of them it is told as it is
_MOST_WRONG_OF_MUCH = 16  # where much is new: corrections are packed the better the more they are
_MUCH = 20  # one in so many bytes; of a patch one in fifty, of a minor release one in ten


def made(old: bytes, new: bytes) -> bytes | None:
    """Return a delta of format 1; None if it is not for such bytes."""
    try:
        before, after = _program(old), _program(new)
        if before.machine != after.machine:
            return None
        delta = _made(before, after)
        format1.form_of(delta, len(new))  # refused if it has more numbers than may be applied
        return delta
    except DeltaError:
        return None


def _program(data: bytes) -> Program:
    older = _version(data) < _NEW_MAPS
    refused = DeltaError("no form is known")
    for form in sorted(FORMS, key=lambda form: (form.map_size > _OLD_MAP) == older):
        try:
            return read_program(data, form)
        except DeltaError as error:
            refused = error
    raise refused


def _version(program: bytes) -> int:
    """Return the second number of the version of Go; source: ``debug/buildinfo``."""
    at = program.find(b"\xff Go buildinf:")
    match = re.search(rb"go1\.([0-9]{1,3})", program[at : at + 64]) if at >= 0 else None
    return int(match[1]) if match else _NEW_MAPS


def _made(before: Program, after: Program) -> bytes:
    search = Search(before, after)
    for _ in range(_ROUNDS):
        search.vote()
        search.judge()
    known = expected(before.layout, after.layout, before.places, after.places)
    delta = delta_by(search, search.moves())
    # Where hardly anything moved, what few looks deceive is more than what the moves save.
    if len(delta) < _SMALL:
        with suppress(DeltaError):
            delta = min(delta, delta_by(search, Moves(known.items()), most=_HARDLY), key=len)
    return delta


def delta_by(search: Search, moves: Moves, *, most: float = inf) -> bytes:
    """Return a delta that goes by ``moves``.

    Raises:
        DeltaError: they leave more than ``most`` bytes to tell.
    """
    before, after = search.old, search.new
    known = expected(before.layout, after.layout, before.places, after.places)
    runs = _needed(list(zip(moves.starts, moves.shifts, strict=True)), known)
    # A run that need not be told goes the same way, but where it begins copies are cut.
    moves = Moves([*known.items(), *runs])
    rewritten = fast.rewrite(before, search.old_fields, moves, after.places)
    rewrite_headers(rewritten, before, moves, after.layout)
    taken = copies(moves, before.layout, after.layout)
    size = len(after.data)
    new = np.frombuffer(after.data, np.uint8)
    find = format1.find_run(after.layout, after.places)

    def guessed(pieces: list[Borrowed]) -> fast.Bytes:
        made = format1.copied(rewritten, [*taken, *pieces], size)
        table = format1.computed(after.data, after.layout, after.places)
        made[find.start : find.start + find.size] = table
        return np.frombuffer(made, np.uint8)

    wrong = new != guessed([])
    much = np.count_nonzero(wrong) > len(wrong) // _MUCH
    most_wrong = _MOST_WRONG_OF_MUCH if much else _MOST_WRONG
    dense = _dense(wrong, find, most_wrong)
    told = format1.untold(taken, dense, find, size)
    if sum(run.size for run in told) > most:
        raise DeltaError("the moves explain little")
    pieces = pieces_of(np.frombuffer(rewritten, np.uint8), new, told)
    guess = guessed(pieces)
    wrong = new != guess
    dense = _dense(wrong, find, most_wrong)
    told = format1.untold([*taken, *pieces], dense, find, size)
    literals = b"".join(after.data[run.start : run.start + run.size] for run in told)
    for run in told:
        wrong[run.start : run.start + run.size] = False
    spots = np.flatnonzero(wrong)
    delta = format1.GoDelta(
        check=format1.check_of(after.data),
        form=before.form,
        layout=after.layout,
        places=tuple(b - a for a, b in zip(before.places.all(), after.places.all(), strict=True)),
        starts=[start for start, _ in runs],
        shifts=[shift for _, shift in runs],
        pieces=pieces,
        dense=dense,
        spots=spots.tolist(),
        values=(new[spots] - guess[spots]).tobytes(),
        literals=literals,
    )
    return format1.to_bytes(delta, before.layout)


def _needed(runs: list[tuple[int, int]], known: dict[int, int]) -> list[tuple[int, int]]:
    """Return the runs without which others would be taken: what is expected needs no telling."""
    needed: list[tuple[int, int]] = []
    shift = None
    for start, own in runs:
        if start in known:
            if known[start] != own:
                needed.append((start, own))
        elif own != shift:
            needed.append((start, own))
        shift = own
    return needed


def _dense(wrong: fast.Bytes, find: format1.Stretch, most: int) -> list[format1.Stretch]:
    """Return the runs of blocks of which more than ``most`` bytes are wrong."""
    blocks = len(wrong) // _BLOCK
    many = wrong[: blocks * _BLOCK].reshape(-1, _BLOCK).sum(1) > most
    many[find.start // _BLOCK : (find.start + find.size) // _BLOCK + 1] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[0], many.astype(np.int8), [0]])))
    return [
        format1.Stretch(int(a) * _BLOCK, int(b - a) * _BLOCK)
        for a, b in zip(edges[0::2], edges[1::2], strict=True)
    ]
