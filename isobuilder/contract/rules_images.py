"""Rules of sections A.4 and A.5 of the node contract: image archives and the pause image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from isobuilder.contract.archives import normal_name
from isobuilder.contract.rule import Problem, Rule, rule
from isobuilder.contract.view import IMAGES_LIST, MAX_LINES, ImportLine, NodeView, repository_of
from isobuilder.errors import IntegrityError
from isobuilder.formats.manifests import ImageUse
from isobuilder.rules.pairings import core_images as kubeadm_images

_PAUSE = re.compile(r".*/pause(:[^@]+)?")
_DIGEST_NAME = re.compile(r"[0-9a-f]{64}\.tar")
_ADD_LINE = "write one line for each archive: its file name and the repository without tag"
_PACK_AGAIN = "pack the image as an OCI layout with its full reference, as isobuilder build does"
_NO_NAME = "write registry/repository:tag, or name the text under images.ignore of the recipe"
_ADD_EXTRA = "add it to images.extra of the recipe, or to images.ignore if it is not needed"
_ADD_IMAGE = "add it to the recipe's images, then run isobuilder lock and build"


@rule("A.3.docker-missing")
def docker_missing(disc: NodeView) -> Iterator[Problem]:
    """There are image archives in docker/.

    A missing folder ends the installation; an empty one lets it go on to a cluster whose nodes
    have no images.
    """
    if not disc.archive_names:
        yield Problem("docker/", "no image archive in it", _ADD_IMAGE)


@rule("A.4.no-images-list", severity="warning", clouds=("mold",))
def no_images_list(disc: NodeView) -> Iterator[Problem]:
    """There is an images.list.

    Without it nodes import with an empty base name: no image can be found by the digest of its
    manifest, and the pause image is guessed by sorting names as text, where 3.9 follows 3.10.
    """
    if not disc.images_list and _gives_pause(disc):
        yield Problem(IMAGES_LIST, "missing or empty", _ADD_LINE)


@rule("A.4.images-list", clouds=("mold",))
def images_list(disc: NodeView) -> Iterator[Problem]:
    """Every line of images.list is an archive and a repository, each archive once.

    A line without repository counts as none, and two lines for one archive make a base name of two
    lines, with which nothing is imported.
    """
    if len(disc.images_list) == MAX_LINES:
        yield Problem(IMAGES_LIST, f"{MAX_LINES} lines or more, which no ISO needs", _ADD_LINE)
    seen: set[str] = set()
    for line in disc.images_list:
        if len(line.fields) != 2:
            fact = f"expected a file name and a repository, found {len(line.fields)} fields"
            yield Problem(line.place, fact, _ADD_LINE)
        if line.archive in seen:
            yield Problem(line.place, f"a second line for {line.archive}", _ADD_LINE)
        seen.add(line.archive)


@rule("A.4.images-list-line", clouds=("mold",))
def images_list_line(disc: NodeView) -> Iterator[Problem]:
    """Every archive has its line in images.list.

    An archive without one ends the installation with `image import repository missing`.
    """
    listed = {line.archive for line in disc.images_list}
    for name in disc.archive_names if listed else ():
        if name not in listed:
            yield Problem(f"docker/{name}", "no line in images.list", _ADD_LINE)


@rule("A.4.images-list-stale", clouds=("mold",))
def images_list_stale(disc: NodeView) -> Iterator[Problem]:
    """Every line of images.list has its archive.

    An image that was meant to be on the disc is not; if it is the pause image, nodes stop.
    """
    for line in disc.images_list:
        if line.archive not in disc.archive_names:
            yield Problem(line.place, f"docker/{line.archive} is missing", "add the archive")


@rule("A.4.base-name-tag", clouds=("mold",))
def base_name_tag(disc: NodeView) -> Iterator[Problem]:
    """The repository in images.list has neither tag nor digest.

    It becomes the base name of the import; `--digests` puts `@sha256:...` behind it, and manifests
    ask for the repository alone with its digest.
    """
    for line in disc.images_list:
        if line.base != repository_of(line.base):
            fact = f"{line.base!r} has a tag or digest, expected {repository_of(line.base)!r}"
            yield Problem(line.place, fact, _ADD_LINE)


@rule("A.4.base-name", clouds=("mold",))
def base_name(disc: NodeView) -> Iterator[Problem]:
    """The repository in images.list is that of the reference in the archive.

    `ctr image import --base-name` drops every reference that does not begin with the base name.
    """
    for name in disc.archive_names:
        archive, base = disc.archive(name), disc.base_of(name)
        if isinstance(archive, IntegrityError) or base != repository_of(base):
            continue
        if disc.misnamed(name):
            there = sorted({image.name for image in archive.images if image.name})
            fact = f"holds {there[0]}, images.list says {base}"
            yield Problem(f"docker/{name}", fact, "write the repository of its reference there")


@rule("A.4.archive")
def archive(disc: NodeView) -> Iterator[Problem]:
    """Nodes can import every archive.

    Three tries, then a Mold node stops; an Apache one goes on without the image. An archive with
    only blobs/ was on a published ISO (apache/cloudstack#13157).
    """
    for name in disc.archive_names:
        if isinstance(found := disc.archive(name), IntegrityError):
            yield Problem(f"docker/{name}", f"cannot be imported: {found}", _PACK_AGAIN)


@rule("A.4.archive-name")
def archive_name(disc: NodeView) -> Iterator[Problem]:
    """Names in docker/ have no spaces.

    The script reads names line by line and looks them up as fields between white space.
    """
    for name in disc.archive_names:
        if name.split() != [name]:
            yield Problem(f"docker/{name}", "white space in the name", "rename it")


@rule("A.4.reference")
def reference(disc: NodeView) -> Iterator[Problem]:
    """Every image in an archive has a name to be imported by.

    The full reference with its tag belongs into the annotation org.opencontainers.image.ref.name.
    Without a base name a bare tag gets the date of the import in front of it.
    """
    for name in disc.archive_names:
        if disc.nameless(name):
            fact = "an image in it has no full reference"
            yield Problem(f"docker/{name}", fact, _PACK_AGAIN)


@rule("A.4.platform")
def platform(disc: NodeView) -> Iterator[Problem]:
    """Images are for the architecture of the ISO.

    `ctr` imports the names of an image for another architecture without a word; its containers end
    with `exec format error`, or never start.
    """
    for name in disc.archive_names:
        found = disc.archive(name)
        if isinstance(found, IntegrityError) or disc.architecture is None:
            continue
        other = {image.architecture for image in found.images} - {disc.architecture, None}
        if other:
            fact = f"an image for {other.pop()}, expected {disc.architecture}"
            yield Problem(f"docker/{name}", fact, _ADD_IMAGE)


@rule("A.4.nested", severity="warning")
def nested(disc: NodeView) -> Iterator[Problem]:
    """Image archives lie directly in docker/.

    Nodes do not look into folders below it.
    """
    for path in sorted(disc.files):
        if path.startswith("docker/") and path.count("/") > 1 and path.endswith(".tar"):
            yield Problem(path, "no node imports it from there", "move it to docker/")


@rule("A.4.stray", severity="warning")
def stray(disc: NodeView) -> Iterator[Problem]:
    """Only image archives and images.list are in docker/.

    Mold passes over names that do not end in .tar. CloudStack tries to import whatever it finds
    there: three times, and goes on, when a cluster is made; an upgrade ends there (A.9.not-images).
    """
    if disc.cloud == "cloudstack" and disc.upgrade:
        return  # told as what ends an upgrade
    for name in disc.within("docker"):
        if name != "images.list" and not name.endswith(".tar"):
            yield Problem(f"docker/{name}", "not an image archive by its name", "leave it out")


@rule("A.4.digest-name", clouds=("mold",))
def digest_name(disc: NodeView) -> Iterator[Problem]:
    """Image archives are named by the digest of their manifest.

    With an images.list, the name of an archive is taken for the digest of its image; nodes do so
    for the pause image, and tools that list what an ISO holds for all of them.
    """
    pauses = {line.archive for line in _pause_lines(disc)}
    for name in disc.archive_names if disc.images_list else ():
        if name not in pauses and (fact := _wrong_digest(disc, name)):
            yield Problem(f"docker/{name}", fact, _PACK_AGAIN)


@rule("A.4.core-images")
def core_images(disc: NodeView) -> Iterator[Problem]:
    """All images kubeadm asks for are on the disc.

    kubeadm looks them up by their tag before it starts anything, and a node without a network
    cannot pull what is missing.
    """
    wanted = kubeadm_images(disc.version) if disc.version else None
    if wanted is None:
        entries = disc.manifest.get("images")
        core = [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
        wanted = tuple(str(e.get("import_alias")) for e in core if e.get("core") is True)
    for name in wanted if disc.archive_names else ():
        if disc.cloud == "mold" and not _gives_pause(disc) and _PAUSE.fullmatch(name):
            continue  # said by A.5
        if name not in disc.imported and repository_of(name) not in disc.spoilt:
            fact = f"kubeadm needs the image {name}, which no archive gives"
            yield Problem("docker/", fact, _ADD_IMAGE)


@rule("A.4.manifest-images")
def manifest_images(disc: NodeView) -> Iterator[Problem]:
    """All images that manifests name are on the disc, by the very name.

    Otherwise nodes pull them, which fails without a network (apache/cloudstack#4459). A digest is
    a name only on Mold, where archives are imported with `--digests`.
    """
    yield from _missing(disc, disc.images())


@rule("A.4.further-images", severity="warning")
def further_images(disc: NodeView) -> Iterator[Problem]:
    """All images that further manifests on the disc name are on it.

    No node applies them by itself, but whoever does so at the site cannot pull anything either.
    """
    yield from _missing(disc, disc.images(disc.further))


def _missing(
    disc: NodeView, manifests: Iterable[tuple[str, Sequence[ImageUse]]]
) -> Iterator[Problem]:
    for path, images in manifests if disc.archive_names else ():
        for image in sorted({use.image for use in images}):
            try:
                name = normal_name(image)
            except ValueError as error:
                yield Problem(path, str(error), _NO_NAME)
                continue
            if name in disc.imported or repository_of(name) in disc.spoilt:
                continue
            tags = {n for n in disc.imported if repository_of(n) == repository_of(name)}
            there = f"there is only {min(tags)}" if tags else "no archive gives it"
            yield Problem(path, f"the image {image} is not on the disc: {there}", _ADD_IMAGE)


@rule("A.4.mentioned-images", severity="warning")
def mentioned_images(disc: NodeView) -> Iterator[Problem]:
    """All images that manifests name outside the image fields of pods are on the disc.

    Operators start them: they are told by arguments, variables, fields of their own resources and
    pods in a text. A site without a network learns of a missing one only then.
    """
    for path, mention in disc.mentions() if disc.archive_names else ():
        if mention.is_among(disc.imported):
            continue
        where = f"line {mention.mark.line}: {mention.path}"
        fact = f"{where} names {mention.text}, which no archive gives"
        if mention.by is not None:
            fact = f"{where}: {mention.by} starts {mention.text} besides, which no archive gives"
        yield Problem(path, fact, _ADD_EXTRA)


@rule("A.5.pause-line", clouds=("mold",))
def pause_line(disc: NodeView) -> Iterator[Problem]:
    """images.list has exactly one line for the pause image.

    containerd is configured with what the lines give whose repository ends in /pause; with none or
    two the node stops with `ISO pause image is not imported`.
    """
    if not disc.images_list:
        return
    lines = _pause_lines(disc)
    if len(lines) != 1:
        where = ", ".join(line.place for line in lines) or "none"
        fact = f"expected exactly one line for the pause image, found {where}"
        yield Problem(IMAGES_LIST, fact, "keep the pause image kubeadm asks for")


@rule("A.5.pause-digest", clouds=("mold",))
def pause_digest(disc: NodeView) -> Iterator[Problem]:
    """The archive of the pause image is named by the digest of its manifest.

    The node makes `repository@sha256:<file name>` of its line and stops if there is no such image.
    """
    for line in _pause_lines(disc):
        if line.archive in disc.archive_names and (fact := _wrong_digest(disc, line.archive)):
            yield Problem(f"docker/{line.archive}", fact, _PACK_AGAIN)


@rule("A.5.pause-imported", clouds=("mold",))
def pause_imported(disc: NodeView) -> Iterator[Problem]:
    """Without an images.list, an archive gives a pause image.

    The node takes the last one by text of all imported names, and stops if there is none.
    """
    if disc.images_list or not disc.archive_names:
        return
    broken = any(isinstance(disc.archive(n), IntegrityError) for n in disc.archive_names)
    if not broken and not _gives_pause(disc):
        yield Problem("docker/", "no archive gives a pause image", _ADD_IMAGE)


def _pause_lines(disc: NodeView) -> list[ImportLine]:
    return [line for line in disc.images_list if _PAUSE.fullmatch(line.base)]


def _gives_pause(disc: NodeView) -> bool:
    return any(_PAUSE.fullmatch(repository_of(name)) for name in disc.imported)


def _wrong_digest(disc: NodeView, name: str) -> str | None:
    """Say in what the name of an archive differs from its manifest's digest."""
    found = disc.archive(name)
    if isinstance(found, IntegrityError):
        return None
    digests = sorted({image.digest for image in found.images if image.digest})
    if not digests:
        return "a docker archive, which has no manifest whose digest could be its name"
    if _DIGEST_NAME.fullmatch(name) and name.removesuffix(".tar") in {d.hex for d in digests}:
        return None
    return f"holds the manifest {digests[0]}, expected the name {digests[0].hex}.tar"


RULES: tuple[Rule, ...] = (
    docker_missing,
    no_images_list,
    images_list,
    images_list_line,
    images_list_stale,
    base_name_tag,
    base_name,
    archive,
    archive_name,
    reference,
    platform,
    nested,
    stray,
    digest_name,
    core_images,
    manifest_images,
    further_images,
    mentioned_images,
    pause_line,
    pause_digest,
    pause_imported,
)
