"""Whose signatures an ISO needs before a sync publishes it, and how builders exchange them.

Each builder runs a sync of its own. Its signature goes into a folder that they share, and what
lies there of the others is taken along; a run that finds too few waits for a later one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.files import as_environment_problem, read_bytes, write_whole
from isobuilder.model.policy import SignedBy
from isobuilder.pipeline.build import Built
from isobuilder.pipeline.provenance.signing import SIGNED, bundles_beside
from isobuilder.pipeline.upstream.target import Target
from isobuilder.publish.index import Published
from isobuilder.trust.publickeys import TrustedKeys, read_keys
from isobuilder.trust.signature import BUNDLE_FILE
from isobuilder.trust.signed import SignatureCheck, check_signatures

_MOST = 64  # signature files of one ISO in the folder


class NotYetSigned(IntegrityError):
    """Not all have signed who have to; a later run may find that they did."""


@dataclass(frozen=True, slots=True)
class Demanded:
    """What a policy demands, its keys read."""

    keys: TrustedKeys
    needed: int
    folder: Path | None

    @classmethod
    def of(cls, wanted: SignedBy) -> Self:
        """Return what a policy demands.

        Raises:
            InputErrors, InputError, EnvironmentProblem: as ``read_keys``.
        """
        keys = read_keys([Path(key) for key in wanted.keys], [Path(one) for one in wanted.revoked])
        return cls(keys, wanted.signatures, Path(wanted.folder) if wanted.folder else None)

    @property
    def ends(self) -> tuple[str, ...]:
        """How the names of signatures end that are not of the first who signed."""
        return tuple(_end(key.public.fingerprint) for key in self.keys.keys)

    def gather(self, made: Built) -> None:
        """Put signatures of others beside an ISO, give them ours, and return if they are enough.

        Raises:
            NotYetSigned: they are not, yet.
            IntegrityError: one is wrong: of another digest, of a revoked key, or damaged.
            EnvironmentProblem: the folder cannot be read or written.
        """
        base, beside = made.lock.base_name, bundles_beside(made.iso)
        shared: list[Path] = []
        if self.folder is not None:
            with as_environment_problem(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                shared = sorted(self.folder.glob(f"{base}.*{SIGNED}"))[:_MOST]
        texts = {str(path): read_bytes(path, BUNDLE_FILE.size) for path in (*beside, *shared)}
        check = self._right(texts.items(), made.digest)
        here = {one.fingerprint for one in check.claims if one.place in map(str, beside)}
        there = {one.fingerprint for one in check.claims if one.place in map(str, shared)}
        for claim in check.claims:
            name = f"{base}.{_end(claim.fingerprint)}"
            if claim.fingerprint not in here:
                write_whole(made.iso.with_name(name), texts[claim.place])
            if claim.fingerprint not in there and self.folder is not None:
                write_whole(self.folder / name, texts[claim.place])
        self._enough(check, made.iso.name, made.digest)

    def demand(self, entry: Published, target: Target) -> None:
        """Return if what is published has the signatures.

        Raises:
            NotYetSigned, IntegrityError: as ``gather``.
        """
        names = (f"{entry.base_name}{SIGNED}", *(f"{entry.base_name}.{end}" for end in self.ends))
        found = ((name, target.place.read(name, BUNDLE_FILE.size)) for name in names)
        texts = [(name, data) for name, data in found if data is not None]
        self._enough(self._right(texts, entry.sha256), entry.name, entry.sha256)

    def _right(self, texts: Iterable[tuple[str, bytes]], digest: Digest) -> SignatureCheck:
        check = check_signatures(texts, self.keys, digest)
        if check.refused:
            raise IntegrityError(*(f"{place}: {why}" for place, why in check.refused))
        return check

    def _enough(self, check: SignatureCheck, name: str, digest: Digest) -> None:
        if (lacks := check.missing(self.needed)) is not None:
            raise NotYetSigned(f"{name} {digest}: {lacks}")


def _end(fingerprint: Digest) -> str:
    return f"{fingerprint.hex[:12]}{SIGNED}"
