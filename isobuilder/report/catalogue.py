"""What a catalogue has: the ISOs of some folders, by what lies beside them or on them.

No ISO is hashed and no archive is opened, so a thousand ISOs are read in the time of a thousand
small files. Digests are those that the side files tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from isobuilder.digest import Digest
from isobuilder.errors import InputError, IsobuilderError
from isobuilder.files import as_environment_problem, is_file
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.mold.catalogue import Item
from isobuilder.mold.registered import RegisteredVersion
from isobuilder.pipeline.delta.ways import FoundDelta, whole_deltas
from isobuilder.progress import SILENT, Progress, task
from isobuilder.report.subject import MANIFEST, DeltaTo, PageSubject, read_beside, read_inside
from isobuilder.rules.book import RuleBook, shipped_rules
from isobuilder.text import printable

_SIGNATURES = (".sigstore.json", ".iso.sigstore.json")
"""How signatures beside an ISO are called; whether they are good is for isobuilder verify."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,240}")


@dataclass(frozen=True, slots=True)
class OnServer:
    """How one server has an ISO."""

    server: str
    state: str  # Enabled or Disabled, as the server says it
    ready: bool


@dataclass(frozen=True)
class CatalogueEntry:
    """One ISO, as a row of the table."""

    subject: PageSubject
    manifest: IsoManifest
    signed: bool
    end: str | None  # the last day of upstream's support
    servers: tuple[OnServer, ...] = ()

    @property
    def name(self) -> str:
        """What its files are called."""
        return self.subject.name

    @property
    def page(self) -> str:
        """Its own page, from the top of the site; the name needs no quoting."""
        return f"isos/{self.name}.html"

    @property
    def version(self) -> KubeVersion:
        """Of Kubernetes."""
        return self.manifest.kubernetes_version

    @property
    def minor(self) -> str:
        """The x.y of its version."""
        return self.version.minor_text

    @property
    def flavour(self) -> str:
        """Profile and variant."""
        variant = self.manifest.variant
        return f"{self.manifest.profile}.{variant}" if variant else self.manifest.profile

    @property
    def boots(self) -> bool:
        """Whether it starts machines."""
        return self.manifest.operating_system is not None

    @property
    def kind(self) -> str:
        """What a cluster keeps when it is upgraded: profile, variant, system, architecture."""
        boot = ".boot" if self.boots else ""
        return f"{self.flavour}{boot} {self.manifest.architecture}"

    @property
    def released(self) -> str:
        """The day of its time stamps."""
        return str(datetime.fromtimestamp(self.manifest.epoch, UTC).date())

    @property
    def order(self) -> tuple[Any, ...]:
        """What it is sorted by."""
        return (self.version, self.kind, self.manifest.revision, self.name)

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        subject, manifest = self.subject, self.manifest
        return {
            "name": self.name,
            "kubernetes": str(self.version),
            "product_version": printable(manifest.product_version),
            "profile": manifest.profile,
            "variant": manifest.variant,
            "architecture": manifest.architecture,
            "revision": manifest.revision,
            "bootable": self.boots,
            "size": subject.size,
            "sha256": subject.digest.hex if subject.digest else None,
            "lock_sha256": manifest.lock_sha256,
            "released": self.released,
            "end_of_life": self.end,
            "signed": self.signed,
            "deltas": [
                {
                    "name": one.name,
                    "size": one.size,
                    "sha256": one.digest.hex,
                    "old": list(one.olds),
                }
                for one in subject.deltas
            ],
            "servers": [
                {"server": one.server, "state": one.state, "ready": one.ready}
                for one in self.servers
            ],
            "page": self.page,
        }


@dataclass(frozen=True)
class IsoCatalogue:
    """All ISOs, the newest version first, and what could not be read."""

    entries: tuple[CatalogueEntry, ...]
    problems: tuple[str, ...]  # a line each
    rules: RuleBook
    elsewhere: tuple[tuple[str, str, str], ...] = ()  # server, name, version: none of these ISOs

    @cached_property
    def by_kind(self) -> dict[str, list[CatalogueEntry]]:
        """The ISOs of each kind, the oldest first."""
        found: dict[str, list[CatalogueEntry]] = {}
        for entry in reversed(self.entries):
            found.setdefault(entry.kind, []).append(entry)
        return dict(sorted(found.items()))

    def before(self, entry: CatalogueEntry) -> CatalogueEntry | None:
        """Return the ISO before ``entry`` of its kind."""
        same = self.by_kind[entry.kind]
        at = same.index(entry)
        return same[at - 1] if at else None


