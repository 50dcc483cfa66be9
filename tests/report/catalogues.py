"""Side files of ISOs that were never built, as many as one wants."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from isobuilder.pipeline.build import Built
from isobuilder.report.subject import MANIFEST, REGISTRATION


def describe(
    built: Built,
    folder: Path,
    version: str,
    *,
    revision: int = 1,
    architecture: str = "amd64",
    variant: str | None = None,
    **changes: Any,
) -> str:
    """Write manifest and registration of an ISO like ``built``, and return its name."""
    flavour = f"mold-cks.{variant}" if variant else "mold-cks"
    name = f"kubernetes-v{version}-{flavour}-{architecture}-r{revision}"
    product = f"{version}+{flavour}.r{revision}"
    digits = sha256(name.encode()).hexdigest()
    manifest = json.loads(built.iso.with_suffix(MANIFEST).read_bytes()) | {
        "kubernetes_version": version,
        "product_version": product,
        "architecture": architecture,
        "revision": revision,
        **({"variant": variant} if variant else {}),
        **changes,
    }
    manifest["images"] = [
        image | {"import_alias": f"{image['import_alias'].rpartition(':')[0]}:v{version}"}
        for image in manifest["images"]
    ]
    registration = json.loads(built.iso.with_suffix(REGISTRATION).read_bytes()) | {
        "name": name.removeprefix("kubernetes-"),
        "kubernetesversion": version,
        "arch": {"amd64": "x86_64", "arm64": "aarch64"}[architecture],
        "checksum": "{SHA-256}" + digits,
        "filename": f"{name}.iso",
        "product_version": product,
        "revision": revision,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}{MANIFEST}").write_text(json.dumps(manifest))
    (folder / f"{name}{REGISTRATION}").write_text(json.dumps(registration))
    return name


def describe_many(built: Built, folder: Path, number: int) -> list[str]:
    """Describe ``number`` ISOs of many versions, architectures and variants."""
    return [describe(built, folder, version, **kind) for version, kind in _kinds(number)]


def _kinds(number: int) -> Iterable[tuple[str, dict[str, Any]]]:
    made = 0
    for patch in range(1000):
        for minor in range(37, 27, -1):
            for architecture in ("amd64", "arm64"):
                for variant in (None, "gpu"):
                    if made == number:
                        return
                    made += 1
                    kind = {"architecture": architecture, "variant": variant}
                    yield f"1.{minor}.{patch}", kind | {"epoch": 1_750_000_000 + made * 3600}
