"""A delta applied in a fresh process: what was made in another one proves nothing.

``python -m isobuilder.delta.prove DELTA EXPECTED FOUND OLD...`` makes everything that the first
link of DELTA makes. EXPECTED has a line for each piece that a method makes, with the digest it
must have. FOUND gets a line for each that is wrong, then a line with the digest of the result.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from isobuilder.delta.assembling import ByteRun, Workbench, opened, runs_of
from isobuilder.delta.container import Delta
from isobuilder.delta.methods import DeltaError
from isobuilder.delta.plan import Made
from isobuilder.digest import Digest, Hasher
from isobuilder.run import run

_TIME = 4 * 3600.0  # seconds


def prove(
    delta: Path, olds: Sequence[Path], expected: Sequence[Digest]
) -> tuple[dict[int, str], Digest | None]:
    """Apply the first link of ``delta`` to ``olds`` in a fresh process.

    Returns why pieces, by their place in ``Link.made``, are not as ``expected``, and the digest
    of the result, None if it was not made.

    Raises:
        EnvironmentProblem: the process ended early.
    """
    with tempfile.TemporaryDirectory(prefix="isobuilder-prove-", dir=delta.parent) as name:
        wanted, told = Path(name, "expected"), Path(name, "found")
        wanted.write_text("".join(f"{digest}\n" for digest in expected))
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "isobuilder.delta.prove",
            delta,
            wanted,
            told,
            *olds,
        ]
        # Whatever made isobuilder known to this process makes it known to that one.
        run(command, timeout=_TIME, env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
        wrong: dict[int, str] = {}
        digest = None
        for line in told.read_text().splitlines():
            place, _, fact = line.partition(" ")
            if place == "result":
                digest = Digest(fact)
            else:
                wrong[int(place)] = fact
        return wrong, digest


def main(arguments: Sequence[str]) -> None:
    """Prove one delta, see the top of this module."""
    path, wanted, told, *olds = (Path(word) for word in arguments)
    lines = wanted.read_text().splitlines()
    found: dict[int, str] = {}
    with ExitStack() as closing:
        needed = closing.enter_context(Delta(path)).links[0]
        link = needed.link
        places = {id(made): place for place, (_, _, made) in enumerate(link.made)}

        def witness(segment: Made, made: bytes | str) -> None:
            place = places[id(segment)]
            if isinstance(made, str):
                found.setdefault(place, made)
            elif Digest.of(made) != lines[place]:
                found.setdefault(place, "it makes other bytes")

        given: dict[Digest, ByteRun] = {
            one.digest: closing.enter_context(opened(old)).first(one.size)
            for old, one in zip(olds, link.given, strict=True)
        }
        size = link.size + sum(one.size for one in link.given)
        bench = closing.enter_context(Workbench(told.parent, size=size, witness=witness))
        runs = runs_of(needed, given, bench)
        hasher = Hasher()
        try:
            for number in (*link.beside.values(), link.result):
                hasher = Hasher()
                for piece in runs[number].pieces(0):
                    hasher.update(piece)
        except DeltaError:
            if not found:
                raise
    text = "".join(f"{place} {why.splitlines()[0]}\n" for place, why in found.items())
    told.write_text(f"{text}result {hasher.digest()}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
