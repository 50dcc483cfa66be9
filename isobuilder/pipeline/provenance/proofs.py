"""Proofs of programs that were built again -> the evidence of a lock."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.files import is_file, read_bytes, write_whole
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.model.trust.claims import EVIDENCE, EvidenceFile, LockedTrust, RebuiltProgram
from isobuilder.pipeline.evidence import locked_text, write_evidence
from isobuilder.sources.session import Session
from isobuilder.store import hold_collections
from isobuilder.trust.publickeys import TrustedKeys
from isobuilder.trust.rebuild.claims import ProvenRebuild, SaidProof, judge_rebuilt, read_proof

_log = logging.getLogger(__name__)

_LARGEST = 16 * 1024 * 1024  # bytes of one proof


@dataclass(frozen=True, slots=True)
class AddedProof:
    """A proof that the evidence of a lock has, and what all of that program come to."""

    path: str  # on the ISO
    said: SaidProof
    proven: ProvenRebuild
    new: bool


def add_proof(
    path: Path, data: bytes, place: str, session: Session, builders: TrustedKeys | None = None
) -> AddedProof:
    """Put a proof into the lock of the file ``path``, in place of an older one of the same key.

    Raises:
        IntegrityError: it is damaged, of another program than the lock's, does not say what others
            say, or nothing is signed by a key of ``builders``.
        InputError: there is no such lock, or it is that of a finished ISO.
        EnvironmentProblem: the lock cannot be written.
    """
    refuse_unwritable(path)
    lock = load_lock(path)
    before = _empty(lock, path) if lock.trust is None else lock.trust
    said = read_proof(data, place)
    program, one = _with(lock, before, said, data, place)

    def body(text: EvidenceFile) -> bytes:
        return data if text == one else locked_text(lock, text, session)

    try:
        proven = judge_rebuilt(program, body, builders)
    except IntegrityError as error:
        facts = (line.replace(one.path, place) for line in error.lines)
        raise IntegrityError(*facts, hint=error.hint) from error
    others = [known for known in before.rebuilt if known.path != program.path]
    rebuilt = tuple(sorted((*others, program), key=lambda known: known.path))
    trust = before.model_copy(update={"rebuilt": rebuilt})
    new = rebuilt != before.rebuilt
    lock = lock.model_copy(update={"trust": trust}).found_in(path.parent)
    with hold_collections(session.store):  # no lock names it yet
        session.store.add_bytes(data)
        write_evidence(lock, path.parent, session)
    if new:
        write_whole(path, lock.to_bytes())
    return AddedProof(one.path, said, proven, new)


def is_of_an_iso(path: Path) -> bool:
    """Say if a lock lies beside the ISO that was built from it, and so has to stay as it is."""
    base = path.name.removesuffix(".lock.json")
    return base != path.name and is_file(path.with_name(f"{base}.iso"))


def refuse_unwritable(path: Path) -> None:
    """Return if a lock may be written, before somebody builds for minutes.

    Raises:
        InputError: it is that of an ISO.
        EnvironmentProblem: it may not.
    """
    if is_of_an_iso(path):
        raise InputError(
            f"{path}: is the lock of the ISO beside it, which would no longer be made from it",
            hint="name the lock from which ISOs are built, and build again",
        )
    if not os.access(path.parent, os.W_OK):
        raise EnvironmentProblem(
            f"{path.parent}: nothing may be written there",
            hint="copy the lock and its evidence to where it may, and name that one",
        )


def read_proof_file(path: Path) -> bytes:
    """Return the bytes of a file with a proof.

    Raises:
        InputError: it cannot be read, or is larger than any.
    """
    return read_bytes(path, _LARGEST)


def _empty(lock: Lock, path: Path) -> LockedTrust:
    folder = f"{path.name.removesuffix('.json').removesuffix('.lock')}.{EVIDENCE}"
    return LockedTrust(kubernetes=lock.kubernetes, policies={}, claims=(), folder=folder)


def _with(
    lock: Lock, trust: LockedTrust, said: SaidProof, data: bytes, place: str
) -> tuple[RebuiltProgram, EvidenceFile]:
    """Return a program of the lock with the proof among its evidence, and that proof."""
    name, sha256 = said.proof.name, said.proof.sha256
    file = next((one for one in lock.files if one.name == name), None)
    if file is None:
        raise InputError(f"{lock.base_name}: {name}: has no file of that name, {place} is about it")
    if (file.sha256, lock.architecture) != (sha256, said.proof.architecture):
        raise IntegrityError(
            f"{place}: it is about {name} for {said.proof.architecture} {sha256}, the lock has "
            f"{file.sha256} for {lock.architecture}"
        )
    end = "json"
    if said.key is not None:
        end = f"{said.key.removeprefix('sha256:')[:12]}.sigstore.json"
    added = EvidenceFile(
        kind="proof" if said.key is None else "signed-proof",
        path=f"{EVIDENCE}/{name}.rebuilt.{end}",
        sha256=Digest.of(data),
        size=len(data),
    )
    known = next((one for one in trust.rebuilt if one.path == file.path), None)
    kept = known.evidence if known is not None and known.sha256 == sha256 else ()
    evidence = {one.path: one for one in kept} | {added.path: added}
    program = RebuiltProgram(
        subject=name,
        path=file.path,
        sha256=sha256,
        evidence=tuple(evidence[at] for at in sorted(evidence)),
    )
    return program, added


def with_kept_proofs(lock: Lock, before: Lock | None, session: Session, *, folder: str) -> Lock:
    """Return a lock that was made again with the proofs of those programs that are the same."""
    if before is None or before.trust is None:
        return lock
    there = {(file.path, file.sha256) for file in lock.files}
    kept = []
    for program in before.trust.rebuilt:
        if (program.path, program.sha256) not in there:
            continue
        try:
            for one in program.evidence:
                locked_text(before, one, session)
        except EnvironmentProblem as problem:
            _log.warning("%s: its proof is left out: %s", program.subject, problem)
            continue
        kept.append(program)
    if not kept:
        return lock
    empty = LockedTrust(kubernetes=lock.kubernetes, policies={}, claims=(), folder=folder)
    trust = (lock.trust or empty).model_copy(update={"rebuilt": tuple(kept)})
    return lock.model_copy(update={"trust": trust})
