"""What cases are made of: the demonstration's recipe, lock, ISO and upstream, and a boot medium."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from isobuilder.demo.content import fill, write_recipes
from isobuilder.iso.read.reader import IsoReader
from isobuilder.model.config import Config
from isobuilder.pipeline.build import build
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from tests.fakes.upstream import FakeUpstream
from tests.iso.boots import boot_medium


@dataclass(frozen=True)
class Samples:
    """Good inputs of every kind; ``folder`` keeps them for other processes."""

    folder: Path

    def make(self) -> Samples:
        """Make what is not there yet."""
        if (self.folder / "made").exists():
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        with FakeUpstream() as upstream:
            fill(upstream)
            plain, csi = write_recipes(self.folder)
            config = Config(mirrors=upstream.mirrors, retries=1, retry_budget=2.0)
            with open_session(config, self.store) as session:
                for number, recipe in enumerate((plain, csi)):
                    found = lock_recipe(recipe, "amd64", session)
                    made = build(found.lock, self.folder / f"out{number}", session)
                    made.iso.rename(self.folder / f"{number}.iso")
                    (self.folder / f"{number}.lock.json").write_bytes(found.path.read_bytes())
        boot_medium(self.store, self.folder / "boot.iso")
        (self.folder / "made").touch()
        return self

    @cached_property
    def store(self) -> Store:
        """Has every blob of the demonstration."""
        return Store(self.folder / "store")

    def read(self, name: str) -> bytes:
        """Return one of the files."""
        return (self.folder / name).read_bytes()

    @cached_property
    def isos(self) -> tuple[bytes, ...]:
        """Three ISOs: the demonstration's, one with a CSI driver, and one that starts machines."""
        return tuple(self.read(name) for name in ("0.iso", "1.iso", "boot.iso"))

    @cached_property
    def locks(self) -> tuple[bytes, ...]:
        """The locks of the first two."""
        return tuple(self.read(name) for name in ("0.lock.json", "1.lock.json"))

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Every file of the second ISO, and what the third adds."""
        found: dict[str, bytes] = {}
        for name in ("boot.iso", "1.iso"):
            with IsoReader(self.folder / name) as reader:
                found |= {path: reader.open(path).read() for path in reader.files}
        return found

    def like(self, *endings: str) -> list[bytes]:
        """Return the files on the ISOs whose names end so."""
        return [data for path, data in sorted(self.files.items()) if path.endswith(endings)]

    def json(self, *names: str) -> list[Any]:
        """Return the values of JSON files of the folder or of the ISOs."""
        texts = [self.files[name] if name in self.files else self.read(name) for name in names]
        return [json.loads(text) for text in texts]

    @cached_property
    def unpacked(self) -> list[tuple[bytes, bytes]]:
        """Return compressed archives of the ISO and what they unpack to."""
        return [(data, gzip.decompress(data)) for data in self.like(".tgz", ".tar.gz")]

    @cached_property
    def documents(self) -> list[Any]:
        """Return image indexes, manifests and configurations."""
        found = []
        for path in sorted(self.store.root.glob("blobs/sha256/*/*")):
            data = path.read_bytes()
            if data[:1] == b"{":
                found.append(json.loads(data))
        return found

    @cached_property
    def programs(self) -> list[bytes]:
        """Return programs of Kubernetes."""
        return [data for data in self.files.values() if data[:4] == b"\x7fELF"]
