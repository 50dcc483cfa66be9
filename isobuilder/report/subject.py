"""What a page is about: an ISO, what lies beside one, or a lock; read, and put side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from isobuilder.content.from_iso import BytesBlob
from isobuilder.content.images import image_manifest
from isobuilder.contract.play import play
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import is_file, read_bytes
from isobuilder.formats.archive import blob_name
from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.oci import Descriptor
from isobuilder.iso.read.reader import IsoReader, hash_iso
from isobuilder.medium import Medium
from isobuilder.model.finding import Finding
from isobuilder.model.isomanifest import IsoManifest
from isobuilder.model.loading import load_lock, parse_manifest_json
from isobuilder.model.lock import Lock
from isobuilder.model.registration import RegistrationFile
from isobuilder.model.validation import load_json
from isobuilder.pipeline.compare import IsoFiles, of_iso, of_lock, of_manifest
from isobuilder.pipeline.verify import promised
from isobuilder.progress import SILENT, Progress

MANIFEST, REGISTRATION, LOCK = ".manifest.json", ".registration.json", ".lock.json"
_NAME = re.compile(r"kubernetes-v([0-9.]{1,40})-(.{1,200})-r([0-9]{1,9})")
_MANIFEST_LIMIT = 32 * 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class DeltaTo:
    """A delta that makes an ISO."""

    name: str
    size: int  # bytes
    olds: tuple[str, ...]  # the names of the ISOs that it needs, all of them
    digest: Digest  # of the delta


@dataclass(frozen=True, slots=True)
class PageSubject:
    """All that is known of one ISO, finished or only locked."""

    name: str  # what the names of its files begin with
    contents: IsoFiles
    digest: Digest | None = None  # of the ISO; of a lock that of the lock
    size: int | None = None  # bytes of the ISO
    lock: Lock | None = None
    registration: RegistrationFile | None = None  # beside it
    layers: Mapping[str, tuple[Descriptor, ...]] = field(default_factory=dict)  # by archive
    findings: tuple[Finding, ...] | None = None  # of the node that was played; None: none was
    before: IsoFiles | None = None  # the ISO before it
    deltas: tuple[DeltaTo, ...] = ()  # that make it

    @property
    def manifest(self) -> IsoManifest | None:
        """Its manifest; None for locks, and for ISOs of other builders."""
        return self.contents.manifest

    @property
    def is_lock(self) -> bool:
        """Whether it is only a lock."""
        return self.contents.kind == "lock"


def read_iso(
    path: Path,
    *,
    digest: Digest | None = None,
    lock: Lock | None = None,
    progress: Progress = SILENT,
) -> PageSubject:
    """Return what is known of an ISO and of what lies beside it.

    It is hashed unless its ``digest`` is given, and a node is played with it that looks only at the
    beginning of archives. ``lock`` is taken for the one that lies beside it.

    Raises:
        IntegrityError: the ISO contradicts itself, or its checksum file.
        InputError: the lock beside it is damaged, or another one's.
    """
    name = path.name.removesuffix(".iso")
    with IsoReader(path) as reader:
        contents, medium = of_iso(path, reader), Medium(reader)
        layers = _layers_on(medium, contents.manifest)
        findings = _played(medium, contents)
        if digest is None:
            digest = hash_iso(reader, progress=progress).image
            if (told := promised(path)) is not None and told != digest:
                raise IntegrityError(
                    f"{path}: is {digest}, the checksum file beside it says {told}",
                    hint="isobuilder verify looks closer; build or copy it again",
                )
        size = reader.size
    return PageSubject(
        name,
        contents,
        digest,
        size,
        lock or _lock_beside(path.parent, name, contents.manifest),
        layers=layers,
        findings=findings,
        before=before(path.parent, name),
    )


def read_inside(path: Path) -> PageSubject:
    """Return what the manifest on an ISO says; nothing else of the ISO is read.

    Raises:
        IntegrityError: it is no ISO, or contradicts itself.
        InputError: its manifest is damaged, or it has none.
    """
    with IsoReader(path) as reader:
        manifest = Medium(reader).manifest
        if isinstance(manifest, IntegrityError):
            raise InputError(
                f"{path}: manifest.json: {manifest}",
                hint="isobuilder report makes a page of an ISO of any builder",
            )
        contents, size = of_iso(path, reader), reader.size
    name = path.name.removesuffix(".iso")
    return PageSubject(
        name, contents, promised(path), size, _lock_beside(path.parent, name, manifest)
    )


def read_lock(path: Path) -> PageSubject:
    """Return what is known of the ISO that a lock promises.

    Raises:
        InputError: it is no lock.
    """
    lock = load_lock(path)
    return PageSubject(lock.base_name, of_lock(lock, path), lock.digest, lock=lock)


def read_beside(folder: Path, name: str) -> PageSubject:
    """Return what the files beside an ISO say of it; the ISO need not be there.

    Raises:
        InputError: one of them is damaged, or they are about different ISOs.
    """
    manifest = _manifest(folder / f"{name}{MANIFEST}")
    lock = _lock_beside(folder, name, manifest)
    path = folder / f"{name}{REGISTRATION}"
    registration = load_json(path, RegistrationFile) if is_file(path) else None
    version = str(manifest.kubernetes_version)
    if registration is not None and str(registration.kubernetesversion) != version:
        raise InputError(
            f"{path}: is of {registration.kubernetesversion}, the manifest beside it of {version}",
            hint="copy again what isobuilder build wrote beside the ISO",
        )
    iso = folder / f"{name}.iso"
    digest = Digest.from_hex(registration.checksum.hex) if registration else promised(iso)
    size = registration.size or None if registration else None
    if size is None and is_file(iso):
        size = iso.stat().st_size
    return PageSubject(name, _told(manifest, iso, lock), digest, size, lock, registration)


def before(folder: Path, name: str) -> IsoFiles | None:
    """Return what the ISO before ``name`` in its folder had, by the manifest beside it.

    That is the newest one of the same profile, variant and architecture that is older: of a lower
    version, or an earlier revision. Where there is none, or it cannot be read, None.
    """
    own = _order_of(name)
    if own is None:
        return None
    older = [
        (found[1], path)
        for path in folder.glob(f"kubernetes-v*{MANIFEST}")
        if (found := _order_of(path.name.removesuffix(MANIFEST))) is not None
        and found[0] == own[0]
        and found[1] < own[1]
    ]
    if not older:
        return None
    path = max(older)[1]
    other = path.name.removesuffix(MANIFEST)
    try:
        manifest = _manifest(path)
        lock = _lock_beside(folder, other, manifest)
    except InputError:
        return None
    return _told(manifest, folder / f"{other}.iso", lock)


def _order_of(name: str) -> tuple[str, tuple[KubeVersion, int]] | None:
    """Return what ISOs of one kind share by their names, and what they are ordered by."""
    match = _NAME.fullmatch(name)
    try:
        return (match[2], (KubeVersion(match[1]), int(match[3]))) if match else None
    except ValueError:
        return None


def _manifest(path: Path) -> IsoManifest:
    return parse_manifest_json(read_bytes(path, _MANIFEST_LIMIT), str(path))


def _told(manifest: IsoManifest, path: Path, lock: Lock | None) -> IsoFiles:
    """Return what a manifest says, with sizes and releases that the lock knows."""
    sizes = {image.path: image.size for image in manifest.images}
    promise = of_lock(lock) if lock else None
    if promise is not None:
        sizes |= {name: size for name, size in promise.sizes.items() if name in manifest.files}
    releases = promise.releases if promise else {}
    return of_manifest(manifest, path, sizes=sizes, releases=releases)


def _lock_beside(folder: Path, name: str, manifest: IsoManifest | None) -> Lock | None:
    path = folder / f"{name}{LOCK}"
    if manifest is None or not is_file(path):
        return None
    lock = load_lock(path)
    if lock.digest.hex != manifest.lock_sha256:
        raise InputError(
            f"{path}: is {lock.digest}, the manifest names sha256:{manifest.lock_sha256}",
            hint="copy again what isobuilder build wrote beside the ISO, or take the lock away",
        )
    return lock


def _played(medium: Medium, contents: IsoFiles) -> tuple[Finding, ...] | None:
    manifest = contents.manifest
    if manifest is None:
        return None
    return tuple(
        play(
            medium,
            profile=manifest.profile,
            kubernetes=manifest.kubernetes_version,
            architecture=manifest.architecture,
            unpack=False,
        )
    )


def _layers_on(medium: Medium, manifest: IsoManifest | None) -> dict[str, tuple[Descriptor, ...]]:
    """Return the layers of each image archive; one that is no good has none here."""
    found = {}
    for image in manifest.images if manifest else ():
        archive = medium.archive(image.path) if image.path in medium.files else None
        if archive is None or isinstance(archive, IntegrityError):
            continue
        data = archive.documents.get(blob_name(image.digest), b"")
        try:
            known = image_manifest(BytesBlob(data, image.path), place=image.path)
            found[image.path] = known.layers
        except (IntegrityError, InputError):
            continue  # isobuilder verify says what is wrong with it
    return found
