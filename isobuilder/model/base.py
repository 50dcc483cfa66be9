"""The base of all our data, and one canonical text form for it."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from isobuilder.digest import Digest
from isobuilder.formats.reference import always_moving
from isobuilder.http.addresses import climbs
from isobuilder.model import architecture

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
"""The name of an entry: lower-case letters, digits, dot, dash, underscore."""

Architecture = Annotated[str, StringConstraints(pattern=architecture.PATTERN)]
"""A processor architecture in Go's and Debian's spelling."""

PLAIN = re.compile(r"[A-Za-z0-9._+@=:,~ -]+")
"""A name that survives a listing over HTTP: all servers write these characters alike."""


LAST_YEAR, LAST_EPOCH = 2155, 5_869_583_999
"""2155-12-31 23:59:59 UTC: ISO 9660 counts years in a byte from 1900."""

Epoch = Annotated[int, Field(ge=0, le=LAST_EPOCH)]
"""A time that an ISO can tell, in seconds since 1970-01-01 UTC."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]
"""A time to wait, of at most a day: the clocks of systems take no number that is much larger."""

Days = Annotated[int, Field(ge=0, le=36_500)]
"""At most a hundred years: a day that is later than 9999 is none."""

MOST_REVISIONS = 1_000_000

Revision = Annotated[int, Field(ge=1, le=MOST_REVISIONS)]
"""Which ISO of one Kubernetes version, profile and variant it is."""

ONE_LINE = r"^[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]*$"
"""A text that is one line for every reader: none takes a character in it for an end of line."""

Builder = Annotated[str, Field(pattern=ONE_LINE, min_length=1, max_length=500)]
"""Who builds, as a signed statement names it: a URI, of which no more than this is asked."""

_BUILDER = TypeAdapter(Builder)


def check_builder(text: str) -> str:
    """Return ``text`` if a statement may name it as who builds.

    Raises:
        ValueError: it may not.
    """
    try:
        return _BUILDER.validate_python(text)
    except ValidationError:
        raise ValueError(f"expected one line of 1 to 500 characters, got {text[:80]!r}") from None


def check_port(parts: SplitResult) -> None:
    """Raise a ``ValueError`` if an address names a port that there is not."""
    try:
        wrong = parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        host = parts.netloc.rpartition("@")[2]
        raise ValueError(f"expected a port from 1 to 65535, got {host[:80]!r}")


class Model(BaseModel):
    """Frozen, strict, and without unknown keys: what is in it was checked once and stays so."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileModel(Model):
    """What stands in a file of its own: the same value, the same bytes."""

    left_out: ClassVar[tuple[str, ...]] = ()  # keys that are not written while they are empty

    def to_data(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        empty = {name for name in self.left_out if not getattr(self, name)}
        return self.model_dump(mode="json", by_alias=True, exclude=empty)

    def to_bytes(self) -> bytes:
        """Return the canonical text."""
        return canonical_json(self.to_data())

    @property
    def digest(self) -> Digest:
        """The digest of the canonical text."""
        return Digest.of(self.to_bytes())


def canonical_json(value: Any) -> bytes:
    """Return ``value`` in the one form we write: sorted keys, two spaces, one final newline."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def check_iso_path(path: str) -> str:
    """Return ``path`` if it may name a file on the ISO.

    Relative, with plain parts that neither begin with a dot (a node that fetches the tree over HTTP
    drops dot files) nor end with one (readers of Joliet drop it, so that two names become one) nor
    climb, at most seven folders deep (ISO 9660 allows eight levels).

    Raises:
        ValueError: it may not; the text says why.
    """
    if path.startswith("/"):
        raise ValueError(f"expected a path relative to the root of the ISO, got {path!r}")
    parts = path.split("/")
    if ".." in parts:
        raise ValueError(f"the path {path!r} leaves the ISO")
    for part in parts:
        if not PLAIN.fullmatch(part) or part[0] in ". " or part[-1] == ".":
            raise ValueError(
                f"the part {part!r} of {path!r} is empty, begins with a dot or space, ends with "
                "a dot, or has characters other than letters, digits, space and . _ + @ = : , ~ -"
            )
        if len(part.encode()) > 200:
            raise ValueError(f"the part {part[:20]!r}... is longer than 200 bytes")
    if len(parts) > 8:
        raise ValueError(f"{path!r} is more than seven folders deep")
    return path


IsoPath = Annotated[str, AfterValidator(check_iso_path)]


def check_locked_url(url: str) -> str:
    """Return ``url`` if it is a canonical upstream address.

    https with a host, without credentials, query or fragment, and without a path segment that
    names nothing but a moving target (``latest``). Rules for what moves become stricter, and
    what was locked before has its digest.

    Raises:
        ValueError: it is not; the text says why, without repeating credentials.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise ValueError("not an address") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"credentials in the address of {host}; use ~/.netrc or the configuration")
    if parts.scheme != "https" or not host:
        raise ValueError(f"expected an https address, got {url[:120]!r}")
    if parts.query or parts.fragment:
        raise ValueError(f"query or fragment in {url[:120]!r}")
    check_port(parts)
    if not url.isascii() or any(c in url for c in " \t\r\n\\") or not url.isprintable():
        raise ValueError(f"characters that must be percent-encoded in {url[:120]!r}")
    if climbs(url):
        raise ValueError(f"a path that climbs in {url[:120]!r}; write where it leads")
    return refuse_moving(url, always_moving(parts.path))


def refuse_moving(url: str, part: str | None) -> str:
    """Return ``url``, or raise a ``ValueError`` if there is a ``part`` of it that moves."""
    if part is not None:
        raise ValueError(
            f"{part!r} in {url[:120]!r} is a moving target; name a release or a commit"
        )
    return url


def check_local(text: str) -> str:
    """Return ``text`` if it may name something beside a recipe: relative, and it does not climb."""
    parts = text.split("/")
    if text.startswith("/") or "\\" in text or not text.isprintable():
        raise ValueError(f"expected a path from the recipe's folder on, got {text[:120]!r}")
    if not text or any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{text[:120]!r} leaves the recipe's folder, or goes a roundabout way")
    return text


def check_locked_address(url: str) -> str:
    """Return ``url`` if ``check_locked_url`` takes it, or if it is ``file:`` and a path."""
    if not url.startswith("file:"):
        return check_locked_url(url)
    if url.startswith("file:/"):
        raise ValueError(
            f"{url[:120]!r} is a path of one machine; write file: and a path from the recipe's "
            "folder on, or an https address for which a mirror is configured"
        )
    return f"file:{check_local(url.removeprefix('file:'))}"


LockedUrl = Annotated[str, AfterValidator(check_locked_url)]
LockedAddress = Annotated[str, AfterValidator(check_locked_address)]