def read_folders(
    folders: Sequence[Path], *, rules: RuleBook | None = None, progress: Progress = SILENT
) -> IsoCatalogue:
    """Return what is in ``folders``; what is damaged is told and left out.

    Raises:
        EnvironmentProblem: a folder cannot be read.
        InputError: there is no ISO in any of them.
    """
    book = rules or shipped_rules()
    entries: dict[str, CatalogueEntry] = {}
    problems: list[str] = []
    found = [(folder, name) for folder in folders for name in _names(folder)]
    if not found:
        raise InputError(
            "no ISO in these folders", hint="name the folder that isobuilder build wrote to"
        )
    with task(progress, "reading", total=len(found), unit="ISOs") as work:
        for folder, name in found:
            try:
                entry = _entry(folder, name, book)
                other = entries.setdefault(name, entry)
                if other.subject.digest != entry.subject.digest:
                    raise InputError(
                        f"{folder / name}.iso: is {entry.subject.digest}, and another of that name "
                        f"is {other.subject.digest}"
                    )
            except IsobuilderError as error:
                problems.append(printable(str(error).replace(f"{folder}/", "")))
            work.advance(1)
    deltas = _deltas(folders, problems)
    with_deltas = (
        replace(one, subject=replace(one.subject, deltas=_deltas_to(one.subject, deltas)))
        for one in entries.values()
    )
    ordered = sorted(with_deltas, key=lambda one: one.order, reverse=True)
    return IsoCatalogue(tuple(ordered), tuple(sorted(problems)), book)


def _deltas(folders: Iterable[Path], problems: list[str]) -> list[FoundDelta]:
    """Return the deltas in folders; note why others cannot be used."""
    found: dict[str, FoundDelta] = {}
    for folder in folders:
        with as_environment_problem(folder):
            for one in whole_deltas(folder):
                if isinstance(one, FoundDelta):
                    found.setdefault(one.name, one)
                else:
                    problems.append(printable(str(one).replace(f"{folder}/", "")))
    return sorted(found.values(), key=lambda one: one.name)


def _deltas_to(subject: PageSubject, deltas: Iterable[FoundDelta]) -> tuple[DeltaTo, ...]:
    """Return those that make an ISO, by its digest."""
    return tuple(
        DeltaTo(printable(one.name), one.size, tuple(name for name, _ in way.olds), one.digest)
        for one in deltas
        for way in one.ways
        if subject.digest is not None and way.new_digest == subject.digest
    )


def _names(folder: Path) -> list[str]:
    """Return what is called like an ISO, or like the manifest beside one."""
    with as_environment_problem(folder):
        names = [path.name for path in folder.iterdir()]
    found = {name.removesuffix(MANIFEST) for name in names if name.endswith(MANIFEST)}
    found |= {name.removesuffix(".iso") for name in names if name.endswith(".iso")}
    return sorted(found - {""})


def _entry(folder: Path, name: str, rules: RuleBook) -> CatalogueEntry:
    if not _NAME.fullmatch(name):
        raise InputError(f"{folder / name}.iso: not a name that isobuilder gives")
    if is_file(folder / f"{name}{MANIFEST}"):
        subject = read_beside(folder, name)
    else:
        subject = read_inside(folder / f"{name}.iso")
    if subject.manifest is None:
        raise AssertionError  # both read it
    minor = rules.minor(subject.manifest.kubernetes_version.minor_text)
    return CatalogueEntry(
        subject,
        subject.manifest,
        any(is_file(folder / f"{name}{end}") for end in _SIGNATURES),
        str(minor.end) if minor and minor.end else None,
    )


def with_server(
    catalogue: IsoCatalogue, server: str, versions: Sequence[RegisteredVersion]
) -> IsoCatalogue:
    """Return the catalogue with what ``server`` has of it, and what it has beside it."""
    left = {version.version.id: version for version in versions}
    entries = []
    for entry in catalogue.entries:
        registration = entry.subject.registration
        item = Item(registration, registration.download_url) if registration else None
        there = [one for one in versions if item is not None and one.is_same(item)]
        for one in there:
            left.pop(one.version.id, None)
        told = tuple(OnServer(server, one.version.state, one.anywhere_ready) for one in there)
        entries.append(replace(entry, servers=(*entry.servers, *told)))
    rest = sorted((server, one.version.name, one.version.semanticversion) for one in left.values())
    return replace(catalogue, entries=tuple(entries), elsewhere=(*catalogue.elsewhere, *rest))


def sha256_of(entry: CatalogueEntry) -> Digest:
    """Return what tells this ISO from all others: its digest, or where nobody told it, its lock."""
    return entry.subject.digest or Digest.from_hex(entry.manifest.lock_sha256)
