"""Single changes to a good bootable ISO, or to what lies beside it: none is called good.

A fixed number of them runs every day. ``ISOBUILDER_MUTATIONS=2000 ISOBUILDER_SEED=7`` tries others.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from isobuilder.content.tree import IsoTree, tree
from isobuilder.model.lock import Lock, LockedBoot
from isobuilder.pipeline.build import build
from isobuilder.pipeline.verify import verify
from isobuilder.sources.session import Session
from tests.pipeline.forging import FILE_CHANGES, Contents, no_file_has
from tests.pipeline.test_boot import make_payload
from tests.pipeline.world import Locked

COUNT = int(os.environ.get("ISOBUILDER_MUTATIONS", "160"))
SEED = int(os.environ.get("ISOBUILDER_SEED", "1"))
SECTOR = 2048


@dataclass(slots=True)
class Good:
    """A good ISO, and what a change needs to know of it."""

    lock: Lock
    iso: Path
    wanted: IsoTree
    side_files: tuple[Path, ...]
    work: Path
    data: bytes = b""
    free: list[int] = field(default_factory=list)
    records: list[int] = field(default_factory=list)

    def put(self, data: bytes) -> Path:
        target = self.work / "changed.iso"
        target.write_bytes(data)
        return target

    def patched(self, at: int, new: bytes) -> Path:
        return self.put(self.data[:at] + new + self.data[at + len(new) :])


@pytest.fixture
def good(locked: Locked, session: Session, tmp_path: Path) -> Good:
    boot = LockedBoot.of(make_payload(session.store))
    lock = locked.lock.model_copy(update={"boot": boot})
    made = build(lock, tmp_path / "good", session)
    (tmp_path / "work").mkdir()
    found = Good(lock, made.iso, tree(lock, session.store), made.side_files, tmp_path / "work")
    found.data = made.iso.read_bytes()
    found.free = no_file_has(made.iso)
    found.records = records_of(found.data)
    return found


def records_of(data: bytes) -> list[int]:
    """Return where every directory record of both trees begins."""
    found: list[int] = []
    for descriptor in (16, 17, 18, 19):
        at = descriptor * SECTOR
        if data[at] not in {1, 2}:
            continue
        folders = [at + 156]
        found.append(at + 156)
        while folders:
            extent, size = struct.unpack_from("<I4xI", data, folders.pop() + 2)
            begin = extent * SECTOR
            position = begin
            while position < begin + size:
                if not data[position]:
                    position += -position % SECTOR or SECTOR
                    continue
                found.append(position)
                name = data[position + 33 : position + 33 + data[position + 32]]
                if data[position + 25] & 2 and name not in {b"\0", b"\1"}:
                    folders.append(position)
                position += data[position]
    return found


# --- changes: each returns the ISO to look at, or None if it changed nothing


def bit(good: Good, chance: random.Random) -> Path | None:
    at = chance.randrange(len(good.data))
    return good.patched(at, bytes([good.data[at] ^ 1 << chance.randrange(8)]))


def byte(good: Good, chance: random.Random) -> Path | None:
    at = chance.randrange(len(good.data))
    return changed(good, at, bytes([chance.randrange(256)]))


def run(good: Good, chance: random.Random) -> Path | None:
    length = chance.choice([2, 16, 512, SECTOR])
    at = chance.randrange(len(good.data) - length)
    return changed(good, at, chance.choice([bytes(length), chance.randbytes(length)]))


def gap(good: Good, chance: random.Random) -> Path | None:
    return changed(good, chance.choice(good.free), bytes([chance.randrange(256)]))


def first_sectors(good: Good, chance: random.Random) -> Path | None:
    return changed(good, chance.randrange(20 * SECTOR), bytes([chance.randrange(256)]))


def last_sectors(good: Good, chance: random.Random) -> Path | None:
    at = len(good.data) - 1 - chance.randrange(40 * 512)
    return changed(good, at, bytes([chance.randrange(256)]))


def longer_or_shorter(good: Good, chance: random.Random) -> Path | None:
    length = chance.choice([1, 512, SECTOR, 64 * 1024])
    if chance.random() < 0.5:
        return good.put(good.data[:-length])
    return good.put(good.data + chance.choice([bytes(length), chance.randbytes(length)]))


def record(good: Good, chance: random.Random) -> Path | None:
    """Change one field of a directory record, in both orders of bytes where it has two."""
    at = chance.choice(good.records)
    length = good.data[at]
    new = bytearray(good.data[at : at + length])
    what = chance.choice(["extent", "size", "flags", "date", "name", "system use", "length"])
    if what in {"extent", "size"}:
        offset = 2 if what == "extent" else 10
        (value,) = struct.unpack_from("<I", new, offset)
        value = max(0, value + chance.choice([-SECTOR, -1, 1, SECTOR]))
        struct.pack_into("<I", new, offset, value)
        struct.pack_into(">I", new, offset + 4, value)
    elif what == "length":
        new[0] ^= chance.choice([1, 2, 4])
    else:
        first = {"flags": 25, "date": 18, "name": 33}.get(what, 33 + new[32] + (new[32] + 1) % 2)
        last = {"flags": 26, "date": 25, "name": 33 + new[32]}.get(what, length)
        if first >= last:
            return None
        new[chance.randrange(first, last)] ^= 1 << chance.randrange(8)
    return changed(good, at, bytes(new))


def two_records(good: Good, chance: random.Random) -> Path | None:
    """Let two names have each other's bytes."""
    one, two = chance.sample(good.records, 2)
    data = bytearray(good.data)
    data[one + 2 : one + 18], data[two + 2 : two + 18] = (
        data[two + 2 : two + 18],
        data[one + 2 : one + 18],
    )
    return good.put(bytes(data)) if data != good.data else None


