"""Housekeeping: what is there, what is damaged, what nobody needs any more."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isobuilder.cancel import pooled
from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.documents.json import JsonLimits, parse
from isobuilder.errors import EnvironmentProblem
from isobuilder.files import (
    as_environment_problem,
    disk_problem,
    is_locked,
    locked,
    may_not_write,
    read_own,
)
from isobuilder.progress import SILENT, Progress, Task, task
from isobuilder.store.blobs import DIGITS, SCRATCH, Store
from isobuilder.text import whole_number

_log = logging.getLogger(__name__)

_DAY = 24 * 3600.0  # seconds
_PARTIAL_AGE = 7 * _DAY  # after which nobody is expected to resume a download
_LEASE = JsonLimits(size=64 * 1024 * 1024, items=1_000_000)  # what comes in one journey, generously
_UNTOLD = 1.0  # seconds that are waited for others before that is told
_SCRATCH_AGE = 60.0  # seconds between making a scratch file and locking it, generously


@dataclass(frozen=True, slots=True)
class Stored:
    """One blob of a listing."""

    digest: Digest
    size: int  # bytes
    used: float  # when a build last needed it, seconds since 1970-01-01 UTC


@dataclass(frozen=True, slots=True)
class Damage:
    """One file that is not what its name says."""

    name: str  # of the file: the 64 digits it should have
    size: int  # bytes
    fact: str
    quarantined: Path | None  # where it is now; None when it could not be moved


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check of the whole store found; what is no blob at all stays as it is, uncounted."""

    blobs: int
    size: int  # bytes that were read
    damaged: tuple[Damage, ...]
    unreadable: tuple[Damage, ...] = ()  # nobody knows what they are; they stay where they are


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed, or would."""

    removed: tuple[Stored, ...]
    freed: int  # bytes, abandoned downloads included
    kept: int  # bytes of blobs that stay
    in_use: int  # blobs that only running builds protect


def stored(store: Store) -> list[Stored]:
    """Return all blobs, the longest unused first.

    Raises:
        EnvironmentProblem: a folder of the store cannot be read, so there may be more.
    """
    found = []
    for path in _files(store):
        with contextlib.suppress(FileNotFoundError):
            facts = path.stat()
            found.append(Stored(Digest.from_hex(path.name), facts.st_size, facts.st_mtime))
    return sorted(found, key=lambda blob: (blob.used, blob.digest))


@contextmanager
def hold_collections(store: Store) -> Iterator[None]:
    """Keep collections waiting while the block runs, for whoever learns in it what is needed.

    Any number may do so at once, and leases are taken within. In a store that this user may not
    write, nobody is kept waiting, see ``lease``.

    Raises:
        EnvironmentProblem: there can be no store, or its disk has no locks.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(_gate(store), shared=True))
        except OSError as error:
            _refuse_unless_unwritable(error, store)
        yield


@contextmanager
def lease(store: Store, digests: Iterable[Digest]) -> Iterator[None]:
    """Keep blobs from being collected while the block runs, those not yet there included.

    The lease ends with its process, also by kill -9. In a store that this user may not write,
    nothing is leased: whoever may collect there has to know who reads it.
    """
    wanted = sorted(set(digests))
    folder = store.root / "leases"
    with contextlib.ExitStack() as stack:
        try:
            with locked(_gate(store), shared=True):  # a collection under way ends first
                folder.mkdir(parents=True, exist_ok=True)
                handle, name = tempfile.mkstemp(prefix="lease-", dir=folder)
                os.close(handle)
                path = Path(name)
                stack.callback(path.unlink, missing_ok=True)
                path.chmod(0o644)  # whoever collects has to read it
                stack.enter_context(locked(path))
                path.write_text(json.dumps(wanted), encoding="ascii")
        except OSError as error:
            _refuse_unless_unwritable(error, store)
        _touch(store, wanted)
        yield


def _gate(store: Store) -> Path:
    """Return the lock that a collection holds alone, and shared whoever keeps it waiting."""
    return store.root / "locks" / "collect.lock"


