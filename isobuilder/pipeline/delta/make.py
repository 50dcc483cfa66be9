"""Old ISOs and a new one -> a delta, which was applied before anybody gets it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from isobuilder.delta.assembling import FileRun, Workbench, opened, unchanged
from isobuilder.delta.blocks import Blocked
from isobuilder.delta.choose import Tried, packed_whole, tried
from isobuilder.delta.container import is_delta, write_delta
from isobuilder.delta.methods import Method, methods
from isobuilder.delta.plan import MOST_MADE, Given, Link
from isobuilder.delta.prove import prove
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import (
    as_environment_problem,
    is_file,
    is_locked,
    locked,
    new_file,
    read_bytes,
    refuse_special,
)
from isobuilder.medium import TRAVELS
from isobuilder.pipeline.delta.beside import MOST_BESIDE, REGISTRATION, of_another, side
from isobuilder.pipeline.delta.pieces import Apart, Piece, look_into, take_apart, unpack
from isobuilder.pipeline.delta.planning import LONGEST_NAME, Opened, Plan, Planner, Told
from isobuilder.pipeline.delta.stretches import Stretched, stretched
from isobuilder.progress import SILENT, Progress, task
from isobuilder.text import printable

_COMPRESS = range(20, 30)
_MOST_PROOFS = 20


@dataclass(frozen=True, slots=True)
class MadeDelta:
    """A delta and what it cost."""

    path: Path
    size: int  # bytes
    new: Path
    digest: Digest  # of what it makes
    new_size: int  # bytes
    olds: tuple[Path, ...]
    told: tuple[Told, ...]
    streams: int  # gzip streams that changed
    streams_size: int  # bytes of them
    rebuilt_size: int  # bytes of those that are rebuilt exactly
    refused: tuple[str, ...]  # what another process did not make as it was made here


def make_delta(
    olds: Sequence[Path], new: Path, out: Path, *, any_of: bool = False, progress: Progress = SILENT
) -> MadeDelta:
    """Write a delta with which ``new`` comes of ``olds``, or with ``any_of`` of each of them.

    An old one that is ``new`` itself is left out.
    What lies beside ``new`` goes into it. Every method was tried in a fresh process, and what came
    of all of it is ``new``.

    Raises:
        InputError: a file is not there, or another one that is no delta has the name ``out``, or
            the registration beside ``new`` is of another ISO, or all ``olds`` are ``new`` itself.
        IntegrityError: a file was changed while it was read.
        EnvironmentProblem: no space, or a file cannot be read.
    """
    if out.is_file() and not is_delta(out):
        raise InputError(
            f"{out}: is there already, and is no delta", hint="name another file with --out"
        )
    refuse_special(out)
    with ExitStack() as closing:
        folder = out.absolute().parent
        with as_environment_problem(folder):
            folder.mkdir(parents=True, exist_ok=True)
        bench = closing.enter_context(Workbench(folder, size=0))
        files = _Files(bench, closing, progress)
        with unchanged(files.runs):
            beside = _beside(new, files.apart(new))
            others = [old for old in olds if files.apart(old).digest != files.apart(new).digest]
            if not others:
                raise InputError(
                    f"{new}: every old ISO is this very one", hint="whoever has it needs no delta"
                )
            groups = [[old] for old in others] if any_of else [others]
            with _scratch(folder) as scratch:
                links = [files.link(group, new, beside, scratch) for group in groups]
    with new_file(out) as put:
        write_delta(put, [(one.link, one.plan.deltas) for one in links])
    return _report(links, others, new, out)


_SCRATCH, _LOCK = ".isobuilder-proof-", "lock"


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Give a folder for proofs that is locked; those of runs that were killed go."""
    for left in folder.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):  # that of another user
            if (left / _LOCK).is_file() and not is_locked(left / _LOCK):
                shutil.rmtree(left)
    with as_environment_problem(folder):
        made = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder))
    try:
        with locked(made / _LOCK):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Linked:
    link: Link
    plan: Plan
    opened: Opened
    changed: tuple[Piece, ...]  # gzip streams
    refused: tuple[str, ...]


