"""What cosign notes of a signature beside an image: the annotations of a layer under ``.sig``.

Sources: cosign's specs/SIGNATURE_SPEC.md and pkg/cosign/bundle.
"""

from __future__ import annotations

import base64
import json
import textwrap

from isobuilder.trust.evidence.bundle import LogEntry, SignatureBundle

NOTE = "dev.sigstore.cosign/bundle"
SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
STAMP = "dev.sigstore.cosign/rfc3161timestamp"


def notes_of(bundle: SignatureBundle) -> dict[str, str]:
    """Return the annotations that say what a bundle says, as far as they can.

    They have room for one entry of a log, and only with the log's promise.
    """
    found = {SIGNATURE: _base64(bundle.signed_with)}
    if bundle.certificate is not None:
        lines = textwrap.wrap(_base64(bundle.certificate), 64)
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        found[CERTIFICATE] = "\n".join([begin, *lines, end, ""])
    for entry in bundle.entries[:1]:
        if entry.promise is not None and entry.integrated is not None:
            found[NOTE] = _note(entry, entry.promise)
    if bundle.stamps:
        found[STAMP] = json.dumps({"SignedRFC3161Timestamp": _base64(bundle.stamps[0])})
    return found


def _note(entry: LogEntry, promise: bytes) -> str:
    payload = {
        "body": _base64(entry.body),
        "integratedTime": entry.integrated,
        "logIndex": entry.index,
        "logID": entry.log_id.hex(),
    }
    return json.dumps({"SignedEntryTimestamp": _base64(promise), "Payload": payload})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
