"""What a server of S3 says when it does not do as it was told, in one line.

Sources: Amazon S3 API reference, "Error responses" and "Conditional writes"; codes for what is full
from MinIO (``XMinioStorageFull``), Ceph and versitygw (``QuotaExceeded``). obstore 0.12 puts status
and body of an answer into the text of its errors, and has no other place for them.
"""

from __future__ import annotations

import re

from isobuilder.errors import UpstreamError
from isobuilder.text import printable

LOGIN_HINT = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name the endpoint below servers in the "
    "settings with user and password_file"
)
_CODE = re.compile(r"<Code>([A-Za-z0-9._]{1,80})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]+)</Message>")
_STATUS = re.compile(r"status code: ([0-9]{3})")
_MOST_SAID = 300  # characters of what a server or the library says

_LATER = ("the server has too much to do", "run it again later; what is published is found")
_EXPIRED = ("the login has expired", "get a new one; AWS_SESSION_TOKEN is a part of it")
_CLOCK = ("this machine's clock and the server's are too far apart", "set the clock")
_FULL = ("there is no room left", "take old versions away, or have the quota raised")
_CHANGED = ("other bytes arrived than were sent", "run it again; it kept nothing")
_UNKNOWN = (
    "this server does not know such a request",
    "it has to know writing on a condition (If-None-Match)",
)
_NO_BUCKET = ("there is no such bucket, or not for this login", LOGIN_HINT)
_REFUSED = ("refused for this login", LOGIN_HINT)
_BY_CODE = {
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "TooManyRequests", "ServerBusy"), _LATER),
    **dict.fromkeys(("ExpiredToken", "TokenRefreshRequired", "ExpiredTokenException"), _EXPIRED),
    "RequestTimeTooSkewed": _CLOCK,
    **dict.fromkeys(("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"), _FULL),
    "XMinioAdminBucketQuotaExceeded": _FULL,
    **dict.fromkeys(("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"), _CHANGED),
    **dict.fromkeys(("XAmzContentChecksumMismatch", "InvalidPart"), _CHANGED),
    **dict.fromkeys(("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"), _REFUSED),
    "XAdminUserNotFound": _REFUSED,  # of versitygw
    "NotImplemented": _UNKNOWN,
    "NoSuchBucket": _NO_BUCKET,
}
_BY_STATUS = {"401": _REFUSED, "403": _REFUSED, "429": _LATER, "503": _LATER, "507": _FULL}


def refusal(place: str, error: Exception) -> UpstreamError:
    """Return an error of ours for one of the library's about ``place``."""
    said = str(error).partition("\n\nDebug source")[0]
    code, status = _CODE.search(said), _STATUS.search(said)
    known = _BY_CODE.get(code[1]) if code else None
    if known is None and status and (code is None or status[1] in {"401", "403"}):
        known = _BY_STATUS.get(status[1])
    answer = " ".join(one[1] for one in (status, code) if one)
    if known:
        return UpstreamError(f"{place}: {known[0]} ({answer or 'refused'})", hint=known[1])
    if answer:
        message = _MESSAGE.search(said)
        told = f": {printable(message[1], _MOST_SAID)}" if message else ""
        return UpstreamError(f"{place}: the server answered {answer}{told}")
    told = printable(said.partition("\n")[0].rpartition(" - ")[2], _MOST_SAID)
    return UpstreamError(
        f"{place}: no whole answer came: {told}",
        hint="run it again; what is published is found, and nothing is published twice",
    )
