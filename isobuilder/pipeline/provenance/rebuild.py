"""Lock -> proofs that its programs are what public source compiles to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isobuilder import __version__
from isobuilder.content.blobs import held
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import as_environment_problem
from isobuilder.model.lock import Lock, LockedFile
from isobuilder.pipeline.fetch import holding
from isobuilder.sources.session import Session
from isobuilder.trust.rebuild.proof import ProofModule, RebuildProof, first_difference
from isobuilder.trust.rebuild.rules import RULES
from isobuilder.trust.rebuild.source import SourceTree, Toolchain
from isobuilder.trust.rebuild.stamps import read_stamps


@dataclass(frozen=True, slots=True)
class RebuildPlace:
    """With what programs are built again, and where."""

    caches: Path  # of Go; may be thrown away at any time
    go: Path | None = None
    chroot: Path | None = None


def rebuilt(lock: Lock, name: str, session: Session, place: RebuildPlace) -> RebuildProof:
    """Build the program ``name`` of a lock from public source, and return the proof it is that.

    The stamps are those that the locked program has; it is fetched if the store lacks it.

    Raises:
        InputError: the lock has no such program, or there is no rule for it.
        IntegrityError: what was built is not identical; tells the first section that differs.
        EnvironmentProblem: Go, a module or a root file system is not there, or the build fails.
    """
    file = _file(lock, name)
    nothing: dict[str, object] = {"manifests": (), "images": (), "render": (), "boot": None}
    alone = lock.model_copy(update={"files": (file,), "components": {}, **nothing})
    with holding([alone], session):
        blob = held(session.store.find, file.sha256, name)
    with blob.open() as stream:
        stamps = read_stamps(stream, name)
    if stamps.architecture != lock.architecture:
        raise IntegrityError(
            f"{name}: expected a program for {lock.architecture}, got {stamps.architecture}"
        )
    go = Toolchain.find(place.caches, place.go)
    if go.version != stamps.go:
        session.progress.step(f"warning: this is Go {go.version}, upstream used {stamps.go}")
    with as_environment_problem(go.root):
        go.root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="rebuild-", dir=go.root))
    try:
        source = SourceTree(go, RULES[name], stamps, work)
        session.progress.step(f"laying out the source of {name} {stamps.version}")
        modules = source.lay_out()
        session.progress.step(f"compiling {name}; takes minutes")
        made = source.build(place.chroot)
        if Digest.of_file(made) != file.sha256:
            with blob.open() as stream:
                where = first_difference(stream, made)
            raise _not_identical(file, made, where, go.version, stamps.go)
        command = tuple(word for word in source.command(Path("out")) if word not in {"-o", "out/"})
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return RebuildProof.model_validate(
        {
            "schema": 1,
            "name": file.name,
            "path": file.path,
            "architecture": lock.architecture,
            "sha256": file.sha256,
            "go": go.version,
            "command": ("go", *command[1:]),
            "commit": stamps.commit,
            "date": stamps.date,
            "modules": tuple(
                ProofModule(path=one.path, version=one.version, h1=one.h1) for one in modules
            ),
            "sums": go.sums,
            "tool": __version__,
        }
    )


def _file(lock: Lock, name: str) -> LockedFile:
    found = next((file for file in lock.files if file.name == name), None)
    if found is None or name not in RULES:
        there = rebuildable(lock)
        fact = "has no file of that name" if found is None else "no rule says how it is built"
        raise InputError(
            f"{lock.base_name}: {name}: {fact}",
            hint=f"what can be built again: {', '.join(there) or 'nothing of this lock'}",
        )
    return found


def rebuildable(lock: Lock) -> Sequence[str]:
    """Return the names of the programs of a lock that there are rules for."""
    return [file.name for file in lock.files if file.name in RULES]


def _not_identical(
    file: LockedFile, made: Path, where: str, used: str, upstreams: str
) -> IntegrityError:
    hint = None
    if used != upstreams:
        hint = f"upstream used Go {upstreams}, this is {used}: name that one with --go"
    return IntegrityError(
        f"{file.name}: not identical: locked {file.sha256}, built {Digest.of_file(made)}; "
        f"the first difference is in {where}",
        hint=hint,
    )
