"""Every form upstream projects publish checksums in, one parser."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal
from urllib.parse import unquote

from isobuilder.digest import BUFFER_SIZE, BlobLike, Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.sums import sum_line

MAX_SIZE = 1024 * 1024  # bytes; a release of Kubernetes lists all its files in about 60 KiB

Dialect = Literal["bare", "gnu", "bsd", "mixed"]

_ALGORITHMS = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
_STRONG = ("sha256", "sha512")  # in the order of preference: ours is the first

_BARE = re.compile(r"([0-9A-Fa-f]{32,128})")
_BSD = re.compile(r"([A-Za-z]+[0-9-]*) ?\((.+)\) ?= ?([0-9A-Fa-f]{32,128})")
_PREFIX = re.compile(r"(?:sha256|sha512):", re.IGNORECASE)  # as registries and GitHub write digests
_STDIN = {"-", "stdin"}  # the only name of a file whose sum was made of what came through a pipe
_HTML = re.compile(r"\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

_SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"
_END = "-----END PGP SIGNATURE-----"


@dataclass(frozen=True, slots=True)
class Checksum:
    """One digest of any algorithm."""

    algorithm: str  # a name hashlib knows: sha256, sha512 ...
    hex: str  # lower case

    def check(self, name: str, blob: BlobLike) -> None:
        """Return if ``blob``, whose SHA-256 is known to be right, has this digest as well.

        Raises:
            IntegrityError: it has another one.
        """
        if self.algorithm == "sha256":
            return
        hasher = hashlib.new(self.algorithm)
        with blob.open() as file:
            while chunk := file.read(BUFFER_SIZE):
                hasher.update(chunk)
        if hasher.hexdigest() != self.hex:
            raise IntegrityError(
                f"{name}: expected {self.algorithm} {self.hex}, got {hasher.hexdigest()}"
            )


@dataclass(frozen=True, slots=True)
class ChecksumEntry:
    """What a checksum file says about one file."""

    name: str | None  # path as written, less a leading ./; None in a bare file
    checksum: Checksum


@dataclass(frozen=True, slots=True)
class ChecksumFile:
    """A checksum file, read."""

    place: str
    entries: tuple[ChecksumEntry, ...]
    form: Dialect
    signed: bool  # within a PGP clear-signed document, whose signature nobody has checked here

    @property
    def dialect(self) -> str:
        """Name of the form: ``gnu``, ``clear-signed gnu`` and so on."""
        return f"clear-signed {self.form}" if self.signed else self.form

    def sha256_for(self, filename: str) -> Digest:
        """Return the SHA-256 of ``filename``.

        Raises:
            InputError: there is none: no entry, or one of another algorithm.
            IntegrityError: the file contradicts itself.
        """
        checksum = self.checksum_for(filename)
        if checksum.algorithm != "sha256":
            raise InputError(
                f"{self.place}: expected a sha256 of {filename}, got only {checksum.algorithm}",
                hint="name a checksum file with sha256 sums",
            )
        return Digest.from_hex(checksum.hex)

    def checksum_for(self, filename: str) -> Checksum:
        """Return the checksum to compare with: the SHA-256 of ``filename``, else its SHA-512.

        ``filename`` is a name or a path, such as that of an address. Of entries with its name that
        one counts whose folders agree furthest, whatever lies before them in either path.

        Raises:
            InputError: no entry, or only one of an algorithm that proves nothing.
            IntegrityError: two different sums for the one file.
        """
        found = self._about(filename)
        filename = filename.rpartition("/")[2]
        if not found:
            names = sorted({entry.name for entry in self.entries if entry.name})
            near = get_close_matches(filename, names, n=1, cutoff=0.5)
            raise InputError(
                f"{self.place}: expected an entry for {filename}, got {len(names)} others",
                hint=f"did you mean {near[0]}?" if near else "name the checksum file of this file",
            )
        for algorithm in _STRONG:
            sums = {sum_.hex for sum_ in found if sum_.algorithm == algorithm}
            if len(sums) > 1:
                raise IntegrityError(
                    f"{self.place}: {len(sums)} different {algorithm} sums for {filename}: "
                    + ", ".join(sorted(sums)),
                    hint="write the right one into the recipe as sha256:<digits>",
                )
            if sums:
                return Checksum(algorithm, sums.pop())
        weak = ", ".join(sorted({sum_.algorithm for sum_ in found}))
        raise InputError(
            f"{self.place}: expected sha256 or sha512 of {filename}, got only {weak}",
            hint="name a checksum file with sha256 sums, or write sha256:<digits> into the recipe",
        )

    def _about(self, filename: str) -> list[Checksum]:
        """Return the sums of the entries whose path shares the longest end with ``filename``."""
        if self.form == "bare":
            return [entry.checksum for entry in self.entries]
        wanted = [_folders(name) for name in (filename, unquote(filename))]
        found: dict[tuple[int, bool], list[Checksum]] = {}
        for entry in self.entries:
            path = _folders(entry.name or "")
            length = max(_common_end(path, other) for other in wanted)
            if length > 0:  # of equal ones that which agrees to its beginning
                found.setdefault((length, length == len(path)), []).append(entry.checksum)
        return found[max(found)] if found else []


def parse(data: bytes, *, place: str) -> ChecksumFile:
    """Read a checksum file of any dialect.

    Bare digits; GNU lines (digits, spaces, perhaps ``*``, name); BSD lines (``SHA256 (name) =
    digits``); each perhaps in a PGP clear-signed document, with a byte order mark or CRLF. The
    algorithm follows from the number of digits. ``place`` is for messages.

    Raises:
        IntegrityError: it is not a checksum file; says what it looks like and in which line.
    """
    if len(data) > MAX_SIZE:
        raise IntegrityError(
            f"{place}: expected a checksum file of at most {MAX_SIZE} bytes, got {len(data)}",
            hint="this looks like the file itself; name the file that holds its checksum",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_one(place, f"binary data at byte {error.start}") from error
    if _HTML.match(text):
        raise _not_one(place, "an HTML page")
    lines = text.replace("\r\n", "\n").split("\n")
    signed = any(line.rstrip() == _SIGNED for line in lines)
    if signed:
        lines = list(_signed_part(lines, place))
    forms: set[Dialect] = set()
    entries: list[ChecksumEntry] = []
    for number, line in enumerate(lines, 1):
        stripped = line.strip(" \t")
        if stripped and not stripped.startswith("#"):
            form, entry = _entry(stripped, f"{place}: line {number}")
            forms.add(form)
            entries.append(entry)
    if not entries:
        raise _not_one(place, "nothing")
    if "bare" in forms and len(entries) > 1:
        raise _not_one(place, f"{len(entries)} lines, some without a file name")
    return ChecksumFile(place, tuple(entries), forms.pop() if len(forms) == 1 else "mixed", signed)


def _entry(line: str, place: str) -> tuple[Dialect, ChecksumEntry]:
    if _CONTROL.search(line):
        raise _not_one(place, "control characters")
    plain = line[prefix.end() :] if (prefix := _PREFIX.match(line)) else line
    plain = plain.removeprefix("(stdin)= ")  # an older OpenSSL, of a pipe
    if match := _BARE.fullmatch(plain):
        return "bare", ChecksumEntry(None, _checksum(match[1], place))
    if (read := sum_line(plain)) and read.path[0] not in " \t*":
        checksum = _checksum(read.digits, place)
        if read.path in _STDIN:
            return "bare", ChecksumEntry(None, checksum)
        return "gnu", ChecksumEntry(_plain(read.path), checksum)
    if match := _BSD.fullmatch(line):
        checksum = _checksum(match[3], place)
        # OpenSSL writes SHA2-256, some tools SHA-256.
        named = match[1].lower().replace("sha2-", "sha").replace("-", "")
        if named != checksum.algorithm:
            raise _not_one(place, f"{match[1]} with {len(match[3])} digits")
        if match[2] in _STDIN:
            return "bare", ChecksumEntry(None, checksum)
        return "bsd", ChecksumEntry(_plain(match[2]), checksum)
    # Not the line itself: nobody knows what file this is, and whose.
    raise _not_one(place, f"{len(line)} characters of something else")


def _checksum(digits: str, place: str) -> Checksum:
    algorithm = _ALGORITHMS.get(len(digits))
    if algorithm is None:
        raise _not_one(place, f"{len(digits)} hexadecimal digits, expected 64 (sha256)")
    return Checksum(algorithm, digits.lower())


def _plain(name: str) -> str:
    """Return a path without what only says "here"."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _folders(path: str) -> list[str]:
    """Return the parts of a path; tools on Windows write it with backslashes."""
    return [part for part in path.replace("\\", "/").split("/") if part not in {"", "."}]


