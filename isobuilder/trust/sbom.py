"""The software bill of materials: CycloneDX 1.6, the same bytes for the same lock.

Source: CycloneDX specification 1.6 (JSON); package-url specification, types ``generic`` and
``oci``. Plain JSON of our own, so that the bytes depend on isobuilder's version and on no library;
the tests check it against the official schema.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from isobuilder.digest import Digest
from isobuilder.formats.reference import spelled_out
from isobuilder.model.base import canonical_json
from isobuilder.model.lock import Lock, LockedFile, LockedImage, LockedManifest
from isobuilder.model.payload import OsPayload, PayloadPackage

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:isobuilder:sbom")
_VERSION = re.compile(
    r"(?:^|[/_-])v?([0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.-]*[0-9A-Za-z])?)(?=/|$)"
)

_Json = dict[str, Any]


def sbom(
    lock: Lock,
    files: Mapping[str, tuple[Digest, int]],
    tool: str,
    *,
    payload: OsPayload | None = None,
) -> bytes:
    """Return the bill of materials of the ISO that ``lock`` describes.

    ``files`` gives digest and size of every file that goes on it so far, image archives included;
    ``tool`` is the version of isobuilder. An image is one component of type ``container``, every
    other file one of type ``file``, every package of the operating system one of type ``library``.
    """
    upstream: dict[str, LockedFile | LockedManifest] = {item.path: item for item in lock.files}
    upstream |= {item.path: item for item in lock.manifests}
    images = {image.archive: image for image in lock.images}
    components = []
    for path in sorted(files):
        digest, size = files[path]
        if path in images:
            components.append(_container(lock, images[path], digest, size))
        else:
            components.append(_file(lock, path, digest, size, upstream.get(path)))
    if payload is not None:
        components += [_package(package, payload) for package in payload.packages]
    return canonical_json(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, lock.digest)}",
            "version": 1,
            "metadata": _metadata(lock, tool),
            "components": components,
            "dependencies": [
                {"ref": _root(lock), "dependsOn": sorted(item["bom-ref"] for item in components)}
            ],
        }
    )


def _root(lock: Lock) -> str:
    return replace(lock.iso_name, boots=False).base


def _metadata(lock: Lock, tool: str) -> _Json:
    moment = datetime.fromtimestamp(lock.epoch, UTC)
    return {
        "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tools": {"components": [{"type": "application", "name": "isobuilder", "version": tool}]},
        "component": {
            "type": "application",
            "bom-ref": _root(lock),
            "name": f"kubernetes-{lock.profile}-{lock.architecture}",
            "version": lock.product_version,
            "purl": f"pkg:generic/kubernetes@{lock.kubernetes}",
            "properties": _properties(
                kubernetes=str(lock.kubernetes),
                profile=lock.profile,
                architecture=lock.architecture,
                lock=lock.digest,
            ),
        },
    }


def _file(
    lock: Lock, path: str, digest: Digest, size: int, source: LockedFile | LockedManifest | None
) -> _Json:
    component: _Json = {
        "type": "file",
        "bom-ref": f"file:{path}",
        "name": path,
        "hashes": [{"alg": "SHA-256", "content": digest.hex}],
    }
    facts = {"size": str(size)}
    if source is not None:
        version = _version(lock, source)
        made = source.rendered if isinstance(source, LockedManifest) else None
        if made is not None:
            facts["rendered"] = f"{made.program} {made.version}"
        if version is not None:
            component["version"] = version
            component["purl"] = _generic_purl(source, version)
        component["externalReferences"] = [
            {
                "type": "distribution",
                "url": source.url,
                "hashes": [{"alg": "SHA-256", "content": source.sha256.hex}],
            }
        ]
        if source.sha256 != digest:
            facts["rewritten"] = "image references pinned to locked digests"
    component["properties"] = _properties(**facts)
    return component


def _package(package: PayloadPackage, payload: OsPayload) -> _Json:
    distribution = payload.os.partition("-")[0]
    purl = (
        f"pkg:deb/{distribution}/{_quoted(package.name)}@{_quoted(package.version)}"
        f"?arch={package.architecture}&distro={payload.os}"
    )
    return {
        "type": "library",
        "bom-ref": f"package:{package.name}:{package.architecture}",
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": package.sha256.hex}],
        "properties": _properties(os=payload.os),
    }


def _version(lock: Lock, source: LockedFile | LockedManifest) -> str | None:
    """Return the version in the address: Kubernetes' own, else the release that is named last."""
    if (made := getattr(source, "rendered", None)) and made.chart:
        return str(made.chart.version)
    path = urlsplit(source.url).path
    if f"/v{lock.kubernetes}/" in path:
        return str(lock.kubernetes)
    found = _VERSION.findall(path)
    return str(found[-1]) if found else None


def _generic_purl(source: LockedFile | LockedManifest, version: str) -> str:
    if (made := getattr(source, "rendered", None)) and made.chart:
        name = made.chart.name or made.chart.repository.rpartition("/")[2]
        where = _quoted(made.chart.repository)
        return f"pkg:helm/{_quoted(name)}@{_quoted(version)}?repository_url={where}"
    return (
        f"pkg:generic/{_quoted(source.name)}@{_quoted(version)}"
        f"?checksum={_quoted(source.sha256)}&download_url={_quoted(source.url)}"
    )


def _container(lock: Lock, image: LockedImage, archive: Digest, size: int) -> _Json:
    reference = image.parsed
    name = reference.repository.rpartition("/")[2]
    purl = (
        f"pkg:oci/{_quoted(name)}@{_quoted(image.digest)}?arch={lock.architecture}"
        f"&repository_url={_quoted(reference.name)}"
    )
    if reference.tag is not None:
        purl += f"&tag={_quoted(reference.tag)}"
    facts = {"path": image.archive, "archive-sha256": archive.hex, "size": str(size)}
    if image.index is not None:
        facts["index"] = image.index
    component: _Json = {
        "type": "container",
        "bom-ref": f"image:{image.reference}",
        "name": reference.name,
        "version": reference.tag or image.digest,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": image.digest.hex}],
    }
    for part in lock.components.values():
        if (
            spelled_out(part.image) in {*image.references, image.pinned, *image.original}
            and part.source_repository is not None
        ):
            facts |= {"source-sha": part.source_sha} if part.source_sha is not None else {}
            component["externalReferences"] = [{"type": "vcs", "url": part.source_repository}]
    component["properties"] = _properties(**facts)
    return component


def _properties(**facts: str) -> list[_Json]:
    return [
        {"name": f"isobuilder:{name.replace('_', '-')}", "value": value}
        for name, value in sorted(facts.items())
    ]


def _quoted(text: str) -> str:
    return quote(text, safe=".-_~:/" if "://" in text else ".-_~")
