"""What arrived at a site -> whether it is right, and what can be built and started of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from isobuilder.content.from_iso import BytesBlob
from isobuilder.content.needed import needed
from isobuilder.digest import BlobLike, Digest, Hasher
from isobuilder.errors import EnvironmentProblem, IntegrityError, IsobuilderError
from isobuilder.files import as_environment_problem, is_file
from isobuilder.model.loading import load_lock
from isobuilder.pipeline.build import manifest_of
from isobuilder.pipeline.provenance.signing import Signatures
from isobuilder.pipeline.trust import Trust
from isobuilder.pipeline.unlisted import Unlisted, unlisted_images, unlisted_of
from isobuilder.pipeline.verify import Verification, verify
from isobuilder.progress import SILENT, Progress
from isobuilder.site.bundles.admit import COMPARE, part_of, put_together, take_folder, take_part
from isobuilder.site.bundles.arrival import carried_lock, opens_again, spread
from isobuilder.site.bundles.bundle import Bundle, Carried
from isobuilder.site.bundles.parts import Slot, parts_of
from isobuilder.site.donors import beside_iso
from isobuilder.site.upgrades import Offer
from isobuilder.store import Partial, Store

_MOST_KEPT = 64 * 1024 * 1024
"""Bytes of locks and manifests of images, and as many of Kubernetes manifests.

