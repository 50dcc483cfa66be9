"""What was found in an image or a file -> parts of the bill, each package once for each owner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from isobuilder.formats.packages.package import Package
from isobuilder.trust.bill.merge import Root
from isobuilder.trust.bill.model import (
    BillPart,
    Licence,
    LicenceChoice,
    Occurrence,
    PartEvidence,
    Property,
)
from isobuilder.trust.bill.purl import purl_of

_PLACES = 100  # files that are told of one package


@dataclass(slots=True)
class _Group:
    package: Package
    places: set[str] = field(default_factory=set)
    licences: set[str] = field(default_factory=set)
    facts: set[tuple[str, str]] = field(default_factory=set)


def parts_inside(owner: str, root: Root) -> tuple[BillPart, ...]:
    """Return what is in the part ``owner``: the operating system, then packages by their URL."""
    system = root.system
    groups: dict[str, _Group] = {}
    for path, package in _packages(root):
        group = groups.setdefault(purl_of(package, system), _Group(package))
        group.places.add(path)
        group.licences.update(package.licences)
        group.facts.update(package.facts)
        if package.kind == "deb":
            group.licences.update(root.licences_of(package.name))
    parts = [_part(owner, purl, groups[purl]) for purl in sorted(groups)]
    return tuple(_system(owner, system)) + tuple(parts)


def _packages(root: Root) -> Iterator[tuple[str, Package]]:
    for path in sorted(root.found):
        for package in root.found[path].packages:
            yield path, package


def _system(owner: str, system: Mapping[str, str]) -> Iterator[BillPart]:
    if name := system.get("ID"):
        pretty = system.get("PRETTY_NAME", "")
        yield BillPart(
            type="operating-system",
            bom_ref=f"{owner}#os",
            name=name,
            version=system.get("VERSION_ID") or None,
            properties=properties([("pretty-name", pretty)] if pretty else []),
        )


def _part(owner: str, purl: str, group: _Group) -> BillPart:
    package = group.package
    epoch = dict(package.facts).get("epoch")
    facts = sorted(fact for fact in group.facts if fact[0] != "epoch")
    if len(group.places) > _PLACES:
        facts.append(("more-places", str(len(group.places) - _PLACES)))
    return BillPart(
        type="library",
        bom_ref=f"{owner}#{purl}",
        name=package.name,
        version=f"{epoch}:{package.version}" if epoch else package.version or None,
        purl=purl,
        licenses=licences(group.licences),
        evidence=PartEvidence(
            occurrences=tuple(Occurrence(location=path) for path in sorted(group.places)[:_PLACES])
        ),
        properties=properties(facts),
    )


def licences(names: set[str]) -> tuple[LicenceChoice, ...] | None:
    """Return licences as the bill has them; None for none."""
    return tuple(LicenceChoice(license=Licence(name=name)) for name in sorted(names)) or None


def properties(facts: list[tuple[str, str]]) -> tuple[Property, ...] | None:
    """Return facts as the bill has them; None for none."""
    named = sorted((f"isobuilder:{name}", value) for name, value in facts)
    return tuple(Property(name=name, value=value) for name, value in named) or None
