"""Images that only tests want."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isobuilder.demo import images
from isobuilder.digest import Digest


def simple(
    name: str,
    *,
    architectures: Sequence[str] = ("amd64", "arm64"),
    shared: Sequence[images.Layer] = (),
    labels: Mapping[str, str] | None = None,
    style: images.Style = "docker",
    attestations: bool = False,
) -> images.Image:
    """Return a whole image: for each architecture the ``shared`` layers and one of its own."""
    singles = {
        architecture: images.image(
            [
                *shared,
                images.layer({f"usr/bin/{name}": f"{name} {architecture} stand-in\n".encode()}),
            ],
            architecture=architecture,
            labels=labels,
            style=style,
        )
        for architecture in architectures
    }
    return images.index(singles, style=style, attestations=attestations)


def zstd_layer(files: Mapping[str, bytes]) -> images.Layer:
    """Return a layer in a frame of zstd whose blocks are not compressed."""
    plain = images.tar(files, mode=0o755)
    return images.Layer(_stored(plain), Digest.of(plain), "zstd")


def _stored(data: bytes) -> bytes:
    # Source: RFC 8878. Magic, a header with an 8-byte content size, then raw blocks of 128 KiB.
    blocks = [data[at : at + 0x20000] for at in range(0, len(data), 0x20000)] or [b""]
    parts = [bytes.fromhex("28b52ffd"), b"\xe0", len(data).to_bytes(8, "little")]
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        parts += [((len(block) << 3) | int(last)).to_bytes(3, "little"), block]
    return b"".join(parts)
