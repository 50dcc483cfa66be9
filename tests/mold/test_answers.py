"""The simulator's answers, word for word, each with where it was seen.

The sources: ``asked`` is a management server of Apache CloudStack 4.23.0.0-SNAPSHOT that was asked
in November 2026; ``read`` is the source of that release, or of Mold where that is said; ``guess``
has the code of the real answer and its sense, in words of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from isobuilder.demo.mold import CloudCluster, CloudUser, Zone
from isobuilder.mold.api.signing import SignatureAlgorithm, sign
from tests.fakes.mold import FakeMold
from tests.fakes.web import Web
from tests.mold.clocks import VirtualClock
from tests.mold.conftest import ADMIN, VIEWER, iso_bytes
from tests.mold.golden import Names, check_golden, counted_ids
from tests.mold.messes import add_directly

VERSIONS = "listKubernetesSupportedVersions"
ADD = "addKubernetesSupportedVersion"
DELETE = "deleteKubernetesSupportedVersion"
UPLOAD = "getUploadParamsForKubernetesSupportedVersion"


@dataclass
class Asked:
    """A simulator that is asked, and the lines of what it said."""

    simulator: FakeMold
    clock: VirtualClock
    names: Names
    web: Web

    def __post_init__(self) -> None:
        self.lines: list[str] = []
        self.session: str | None = None

    def ask(self, user: CloudUser = ADMIN, **params: Any) -> dict[str, Any]:
        """Send a request and return the answer."""
        data = {"response": "json"} | {name: str(value) for name, value in params.items()}
        if self.session:
            data["sessionkey"] = self.session
        elif params["command"] != "login":
            data["apikey"] = user.key
            data["signature"] = sign(data, user.secret, self.simulator.algorithm)
        answer = requests.post(self.simulator.endpoint, data=data, timeout=60)
        assert "Date" not in answer.headers
        body: dict[str, Any] = answer.json()
        text = json.dumps(body, ensure_ascii=False, sort_keys=True)
        self.lines.append(f"{answer.status_code} {_hidden(self.names.plain(text))}")
        return body

    def note(self, title: str, source: str) -> None:
        """Begin an answer."""
        self.lines += ["", f"== {title}", f"   source: {source}"]


def _hidden(text: str) -> str:
    """Return an answer without what is secret or made by chance."""
    return re.sub(
        r'"(sessionkey|metadata|signature|apikey|secretkey)": "[^"]*"', r'"\1": "..."', text
    )


def cases() -> Iterator[tuple[str, str, Callable[[Asked], object]]]:
    """Give every answer: its title, its source, and how to get it."""
    url = "http://iso.example/a.iso"
    good: dict[str, Any] = {"semanticversion": "1.34.12", "mincpunumber": 2, "minmemory": 2048}
    good["url"] = url

    def add(**changes: Any) -> Callable[[Asked], object]:
        return lambda a: a.ask(command=ADD, **(good | changes))

    def say(user: CloudUser = ADMIN, **params: Any) -> Callable[[Asked], object]:
        return lambda a: a.ask(user, **params)

    yield (
        "a wrong key",
        "asked: 401 without cserrorcode",
        say(CloudUser("x", "none", "none"), command="listZones"),
    )
    yield "an unknown command", "asked: 401 under errorresponse", say(command="listMoons")
    yield "a command in another case", "asked: 401, as an unknown one", say(command="listzones")
    yield "what the role may not", "asked: 432, with the account", say(VIEWER, command=ADD, **good)
    yield (
        "a wrong password",
        "asked: 531 without cserrorcode",
        say(command="login", username="admin", password="x"),
    )
    yield "an unknown command in a session", "asked: 432 under errorresponse", _in_session
    yield "a malformed version", "asked: 431, 9999", add(semanticversion="v1.34.12")
    yield "a version of two parts", "asked: 431, 9999", add(semanticversion="1.34")
    yield "a version before 1.11.0", "asked: 530, 9999", add(semanticversion="1.10.99")
    yield "too few CPUs", "asked: 530, 9999", add(mincpunumber=1)
    yield "too little memory", "asked: 530, 9999", add(minmemory=2047)
    yield "an unknown architecture", "asked: 431", add(arch="amd64")
    yield "an unknown zone", "asked: 431, entity does not exist", add(zoneid="nowhere")
    yield "a file URL", "asked: 530, a Java cast error before any check", add(url="file:///a.iso")
    yield (
        "a URL that cannot be used",
        "asked: 530, the reason only in the log",
        add(url="http://[::1]/a.iso"),
    )
    yield "a name of 256 letters", "read: at most 255", add(name="x" * 256)
    yield "zones without a store", "asked: edge and disabled zones count", _without_store
    yield "registered", "asked: Creating at once; four-part versions are taken", _registered
    yield "deleted during its download", "asked: a job that fails, 530", _busy
    yield "deleted while used", "asked: a job that fails, 530", _used
    yield "an unknown id is deleted", "asked: 431 at once, no job", say(command=DELETE, id="7")
    yield "an upload", "asked: expires with milliseconds and Z; QCOW2 is taken", _upload
    yield "deleted before its upload", "asked: a job that fails, 530", _upload_deleted
    yield "an empty list", "asked: an empty object", say(command=VERSIONS)
    yield (
        "beyond the last page",
        "asked: count alone",
        say(command="listZones", page=9, pagesize=10),
    )
    yield "page 0", "asked: the first", say(command="listZones", page=0, pagesize=1)
    yield "too long a page", "asked: 431", say(command="listZones", page=1, pagesize=501)
    yield "without its ISO", "asked: five fields are absent", _orphan
    yield (
        "ISOs of another user",
        "asked: 431, without 'root'",
        say(VIEWER, command="listIsos", isofilter="all"),
    )
    yield "an unknown ISO", "asked: 431", say(command="listIsos", isofilter="all", id="7")
    yield "a failed download", "asked: Allocated; downloaddetails of all zones' stores", _failed
    yield (
        "events of one thing",
        "asked: resourcetype is wanted",
        say(command="listEvents", resourceid="7"),
    )
    yield "a deletion's events", "asked: Scheduled, Started, Completed; the oldest first", _events
    yield (
        "a bad value of a setting",
        "guess: 431 with Java's class name",
        say(command="updateConfiguration", name="max.template.iso.size", value="many"),
    )
    yield "stores", "asked: zoneid of each", say(command="listImageStores")
    yield (
        "storage VMs",
        "asked: state and agentstate",
        say(command="listSystemVms", systemvmtype="secondarystoragevm"),
    )
    yield "too many calls", "asked: 429, retry after [N] ms; each counts twice", _throttled
    yield (
        "capabilities of Mold",
        "read: CapabilitiesResponse of ablestack-cloud, 25f556e2",
        say(command="listCapabilities"),
    )
    yield "capabilities of CloudStack", "asked: supportELB is a text", _cloudstack
    yield (
        "key pairs",
        "read: ListUserKeysCmd and ApiKeyPairResponse of 4.23",
        say(command="listUserKeys"),
    )


def _in_session(a: Asked) -> None:
    body = a.ask(command="login", username="admin", password="password", domain="/")
    a.session = body["loginresponse"]["sessionkey"]
    a.ask(command="listMoons")
    a.session = None


def _without_store(a: Asked) -> None:
    cloud = a.simulator.cloud
    cloud.zones += [
        Zone("Edge1", type="Edge", has_store=False),
        Zone("Off", enabled=False, has_store=False),
    ]
    _try_to_register(a)
    del cloud.zones[-2:]


def _try_to_register(a: Asked) -> dict[str, Any]:
    url = a.web.put("/a.iso", iso_bytes())
    return a.ask(command=ADD, semanticversion="1.34.12", mincpunumber=2, minmemory=2048, url=url)


def _register(a: Asked, **changes: Any) -> dict[str, Any]:
    url = a.web.put("/a.iso", iso_bytes())
    params: dict[str, Any] = {"semanticversion": "1.34.12", "mincpunumber": 2, "minmemory": 2048}
    body = a.ask(command=ADD, **(params | {"url": url} | changes))
    version: dict[str, Any] = next(iter(body.values()))["kubernetessupportedversion"]
    return version


def _job(a: Asked, **params: Any) -> None:
    [body] = a.ask(**params).values()
    a.clock.sleep(5)
    a.ask(command="queryAsyncJobResult", jobid=body["jobid"])


def _forget(a: Asked) -> None:
    a.simulator.cloud.replace()
    a.simulator.cloud.clusters.clear()


def _registered(a: Asked) -> None:
    _register(a, semanticversion="1.34.12.1", name="쿠버네티스 1.34")
    _forget(a)


def _busy(a: Asked) -> None:
    for zone in a.simulator.cloud.zones:
        zone.stuck = True
    _job(a, command=DELETE, id=_register(a)["id"])
    for zone in a.simulator.cloud.zones:
        zone.stuck = False
    _forget(a)


def _used(a: Asked) -> None:
    cloud = a.simulator.cloud
    version = add_directly(cloud)
    cloud.clusters.append(CloudCluster("prod", version.id, cloud.zones[0]))
    _job(a, command=DELETE, id=version.id)
    a.ask(command="listKubernetesClusters")
    _forget(a)


def _ticket(a: Asked) -> None:
    a.ask(command=UPLOAD, name="up", semanticversion="1.34.12", mincpunumber=2, minmemory=2048,
          format="QCOW2", zoneid=a.simulator.cloud.zones[0].id)  # fmt: skip


def _upload(a: Asked) -> None:
    _ticket(a)
    _forget(a)


def _upload_deleted(a: Asked) -> None:
    _ticket(a)
    [version] = a.simulator.cloud.versions
    _job(a, command=DELETE, id=version)
    _forget(a)


def _orphan(a: Asked) -> None:
    add_directly(a.simulator.cloud).has_iso = False
    a.ask(command=VERSIONS)
    _forget(a)


def _failed(a: Asked) -> None:
    a.simulator.cloud.zones[0].fails_with = "Storage Limit Reached"
    version = _register(a)
    a.clock.sleep(60)
    a.ask(command=VERSIONS)
    a.ask(command="listIsos", isofilter="all", id=version["isoid"])
    a.simulator.cloud.zones[0].fails_with = None
    _forget(a)


def _events(a: Asked) -> None:
    version = add_directly(a.simulator.cloud)
    _job(a, command=DELETE, id=version.id)
    a.ask(command="listEvents", resourceid=version.id, resourcetype="KubernetesSupportedVersion")
    _forget(a)


def _throttled(a: Asked) -> None:
    a.simulator.cloud.most_calls = 2
    for _ in range(2):
        a.ask(VIEWER, command="listZones", pagesize=1, page=9)
    a.simulator.cloud.most_calls = None


def _cloudstack(a: Asked) -> None:
    a.simulator.cloud.is_mold = False
    a.ask(command="listCapabilities")
    a.simulator.cloud.is_mold = True


def test_each_answer_is_that_of_a_real_server(
    simulator: FakeMold, clock: VirtualClock, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted_ids(monkeypatch)
    assert simulator.algorithm is SignatureAlgorithm.HMAC_SHA256
    names = Names([(web.url, "http://web"), (simulator.cloud.base_url, "http://mold")])
    asked = Asked(simulator, clock, names, web)
    for title, source, act in cases():
        asked.note(title, source)
        act(asked)
    check_golden("answers.txt", asked.lines[1:])
