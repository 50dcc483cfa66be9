"""Releases of the components that Mold adds: which one is for which minor of Kubernetes.

Tags are ``mold-k8s1.37-r1-2132862adc75`` for the autoscaler, which has a build for each minor, and
``mold-v1.2.1-r1-5dee69546c4e`` for the provider: what it is for, its revision, and the first twelve
digits of the commit. Source: the releases of ablecloud-team on GitHub.

What a build was made from is in files beside it: ``provenance.json`` of the autoscaler has the
release of Kubernetes' own autoscaler that was changed, ``go-modules.txt`` of the provider the
version of Mold's library. Sources: ``mold/build-minor.sh`` of the autoscaler,
``.github/workflows/mold-component.yml`` of the provider.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from isobuilder.documents.json import ANSWER, JsonProblem, value_of
from isobuilder.errors import UpstreamError
from isobuilder.formats.packages.golang import read_modules
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
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_SDK = re.compile(r"github\.com/([A-Za-z0-9][A-Za-z0-9-]{0,38}/ablestack-mold-go)(?:/v[0-9]{1,3})?")
_BUILT_FROM: Mapping[str, tuple[str, re.Pattern[str]]] = {  # variable of recipes -> key, form
    "autoscaler_baseline": ("original_baseline", _WORD),
    "autoscaler_status": ("baseline_status", _WORD),
    "autoscaler_binary_sha": ("binary_source_sha", _COMMIT),
}


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
    # What it was built from, by the variables that recipes have for it; empty where nobody asked.
    facts: Mapping[str, str] = field(default_factory=dict)

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


def file_of(component: str, release: OwnRelease) -> str:
    """Return the address of the file that says what a release was built from."""
    name = "provenance.json" if component == "autoscaler" else "go-modules.txt"
    return f"https://github.com/{PROJECTS[component]}/releases/download/{release.tag}/{name}"


def baseline_of(data: bytes, place: str, release: OwnRelease) -> dict[str, str]:
    """Return what an autoscaler was built from, by the variables of recipes.

    Raises:
        UpstreamError: it does not say so, or speaks of another build than ``release``.
    """
    value = _value(data, place)
    told = value if isinstance(value, dict) else {}
    for key, wanted in (("source_sha", release.commit), ("kubernetes_minor", release.minor)):
        if told.get(key) != wanted:
            found = printable(str(told.get(key)))[:60]
            raise UpstreamError(f"{place}: {key}: expected {wanted}, got {found!r}")
    return {name: _text(told, key, form, place) for name, (key, form) in _BUILT_FROM.items()}


def _text(told: Mapping[str, object], key: str, form: re.Pattern[str], place: str) -> str:
    text = told.get(key)
    if not isinstance(text, str) or not form.fullmatch(text):
        raise UpstreamError(f"{place}: {key}: expected a name, got {printable(str(text))[:60]!r}")
    return text


def sdk_of(data: bytes, place: str) -> tuple[str, str, str]:
    """Return module, version and project of Mold's library that a provider was built with.

    Raises:
        UpstreamError: none is named.
    """
    lines = data.decode("utf-8", "replace").replace("\n\t", "\n")  # as ``go version -m`` prints
    for module in read_modules("", lines):
        found = _SDK.fullmatch(module.name)
        if found and _WORD.fullmatch(module.version):
            return module.name, module.version, found[1]
    raise UpstreamError(f"{place}: no ablestack-mold-go among its modules")


def _value(data: bytes, place: str) -> object:
    try:
        return value_of(data, ANSWER)
    except JsonProblem as problem:
        raise UpstreamError(f"{place}: {problem}") from None
