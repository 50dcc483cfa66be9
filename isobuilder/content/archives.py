"""One container image as an OCI layout tar: deterministic, made of stored blobs, never unpacked.

Source: OCI image specification, image-layout.md; contract of the node's import in
docs/node-contract.md. The registry's bytes and media types stay, so every digest stays provable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from isobuilder.content.blobs import BlobSource
from isobuilder.digest import BlobLike, Digest
from isobuilder.formats.oci import NAME_ANNOTATIONS
from isobuilder.iso.write.entries import FileFact, Piece, digest_of, size_of

OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'

ARCHIVE = "proved-archive"
"""What notes of the digest of an archive are called, found out from blobs that were right."""

_BLOCK = 512  # bytes of a tar block
_OCTAL_LIMIT = 8**11  # the first size that eleven octal digits cannot say


def image_archive(
    names: Sequence[str],
    *,
    manifest: BlobLike,
    config: BlobLike,
    layers: Sequence[BlobLike],
    media_type: str,
) -> tuple[Piece, ...]:
    """Return the archive of one image, to be concatenated.

    ``names`` are full references that the image is to have; ``media_type`` is the manifest's as
    served.
    A blob that is listed twice (the empty layer) is there once.
    """
    index = json.dumps(
        {
            "manifests": [
                {
                    "annotations": dict.fromkeys(NAME_ANNOTATIONS, name),
                    "digest": manifest.digest,
                    "mediaType": media_type,
                    "size": manifest.size,
                }
                for name in names
            ],
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "schemaVersion": 2,
        },
        separators=(",", ":"),
        sort_keys=True,
    ).encode()
    pieces: list[Piece] = []
    for name, data in (("oci-layout", OCI_LAYOUT), ("index.json", index)):
        pieces += [tar_header(name, len(data)), data, _padding(len(data))]
    pieces += [tar_header("blobs/", 0), tar_header("blobs/sha256/", 0)]
    for blob in {blob.digest: blob for blob in (manifest, config, *layers)}.values():
        pieces += [
            tar_header(f"blobs/sha256/{blob.digest.hex}", blob.size),
            blob,
            _padding(blob.size),
        ]
    pieces.append(bytes(2 * _BLOCK))
    return tuple(_joined(pieces))


def archive_fact(pieces: Sequence[Piece], notes: BlobSource) -> FileFact:
    """Return digest and size of the archive; hashed once, then remembered by ``notes``."""
    key = archive_key(pieces)
    size = size_of(pieces)
    if (known := notes.recall(ARCHIVE, key)) is not None:
        try:
            return Digest(known.decode("ascii")), size
        except ValueError:
            pass  # a damaged note; what it said can be found out again
    digest = digest_of(pieces)
    notes.remember(ARCHIVE, key, digest.encode())
    return digest, size


def archive_key(pieces: Sequence[Piece]) -> Digest:
    """Return what two archives have in common only if they are the same bytes."""
    recipe = [
        str(Digest.of(piece)) if isinstance(piece, bytes) else f"{piece.digest} {piece.size}"
        for piece in pieces
    ]
    return Digest.of("\n".join(recipe).encode())


def tar_header(name: str, size: int) -> bytes:
    """Return the tar header of a regular file, or of a folder if ``name`` ends in ``/``.

    POSIX ustar with owner 0, time 0; sizes of 8 GiB and more as GNU tar writes them (base 256).
    Our own lines, because what ``tarfile`` writes depends on the version of Python.
    """
    folder = name.endswith("/")
    length = b"%011o\0" % size if size < _OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big")
    fields = (
        name.encode("ascii").ljust(100, b"\0"),
        b"0000755\0" if folder else b"0000644\0",
        b"0000000\0" * 2,  # owner and group
        length,
        b"00000000000\0",  # time
        b" " * 8,  # the checksum is made as if this field were blank
        b"5" if folder else b"0",
        bytes(100),  # link name
        b"ustar\x0000",
        bytes(32 + 32),  # names of owner and group
        b"0000000\0" * 2,  # device numbers
        bytes(155 + 12),  # name prefix, padding
    )
    header = b"".join(fields)
    return header.replace(b" " * 8, b"%06o\0 " % sum(header), 1)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Merge neighbouring bytes, so that an archive is few pieces."""
    gathered = b""
    for piece in pieces:
        if isinstance(piece, bytes):
            gathered += piece
            continue
        if gathered:
            yield gathered
        gathered = b""
        yield piece
    yield gathered
