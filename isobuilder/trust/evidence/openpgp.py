"""OpenPGP signatures by keys of a keyring, of which only those count whose fingerprints are pinned.

Read and proved by Sequoia (``pysequoia``), as RFC 9580 has it: a key must have been good when it
signed, and weak digests are refused. A keyring may be fetched from anywhere: what is believed is
the fingerprint in the policy.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.formats.sums import sum_line
from isobuilder.model.trust.policies import ExpectedSigner

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEYRINGS = Path(__file__).with_name("data")
_LARGEST = 1024 * 1024  # bytes of a signature, or of a clear-signed list
_MOST_BLOCKS = 8  # signatures in one file
_BLOCK = re.compile(rb"-----BEGIN PGP SIGNATURE-----.+?-----END PGP SIGNATURE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SignedText:
    """Who signed, when, and what text, where it is one with its signature."""

    by: str  # fingerprint
    moment: datetime | None
    text: bytes = b""

    def lists(self, name: str, digest: Digest) -> bool:
        """Say if a line of the text gives ``digest`` for the file ``name``, and none another."""
        found = set()
        for line in self.text.decode("utf-8", "replace").splitlines():
            read = sum_line(line.strip())
            if read is not None and read.path.lstrip("*").rpartition("/")[2] == name:
                found.add(read.digits.lower())
        return found == {digest.hex}


def check_clear_signed(data: bytes, expected: ExpectedSigner, place: str) -> SignedText:
    """Return the text of a clear-signed document.

    Raises:
        IntegrityError: nobody whose fingerprint is pinned signed it.
        EnvironmentProblem: the extra ``trust`` is not installed.
    """
    _refuse_large(data, place)
    return _checked(data, None, expected, place)


def check_detached(
    signature: bytes, content: bytes, expected: ExpectedSigner, place: str
) -> SignedText:
    """Return who made a detached signature over ``content``; of several in armor the first good.

    Raises:
        IntegrityError, EnvironmentProblem: as ``check_clear_signed``.
    """
    _refuse_large(signature, place)
    blocks = _BLOCK.findall(signature)[:_MOST_BLOCKS] or [signature]
    for block in blocks[:-1]:
        with contextlib.suppress(IntegrityError):
            return _checked(content, block, expected, place)
    return _checked(content, blocks[-1], expected, place)


def _refuse_large(data: bytes, place: str) -> None:
    if len(data) > _LARGEST:
        raise IntegrityError(f"{place}: OpenPGP: {len(data)} bytes, at most {_LARGEST}")


def _checked(
    data: bytes, signature: bytes | None, expected: ExpectedSigner, place: str
) -> SignedText:
    library = _library()
    ring = {
        key: cert for key, cert in _ring(expected.keyring or "") if key in expected.fingerprints
    }

    def certificates(_wanted: Iterable[str]) -> list[Any]:
        return list(ring.values())

    try:
        if signature is None:
            result = library.verify(bytes=data, store=certificates)
        else:
            detached = library.Sig.from_bytes(signature)
            result = library.verify(bytes=data, store=certificates, signature=detached)
    except Exception as error:  # the library's errors have no names of their own
        pinned = " or ".join(expected.fingerprints)
        raise IntegrityError(
            f"{place}: OpenPGP: not signed by {pinned}, or not these bytes"
        ) from error
    good = [one for one in result.valid_sigs if one.certificate.upper() in ring]
    if not good:
        raise IntegrityError(f"{place}: OpenPGP: signed by nobody whose fingerprint is pinned")
    moment = _moment(library, signature)
    return SignedText(good[0].certificate.upper(), moment, bytes(result.bytes or b""))


def _moment(library: Any, signature: bytes | None) -> datetime | None:
    """Return when a signature says that it was made."""
    if signature is None:
        return None
    created = library.Sig.from_bytes(signature).created
    return created.astimezone(UTC) if isinstance(created, datetime) else None


@lru_cache(maxsize=8)
def _ring(keyring: str) -> tuple[tuple[str, Any], ...]:
    """Return the certificates of a keyring by their fingerprints.

    Raises:
        InputError: there is no such keyring, or it is none.
    """
    library = _library()
    if keyring.lstrip().startswith("-----BEGIN"):
        data = keyring.encode()
    else:
        path = _KEYRINGS / f"{keyring}.asc"
        if "/" in keyring or not path.is_file():
            raise InputError(f"keyring: no keyring {keyring[:60]!r} is shipped, and it is no keys")
        data = path.read_bytes()
    try:
        certificates = library.Cert.split_bytes(data)
    except Exception as error:  # as above
        raise InputError("keyring: expected OpenPGP keys in their armor") from error
    return tuple((one.fingerprint.upper(), one) for one in certificates)


def _library() -> Any:
    try:
        import pysequoia
    except ImportError as error:
        raise EnvironmentProblem(
            "OpenPGP signatures cannot be checked: the library pysequoia is not installed",
            hint="pip install 'isobuilder[trust]'",
        ) from error
    return pysequoia