They are counted apart: without the first nothing can be offered, without the others only the images
that they start are not known.
"""


@dataclass(frozen=True, slots=True)
class CheckedIso:
    """An ISO, all of it read."""

    result: Verification
    offer: Offer | None  # None: something is wrong with it, or it does not say what it is
    unlisted: tuple[Unlisted, ...]  # images that something on it will start and that it lacks


@dataclass(frozen=True, slots=True)
class CheckedBundle:
    """A bundle, all that is here of it read."""

    bundle: Bundle
    missing: tuple[str, ...]  # what it promises and is neither here nor in the store
    missing_parts: tuple[int, ...]  # in which of its parts that is
    of: int  # parts
    offers: tuple[Offer, ...]  # all that they need is here; none while anything is missing
    lacking: tuple[str, ...]  # what its locks need and it does not carry
    unread: tuple[str, ...]  # texts that are right and too much to keep: nobody looked into them
    unlisted: tuple[tuple[str, Unlisted], ...]  # by locks: images that are started and not there


@dataclass(frozen=True, slots=True)
class CheckedBundles:
    """All bundles of which something is here, and why some of it was refused."""

    bundles: tuple[CheckedBundle, ...]
    failures: tuple[IsobuilderError, ...]


def check_iso_here(
    path: Path,
    *,
    expected: Digest | None,
    store: Store,
    trust: Trust | None = None,
    signatures: Signatures | None = None,
    progress: Progress = SILENT,
) -> CheckedIso:
    """Verify an ISO, by the lock beside it if there is one and by a digest that came another way.

    With ``trust`` the signatures on it are proved as well; ``signatures`` demands some beside it.

    Raises:
        InputError: what lies beside it as its lock cannot be read, or is none.
        EnvironmentProblem: the ISO cannot be read.
    """
    beside = beside_iso(path)
    result = verify(
        path,
        lock=load_lock(beside) if is_file(beside) else None,
        expected=expected,
        store=store,
        trust=trust,
        signatures=signatures,
        progress=progress,
    )
    if result.digest is None:
        return CheckedIso(result, None, ())
    manifest = manifest_of(path)
    offer = None
    if manifest is not None and result.passed:
        version, architecture = manifest.kubernetes_version, manifest.architecture
        offer = Offer(version, architecture, path.stem, str(path))
    return CheckedIso(result, offer, unlisted_images(path, store))


def check_bundles(
    paths: Iterable[Path],
    store: Store,
    *,
    expected: Digest | None = None,
    progress: Progress = SILENT,
) -> CheckedBundles:
    """Read all parts and prove every blob; nothing is written.

    What ``store`` has is there, and so are pieces of blobs that wait in it for others. What is
    refused keeps nothing else from being read; the errors, as of ``take_part`` and ``spread``, are
    in the answer.
    """
    proof = _Proof(store)
    bundles: dict[Digest, tuple[Bundle, set[int]]] = {}
    failures: list[IsobuilderError] = []
    for path in _in_order(paths, failures):
        try:
            if path.is_dir():
                done = take_folder(path, proof, expected=expected, progress=progress)
                failures += done.failures
            else:
                with as_environment_problem(path), path.open("rb", buffering=0) as file:
                    done = take_part(file, str(path), proof, expected=expected, progress=progress)
            bundle = done.bundle
            bundles.setdefault(bundle.identity, (bundle, set()))[1].add(bundle.part)
        except IsobuilderError as error:
            failures.append(error)
    checked = []
    for bundle, read in bundles.values():
        try:
            checked.append(_checked(bundle, read, proof, store, failures))
        except IsobuilderError as error:
            failures.append(error)
    failures += proof.failures
    return CheckedBundles(tuple(checked), tuple(failures))


def _in_order(paths: Iterable[Path], failures: list[IsobuilderError]) -> list[Path]:
    """Return what is to be read, the parts of a bundle by their numbers: so pieces come in order.

    Pipes, which open once, and what is no part come last, by their names.
    """
    places: list[tuple[str, int, str, Path]] = []
    for path in spread(paths, failures):
        identity, number = "", 0
        try:
            if opens_again(path):
                with suppress(IsobuilderError):  # told when it is read
                    identity, number = part_of(path)
        except IsobuilderError as error:
            failures.append(error)
        else:
            places.append((identity or "~", number, path.name, path))
    return [path for *_, path in sorted(places)]


@dataclass(slots=True)
class _Half:
    """What came of a blob so far, from its first byte on."""

    hasher: Hasher = field(default_factory=Hasher)
    text: list[bytes] = field(default_factory=list)


class _Proof:
    """Hashes all that is handed over, and keeps the texts that say what else is needed."""

    def __init__(self, store: Store) -> None:
        self.right: set[Digest] = set()
        self.wrong: dict[Digest, Digest] = {}  # what was cut, and what its pieces make
        self.failures: list[IntegrityError] = []  # of what lies in one piece
        self.texts: dict[Digest, BlobLike] = {}
        self._store = store
        self._half: dict[Digest, _Half] = {}
        self._kept: Counter[bool] = Counter()  # bytes, by whether they tell what else is needed

    def has(self, item: Carried, /) -> bool:
        """Say if the blob was seen already."""
        return item.digest in self.right

    def keep(self, item: Carried, member: Slot, chunks: Iterator[bytes], name: str, /) -> None:
        """Hash a blob, or a piece if those before it came before."""
        half = (self._half.get(item.digest) if member.start else None) or _Half()
        self._lend(half, item, member.start)
        if half.hasher.size != member.start:
            for _ in chunks:
                pass
            return
        self._half.pop(item.digest, None)  # a piece that is cut off has no next one
        for chunk in chunks:
            self._grow(half, item, chunk)
        self._seen(half, item)
        found = self.wrong.get(item.digest)
        if member.size == item.size and found is not None:
            self.failures.append(IntegrityError(f"{name}: expected {item.digest}, got {found}"))

    def finish(self, item: Carried, /) -> None:
        """Prove what was cut with the pieces behind those that were here, if the store has them."""
        if item.digest not in self.right:
            half = self._half.pop(item.digest, None) or _Half()
            self._lend(half, item, item.size)
            self._seen(half, item)

    def _lend(self, half: _Half, item: Carried, until: int) -> None:
        """Go on with the pieces that wait in the store, up to a byte."""
        if half.hasher.size >= until:
            return
        waiting = Partial(self._store, item.digest.hex)
        with suppress(OSError, EnvironmentProblem):  # an import took them meanwhile
            sizes = waiting.stretches()
            while 0 < sizes.get(half.hasher.size, 0) <= until - half.hasher.size:
                for chunk in waiting.read_stretch(half.hasher.size):
                    self._grow(half, item, chunk)

    def _grow(self, half: _Half, item: Carried, chunk: bytes) -> None:
        half.hasher.update(chunk)
        if _is_text(item) and self._has_room(item, len(chunk)):
            half.text.append(chunk)

    def _seen(self, half: _Half, item: Carried) -> None:
        if half.hasher.size != item.size:
            self._half[item.digest] = half
            return
        if (found := half.hasher.digest()) != item.digest:
            self.wrong[item.digest] = found
            return
        self.wrong.pop(item.digest, None)  # of another copy
        self.right.add(item.digest)
        data = b"".join(half.text)
        if _is_text(item) and len(data) == item.size:
            self.texts[item.digest] = BytesBlob(data, item.names[0])

    def _has_room(self, item: Carried, size: int) -> bool:
        self._kept[_tells_needs(item)] += size
        return self._kept[_tells_needs(item)] <= _MOST_KEPT


def _is_text(item: Carried) -> bool:
    """Say if it tells what else is needed, or what will be started."""
    return _tells_needs(item) or item.kind == "manifest"


def _tells_needs(item: Carried) -> bool:
    return item.kind == "lock" or item.media_type is not None


def _checked(
    bundle: Bundle,
    read: Collection[int],
    proof: _Proof,
    store: Store,
    failures: list[IsobuilderError],
) -> CheckedBundle:
    """Say what is there of a bundle of which the parts ``read`` were read to their ends.

    Pieces that do not make what was cut are told in ``failures``: any of them may be damaged.
    """
    pieces: dict[Carried, list[tuple[int, Slot]]] = {}
    parts = parts_of(bundle)
    for part in parts:
        for member in part.members:
            if isinstance(member.of, Carried) and not _is_there(member.of, proof, store):
                pieces.setdefault(member.of, []).append((part.number, member))
    missing: list[str] = []
    numbers: set[int] = set()
    wrong: list[str] = []
    for item, found in pieces.items():
        if len(found) > 1:
            proof.finish(item)
        if item.digest in proof.right:
            continue
        missing.append(item.names[0])
        got = proof.wrong.get(item.digest)
        if got is None or len(found) == 1:
            numbers.update(_lacking_parts(item, found, read, store))
            continue
        these = [number for number, _ in found]
        numbers.update(these)
        fact = f"{item.names[0]}: expected {item.digest}, got {got}"
        wrong.append(put_together(fact, these))
    if wrong:
        failures.append(IntegrityError(*wrong, hint=COMPARE))
    return CheckedBundle(
        bundle,
        tuple(dict.fromkeys(missing)),
        tuple(sorted(numbers)),
        len(parts),
        *_uses(bundle, proof, store, failures, whole=not missing),
    )


def _is_there(item: Carried, proof: _Proof, store: Store) -> bool:
    return item.digest in proof.right or _stored(item, store) is not None


def _stored(item: Carried, store: Store) -> BlobLike | None:
    """Return a blob of the store, unless it was cut off since it came there."""
    blob = store.own(item.digest)
    return blob if blob is not None and blob.size == item.size else None


def _lacking_parts(
    item: Carried, found: Sequence[tuple[int, Slot]], read: Collection[int], store: Store
) -> list[int]:
    """Return the parts from which something of a blob has still to come."""
    waiting = {}
    if len(found) > 1:
        with suppress(OSError):  # an import took them meanwhile
            waiting = Partial(store, item.digest.hex).stretches()
    absent = [
        number
        for number, member in found
        if number not in read and waiting.get(member.start) != member.size
    ]
    return absent or [found[0][0]]


_Uses = tuple[tuple[Offer, ...], tuple[str, ...], tuple[str, ...], tuple[tuple[str, Unlisted], ...]]
"""The last fields of a ``CheckedBundle``."""


def _uses(
    bundle: Bundle, proof: _Proof, store: Store, failures: list[IsobuilderError], *, whole: bool
) -> _Uses:
    """Return what a bundle offers, and what is lacking, unread and unlisted.

    An import gives out the locks of a bundle that is ``whole``, and only if it can read them all.
    """
    carried = {item.digest for item in bundle.contents}
    offers: list[Offer] = []
    lacking: list[str] = []
    unread: list[str] = []
    needs_known = True
    unlisted: list[tuple[str, Unlisted]] = []
    before = len(failures)

    def find(digest: Digest) -> BlobLike | None:
        return proof.texts.get(digest) or store.own(digest)

    for item in bundle.contents:
        if not _is_text(item) or not _is_there(item, proof, store):
            continue
        name = item.names[0]
        text = proof.texts.get(item.digest) or _stored(item, store)
        if text is None or text.size > _MOST_KEPT:
            unread.append(name)
            needs_known &= not _tells_needs(item)
        elif item.kind == "lock":
            try:
                lock = carried_lock(text.read(), name)
                needs = needed(lock, find)
                unlisted += [(name, image) for image in unlisted_of(lock, find)]
            except IsobuilderError as error:
                failures.append(error)
                continue
            wanted = [need for need in needs if need.digest not in carried]
            lacks = [need.name for need in wanted if store.own(need.digest) is None]
            lacking += [f"{what} of {name}" for what in lacks]
            if not lacks:
                offers.append(Offer(lock.kubernetes, lock.architecture, lock.base_name, name))
    usable = whole and needs_known and len(failures) == before
    return (
        tuple(offers) if usable else (),
        tuple(dict.fromkeys(lacking)),
        tuple(dict.fromkeys(unread)),
        tuple(unlisted),
    )
