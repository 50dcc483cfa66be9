"""Whether a release of Kubernetes is whole: every file, checksum, signature and image is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from isobuilder.cancel import pooled
from isobuilder.errors import IsobuilderError, UpstreamError
from isobuilder.formats.kube import KubeVersion, image_registry
from isobuilder.formats.reference import ImageReference
from isobuilder.model.config import mirror_urls
from isobuilder.rules.pairings import core_images
from isobuilder.sources.mirrors import first_good
from isobuilder.sources.session import Session

PROGRAMS = ("kubeadm", "kubelet", "kubectl")
_OWN_IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
_SUM = re.compile(rb"[0-9a-fA-F]{64}\s*")
_ADDRESS = re.compile(r"https?://\S+: ")
_SMALL = 64 * 1024  # bytes; certificates have some 3 KiB
_AT_ONCE = 8

_Lack = tuple[str, str]  # what is not there, and why


def missing(version: KubeVersion, architectures: Sequence[str], session: Session) -> list[str]:
    """Return what is not there of a release, in words; nothing when it is whole.

    For every architecture: three programs, each with its SHA-256, signature and certificate, and
    the images of its kubeadm, or where those are not known the four of Kubernetes itself. No
    program is downloaded. What lacks for one reason is told in one fact.
    """
    with pooled(_AT_ONCE, "whole", end=session.http.close) as pool:
        files = [
            (arch, pool.submit(_file_facts, version, arch, name, session))
            for arch in architectures
            for name in PROGRAMS
        ]
        images = [
            (arch, pool.submit(_image_facts, image, arch, session))
            for arch in architectures
            for image in _images(version)
        ]
        return list(
            _told((arch, *lack) for arch, job in (*files, *images) for lack in job.result())
        )


def _told(lacks: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Yield lacks (architecture, name, error) in words; an address only where it is about one."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for arch, name, error in lacks:
        groups.setdefault((arch, _ADDRESS.sub("", error)), []).append((name, error))
    for (arch, reason), same in groups.items():
        names = ", ".join(name for name, _error in same)
        yield f"{arch}: {names}: {same[0][1] if len(same) == 1 else reason}"


def _images(version: KubeVersion) -> Iterable[str]:
    known = core_images(version)
    if known is not None:
        return known
    return [f"{image_registry(version)}/{name}:v{version}" for name in _OWN_IMAGES]


def _file_facts(version: KubeVersion, arch: str, name: str, session: Session) -> list[_Lack]:
    base = f"https://dl.k8s.io/release/v{version}/bin/linux/{arch}/{name}"
    facts = list(_absent(name, lambda at: session.http.get(at).close(), base, session))
    for suffix in (".sha256", ".sig", ".cert"):

        def small(at: str, suffix: str = suffix) -> None:
            body = session.http.get_small(at, limit=_SMALL).body
            if not body.strip() or body.lstrip().startswith(b"<"):
                raise UpstreamError(f"{at}: empty, or a web page")
            if suffix == ".sha256" and not _SUM.fullmatch(body):
                raise UpstreamError(f"{at}: no SHA-256")

        facts += _absent(f"{name}{suffix}", small, base + suffix, session)
    return facts


def _absent(name: str, ask: Callable[[str], None], url: str, session: Session) -> Iterator[_Lack]:
    try:
        first_good(url, mirror_urls(session.config, url), ask)
    except IsobuilderError as error:
        yield name, str(error)


def _image_facts(image: str, arch: str, session: Session) -> list[_Lack]:
    try:
        session.registry.resolve(ImageReference.parse(image), arch)
    except IsobuilderError as error:
        return [(image, str(error).removeprefix(f"{image}: "))]
    return []
