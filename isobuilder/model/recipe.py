"""The recipe: what the author wants, after templates were expanded for one architecture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from isobuilder.digest import Digest
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.reference import lockable, moving_part, spelled_out
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.base import (
    LAST_YEAR,
    Architecture,
    FileModel,
    IsoPath,
    Model,
    Name,
    Revision,
    canonical_json,
    check_local,
    check_locked_address,
    check_locked_url,
    refuse_moving,
)
from isobuilder.model.payload import Kernel
from isobuilder.model.profile import ProfileName
from isobuilder.model.trust.policies import RecipeTrust
from isobuilder.text import day_of

_LABEL = r"^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$"  # as Helm has it for releases


def check_https_url(url: str) -> str:
    """Return ``url`` if it is a canonical upstream address of what stays the same.

    As ``check_locked_url``, and nothing in it names a branch.

    Raises:
        ValueError: it is not; the text says why, without repeating credentials.
    """
    parts = urlsplit(check_locked_url(url))
    return refuse_moving(url, moving_part(parts.hostname or "", parts.path))


def check_address(url: str) -> str:
    """Return ``url`` if it is a canonical upstream address, or ``file:`` and a path beside us."""
    return url if check_locked_address(url).startswith("file:") else check_https_url(url)


def check_variant(text: str) -> str:
    """Return ``text`` if it may name a variant: it must not look like another part of the name."""
    if text == "boot":
        raise ValueError("'boot' is how ISOs that start machines are named; choose another variant")
    if re.fullmatch(r"r[0-9]+", text):
        raise ValueError(f"{text!r} looks like a revision; choose another variant")
    return text


HttpsUrl = Annotated[str, AfterValidator(check_https_url)]
Address = Annotated[str, AfterValidator(check_address)]
"""Where upstream publishes something, or ``file:`` and where it lies beside recipe and lock."""
LocalPath = Annotated[str, AfterValidator(check_local)]
Variant = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$"),
    AfterValidator(check_variant),
]
"""A short name for an ISO that is not the shipped one of its version and profile."""
Mode = Annotated[str, StringConstraints(pattern=r"^0[0-7]{3}$")]


def check_checksum(text: str) -> str:
    """Return ``text`` if it is ``sha256:<hex>`` or the address of a checksum file."""
    if re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        return text
    if text.startswith(("sha256:", "sha512:")) or "://" not in text:
        raise ValueError(
            f"expected sha256: and 64 of the digits 0-9 a-f, or the https address of a checksum "
            f"file, got {text[:80]!r}"
        )
    return check_https_url(text)


def check_image(text: str) -> str:
    """Return ``text`` if it is a full image reference with a fixed tag or a digest."""
    reference = lockable(text)
    if not text.startswith(reference.registry + "/"):
        raise ValueError(f"no registry in {text!r}; write {reference}")
    return text


ImageText = Annotated[str, AfterValidator(check_image)]


def check_repository(url: str) -> str:
    """Return ``url`` if charts can be there: an https address, or ``oci://host/path``."""
    if not url.startswith("oci://"):
        return check_https_url(url.rstrip("/"))
    check_https_url(f"https://{url.removeprefix('oci://')}")
    if "/" not in url.removeprefix("oci://") or "@" in url:
        raise ValueError(f"expected oci://host/path/of/the-chart, got {url[:120]!r}")
    return url


class Chart(Model):
    """A Helm chart, and what to render it with."""

    repository: Annotated[str, AfterValidator(check_repository)]
    name: Name | None = None  # in a repository of https; that of oci:// names the chart itself
    version: Annotated[
        str, StringConstraints(pattern=r"^v?[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?$")
    ]
    release: Annotated[str, StringConstraints(pattern=_LABEL)] | None = (
        None  # else the entry's name
    )
    namespace: Annotated[str, StringConstraints(pattern=_LABEL)] = "default"
    values: LocalPath | None = None  # a file beside the recipe

    @model_validator(mode="after")
    def _named_once(self) -> Chart:
        if self.repository.startswith("oci://") == (self.name is not None):
            raise ValueError(
                "expected the chart's name beside a repository of https, and none beside oci://"
            )
        return self

    def __str__(self) -> str:
        name = f"/{self.name}" if self.name else ""
        return f"{self.repository}{name} {self.version}"


