"""Small bills with depth."""

from __future__ import annotations

from isobuilder.formats.packages.package import Package
from isobuilder.trust.bill.look import Found
from isobuilder.trust.bill.merge import Root
from isobuilder.trust.bill.model import (
    Bill,
    BillPart,
    Dependency,
    Hash,
    Metadata,
    Property,
    Tool,
    Tools,
)
from isobuilder.trust.bill.parts import parts_inside

DIGITS = "ab" * 32
DEBIAN = (("ID", "debian"), ("VERSION_ID", "13"))
PACKAGES = (
    Package("deb", "libssl3t64", "3.5.1-1", "amd64", "openssl"),
    Package("golang", "golang.org/x/net", "v0.30.0"),
    Package("golang", "stdlib", "1.24.6"),
    Package("pypi", "Flask_Thing", "1.0"),
    Package("npm", "@a/b", "1.0.0", licences=("MIT", "whatever the author likes")),
)


def image_part(
    name: str = "registry.k8s.io/etcd",
    packages: tuple[Package, ...] = PACKAGES,
    system: tuple[tuple[str, str], ...] = DEBIAN,
) -> BillPart:
    ref = f"image:{name}:3.6.5"
    found = {"etc/os-release": Found(system=system), "somewhere": Found(packages)}
    return BillPart(
        type="container",
        bom_ref=ref,
        name=name,
        version="3.6.5",
        purl=f"pkg:oci/{name.rpartition('/')[2]}@sha256%3A{DIGITS}?arch=amd64",
        hashes=(Hash(alg="SHA-256", content=DIGITS),),
        components=parts_inside(ref, Root(found=found)),
    )


def bill_of(*parts: BillPart) -> Bill:
    main = BillPart(
        type="application",
        bom_ref="kubernetes",
        name="kubernetes-mold-cks-amd64",
        version="1.34.12+mold-cks.r1",
        purl="pkg:generic/kubernetes@1.34.12",
        properties=(Property(name="isobuilder:depth", value="1"),),
    )
    return Bill(
        format="http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format="CycloneDX",
        spec_version="1.6",
        serial="urn:uuid:00000000-0000-5000-8000-000000000001",
        version=1,
        metadata=Metadata(
            timestamp="2026-01-01T00:00:00Z",
            tools=Tools(components=(Tool(name="isobuilder", version="1.2.3"),)),
            component=main,
        ),
        components=parts or (image_part(),),
        dependencies=(Dependency(ref="kubernetes", depends_on=()),),
    )
