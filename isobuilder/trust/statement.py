"""in-toto statements about an ISO, with SLSA provenance as what they say.

Sources: in-toto Attestation Framework v1 (statement.md, resource_descriptor.md); SLSA provenance
v1 (https://slsa.dev/spec/v1.0/provenance). Plain JSON of our own: the same lock, builder and moment
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from isobuilder.digest import Digest
from isobuilder.documents.json import JsonLimits, parse
from isobuilder.errors import IntegrityError
from isobuilder.medium import MANIFEST, SUMS
from isobuilder.model.base import canonical_json
from isobuilder.model.lock import Lock, LockedFile, LockedManifest
from isobuilder.text import day_of

STATEMENT = JsonLimits(size=16 * 1024 * 1024, items=200_000)
"""A subject has four values; there are at most 1024 in a statement that others read."""

PROVENANCE = "https://slsa.dev/provenance/v1"
_STATEMENT_V1 = "https://in-toto.io/Statement/v1"
_READ = {_STATEMENT_V1, "https://in-toto.io/Statement/v0.1"}  # the second is cosign's
_BUILD_TYPE = "urn:isobuilder:iso:v1"
REBUILD_TYPE = "urn:isobuilder:rebuild:v1"
"""How a program came about that was built again: its build is a proof."""

_MOST_SUBJECTS = 1024
"""What cosign reads. A larger ISO is signed as a whole with its lists, which name every file."""

_Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """What a signed text says, and of which bytes."""

    subjects: tuple[tuple[str, Digest], ...]  # names with what they hash to
    predicate_type: str
    predicate: Mapping[str, Any]

    def digests(self) -> dict[str, Digest]:
        """Return what each name hashes to."""
        return dict(self.subjects)

    @property
    def builder(self) -> str | None:
        """Who says to have built it; None if that is not said."""
        found = _inside(self.predicate, "runDetails", "builder", "id")
        return found if isinstance(found, str) and self.predicate_type == PROVENANCE else None

    @property
    def rebuild(self) -> _Json | None:
        """What it says of a program that was built again; None if it is about something else."""
        said = _inside(self.predicate, "buildDefinition")
        if self.predicate_type != PROVENANCE or _inside(said, "buildType") != REBUILD_TYPE:
            return None
        found = _inside(said, "externalParameters")
        return found if isinstance(found, dict) else None

    @property
    def lock(self) -> str | None:
        """The digest of the lock that it says it was built from."""
        found = _inside(self.predicate, "buildDefinition", "externalParameters", "lock")
        return found if isinstance(found, str) else None

    @property
    def day(self) -> date | None:
        """The day on which it says it was signed."""
        found = _inside(self.predicate, "runDetails", "metadata", "finishedOn")
        return day_of(found) if isinstance(found, str) else None


def _inside(value: object, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def read_statement(payload: bytes, place: str) -> SignedStatement:
    """Return the statement in the payload of an envelope.

    Raises:
        IntegrityError: it is none, or names no SHA-256 of anything.
    """
    data = parse(payload, place, STATEMENT, IntegrityError)
    if not isinstance(data, dict) or data.get("_type") not in _READ:
        found = data.get("_type") if isinstance(data, dict) else None
        raise IntegrityError(f"{place}: expected an in-toto statement, found {str(found)[:80]!r}")
    predicate, kind = data.get("predicate"), data.get("predicateType")
    subjects = tuple(_subjects(data.get("subject"), place))
    if not isinstance(kind, str):
        raise IntegrityError(f"{place}: predicateType: expected a type, found none")
    return SignedStatement(subjects, kind, predicate if isinstance(predicate, dict) else {})


def _subjects(value: object, place: str) -> Iterator[tuple[str, Digest]]:
    for at, one in enumerate(value if isinstance(value, list) else ()):
        digits = _inside(one, "digest", "sha256")
        if not isinstance(digits, str):
            continue  # one by another kind of digest says nothing that is checked here
        try:
            yield str(_inside(one, "name") or ""), Digest.from_hex(digits)
        except ValueError as error:
            raise IntegrityError(f"{place}: subject[{at}]: {error}") from None


def statement_bytes(
    name: str, iso: Digest, files: Mapping[str, Digest], predicate: Mapping[str, Any]
) -> bytes:
    """Return the statement about the ISO ``name`` and each of its files."""
    if len(files) >= _MOST_SUBJECTS:
        files = {path: digest for path, digest in files.items() if path in {MANIFEST, SUMS}}
    subjects = [(name, iso), *sorted(files.items())]
    return canonical_json(
        {
            "_type": _STATEMENT_V1,
            "subject": [{"name": one, "digest": {"sha256": at.hex}} for one, at in subjects],
            "predicateType": PROVENANCE,
            "predicate": predicate,
        }
    )


def provenance(lock: Lock, *, tool: str, builder: str, finished: datetime) -> _Json:
    """Return how the ISO of ``lock`` came about: what was asked for, and every byte it is made of.

    ``tool`` is the version of isobuilder, ``builder`` the URI of whoever ran it.
    """
    asked = {
        "architecture": lock.architecture,
        "boots": lock.boot is not None,
        "kubernetes": str(lock.kubernetes),
        "lock": str(lock.digest),
        "profile": lock.profile,
        "recipe": str(lock.recipe),
        "revision": lock.revision,
        **({"variant": lock.variant} if lock.variant else {}),
    }
    return {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": asked,
            "internalParameters": {"epoch": lock.epoch},
            "resolvedDependencies": list(_materials(lock)),
        },
        "runDetails": {
            "builder": {"id": builder, "version": {"isobuilder": tool}},
            "metadata": {"finishedOn": finished.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")},
        },
    }


def _materials(lock: Lock) -> Iterator[_Json]:
    items: list[LockedFile | LockedManifest] = [*lock.files, *lock.manifests]
    for item in sorted(items, key=lambda item: item.path):
        yield {"name": item.path, "uri": item.url, "digest": {"sha256": item.sha256.hex}}
    for image in sorted(lock.images, key=lambda image: image.reference):
        uri = f"oci://{image.pinned}"
        yield {"name": image.reference, "uri": uri, "digest": {"sha256": image.digest.hex}}
    if lock.boot is not None and lock.boot.payload is not None:
        yield {"name": lock.boot.name, "digest": {"sha256": lock.boot.payload.hex}}
        for name, part in sorted(lock.boot.artifacts.items()):
            yield {"name": f"{lock.boot.name}/{name}", "digest": {"sha256": part.digest.hex}}
