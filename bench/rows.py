"""The comparisons: one for each goal, with the commands of the peers as people type them."""

from __future__ import annotations

import functools
import random
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.ground import LARGE, MIDDLE, ONE, PRODUCT, SMALL, Ground
from bench.measure import Contender, Figure
from bench.payload import MB
from isobuilder.model.loading import load_lock
from isobuilder.model.lock import Lock, LockedFile, LockedManifest

OURS = "isobuilder"
Words = list[str | Path]
_STEPS = Path(__file__).with_name("steps.py")
_MANY, _FEW = 20_000, 2_500  # files
_MANY_BYTES = 170 * MB


@dataclass(frozen=True, slots=True)
class Goal:
    """What one figure of one command shall be at most."""

    figure: Figure
    limit: float  # a ratio, or seconds or MiB when it stands alone
    against: str | None = None  # the command it is a ratio to
    of: str = OURS
    less: str | None = None  # a command whose figure is taken off both first: start-up


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison."""

    name: str
    title: str
    contenders: Sequence[Contender]
    goals: Sequence[Goal]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to set a comparison up, and the largest payload it needs."""

    make: Callable[[Ground], Row]
    size: float = SMALL  # gigabytes


# --- the product's commands ---


def _build(ground: Ground, name: str, lock: Path, *words: str | Path) -> Words:
    out = ground.work / "out" / name
    return [PRODUCT, "build", lock, "--out", out, "--store", ground.store.root, *words]


def _clean(ground: Ground, *names: str) -> Callable[[], None]:
    return functools.partial(ground.fresh, *(ground.work / "out" / name for name in names))


# --- what the peers do ---


def _pack(ground: Ground, name: str, tree: Path, *, sync: bool = False) -> str:
    iso = shlex.quote(str(ground.work / "out" / name / "out.iso"))
    lines = [f"xorrisofs -quiet -o {iso} -V CDROM -r -J {shlex.quote(str(tree))}"]
    if sync:
        lines.append(f"sync {iso}")
    lines.append(f"openssl dgst -sha256 {iso}")
    return "\n".join(lines)


def _curl(lock: Lock, files: str, tree: Path) -> str:
    lines = []
    entries: list[LockedFile | LockedManifest] = [*lock.files, *lock.manifests]
    for entry in entries:
        target = shlex.quote(str(tree / entry.path))
        source = f"{files}/{entry.url.removeprefix('https://')}"
        lines.append(f"curl -fsS --create-dirs -o {target} {source}")
    return "\n".join(lines)


def _skopeo(lock: Lock, registry: str, tree: Path, scratch: Path) -> str:
    lines = [f"mkdir -p {shlex.quote(str(tree / 'docker'))}"]
    for image in lock.images:
        source = f"{registry.removeprefix('http://')}/{image.reference}"
        target = shlex.quote(f"oci-archive:{tree / image.archive}:{image.reference}")
        lines.append(
            f"skopeo --insecure-policy --tmpdir {shlex.quote(str(scratch))} copy -q "
            "--override-os linux --override-arch amd64 --src-tls-verify=false "
            f"docker://{source} {target}"
        )
    return "\n".join(lines)


# --- rows ---


def warm(ground: Ground, size: float, wall: float, cpu: float) -> Row:
    """Everything is in the store; the ISO, its digest and all side files are made."""
    ground.built(size)
    tree, lock = ground.tree(size), ground.lock(size)
    peer, synced = "xorrisofs + openssl", "xorrisofs + sync + openssl"
    return Row(
        f"warm-{size}",
        f"Warm build of {ground.called(size)}, digest of the ISO included",
        (
            Contender(
                peer,
                ground.script(f"warm-{size}", _pack(ground, "peer", tree)),
                _clean(ground, "peer"),
            ),
            Contender(
                synced,
                ground.script(f"warm-sync-{size}", _pack(ground, "peer", tree, sync=True)),
                _clean(ground, "peer"),
            ),
            Contender(
                OURS,
                _build(ground, "ours", lock, "--offline"),
                _clean(ground, "ours"),
            ),
        ),
        (Goal("wall", wall, peer), Goal("cpu", cpu, peer), Goal("peak", 100)),
        "isobuilder has its ISO on the disk (fsync) before it gives it a name; xorrisofs leaves "
        "it in the page cache, unless followed by sync.",
    )


