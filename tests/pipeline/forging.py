"""ISOs that were changed by somebody who mended everything that tells of the change."""

from __future__ import annotations

import contextlib
import json
import random
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isobuilder.content.tree import IsoTree
from isobuilder.digest import Digest
from isobuilder.iso.boot_names import CATALOG
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso


@dataclass(slots=True)
class Contents:
    """All files of an ISO, to be changed."""

    files: dict[str, bytes]
    modes: dict[str, int]

    @classmethod
    def of(cls, iso: Path) -> Contents:
        with IsoReader(iso) as reader:
            files = {path: reader.open(path).read() for path in reader.files}
            modes = {path: stat.S_IMODE(file.mode) for path, file in reader.files.items()}
        return cls(files, modes)

    def mend(self) -> None:
        """Let manifest.json and SHA256SUMS tell of what is there now."""
        with contextlib.suppress(KeyError, ValueError):  # it is gone, or another file by its name
            manifest: dict[str, Any] = json.loads(self.files["manifest.json"])
            described = self.files.keys() - {"manifest.json", "SHA256SUMS"}
            manifest["files"] = {path: Digest.of(self.files[path]).hex for path in described}
            for image in manifest["images"]:
                data = self.files.get(image["path"], b"")
                image |= {"sha256": Digest.of(data).hex, "size": len(data)}
            text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False)
            self.files["manifest.json"] = f"{text}\n".encode()
        if "SHA256SUMS" in self.files:
            lines = [
                f"{Digest.of(data).hex}  {path}\n"
                for path, data in sorted(self.files.items())
                if path != "SHA256SUMS"
            ]
            self.files["SHA256SUMS"] = "".join(lines).encode()

    def write_plainly(self, target: Path) -> Path:
        """Write an ISO of the files that starts no machine."""
        entries = [
            IsoEntry(path, self.modes.get(path, 0o444), (data,) if data else ())
            for path, data in self.files.items()
        ]
        write_iso(entries, target, label="CDROM", epoch=1_700_000_000)
        return target

    def write(self, target: Path, tree: IsoTree, *, label: str = "CDROM") -> Path:
        """Write an ISO of the files as ``tree`` would be written."""
        entries = [
            IsoEntry(path, self.modes.get(path, 0o444), (data,) if data else ())
            for path, data in self.files.items()
            if path != CATALOG
        ]
        write_iso(entries, target, label=label, epoch=tree.epoch, boot=tree.boot)
        return target


Change = Callable[[Contents, random.Random], None]


def _some(contents: Contents, chance: random.Random) -> str:
    # Boot files that the writer needs in their places are changed as bytes, not as files.
    return chance.choice(sorted(p for p in contents.files if not p.startswith("boot/grub/")))


def other_bytes(contents: Contents, chance: random.Random) -> None:
    path = _some(contents, chance)
    data = bytearray(contents.files[path] or b"\0")
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    contents.files[path] = bytes(data)


def longer(contents: Contents, chance: random.Random) -> None:
    contents.files[_some(contents, chance)] += b"\n"


def one_more(contents: Contents, chance: random.Random) -> None:
    contents.files[chance.choice(["run.sh", "docker/more", "k8s/kubeadm2", "EFI/x"])] = b"#!/bin/sh"


def one_less(contents: Contents, chance: random.Random) -> None:
    del contents.files[_some(contents, chance)]


def renamed(contents: Contents, chance: random.Random) -> None:
    path = _some(contents, chance)
    contents.files[f"{path}2"] = contents.files.pop(path)


def swapped(contents: Contents, chance: random.Random) -> None:
    one, two = _some(contents, chance), _some(contents, chance)
    while contents.files[one] == contents.files[two]:
        two = _some(contents, chance)
    contents.files[one], contents.files[two] = contents.files[two], contents.files[one]


def other_mode(contents: Contents, chance: random.Random) -> None:
    path = _some(contents, chance)
    contents.modes[path] = 0o444 if contents.modes[path] & 0o111 else 0o555


def other_case(contents: Contents, chance: random.Random) -> None:
    path = _some(contents, chance)
    folder, _, name = path.rpartition("/")
    changed = f"{folder}/{name.swapcase()}".removeprefix("/")
    contents.files[changed] = contents.files.pop(path)


def said_otherwise(contents: Contents, chance: random.Random) -> None:
    manifest = json.loads(contents.files["manifest.json"])
    key = chance.choice(["features", "revision", "epoch", "recipe_sha256", "lock_sha256"])
    manifest[key] = {"features": [], "revision": 7, "epoch": 1}.get(key, "0" * 64)
    contents.files["manifest.json"] = json.dumps(manifest).encode()


FILE_CHANGES: tuple[Change, ...] = (
    other_bytes,
    longer,
    one_more,
    one_less,
    renamed,
    swapped,
    other_mode,
    other_case,
    said_otherwise,
)


def no_file_has(iso: Path) -> list[int]:
    """Return every byte of the image that belongs to no file."""
    with IsoReader(iso) as reader:
        taken = sorted(
            (extent.offset, extent.end) for file in reader.files.values() for extent in file.extents
        )
        free: list[int] = []
        done = 0
        for begin, end in [*taken, (reader.size, reader.size)]:
            free += range(done, begin)
            done = max(done, end)
    return free
