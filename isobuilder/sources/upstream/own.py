"""Releases of the components that Mold adds: which one is for which minor of Kubernetes.

Tags are ``mold-k8s1.37-r1-2132862adc75`` for the autoscaler, which has a build for each minor, and
``mold-v1.2.1-r1-5dee69546c4e`` for the provider: what it is for, its revision, and the first twelve
digits of the commit. Source: the releases of ablecloud-team on GitHub.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

from isobuilder.documents.json import ANSWER, JsonProblem, value_of
from isobuilder.errors import UpstreamError
from isobuilder.text import day_of, printable

PROJECTS: Mapping[str, str] = {
    "autoscaler": "ablecloud-team/autoscaler",
    "provider": "ablecloud-team/ablestack-kubernetes-provider",
}
"""The components by their name in recipes."""

_TAG = re.compile(
    r"mold-(?:k8s(1\.[0-9]{1,4})|v([0-9]{1,9}(?:\.[0-9]{1,9}){2}))-r([0-9]{1,9})-([0-9a-f]{12})"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class OwnRelease:
    """One release; ``commit`` is None while only its first digits are known."""

    tag: str
    minor: str | None  # of Kubernetes, where there is a build for each
    version: str | None  # its own, where there is one build for all
    revision: int
    short: str  # the first 12 digits of the commit
    commit: str | None
    day: date | None

    @property
    def order(self) -> tuple[tuple[int, ...], int]:
        """What releases are sorted by, the oldest first."""
        return tuple(map(int, (self.version or self.minor or "0").split("."))), self.revision

    def at(self, commit: str) -> OwnRelease:
        """Return this with its commit, if that begins as the tag says."""
        good = _COMMIT.fullmatch(commit) and commit.startswith(self.short)
        return replace(self, commit=commit) if good else self


def own_releases(data: bytes, place: str) -> tuple[OwnRelease, ...]:
    """Return the releases of a component, the newest first; other tags are left out.

    Raises:
        UpstreamError: it is no list of GitHub's.
    """
    entries = _value(data, place)
    if not isinstance(entries, list):
        raise UpstreamError(f"{place}: expected a list of releases, got {type(entries).__name__}")
    return tuple(sorted(_releases(entries), key=lambda one: one.order, reverse=True))


def _releases(entries: Iterable[object]) -> Iterator[OwnRelease]:
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("draft") or entry.get("prerelease"):
            continue
        tag = entry.get("tag_name")
        found = _TAG.fullmatch(tag) if isinstance(tag, str) else None
        if found is None:
            continue
        minor, version, revision, short = found.groups()
        published = entry.get("published_at")
        day = day_of(published) if isinstance(published, str) else None
        one = OwnRelease(found[0], minor, version, int(revision), short, None, day)
        commit = entry.get("target_commitish")  # a branch, or a commit
        yield one.at(commit) if isinstance(commit, str) else one


def commit_of(data: bytes, place: str) -> str:
    """Return the commit that GitHub says a tag is of. Source: its REST API, "Get a commit".

    Raises:
        UpstreamError: it says no such thing.
    """
    value = _value(data, place)
    sha = value.get("sha") if isinstance(value, dict) else None
    if not isinstance(sha, str) or not _COMMIT.fullmatch(sha):
        raise UpstreamError(f"{place}: expected a commit, got {printable(str(sha))[:60]!r}")
    return sha


def _value(data: bytes, place: str) -> object:
    try:
        return value_of(data, ANSWER)
    except JsonProblem as problem:
        raise UpstreamError(f"{place}: {problem}") from None
