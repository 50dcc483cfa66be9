"""Image references as registries and containerd understand them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from isobuilder.digest import Digest

# Source: distribution/reference, grammar in reference.go.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_DOMAIN}/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


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
            ValueError: it is not a reference.
        """
        match = _REFERENCE.fullmatch(text)
        if match is None or len(match["name"]) > 255:
            raise ValueError(f"not an image reference: {text[:120]!r}")
        first, _, rest = match["name"].partition("/")
        if rest and ("." in first or ":" in first or first == "localhost"):
            registry, repository = first, rest
        else:
            registry, repository = "docker.io", match["name"]
        if registry == "index.docker.io":
            registry = "docker.io"
        if registry == "docker.io" and "/" not in repository:
            repository = f"library/{repository}"
        digest = Digest(match["digest"]) if match["digest"] else None
        tag = match["tag"] or (None if digest else "latest")
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        """Registry and repository, what ``ctr image import --base-name`` calls the base name."""
        return f"{self.registry}/{self.repository}"

    def with_digest(self, digest: Digest) -> ImageReference:
        """Return the same name pinned to ``digest``, without the tag."""
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def spelled_out(text: str) -> str:
    """Return the one spelling of the reference that ``text`` is; what is none stays as it is.

    Names are compared by it wherever they come from, so ``nginx:1.27`` in a manifest is the
    ``docker.io/library/nginx:1.27`` of a lock.
    """
    try:
        return str(ImageReference.parse(text))
    except ValueError:
        return text
