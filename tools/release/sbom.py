"""The bill of materials of isobuilder itself: CycloneDX 1.6, the same bytes for the same lock."""

from __future__ import annotations

import uuid
from typing import Any

from isobuilder import __version__
from isobuilder.model.base import canonical_json
from tools.lock_dependencies import read_project, supported
from tools.make_venv import Locked
from tools.release.parts import licence_of, runtime

_ROOT = f"pkg:pypi/isobuilder@{__version__}"


def own_sbom() -> bytes:
    """Return it: a component for each library that some supported Python needs at run time."""
    project = read_project()
    found: dict[str, Locked] = {}
    for python in supported(project):
        found |= {_purl(item): item for item in runtime(python)}
    components = [_component(found[purl]) for purl in sorted(found)]
    return canonical_json(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, ' '.join(sorted(found)))}",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "bom-ref": _ROOT,
                    "name": "isobuilder",
                    "version": __version__,
                    "purl": _ROOT,
                    "licenses": [{"license": {"id": project["project"]["license"]}}],
                }
            },
            "components": components,
            "dependencies": [{"ref": _ROOT, "dependsOn": sorted(found)}],
        }
    )


def _purl(item: Locked) -> str:
    return f"pkg:pypi/{item.name.lower()}@{item.version}"


def _component(item: Locked) -> dict[str, Any]:
    """Return one library; its hashes are those of the files that the lock lets be installed."""
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(item),
        "name": item.name,
        "version": item.version,
        "purl": _purl(item),
        "hashes": [{"alg": "SHA-256", "content": digits} for digits in sorted(item.sha256)],
    }
    if licence := licence_of(item.name):
        made["licenses"] = [{"expression": licence}]
    if item.marker:
        made["properties"] = [{"name": "isobuilder:marker", "value": item.marker}]
    return made