class FileEntry(Model):
    """One upstream file and where it goes."""

    name: Name
    path: IsoPath
    url: Address
    checksum: Annotated[str, AfterValidator(check_checksum)] | None = None
    mode: Mode = "0644"
    signature: Name | None = None  # the name of a signature policy: docs/what-an-auditor-checks.md

    @property
    def source(self) -> str:
        """Where it is from, for people."""
        return self.url


class ManifestEntry(Model):
    """One Kubernetes manifest; ``pin`` rewrites its images to locked digests.

    It is served at ``url``, or rendered when it is locked, of a chart or a kustomization.
    """

    name: Name
    path: IsoPath
    url: Address | None = None
    chart: Chart | None = None
    kustomize: LocalPath | None = None  # a folder beside the recipe
    checksum: Annotated[str, AfterValidator(check_checksum)] | None = None
    images: Literal["pin", "keep"] = "keep"

    @model_validator(mode="after")
    def _of_one_source(self) -> ManifestEntry:
        given = [name for name in ("url", "chart", "kustomize") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"expected one of url, chart and kustomize, found {found}")
        if self.checksum is not None and self.url is None:
            raise ValueError("checksum belongs to a url; what is rendered is locked by its digest")
        return self

    @property
    def source(self) -> str:
        """Where it is from, for people."""
        if self.chart is not None:
            return str(self.chart)
        return self.url or f"file:{self.kustomize}"


class Images(Model):
    """Which images go on the ISO."""

    sources: Annotated[tuple[Literal["kubeadm", "manifests"], ...], Field(alias="from")] = ()
    extra: tuple[ImageText, ...] = ()
    replace: dict[str, ImageText] = {}  # a name that a manifest uses -> what to lock for it
    ignore: tuple[str, ...] = ()  # texts of manifests that are no image, or none that is needed

    @model_validator(mode="after")
    def _one_answer_for_a_name(self) -> Images:
        known: dict[str, str] = {}
        for text, target in self.replace.items():
            other = known.setdefault(spelled_out(text), target)
            if spelled_out(other) != spelled_out(target):
                raise ValueError(f"replace has both {other} and {target} for {spelled_out(text)}")
        return self

    def target(self, text: str) -> str | None:
        """Return what to lock for a name that a manifest uses, None for nothing.

        Names are compared as references, in whatever way they are spelled.
        """
        name = spelled_out(text)
        for replaced, by in self.replace.items():
            if spelled_out(replaced) == name:
                return by
        return None if name in {spelled_out(ignored) for ignored in self.ignore} else text


class Render(Model):
    """A file we make ourselves from a template of ours."""

    path: IsoPath
    template: Name


class Component(Model):
    """What must hold in the configuration of a component's image."""

    image: ImageText
    source_repository: str | None = None
    source_sha: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    manifest_sha: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    kubernetes_minor: str | None = None  # must be the recipe's own
    labels: dict[str, str] = {}  # what the image configuration must carry, exactly
    facts: dict[str, str] = {}  # further provenance, copied into manifest.json

    @property
    def manifest_commit(self) -> str | None:
        """The commit that its manifest is of: ``manifest_sha`` where that is another one."""
        return self.manifest_sha or self.source_sha

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        if self.manifest_sha is None:
            del data["manifest_sha"]
        return data


class Registration(Model):
    """What Mold is told about the ISO's needs."""

    min_cpu: Annotated[int, Field(ge=2)] = 2
    min_memory_mb: Annotated[int, Field(ge=2048)] = 2048


class PayloadAt(Model):
    """An OS payload that somebody serves, as ``isobuilder os export`` writes it."""

    url: HttpsUrl  # of its description; the artifacts lie beside it
    sha256: Digest  # of its description, which names the rest by digest


class BootWish(Model):
    """What the ISO starts machines with; ``isobuilder os`` makes and lists it."""

    os: Name  # e.g. debian-13
    kernel: Kernel = "cloud"
    payload: PayloadAt | None = None  # None: the one of the store
    secure_boot: Literal[True] = True  # the signed loaders are the only ones there are


def _flavour(profile: ProfileName, variant: str | None) -> str:
    """Return profile and variant as one word, e.g. ``mold-cks.gpu``."""
    return f"{profile}.{variant}" if variant else profile


