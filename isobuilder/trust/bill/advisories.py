"""Lists of vulnerabilities that came from elsewhere, applied to a bill without asking anybody.

Sources: OSV schema 1.7 (osv.dev's exports, which are zips); Grype's JSON report. Of OSV records
each says which versions it is about, and the order of versions is that of the kind of package; a
report of Grype names packages that were found, and counts for those that are in the bill.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isobuilder.documents.json import JsonLimits, parse
from isobuilder.errors import InputError
from isobuilder.formats.packages.order import compare
from isobuilder.formats.packages.package import Kind
from isobuilder.formats.zipped import is_zip, zip_members
from isobuilder.model.validation import cause_of
from isobuilder.text import printable
from isobuilder.trust.bill.cvss import base_score
from isobuilder.trust.bill.model import Bill, BillPart
from isobuilder.trust.bill.purl import Purl, parse_purl

Severity = Literal["unknown", "negligible", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the least to the most; what nobody judged is first, and what to do with it is policy."""

LIST = JsonLimits(size=256 * 1024 * 1024, items=16_000_000, unique=False)
"""A report on a whole ISO has some 20 MiB."""

_RECORD = JsonLimits(size=16 * 1024 * 1024, items=1_000_000, unique=False)
"""One record; the longest of OSV lists 300,000 versions of a package."""

_WORDS: dict[str, Severity] = {
    "negligible": "negligible",
    "unimportant": "negligible",
    "none": "negligible",
    "low": "low",
    "moderate": "medium",
    "medium": "medium",
    "important": "high",
    "high": "high",
    "critical": "critical",
}
_VENDOR_OF_RELEASE = re.compile(r"v?([0-9]+(?:\.[0-9]+)?)")
_OWN_ORDER = {"SEMVER", "ECOSYSTEM"}
_MAX_EVENTS = 1000  # of a range; the longest of OSV has some hundred


