"""Downloads on their way: bytes that another run, after whatever happened, goes on from."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.documents.json import NOTE, parse
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.files import Writeback, as_environment_problem, locked, open_own, read_own
from isobuilder.store.blobs import Blob, Store
from isobuilder.text import whole_number


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes of a download came from, and how the server named that version of them."""

    url: str
    etag: str | None = None
    last_modified: str | None = None


class Partial:
    """The bytes of one download so far, held by one thread of one process.

    They are hashed while they arrive; bytes of an earlier run are read and hashed once.
    """

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self.path = store.root / "partial" / f"{key}.part"
        self._about = self.path.with_suffix(".json")
        self._out: tuple[BinaryIO, Writeback] | None = None
        self._hasher: Hasher | None = None

    @property
    def size(self) -> int:
        """Bytes received so far, by this run and earlier ones."""
        if self._hasher is not None:
            return self._hasher.size
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def origin(self) -> Origin | None:
        """Where the first bytes came from, if that was noted."""
        try:
            return Origin(**parse(read_own(self._about, NOTE.size), str(self._about), NOTE))
        except (OSError, InputError, TypeError):
            return None  # lost or torn: then only the digest can tell if the bytes are right

    def digest(self) -> Digest:
        """Return the digest of the bytes so far."""
        return self._continued().digest()

    def start(self, origin: Origin) -> None:
        """Throw away what is there and expect the first byte of what ``origin`` serves."""
        self.discard()
        with as_environment_problem(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torn = self._about.with_suffix(".tmp")
            with _new(torn) as file:
                file.write(json.dumps(asdict(origin)).encode())
            torn.replace(self._about)
            self._open(_new(self.path))
        self._hasher = Hasher()

    def append(self, chunk: bytes) -> None:
        """Keep the next bytes.

        Raises:
            EnvironmentProblem: the disk is full or may not be written.
        """
        hasher = self._continued()
        with as_environment_problem(self.path.parent):
            file, writeback = self._out or self._open(_more(self.path))
            file.write(chunk)
            writeback.grown(len(chunk))
        hasher.update(chunk)

    def stretches(self) -> dict[int, int]:
        """Return start and length of what other connections brought for later positions."""
        found = {}
        for path in self.path.parent.glob(f"{self.path.stem}.*.stretch"):
            start = whole_number(path.name.split(".")[1])
            if start is not None:
                found[start] = path.stat().st_size
        return found

    def open_stretch(self, start: int) -> BinaryIO:
        """Open a file for bytes that will follow those before ``start``."""
        with as_environment_problem(self.path.parent):
            return _new(self._stretch(start))

    def read_stretch(self, start: int) -> Iterator[bytes]:
        """Give the bytes of a stretch."""
        path = self._stretch(start)
        with (
            as_environment_problem(path),
            os.fdopen(open_own(path, os.O_RDONLY), "rb", buffering=0) as file,
        ):
            while chunk := file.read(BUFFER_SIZE):
                yield chunk

    def absorb(self, start: int) -> int:
        """Append the bytes of a stretch that begins here and return how many there were."""
        path = self._stretch(start)
        before = self.size
        with as_environment_problem(self.path.parent):
            if path.exists():
                with os.fdopen(open_own(path, os.O_RDONLY), "rb", buffering=0) as file:
                    while chunk := file.read(BUFFER_SIZE):
                        self.append(chunk)
            path.unlink(missing_ok=True)
        return self.size - before

    def finish(self) -> Blob:
        """Make the bytes a blob of the digest they have.

        Whoever calls has compared ``size`` and ``digest`` with what was promised.
        """
        hasher = self._continued()
        with as_environment_problem(self.path.parent):
            file, _ = self._out or self._open(_more(self.path))
            file.flush()
            os.fsync(file.fileno())
        self.close()
        blob = self._store.keep(self.path, hasher.digest(), hasher.size)
        self._about.unlink(missing_ok=True)
        return blob

    def discard(self) -> None:
        """Throw away what is there."""
        with contextlib.suppress(EnvironmentProblem):  # a full disk takes no last bytes either
            self.close()
        with as_environment_problem(self.path.parent):
            self.path.unlink(missing_ok=True)
            self._about.unlink(missing_ok=True)
            for start in self.stretches():
                self._stretch(start).unlink(missing_ok=True)

    def drop_links(self) -> None:
        """Remove what somebody put in place of our files: bytes go into none but our own."""
        stretches = self.path.parent.glob(f"{self.path.stem}.*.stretch")
        with as_environment_problem(self.path.parent):
            for path in (self.path, self._about, *stretches):
                try:
                    os.close(open_own(path, os.O_RDONLY))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno not in {errno.ELOOP, errno.ENXIO}:
                        raise
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the bytes for a later run."""
        out, self._out = self._out, None
        self._hasher = None
        if out is not None:
            with as_environment_problem(self.path.parent):
                out[0].close()

    def _open(self, file: BinaryIO) -> tuple[BinaryIO, Writeback]:
        self._out = file, Writeback(file.fileno(), size=file.tell())
        return self._out

    def _stretch(self, start: int) -> Path:
        return self.path.with_suffix(f".{start}.stretch")

    def _continued(self) -> Hasher:
        if self._hasher is None:
            hasher = Hasher()
            if self.path.exists():
                with (
                    as_environment_problem(self.path),
                    os.fdopen(open_own(self.path, os.O_RDONLY), "rb", buffering=0) as file,
                ):
                    while chunk := file.read(BUFFER_SIZE):
                        hasher.update(chunk)
            self._hasher = hasher
        return self._hasher


def _new(path: Path) -> BinaryIO:
    """Open a new file in place of whatever is there; where a link leads stays as it is."""
    path.unlink(missing_ok=True)
    descriptor = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    return os.fdopen(descriptor, "wb", buffering=BUFFER_SIZE)


def _more(path: Path) -> BinaryIO:
    """Open a file to write behind its end."""
    descriptor = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return os.fdopen(descriptor, "ab", buffering=BUFFER_SIZE)


@contextmanager
def partial_of(store: Store, key: str) -> Iterator[Partial | None]:
    """Hold the download that ``key`` names; None while another thread or process has it.

    ``key`` is a file name: the digits of the expected digest, or of the address's.
    """
    place = store.root / "locks" / f"{key}.lock"
    with contextlib.ExitStack() as stack:
        with as_environment_problem(place.parent):
            mine = stack.enter_context(locked(place, timeout=0))
        if not mine:
            yield None
            return
        partial = Partial(store, key)
        partial.drop_links()
        stack.callback(partial.close)
        yield partial
