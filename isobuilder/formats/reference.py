"""References: names of images as Docker and containerd read them, and which names move.

What moves is what means other bytes tomorrow: a branch, or a name for whatever was built last. The
names are the same for tags of images and in addresses of files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from urllib.parse import unquote

from isobuilder.digest import Digest

# Source: github.com/distribution/reference, regexp.go and normalize.go (ParseDockerRef), which is
# what Docker, containerd and the kubelet's runtime interface share.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_REGISTRY = re.compile(_DOMAIN)
_REFERENCE = re.compile(
    r"(?P<name>[^@]+?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9+._-]*:[0-9A-Fa-f]{32,}))?"
)
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 255  # characters of a repository

DOCKER_HUB = "docker.io"
_OLD_HUB = "index.docker.io"

_NO_OTHER = frozenset({"main", "master", "latest", "latest_release", "head"})
"""What moves wherever it stands in an address: nobody calls anything else so."""
_BUILT_LAST = frozenset({"develop", "trunk", "nightly", "edge", "canary"})
_CHANNELS = frozenset({"stable", "dev", "devel", "unstable", "rolling"})
"""What moves as a branch, and else is often the folder or the tag of what was released."""
_MOVING = _NO_OTHER | _BUILT_LAST
_BRANCHES = _MOVING | _CHANNELS

_BRANCH = re.compile(r"release-v?[0-9]+\.(?:[0-9]+|x)|v?[0-9]+(?:\.[0-9]+)*\.x")
"""How branches of releases are called: ``release-1.20``, ``release-v3.30``, ``1.9.x``. What has
three numbers is a release."""
_PACKED = re.compile(r"\.(?:tar\.gz|tar\.bz2|tar|tgz|zip)\Z")

# Servers of git repositories: how many parts of an address come before the name of a branch, tag or
# commit. The last of them says what is wanted of it, but on those without.
_JSDELIVR = "cdn.jsdelivr.net"
_OF_GIT = {
    "raw.githubusercontent.com": 2,
    "codeload.github.com": 3,
    "github.com": 3,
    "www.github.com": 3,
    "bitbucket.org": 3,
    "codeberg.org": 3,
    _JSDELIVR: 2,
}
_KINDS = frozenset({"raw", "archive", "blob", "tree", "tarball", "zipball", "get", "src"})
_WITHOUT_KIND = frozenset({"raw.githubusercontent.com", "codeload.github.com"})


@dataclass(frozen=True, slots=True)
class ImageReference:
    """``registry/repository[:tag][@digest]``, with Docker's short forms written out."""

    registry: str  # host[:port], e.g. "registry.k8s.io"
    repository: str  # without the registry, e.g. "coredns/coredns"
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Return what ``text`` means; ``nginx`` means ``docker.io/library/nginx:latest``.

        Raises:
            ValueError: it is not a reference, or has a digest of another kind than sha256.
        """
        match = _REFERENCE.fullmatch(text)
        if match is None or _IMAGE_ID.fullmatch(text):
            raise ValueError(f"not an image reference: {text[:120]!r}")
        registry, repository = _split(match["name"])
        if not _REGISTRY.fullmatch(registry) or not _PATH.fullmatch(repository):
            capitals = _REGISTRY.fullmatch(registry) and _PATH.fullmatch(repository.lower())
            why = " (repositories have no capital letters)" if capitals else ""
            raise ValueError(f"not an image reference: {text[:120]!r}{why}")
        if len(repository) > _LONGEST:
            raise ValueError(f"a repository of more than {_LONGEST} characters: {text[:120]!r}")
        if match["digest"] and not _SHA256.fullmatch(match["digest"]):
            raise ValueError(f"a digest other than sha256 and 64 lower-case digits: {text[:120]!r}")
        digest = Digest(match["digest"]) if match["digest"] else None
        tag = match["tag"] or (None if digest else "latest")
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        """Registry and repository, what ``ctr image import --base-name`` calls the base name."""
        return f"{self.registry}/{self.repository}"

    @property
    def looked_up(self) -> str:
        """The name that nodes look for: of tag and digest the digest counts.

        Source: containerd's CRI, which normalizes with ParseDockerRef.
        """
        return str(self.with_digest(self.digest) if self.digest else self)

    def with_digest(self, digest: Digest) -> ImageReference:
        """Return the same name pinned to ``digest``, without the tag."""
        return replace(self, tag=None, digest=digest)

    def without_digest(self) -> ImageReference:
        """Return the same name by its tag alone."""
        return replace(self, digest=None)

    def with_tag(self, tag: str) -> ImageReference:
        """Return the same name by another tag alone."""
        return replace(self, tag=tag, digest=None)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def _split(name: str) -> tuple[str, str]:
    """Return registry and repository of a name; Docker Hub's are completed."""
    first, slash, rest = name.partition("/")
    is_host = slash and (
        any(mark in first for mark in ".:") or first == "localhost" or first.lower() != first
    )
    registry, repository = (first, rest) if is_host else (DOCKER_HUB, name)
    if registry == _OLD_HUB:
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def lockable(text: str) -> ImageReference:
    """Return what ``text`` means, if it will mean the same image tomorrow.

    Raises:
        ValueError: no reference, no tag and no digest, or a tag that moves; the text says which.
    """
    reference = ImageReference.parse(text)
    if reference.digest is not None:
        return reference
    if not text.endswith(f":{reference.tag}"):
        raise ValueError(f"no tag or digest in {text!r}")
    if str(reference.tag).lower() in _MOVING:
        raise ValueError(f"the tag {reference.tag!r} in {text!r} is a moving target")
    return reference


def always_moving(path: str) -> str | None:
    """Return what in a path moves wherever it stands; None if nothing does."""
    return min(_NO_OTHER.intersection(unquote(path).lower().split("/")), default=None)


def moving_part(host: str, path: str) -> str | None:
    """Return what in the address of a file means other bytes tomorrow; None if nothing is known to.

    Where a server of git repositories has the name of a branch, tag or commit, all names that move
    are looked for, elsewhere those that mean nothing else: ``edge`` may well be a project.
    """
    parts = unquote(path).lower().strip("/").split("/")
    for number, pair in enumerate(pairwise(parts)):
        if pair == ("refs", "heads") or (number == 2 and pair == ("raw", "branch")):
            return "/".join(parts[number : number + 3])  # the latter is how Gitea tells it
    if found := always_moving(path):
        return found
    if host in _OF_GIT and parts[2:4] == ["releases", "download"]:
        tag = "".join(parts[4:5])  # which may be called as branches of releases are
        return tag if tag in _BRANCHES else None
    if host in _OF_GIT or "-" in parts:
        name = _git_name(host, parts)
        return name if name in _BRANCHES or _BRANCH.fullmatch(name) else None
    return None


def _git_name(host: str, parts: Sequence[str]) -> str:
    """Return what names a branch, tag or commit in an address; empty if nothing does."""
    if host == _JSDELIVR:
        return "".join(parts[2:3]).partition("@")[2]
    at = _OF_GIT[host] if host in _OF_GIT else parts.index("-") + 2  # GitLab, on whatever host
    if host not in _WITHOUT_KIND and not _KINDS.intersection(parts[at - 1 : at]):
        return ""
    return _PACKED.sub("", "".join(parts[at : at + 1]))


def spelled_out(text: str) -> str:
    """Return the one spelling of the reference that ``text`` is; what is none stays as it is.

    Names are compared by it wherever they come from, so ``nginx:1.27`` in a manifest is the
    ``docker.io/library/nginx:1.27`` of a lock.
    """
    try:
        return str(ImageReference.parse(text))
    except ValueError:
        return text