class _Foreign(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _OsvPackage(_Foreign):
    ecosystem: str
    name: str


class _OsvRange(_Foreign):
    type: str
    events: tuple[dict[str, str], ...] = ()


class _OsvAffected(_Foreign):
    package: _OsvPackage | None = None
    ranges: tuple[_OsvRange, ...] = ()
    versions: tuple[str, ...] = ()
    ecosystem_specific: dict[str, Any] | None = None
    database_specific: dict[str, Any] | None = None


class _OsvSeverity(_Foreign):
    type: str
    score: str


class _OsvRecord(_Foreign):
    id: Annotated[str, Field(min_length=1)]
    aliases: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()
    withdrawn: str | None = None
    severity: tuple[_OsvSeverity, ...] = ()
    affected: tuple[_OsvAffected, ...] = ()
    database_specific: dict[str, Any] | None = None


class _GrypeFix(_Foreign):
    versions: tuple[str, ...] | None = ()


class _GrypeVulnerability(_Foreign):
    id: Annotated[str, Field(min_length=1)]
    severity: str | None = None
    fix: _GrypeFix | None = None


class _GrypeRelated(_Foreign):
    id: str


class _GrypeArtifact(_Foreign):
    name: str
    version: str
    purl: str | None = None


class _GrypeMatch(_Foreign):
    vulnerability: _GrypeVulnerability
    related: Annotated[tuple[_GrypeRelated, ...] | None, Field(alias="relatedVulnerabilities")] = ()
    artifact: _GrypeArtifact


class _GrypeReport(_Foreign):
    matches: tuple[_GrypeMatch, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """One vulnerability in one part of the bill."""

    name: str
    aliases: tuple[str, ...]
    severity: Severity
    part: BillPart
    owner: BillPart | None  # what it is in; None for the ISO itself
    fixed: tuple[str, ...]  # versions in which it is mended, where known

    @property
    def names(self) -> frozenset[str]:
        """Every name of the vulnerability."""
        return frozenset({self.name, *self.aliases})


@dataclass(frozen=True, slots=True)
class AppliedList:
    """What a list says of a bill."""

    hits: tuple[Hit, ...]
    records: int
    elsewhere: int  # matches of a report that name nothing in the bill


def apply_list(data: bytes, place: str, bill: Bill) -> AppliedList:
    """Return what a list of OSV records or a report of Grype says of the parts of ``bill``.

    OSV records are one in a file, a list, one for each line, or each a file of a zip.

    Raises:
        InputError: neither, or a record that makes no sense.
    """
    index = _Index(bill)
    if is_zip(data):
        return _of_records(_zipped(data, place), index)
    try:
        if (records := _lines(data, place)) is not None:
            return _of_records(records, index)
        document = parse(data, place, LIST)
        if isinstance(document, dict) and "matches" in document:
            return _of_report(_GrypeReport.model_validate(document, strict=False), index)
        if isinstance(document, dict) and "id" in document:
            document = [document]
        if isinstance(document, list):
            named = ((f"{place}: record {number}", one) for number, one in enumerate(document))
            return _of_records(named, index)
    except ValidationError as error:
        raise InputError(f"{place}: {cause_of(error)}") from None
    raise InputError(
        f"{place}: expected OSV records or a report of Grype, got JSON of another form",
        hint="give an export of osv.dev, or what grype writes with -o json",
    )


_Placed = tuple[str, Any]  # where a record is, and what was read there


def _zipped(data: bytes, place: str) -> Iterator[_Placed]:
    for name, content in zip_members(data, place, most=_RECORD.size):
        where = f"{place}: {name}"
        if not name.endswith(".json"):
            raise InputError(
                f"{where}: expected only .json files, each a record of OSV",
                hint="give an all.zip of osv.dev as it was exported",
            )
        yield where, parse(content, where, _RECORD)


def _lines(data: bytes, place: str) -> Iterator[_Placed] | None:
    """Return the records of a text that has one for each line; None when it is one document."""
    first, newline, rest = data.partition(b"\n")
    if not newline or not rest.strip() or not first.strip().endswith(b"}"):
        return None
    places = ((f"{place}: line {number}", line) for number, line in enumerate(data.split(b"\n"), 1))
    return ((where, parse(line, where, _RECORD)) for where, line in places if line.strip())


class _Index:
    """The packages of a bill by the names under which vulnerabilities are told."""

    def __init__(self, bill: Bill) -> None:
        self.by_exact: dict[tuple[str, str, str], list[tuple[BillPart | None, BillPart]]] = {}
        self.by_name: dict[tuple[str, str], list[tuple[BillPart | None, BillPart, Purl, str]]] = {}
        for owner, part in bill.walk():
            if part.purl is None:
                continue
            purl = parse_purl(part.purl)
            self.by_exact.setdefault(purl.exact, []).append((owner, part))
            for ecosystem, name, version in _told_as(purl):
                known = self.by_name.setdefault((ecosystem, name), [])
                known.append((owner, part, purl, version))


def _told_as(purl: Purl) -> Iterator[tuple[str, str, str]]:
    """Give ecosystem, name and version of a package as OSV has them; systems tell of sources."""
    vendor, _, name = purl.name.partition("/")
    source, _, source_version = purl.get("upstream").partition("@")
    if purl.kind == "golang":
        yield "Go", purl.name, purl.version
    elif purl.kind == "npm":
        yield "npm", purl.name, purl.version
    elif purl.kind == "pypi":
        yield "PyPI", purl.name, purl.version
    elif purl.kind in {"deb", "apk"} and (ecosystem := _ECOSYSTEMS.get(vendor)):
        yield ecosystem, source or name, source_version or purl.version
    elif purl.kind == "rpm" and (ecosystem := _ECOSYSTEMS.get(vendor)):
        epoch = purl.get("epoch")
        yield ecosystem, name, f"{epoch}:{purl.version}" if epoch else purl.version


_ECOSYSTEMS = {
    "debian": "Debian",
    "ubuntu": "Ubuntu",
    "alpine": "Alpine",
    "wolfi": "Wolfi",
    "chainguard": "Chainguard",
    "rocky": "Rocky Linux",
    "almalinux": "AlmaLinux",
    "redhat": "Red Hat",
    "azurelinux": "Azure Linux",
    "mariner": "Mariner",
}
_MAJOR_ONLY = {"Rocky Linux", "AlmaLinux", "Debian"}


def _of_records(records: Iterable[_Placed], index: _Index) -> AppliedList:
    hits: list[Hit] = []
    count = 0
    for place, data in records:
        count += 1
        try:
            record = _OsvRecord.model_validate(data, strict=False)
        except ValidationError as error:
            raise InputError(f"{place}: {cause_of(error)}") from None
        if record.withdrawn is None:
            hits += _of_record(record, index)
    return AppliedList(_sorted(hits), count, 0)


def _of_record(record: _OsvRecord, index: _Index) -> Iterator[Hit]:
    for affected in record.affected:
        if affected.package is None:
            continue
        ecosystem, _, release = affected.package.ecosystem.partition(":")
        name = affected.package.name
        if ecosystem == "PyPI":
            name = re.sub("[-_.]+", "-", name).lower()
        for owner, part, purl, version in index.by_name.get((ecosystem, name), ()):
            if not _is_release(ecosystem, release, purl):
                continue
            kind: Kind = purl.kind  # type: ignore[assignment]
            if _holds(affected, kind, version):
                yield Hit(
                    printable(record.id, 100),
                    tuple(printable(one, 100) for one in (*record.aliases, *record.upstream)),
                    _severity(record, affected),
                    part,
                    owner,
                    tuple(sorted(set(_fixes(affected)))),
                )


def _is_release(ecosystem: str, release: str, purl: Purl) -> bool:
    """Whether a record is about the release of the system that a package is of."""
    wanted = _VENDOR_OF_RELEASE.match(release)
    if wanted is None:
        return True
    own = purl.get("distro").partition("-")[2]
    if ecosystem in _MAJOR_ONLY:
        return own.partition(".")[0] == wanted[1].partition(".")[0]
    return own == wanted[1] or own.startswith(f"{wanted[1]}.")


def _holds(affected: _OsvAffected, kind: Kind, version: str) -> bool:
    """Whether a version is one of those told of; what nobody can compare is taken for one.

    Source: OSV schema, "Evaluation".
    """
    plain = version.removeprefix("v") if kind == "golang" else version
    if version in affected.versions or plain in affected.versions:
        return True
    return any(_is_within(one, kind, plain) for one in affected.ranges if one.type in _OWN_ORDER)


def _is_within(told: _OsvRange, kind: Kind, version: str) -> bool:
    def earlier(one: tuple[str, str], other: tuple[str, str]) -> int:
        if "0" in {one[1], other[1]}:  # the beginning of everything
            return (one[1] != "0") - (other[1] != "0")
        return compare(kind, one[1], other[1]) or 0

    within = False
    steps = [step for event in told.events[:_MAX_EVENTS] for step in event.items()]
    for what, at in sorted(steps, key=cmp_to_key(earlier)):
        place = 1 if at == "0" else compare(kind, version, at)
        if what == "introduced" and (place is None or place >= 0):
            within = True
        elif place is not None and (
            (what == "fixed" and place >= 0) or (what == "last_affected" and place > 0)
        ):
            within = False
    return within


def _fixes(affected: _OsvAffected) -> Iterator[str]:
    for one in affected.ranges:
        if one.type in _OWN_ORDER:
            yield from (printable(event["fixed"], 100) for event in one.events if "fixed" in event)


def _severity(record: _OsvRecord, affected: _OsvAffected) -> Severity:
    for told in (
        affected.ecosystem_specific,
        affected.database_specific,
        record.database_specific,
    ):
        for key in ("severity", "urgency"):
            word = (told or {}).get(key)
            if isinstance(word, str) and (known := _WORDS.get(word.lower().rstrip("*"))):
                return known
    scores = [score for one in record.severity if (score := base_score(one.score)) is not None]
    return _of_score(max(scores)) if scores else "unknown"


def _of_score(score: float) -> Severity:
    for least, word in ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low")):
        if score >= least:
            return word  # type: ignore[return-value]
    return "negligible"


def _of_report(report: _GrypeReport, index: _Index) -> AppliedList:
    hits: list[Hit] = []
    elsewhere = 0
    for match in report.matches:
        there: list[tuple[BillPart | None, BillPart]] = []
        if match.artifact.purl is not None:
            there = index.by_exact.get(parse_purl(match.artifact.purl).exact, [])
        if not there:
            elsewhere += 1
        told = match.vulnerability
        severity = _WORDS.get((told.severity or "").lower(), "unknown")
        for owner, part in there:
            hits.append(
                Hit(
                    printable(told.id, 100),
                    tuple(printable(one.id, 100) for one in match.related or ()),
                    severity,
                    part,
                    owner,
                    tuple(printable(one, 100) for one in (told.fix and told.fix.versions) or ()),
                )
            )
    return AppliedList(_sorted(hits), len(report.matches), elsewhere)


def _sorted(hits: list[Hit]) -> tuple[Hit, ...]:
    unique = {(hit.name, hit.part.bom_ref): hit for hit in hits}
    return tuple(
        sorted(
            unique.values(),
            key=lambda hit: (-SEVERITIES.index(hit.severity), hit.name, hit.part.bom_ref),
        )
    )
