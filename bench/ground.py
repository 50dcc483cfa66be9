"""What every comparison stands on: payload, locks, a full store, servers, trees for the peers."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench import payload, upstream
from bench.measure import BenchError, clean_environment
from isobuilder.digest import BUFFER_SIZE, Digest
from isobuilder.iso.read.reader import IsoReader
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock
from isobuilder.store import Store

PRODUCT = Path(sys.executable).with_name("isobuilder")
SMALL, ONE, MIDDLE, LARGE = 0.85, 1.0, 2.0, 8.0
"""Gigabytes of a release alone, and with further images."""


@dataclass
class Ground:
    """A folder in which everything is prepared when it is first needed."""

    work: Path
    scale: float = 1.0
    largest: float = SMALL  # gigabytes of the largest payload that will be asked for
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def called(self, size: float) -> str:
        """Return what people call the release of so many gigabytes."""
        return f"{size} GB"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command."""
        return clean_environment(self.work / "home")

    @cached_property
    def payload(self) -> payload.Payload:
        """The files and images."""
        further = payload.further_images(self.largest)
        say(f"payload: a release and {further} further images")
        return payload.make(self.work / "payload", further=further, scale=self.scale)

    @cached_property
    def store(self) -> Store:
        """A store that has everything."""
        store = Store(self.work / "store")
        self.payload.fill_store(store)
        return store

    @cached_property
    def served(self) -> upstream.Served:
        """The release on loopback."""
        say("servers: nginx, docker-registry")
        folder = self.work / "servers"
        return self.closing.enter_context(
            upstream.serve(self.payload, self.payload.images(0), folder)
        )

    def settings(self, way: str) -> Path:
        """Return a configuration: ``full``, ``throttled``, or ``changed`` kubeadm."""
        served = self.served
        names = upstream.registries(self.payload.tagged)
        target = self.work / f"{way}.yaml"
        if way == "changed":
            more = {"https://dl.k8s.io": served.changed}
            return upstream.settings(target, served.full, names, **more)
        chosen = served.throttled if way == "throttled" else served.full
        return upstream.settings(target, chosen, names)

    def lock(self, size: float) -> Path:
        """Return the lock of a release of so many gigabytes."""
        folder = self.work / "locks" / str(size)
        found = list(folder.glob("*.lock.json"))
        if found:
            return found[0]
        say(f"lock: {size} GB")
        recipe = payload.recipe(folder, payload.further_images(size))
        config = upstream.settings_on_disk(self.work / "disk.yaml", self.payload)
        self.product("lock", recipe, "--config", config)
        return next(folder.glob("*.lock.json"))

    def changed_lock(self) -> tuple[Path, Digest]:
        """Return a lock with another kubeadm, and the digest of that."""
        lock = load_lock(self.lock(SMALL))
        (url,) = (file.url for file in lock.files if file.name == "kubeadm")
        other = self.payload.changed / url.removeprefix("https://")
        digest = Digest.of_file(other)
        files = [
            file.model_copy(update={"sha256": digest, "size": other.stat().st_size})
            if file.url == url
            else file
            for file in lock.files
        ]
        changed: Lock = lock.model_copy(update={"files": tuple(files)})
        target = self.work / "locks" / "changed.lock.json"
        target.write_bytes(changed.to_bytes())
        return target, digest

    def built(self, size: float) -> Path:
        """Return the ISO of so many gigabytes; building it also makes the store's notes."""
        folder = self.work / "built" / str(size)
        lock = self.lock(size)
        if not any(folder.glob("*.iso")):
            say(f"ISO: {size} GB")
            self.product("build", lock, "--out", folder, "--offline")
        return next(folder.glob("*.iso"))

    def tree(self, size: float) -> Path:
        """Return a folder with the files of that ISO, for programs that start from a folder."""
        folder = self.work / "tree" / str(size)
        if not folder.exists():
            with IsoReader(self.built(size)) as reader:
                for path in reader.files:
                    target = folder / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with reader.open(path) as source, target.open("wb") as copy:
                        shutil.copyfileobj(source, copy, BUFFER_SIZE)
        return folder

    def libraries(self, words: Sequence[str | Path]) -> Path:
        """Return a program that imports what the product has imported once it has run ``words``."""
        target = self.work / "scripts" / "libraries.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, Path(__file__).with_name("steps.py"), "libraries", target, *words]
        subprocess.run(argv, env=self.environment, check=True, capture_output=True)
        return target

    def product(self, *words: str | Path, store: Path | None = None) -> None:
        """Run the product, not measured.

        Raises:
            BenchError: it fails.
        """
        argv = [PRODUCT, *words, "--store", store or self.store.root, "-q"]
        done = subprocess.run(argv, env=self.environment, check=False, capture_output=True)
        if done.returncode:
            raise BenchError(f"isobuilder {words[0]}: {done.stderr.decode(errors='replace')}")

    def script(self, name: str, text: str) -> list[str | Path]:
        """Return the words that run a shell script, which stops at the first failure."""
        path = self.work / "scripts" / f"{name}.sh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"set -eu\n{text}\n", encoding="utf-8")
        return ["/bin/sh", path]

    def fresh(self, *folders: Path) -> None:
        """Empty folders, and let the disk finish what earlier runs wrote."""
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        os.sync()

    def release(self, size: float) -> None:
        """Give back the disk that the ISO and the tree of a size take."""
        for kind in ("built", "tree"):
            shutil.rmtree(self.work / kind / str(size), ignore_errors=True)


def say(text: str) -> None:
    """Tell what goes on."""
    print(text, file=sys.stderr, flush=True)
