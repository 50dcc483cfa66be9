"""Which published ISOs a policy no longer wants, and how servers are told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Literal

from isobuilder.errors import EnvironmentProblem, IsobuilderError
from isobuilder.model.policy import SyncPolicy
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.catalogue import Item
from isobuilder.mold.manage import list_entries, users_of
from isobuilder.mold.registered import RegisteredVersion
from isobuilder.publish.index import Published, PublishedIndex
from isobuilder.rules.book import RuleBook


class StillUsed(EnvironmentProblem):
    """Clusters use a version, so it stays until they do not."""


def to_retire(
    index: PublishedIndex, policy: SyncPolicy, book: RuleBook, day: date
) -> dict[Published, str]:
    """Return what is to be taken away, and why; the first reason counts."""
    found: dict[Published, str] = {}
    for one in index.isos:
        life = book.minor(one.kubernetes.minor_text)
        after = policy.retire.ended_days
        if life and life.end and after is not None and (day - life.end).days > after:
            found[one] = f"upstream's support of {life.minor} ended on {life.end}"
    for group in _groups(index, lambda one: (one.kind, str(one.kubernetes))):
        newest = sorted(group, key=lambda one: one.revision, reverse=True)
        if policy.keep_revisions is not None:
            for old in newest[policy.keep_revisions + 1 :]:
                found.setdefault(old, f"r{newest[0].revision} is published")
    for group in _groups(index, lambda one: (one.kind, one.kubernetes.minor_text)):
        versions = sorted({one.kubernetes for one in group}, reverse=True)
        old_ones = versions[policy.retire.patches :] if policy.retire.patches else ()
        for one in group:
            if one.kubernetes in old_ones:
                found.setdefault(one, f"{versions[0]} is published")
    return found


def _groups(
    index: PublishedIndex, key: Callable[[Published], tuple[str, str]]
) -> Iterator[list[Published]]:
    groups: defaultdict[tuple[str, str], list[Published]] = defaultdict(list)
    for one in index.isos:
        groups[key(one)].append(one)
    yield from groups.values()


def retire_from(
    molds: Sequence[Mold], item: Item, how: Literal["disable", "delete", "leave"]
) -> list[str]:
    """Disable or delete an ISO's version on each server that has it, and return what was done.

    Raises:
        StillUsed: it should be deleted and clusters use it.
        MoldError: a server failed; the others have had their turn.
    """
    done: list[str] = []
    problem: IsobuilderError | None = None
    for mold in molds if how != "leave" else ():
        try:
            same = (entry for entry in list_entries(mold) if entry.is_same(item))
            facts = [fact for entry in same if (fact := _retired(mold, entry, how))]
            done += [f"{mold.name}: {fact}" for fact in facts]
        except IsobuilderError as error:
            problem = error
    if problem is not None:
        raise problem
    return done


def _retired(mold: Mold, entry: RegisteredVersion, how: str) -> str:
    version = entry.version
    if how == "delete":
        if users := users_of(mold, entry):
            names = ", ".join(sorted(user.name for user in users))
            raise StillUsed(f"{mold.name}: {version.name} is used by {names}")
        mold.delete_version(version.id)
        return f"{version.name} is deleted"
    if version.state == "Disabled":
        return ""
    mold.set_state(version.id, enabled=False)
    return f"{version.name} is disabled"
