"""A subject -> the one page that tells a person all of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from isobuilder.digest import Digest
from isobuilder.files import write_whole
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.oci import Descriptor
from isobuilder.model.finding import Finding
from isobuilder.model.lock import LockedFile, LockedManifest
from isobuilder.model.trust.claims import SignatureClaim
from isobuilder.pipeline.build import Built
from isobuilder.pipeline.compare import Difference, diff
from isobuilder.pipeline.fit import parts_of
from isobuilder.report.rendering import Language, render
from isobuilder.report.subject import DeltaTo, PageSubject, read_iso
from isobuilder.report.treemap import Tile, treemap
from isobuilder.rules.book import RuleBook, shipped_rules
from isobuilder.rules.fit import Unfit, unfit

BROAD, TALL = (1000, 420), (360, 520)

_GROUPS = {
    "docker/": "images",
    "k8s/": "kubernetes",
    "runtime/": "runtime",
    "cni/": "network",
    "cri-tools/": "tools",
    "etcd/": "etcd",
    "boot/": "boot",
    "EFI/": "boot",
}


def report(
    subject: PageSubject,
    *,
    language: Language = "en",
    rules: RuleBook | None = None,
    home: str | None = None,
) -> bytes:
    """Return the page of ``subject``: one file that needs nothing else, in both languages.

    ``language`` is the one it opens in, ``home`` the address of the catalogue that it is in. The
    same subject gives the same bytes.
    """
    page = Page(subject, rules or shipped_rules())
    return render("report.html.j2", language, page=page, home=home)


def write_report(built: Built, *, language: Language = "en", rules: RuleBook | None = None) -> None:
    """Write the page of an ISO that was just built beside it.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    subject = read_iso(built.iso, digest=built.digest, lock=built.lock)
    write_whole(built.report, report(subject, language=language, rules=rules))


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file."""

    path: str
    size: int | None
    digest: str | None


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image; how much of it no other image has is None where its layers are not known."""

    name: str
    digest: str
    archive: str
    size: int | None
    core: bool
    layers: int | None = None
    alone: int | None = None
    shared: int | None = None


@dataclass(frozen=True, slots=True)
class SharedLayer:
    """A layer that several images have."""

    digest: Digest
    size: int
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One thing that is not as it was."""

    name: str
    old: str | None
    new: str | None
    growth: int | None


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """Where a file's digest was learned, and what is claimed of its signature, if anything."""

    path: str
    source: str
    url: str | None
    policy: str | None  # that expects a signature
    claim: SignatureClaim | None


