"""registration.json: what Mold has to be told about one ISO."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, NonNegativeInt
from pydantic_core import core_schema

from isobuilder.digest import Digest
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.base import FileModel
from isobuilder.model.lock import Lock


class IsoChecksum(str):
    """The SHA-256 of an ISO as Mold takes it: ``{SHA-256}`` and 64 lower-case digits.

    Raises:
        ValueError: the text is not of that form.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> IsoChecksum:
        """Check the form once, so that a checksum is a proof of it."""
        if not re.fullmatch(r"\{SHA-256\}[0-9a-f]{64}", text):
            raise ValueError(f"expected {{SHA-256}} and 64 lower-case digits, got {text[:80]!r}")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, digest: Digest) -> IsoChecksum:
        """Return it for a digest."""
        return cls("{SHA-256}" + digest.hex)

    @property
    def hex(self) -> str:
        """The 64 digits alone."""
        return self.partition("}")[2]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Let pydantic read it from a string and write it as one."""
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class RegistrationFile(FileModel):
    """Fields of one ``addKubernetesSupportedVersion`` call, plus where they come from.

    ``kubernetesversion`` is the API's ``semanticversion``; the name is what existing tooling reads.
    """

    format: Annotated[Literal[1], Field(alias="schema")]
    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,255}$")]
    kubernetesversion: KubeVersion
    arch: Literal["x86_64", "aarch64"]
    checksum: IsoChecksum
    filename: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~-]{0,250}$")]
    size: NonNegativeInt
    mincpunumber: int
    minmemory: int
    download_url: str | None
    product_version: str
    profile: str
    revision: int


def registration_for(lock: Lock, *, iso: Digest, size: int) -> RegistrationFile:
    """Return the registration of the ISO that was built from ``lock``."""
    return RegistrationFile.model_validate(
        {
            "schema": 1,
            "name": lock.iso_name.registered,
            "kubernetesversion": str(lock.kubernetes),
            "arch": ARCHITECTURES[lock.architecture].mold,
            "checksum": IsoChecksum.of(iso),
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
