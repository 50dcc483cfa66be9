"""Kubernetes' official feed of vulnerabilities: what is known, and which patches mend it.

Source: kubernetes.io/docs/reference/issues-security, JSON Feed 1.1, made by kubernetes/sig-security
``cve-feed/hack/fetch-official-cve-feed.py``. Versions are prose in ``content_text``, the body of an
issue on GitHub: only those below a heading "Fixed Versions" are read, and nothing is concluded
where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from isobuilder.documents.json import ANSWER, JsonProblem, value_of
from isobuilder.errors import UpstreamError
from isobuilder.formats.version import ReleaseVersion, version_of
from isobuilder.text import printable

URL = "https://kubernetes.io/docs/reference/issues-security/official-cve-feed/index.json"
SIZE = 8 * 1024 * 1024  # bytes; in 2026 it has less than one MiB

_ID = re.compile(r"CVE-[0-9]{4}-[0-9]{4,7}")
_HEADING = re.compile(r"\W*fixed\s+(?:in\s+)?versions?\b", re.IGNORECASE)
_NEXT = re.compile(r"\s*(?:#|\*\*)")
_VERSION = re.compile(r"(?<![0-9.])v?(1\.[0-9]{1,4}\.[0-9]{1,9})(?![0-9.]*[0-9])")
_LINES = 40  # below a heading; the longest list we know has twelve
_LONGEST = 200  # characters of a summary
_MOST_TEXT = 64 * 1024  # characters; GitHub takes as many of an issue's body


@dataclass(frozen=True, slots=True)
class Cve:
    """One vulnerability, and the patches that mend it as far as its issue lists them."""

    id: str
    summary: str
    status: str  # open, fixed, unfixed, unknown
    url: str
    fixed: tuple[ReleaseVersion, ...] = ()

    def mends(self, version: ReleaseVersion) -> ReleaseVersion | None:
        """Return the patch of the same minor that mends all of it, if ``version`` is before that.

        None also where nobody wrote down a patch of that minor.
        """
        last = max((one for one in self.fixed if one.line == version.line), default=version)
        return last if version < last else None


def read_cves(data: bytes, place: str) -> tuple[Cve, ...]:
    """Return the vulnerabilities of a feed, in its order; entries that are none are left out.

    Raises:
        UpstreamError: it is no such feed.
    """
    try:
        value = value_of(data, ANSWER)
    except JsonProblem as problem:
        raise UpstreamError(f"{place}: {problem}") from None
    items = value.get("items") if isinstance(value, dict) else None
    if not isinstance(items, list):
        raise UpstreamError(f"{place}: expected a feed with items, got none")
    return tuple({one.id: one for item in items for one in _cve(item)}.values())


def _cve(item: object) -> Iterator[Cve]:
    if not isinstance(item, dict) or not _ID.fullmatch(_text(item, "id")):
        return
    extra = item.get("_kubernetes_io")
    status = _text(item, "status") or (_text(extra, "status") if isinstance(extra, dict) else "")
    yield Cve(
        id=_text(item, "id"),
        summary=printable(" ".join(_text(item, "summary").split()))[:_LONGEST],
        status=printable(status)[:20] or "unknown",
        url=printable(_text(item, "external_url") or _text(item, "url"))[:_LONGEST],
        fixed=tuple(sorted(set(_fixed(_text(item, "content_text"))))),
    )


def _fixed(text: str) -> Iterator[ReleaseVersion]:
    lines = text[:_MOST_TEXT].splitlines()
    for number, line in enumerate(lines):
        heading = _HEADING.match(line)
        if heading is None:
            continue
        yield from _versions(line[heading.end() :])
        for below in lines[number + 1 : number + 1 + _LINES]:
            if _NEXT.match(below) or _HEADING.match(below):
                break
            yield from _versions(below)


def _versions(line: str) -> Iterator[ReleaseVersion]:
    for found in _VERSION.finditer(line):
        version = version_of(found[1])
        if version is not None:
            yield version


def _text(item: dict[str, object], key: str) -> str:
    value = item.get(key)
    return value.strip() if isinstance(value, str) else ""
