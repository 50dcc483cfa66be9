"""One ISO built, verified and published, where it is not published yet."""

from __future__ import annotations

from collections.abc import Callable

from isobuilder.errors import IntegrityError
from isobuilder.files import as_environment_problem, locked
from isobuilder.model.lock import Lock
from isobuilder.model.policy import SyncPolicy
from isobuilder.pipeline.build import Built, build
from isobuilder.pipeline.trust import Trust
from isobuilder.pipeline.upstream.signedby import Demanded
from isobuilder.pipeline.upstream.target import Target
from isobuilder.pipeline.verify import verify
from isobuilder.publish.index import Published, change_index, index_of
from isobuilder.publish.place import publish_file
from isobuilder.sources.session import Session


def publish_built(
    lock: Lock, target: Target, policy: SyncPolicy, session: Session, begins: Callable[[], None]
) -> tuple[Published | None, str]:
    """Return the published ISO of a lock and what was done for it, nothing if it was there.

    ``begins`` is called before anything is. None is there of a lock whose ISO was taken away.

    Raises:
        IsobuilderError: it cannot be built or published, or is not what it has to be.
    """
    settled, known = target.settled(lock)
    if settled:
        target.clear((known or lock).base_name)
        return known, ""
    with as_environment_problem(target.work), locked(target.work / ".lock"):
        settled, known = target.settled(lock)  # as another sync of this place left it
        if settled:
            return known, ""
        begins()
        entry = _publish(_built(lock, target, policy, session), lock, target)
    return entry, f"{entry.name} {entry.sha256}"


def _built(lock: Lock, target: Target, policy: SyncPolicy, session: Session) -> Built:
    """Return a new ISO that is verified, with its signature and those that are demanded."""
    trust = Trust.of(session.config) if policy.trust else None
    made = build(lock, target.work, session, trust=trust)
    result = verify(made.iso, lock=made.lock, expected=made.digest, store=session.store)
    if not result.passed:
        raise IntegrityError(f"{made.iso.name}: {'; '.join(map(str, result.findings))}")
    gone = index_of(target.place).retired_as(made.iso.name)
    if gone is not None and gone.sha256 != made.digest:
        raise IntegrityError(
            f"{made.iso.name}: was the name of {gone.sha256}, until {gone.day}",
            hint="raise the revision of the recipe",
        )
    if policy.signing is not None:
        target.sign(made, policy.signing)
    if policy.signed_by is not None:
        Demanded.of(policy.signed_by).gather(made)
    return made


def _publish(made: Built, lock: Lock, target: Target) -> Published:
    sides = sorted(made.iso.parent.glob(f"{made.lock.base_name}.*"))
    # Its checksum first, which decides what the name stands for; the ISO itself last.
    first = made.iso.with_name(f"{made.iso.name}.sha256")
    for source in sorted(sides, key=lambda path: (path == made.iso, path != first)):
        publish_file(target.place, source, source.name)
    entry = Published(
        name=made.iso.name,
        kubernetes=lock.kubernetes,
        profile=lock.profile,
        architecture=lock.architecture,
        revision=lock.revision,
        sha256=made.digest,
        size=made.size,
        lock=lock.digest,
    )
    change_index(target.place, lambda index: index.with_iso(entry))
    for source in sides:
        source.unlink()
    return entry