def _common_end(one: list[str], other: list[str]) -> int:
    """Return how many parts two paths share at their ends."""
    length = 0
    for mine, its in zip(reversed(one), reversed(other), strict=False):
        if mine != its:
            break
        length += 1
    return length


def _signed_part(lines: list[str], place: str) -> Iterator[str]:
    """Yield the signed lines and an empty one for each other, so that line numbers stay true.

    What stands outside the signature is refused: nobody vouches for it.
    Source: RFC 9580, 7, "Cleartext Signature Framework".
    """
    state = "before"
    for number, line in enumerate(lines, 1):
        text = line.rstrip()
        inside = False
        if state == "before" and text == _SIGNED:
            state = "headers"
        elif state == "headers":
            state = "headers" if text else "text"
        elif state == "text" and text == _SIGNATURE:
            state = "signature"
        elif state == "text":
            inside = True
        elif state == "signature":
            state = "after" if text == _END else "signature"
        elif text:
            raise _not_one(f"{place}: line {number}", "text outside the signed part")
        yield line.removeprefix("- ") if inside else ""
    if state != "after":
        raise _not_one(place, "a clear-signed document without its end")


def _not_one(place: str, got: str) -> IntegrityError:
    return IntegrityError(
        f"{place}: expected a checksum file, got {got}",
        hint="open the address in a browser: it may have moved, or need a login",
    )