class _Files:
    """Opens files, each once, and plans links between them."""

    def __init__(self, bench: Workbench, closing: ExitStack, progress: Progress) -> None:
        self._bench, self._closing, self._progress = bench, closing, progress
        self.runs: list[FileRun] = []
        self._apart: dict[Path, Apart] = {}
        self._contents: dict[tuple[Path, int], Apart | None] = {}
        self._known: dict[tuple[Digest, Digest], Tried] = {}
        self._compressed: dict[tuple[int, Digest], bytes | None] = {}

    def link(
        self, olds: Sequence[Path], new: Path, beside: Mapping[str, bytes], folder: Path
    ) -> _Linked:
        """Return a link that was proved."""
        apart = self.apart(new)
        befores = [self.apart(old) for old in olds]
        old_digests = {piece.digest for one in befores for piece in one.pieces}
        new_digests = {piece.digest for piece in apart.pieces}
        opened = self._open(new, apart, old_digests, anew=True)
        opened_olds = [
            self._open(old, one, new_digests) for old, one in zip(olds, befores, strict=True)
        ]
        given = [
            Given(printable(old.name, LONGEST_NAME), one.digest, one.run.size)
            for old, one in zip(olds, befores, strict=True)
        ]
        wrong: set[tuple[int, Digest]] = set()
        refused: list[str] = []
        for _ in range(_MOST_PROOFS):
            plan = self._plan(given, opened_olds, opened, beside, wrong)
            name = printable(new.name, LONGEST_NAME)
            link = Link(name, apart.digest, apart.run.size, plan.runs, plan.result, plan.beside)
            self._progress.step("applying it in another process")
            paths = {one.digest: old for one, old in zip(befores, olds, strict=True)}
            found = _proved(link, plan, [paths[one.digest] for one in link.given], folder)
            if not found:
                changed = tuple(
                    piece
                    for piece in apart.pieces
                    if piece.packed and piece.digest not in old_digests
                )
                return _Linked(link, plan, opened, changed, tuple(refused))
            made = [segment for _, _, segment in link.made]
            for place, why in found.items():
                wrong.add((made[place].method, plan.expected[place]))
                way = methods()[made[place].method].name
                refused.append(f"{made[place].piece}: {way}: {why}")
        raise IntegrityError(f"{new}: no delta could be proved", *refused)

    def _plan(
        self,
        given: Sequence[Given],
        olds: Sequence[Opened],
        new: Opened,
        beside: Mapping[str, bytes],
        wrong: set[tuple[int, Digest]],
    ) -> Plan:
        def ways(before: bytes, after: bytes) -> Tried:
            digest = Digest.of(after)
            key = (Digest.of(before), digest)
            if key not in self._known:
                self._known[key] = tried(before, after)
            known = self._known[key]
            good = tuple(way for way in known.ways if (way.method.number, digest) not in wrong)
            return Tried(good or (packed_whole(after),), known.sizes)

        def compress(piece: Piece, content: bytes, packed: bytes) -> Iterator[tuple[Method, bytes]]:
            known = [methods()[number] for number in _COMPRESS if number in methods()]
            for method in [Blocked(piece.blocks)] if piece.blocks else known:
                if (method.number, piece.digest) in wrong:
                    continue
                delta = self._compress(method, content, packed, piece.digest)
                if delta is not None:
                    yield method, delta

        self._progress.step("looking for the smallest way to tell what changed")
        return Planner(given, olds, ways=ways, compress=compress).plan(new, beside)

    def apart(self, path: Path) -> Apart:
        """Return a file taken apart."""
        if path not in self._apart:
            run = self._closing.enter_context(opened(path))
            self.runs.append(run)
            with task(self._progress, path.name, total=run.size) as work:
                self._apart[path] = take_apart(path, run, work)
        return self._apart[path]

    def _open(self, path: Path, apart: Apart, known: set[Digest], *, anew: bool = False) -> Opened:
        """Return a file with what that in it unpacks to which the other side does not have.

        Blocks that have to be made ``anew`` are unpacked only where that can be done.
        """
        found = {}
        for piece in apart.pieces:
            if piece.packed and piece.digest not in known:
                content = self._content(path, apart, piece)
                if content is not None:
                    found[piece.offset] = content
        whole = stretched(apart, known, self._bench)
        if anew and not all(self._made_anew(whole, piece) for piece in whole.joined):
            return Opened(apart, found)
        return Opened(whole.apart, {**found, **whole.contents}, whole.unpacking)

    def _made_anew(self, whole: Stretched, piece: Piece) -> bool:
        content = whole.contents[piece.offset].run
        data = whole.apart.run.read(piece.offset, piece.size)
        plain = content.read(0, content.size)
        return self._compress(Blocked(piece.blocks), plain, data, piece.digest) is not None

    def _compress(
        self, method: Method, content: bytes, packed: bytes, digest: Digest
    ) -> bytes | None:
        key = (method.number, digest)
        if key not in self._compressed:
            self._compressed[key] = method.make(content, packed)
        return self._compressed[key]

    def _content(self, path: Path, apart: Apart, piece: Piece) -> Apart | None:
        key = (path, piece.offset)
        if key not in self._contents:
            try:
                run = self._bench.hold(unpack(apart.run, piece))
            except IntegrityError:
                self._contents[key] = None
            else:
                with task(self._progress, piece.place, total=run.size) as work:
                    content = look_into(piece.place, run, work)
                self._contents[key] = content if run.size <= MOST_MADE else None
        return self._contents[key]


def _proved(link: Link, plan: Plan, olds: Sequence[Path], folder: Path) -> dict[int, str]:
    """Return why pieces are not made as they should be, by their place; nothing if all are."""
    path = folder / "proved.delta"
    try:
        with new_file(path, private=True) as put:
            write_delta(put, [(link, plan.deltas)])
        wrong, digest = prove(path, olds, plan.expected)
    finally:
        path.unlink(missing_ok=True)
    if not wrong and digest != link.digest:
        raise IntegrityError(f"{link.name}: the delta makes {digest}, expected {link.digest}")
    return wrong


def _beside(new: Path, apart: Apart) -> dict[str, bytes]:
    found = {}
    for end in TRAVELS:
        path = side(new, end)
        if is_file(path):
            found[end] = read_bytes(path, MOST_BESIDE)
    if REGISTRATION in found:
        why = of_another(found[REGISTRATION], apart.digest, apart.run.size)
        if why is not None:
            raise InputError(
                f"{side(new, REGISTRATION)}: is of another ISO: {why}",
                hint="put the one there that was made with the ISO, or none",
            )
    return found


def _report(links: Sequence[_Linked], olds: Iterable[Path], new: Path, out: Path) -> MadeDelta:
    changed = {piece.digest: piece for one in links for piece in one.changed}
    rebuilt = {
        digest
        for one in links
        for (_, _, made), digest in zip(one.link.made, one.plan.expected, strict=True)
        if made.method in _COMPRESS
    }
    return MadeDelta(
        path=out,
        size=out.stat().st_size,
        new=new,
        digest=links[0].link.digest,
        new_size=links[0].link.size,
        olds=tuple(olds),
        told=tuple(told for one in links for told in one.plan.told),
        streams=len(changed),
        streams_size=sum(piece.size for piece in changed.values()),
        rebuilt_size=sum(piece.size for piece in changed.values() if piece.digest in rebuilt),
        refused=tuple(why for one in links for why in one.refused),
    )
