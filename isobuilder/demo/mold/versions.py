"""The commands about supported Kubernetes versions and their ISOs, as contract D.2 to D.10 says."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
import uuid
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests

from isobuilder.demo.mold.cloud import ApiError, Cloud, CloudUser, IsoRow, Job, Version, Zone
from isobuilder.demo.mold.download import Fetch
from isobuilder.rules.support import version_order

Params = dict[str, str]
_LONGEST_NAME = 255
_REGISTRATION = "Unable to register binaries ISO for supported kubernetes version"


def _refuse(cloud: Cloud, text: str) -> ApiError:
    """Return a parameter error: 530 where the command rethrows it, 431 where it does not."""
    return ApiError(cloud.parameter_error, text)


def _malformed(text: str) -> ApiError:
    """Return what is refused before the command begins."""
    return ApiError(431, text)


def number(params: Params, name: str, least: int) -> int | None:
    """Return a parameter as a number, None below ``least``."""
    text = params.get(name, "")
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ApiError(431, f"Unable to parse int value for parameter {name}", 4350)
    return int(text) if int(text) >= least else None


def no_such_entity(name: str, key: str) -> ApiError:
    """Return how an id that nothing has is refused."""
    begin = (
        f"Unable to execute API command due to invalid value. Invalid parameter {name} value={key}"
    )
    return _malformed(f"{begin} due to incorrect long value format, or entity does not exist")


def _required(params: Params, *names: str) -> None:
    for name in names:
        if not params.get(name):
            raise ApiError(
                431,
                f"Unable to execute API command due to missing parameter {name}",
                4350,
            )


def _check_name(params: Params) -> None:
    if len(params.get("name", "")) > _LONGEST_NAME:
        text = f"Value greater than max allowed length {_LONGEST_NAME} for param: name"
        raise _malformed(text)


def _check_version(cloud: Cloud, text: str) -> None:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", text):
        raise _malformed("Invalid version format. Semantic version needed")
    parts = text.split(".")
    if len(parts) < 3:
        raise _malformed(
            f"Invalid version format, {text}. Semantic version should be specified in "
            "MAJOR.MINOR.PATCH format"
        )
    if tuple(int(part) for part in parts) < (1, 11, 0):
        raise _refuse(
            cloud,
            "New supported Kubernetes version cannot be added as 1.11.0 is minimum version "
            "supported by Kubernetes Service",
        )


def _check_resources(cloud: Cloud, params: Params) -> tuple[int, int]:
    cpu = number(params, "mincpunumber", 2)
    if cpu is None:
        raise _refuse(cloud, "Invalid value for mincpunumber parameter. Minimum 2 vCPUs required.")
    memory = number(params, "minmemory", 2048)
    if memory is None:
        raise _refuse(
            cloud, "Invalid value for minmemory parameter. Minimum 2048MB memory required"
        )
    return cpu, memory


def _zone(cloud: Cloud, params: Params, *, direct: bool) -> Zone | None:
    if not params.get("zoneid"):
        return None
    zone = cloud.zone(params["zoneid"])
    if zone is None or zone.id != params["zoneid"]:
        raise no_such_entity("zoneid", params["zoneid"])
    if zone.type == "Edge" and not direct:
        raise _refuse(cloud, f"Zone: {zone.name} supports only direct download Kubernetes versions")
    return zone


def _check_stores(cloud: Cloud, zone: Zone | None) -> None:
    if cloud.region_store:
        return
    begin = "Unable to register Kubernetes version ISO."
    if zone is not None and not zone.has_store:
        raise _refuse(cloud, f"{begin} No image store available in zone: {zone.name}")
    without = [z.name for z in cloud.zones if not z.has_store]  # edge and disabled zones as well
    if zone is None and without:
        names = ", ".join(without)
        raise _refuse(cloud, f"{begin} The following zones have no image store: {names}")


def _address(cloud: Cloud, host: str) -> str | None:
    if host in cloud.resolve:
        return cloud.resolve[host].address
    try:
        return socket.gethostbyname(host)
    except OSError:
        return None


def _connectable(cloud: Cloud, url: str) -> str | None:
    """Return the URL the storage VM opens; None when its rules keep it from the address."""
    host = urlsplit(url).hostname or ""
    found = cloud.resolve.get(host)
    address = ipaddress.ip_address(_address(cloud, host) or "0.0.0.0")  # noqa: S104 - unresolved
    sites = cloud.setting("secstorage.allowed.internal.sites").split(",")
    allowed = any(
        address in ipaddress.ip_network(site.strip(), strict=False)
        for site in sites
        if site.strip()
    )
    if address.is_private and not address.is_loopback and not allowed:
        return None
    if found is None or found.base is None:
        return url
    parts = urlsplit(url)
    return found.base + parts.path + (f"?{parts.query}" if parts.query else "")


def _iso_can_be_registered(cloud: Cloud, url: str) -> bool:
    """Look at the URL as ISO registration does; the reason stays in the server's log."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not parts.path.lower().endswith(".iso"):
        return False
    address = None if ":" in host else _address(cloud, host)
    if address is None:
        return False
    found = ipaddress.ip_address(address)
    if found.is_loopback and not cloud.refuses_loopback:
        return _reachable(url)
    if found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified:
        return False
    upstream = cloud.resolve.get(host)
    return _reachable(
        url if upstream is None or upstream.base is None else upstream.base + parts.path
    )


