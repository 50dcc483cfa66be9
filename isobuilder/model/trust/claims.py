"""What was found of signatures when an ISO was locked: claims, and the texts that prove them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, StringConstraints, model_validator

from isobuilder.digest import Digest
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.base import ONE_LINE, FileModel, IsoPath, Model, Name
from isobuilder.model.trust.policies import Line, SignaturePolicy

EVIDENCE = "evidence"
"""The folder of an ISO, and the end of the folder beside a lock, in which evidence is."""

CLAIMS = f"{EVIDENCE}/claims.json"
"""What the files in that folder are about."""

Folder = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}$")]
EvidenceKind = Literal["bundle", "payload", "index", "openpgp", "proof", "signed-proof"]


class EvidenceFile(Model):
    """One text that proves something."""

    kind: EvidenceKind
    path: IsoPath  # on the ISO, below evidence/
    sha256: Digest
    size: NonNegativeInt

    @model_validator(mode="after")
    def _in_its_folder(self) -> EvidenceFile:
        if not self.path.startswith(f"{EVIDENCE}/") or self.path == CLAIMS:
            raise ValueError(f"expected a path below {EVIDENCE}/, found {self.path}")
        return self


class SignatureClaim(Model):
    """What is known of the signature of one file or image."""

    subject: Line  # the name of the file, or the reference of the image
    what: Literal["files", "images"]
    path: IsoPath  # of the file, or of the image's archive
    sha256: Digest  # of the file; of the image's manifest
    url: Line  # where it is published
    policy: Name
    status: Literal["signed", "unsigned", "excepted"]
    why: Annotated[str, StringConstraints(pattern=ONE_LINE, max_length=4000)] = ""
    evidence: tuple[EvidenceFile, ...] = ()

    @model_validator(mode="after")
    def _with_its_reason(self) -> SignatureClaim:
        if (self.status == "signed") != bool(self.evidence):
            raise ValueError(f"{self.subject}: evidence goes with what is signed, and only with it")
        if self.status != "signed" and not self.why:
            raise ValueError(f"{self.subject}: {self.status} without a reason")
        return self


class RebuiltProgram(Model):
    """What builders say of a program that they made again from public source, bit for bit."""

    subject: Name  # of the file
    path: IsoPath
    sha256: Digest
    evidence: Annotated[tuple[EvidenceFile, ...], Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _of_proofs(self) -> RebuiltProgram:
        if odd := [one for one in self.evidence if one.kind not in {"proof", "signed-proof"}]:
            raise ValueError(f"{self.subject}: {odd[0].path} is no proof but of kind {odd[0].kind}")
        return self


class LockedTrust(FileModel):
    """Every claim of a lock, with the policies that they were judged by."""

    format: Annotated[Literal[1], Field(alias="schema")] = 1
    kubernetes: KubeVersion
    policies: dict[Name, SignaturePolicy]
    claims: tuple[SignatureClaim, ...]
    rebuilt: tuple[RebuiltProgram, ...] = ()  # by path
    folder: Folder | None = None  # beside the lock, in which the evidence is; None: on an ISO

    @model_validator(mode="after")
    def _consistent(self) -> LockedTrust:
        for claim in self.claims:
            if claim.policy not in self.policies:
                raise ValueError(f"{claim.subject}: there is no policy {claim.policy}")
        if len({one.path for one in self.rebuilt}) < len(self.rebuilt):
            raise ValueError("rebuilt: two entries for one path")
        paths: dict[str, Digest] = {}
        for one in self._evidence():
            if paths.setdefault(one.path.lower(), one.sha256) != one.sha256:
                raise ValueError(f"two files of evidence for the path {one.path}")
        return self

    def _evidence(self) -> Iterator[EvidenceFile]:
        for claim in self.claims:
            yield from claim.evidence
        for program in self.rebuilt:
            yield from program.evidence

    @property
    def files(self) -> dict[str, EvidenceFile]:
        """Every file of evidence once, by its path."""
        return dict(sorted((one.path, one) for one in self._evidence()))

    @property
    def on_iso(self) -> bytes:
        """What an ISO says of it."""
        return self.model_copy(update={"folder": None}).to_bytes()

    def claim_of(self, path: str) -> SignatureClaim | None:
        """Return what is claimed of the file or archive at ``path``."""
        return next((claim for claim in self.claims if claim.path == path), None)

    def to_data(self) -> dict[str, Any]:
        """Return it as plain JSON values, without what is not said."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"schema": 1}