def rock_ridge_mode(good: Good, chance: random.Random) -> Path | None:
    """Change a mode, owner or link count, in both orders of bytes."""
    at = chance.choice(good.records)
    px = good.data.find(b"PX", at, at + good.data[at])
    if px < 0:
        return None
    offset = px + 4 + 8 * chance.randrange(4)
    (value,) = struct.unpack_from("<I", good.data, offset)
    value ^= 1 << chance.randrange(12)
    return changed(good, offset, struct.pack("<I", value) + struct.pack(">I", value))


def a_file(good: Good, chance: random.Random) -> Path | None:
    """Change one file, and mend everything that tells of it."""
    change = chance.choice(FILE_CHANGES)
    contents = Contents.of(good.iso)
    before = Contents.of(good.iso)
    state = chance.getstate()
    change(contents, chance)
    contents.mend()
    if contents == before:
        chance.setstate(state)
        change(contents, chance)
        if contents == before:
            return None
    return contents.write(good.work / "changed.iso", good.wanted)


def beside(good: Good, chance: random.Random) -> Path | None:
    """Change one of the side files of an ISO that is as it was."""
    folder = good.work / "beside"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good.iso.parent, folder)
    path = folder / chance.choice(good.side_files).name
    data = path.read_bytes()
    at = chance.randrange(len(data))
    path.write_bytes(
        chance.choice(
            [
                data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :],
                data[:at] + b" " + data[at:],
                data[:at],
                data + b"\n",
                b"",
            ]
        )
    )
    return folder / good.iso.name


def changed(good: Good, at: int, new: bytes) -> Path | None:
    return None if good.data[at : at + len(new)] == new else good.patched(at, new)


CHANGES: tuple[Callable[[Good, random.Random], Path | None], ...] = (
    bit,
    byte,
    run,
    gap,
    first_sectors,
    last_sectors,
    longer_or_shorter,
    record,
    two_records,
    rock_ridge_mode,
    a_file,
    beside,
)


def test_the_iso_that_is_changed_is_good(good: Good) -> None:
    found = verify(good.iso, lock=good.lock, layers=False)
    assert found.not_proved == ()
    assert [finding for finding in found.findings if finding.rule.startswith("lock.")] == []


@pytest.mark.timeout(120 + 10 * COUNT)
def test_no_single_change_is_called_good(good: Good) -> None:
    tried: Counter[str] = Counter()
    slipped: list[str] = []
    number = 0
    usual = {str(finding) for finding in verify(good.iso, lock=good.lock, layers=False).findings}
    while tried.total() < COUNT:
        number += 1
        change = CHANGES[number % len(CHANGES)]
        iso = change(good, random.Random(f"{SEED}-{number}"))
        if iso is None:
            continue
        tried[change.__name__] += 1
        if tried.total() % 100 == 0:
            print(f"{tried.total()} tried, {len(slipped)} called good", flush=True)
        found = verify(iso, lock=good.lock, layers=False)
        if {str(finding) for finding in found.findings} <= usual:
            slipped.append(f"{number}: {change.__name__}")
            shutil.copy(iso, good.work / f"slipped-{number}.iso")
    print(json.dumps(tried))
    assert slipped == [], f"seed {SEED}: {tried}"
