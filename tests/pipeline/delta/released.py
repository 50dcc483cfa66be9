"""A published folder or bucket with ISOs of two releases, made by hand, and another release."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from isobuilder.digest import Digest
from isobuilder.formats.kube import KubeVersion
from isobuilder.pipeline.upstream.target import Target
from isobuilder.publish.index import Published, change_index
from isobuilder.publish.place import PublishedPlace, publish_file
from tests.pipeline.delta.discs import Tree, a_tree, disc


@dataclass(frozen=True, slots=True)
class Released:
    """What is published, and the files that it was published from."""

    target: Target
    old: Published
    new: Published
    source: Path

    def path(self, entry: Published) -> Path:
        return self.source / entry.name


def name_of(version: str, *, kind: str = "mold-cks-amd64", revision: int = 1) -> str:
    return f"kubernetes-v{version}-{kind}-r{revision}.iso"


def entry_of(
    version: str,
    *,
    kind: str = "mold-cks-amd64",
    revision: int = 1,
    digest: Digest | None = None,
    size: int = 1,
) -> Published:
    return Published(
        name=name_of(version, kind=kind, revision=revision),
        kubernetes=KubeVersion(version),
        profile="mold-cks",
        architecture="amd64",
        revision=revision,
        sha256=digest or Digest.of(f"{version}{kind}{revision}".encode()),
        size=size,
        lock=Digest.of(version.encode()),
    )


def registration_of(iso: Path) -> bytes:
    """Return what of a registration is about the ISO's bytes."""
    told = {"checksum": f"{{SHA-256}}{Digest.of_file(iso).hex}", "size": iso.stat().st_size}
    return json.dumps(told).encode()


def released(place: PublishedPlace, work: Path, folder: Path) -> Released:
    """Publish two ISOs that differ a little, the new one with its registration beside it."""
    folder.mkdir()
    tree = a_tree(random.Random(1))
    program = bytearray(tree["bin/program1"])
    program[500:600] = random.Random(2).randbytes(100)
    changed: Tree = {**tree, "bin/program1": bytes(program)}
    entries = []
    for version, files in (("1.34.8", tree), ("1.34.9", changed)):
        path = disc(files, folder / name_of(version))
        made = entry_of(version, digest=Digest.of_file(path), size=path.stat().st_size)
        publish_file(place, path, path.name)
        change_index(place, lambda index, made=made: index.with_iso(made))  # type: ignore[misc]
        entries.append(made)
    side = folder / f"{entries[1].base_name}.registration.json"
    side.write_bytes(registration_of(folder / name_of("1.34.9")))
    publish_file(place, side, side.name)
    return Released(Target(place, work, None), entries[0], entries[1], folder)
