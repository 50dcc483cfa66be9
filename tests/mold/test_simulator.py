"""The simulator answers as the API's contract says; rows a client can see, one by one."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import requests

from isobuilder.demo.mold import CloudCluster, Zone
from isobuilder.demo.mold.download import split_checksum
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import Login, MoldServer
from isobuilder.mold.api.errors import AccessRefused, MoldRefused, remedy_for
from isobuilder.mold.api.signing import sign
from tests.fakes.mold import FakeMold
from tests.mold.clocks import VirtualClock
from tests.mold.conftest import ADMIN, VIEWER, ClientOf, Published
from tests.mold.messes import add_directly

ADD = "addKubernetesSupportedVersion"


def add(client: Mold, published: Published, **changes: Any) -> dict[str, Any]:
    params: dict[str, Any] = {
        "semanticversion": "1.34.12",
        "mincpunumber": 2,
        "minmemory": 2048,
        "url": published.url,
        "checksum": published.registration.checksum,
    } | changes
    version: dict[str, Any] = client.call(ADD, **params)["kubernetessupportedversion"]
    return version


# ---- adding ------------------------------------------------------------------------------------


def test_a_new_version_is_enabled_before_it_is_there(client: Mold, published: Published) -> None:
    version = add(client, published)
    assert (version["name"], version["state"]) == ("v1.34.12", "Enabled")
    assert version["isoname"] == "v1.34.12-Kubernetes-Binaries-ISO"
    assert version["isostate"] == "Creating"
    assert version["arch"] == "x86_64"
    assert version["supportsha"]
    assert version["supportsautoscaling"]
    assert "zoneid" not in version
    in_zone = add(client, published, zoneid=client.zones()[0].id)
    assert in_zone["name"] == "v1.34.12-Zone1"
    assert in_zone["zonename"] == "Zone1"


def test_the_same_may_be_added_any_number_of_times(
    simulator: FakeMold, client: Mold, published: Published
) -> None:
    for _ in range(3):
        add(client, published)
    assert len(simulator.cloud.versions) == 3


@pytest.mark.parametrize("code", [431, 530])
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"semanticversion": "v1.34.12"}, "Invalid version format. Semantic version needed"),
        ({"semanticversion": "1.34.12-rc.1"}, "Invalid version format. Semantic version needed"),
        ({"semanticversion": "1.34"}, "Invalid version format, 1.34. Semantic version should be"),
        ({"semanticversion": "1.10.99"}, "1.11.0 is minimum version supported"),
        ({"zoneid": "nowhere"}, "Invalid parameter zoneid value=nowhere"),
        ({"mincpunumber": 1}, "Minimum 2 vCPUs required."),
        ({"minmemory": 2047}, "Minimum 2048MB memory required"),
        ({"url": ""}, "Invalid URL for ISO specified, "),
        ({"arch": "riscv64"}, "Unsupported arch type: riscv64"),
        ({"url": "ftp://host/x.iso"}, "Unable to register binaries ISO"),
        ({"url": "http://[::1]/x.iso"}, "Unable to register binaries ISO"),
        ({"url": "http://127.0.0.1/x.img"}, "Unable to register binaries ISO"),
    ],
)
def test_what_adding_refuses_has_its_text_and_our_remedy(
    simulator: FakeMold,
    client: Mold,
    published: Published,
    changes: dict[str, Any],
    text: str,
    code: int,
) -> None:
    simulator.cloud.parameter_error = code
    with pytest.raises(MoldRefused) as caught:
        add(client, published, **changes)
    malformed = {"semanticversion", "zoneid", "arch"} & set(changes) and "1.11.0" not in text
    assert caught.value.code == (431 if malformed else code)
    assert text in caught.value.text
    assert caught.value.hint
    assert not simulator.cloud.versions


def test_an_edge_zone_takes_only_direct_download(
    simulator: FakeMold, client: Mold, published: Published
) -> None:
    edge = Zone("Edge1", type="Edge")
    simulator.cloud.zones.append(edge)
    with pytest.raises(MoldRefused, match="Edge1 supports only direct download") as caught:
        add(client, published, zoneid=edge.id)
    assert "--direct-download" in str(caught.value.hint)
    assert add(client, published, zoneid=edge.id, directdownload=True)["isostate"] == "Ready"


@pytest.mark.parametrize(
    "text",
    [
        "Kubernetes Service plugin is disabled",
        "Unable to register Kubernetes version ISO. No image store available in zone: Z",
        "Unable to register Kubernetes version ISO. The following zones have no image store: A, B",
        "Invalid Kubernetes version id specified",
        "Shutdown has been initiated on this management server. Can not accept new jobs",
        "Unable to delete Kubernetes version ID: 7. Existing clusters currently using the version.",
        "Unable to delete Kubernetes version ID: 7. Existing clusters or unfinished upgrades "
        "reference the artifact.",
        "Another Kubernetes artifact reference operation is in progress; retry later",
        "Kubernetes binaries ISO deletion did not complete; supported version is preserved for "
        "retry",
        "Invalid parameter id value=7 due to incorrect long value format, or entity does not exist",
        "Failed to download http://x due to redirection, response code: 301",
        "HTTP Server returned 403 (expected 200 OK)",
        "Connection refused",
        "Read timed out",
        "Failed to receive length of download",
        "Download file size is too large",
        'checksum "{SHA-256}a" didn\'t match the given value, "{SHA-256}b"',
        "checksum algorithm not recognised: SHA256",
        "Template content is unsupported, or mismatch between selected format and template content",
        "Unable to start download -- check url?",
        "State changing command x needs to be sent using POST request",
    ],
)
def test_every_text_of_the_contract_has_a_remedy(text: str) -> None:
    assert remedy_for(text)


# ---- listing, changing, deleting --------------------------------------------------------------


def test_a_zone_lists_its_own_and_those_of_all_zones(simulator: FakeMold, client: Mold) -> None:
    cloud = simulator.cloud
    for name, zone in (("all", None), ("one", cloud.zones[0]), ("two", cloud.zones[1])):
        add_directly(cloud, name=name, zone=zone)
    answer = client.call("listKubernetesSupportedVersions", zoneid=cloud.zones[0].id)
    assert [item["name"] for item in answer["kubernetessupportedversion"]] == ["all", "one"]


def test_two_ways_to_give_the_minimum_exclude_each_other(client: Mold) -> None:
    with pytest.raises(MoldRefused, match="can not be passed together"):
        client.call(
            "listKubernetesSupportedVersions",
            minimumsemanticversion="1.30.0",
            minimumkubernetesversionid="7",
        )


def test_the_state_of_one_zone_stands_for_all_in_the_list(
    simulator: FakeMold, client: Mold, published: Published, clock: VirtualClock
) -> None:
    simulator.cloud.zones[0].stuck = True
    version = add(client, published)
    clock.sleep(100)
    listed = client.call("listKubernetesSupportedVersions", id=version["id"])
    assert listed["kubernetessupportedversion"][0]["isostate"] == "Ready"
    isos = client.call("listIsos", id=version["isoid"], isofilter="all")["iso"]
    assert [iso["isready"] for iso in isos] == [False, True]


def test_a_viewer_sees_what_is_enabled_and_not_all_isos(
    simulator: FakeMold, client_of: ClientOf
) -> None:
    add_directly(simulator.cloud, name="off", state="Disabled")
    viewer = client_of(simulator, VIEWER)
    assert viewer.call("listKubernetesSupportedVersions") == {}
    with pytest.raises(MoldRefused, match="by admin only"):
        viewer.call("listIsos", isofilter="all")


@pytest.mark.parametrize(
    "command", ["updateKubernetesSupportedVersion", "deleteKubernetesSupportedVersion"]
)
def test_an_unknown_version_is_refused(client: Mold, command: str) -> None:
    with pytest.raises(MoldRefused, match="Invalid parameter id value=7 due to incorrect"):
        client.call(command, id="7", state="Enabled")


def test_deleting_is_a_job_whose_failure_carries_the_text(
    simulator: FakeMold, client: Mold, clock: VirtualClock
) -> None:
    version = add_directly(simulator.cloud)
    simulator.cloud.clusters.append(CloudCluster("prod", version.id, simulator.cloud.zones[0]))
    job = client.call("deleteKubernetesSupportedVersion", id=version.id)["jobid"]
    assert client.call("queryAsyncJobResult", jobid=job)["jobstatus"] == 0
    clock.sleep(10)
    answer = client.call("queryAsyncJobResult", jobid=job)
    assert answer["jobstatus"] == 2
    assert "Existing clusters" in answer["jobresult"]["errortext"]
    simulator.cloud.clusters.clear()
    job = client.call("deleteKubernetesSupportedVersion", id=version.id)["jobid"]
    clock.sleep(10)
    assert client.call("queryAsyncJobResult", jobid=job)["jobresult"] == {"success": True}


# ---- states over time ---------------------------------------------------------------------------


def states(client: Mold, version: dict[str, Any], clock: VirtualClock) -> list[str]:
    seen: list[str] = []
    for _ in range(30):
        listed = client.call("listKubernetesSupportedVersions", id=version["id"])
        state = listed["kubernetessupportedversion"][0]["isostate"]
        iso = client.call("listIsos", id=version["isoid"], isofilter="all")["iso"][0]
        kind = iso["status"].split("% ")[-1]
        text = f"{state} / {kind} / {iso['isready']}"
        if text not in seen:
            seen.append(text)
        clock.sleep(0.5)
    return seen


def test_a_download_passes_through_the_states_of_the_contract(
    client: Mold, published: Published, clock: VirtualClock
) -> None:
    assert states(client, add(client, published), clock) == [
        "Creating / Processing / False",
        "Creating / Downloaded / False",
        "Creating / Installing ISO / False",
        "Ready / Successfully Installed / True",
    ]


def test_a_direct_download_is_ready_at_once(
    client: Mold, published: Published, clock: VirtualClock
) -> None:
    version = add(client, published, directdownload=True)
    assert states(client, version, clock) == ["Ready / Bypassed Secondary Storage / True"]


def test_without_a_checksum_sha_512_is_kept(
    client: Mold, published: Published, clock: VirtualClock
) -> None:
    version = add(client, published, checksum=None)
    clock.sleep(100)
    iso = client.call("listIsos", id=version["isoid"], isofilter="all")["iso"][0]
    assert len(iso["checksum"]) == 128
    assert iso["size"] == published.registration.size


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [("0" * 32, "MD5"), ("{SHA-1}" + "0" * 40, "SHA-1"), ("{SHA-512}" + "0" * 128, "SHA-512")],
)
def test_checksums_are_read_as_mold_reads_them(text: str, algorithm: str) -> None:
    assert split_checksum(text)[0] == algorithm


def test_upper_case_digits_do_not_match(
    client: Mold, published: Published, clock: VirtualClock
) -> None:
    digits = published.registration.checksum.removeprefix("{SHA-256}")
    version = add(client, published, checksum="{SHA-256}" + digits.upper())
    clock.sleep(100)
    iso = client.call("listIsos", id=version["isoid"], isofilter="all")["iso"][0]
    assert "didn't match" in iso["status"]


# ---- events -------------------------------------------------------------------------------------


def test_events_tell_of_versions_and_downloads(
    simulator: FakeMold, client: Mold, published: Published, clock: VirtualClock
) -> None:
    version = add(client, published)
    clock.sleep(100)
    client.call("updateKubernetesSupportedVersion", id=version["id"], state="Disabled")
    client.call_job("deleteKubernetesSupportedVersion", id=version["id"])
    types = {event["type"] for event in client.list_all("listEvents", "event")}
    assert types == {
        "KUBERNETES.VERSION.ADD",
        "KUBERNETES.VERSION.UPDATE",
        "KUBERNETES.VERSION.DELETE",
        "ISO.CREATE",
        "ISO.DELETE",
    }


def test_an_upload_writes_no_add_event_and_fails_when_abandoned(
    simulator: FakeMold, client: Mold, published: Published, clock: VirtualClock
) -> None:
    params = client.call(
        "getUploadParamsForKubernetesSupportedVersion",
        name="up",
        semanticversion="1.34.12",
        mincpunumber=2,
        minmemory=2048,
        format="ISO",
        zoneid=simulator.cloud.zones[0].id,
    )["getuploadparams"]
    assert set(params) == {"id", "postURL", "metadata", "expires", "signature"}
    assert client.list_all("listEvents", "event") == []
    clock.sleep(3599)
    assert client.call("listKubernetesSupportedVersions")["kubernetessupportedversion"][0][
        "isostate"
    ] == "NotUploaded"  # fmt: skip
    clock.sleep(2)
    assert client.call("listKubernetesSupportedVersions")["kubernetessupportedversion"][0][
        "isostate"
    ] == "Failed"  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"semanticversion": "1.34"}, "MAJOR.MINOR.PATCH"),
        ({"minmemory": 1}, "2048MB"),
        ({"zoneid": ""}, "missing parameter zoneid"),
        ({"name": ""}, "missing parameter name"),
    ],
)
def test_an_upload_has_the_same_rules(
    simulator: FakeMold, client: Mold, changes: dict[str, Any], text: str
) -> None:
    params: dict[str, Any] = {
        "name": "up", "semanticversion": "1.34.12", "mincpunumber": 2, "minmemory": 2048,
        "format": "ISO", "zoneid": simulator.cloud.zones[0].id,
    }  # fmt: skip
    with pytest.raises(MoldRefused, match=text):
        client.call("getUploadParamsForKubernetesSupportedVersion", **params | changes)


# ---- who may, and how ---------------------------------------------------------------------------


def ask(simulator: FakeMold, method: str = "post", **params: str) -> requests.Response:
    """Send parameters as they are, signed unless they bring a signature."""
    data = {"response": "json", "apikey": ADMIN.key} | params
    if "signature" not in data:
        data["signature"] = sign(data, ADMIN.secret, simulator.algorithm)
    kind: dict[str, Any] = {"params" if method == "get" else "data": data}
    return requests.request(method, simulator.endpoint, timeout=60, **kind)


@pytest.mark.parametrize(
    "expires",
    ["", "2026-11-21T09:59:59+0000", "2026-11-21 11:00:00", "2026-13-01T00:00:00Z", "tomorrow"],
)
def test_a_request_must_say_in_a_known_form_that_it_is_still_valid(
    simulator: FakeMold, expires: str
) -> None:
    answer = ask(simulator, command="listZones", signatureversion="3", expires=expires)
    assert answer.status_code == 401


@pytest.mark.parametrize("expires", ["2026-11-21T10:05:00+0000", "2026-11-21T10:05:00Z",
                                     "2026-11-21T19:05:00+0900"])  # fmt: skip
def test_both_forms_of_expiry_are_accepted(simulator: FakeMold, expires: str) -> None:
    answer = ask(simulator, command="listZones", signatureversion="3", expires=expires)
    assert answer.status_code == 200


def test_without_a_signature_version_expiry_is_not_looked_at(simulator: FakeMold) -> None:
    assert ask(simulator, command="listZones", expires="yesterday").status_code == 200


@pytest.mark.parametrize("signature", ["", "x", "AAAA"])
def test_another_signature_is_refused_in_one_key(simulator: FakeMold, signature: str) -> None:
    answer = ask(simulator, command="listZones", signature=signature)
    assert answer.status_code == 401
    [(key, value)] = answer.json().items()
    assert key == "listzonesresponse"
    assert value["errorcode"] == 401
    assert "unable to verify user credentials" in value["errortext"]


def test_an_unknown_command_answers_under_another_key(simulator: FakeMold) -> None:
    assert list(ask(simulator, command="listMoons").json()) == ["errorresponse"]


def test_names_of_commands_are_known_in_their_own_case_only(simulator: FakeMold) -> None:
    assert ask(simulator, command="listzones").status_code == 401


def test_events_of_one_thing_are_asked_for_with_its_kind(simulator: FakeMold, client: Mold) -> None:
    version = add_directly(simulator.cloud)
    simulator.cloud.note("KUBERNETES.VERSION.ADD", "added", resource=version.id)
    with pytest.raises(MoldRefused, match="must be used with resourcetype"):
        client.call("listEvents", resourceid=version.id)
    kind = "KubernetesSupportedVersion"
    assert client.call("listEvents", resourceid=version.id, resourcetype=kind)["event"]


def test_an_unknown_kind_of_checksum_fails_after_the_download(
    client: Mold, published: Published, clock: VirtualClock
) -> None:
    version = add(client, published, checksum="{FOO}123")
    clock.sleep(100)
    iso = client.call("listIsos", id=version["isoid"], isofilter="all")["iso"][0]
    assert "checksum algorithm not recognised: FOO" in iso["status"]
    digits = published.registration.checksum.hex
    version = add(client, published, checksum="{SHA256}" + digits)
    clock.sleep(100)
    assert client.call("listIsos", id=version["isoid"], isofilter="all")["iso"][0]["isready"]


def test_changes_by_get_can_be_forbidden(simulator: FakeMold) -> None:
    simulator.cloud.settings["enforce.post.requests.and.timestamps"].value = "true"
    params = {"command": "updateConfiguration", "name": "max.template.iso.size", "value": "1"}
    answer = ask(simulator, "get", **params)
    assert answer.status_code == 400
    assert "needs to be sent using POST request" in answer.text
    assert ask(simulator, **params).status_code == 200


def test_control_characters_are_refused(client: Mold) -> None:
    with pytest.raises(MoldRefused, match="431"):
        client.call("listZones", name="a\x07b")


def test_a_second_factor_stops_a_session(simulator: FakeMold, client_of: ClientOf) -> None:
    simulator.admin.second_factor = True
    login = MoldServer("lab", simulator.endpoint, Login("admin", "password"))
    with pytest.raises(AccessRefused) as caught:
        client_of(simulator, server=login).call("listZones")
    assert (caught.value.code, caught.value.cause) == (411, "second-factor")
    assert client_of(simulator).call("listZones")["zone"]


def test_other_addresses_say_what_this_is(simulator: FakeMold) -> None:
    answer = requests.get(simulator.cloud.base_url, timeout=60)
    assert answer.status_code == 404
    assert "simulator" in answer.text
    assert "simulator" in answer.headers["Server"]


def test_a_body_without_end_is_refused(simulator: FakeMold) -> None:
    answer = requests.post(simulator.endpoint, data=b"x" * 2_000_000, timeout=60)
    assert answer.status_code == 413


@pytest.mark.parametrize("mess", ["no form", "wrong field", "cut short", "no ticket"])
def test_an_upload_that_is_no_form_is_refused(
    simulator: FakeMold, client: Mold, mess: str, tmp_path: Path
) -> None:
    ticket = client.call(
        "getUploadParamsForKubernetesSupportedVersion",
        name="up", semanticversion="1.34.12", mincpunumber=2, minmemory=2048, format="ISO",
        zoneid=simulator.cloud.zones[0].id,
    )["getuploadparams"]  # fmt: skip
    headers = {f"x-{n}": ticket[n] for n in ("signature", "expires", "metadata")}
    if mess == "no ticket":
        headers = {}
    if mess == "no form":
        answer = requests.post(ticket["postURL"], data=b"x", headers=headers, timeout=60)
    else:
        name = "file" if mess == "wrong field" else "files[]"
        files = {name: ("x.iso", b"data")}
        if mess == "cut short":
            headers["Content-Type"] = "multipart/form-data; boundary=b"
            body = b'--b\r\nname="files[]"\r\n\r\ndata--nothing-like-an-end--'
            answer = requests.post(ticket["postURL"], data=body, headers=headers, timeout=60)
        else:
            answer = requests.post(ticket["postURL"], files=files, headers=headers, timeout=60)
    assert answer.status_code == (401 if mess == "no ticket" else 400)


def test_a_fault_nobody_knows_is_refused(simulator: FakeMold) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        simulator.faults.add("earthquake")


def test_the_log_has_no_keys(simulator: FakeMold, client: Mold) -> None:
    client.call("listZones", name="Zone1")
    assert simulator.log[-1].params["name"] == "Zone1"
    assert not {"apikey", "signature"} & set(simulator.log[-1].params)


@pytest.mark.parametrize(
    "sizes",
    [
        {"pagesize": "x"},
        {"pagesize": "²"},
        {"pagesize": "9" * 5000},
    ],
)
def test_a_page_that_cannot_be_meant_is_refused(client: Mold, sizes: dict[str, str]) -> None:
    with pytest.raises(MoldRefused) as caught:
        client.call("listZones", **({"page": "1", "pagesize": "10"} | sizes))
    assert caught.value.code == 431


def test_a_login_without_a_password_is_refused(simulator: FakeMold) -> None:
    form = {"command": "login", "username": simulator.admin.name}
    assert requests.post(simulator.endpoint, data=form, timeout=60).status_code == 531


def test_a_length_below_zero_is_refused_before_anything_is_read(simulator: FakeMold) -> None:
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=60) as sender:
        head = b"POST /client/api HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"
        sender.sendall(head + b"x" * 99)
        assert sender.recv(100).startswith(b"HTTP/1.1 400")
