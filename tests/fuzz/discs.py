"""Targets that are archives, discs and programs."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
from contextlib import ExitStack
from pathlib import Path

from isobuilder.contract.archives import as_imported
from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.formats.archive import read_archive
from isobuilder.formats.elf import inspect_binary
from isobuilder.formats.inflate import can_unpack, chunks_of, hash_layer, unpacked
from isobuilder.formats.oci import Compression
from isobuilder.formats.tar import SeekSource, StreamSource, walk
from isobuilder.iso.check.archives import Expected, check_archive
from isobuilder.iso.check.contents import check_iso
from isobuilder.iso.read.fat import read_fat
from isobuilder.iso.read.reader import IsoReader, hash_iso
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from isobuilder.medium import Medium
from isobuilder.pipeline.delta.apply import apply_deltas
from isobuilder.pipeline.delta.make import make_delta
from isobuilder.site.bundles.admit import StoreKeeper, take_part
from isobuilder.site.bundles.arrival import settle
from isobuilder.site.bundles.export import write_parts
from isobuilder.site.bundles.packing import packing
from isobuilder.site.catalog import catalog_of
from isobuilder.site.holding import held_by
from isobuilder.store import Store
from tests.contract.trees import DictMedium, tar
from tests.delta.sealing import opened, sealed
from tests.fuzz.mutation import Chance, edited, edited_json
from tests.fuzz.samples import Samples
from tests.fuzz.shapes import edited_elf, edited_gzip, edited_iso, edited_regions, edited_tar
from tests.fuzz.target import Rig, Target, Wrong, put
from tests.pipeline.delta.discs import a_tree, disc, edited_tree

_MOST = 64 * 1024 * 1024  # bytes


def _tar(samples: Samples, _stack: ExitStack) -> Rig:
    archives = [*samples.like(".tar"), *(inner for _, inner in samples.unpacked)]

    def read(data: bytes, _folder: Path) -> object:
        with contextlib.suppress(IntegrityError):
            for member in walk(SeekSource(io.BytesIO(data))):
                _ = member.plain_name
        source = StreamSource(iter([data[i : i + 1000] for i in range(0, len(data), 1000)]))
        found = [source.read(min(member.size, 32)) for member in walk(source) if member.regular]
        source.finish()
        return found

    return Rig(lambda chance: edited_tar(chance.choice(archives), chance), read)


def _inflate(samples: Samples, _stack: ExitStack) -> Rig:
    pairs = [(gzip.compress(data, mtime=0), data) for data in samples.like(".tar")[:3]]
    pairs += samples.unpacked
    bombs = [gzip.compress(bytes(8 * 1024 * 1024), mtime=0) * 20]

    def case(chance: Chance) -> bytes:
        if can_unpack("zstd") and chance.random() < 0.3:
            return b"z" + edited(_zstd(chance.choice(pairs)[1]), chance)
        if chance.random() < 0.05:
            return b"g" + edited(chance.choice(bombs), chance)
        data, inner = chance.choice(pairs)
        return b"g" + edited_gzip(data, chance, inner)

    def read(data: bytes, _folder: Path) -> object:
        kind: Compression = "zstd" if data[:1] == b"z" else "gzip"
        file = io.BytesIO(data[1:])
        for _ in unpacked(chunks_of(file), kind, limit=_MOST, why="enough"):
            pass
        return hash_layer(file, offset=0, size=len(data) - 1, look=True)

    return Rig(case, read)


def _zstd(data: bytes) -> bytes:
    from isobuilder.formats.zstd import zstd_module

    module = zstd_module()
    return bytes(module.compress(data)) if module else b""


def _archive(samples: Samples, _stack: ExitStack) -> Rig:
    archives = samples.like(".tar")

    def read(data: bytes, _folder: Path) -> object:
        medium = Medium(DictMedium({"docker/a.tar": data, "cni/x.tgz": gzip.compress(data)}))
        check_archive(medium, "docker/a.tar", Expected())
        medium.packed("cni/x.tgz")
        return as_imported(read_archive(io.BytesIO(data)))

    return Rig(lambda chance: edited_tar(chance.choice(archives), chance), read)


def _bundle(samples: Samples, _stack: ExitStack) -> Rig:
    """A bundle of two parts, one after the other as a case; either may have become anything."""
    files = [samples.folder / name for name in ("0.lock.json", "1.lock.json", "0.iso")]
    packed = packing([], lambda _: None, extras=files, part_size=200_000)
    out = samples.folder / "bundle" / "b.tar"
    parts = [part.path.read_bytes() for part in write_parts(packed, out, replace=True).parts]

    def case(chance: Chance) -> bytes:
        return edited_tar(chance.choice(parts), chance)

    def read(data: bytes, folder: Path) -> object:
        store = Store(folder / "store")
        for part in (data, *parts[1:]):
            bundle = take_part(io.BytesIO(part), "x", StoreKeeper(store)).bundle
        return settle(bundle, store, folder / "out")

    return Rig(case, read)


def _held(samples: Samples, _stack: ExitStack) -> Rig:
    saved = {"c.json": PAUSE_CONFIG, "l.tar": b"layer", "manifest.json": SAVED}
    archives = [*samples.like(".tar"), tar(saved)]

    def read(data: bytes, folder: Path) -> object:
        entries = [IsoEntry("docker/a.tar", 0o644, (data,))]
        path = write_iso(entries, folder / "x.iso", label="CDROM", epoch=0).path
        catalog = catalog_of([held_by(path)])
        for repository in catalog.repositories.values():
            _ = [repository.find(tag) for tag in repository.tags], repository.about
        return catalog

    return Rig(lambda chance: edited_tar(chance.choice(archives), chance), read)


def _delta(samples: Samples, _stack: ExitStack) -> Rig:
    """A delta that somebody closed again after he changed what it says or carries."""
    folder = samples.folder / "delta"
    folder.mkdir(exist_ok=True)
    chance = random.Random(1)
    tree = a_tree(chance)
    old = disc(tree, folder / "old.iso")
    new = disc(edited_tree(tree, chance), folder / "new.iso")
    said, carried = opened(make_delta([old], new, folder / "x.delta").path)
    expected = new.read_bytes()

    def case(chance: Chance) -> bytes:
        if chance.random() < 0.1:
            return edited((folder / "x.delta").read_bytes(), chance)
        if chance.random() < 0.5:
            return sealed(json.dumps(said).encode(), edited(carried, chance))
        return sealed(edited_json(said, chance), carried)

    def read(data: bytes, folder: Path) -> object:
        out = folder / "out.iso"
        done = apply_deltas([old], [put(folder, "x.delta", data)], out)
        if done.digest == Digest.of(expected) and out.read_bytes() != expected:
            raise Wrong(f"{out}: named after other bytes")
        return done

    return Rig(case, read)


PAUSE_CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": ["sha256:" + "0" * 64]}}
).encode()
SAVED = b'[{"Config": "c.json", "RepoTags": ["r.example/a:1"], "Layers": ["l.tar"]}]'


def _iso(samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, folder: Path) -> object:
        with IsoReader(put(folder, "x.iso", data)) as reader:
            hash_iso(reader)
            for path in list(reader.files)[:50]:
                reader.open(path).read(100)
            _ = reader.joliet
            return reader.plain

    return Rig(lambda chance: edited_iso(chance.choice(samples.isos), chance), read)


def _boot(samples: Samples, _stack: ExitStack) -> Rig:
    """El Torito, MBR, both partition tables and the FAT image of a medium that starts machines."""
    image = samples.isos[2]
    with IsoReader(samples.folder / "boot.iso") as reader:
        files = {path: file.extents[0] for path, file in reader.files.items() if file.extents}
    catalog = next(extent for path, extent in files.items() if path.endswith(".cat"))
    fat = next(extent for path, extent in files.items() if path.endswith(".img"))
    regions = [
        *((0, 2048), (440, 72), (512, 92), (1024, 512), (17 * 2048, 160)),
        *((len(image) - 512, 92), (len(image) - 33 * 512, 512)),
        *((catalog.offset, 160), (fat.offset, 64), (fat.offset + 512, 64), (fat.offset, 80_000)),
    ]

    def case(chance: Chance) -> bytes:
        if chance.random() < 0.2:
            return edited_iso(image, chance)
        return edited_regions(image, chance, regions)

    def read(data: bytes, folder: Path) -> object:
        with IsoReader(put(folder, "x.iso", data)) as reader:
            return list(check_iso(reader, medium=Medium(reader), label="CDROM").findings)

    return Rig(case, read)


def _fat(samples: Samples, _stack: ExitStack) -> Rig:
    with IsoReader(samples.folder / "boot.iso") as reader:
        image = next(reader.open(path).read() for path in reader.files if path.endswith(".img"))
    table = int.from_bytes(image[14:16], "little") * 512
    size = int.from_bytes(image[22:24], "little") * 512
    root = table + 2 * size
    regions = [(0, 64), (table, 200), (table + size, 200), (root, 256), (root + 16384, 8192)]

    def case(chance: Chance) -> bytes:
        if chance.random() < 0.2:
            return edited(image, chance)
        changed = bytearray(edited_regions(image, chance, regions))
        if chance.random() < 0.7:  # the second table tells what the first does
            changed[table + size : table + 2 * size] = changed[table : table + size]
        return bytes(changed)

    return Rig(case, lambda data, _: read_fat(io.BytesIO(data)))


def _elf(samples: Samples, _stack: ExitStack) -> Rig:
    programs = samples.programs
    return Rig(
        lambda chance: edited_elf(chance.choice(programs), chance),
        lambda data, _: inspect_binary(io.BytesIO(data), "x").kubernetes_version,
    )


DISCS = (
    Target("tar", ("formats/tar.py",), _tar),
    Target("inflate", ("formats/inflate.py",), _inflate, few=6),
    Target(
        "image-archive",
        ("formats/archive.py", "contract/archives.py", "iso/check/archives.py", "medium.py"),
        _archive,
    ),
    Target(
        "iso",
        (
            *("iso/read/rawiso.py", "iso/read/volume.py", "iso/read/tree.py", "iso/read/reader.py"),
            "iso/read/rockridge.py",
        ),
        _iso,
    ),
    Target(
        "bundle",
        (
            *("site/bundles/admit.py", "site/bundles/arrival.py", "site/bundles/bundle.py"),
            "site/bundles/part_bytes.py",
        ),
        _bundle,
    ),
    Target(
        "delta",
        (
            "delta/container.py",
            "delta/plan.py",
            "delta/assembling.py",
            "delta/general.py",
            "formats/zstd.py",
        ),
        _delta,
    ),
    Target("held", ("site/holding.py", "site/catalog.py", "site/dockerarchive.py"), _held),
    Target("boot", ("iso/check/boot.py", "iso/check/disk.py", "iso/read/fat.py"), _boot),
    Target("fat", ("iso/read/fat.py",), _fat),
    Target("program", ("formats/elf.py",), _elf),
)
