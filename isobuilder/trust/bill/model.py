"""The bill of materials as a value: the part of CycloneDX 1.6 that we write, and nothing else.

What is written as SPDX, compared and judged is this value. Source: CycloneDX specification 1.6.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from isobuilder.documents.json import JsonLimits
from isobuilder.errors import InputError
from isobuilder.model.base import Model, canonical_json
from isobuilder.model.validation import model_of

BILL = JsonLimits(size=256 * 1024 * 1024, items=8_000_000)
"""A bill with depth of the largest ISO that we know has 6 MiB and 150,000 values."""

PartType = Literal["application", "container", "file", "library", "operating-system"]

Digits = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Said(Model):
    """A value of the bill, which we call otherwise than the format where that has a reason."""

    model_config = ConfigDict(validate_by_name=True)


class Hash(Said):
    """What a part hashes to."""

    alg: Literal["SHA-256"]
    content: Digits


class Property(Said):
    """A fact that the format has no field for."""

    name: str
    value: str


class Reference(Said):
    """Where a part is from."""

    type: Literal["distribution", "vcs"]
    url: str
    hashes: tuple[Hash, ...] | None = None


class Licence(Said):
    """A licence by the name that the source gives it."""

    name: str


class LicenceChoice(Said):
    """One licence of a part."""

    license: Licence


class Occurrence(Said):
    """A file that tells of a part."""

    location: str


class PartEvidence(Said):
    """Where a part was found."""

    occurrences: tuple[Occurrence, ...]


class BillPart(Said):
    """A file, an image, or a package in one of these."""

    type: PartType
    bom_ref: Annotated[str, Field(alias="bom-ref")]
    name: str
    version: str | None = None
    purl: str | None = None
    hashes: tuple[Hash, ...] | None = None
    licenses: tuple[LicenceChoice, ...] | None = None
    evidence: PartEvidence | None = None
    references: Annotated[tuple[Reference, ...] | None, Field(alias="externalReferences")] = None
    properties: tuple[Property, ...] | None = None
    components: tuple[BillPart, ...] | None = None

    @property
    def sha256(self) -> str | None:
        """The 64 digits of its digest, where it has one."""
        return self.hashes[0].content if self.hashes else None

    @property
    def inside(self) -> tuple[BillPart, ...]:
        """What was found in it."""
        return self.components or ()

    @property
    def licence_names(self) -> tuple[str, ...]:
        """Its licences, as they are stated."""
        return tuple(choice.license.name for choice in self.licenses or ())

    def fact(self, name: str) -> str | None:
        """Return one of our own properties."""
        wanted = f"isobuilder:{name}"
        return next((one.value for one in self.properties or () if one.name == wanted), None)

    def facts(self, name: str) -> tuple[str, ...]:
        """Return all of our own properties of one name."""
        wanted = f"isobuilder:{name}"
        return tuple(one.value for one in self.properties or () if one.name == wanted)


class Tool(Said):
    """What made the bill."""

    type: Literal["application"] = "application"
    name: str
    version: str


class Tools(Said):
    """The list that the format wants around it."""

    components: tuple[Tool, ...]


class Metadata(Said):
    """What the bill is of, and when and by what it was made."""

    timestamp: str
    tools: Tools
    component: BillPart


class Dependency(Said):
    """What the ISO is made of, by ``bom-ref``."""

    ref: str
    depends_on: Annotated[tuple[str, ...], Field(alias="dependsOn")]


class Composition(Said):
    """Parts of which not all could be read."""

    aggregate: Literal["incomplete"]
    assemblies: tuple[str, ...]


class Bill(Said):
    """What an ISO is made of."""

    format: Annotated[
        Literal["http://cyclonedx.org/schema/bom-1.6.schema.json"], Field(alias="$schema")
    ]
    bom_format: Annotated[Literal["CycloneDX"], Field(alias="bomFormat")]
    spec_version: Annotated[Literal["1.6"], Field(alias="specVersion")]
    serial: Annotated[
        str,
        Field(alias="serialNumber"),
        StringConstraints(pattern=r"^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
    ]
    version: Literal[1]
    metadata: Metadata
    components: tuple[BillPart, ...]
    dependencies: tuple[Dependency, ...]
    compositions: tuple[Composition, ...] | None = None

    def to_bytes(self) -> bytes:
        """Return it as CycloneDX: the same value, the same bytes."""
        data: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return canonical_json(data)

    @property
    def images(self) -> tuple[BillPart, ...]:
        """The container images."""
        return tuple(part for part in self.components if part.type == "container")

    @property
    def deep(self) -> bool:
        """Whether it was looked inside."""
        return self.metadata.component.fact("depth") is not None

    def walk(self) -> Iterator[tuple[BillPart | None, BillPart]]:
        """Give every part with what it is in, None for what lies on the ISO itself."""
        for part in self.components:
            yield None, part
            for inner in part.inside:
                yield part, inner


def read_bill(data: bytes, place: str) -> Bill:
    """Return the bill that one of our own files is.

    Raises:
        InputError: it is none of ours.
    """
    return model_of(data, place, Bill, BILL, InputError)


def only_image(bill: Bill, name: str) -> Bill:
    """Return a bill of one image alone, named with or without its tag.

    Raises:
        InputError: there is no such image, or more than one.
    """
    found = [part for part in bill.images if name in {part.name, f"{part.name}:{part.version}"}]
    if len(found) != 1:
        there = ", ".join(sorted(f"{part.name}:{part.version}" for part in bill.images))
        raise InputError(
            f"expected the name of one image, got {name[:120]!r}", hint=f"images: {there or 'none'}"
        )
    (image,) = found
    serial = uuid.uuid5(uuid.UUID(bill.serial.rpartition(":")[2]), image.bom_ref)
    gaps = any(image.bom_ref in group.assemblies for group in bill.compositions or ())
    ends = (Composition(aggregate="incomplete", assemblies=(image.bom_ref,)),) if gaps else None
    return bill.model_copy(
        update={
            "serial": f"urn:uuid:{serial}",
            "components": image.inside,
            "metadata": bill.metadata.model_copy(
                update={"component": image.model_copy(update={"components": None})}
            ),
            "dependencies": (
                Dependency(ref=image.bom_ref, depends_on=tuple(p.bom_ref for p in image.inside)),
            ),
            "compositions": ends,
        }
    )
