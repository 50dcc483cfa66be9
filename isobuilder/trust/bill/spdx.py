"""The bill as SPDX 2.3.

Source: SPDX specification 2.3 and its JSON schema. A licence that is one of SPDX's identifiers is
named by it; any other text is an extracted licence with just that text, for nobody guesses here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from isobuilder.model.base import canonical_json
from isobuilder.trust.bill.model import Bill, BillPart

_NONE = "NOASSERTION"
_PURPOSES = {
    "application": "APPLICATION",
    "container": "CONTAINER",
    "file": "FILE",
    "library": "LIBRARY",
    "operating-system": "OPERATING_SYSTEM",
}
# fmt: off
_IDENTIFIERS = frozenset({
    "0BSD", "AFL-2.1", "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-1.1", "Apache-2.0",
    "Artistic-2.0", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "BSD-4-Clause", "BSL-1.0",
    "CC-BY-3.0", "CC-BY-4.0", "CC0-1.0", "CDDL-1.0", "EPL-1.0", "EPL-2.0", "GPL-1.0-only",
    "GPL-1.0-or-later", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later",
    "HPND", "ISC", "LGPL-2.0-only", "LGPL-2.0-or-later", "LGPL-2.1-only", "LGPL-2.1-or-later",
    "LGPL-3.0-only", "LGPL-3.0-or-later", "MIT", "MIT-0", "MPL-1.1", "MPL-2.0", "NCSA", "OFL-1.1",
    "OpenSSL", "PSF-2.0", "Python-2.0", "Unlicense", "WTFPL", "X11", "Zlib", "bzip2-1.0.6", "curl",
    "libpng-2.0",
})
# fmt: on
_WORDS = re.compile(r"\(|\)|[^\s()]+")

_Json = dict[str, Any]


def as_spdx(bill: Bill) -> bytes:
    """Return ``bill`` as SPDX 2.3 in JSON: the same value, the same bytes."""
    main = bill.metadata.component
    extracted: dict[str, str] = {}
    packages = [_package(main, extracted)]
    relationships = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", _id(main))]
    for owner, part in bill.walk():
        packages.append(_package(part, extracted))
        relationships.append(_relation(_id(owner or main), "CONTAINS", _id(part)))
    document: _Json = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{main.name}-{main.version}",
        "documentNamespace": f"https://isobuilder.invalid/spdx/{bill.serial.rpartition(':')[2]}",
        "creationInfo": {
            "created": bill.metadata.timestamp,
            "creators": [
                f"Tool: {tool.name}-{tool.version}" for tool in bill.metadata.tools.components
            ],
        },
        "packages": packages,
        "relationships": relationships,
    }
    if gaps := [ref for group in bill.compositions or () for ref in group.assemblies]:
        document["comment"] = "Not everything could be read in: " + ", ".join(gaps)
    if extracted:
        document["hasExtractedLicensingInfos"] = [
            {"licenseId": name, "name": text, "extractedText": text}
            for name, text in sorted(extracted.items())
        ]
    return canonical_json(document)


def _package(part: BillPart, extracted: dict[str, str]) -> _Json:
    package: _Json = {
        "SPDXID": _id(part),
        "name": part.name,
        "downloadLocation": _NONE,
        "filesAnalyzed": False,
        "licenseConcluded": _NONE,
        "licenseDeclared": _licence(part.licence_names, extracted),
        "copyrightText": _NONE,
        "primaryPackagePurpose": _PURPOSES[part.type],
    }
    if part.version is not None:
        package["versionInfo"] = part.version
    if part.hashes:
        package["checksums"] = [
            {"algorithm": "SHA256", "checksumValue": one.content} for one in part.hashes
        ]
    for reference in part.references or ():
        if reference.type == "distribution" and reference.url.startswith("https://"):
            package["downloadLocation"] = reference.url
    if part.purl is not None:
        package["externalRefs"] = [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": part.purl,
            }
        ]
    if part.evidence is not None:
        places = (one.location for one in part.evidence.occurrences)
        package["sourceInfo"] = f"found in {', '.join(places)}"
    return package


def _relation(one: str, kind: str, other: str) -> _Json:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _id(part: BillPart) -> str:
    return f"SPDXRef-{part.type}-{_digits(part.bom_ref)}"


def _digits(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _licence(names: Iterable[str], extracted: dict[str, str]) -> str:
    """Return an expression of all of ``names``, which all hold."""
    terms = []
    for name in names:
        if _is_expression(name):
            terms.append(f"({name})" if " " in name else name)
            continue
        reference = f"LicenseRef-{_digits(name)}"
        extracted[reference] = name
        terms.append(reference)
    return " AND ".join(terms) or _NONE


def _is_expression(text: str) -> bool:
    """Whether ``text`` is identifiers that we know, joined as SPDX's annex D has it."""
    wants_name, depth = True, 0
    for word in _WORDS.findall(text):
        if word == "(" and wants_name:
            depth += 1
        elif word == ")" and not wants_name and depth:
            depth -= 1
        elif wants_name and word in _IDENTIFIERS:
            wants_name = False
        elif not wants_name and word in {"AND", "OR"}:
            wants_name = True
        else:
            return False
    return not wants_name and depth == 0