def _refuse_unless_unwritable(error: OSError, store: Store) -> None:
    """Raise what keeps a store from being used, and pass over that it may not be written."""
    folder = store.root / "leases"
    if error.errno in {errno.EEXIST, errno.ELOOP}:  # a link that leads nowhere: which one
        raise disk_problem(error, Path(error.filename or folder)) from error
    if not may_not_write(error):
        raise disk_problem(error, folder) from error
    if os.access(folder, os.W_OK):
        # Who may write here may collect, too, and asks the lock that this user cannot hold.
        _log.warning("%s: %s, so its blobs are used without a lease", _gate(store), error.strerror)
    else:
        _log.info("%s: not writable, its blobs are used without a lease", store.root)


def check(store: Store, *, progress: Progress = SILENT) -> CheckReport:
    """Hash every blob again and move damaged ones to ``quarantine``, where no build finds them.

    Raises:
        EnvironmentProblem: a folder of the store cannot be read, so there may be more.
    """
    paths = _files(store)
    total = sum(path.stat().st_size for path in paths if path.exists())
    with (
        task(progress, "check", total=total) as work,
        pooled(min(4, os.cpu_count() or 1), "check") as pool,
    ):
        results = list(pool.map(lambda path: _fact_of(path, work), paths))
    damaged, unreadable = [], []
    for path, (size, fact) in zip(paths, results, strict=True):
        if isinstance(fact, OSError):
            # A permission, a cable, a server that is away: the bytes may well be right.
            unreadable.append(Damage(path.name, size, f"unreadable: {fact.strerror}", None))
        elif fact is not None:
            damaged.append(Damage(path.name, size, fact, quarantine(store, path)))
    total = sum(size for size, _ in results)
    return CheckReport(len(paths), total, tuple(damaged), tuple(unreadable))


def collect(
    store: Store,
    reachable: Collection[Digest],
    *,
    max_size: int | None = None,
    dry_run: bool = False,
    partial_age: float = _PARTIAL_AGE,
    progress: Progress = SILENT,
) -> Collected:
    """Remove blobs that are neither ``reachable`` nor leased, the longest unused first.

    It waits for those who ``hold_collections``, and says so to ``progress``.

    With ``max_size`` (bytes) it stops as soon as all blobs together need no more than that.
    Downloads nobody touched for ``partial_age`` seconds go too, except while one is under way, and
    what is in ``quarantine`` for as long.

    Raises:
        EnvironmentProblem: the store may not be written, or cannot be read.
    """
    if not store.root.exists():
        return Collected((), 0, 0, 0)  # and none is made
    needed = set(reachable)
    with as_environment_problem(store.root), _alone(store, progress):
        leased = _leased(store)
        blobs = stored(store)
        left = sum(blob.size for blob in blobs)
        removed = []
        for blob in blobs:
            if max_size is not None and left <= max_size:
                break
            if blob.digest in needed or blob.digest in leased:
                continue
            if not dry_run:
                store.path_of(blob.digest).unlink(missing_ok=True)
            removed.append(blob)
            left -= blob.size
        freed = sum(blob.size for blob in removed)
        freed += _sweep(store, partial_age, dry_run=dry_run)
    in_use = sum(1 for blob in blobs if blob.digest in leased and blob.digest not in needed)
    return Collected(tuple(removed), freed, left, in_use)


@contextmanager
def _alone(store: Store, progress: Progress) -> Iterator[None]:
    """Hold the lock of collections alone; that it is waited for is told, if it takes a while."""
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(locked(_gate(store), timeout=_UNTOLD)):
            progress.step(f"waiting until nobody locks a recipe or imports into {store.root}")
            stack.enter_context(locked(_gate(store)))
        yield


def _files(store: Store) -> list[Path]:
    """Return the blobs: regular files, or links to such, of names that are digests."""
    with as_environment_problem(store.root), contextlib.suppress(FileNotFoundError):
        store.root.stat()  # a link to itself is no store without blobs
    folders = _within(store.root / "blobs" / "sha256")
    paths = [path for folder in folders for path in _within(folder)]
    return [path for path in paths if DIGITS.fullmatch(path.name) and _is_file(path)]