def cold(ground: Ground, way: str, wall: float, cpu: float | None) -> Row:
    """Nothing is there yet but the lock."""
    served = ground.served.throttled if way == "throttled" else ground.served.full
    lock_path = ground.lock(SMALL)
    lock = load_lock(lock_path)
    tree, scratch = ground.work / "out" / "peer" / "tree", ground.work / "out" / "scratch"
    script = "\n".join(
        [
            _curl(lock, served.files, tree),
            _skopeo(lock, served.registry, tree, scratch),
            _pack(ground, "peer", tree),
        ]
    )
    store = ground.work / "out" / "store"
    peer = "curl, skopeo, xorrisofs, openssl"
    words = _build(ground, "ours", lock_path, "--config", ground.settings(way))
    words[words.index(ground.store.root)] = store
    goals = [Goal("wall", wall, peer), Goal("peak", 100)]
    if cpu is not None:
        goals.insert(1, Goal("cpu", cpu, peer))
    limits = {"full": "unthrottled", "throttled": "20 MB/s for each connection"}
    return Row(
        f"cold-{way}",
        f"Cold build of {ground.called(SMALL)} from loopback, {limits[way]}",
        (
            Contender(
                peer, ground.script(f"cold-{way}", script), _clean(ground, "peer", "scratch")
            ),
            Contender(OURS, words, _clean(ground, "ours", "store")),
        ),
        goals,
        "The peers' commands run one after another, an image into an archive each, and check no "
        "digest of a file; isobuilder checks everything, writes every blob to the disk (fsync) "
        "and makes manifest, checksums and SBOM.",
    )


def images(ground: Ground) -> Row:
    """The images of a release alone."""
    served, lock_path = ground.served.full, ground.lock(SMALL)
    tree, scratch = ground.work / "out" / "peer" / "tree", ground.work / "out" / "scratch"
    script = _skopeo(load_lock(lock_path), served.registry, tree, scratch)
    store = ground.work / "out" / "store"
    peer = "skopeo, an archive for each image"
    return Row(
        "images",
        "Image pulls from docker-registry on loopback",
        (
            Contender(peer, ground.script("images", script), _clean(ground, "peer", "scratch")),
            Contender(
                OURS,
                [sys.executable, _STEPS, "pull", lock_path, ground.settings("full"), store],
                _clean(ground, "store"),
            ),
        ),
        (Goal("wall", 0.25, peer), Goal("cpu", 0.35, peer)),
        "isobuilder is its library function pipeline.fetch.fetch in a process of its own, "
        "because no command pulls images alone.",
    )


def changed(ground: Ground) -> Row:
    """One file of 70 MB is another one."""
    ground.built(SMALL)
    lock = ground.lock(SMALL)
    other, digest = ground.changed_lock()
    config = ground.settings("changed")

    def forget() -> None:
        ground.store.path_of(digest).unlink(missing_ok=True)
        ground.fresh(ground.work / "out" / "ours")

    warm_name, new_name = "isobuilder, nothing to fetch", "isobuilder, another kubeadm"
    return Row(
        "changed",
        f"One component of 70 MB changed, {ground.called(SMALL)}",
        (
            Contender(
                warm_name,
                _build(ground, "ours", lock, "--config", config),
                _clean(ground, "ours"),
            ),
            Contender(new_name, _build(ground, "ours", other, "--config", config), forget),
        ),
        (Goal("wall", 1.10, warm_name, of=new_name),),
    )


