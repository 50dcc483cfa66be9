"""The command that lists ISOs, one item per zone, as contract D.10 says."""

from __future__ import annotations

from typing import Any

from isobuilder.demo.mold.cloud import REGION_STORE, ApiError, Cloud, CloudUser, Version
from isobuilder.demo.mold.versions import Params, no_such_entity


def list_isos(cloud: Cloud, user: CloudUser, params: Params) -> list[dict[str, Any]]:
    """Return one item per zone of every ISO."""
    if params.get("isofilter") == "all" and user.role != "admin":
        raise ApiError(431, "Filter all can be specified by admin only", 4350)
    versions = [version for version in cloud.versions.values() if version.has_iso]
    versions += cloud.orphans.values()
    if params.get("id") and params["id"] not in {version.iso_id for version in versions}:
        raise no_such_entity("id", params["id"])
    found = []
    for version in versions:
        if params.get("id") and version.iso_id != params["id"]:
            continue
        if version.in_project and not params.get("id"):
            continue
        # On a store of the whole region there is one copy, of no zone.
        region = cloud.region_store and not version.direct
        for row in version.rows[:1] if region else version.rows:
            if params.get("zoneid") and not region and row.zone.id != params["zoneid"]:
                continue
            _state, status, ready = cloud.state_of(row)
            if params.get("isready") and (params["isready"] == "true") != ready:
                continue
            item: dict[str, Any] = {
                "id": version.iso_id,
                "name": f"{version.name}-Kubernetes-Binaries-ISO",
                "displaytext": f"{version.name} Kubernetes Binaries ISO",
                **({} if region else {"zoneid": row.zone.id, "zonename": row.zone.name}),
                "status": status,
                "isready": ready,
                "arch": version.arch,
                "bits": 0,
                "bootable": False,
                "account": "system",
                "domain": "ROOT",
                "domainid": cloud.domain_id,
                "domainpath": "ROOT",
                "ostypeid": cloud.domain_id,
                "ostypename": "None",
                "hasannotations": False,
                "tags": [],
                "ispublic": True,
                "directdownload": version.direct,
                "created": version.created,
            }
            if user.role == "admin" and cloud.reports_details:
                item["downloaddetails"] = _details(cloud, version)
            digits = row.outcome.hexdigest if row.outcome and row.outcome.error is None else ""
            digits = digits or (version.checksum.split("}")[-1] if version.checksum else "")
            if cloud.reports_checksum and digits:
                item["checksum"] = digits
            if row.outcome is not None and row.outcome.size:
                item["size"] = row.outcome.size
            found.append(item)
    return found


def _details(cloud: Cloud, version: Version) -> list[dict[str, str]]:
    """Return the states of all copies, of whatever zone."""
    states = {row.zone.id: cloud.download_state(row) for row in version.rows}
    stores = {zone.id: f"store-{zone.id}" for zone in cloud.zones if zone.has_store}
    if cloud.region_store and version.rows:
        stores = {version.rows[0].zone.id: REGION_STORE}
    return [
        {"datastore": store, "datastoreId": store, "datastoreRole": "Image",
         "downloadPercent": "100" if states[zone_id] == "DOWNLOADED" else "0",
         "downloadState": states[zone_id]}
        for zone_id, store in stores.items()
        if zone_id in states
    ]  # fmt: skip
