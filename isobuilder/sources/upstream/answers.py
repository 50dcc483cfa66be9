"""What each source of upstream answers, read strictly: markers, GitHub's releases, Go's index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from isobuilder.documents.json import ANSWER, JsonProblem, value_of
from isobuilder.errors import UpstreamError
from isobuilder.formats.version import ReleaseVersion, version_of
from isobuilder.model.base import LAST_YEAR
from isobuilder.sources.upstream.sight import Release
from isobuilder.text import day_of, printable

MARKER_SIZE = 256  # bytes; a marker is one version
INDEX_SIZE = 4 * 1024 * 1024  # bytes; Kubernetes' list of all tags has some 30 KiB

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"(?:v|[a-z-]{1,40}/v)?([0-9].*)")


def marker(data: bytes, place: str, *, minor: str = "") -> ReleaseVersion:
    """Return the version a marker names: ``stable.txt``, or with ``minor`` that of one minor.

    Source: kubernetes/release ``pkg/release/version.go``: ``vX.Y.Z``, blanks around it or not.

    Raises:
        UpstreamError: it names no final version, or one of another minor.
    """
    text = data.decode("ascii", "replace").strip()
    version = version_of(text) if text.startswith("v") else None
    if version is None:
        raise UpstreamError(f"{place}: expected a version vX.Y.Z, got {printable(text)[:60]!r}")
    if not version.is_final:
        raise UpstreamError(f"{place}: expected a final version, got {version}")
    if minor and version.line_text != minor:
        raise UpstreamError(f"{place}: expected a version of {minor}, got {version}")
    return version


def github_releases(data: bytes, place: str) -> tuple[Release, ...]:
    """Return the final releases of a project, the newest version first.

    ``digest`` of an asset is computed anew when the asset is replaced; those uploaded before June
    2025 have none. Drafts and pre-releases are left out, and tags that are no version.
    Source: GitHub's REST API, "List releases".

    Raises:
        UpstreamError: it is no such list.
    """
    found: dict[ReleaseVersion, Release] = {}
    for entry in _list(data, place):
        tag = entry.get("tag_name")
        match = _TAG.fullmatch(tag) if isinstance(tag, str) else None
        version = version_of(match[1]) if match else None
        if version is None or not version.is_final or entry.get("draft") or entry.get("prerelease"):
            continue
        digests = {
            asset["name"]: asset["digest"]
            for asset in _dicts(entry.get("assets"))
            if isinstance(asset.get("name"), str)
            and isinstance(asset.get("digest"), str)
            and _DIGEST.fullmatch(asset["digest"])
        }
        found.setdefault(version, Release(version, _day(entry.get("published_at")), digests))
    return _newest_first(found)


def module_versions(data: bytes, place: str) -> tuple[Release, ...]:
    """Return the final versions of a Go module, the newest first; days are asked for one by one.

    Source: the Go module proxy protocol, ``$module/@v/list``.

    Raises:
        UpstreamError: it is no such list.
    """
    text = data.decode("ascii", "replace")
    if text.lstrip().startswith("<"):
        raise UpstreamError(f"{place}: expected a list of versions, got a web page")
    found: dict[ReleaseVersion, Release] = {}
    for line in text.split():
        version = version_of(line.removesuffix("+incompatible"))
        if version is not None and version.is_final:
            found[version] = Release(version, None)
    return _newest_first(found)


def module_day(data: bytes, place: str) -> date | None:
    """Return the day of a version's commit. Source: the same protocol, ``$version.info``."""
    value = _value(data, place)
    return _day(value.get("Time")) if isinstance(value, dict) else None


def _newest_first(found: dict[ReleaseVersion, Release]) -> tuple[Release, ...]:
    return tuple(found[version] for version in sorted(found, reverse=True))


def _day(value: object) -> date | None:
    day = day_of(value) if isinstance(value, str) else None
    return day if day and day.year <= LAST_YEAR else None  # days are added to it


def _list(data: bytes, place: str) -> Iterator[dict[str, Any]]:
    value = _value(data, place)
    if not isinstance(value, list):
        raise UpstreamError(f"{place}: expected a list of releases, got {type(value).__name__}")
    return _dicts(value)


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _value(data: bytes, place: str) -> Any:
    try:
        return value_of(data, ANSWER)
    except JsonProblem as problem:
        raise UpstreamError(f"{place}: {problem}") from None
