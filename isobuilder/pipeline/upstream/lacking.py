"""What is missing of ours: ISOs that nobody built, and versions that servers do not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from isobuilder.errors import IsobuilderError
from isobuilder.formats.version import version_of
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.mold.api.commands import Mold
from isobuilder.sources.upstream.notices import Held, Notice

Servers = Mapping[str, Mold | IsobuilderError]
"""Servers by name, or why one cannot be asked."""


_PATIENCE = 5.0  # seconds for all of a look; who looks every hour need not wait for a server


def unbuilt(
    held: Iterable[Held], folders: Sequence[Path], architectures: Sequence[str]
) -> Iterator[Notice]:
    """Yield what has no ISO in ``folders``, or not even a lock, for each of ``architectures``."""
    there = {path.name for folder in folders for path in folder.rglob("*.iso")}
    for one in held:
        for architecture in architectures:
            if architecture not in one.isos:
                continue
            names = one.isos[architecture]
            if not names:
                hint = f"isobuilder lock {one.place} --arch {architecture}"
                yield Notice("todo", "not-locked", one.place, f"no lock for {architecture}", hint)
            elif there.isdisjoint(names):
                fact = f"nobody built {names[0]}"
                hint = f"isobuilder build {one.place} --arch {architecture}"
                yield Notice("todo", "not-built", one.place, fact, hint)


def unregistered(held: Sequence[Held], servers: Servers) -> Iterator[Notice]:
    """Yield which versions servers lack, of those that are locked; one that is down is told."""
    for name, mold in servers.items():
        try:
            if isinstance(mold, IsobuilderError):
                raise mold
            with mold.within(_PATIENCE):
                listed = mold.versions()
        except IsobuilderError as error:
            yield Notice("notice", "unreachable", name, str(error), error.hint or "")
            continue
        there = {(one.semanticversion, one.assumed_arch) for one in listed}
        for one in held:
            version = str(one.parts.kubernetes)
            for architecture, isos in one.isos.items():
                called = ARCHITECTURES[architecture].mold
                if not isos or (version, called) in there:
                    continue
                minor = [
                    found
                    for text, arch in there
                    if arch == called
                    and (found := version_of(text))
                    and found.line_text == one.parts.kubernetes.minor_text
                ]
                has = f"; its newest of {minor[0].line_text} is {max(minor)}" if minor else ""
                fact = f"has no Kubernetes {version} for {architecture}{has}"
                hint = f"isobuilder mold register {isos[0]} --server {name}"
                yield Notice("todo", "not-registered", name, fact, hint)
