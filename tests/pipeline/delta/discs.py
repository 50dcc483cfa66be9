"""Small ISOs that differ as releases do, made by chance."""

from __future__ import annotations

import gzip
import random
from collections.abc import Mapping
from pathlib import Path

from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from tests.contract.trees import tar

EPOCH = 1_700_000_000
Tree = dict[str, bytes]


def a_tree(chance: random.Random) -> Tree:
    """Return files as an ISO has them: programs, an archive with a packed layer, small things."""
    programs = {f"bin/program{n}": chance.randbytes(chance.randint(40_000, 90_000)) for n in (1, 2)}
    inner = tar({"usr/bin/server": chance.randbytes(60_000), "etc/passwd": b"root:x:0:0\n" * 20})
    layer = gzip.compress(inner, mtime=0, compresslevel=6)
    archive = tar({"oci-layout": b"{}", "blobs/sha256/" + "a" * 64: layer, "index.json": b"{}"})
    texts = {f"text{n}.yaml": chance.randbytes(chance.randint(0, 3000)) for n in range(4)}
    return {**programs, "docker/one.tar": archive, "cni.tgz": layer, **texts, "empty": b""}


def edited_bytes(data: bytes, chance: random.Random) -> bytes:
    """Return bytes with some changed, put in and taken out."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 5)):
        at = chance.randint(0, len(made))
        match chance.randrange(4):
            case 0:
                made[at : at + 8] = chance.randbytes(8)
            case 1:
                made[at:at] = chance.randbytes(chance.randint(1, 300))
            case 2:
                del made[at : at + chance.randint(1, 300)]
            case _:
                made[at : at + 4000] = bytes(4000)
    return bytes(made)


def edited_tree(tree: Mapping[str, bytes], chance: random.Random) -> Tree:
    """Return a tree in which files were changed, renamed, doubled, added and removed."""
    made = dict(tree)
    for _ in range(chance.randint(1, 6)):
        name = chance.choice(sorted(made))
        match chance.randrange(6):
            case 0:
                made[f"{name}.new"] = made.pop(name)
            case 1:
                made[f"again/{chance.randrange(1000)}"] = made[name]
            case 2:
                made[f"more{chance.randrange(1000)}"] = chance.randbytes(chance.randint(1, 70_000))
            case 3 if len(made) > 2:
                del made[name]
            case _:
                made[name] = edited_bytes(made[name], chance)
    return made


def disc(tree: Mapping[str, bytes], path: Path) -> Path:
    """Write a tree as an ISO."""
    entries = [IsoEntry(name, 0o644, (data,)) for name, data in tree.items()]
    write_iso(entries, path, label="CDROM", epoch=EPOCH)
    return path


def spoiled(path: Path, chance: random.Random) -> None:
    """Make a disc a foreign one: bytes between files, behind them, in its structure, or cut."""
    data = bytearray(path.read_bytes())
    match chance.randrange(5):
        case 0:
            data += chance.randbytes(chance.randint(1, 100_000))
        case 1:
            at = chance.randrange(len(data))
            data[at : at + 5000] = chance.randbytes(5000)
        case 2:
            del data[chance.randrange(len(data)) :]
        case 3:
            data[:2048] = chance.randbytes(2048)
        case _:
            data = bytearray(chance.randbytes(chance.randint(0, 200_000)))
    path.write_bytes(data)
