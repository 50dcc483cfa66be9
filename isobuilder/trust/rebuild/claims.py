"""Proofs that a program was built again from public source: signed, read, and judged by keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from isobuilder.errors import InputError, IntegrityError
from isobuilder.model.base import canonical_json
from isobuilder.model.trust.claims import EvidenceFile, RebuiltProgram
from isobuilder.model.validation import parse_json
from isobuilder.trust.publickeys import TrustedKeys, fingerprint_in
from isobuilder.trust.rebuild.proof import RebuildProof
from isobuilder.trust.signature import bundle_bytes, read_signature
from isobuilder.trust.signed import check_signatures
from isobuilder.trust.signers import Signer
from isobuilder.trust.statement import REBUILD_TYPE, read_statement, statement_bytes

_MEDIA_TYPE = b'"mediaType"'


@dataclass(frozen=True, slots=True)
class SaidProof:
    """A proof as somebody gave it. Holding one proves nothing."""

    proof: RebuildProof
    key: str | None = None  # fingerprint by its own word; None: signed by nobody
    builder: str | None = None


@dataclass(frozen=True, slots=True)
class ProvenRebuild:
    """What the proofs of one program say, of which none is wrong."""

    proof: RebuildProof
    builders: tuple[str, ...]  # who say so by keys that count
    count: int  # how many of them have keys of their own
    others: tuple[str, ...]  # who say so by keys that nobody named
    strangers: tuple[tuple[str, str], ...]  # file and reason: it does not count


def signed_proof(
    proof: RebuildProof, signer: Signer, *, builder: str | None = None, moment: datetime
) -> bytes:
    """Return ``proof`` signed: a bundle over a statement with SLSA provenance about the program.

    Raises:
        EnvironmentProblem, IntegrityError: as ``bundle_bytes``.
    """
    who = builder or f"urn:isobuilder:key:{signer.public.fingerprint}"
    said = {
        "buildDefinition": {"buildType": REBUILD_TYPE, "externalParameters": proof.to_data()},
        "runDetails": {
            "builder": {"id": who, "version": {"isobuilder": proof.tool}},
            "metadata": {"finishedOn": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")},
        },
    }
    return bundle_bytes(statement_bytes(proof.path, proof.sha256, {}, said), signer)


def read_proof(data: bytes, place: str) -> SaidProof:
    """Return the proof in a text, signed or not.

    Raises:
        IntegrityError: it is none.
    """
    if _MEDIA_TYPE not in data:
        return SaidProof(_proof(data, place))
    signed = read_signature(data, place)
    statement = read_statement(signed.envelope.payload, place)
    said = statement.rebuild
    if said is None or signed.hint is None:
        lacks = "key" if said is not None else "program that was built again"
        raise IntegrityError(f"{place}: a signed statement that names no {lacks}")
    proof = _proof(canonical_json(said), place)
    if [digest for _, digest in statement.subjects] != [proof.sha256]:
        raise IntegrityError(f"{place}: its statement is not about {proof.sha256} alone")
    return SaidProof(proof, fingerprint_in(signed.hint), statement.builder)


def _proof(data: bytes, place: str) -> RebuildProof:
    try:
        return parse_json(data, place, RebuildProof)
    except InputError as error:
        raise IntegrityError(*error.lines) from error


def judge_rebuilt(
    program: RebuiltProgram, body: Callable[[EvidenceFile], bytes], builders: TrustedKeys | None
) -> ProvenRebuild:
    """Return what the proofs of a program come to, by the keys of ``builders`` if there are any.

    Raises:
        IntegrityError: one is about something else, is damaged, or contradicts another; or some are
            signed and ``builders`` has the key of none.
    """
    bodies = [(one.path, body(one)) for one in program.evidence]
    said = [(place, read_proof(data, place)) for place, data in bodies]
    for place, one in said:
        _refuse_other(one.proof, program, place)
        if one.proof.source != said[0][1].proof.source:
            raise IntegrityError(f"{place}: it does not say the same as {said[0][0]}")
    proof = said[0][1].proof
    signed = [
        (place, data) for (place, data), (_, one) in zip(bodies, said, strict=True) if one.key
    ]
    if builders is None or not signed:
        others = tuple(one.builder or str(one.key) for _, one in said if one.key)
        return ProvenRebuild(proof, (), 0, others, ())
    check = check_signatures(signed, builders, program.sha256, what="program")
    if check.refused or not check.claims:
        why = check.refused or check.strangers
        raise IntegrityError(*(f"{place}: {reason}" for place, reason in why))
    names = tuple(sorted({claim.builder or claim.key for claim in check.claims}))
    return ProvenRebuild(proof, names, check.builders, (), check.strangers)


def _refuse_other(proof: RebuildProof, program: RebuiltProgram, place: str) -> None:
    """Return if a proof is about a program.

    Raises:
        IntegrityError: it is about another.
    """
    if proof.name != program.subject:
        raise IntegrityError(f"{place}: it is about {proof.name}, not about {program.subject}")
    if proof.sha256 != program.sha256:
        raise IntegrityError(f"{place}: it is about {proof.sha256}, not about {program.sha256}")
