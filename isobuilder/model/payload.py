"""The OS payload: what makes an ISO bootable, pinned by digest and shared by all versions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    StringConstraints,
    model_validator,
)

from isobuilder.digest import Digest
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.base import Architecture, Epoch, FileModel, Model, Name
from isobuilder.model.validation import model_of

Kernel = Literal["cloud", "generic"]

ArtifactName = Literal[
    "kernel",
    "initrd",
    "root",  # the root file system, a squashfs
    "bios",  # GRUB for BIOS, started from a CD's boot catalogue
    "bios-mbr",  # GRUB's first sector for a disk that is an ISO
    "shim",  # signed by Microsoft; starts what the distribution signed
    "grub",  # signed by the distribution; starts what the distribution signed
    "mok-manager",  # lets a machine's owner enrol keys
]

PackageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.+-]+$")]

ALWAYS: frozenset[str] = frozenset({"kernel", "initrd", "root", "shim", "grub", "mok-manager"})
BIOS: frozenset[str] = frozenset({"bios", "bios-mbr"})


class PayloadArtifact(Model):
    """One file of the payload."""

    digest: Digest
    size: NonNegativeInt  # bytes


class PayloadPackage(Model):
    """One package that is inside, or that a boot loader was taken from."""

    name: PackageName
    version: str
    architecture: Annotated[str, StringConstraints(pattern=f"^(all|{'|'.join(ARCHITECTURES)})$")]
    sha256: Digest  # of the .deb


SYSTEMS = ("debian-13",)
"""What isobuilder os build makes."""


class OsPayload(FileModel):
    """A kernel, its root file system and its boot loaders, all of one suite."""

    format: Annotated[Literal[1], Field(alias="schema")]
    os: Name  # e.g. debian-13
    suite: Name
    kernel: Kernel  # cloud: virtual machines only; generic: hardware and USB sticks too
    kernel_version: str
    architecture: Architecture
    epoch: Epoch  # seconds since 1970-01-01 UTC; no time stamp inside is later
    tool: str  # the isobuilder version that made it
    artifacts: dict[ArtifactName, PayloadArtifact]
    packages: tuple[PayloadPackage, ...]

    @model_validator(mode="after")
    def _complete(self) -> OsPayload:
        wanted = ALWAYS | BIOS if ARCHITECTURES[self.architecture].bios else ALWAYS
        missing = sorted(wanted - self.artifacts.keys())
        if missing:
            raise ValueError(f"no artifact {missing[0]}")
        if extra := sorted(self.artifacts.keys() - wanted):
            raise ValueError(f"{self.architecture} has no artifact {extra[0]}")
        return self

    @property
    def name(self) -> str:
        """What people call it, e.g. ``debian-13-cloud-amd64``."""
        return f"{self.os}-{self.kernel}-{self.architecture}"

    @property
    def size(self) -> int:
        """Bytes of all artifacts together."""
        return sum(artifact.size for artifact in self.artifacts.values())


def read_payload(text: bytes, *, place: str) -> OsPayload:
    """Return the payload that ``text`` describes.

    Raises:
        InputError: it is not a payload's description; ``place`` says where it came from.
    """
    return model_of(text, place, OsPayload)
