"""Files of an ISO, hashed one by one while the image passes, and compared with what they should be.

A disk may change what it keeps, and a note may be wrong. What is on an ISO was right when it was
written, or there is no ISO.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isobuilder.digest import Digest, Hasher
from isobuilder.errors import IntegrityError
from isobuilder.iso.write.entries import IsoEntry, digest_of


class FilesProof:
    """Takes the bytes of an image in their order.

    ``bodies`` says from which byte on each file lies that has bytes, in that order; ``digests`` is
    what files should hash to, by path.
    """

    def __init__(
        self, bodies: Iterable[tuple[int, IsoEntry]], digests: Mapping[str, Digest]
    ) -> None:
        self._bodies = (body for body in bodies if body[1].path in digests)
        self._digests = digests
        self._passed = 0
        self._file: IsoEntry | None = None
        self._next()

    def update(self, data: memoryview) -> None:
        """Take the next bytes of the image.

        Raises:
            IntegrityError: a file that ended with them is not what was promised; names the blob
                that is to blame, if one is.
        """
        end = self._passed + len(data)
        while self._file is not None and self._end <= end:
            self._take(data)
            prove(self._file, self._digests[self._file.path], self._hasher.digest())
            self._next()
        if self._file is not None and self._begin < end:
            self._take(data)
        self._passed = end

    def _take(self, data: memoryview) -> None:
        first = max(self._begin - self._passed, 0)
        self._hasher.update(data[first : self._end - self._passed])

    def _next(self) -> None:
        self._hasher = Hasher()
        self._begin, self._file = next(self._bodies, (0, None))
        self._end = self._begin + (self._file.size if self._file is not None else 0)


def prove(file: IsoEntry, promised: Digest, found: Digest) -> None:
    """Return if the bytes of ``file``, which hash to ``found``, are those that were promised.

    Raises:
        IntegrityError: they are not.
    """
    if found == promised:
        return
    digest_of(file.pieces)  # tells which blob is damaged, if one is
    raise IntegrityError(
        f"{file.path}: expected {promised}, as a note in the store has it, got {found}",
        hint="the note is forgotten; build again",
    )
