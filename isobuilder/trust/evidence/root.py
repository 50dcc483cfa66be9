"""Trusted roots: whose certificates, logs and timestamps count, and from when until when.

Source: sigstore/protobuf-specs, sigstore_trustroot.proto. A file may hold several roots, one a
line, as ``gh attestation trusted-root`` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from isobuilder.documents.json import JsonProblem, value_of
from isobuilder.errors import InputError, IntegrityError
from isobuilder.text import moment_of
from isobuilder.trust.evidence.fields import EVIDENCE, Fields

PUBLIC = Path(__file__).with_name("data") / "trusted_root.json"
"""That of the public Sigstore, as its root of 2026 signs it."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when something counts; both ends are within."""

    start: datetime | None
    end: datetime | None

    def has(self, moment: datetime) -> bool:
        """Say if ``moment`` is within."""
        return not (
            (self.start is not None and moment < self.start)
            or (self.end is not None and moment > self.end)
        )


@dataclass(frozen=True, slots=True)
class LogKey:
    """The key of a transparency log, or of a log of certificates."""

    url: str
    log_id: bytes
    key: bytes  # DER, SubjectPublicKeyInfo
    span: Validity


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Who issues certificates or timestamps: its certificates, the issuing one first."""

    url: str
    chain: tuple[bytes, ...]  # DER
    span: Validity


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """Everything that is believed without a proof."""

    logs: tuple[LogKey, ...]
    certificate_logs: tuple[LogKey, ...]
    authorities: tuple[CertificateAuthority, ...]
    stampers: tuple[CertificateAuthority, ...]


def read_root(data: bytes, place: str) -> TrustedRoot:
    """Return the root, or several as one.

    Raises:
        IntegrityError: it is none.
    """
    parts = [_root(one) for one in _objects(data, place)]
    return TrustedRoot(
        tuple(key for part in parts for key in part.logs),
        tuple(key for part in parts for key in part.certificate_logs),
        tuple(one for part in parts for one in part.authorities),
        tuple(one for part in parts for one in part.stampers),
    )


def load_root(path: Path | None) -> TrustedRoot:
    """Return the root in a file, that of the public Sigstore if None.

    Raises:
        InputError: there is no such file.
        IntegrityError: it is no root.
    """
    return _loaded(path or PUBLIC)


@cache
def _loaded(path: Path) -> TrustedRoot:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: the trusted root cannot be read: {error.strerror or error}"
        ) from error
    return read_root(data, str(path))


def _objects(data: bytes, place: str) -> list[Fields]:
    lines = [line for line in data.splitlines() if line.strip()]
    if len(lines) > 1:
        try:
            return [Fields.of(value_of(line, EVIDENCE), place) for line in lines]
        except (JsonProblem, IntegrityError):
            pass  # one root, on several lines
    return [Fields.read(data, place)]


def _root(top: Fields) -> TrustedRoot:
    found = TrustedRoot(
        tuple(_key(one) for one in top.parts("tlogs")),
        tuple(_key(one) for one in top.parts("ctlogs")),
        tuple(_authority(one) for one in top.parts("certificateAuthorities")),
        tuple(_authority(one) for one in top.parts("timestampAuthorities")),
    )
    if not found.authorities and not found.logs:
        raise IntegrityError(f"{top.place}: not a trusted root: no authority and no log")
    return found


def _key(log: Fields) -> LogKey:
    key = log.part("publicKey")
    return LogKey(
        log.text("baseUrl") if log.has("baseUrl") else "",
        log.part("logId").data("keyId"),
        key.data("rawBytes"),
        _span(key),
    )


def _authority(entry: Fields) -> CertificateAuthority:
    chain = entry.part("certChain").parts("certificates")
    if not chain:
        raise IntegrityError(f"{entry.place}: an authority without a certificate")
    url = entry.text("uri") if entry.has("uri") else ""
    return CertificateAuthority(url, tuple(one.data("rawBytes") for one in chain), _span(entry))


def _span(fields: Fields) -> Validity:
    if not fields.has("validFor"):
        return Validity(None, None)
    valid = fields.part("validFor")
    return Validity(_moment(valid, "start"), _moment(valid, "end"))


def _moment(fields: Fields, name: str) -> datetime | None:
    if not fields.has(name):
        return None
    moment = moment_of(fields.text(name))
    if moment is None:
        raise IntegrityError(f"{fields.place}: {name}: expected a time, found {name!r}")
    return moment