def unchanged(ground: Ground) -> Row:
    """The ISO is there already."""
    built = ground.built(SMALL)
    words: Words = [PRODUCT, "build", ground.lock(SMALL), "--out", built.parent, "--offline"]
    words += ["--store", ground.store.root]
    peer = "the same Python, importing the same libraries"
    imports: Words = [sys.executable, ground.libraries(words[1:])]
    return Row(
        "unchanged",
        "Nothing changed",
        (Contender(peer, imports), Contender(OURS, words)),
        (Goal("cpu", 1.5, peer),),
    )


def verify(ground: Ground) -> Row:
    """Every file against its checksum, every archive, the rules of a node; no layer unpacked."""
    iso = ground.built(SMALL)
    peer = "openssl dgst"
    return Row(
        "verify",
        f"verify --no-layers of {ground.called(SMALL)}",
        (
            Contender(peer, ["/usr/bin/openssl", "dgst", "-sha256", iso]),
            Contender(OURS, [PRODUCT, "verify", iso, "--no-layers"]),
        ),
        (Goal("wall", 1.3, peer), Goal("peak", 100)),
    )


def growth(ground: Ground) -> Row:
    """Eight times the bytes."""
    contenders = []
    for size in (ONE, LARGE):
        # Not kept: the notes about archives that it leaves in the store are what is wanted.
        ground.built(size)
        ground.release(size)
        name = f"isobuilder, {size:.0f} GB"
        words = _build(ground, f"ours-{size}", ground.lock(size), "--offline")
        contenders.append(Contender(name, words, _clean(ground, f"ours-{size}")))
    less, more = (contender.name for contender in contenders)
    return Row(
        "growth-bytes",
        "Warm build, eight times the bytes",
        contenders,
        (Goal("cpu", 8, less, of=more), Goal("peak", 100, of=more)),
    )


def many(ground: Ground) -> Row:
    """Eight times the files."""
    contenders = []
    for count in (1, _FEW, _MANY):
        folder = ground.work / "many" / str(count)
        _small_files(folder, count, ground.scale)
        out = ground.work / "out" / "many"
        words: Words = [sys.executable, _STEPS, "write", folder, out / "out.iso"]
        contenders.append(Contender(f"{count:,} files", words, _clean(ground, "many")))
    one, few, lot = (contender.name for contender in contenders)
    return Row(
        "growth-files",
        "Eight times the files",
        contenders,
        (Goal("cpu", 8, few, of=lot, less=one), Goal("peak", 200, of=lot)),
        "iso.writer.write_iso in a process of its own, because no recipe has that many files; the "
        "time of one file is taken off before the ratio is made.",
    )


def _small_files(folder: Path, count: int, scale: float) -> None:
    """Write files of 1 to 16 KiB, a hundred in a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    source = random.Random(count)
    for number in range(count):
        path = folder / f"{number // 100:03}" / f"noise-{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(int(scale * source.randint(1024, 16 * 1024)) + 1))


def start(ground: Ground) -> Row:
    """The shortest way through the program."""
    ground.fresh()
    return Row(
        "help",
        "isobuilder --help",
        (Contender(OURS, [PRODUCT, "--help"]),),
        (Goal("cpu", 0.10),),
    )


PLANS: dict[str, Plan] = {
    f"warm-{MIDDLE}": Plan(lambda ground: warm(ground, MIDDLE, wall=0.50, cpu=0.75), size=MIDDLE),
    f"warm-{SMALL}": Plan(lambda ground: warm(ground, SMALL, wall=0.65, cpu=0.90)),
    "cold-full": Plan(lambda ground: cold(ground, "full", wall=0.30, cpu=0.50)),
    "cold-throttled": Plan(lambda ground: cold(ground, "throttled", wall=0.12, cpu=None)),
    "images": Plan(images),
    "changed": Plan(changed),
    "unchanged": Plan(unchanged),
    "verify": Plan(verify),
    "growth-files": Plan(many),
    "help": Plan(start),
    "growth-bytes": Plan(growth, size=LARGE),
}
LAB = ("warm-0.85", "cold-full", "images", "changed", "unchanged", "verify")
"""Rows that are measured on the lab's release as well."""