def _reachable(url: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False  # no login of ours is for whoever names an address
            session.head(url, timeout=(2, 5), allow_redirects=False).close()
    except requests.exceptions.RequestException:
        return False
    return True


def add_version(cloud: Cloud, _user: CloudUser, params: Params) -> dict[str, Any]:
    """Register a version by URL; the download runs on after the answer."""
    _required(params, "semanticversion", "mincpunumber", "minmemory")
    _check_name(params)
    direct = params.get("directdownload", "false") == "true"
    semver = params["semanticversion"]
    _check_version(cloud, semver)
    zone = _zone(cloud, params, direct=direct)
    cpu, memory = _check_resources(cloud, params)
    url, checksum = params.get("url", ""), params.get("checksum", "")
    if urlsplit(url).scheme == "file":  # read before anything else is looked at
        connection = "class sun.net.www.protocol.file.FileURLConnection cannot be cast to class"
        raise ApiError(530, f"{connection} java.net.HttpURLConnection")
    if not urlsplit(url).scheme:
        raise _refuse(cloud, f"Invalid URL for ISO specified, {url}")
    arch = params.get("arch", "") if cloud.knows_arches else ""
    arch = arch or "x86_64"
    if arch not in cloud.arches:
        raise _malformed(f"Unsupported arch type: {arch}")
    if not direct:
        _check_stores(cloud, zone)
    name = params.get("name") or f"v{semver}" + (f"-{zone.name}" if zone else "")
    if not _iso_can_be_registered(cloud, url):
        raise _refuse(cloud, f"{_REGISTRATION}, {name}, with url: {url}")
    version = Version(
        name, semver, arch, url, checksum, zone, cpu, memory, direct, cloud.now_text()
    )
    places = [zone] if zone else [z for z in cloud.zones if direct or z.type == "Core"]
    for place in places[:1] if cloud.region_store and not direct else places:
        limit = int(float(cloud.setting("max.template.iso.size")) * 1024**3)
        fetch = Fetch(url, checksum, limit=limit, connect=lambda text: _connectable(cloud, text))
        version.rows.append(
            IsoRow(place, cloud.clock.monotonic(), None if direct else fetch, direct=direct)
        )
    cloud.versions[version.id] = version
    cloud.note("KUBERNETES.VERSION.ADD", f"Adding Kubernetes version {name}", resource=version.id)
    cloud.note("ISO.CREATE", f"{name}-Kubernetes-Binaries-ISO", resource=version.iso_id)
    return {"kubernetessupportedversion": _version_answer(cloud, version)}


def _version_answer(cloud: Cloud, version: Version) -> dict[str, Any]:
    """Return a version as the API shows it; ``isostate`` is that of one arbitrary zone."""
    numbers = version_order(version.semver)
    answer: dict[str, Any] = {
        "id": version.id,
        "name": version.name,
        "semanticversion": version.semver,
        "isoid": version.iso_id,
        "isoname": f"{version.name}-Kubernetes-Binaries-ISO",
        "isostate": cloud.state_of(version.rows[-1])[0] if version.rows else "Allocated",
        "arch": version.arch,
        "directdownload": version.direct,
        "supportsha": numbers >= (1, 16, 0),
        "supportsautoscaling": numbers >= (1, 15, 0),
        "state": version.state,
        "mincpunumber": version.min_cpu,
        "minmemory": version.min_memory,
        "created": version.created,
    }
    if cloud.reports_url:
        answer["isourl"] = version.url
    if not cloud.knows_arches:
        del answer["arch"]
    if not version.has_iso:
        for field in ("isoid", "isoname", "isostate", "isourl", "arch", "directdownload"):
            answer.pop(field, None)
    if version.zone is not None:
        answer |= {"zoneid": version.zone.id, "zonename": version.zone.name}
    return answer


def list_versions(cloud: Cloud, user: CloudUser, params: Params) -> list[dict[str, Any]]:
    """Return versions; with a zone also those of all zones."""
    if params.get("minimumsemanticversion") and params.get("minimumkubernetesversionid"):
        raise _refuse(
            cloud,
            "Both parameters minimumsemanticversion and minimumkubernetesversionid can not be "
            "passed together",
        )
    if params.get("id") and params["id"] not in cloud.versions:
        raise no_such_entity("id", params["id"])
    found = []
    for version in cloud.versions.values():
        zone_id = version.zone.id if version.zone else None
        if params.get("id") and version.id != params["id"]:
            continue
        if params.get("zoneid") and zone_id not in {None, params["zoneid"]}:
            continue
        if params.get("arch") and version.arch != params["arch"]:
            continue
        if params.get("keyword") and params["keyword"].lower() not in version.name.lower():
            continue
        if user.role != "admin" and version.state != "Enabled":
            continue
        found.append(_version_answer(cloud, version))
    return found


def update_version(cloud: Cloud, _user: CloudUser, params: Params) -> dict[str, Any]:
    """Enable or disable a version; nothing else can be changed."""
    _required(params, "id", "state")
    version = _known(cloud, params["id"])
    if params["state"] not in {"Enabled", "Disabled"}:
        raise _refuse(cloud, "Invalid value for state parameter")
    version.state = params["state"]
    cloud.note(
        "KUBERNETES.VERSION.UPDATE", f"{version.name} is {version.state}", resource=version.id
    )
    return {"kubernetessupportedversion": _version_answer(cloud, version)}


def _known(cloud: Cloud, version_id: str) -> Version:
    version = cloud.versions.get(version_id)
    if version is None:
        raise no_such_entity("id", version_id)
    return version


_UPLOAD_PENDING = (
    "The ISO is either getting uploaded or it may be initiated shortly, please wait for it to be "
    "completed"
)
_DOWNLOADING = "Please specify a template that is not currently being downloaded."


def _downloading(row: IsoRow) -> bool:
    return row.outcome is None and row.fetch is not None


def delete_version(cloud: Cloud, _user: CloudUser, params: Params) -> dict[str, Any]:
    """Delete a version and its ISO, by a job."""
    _required(params, "id")
    version = _known(cloud, params["id"])

    def work() -> dict[str, Any]:
        if version.id not in cloud.versions:
            raise _refuse(cloud, "Invalid Kubernetes version id specified")
        if any(row.upload_until is not None for row in version.rows):
            raise ApiError(530, _UPLOAD_PENDING)
        if any(_downloading(row) for row in version.rows):
            raise ApiError(530, _DOWNLOADING)
        if cloud.uses(version.id):
            raise ApiError(
                530,
                f"Unable to delete Kubernetes version ID: {version.id}. Existing clusters or "
                "unfinished upgrades reference the artifact.",
                4250,
            )
        del cloud.versions[version.id]
        if cloud.leaves_isos:
            cloud.orphans[version.iso_id] = version
        _note_deletion(cloud, version, "Completed")
        return {"success": True}

    for state in ("Scheduled", "Started"):
        _note_deletion(cloud, version, state)

    job = Job(
        str(uuid.uuid4()),
        "deleteKubernetesSupportedVersion",
        cloud.clock.monotonic() + cloud.pace.job,
        work,
        created=cloud.now_text(),
    )
    cloud.jobs[job.id] = job
    return {"jobid": job.id}


def _note_deletion(cloud: Cloud, version: Version, state: str) -> None:
    kind, text = "KUBERNETES.VERSION.DELETE", f"Deleting Kubernetes version {version.name}"
    cloud.note(kind, text, resource=version.id, state=state)
    cloud.note("ISO.DELETE", f"{version.name}: deleting ISO", resource=version.iso_id, state=state)


def upload_params(cloud: Cloud, _user: CloudUser, params: Params) -> dict[str, Any]:
    """Make a version that waits for its ISO by upload."""
    _required(params, "name", "semanticversion", "mincpunumber", "minmemory", "format", "zoneid")
    _check_name(params)
    _check_version(cloud, params["semanticversion"])
    zone = _zone(cloud, params, direct=False)
    cpu, memory = _check_resources(cloud, params)
    _check_stores(cloud, zone)
    checksum = params.get("checksum", "")
    minutes = float(cloud.setting("upload.operation.timeout"))
    version = Version(
        params["name"],
        params["semanticversion"],
        "x86_64",
        "",
        checksum,
        zone,
        cpu,
        memory,
        direct=False,
        created=cloud.now_text(),
    )
    now = cloud.clock.monotonic()
    for place in [zone] if zone else []:
        version.rows.append(IsoRow(place, now, None, upload_until=now + minutes * 60))
    cloud.versions[version.id] = version
    expires = cloud.clock.now() + timedelta(minutes=minutes)
    return {
        "getuploadparams": {
            "id": version.iso_id,
            "postURL": f"{cloud.base_url}/upload/{version.iso_id}",
            "metadata": secrets.token_hex(16),
            "expires": expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "signature": secrets.token_hex(20),
        }
    }
