"""The other commands of the simulated API, and the table of all."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from isobuilder.demo.mold import isos, versions
from isobuilder.demo.mold.cloud import REGION_STORE, ApiError, Cloud, CloudUser, Setting
from isobuilder.text import whole_number

Params = dict[str, str]
Answer = Callable[[Cloud, CloudUser, Params], dict[str, Any]]
Items = Callable[[Cloud, CloudUser, Params], list[dict[str, Any]]]


def _capabilities(cloud: Cloud, _user: CloudUser, _params: Params) -> dict[str, Any]:
    only_mold = {
        "automationserviceenabled": False,
        "desktopserviceenabled": False,
        "disasterrecoveryenabled": False,
        "securityfeaturesenabled": False,
    }
    limits = {"apilimitmax": cloud.most_calls, "apilimitinterval": 1} if cloud.most_calls else {}
    return {
        "capability": {
            **(only_mold if cloud.is_mold else {}),
            **limits,
            "cloudstackversion": cloud.version,
            "simulator": True,
            # The setting, which counts from the next start on.
            "kubernetesserviceenabled": cloud.setting("cloud.kubernetes.service.enabled") == "true",
            "kubernetesclusterexperimentalfeaturesenabled": False,
            "defaultuipagesize": 20,
            "supportELB": "false",  # a text
            "dynamicrolesenabled": True,
        }
    }


def _zones(cloud: Cloud, _user: CloudUser, params: Params) -> list[dict[str, Any]]:
    return [
        {
            "id": zone.id,
            "name": zone.name,
            "allocationstate": "Enabled" if zone.enabled else "Disabled",
            "networktype": "Advanced",
            "type": zone.type,
            "localstorageenabled": False,
        }
        for zone in cloud.zones
        if params.get("id", zone.id) == zone.id and params.get("name", zone.name) == zone.name
    ]


def _configurations(cloud: Cloud, _user: CloudUser, params: Params) -> list[dict[str, Any]]:
    found = []
    for name, setting in sorted(cloud.settings.items()):
        if params.get("name", name) == name and params.get("keyword", "") in name:
            item: dict[str, Any] = {
                "name": name,
                "category": "Advanced",
                "defaultvalue": setting.default,
                "isdynamic": setting.dynamic,
                "description": "",
            }
            if setting.value is not None:
                item["value"] = setting.value
            found.append(item)
    return found


def _update_configuration(cloud: Cloud, user: CloudUser, params: Params) -> dict[str, Any]:
    name = params.get("name", "")
    if name not in cloud.settings:
        raise ApiError(431, f"Config parameter with name {name} doesn't exist", 4350)
    old = cloud.settings[name]
    value = params.get("value")
    if value and whole_number(old.default) is not None and whole_number(value) is None:
        raise ApiError(431, f"The value [{value}] is not a valid class java.lang.Integer")
    cloud.settings[name] = Setting(value or None, old.default, old.dynamic)
    cloud.note("CONFIGURATION.VALUE.EDIT", f"{name} = {value}", resource=name)
    return {"configuration": _configurations(cloud, user, {"name": name})[0]}


def _events(cloud: Cloud, _user: CloudUser, params: Params) -> list[dict[str, Any]]:
    """Return events, newest first; ``answer`` turns each page round, as the server does."""
    if params.get("resourceid") and not params.get("resourcetype"):
        text = "resourceid parameter must be used with resourcetype parameter"
        raise ApiError(431, text, 4350)
    fields = ("type", "level", "resourceid", "resourcetype")
    return [
        event
        for event in reversed(cloud.events)
        if all(params.get(field, event[field]) == event[field] for field in fields)
    ]


def _job(cloud: Cloud, _user: CloudUser, params: Params) -> dict[str, Any]:
    job = cloud.jobs.get(params.get("jobid", ""))
    if job is None:
        raise ApiError(
            431,
            f"Invalid parameter jobid value={params.get('jobid')} due to incorrect long value "
            "format, or entity does not exist",
            4350,
        )
    answer: dict[str, Any] = {
        "jobid": job.id,
        "account": "admin",
        "domainid": cloud.domain_id,
        "domainpath": "ROOT",
        "created": job.created,
        "cmd": job.command,
        "jobstatus": job.status,
        "jobprocstatus": 0,
        "jobresultcode": 0 if job.status != 2 else 530,
    }
    if job.result is not None:
        answer |= {"jobresulttype": "object", "jobresult": job.result}
    return answer


def _clusters(cloud: Cloud, _user: CloudUser, params: Params) -> list[dict[str, Any]]:
    """Return clusters; those of projects only where projects are asked for, and then no others."""
    found = []
    for cluster in cloud.clusters:
        if (params.get("projectid") == "-1") != cluster.in_project and not params.get("id"):
            continue
        version = cloud.versions.get(cluster.version_id)
        found.append(
            {
                "id": cluster.id,
                "name": cluster.name,
                "state": "Running",
                "clustertype": "CloudManaged",
                "zoneid": cluster.zone.id,
                "zonename": cluster.zone.name,
                "kubernetesversionid": cluster.version_id,
                "kubernetesversionname": version.name if version else "",
                "cpunumber": "4",  # text, as there
                "memory": "4096",
            }
        )
    return found


def _image_stores(cloud: Cloud, _user: CloudUser, params: Params) -> list[dict[str, Any]]:
    if cloud.region_store:
        return [{"id": REGION_STORE, "name": "s3", "protocol": "s3", "scope": "REGION"}]
    return [
        {"id": f"store-{zone.id}", "name": f"nfs-{zone.name}", "zoneid": zone.id,
         "zonename": zone.name, "protocol": "nfs", "scope": "ZONE"}
        for zone in cloud.zones
        if zone.has_store and params.get("zoneid", zone.id) == zone.id
    ]  # fmt: skip


def _system_vms(cloud: Cloud, _user: CloudUser, params: Params) -> list[dict[str, Any]]:
    return [
        {"id": f"vm-{zone.id}", "name": f"s-{number}-VM", "zoneid": zone.id, "zonename": zone.name,
         "systemvmtype": "secondarystoragevm", "state": "Running", "agentstate": "Up"}
        for number, zone in enumerate(cloud.zones, 1)
        if zone.storage_vm and zone.type == "Core"
        and params.get("systemvmtype") in {None, "secondarystoragevm"}
    ]  # fmt: skip


def _offerings(cloud: Cloud, _user: CloudUser, _params: Params) -> list[dict[str, Any]]:
    return [{"id": f"offering-{item['name']}", **item} for item in cloud.offerings]


def _network_offerings(cloud: Cloud, _user: CloudUser, params: Params) -> list[dict[str, Any]]:
    return [
        {"id": f"network-{name}", "name": name, "state": "Enabled"}
        for name in cloud.network_offerings
        if params.get("name", name) == name
    ]


def _templates(cloud: Cloud, _user: CloudUser, params: Params) -> list[dict[str, Any]]:
    return [
        {"id": f"template-{item['name']}", "forcks": True, "isready": True, **item}
        for item in cloud.node_templates
        if params.get("arch", item["arch"]) == item["arch"]
    ]


def _user_keys(_cloud: Cloud, user: CloudUser, _params: Params) -> list[dict[str, Any]]:
    pair: dict[str, Any] = {
        "id": user.key_id,
        "name": user.key_name,
        "username": user.name,
        "apikey": user.key,
        "secretkey": user.secret,
        "state": "ENABLED",
        "permissions": [{"rule": what, "permission": may} for what, may in user.key_rules],
    }
    for field, day in (("startdate", user.key_starts), ("enddate", user.key_ends)):
        if day is not None:
            pair[field] = day.strftime("%Y-%m-%dT%H:%M:%S%z")
    return [pair]


def _apis(cloud: Cloud, user: CloudUser, params: Params) -> list[dict[str, Any]]:
    name = params.get("name")
    if name is not None and (find(name) is None or not may_use(user, name)):
        raise ApiError(431, f"The given command '{name}' either does not exist", 4350)
    if not name:
        return []
    if name != "addKubernetesSupportedVersion" or not cloud.tells_parameters:
        return [{"name": name}]
    known = ["name", "semanticversion", "url", "checksum", "zoneid", "mincpunumber", "minmemory"]
    known += ["directdownload", *(["arch"] if cloud.knows_arches else [])]
    return [{"name": name, "params": [{"name": parameter} for parameter in known]}]


def _login(cloud: Cloud, _user: CloudUser, params: Params) -> dict[str, Any]:
    for user in cloud.users:
        if user.name == params.get("username") and user.password and user.enabled:
            if not secrets.compare_digest(
                user.password.encode(), params.get("password", "").encode()
            ):
                break
            key = secrets.token_hex(16)
            cloud.sessions[key] = user
            return {
                "sessionkey": key,
                "username": user.name,
                "account": user.name,
                "domainid": cloud.domain_id,
                "type": "1" if user.role == "admin" else "0",
                "timeout": 1800,
                "registered": "false",  # booleans are texts here, and here alone
                "is2faenabled": "true" if user.second_factor else "false",
            }
    raise ApiError(531, "Failed to authenticate user; please provide valid credentials", 4365)


def _logout(cloud: Cloud, _user: CloudUser, params: Params) -> dict[str, Any]:
    cloud.sessions.pop(params.get("sessionkey", ""), None)
    return {"description": "success"}


ANSWERS: dict[str, Answer] = {
    "listCapabilities": _capabilities,
    "queryAsyncJobResult": _job,
    "updateConfiguration": _update_configuration,
    "addKubernetesSupportedVersion": versions.add_version,
    "updateKubernetesSupportedVersion": versions.update_version,
    "deleteKubernetesSupportedVersion": versions.delete_version,
    "getUploadParamsForKubernetesSupportedVersion": versions.upload_params,
    "login": _login,
    "logout": _logout,
}
LISTS: dict[str, tuple[str, Items]] = {
    "listZones": ("zone", _zones),
    "listConfigurations": ("configuration", _configurations),
    "listEvents": ("event", _events),
    "listIsos": ("iso", isos.list_isos),
    "listTemplates": ("template", _templates),
    "listServiceOfferings": ("serviceoffering", _offerings),
    "listNetworkOfferings": ("networkoffering", _network_offerings),
    "listImageStores": ("imagestore", _image_stores),
    "listSystemVms": ("systemvm", _system_vms),
    "listApis": ("api", _apis),
    "listUserKeys": ("userkeys", _user_keys),
    "listKubernetesClusters": ("kubernetescluster", _clusters),
    "listKubernetesSupportedVersions": ("kubernetessupportedversion", versions.list_versions),
}
_FOR_ALL = {
    "listCapabilities", "listZones", "listIsos", "listApis", "listUserKeys", "listTemplates",
    "listEvents", "listServiceOfferings", "listNetworkOfferings", "listKubernetesClusters",
    "listKubernetesSupportedVersions", "queryAsyncJobResult", "login", "logout",
}  # fmt: skip


def find(command: str) -> str | None:
    """Return the command if there is one of exactly that name."""
    return command if command in ANSWERS or command in LISTS else None


def changes_state(command: str) -> bool:
    """Tell whether a command writes."""
    return not command.startswith(("list", "query", "log"))


def may_use(user: CloudUser, command: str) -> bool:
    """Tell whether the user's role has the command, and the rules of the key pair allow it."""
    for rule, permission in user.key_rules:
        if fnmatchcase(command, rule):
            return permission == "allow"
    return not user.key_rules and (user.role == "admin" or find(command) in _FOR_ALL)


def answer(cloud: Cloud, user: CloudUser, command: str, params: Params) -> dict[str, Any]:
    """Run a command; lists are paged, and an empty one is an empty object."""
    if command in ANSWERS:
        return ANSWERS[command](cloud, user, params)
    key, items = LISTS[command]
    found = items(cloud, user, params)
    total = len(found)
    limit = int(cloud.setting("default.page.size"))
    if command == "listApis":
        pass  # it knows no pages
    elif "page" in params and "pagesize" in params:
        size, page = versions.number(params, "pagesize", 1), versions.number(params, "page", 1)
        if size is None:
            raise ApiError(431, "Page size begins with 1", 4350)
        page = page or 1  # the server takes 0 for the first as well
        if size > limit:
            raise ApiError(431, f"Page size can't exceed max allowed page size value: {limit}")
        begin = (page - 1) * size
        found = found[begin : begin + size]
    else:
        found = found[:limit]
    if command == "listEvents":
        found = found[::-1]
    if not found:
        return {"count": total} if total else {}
    return {"count": total, key: found}