class Page:
    """What the template asks of a subject."""

    def __init__(self, subject: PageSubject, rules: RuleBook) -> None:
        self._subject, self._rules = subject, rules
        facts = subject.contents.facts
        self.name, self.digest, self.size = subject.name, subject.digest, subject.size
        self.file = subject.contents.source.name
        self.kubernetes = facts.get("kubernetes", "?")
        self.profile = facts.get("profile", "?")
        self.architecture = facts.get("architecture", "?")
        self.revision = facts.get("revision")
        self.product_version = facts.get("product version")
        self.is_lock, self.has_lock = subject.is_lock, subject.lock is not None
        self.lock_digest = subject.lock.digest if subject.lock else None
        self.manifest = subject.manifest
        self.findings: tuple[Finding, ...] | None = subject.findings
        self.rules_day = rules.as_of

    @property
    def tool(self) -> str | None:
        """The version that made it."""
        known = self._subject.manifest or self._subject.lock
        return known.tool if known else None

    @property
    def variant(self) -> str | None:
        """The variant, if it has one."""
        known = self._subject.manifest or self._subject.lock
        return known.variant if known else None

    @property
    def released(self) -> str | None:
        """The day of every time stamp on the ISO."""
        known = self._subject.manifest or self._subject.lock
        return str(datetime.fromtimestamp(known.epoch, UTC).date()) if known else None

    @property
    def system(self) -> str | None:
        """The operating system that machines start from it."""
        if self.manifest is not None:
            system = self.manifest.operating_system
            return f"{system.name}, Linux {system.kernel_version}" if system else None
        lock = self._subject.lock
        return lock.boot.name if lock and lock.boot else None

    @property
    def end(self) -> str | None:
        """The last day on which upstream mends it."""
        try:
            minor = self._rules.minor(KubeVersion(self.kubernetes).minor_text)
        except ValueError:
            return None
        return str(minor.end) if minor and minor.end else None

    @property
    def releases(self) -> list[tuple[str, str]]:
        """The release of each file whose source tells it."""
        return sorted(self._subject.contents.releases.items())

    @property
    def deltas(self) -> list[tuple[DeltaTo, float | None]]:
        """The deltas that make it, each with its share of the ISO in per cent."""
        return [
            (one, 100 * one.size / self.size if self.size else None) for one in self._subject.deltas
        ]

    # --- files and sizes ---

    @cached_property
    def files(self) -> list[FileRow]:
        """Every file, by path."""
        contents = self._subject.contents
        return [
            FileRow(path, contents.sizes.get(path), contents.files.get(path))
            for path in sorted(contents.files.keys() | contents.sizes.keys())
        ]

    @cached_property
    def _sizes(self) -> dict[str, list[tuple[str, int]]]:
        names = {image.archive: image.name for image in self.images}
        found: dict[str, list[tuple[str, int]]] = defaultdict(list)
        archives = {image.archive: image.size for image in self.images if image.size}
        sizes = {row.path: row.size for row in self.files if row.size} | archives
        for path, size in sorted(sizes.items()):
            group = next((name for head, name in _GROUPS.items() if path.startswith(head)), "other")
            found[group].append((names.get(path, path).rpartition("/")[2], size))
        return found

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Bytes of each group, the largest first."""
        totals = Counter({name: sum(n for _, n in items) for name, items in self._sizes.items()})
        return sorted(totals.items(), key=lambda item: (-item[1], item[0]))

    @property
    def broad(self) -> tuple[Tile, ...]:
        """The treemap for a desk."""
        return treemap(self._sizes, *BROAD)

    @property
    def tall(self) -> tuple[Tile, ...]:
        """The treemap for a hand."""
        return treemap(self._sizes, *TALL)

    # --- images ---

    @cached_property
    def images(self) -> list[ImageRow]:
        """Every image, by name, with what it has alone and what it shares."""
        users = self._users
        found = []
        for row in sorted(self._plain_images(), key=lambda one: one.name):
            layers = _once(self._subject.layers.get(row.archive))
            if layers is None:
                found.append(row)
                continue
            alone = sum(one.size for one in layers if len(users[one.digest]) == 1)
            shared = sum(one.size for one in layers) - alone
            found.append(
                ImageRow(
                    *(row.name, row.digest, row.archive, row.size, row.core),
                    layers=len(layers),
                    alone=alone,
                    shared=shared,
                )
            )
        return found

    def _plain_images(self) -> Iterator[ImageRow]:
        if self.manifest is not None:
            for image in self.manifest.images:
                name, digest = image.resolved_from, image.digest
                yield ImageRow(name, digest, image.path, image.size, image.core)
        elif self._subject.lock is not None:
            for one in self._subject.lock.images:
                yield ImageRow(one.reference, one.digest, one.archive, one.size, one.core)
        else:
            for name, found in self._subject.contents.images.items():
                yield ImageRow(name, found, "", None, core=False)

    @cached_property
    def _users(self) -> dict[Digest, list[str]]:
        """The archives that have each layer."""
        found: dict[Digest, list[str]] = defaultdict(list)
        for archive, layers in self._subject.layers.items():
            for layer in _once(layers) or ():
                found[layer.digest].append(archive)
        return found

    @property
    def shared_known(self) -> bool:
        """Whether layers were looked at."""
        return bool(self._subject.layers)

    @cached_property
    def _layer_sizes(self) -> dict[Digest, int]:
        layers = self._subject.layers.values()
        return {layer.digest: layer.size for listed in layers for layer in listed}

    @property
    def layers_once(self) -> int:
        """Bytes of all layers, each counted once."""
        return sum(self._layer_sizes.values())

    @property
    def layers_all(self) -> int:
        """Bytes of the layers of all images."""
        return sum(size * len(self._users[digest]) for digest, size in self._layer_sizes.items())

    @property
    def shared_layers(self) -> list[SharedLayer]:
        """Layers that several images have, what they save first."""
        names = {image.archive: image.name for image in self.images}
        found = [
            SharedLayer(
                digest, self._layer_sizes[digest], tuple(sorted(names[a] for a in archives))
            )
            for digest, archives in self._users.items()
            if len(archives) > 1
        ]
        return sorted(found, key=lambda one: (-one.size * (len(one.images) - 1), one.digest))

    # --- what is known of it ---

    @property
    def before(self) -> str | None:
        """The ISO that it is compared with."""
        older = self._subject.before
        return older.source.name.removesuffix(".iso") if older else None

    @cached_property
    def changes(self) -> list[ChangeRow] | None:
        """What is not as it was on the ISO before; None if there is none."""
        if self._subject.before is None:
            return None
        return [_change(one) for one in diff(self._subject.before, self._subject.contents)]

    @property
    def evidence(self) -> list[EvidenceRow]:
        """Where each file's digest was learned, as far as the lock tells."""
        lock = self._subject.lock
        if lock is None:
            return []
        entries: tuple[LockedFile | LockedManifest, ...] = (*lock.files, *lock.manifests)
        claims = {claim.path: claim for claim in lock.trust.claims} if lock.trust else {}
        return [
            EvidenceRow(
                one.path,
                one.evidence.source,
                one.evidence.url,
                one.evidence.signature,
                claims.get(one.path),
            )
            for one in sorted(entries, key=lambda one: one.path)
        ]

    @property
    def image_claims(self) -> list[SignatureClaim]:
        """What is claimed of the signatures of images."""
        trust = self._subject.lock.trust if self._subject.lock else None
        claims = trust.claims if trust else ()
        return sorted((one for one in claims if one.what == "images"), key=lambda one: one.subject)

    @property
    def unfit(self) -> list[Unfit]:
        """What the rules say of its parts on the day they are of."""
        lock = self._subject.lock
        return unfit(parts_of(lock), self._rules, self._rules.as_of) if lock else []


def _once(layers: Iterable[Descriptor] | None) -> list[Descriptor] | None:
    return None if layers is None else list({layer.digest: layer for layer in layers}.values())


def _change(one: Difference) -> ChangeRow:
    old, new = one.releases
    if old is None or new is None or old == new:
        old, new = _short(one.left), _short(one.right)
    return ChangeRow(one.name, old, new, one.growth)


def _short(value: str | None) -> str | None:
    return value[:19] if value and value.startswith("sha256:") else value
