"""Clouds in a certain state, made without the API."""

from __future__ import annotations

from isobuilder.demo.mold import Cloud
from isobuilder.demo.mold.cloud import IsoRow, Version
from isobuilder.demo.mold.download import DownloadOutcome


def add_directly(cloud: Cloud, semver: str = "1.34.12", **values: object) -> Version:
    """Put a version into the cloud that is Ready in every zone."""
    defaults: dict[str, object] = {
        "name": f"v{semver}",
        "semver": semver,
        "arch": "x86_64",
        "url": "http://iso.example/x.iso",
        "checksum": "",
        "zone": None,
        "min_cpu": 2,
        "min_memory": 2048,
        "direct": False,
        "created": cloud.now_text(),
    }
    version = Version(**(defaults | values))  # type: ignore[arg-type]
    digits = version.checksum.split("}")[-1]
    for zone in [version.zone] if version.zone else cloud.zones:
        version.rows.append(IsoRow(zone, 0.0, None, outcome=DownloadOutcome(None, 40960, digits)))
    cloud.versions[version.id] = version
    return version
