"""bundle.json: what a bundle carries to a site, in which order and in parts of which size."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, StringConstraints, model_validator

from isobuilder.digest import Digest
from isobuilder.model.base import ONE_LINE, PLAIN, FileModel, Model

MOST_CARRIED = 5000
"""Things in one bundle: twenty ISOs have some 1,500 blobs, and bundle.json stays within bounds."""

MOST_BYTES = 1 << 44
"""Bytes of one thing; all things and parts are then countable."""

SMALLEST_PART = 4 * 1024
"""Bytes of a part beside bundle.json, which each part has."""

MOST_NAMES = 100
"""Names of one file, each of which becomes a copy at the site: a small bundle fills no disk."""

_LONGEST_NAME = 240
"""Letters, each a byte: file systems take 255, and a file has a longer name while it is written."""

Kind = Literal["file", "manifest", "image", "payload", "evidence", "lock", "extra"]

DOCUMENTS: tuple[Kind, ...] = ("lock", "extra")
"""What people want as files of their own, by their names."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=ONE_LINE)]


def is_document_name(name: str) -> bool:
    """Say if a file may be called so at every site; see ``DOCUMENT_NAMES``."""
    return len(name) <= _LONGEST_NAME and bool(PLAIN.fullmatch(name)) and name[0] not in ". -"


DOCUMENT_NAMES = (
    f"at most {_LONGEST_NAME} letters from A to Z, digits, spaces and . _ + @ = : , ~ -, "
    "and first no dot, dash or space"
)
"""Which names ``is_document_name`` takes, for people."""


class Carried(Model):
    """One blob, what it is for, and what it is called."""

    digest: Digest
    size: Annotated[int, Field(ge=0, le=MOST_BYTES)]  # bytes
    kind: Kind
    names: tuple[Text, ...]  # of documents file names: of a lock one, of an extra all it has
    media_type: Text | None = None  # of manifests of images; then names are references

    @property
    def is_document(self) -> bool:
        """Whether it becomes a file of its own at the site."""
        return self.kind in DOCUMENTS

    @model_validator(mode="after")
    def _named(self) -> Carried:
        if not self.names:
            raise ValueError(f"{self.digest} has no name")
        if self.is_document:
            most = MOST_NAMES if self.kind == "extra" else 1
            if len(self.names) > most or not all(map(is_document_name, self.names)):
                raise ValueError(f"expected a plain file name, got {', '.join(self.names)[:120]}")
        return self


class Bundle(FileModel):
    """All that a bundle carries; every part says the same, but for its own number."""

    format: Annotated[Literal[1], Field(alias="schema")]
    tool: Text  # the isobuilder version that made it
    part_size: PositiveInt | None  # bytes that no part exceeds; None: one part holds all
    part: PositiveInt  # the number of this part, from 1
    contents: tuple[Carried, ...]

    @model_validator(mode="after")
    def _each_once(self) -> Bundle:
        if len(self.contents) > MOST_CARRIED:
            raise ValueError(f"{len(self.contents)} things, at most {MOST_CARRIED}")
        if len({item.digest for item in self.contents}) < len(self.contents):
            raise ValueError("a digest is there twice")
        files = [name for item in self.contents if item.is_document for name in item.names]
        if len({name.casefold() for name in files}) < len(files):
            raise ValueError("two documents have one name")
        return self

    @property
    def identity(self) -> Digest:
        """The digest by which people tell bundles apart; the same for all parts."""
        return self.numbered(1).digest

    @property
    def size(self) -> NonNegativeInt:
        """Bytes of all that is carried."""
        return sum(item.size for item in self.contents)

    def numbered(self, part: int) -> Bundle:
        """Return what part number ``part`` says."""
        return self.model_copy(update={"part": part})
