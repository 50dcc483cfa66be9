"""Timestamps of RFC 3161: when a signature was there, in the word of an authority.

``rfc3161-client`` reads and proves the answer; whether the authority counts, and counted then, is
decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from isobuilder.errors import IntegrityError
from isobuilder.trust.evidence.certificates import certificate_of
from isobuilder.trust.evidence.root import CertificateAuthority

_LARGEST = 64 * 1024  # bytes; an answer with its certificates has some 2 KiB


def stamped_at(
    stamp: bytes, signature: bytes, authorities: Sequence[CertificateAuthority], place: str
) -> datetime:
    """Return when ``signature`` was stamped.

    Raises:
        IntegrityError: the answer is of other bytes, or of nobody whom the trusted root has.
    """
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    if len(stamp) > _LARGEST:
        raise IntegrityError(f"{place}: timestamp: {len(stamp)} bytes, at most {_LARGEST}")
    try:
        answer = decode_timestamp_response(stamp)
        moment = answer.tst_info.gen_time.replace(tzinfo=UTC)
    except (ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{place}: timestamp: not an answer of RFC 3161") from error
    for authority in authorities:
        if not authority.span.has(moment):
            continue
        *below, top = [certificate_of(one, "the trusted root") for one in authority.chain]
        builder = VerifierBuilder().add_root_certificate(top)
        if below:  # an answer need not have the stamper's own certificate
            builder = builder.tsa_certificate(below[0])
        for one in below[1:]:
            builder = builder.add_intermediate_certificate(one)
        try:
            if builder.build().verify_message(answer, signature):
                return moment
        except (VerificationError, ValueError):
            continue
    raise IntegrityError(
        f"{place}: timestamp: not of this signature, or by no authority that the trusted root has "
        f"for {moment:%Y-%m-%d}"
    )
