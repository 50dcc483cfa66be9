"""What a site has + deltas -> the ISO that was published, written once, from beginning to end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from isobuilder.delta.assembling import (
    ByteRun,
    FileRun,
    Workbench,
    opened,
    runs_of,
    unchanged,
)
from isobuilder.delta.container import Delta, Needed
from isobuilder.delta.methods import DeltaError
from isobuilder.delta.plan import Link
from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.errors import InputError, IntegrityError
from isobuilder.medium import SIGNATURE
from isobuilder.pipeline.delta.beside import MOST_BESIDE, Beside
from isobuilder.pipeline.delta.place import ANOTHER_NAME, Writer, alone, is_same, is_there, sweep
from isobuilder.pipeline.provenance.signing import Signatures
from isobuilder.progress import SILENT, Progress, Task, task
from isobuilder.trust.signed import check_signatures

_LONGEST = 255 - 24
"""Bytes of a name: that of its registration, while it is written, has so many more."""

_MOST_LEVELS = 300
"""Runs within runs of all links that are applied in one go; a year of patches has some 60."""


@dataclass(frozen=True, slots=True)
class AppliedDelta:
    """What came of it."""

    iso: Path
    digest: Digest
    size: int  # bytes
    steps: tuple[str, ...]  # what was made on the way, the ISO last
    resumed: int  # bytes that an earlier run had written
    beside: tuple[Path, ...]
    there: bool = False  # it was there already


def apply_deltas(
    olds: Sequence[Path],
    deltas: Sequence[Path],
    out: Path,
    *,
    wanted: Digest | None = None,
    replace: bool = False,
    signed: Signatures | None = None,
    progress: Progress = SILENT,
) -> AppliedDelta:
    """Write ``out``, which ``deltas`` make of ``olds``, in one go however many there are.

    ``wanted`` is what it has to be, if that came another way; else it is what the deltas lead to.
    ``signed`` is what is asked of the signature of the ISO, which goes along in the delta: it is
    about the digest, so it is proved before a byte is written.
    The file has its name once its bytes have the digest that was published; what a run that ended
    early had written is used by the next one. What lay beside the ISO is written beside it, and
    what lies there of an ISO that ``replace`` lets go goes with it.

    Raises:
        InputError: none of the deltas is for what is there, or they lead to several ISOs, or
            another file has that name already, or lies beside; nothing was written.
        IntegrityError: a delta is damaged, or the ISO is not signed as it should be; nothing was
            written. Or what came of it has another digest; nothing is left.
        EnvironmentProblem: no space, or another run is writing a file of that name.
    """
    _judge_name(out)
    others = [old for old in olds if not is_same(old, out)]
    if any(is_same(delta, out) for delta in deltas):
        raise _made_of_itself(out)
    with ExitStack() as closing:
        links = [one for path in deltas for one in closing.enter_context(Delta(path)).links]
        files = [closing.enter_context(opened(old)) for old in others]
        closing.enter_context(unchanged(files))
        given = _given(files, links, progress)
        try:
            path = _path(given, others, links, wanted)
        except InputError as error:
            raise error if len(others) == len(olds) else _made_of_itself(out) from error
        last = path[-1].link
        closing.enter_context(alone(out))
        there = is_there(out, last, replace=replace)
        size = last.size + sum(run.size for run in given.values())
        bench = closing.enter_context(Workbench(out.absolute().parent, size=len(path) * size))
        runs = _assembled(path, given, bench)
        writer = Writer(last, runs[last.result], out, progress)
        if not there:
            writer.check_space()  # before anything is made, of which that size bounds the work
        if signed is not None:
            _demand(last, runs, signed)
        sides = Beside(last, runs, out)
        _judge_sides(sides, there=there, replace=replace)
        resumed = 0 if there else writer.write()
        beside = _named(out, sides, None if there else writer, replace=replace, progress=progress)
    steps = tuple(one.link.name for one in path)
    return AppliedDelta(out, last.digest, last.size, steps, resumed, beside, there=there)


def _judge_name(out: Path) -> None:
    if (long := len(os.fsencode(out.name))) > _LONGEST:
        raise InputError(
            f"{out}: a name of {long} bytes, at most {_LONGEST}: files beside it have longer ones",
            hint="give it a shorter name",
        )


def _judge_sides(sides: Beside, *, there: bool, replace: bool) -> Sequence[str]:
    """Return which files beside the ISO go; InputError if one has to, and none may."""
    stale = sides.stale(there=there)
    if stale and not replace:
        raise InputError(next(iter(stale.values())), hint=ANOTHER_NAME)
    return sides.going(stale)


def _named(
    out: Path, sides: Beside, writer: Writer | None, *, replace: bool, progress: Progress
) -> tuple[Path, ...]:
    """Give the ISO its name, unless it has it (no ``writer``), and return what was put beside it.

    What came to lie there while it was written is judged as if it had been there before.
    """
    going = _judge_sides(sides, there=writer is None, replace=replace)
    if writer is not None:
        if replace and (going or os.path.lexists(out)):
            going = sides.everything_goes()
        writer.publish(replace=replace)
    gone = sides.remove(going)
    beside = sides.write()
    sweep(out)
    if lost := [path.name for path in gone if path not in beside]:
        progress.step(f"removed, as it was of another ISO: {', '.join(lost)}")
    return beside


def _made_of_itself(out: Path) -> InputError:
    """A run that ended early would need what it replaced."""
    return InputError(
        f"{out}: is one of the files that the new ISO is made of",
        hint="name another file with --out, and remove the old one once the new one is there",
    )


def _assembled(
    path: Sequence[Needed], given: Mapping[Digest, ByteRun], bench: Workbench
) -> list[ByteRun]:
    """Return the runs of the last link; what it needs of others is made when it is read."""
    known = dict(given)
    runs: list[ByteRun] = []
    levels = sum(needed.link.levels for needed in path)
    if levels > _MOST_LEVELS:
        raise InputError(
            f"{len(path)} deltas in a row, of {levels} levels, at most {_MOST_LEVELS}",
            hint="apply some of them, then the others to what came of it",
        )
    for needed in path:
        runs = runs_of(needed, known, bench)
        known[needed.link.digest] = runs[needed.link.result]
    return runs


def _demand(link: Link, runs: Sequence[ByteRun], wanted: Signatures) -> None:
    """Raise unless the signature that goes along with an ISO is one by which it may be used."""
    number = link.beside.get(SIGNATURE)
    place = f"{link.name.removesuffix('.iso')}.{SIGNATURE}"
    bundles: list[tuple[str, bytes]] = []
    if number is not None and 0 < runs[number].size <= MOST_BESIDE:
        try:
            bundles.append((place, runs[number].read(0, runs[number].size)))
        except DeltaError as error:
            raise IntegrityError(f"{place}: cannot be made by the delta: {error}") from error
    check = check_signatures(bundles, wanted.trusted, link.digest)
    wrong = [f"{where}: {why}" for where, why in check.refused]
    if (lacks := check.missing(wanted.needed)) is not None:
        wrong.append(f"{link.name}: {lacks}" if bundles else f"{link.name}: {lacks}: {_UNSIGNED}")
    if wrong:
        raise IntegrityError(*wrong, hint="get the delta again from whoever signs these ISOs")


_UNSIGNED = "no signature goes along in the delta"


def _given(
    files: Sequence[FileRun], links: Sequence[Needed], progress: Progress
) -> dict[Digest, ByteRun]:
    """Return what there is of what links need, each file hashed."""
    sizes = {one.size for needed in links for one in needed.link.given}
    found: dict[Digest, ByteRun] = {}
    for run in files:
        ends = {run.size} if not run.path.is_block_device() else {n for n in sizes if n <= run.size}
        for size in sorted(ends & sizes):
            part = run.first(size)
            with task(progress, f"hashing {run.path.name}", total=size) as work:
                found[_hashed(part, work)] = part
    return found


def _hashed(run: FileRun, work: Task) -> Digest:
    hasher = Hasher()
    for at in range(0, run.size, BUFFER_SIZE):
        data = run.read(at, min(BUFFER_SIZE, run.size - at))
        hasher.update(data)
        work.advance(len(data))
    return hasher.digest()


def _path(
    given: Mapping[Digest, ByteRun],
    olds: Sequence[Path],
    links: Sequence[Needed],
    wanted: Digest | None,
) -> list[Needed]:
    """Return the links to apply, in order, with the fewest steps to each thing."""
    how: dict[Digest, list[Needed]] = {digest: [] for digest in given}
    found: dict[Digest, list[Needed]] = {}
    while True:
        for needed in links:
            needs = [one.digest for one in needed.link.given]
            if needed.link.digest in how or not all(digest in how for digest in needs):
                continue
            before = dict.fromkeys(step for digest in needs for step in how[digest])
            steps = [*before, needed]
            if len(steps) < len(found.get(needed.link.digest, [*steps, needed])):
                found[needed.link.digest] = steps
        if not found:
            break
        least = min(len(steps) for steps in found.values())
        how |= {digest: steps for digest, steps in found.items() if len(steps) == least}
        found.clear()
    if wanted is not None:
        if how.get(wanted):
            return how[wanted]
        raise _does_not_fit(olds, links, how, wanted)
    used = {one.digest for needed in links if _leads_on(needed, how) for one in needed.link.given}
    ends = {digest: steps for digest, steps in how.items() if steps and digest not in used}
    ends = ends or {digest: steps for digest, steps in how.items() if steps}
    if not ends:
        raise _does_not_fit(olds, links, how, wanted)
    if len(ends) > 1:
        names = ", ".join(f"{steps[-1].link.name} ({digest})" for digest, steps in ends.items())
        raise InputError(
            f"the deltas lead to {len(ends)} ISOs: {names}", hint="say which with --digest"
        )
    return next(iter(ends.values()))


def _leads_on(needed: Needed, how: Mapping[Digest, list[Needed]]) -> bool:
    """Say if a link can be applied, and does not lead back to what it is made of."""
    needs = [one.digest for one in needed.link.given]
    if not all(digest in how for digest in needs) or not how[needed.link.digest]:
        return False
    return not any(
        step.link.digest == needed.link.digest for digest in needs for step in how[digest]
    )


def _does_not_fit(
    olds: Sequence[Path],
    links: Sequence[Needed],
    how: Mapping[Digest, list[Needed]],
    wanted: Digest | None,
) -> InputError:
    here = ", ".join(old.name for old in olds)
    for old in olds:
        size = old.stat().st_size if old.is_file() else None
        alike = {one.link.digest: one.link.name for one in links if one.link.size == size}
        digest = Digest.of_file(old) if alike else None
        if digest in alike and wanted in {None, digest}:
            return InputError(
                f"{here}: is {alike[digest]} ({digest}) already",
                hint="it needs no delta; copy it where you want it",
            )
    wants = {one.digest: one for needed in links for one in needed.link.given}
    made = {needed.link.digest for needed in links}
    lacking = [one for one in wants.values() if one.digest not in how]
    lacking = [one for one in lacking if one.digest not in made] or lacking
    they, told = ("need", lacking) if lacking else ("make", [one.link for one in links])
    names = [f"{one.name} ({one.digest})" for one in told]
    fact = "the deltas are for other ISOs" if wanted is None else f"nothing makes {wanted}"
    hint = "compare with sha256sum what is there; a damaged ISO is mended by site repair"
    if not lacking:
        hint = "compare with --digest, and get the delta that makes it"
    return InputError(f"{here}: {fact}: they {they} {'; or '.join(names)}", hint=hint)