@dataclass(frozen=True, slots=True)
class IsoName:
    """What one ISO is called: two ISOs that may differ never share a name unless by revision.

    Variant and ``boot`` follow the profile after a dot, which no profile and no variant has.
    """

    kubernetes: KubeVersion
    profile: ProfileName
    variant: str | None
    boots: bool  # it starts machines
    architecture: str
    revision: int

    @property
    def flavour(self) -> str:
        """Profile and variant."""
        return _flavour(self.profile, self.variant)

    @property
    def registered(self) -> str:
        """The name that Mold is given, e.g. ``v1.34.12-mold-cks.gpu.boot-amd64-r1``."""
        flavour = f"{self.flavour}.boot" if self.boots else self.flavour
        return f"v{self.kubernetes}-{flavour}-{self.architecture}-r{self.revision}"

    @property
    def base(self) -> str:
        """The name all outputs begin with, e.g. ``kubernetes-v1.34.12-mold-cks-amd64-r1``."""
        return f"kubernetes-{self.registered}"

    @property
    def product_version(self) -> str:
        """The semantic version of the ISO, e.g. ``1.34.12+mold-cks.r1``."""
        return f"{self.kubernetes}+{self.flavour}.r{self.revision}"


class Recipe(FileModel):
    """A recipe for one architecture, every template expanded, every rule of the format checked.

    Rules that need the profile's contract (required paths) are in ``profile.py``.
    """

    left_out = ("boot", "trust", "variant")

    format: Annotated[Literal[1], Field(alias="schema")]
    kubernetes: KubeVersion
    revision: Revision = 1
    profile: ProfileName
    variant: Variant | None = None
    architectures: tuple[Architecture, ...]
    released: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] | None = (
        None
    )
    vars: dict[str, str] = {}
    files: tuple[FileEntry, ...]
    manifests: tuple[ManifestEntry, ...] = ()
    images: Images
    render: tuple[Render, ...] = ()
    components: dict[Name, Component] = {}
    registration: Registration = Registration()
    boot: BootWish | Literal[False] = False
    trust: RecipeTrust | None = None  # None: what the policies say that come with isobuilder

    @field_validator("architectures")
    @classmethod
    def _some_and_each_once(cls, found: tuple[str, ...]) -> tuple[str, ...]:
        if not found or len(set(found)) != len(found):
            raise ValueError(
                f"expected {', '.join(ARCHITECTURES)} or both, found {', '.join(found) or 'none'}"
            )
        return found

    @field_validator("released")
    @classmethod
    def _a_day_that_there_is(cls, found: str | None) -> str | None:
        day = day_of(found) if found is not None else None
        if found is not None and day is None:
            raise ValueError(f"day is out of range: there is no {found}")
        if day is not None and not 1970 <= day.year <= LAST_YEAR:
            raise ValueError(f"expected a day from 1970 to {LAST_YEAR}, which an ISO can tell")
        return found

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        entries: tuple[FileEntry | ManifestEntry, ...] = (*self.files, *self.manifests)
        names = [entry.name for entry in entries]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two entries with the name {doubled[0]}")
        # Nodes and ISO 9660 alike may fold case, so names that differ only in case are one path.
        paths = [entry.path.lower() for entry in entries]
        paths += [item.path.lower() for item in self.render]
        doubled = sorted({path for path in paths if paths.count(path) > 1})
        if doubled:
            raise ValueError(f"two entries for the path {doubled[0]}")
        return self

    def to_data(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values."""
        data = super().to_data()
        if not self.images.ignore:
            del data["images"]["ignore"]
        for entry in data["manifests"]:
            for name in ("url", "chart", "kustomize"):
                if entry[name] is None:
                    del entry[name]
        return data

    @property
    def flavour(self) -> str:
        """Profile and variant."""
        return _flavour(self.profile, self.variant)

    @property
    def digest(self) -> Digest:
        """The digest of what this recipe asks for, for its architecture.

        Comments and the order of keys do not change it, nor do ``vars``, whose effect is in what
        was expanded, nor other architectures that the recipe is for as well.
        """
        asked = {
            name: value
            for name, value in self.to_data().items()
            if name not in {"vars", "architectures"}
        }
        return Digest.of(canonical_json(asked))
