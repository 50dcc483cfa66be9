"""The storage VM's upload address: one multipart form with one file."""

from __future__ import annotations

import re
from io import BufferedIOBase

from isobuilder.demo.mold.cloud import Cloud, IsoRow, Version
from isobuilder.demo.mold.download import DownloadOutcome, Sink
from isobuilder.http.replies import Request

_CHUNK = 256 * 1024
_MAX_HEAD = 16 * 1024


def receive_upload(cloud: Cloud, request: Request) -> tuple[int, str]:
    """Take the file and judge it; returns status and text."""
    iso_id = request.path.rsplit("/", 1)[-1]
    found = _waiting(cloud, iso_id)
    wanted = ("x-signature", "x-expires", "x-metadata")
    if found is None or not all(request.headers.get(name) for name in wanted):
        return 401, "signature, expires and metadata do not belong to a waiting upload"
    version, row = found
    if request.length is None:
        return 411, "expected a length"
    boundary = re.search(r'boundary="?([^";]+)', request.headers.get("content-type", ""))
    if boundary is None:
        return 400, "expected a multipart form"
    sink = Sink(version.checksum)
    error = _take_file(request.stream, request.length, boundary[1], sink)
    if error:
        return 400, error
    with cloud.lock:
        row.upload_until = None
        outcome = sink.outcome()
        row.outcome = DownloadOutcome(outcome.error, outcome.size, outcome.hexdigest)
        cloud.note("ISO.UPLOAD", version.name, resource=version.iso_id)
    return 200, "OK"


def _waiting(cloud: Cloud, iso_id: str) -> tuple[Version, IsoRow] | None:
    for version in cloud.versions.values():
        for row in version.rows:
            if version.iso_id == iso_id and row.upload_until is not None:
                return version, row
    return None


def _take_file(body: BufferedIOBase, length: int, boundary: str, sink: Sink) -> str | None:
    """Read the form; its only part is ``files[]`` and ends where the length says."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        line = body.readline(_MAX_HEAD)
        head += line
        if not line or len(head) > _MAX_HEAD:
            return "no part in the form"
    if b'name="files[]"' not in bytes(head):
        return "the field is not files[]"
    tail = f"\r\n--{boundary}--\r\n".encode()
    left = length - len(head) - len(tail)
    while left > 0:
        chunk = body.read(min(_CHUNK, left))
        if not chunk:
            return "the upload broke off"
        sink.write(chunk)
        left -= len(chunk)
    return None if body.read(len(tail)) == tail else "the form does not end where it should"
