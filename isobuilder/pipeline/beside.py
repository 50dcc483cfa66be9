"""What lies beside a finished ISO: its digest, what it holds, its registration and its lock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from isobuilder.digest import Digest
from isobuilder.files import is_file
from isobuilder.formats.sums import written_sums
from isobuilder.model.finding import Finding
from isobuilder.model.lock import Lock
from isobuilder.model.registration import registration_for


def side_texts(
    lock: Lock, *, name: str, digest: Digest, size: int, manifest: bytes, sbom: bytes
) -> dict[str, bytes]:
    """Return the text of each side file, by the end of its name, of the ISO ``name``."""
    return {
        "iso.sha256": written_sums([(digest, name)]),
        "manifest.json": manifest,
        "sbom.cdx.json": sbom,
        "registration.json": registration_for(lock, iso=digest, size=size).to_bytes(),
        "lock.json": lock.to_bytes(),
    }


def changed_beside(iso: Path, wanted: dict[str, bytes]) -> Iterator[Finding]:
    """Give the side files of ``iso`` that are there and are not as ``wanted``."""
    for end, text in wanted.items():
        path = iso.with_name(f"{iso.name.removesuffix('.iso')}.{end}")
        try:
            if not is_file(path):
                continue
            with path.open("rb") as file:
                found = file.read(len(text) + 1)
        except OSError as error:
            fact = f"it cannot be read: {error.strerror}"
        else:
            if found == text:
                continue
            fact = "it is not what a build of the lock writes beside this ISO"
        yield Finding(
            rule="lock.beside",
            place=path.name,
            fact=fact,
            remedy="do not use it; isobuilder build writes it again",
        )
