"""registration.json: what Mold has to be told about one ISO."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, StringConstraints

from isobuilder.digest import Digest
from isobuilder.model.base import MOLD_ARCHITECTURES, Model, canonical_json
from isobuilder.model.lock import Lock


class RegistrationFile(Model):
    """Fields of one ``addKubernetesSupportedVersion`` call, plus where they come from.

    ``kubernetesversion`` is the API's ``semanticversion``; the name is what existing tooling reads.
    """

    format: Annotated[Literal[1], Field(alias="schema")]
    name: str
    kubernetesversion: str
    arch: Literal["x86_64", "aarch64"]
    checksum: Annotated[str, StringConstraints(pattern=r"^\{SHA-256\}[0-9a-f]{64}$")]
    filename: str
    size: NonNegativeInt
    mincpunumber: int
    minmemory: int
    download_url: str | None
    product_version: str
    profile: str
    revision: int

    def to_data(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    def to_bytes(self) -> bytes:
        """Return the canonical text."""
        return canonical_json(self.to_data())


def registration_for(lock: Lock, *, iso: Digest, size: int) -> RegistrationFile:
    """Return the registration of the ISO that was built from ``lock``."""
    return RegistrationFile.model_validate(
        {
            "schema": 1,
            "name": f"v{lock.kubernetes}-{lock.profile}-{lock.architecture}-r{lock.revision}",
            "kubernetesversion": str(lock.kubernetes),
            "arch": MOLD_ARCHITECTURES[lock.architecture],
            "checksum": "{SHA-256}" + iso.hex,
            "filename": f"{lock.base_name}.iso",
            "size": size,
            "mincpunumber": lock.registration.min_cpu,
            "minmemory": lock.registration.min_memory_mb,
            "download_url": None,
            "product_version": lock.product_version,
            "profile": lock.profile,
            "revision": lock.revision,
        }
    )