_NO_SUCH = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def _within(folder: Path) -> list[Path]:
    """Return what is in a folder of ours, sorted; nothing of one that is not there, or is none.

    Raises:
        EnvironmentProblem: it cannot be read: nobody knows what is there.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries)
    except OSError as error:
        if error.errno in _NO_SUCH:
            return []
        raise disk_problem(error, folder) from error


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in _NO_SUCH:
            return False
        raise disk_problem(error, path) from error


def _touch(store: Store, digests: Iterable[Digest]) -> None:
    for digest in digests:
        # Absent, or another user's: its age then stays what it was.
        with contextlib.suppress(OSError):
            os.utime(store.path_of(digest))


def _fact_of(path: Path, work: Task) -> tuple[int, str | OSError | None]:
    """Return how long a blob is and what is wrong with it, or why it cannot be read."""
    hasher = Hasher()
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(BUFFER_SIZE):
                hasher.update(chunk)
                work.advance(len(chunk))
    except FileNotFoundError:
        return 0, None  # collected meanwhile
    except OSError as error:
        return hasher.size, error
    found = hasher.digest()
    wrong = found.hex != path.name or path.parent.name != path.name[:2]
    return hasher.size, f"expected sha256:{path.name}, got {found}" if wrong else None


def quarantine(store: Store, path: Path) -> Path | None:
    """Move a damaged blob to where no build finds it; None when it could not be moved."""
    folder = store.root / "quarantine"
    target = folder / f"{path.name}.{time.time_ns()}"
    try:
        folder.mkdir(exist_ok=True)
        path.replace(target)
    except OSError as error:
        _log.warning("%s: damaged, and cannot be moved away: %s", path, error.strerror)
        return None
    return target


def _leased(store: Store) -> set[Digest]:
    """Return what running builds use; the collect lock is held, so no lease is half made."""
    found: set[Digest] = set()
    for path in _within(store.root / "leases"):
        if not path.name.startswith("lease-") or not _is_own(path):
            continue
        if is_locked(path):
            found.update(_lease(path))
        else:
            path.unlink(missing_ok=True)  # its process was killed
    return found


def _lease(path: Path) -> set[Digest]:
    """Return the digests of a lease; nothing may be removed while one of them is not known."""
    with as_environment_problem(path):
        data = read_own(path, _LEASE.size)
    value = parse(data, str(path), _LEASE, EnvironmentProblem)
    try:
        return {Digest(text) for text in value}
    except (TypeError, ValueError):
        raise EnvironmentProblem(
            f"{path}: a running build holds it, and it is damaged",
            hint="wait until that build is done, or end it; then collect again",
        ) from None


def _sweep(store: Store, partial_age: float, *, dry_run: bool) -> int:
    """Remove what abandoned downloads left, what was long in quarantine, and locks nobody holds.

    Returns the bytes freed.
    """
    freed = 0
    for path in filter(_is_own, _within(store.root / "partial")):
        with contextlib.suppress(FileNotFoundError):
            if path.name.startswith(SCRATCH):
                if _is_old(path.stat().st_mtime, _SCRATCH_AGE) and not _is_held(path):
                    freed += _remove(path, dry_run=dry_run)
            elif _is_old(path.stat().st_mtime, partial_age):
                # Held while removing, so that nobody begins to resume it meanwhile.
                key = path.name.partition(".")[0]
                with locked(store.root / "locks" / f"{key}.lock", timeout=0) as idle:
                    freed += _remove(path, dry_run=dry_run) if idle else 0
    for path in filter(_is_own, _within(store.root / "quarantine")):
        # When it came, which its name has in nanoseconds; its own time is that of the blob.
        since = whole_number(path.name.partition(".")[2][:-9])
        if since is not None and since < time.time() - partial_age:
            with contextlib.suppress(FileNotFoundError):
                freed += _remove(path, dry_run=dry_run)
    if not dry_run:
        _sweep_locks(store)
    return freed


def _sweep_locks(store: Store) -> None:
    for path in (store.root / "locks").glob("*.lock"):
        if path.is_symlink():
            path.unlink(missing_ok=True)  # nobody here made it
        elif _is_own(path):
            with locked(path, timeout=0) as idle:
                if idle:
                    path.unlink(missing_ok=True)


def _is_own(path: Path) -> bool:
    """Say if it is a file, and not a folder, link or pipe, which strangers put there."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _is_old(when: float, age: float) -> bool:
    """Say if that was ``age`` seconds ago, or is so far ahead that a clock was wrong then."""
    now = time.time()
    return not now - age <= when <= now + _DAY


def _is_held(path: Path) -> bool:
    try:
        return is_locked(path)
    except PermissionError:
        return True  # that of another user, who sweeps it


def _remove(path: Path, *, dry_run: bool) -> int:
    size = path.stat().st_size
    if not dry_run:
        path.unlink()
    return size
