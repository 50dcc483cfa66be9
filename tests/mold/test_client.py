"""The client against a simulated server, on good days and bad ones."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import traceback
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from isobuilder.demo.mold import Cloud, CloudCluster, Zone
from isobuilder.errors import MoldError
from isobuilder.http import serving
from isobuilder.http.replies import Reply, Request
from isobuilder.mold.api.client import JobLost, parse_time
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, Login, MoldServer
from isobuilder.mold.api.errors import (
    AccessRefused,
    MoldRefused,
    MoldUnreachable,
    OutcomeUnknown,
    StrangeAnswer,
    remedy_for,
)
from isobuilder.mold.api.records import KubernetesVersion, read_record
from isobuilder.mold.api.signing import SignatureAlgorithm, sign
from isobuilder.mold.api.transport import RequestLost
from tests.fakes.mold import FakeMold
from tests.fakes.web import Web
from tests.mold.clocks import SkewedClock, VirtualClock
from tests.mold.conftest import ADMIN, VIEWER, ClientOf
from tests.mold.messes import add_directly
from tests.mold.test_signing import KEY, SECRET, VECTORS

AWKWARD = "v1.34.12 [운영] a+b~c* /%{}&="


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
@pytest.mark.parametrize("method", ["get", "post"])
def test_signatures_are_accepted_for_both_algorithms_by_get_and_post(
    cloud: Cloud, client_of: ClientOf, algorithm: SignatureAlgorithm, method: str
) -> None:
    cloud.zones.append(Zone(AWKWARD))
    with FakeMold(cloud, algorithm=algorithm) as simulator:
        key = ApiKey(ADMIN.key, ADMIN.secret)
        server = MoldServer("lab", simulator.endpoint, key, algorithm=algorithm)
        client = client_of(simulator, server=server, read_method=method)
        found = client.list_all("listZones", "zone", name=AWKWARD)
        client.call("updateConfiguration", name="secstorage.allowed.internal.sites", value=AWKWARD)
        assert [zone["name"] for zone in found] == [AWKWARD]
        assert cloud.setting("secstorage.allowed.internal.sites") == AWKWARD
        assert {entry.method for entry in simulator.log if not entry.writes} == {method.upper()}
        assert {entry.method for entry in simulator.log if entry.writes} == {"POST"}


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
@pytest.mark.parametrize("name", VECTORS)
def test_each_vector_arrives_with_its_signature(
    name: str, algorithm: SignatureAlgorithm, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, _text, sha1, sha256 = VECTORS[name]
    server = MoldServer("v", "https://mold.example/client/api", ApiKey(KEY, SECRET), algorithm)
    client = Mold(server, read_method=method)
    sent: list[requests.PreparedRequest] = []

    def keep(request: requests.PreparedRequest, **_options: object) -> requests.Response:
        sent.append(request)
        raise requests.exceptions.ConnectionError("enough seen")

    monkeypatch.setattr(client.session, "send", keep)
    data = params | {"signature": sign(params, SECRET, algorithm)}
    with pytest.raises(Exception, match="broke"):
        client._exchange(params["command"], data)
    [request] = sent
    query = urlsplit(str(request.url)).query if request.method == "GET" else str(request.body)
    arrived = {key: values[0] for key, values in parse_qs(query).items()}
    expected = sha1 if algorithm is SignatureAlgorithm.HMAC_SHA1 else sha256
    assert arrived == params | {"signature": expected}


def test_no_secret_is_in_reprs_logs_or_addresses(
    simulator: FakeMold, client: Mold, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client.call("listCapabilities")
    with pytest.raises(MoldRefused) as caught:
        client.call("updateConfiguration", name="none", value="1")
    seen = caplog.text + repr(client) + repr(client.server) + repr(client.server.credentials)
    seen += str(caught.value) + str(caught.value.hint) + repr(simulator.log)
    assert "listCapabilities" in seen
    assert ADMIN.key not in seen
    assert ADMIN.secret not in seen
    login = Login("admin", "hunter2-hunter2")
    assert "hunter2" not in repr(login)


def test_a_mistyped_name_is_no_call_of_the_server(simulator: FakeMold, client: Mold) -> None:
    with pytest.raises(AttributeError):
        client.listZone()  # type: ignore[attr-defined]
    assert simulator.log == []


# ---- the causes of 401 -----------------------------------------------------------------------


def refusal_of(client: Mold, command: str = "listZones", **params: str) -> AccessRefused:
    with pytest.raises(AccessRefused) as caught:
        client.call(command, **params)
    return caught.value


def test_a_wrong_key_is_told_as_one(simulator: FakeMold, client_of: ClientOf) -> None:
    server = MoldServer("lab", simulator.endpoint, ApiKey(ADMIN.key, "wrong"), origin="key file k")
    refused = refusal_of(client_of(simulator, server=server))
    assert refused.cause == "key"
    assert refused.exit_code == 8
    assert "key file k" in str(refused.hint)
    assert "unable to verify user credentials" in str(refused)


def test_a_disabled_user_is_told_as_a_wrong_key(simulator: FakeMold, client: Mold) -> None:
    simulator.admin.enabled = False
    assert refusal_of(client).cause == "key"


@pytest.mark.parametrize("days", [(-2, -1), (1, 2)])
def test_a_pair_outside_its_dates_is_told_as_a_key_that_does_not_do(
    simulator: FakeMold, client: Mold, clock: VirtualClock, days: tuple[int, int]
) -> None:
    user = simulator.cloud.users[0]
    user.key_starts, user.key_ends = (clock.now() + timedelta(days=day) for day in days)
    refused = refusal_of(client)
    assert refused.cause == "key"
    assert "outside its dates" in str(refused.hint)


def test_too_many_calls_wait_as_long_as_the_server_says(
    simulator: FakeMold, client_of: ClientOf, clock: VirtualClock
) -> None:
    simulator.cloud.most_calls = 4
    viewer = client_of(simulator, VIEWER)
    for _ in range(3):
        assert viewer.zones()
    assert clock.slept == [1.0]
    assert [entry.status for entry in simulator.log] == [200, 200, 429, 200]


def test_the_other_kind_of_server_is_recognised(cloud: Cloud, client_of: ClientOf) -> None:
    with FakeMold(cloud, algorithm=SignatureAlgorithm.HMAC_SHA1) as simulator:
        refused = refusal_of(client_of(simulator))
    assert refused.cause == "signature"
    assert "hmac-sha1" in str(refused.hint)


@pytest.mark.parametrize("behind", [3600.0, 660.0])
def test_a_slow_clock_is_told_with_both_times(
    simulator: FakeMold, client_of: ClientOf, clock: VirtualClock, behind: float
) -> None:
    simulator.sends_date = True
    client = client_of(simulator, clock=SkewedClock(clock, -behind))
    refused = refusal_of(client)
    assert refused.cause == "clock"
    assert "2026-11-21 10:00" in str(refused.hint)
    assert client.skew == pytest.approx(behind, abs=2)


def test_a_fast_clock_still_works_as_the_expiry_is_only_later(
    simulator: FakeMold, client_of: ClientOf, clock: VirtualClock
) -> None:
    assert client_of(simulator, clock=SkewedClock(clock, 3600.0)).call("listZones")["zone"]


def test_a_plugin_that_is_off_is_not_taken_for_a_wrong_key(cloud: Cloud, client: Mold) -> None:
    cloud.plugin_on = False
    refused = refusal_of(client, "listKubernetesSupportedVersions")
    assert refused.cause == "plugin"
    assert "cloud.kubernetes.service.enabled" in str(refused.hint)
    assert "restart" in str(refused.hint)


def test_a_command_the_server_lacks_is_not_taken_for_a_wrong_key(client: Mold) -> None:
    assert refusal_of(client, "listKubernetesMoons").cause == "command"


def test_a_role_that_may_not_is_told(simulator: FakeMold, client_of: ClientOf) -> None:
    refused = refusal_of(
        client_of(simulator, VIEWER), "updateConfiguration", name="max.template.iso.size", value="1"
    )
    assert refused.cause == "role"
    assert "is not available for the account viewer" in refused.text


# ---- session login -------------------------------------------------------------------------


def session_client(simulator: FakeMold, client_of: ClientOf, password: str = "password") -> Mold:
    server = MoldServer("lab", simulator.endpoint, Login("admin", password))
    return client_of(simulator, server=server)


def test_a_session_replaces_the_signature(simulator: FakeMold, client_of: ClientOf) -> None:
    client = session_client(simulator, client_of)
    assert client.call("listZones")["zone"]
    assert [entry.command for entry in simulator.log] == ["login", "listZones"]
    client.close()
    assert simulator.log[-1].command == "logout"
    assert not simulator.cloud.sessions


def test_a_session_that_ran_out_is_opened_again(simulator: FakeMold, client_of: ClientOf) -> None:
    client = session_client(simulator, client_of)
    client.call("listZones")
    simulator.cloud.sessions.clear()
    assert client.call("listZones")["zone"]


def test_a_wrong_password_is_told(simulator: FakeMold, client_of: ClientOf) -> None:
    assert refusal_of(session_client(simulator, client_of, "wrong")).cause == "key"


def test_a_session_hears_432_when_the_plugin_is_off(
    simulator: FakeMold, client_of: ClientOf
) -> None:
    simulator.cloud.plugin_on = False
    client = session_client(simulator, client_of)
    refused = refusal_of(client, "listKubernetesSupportedVersions")
    assert (refused.cause, refused.code) == ("plugin", 432)


# ---- bad days of the network -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["503", "502", "429", "cut", "lost", "refused"])
def test_a_read_carries_on_after(simulator: FakeMold, client: Mold, kind: str) -> None:
    simulator.faults.add(kind, times=3)
    assert client.call("listZones")["zone"]


@pytest.mark.parametrize("kind", ["503", "429"])
def test_a_change_that_never_arrived_is_sent_again(
    simulator: FakeMold, client: Mold, kind: str
) -> None:
    simulator.faults.add(kind, command="addKubernetesSupportedVersion")
    with pytest.raises(MoldRefused, match="Semantic version needed"):
        client.call(
            "addKubernetesSupportedVersion", semanticversion="v1", mincpunumber=2, minmemory=2048
        )
    assert len(simulator.writes()) == 1


@pytest.mark.parametrize("kind", ["502", "cut", "lost", "refused", "html"])
def test_a_change_whose_answer_is_lost_is_not_sent_again(
    simulator: FakeMold, client: Mold, kind: str
) -> None:
    simulator.faults.add(kind, command="deleteKubernetesSupportedVersion")
    with pytest.raises(OutcomeUnknown) as caught:
        client.call("deleteKubernetesSupportedVersion", id="x")
    assert caught.value.exit_code == 4
    sent = [entry for entry in simulator.log if entry.writes]
    assert len(sent) <= 1


@pytest.mark.parametrize("kind", ["502", "cut", "lost"])
def test_a_change_that_may_be_made_twice_is_sent_again(
    simulator: FakeMold, client: Mold, kind: str
) -> None:
    simulator.faults.add(kind, command="updateConfiguration")
    client.call("updateConfiguration", name="max.template.iso.size", value="60")
    assert simulator.cloud.setting("max.template.iso.size") == "60"


def test_a_minute_of_503_is_waited_for(simulator: FakeMold, client: Mold) -> None:
    simulator.go_down(60)
    assert client.call("listZones")["zone"]
    assert client.clock.monotonic() >= 60


def test_a_503_in_json_is_waited_for(odd_server: tuple[str, list[bytes]]) -> None:
    address, answers = odd_server
    body = b'{"listzonesresponse":{"errorcode":503,"errortext":"starting"}}'
    answers += [http(body, "503 Service Unavailable")] * 2
    answers.append(http(b'{"listzonesresponse":{"zone":[{"id":"1"}]}}'))
    client = Mold(MoldServer("odd", address, ApiKey("k", "s")), clock=VirtualClock())
    assert [zone.id for zone in client.zones()] == ["1"]


def test_a_server_that_stays_away_is_given_up(simulator: FakeMold, client: Mold) -> None:
    simulator.go_down(3600)
    told: list[str] = []
    client.tell = told.append
    with pytest.raises(MoldUnreachable, match="503"):
        client.call("listZones")
    assert told == ["lab: HTTP 503; tried again for 148 s"]
    assert client.clock.monotonic() < 300


def test_nobody_listening_is_told(client_of: ClientOf, simulator: FakeMold) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/client/api"
        server = MoldServer("lab", address, ApiKey("k", "s"))
        with pytest.raises(MoldUnreachable, match="cannot connect"):
            client_of(simulator, server=server).call("listZones")


def test_a_page_where_json_was_asked_for_is_told(simulator: FakeMold, client: Mold) -> None:
    simulator.faults.add("html")
    with pytest.raises(StrangeAnswer, match="not JSON") as caught:
        client.call("listZones")
    assert "/client/api" in str(caught.value.hint)


def test_an_answer_without_end_is_not_read_to_its_end(
    simulator: FakeMold, client_of: ClientOf
) -> None:
    simulator.faults.add("huge")
    with pytest.raises(StrangeAnswer, match="longer than 100000 bytes"):
        client_of(simulator, max_answer=100_000).call("listZones")


@pytest.fixture
def odd_server() -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers the bytes it is given, one after the other, and hangs up."""
    answers: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    peer, _ = listener.accept()
                except TimeoutError:
                    continue
                with peer, peer.makefile("rb") as request:
                    length = 0
                    while (line := request.readline()) not in {b"\r\n", b""}:
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                    request.read(length)
                    peer.sendall(answers.pop(0) if answers else b"")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/client/api", answers
        stop.set()
        thread.join(60)


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "body",
    [b"[]", b'"text"', b'{"a":{},"b":{}}', b'{"a":[]}', b"{}", b"17", b"nonsense"],
)
def test_an_answer_of_another_shape_is_told(
    odd_server: tuple[str, list[bytes]], body: bytes
) -> None:
    address, answers = odd_server
    answers.append(http(body))
    client = Mold(MoldServer("odd", address, ApiKey("k", "s")), clock=VirtualClock())
    with pytest.raises(StrangeAnswer):
        client.call("listZones")


def test_redirects_are_not_followed_with_a_signed_request(
    odd_server: tuple[str, list[bytes]], web: Web
) -> None:
    address, answers = odd_server
    answers.append(http(b"", "307 Temporary Redirect", f"Location: {web.url}/steal\r\n"))
    client = Mold(MoldServer("odd", address, ApiKey("k", "s")), clock=VirtualClock())
    with pytest.raises(StrangeAnswer, match="redirect"):
        client.call("listZones")
    assert web.hits == []


@pytest.mark.parametrize("target", ["http://[", "file:///etc/passwd", "//", "http://a:99999999/"])
def test_a_redirect_to_anywhere_is_told_as_one(
    odd_server: tuple[str, list[bytes]], target: str
) -> None:
    address, answers = odd_server
    answers.append(http(b"", "302 Found", f"Location: {target}\r\n"))
    client = Mold(MoldServer("odd", address, ApiKey("k", "s")), clock=VirtualClock())
    with pytest.raises(StrangeAnswer, match="redirect"):
        client.call("listZones")


@pytest.mark.parametrize("way", ["error", "redirect", "page", "job", "names"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_server_that_repeats_a_request_gives_no_secret_away(way: str, method: str) -> None:
    class Echo(serving.Server):
        def answer(self, request: Request) -> Reply:
            sent = "/?" + request.query + request.body(10_000).decode()
            if way == "redirect":
                return Reply(302, {"Location": sent}, b"")
            if way == "page":
                return Reply(200, {}, f"no JSON: {sent[sent.find('signature=') :]}".encode())
            told: dict[str, object] = {"errorcode": 530, "errortext": sent}
            if way in {"job", "names"}:
                job = {"jobstatus": 2, "jobresult": told if way == "job" else {sent: [sent]}}
                return Reply(200, {}, json.dumps({"queryasyncjobresultresponse": job}).encode())
            return Reply(530, {}, json.dumps({"errorresponse": told}).encode())

    key = ApiKey("kEy+/of=somebody", "s")
    with Echo() as server:
        given = MoldServer("odd", f"{server.url}/client/api", key)
        client = Mold(given, clock=VirtualClock(), read_method=method)
        asks_job = partial(client.wait_job, "j", "deleteKubernetesSupportedVersion", timeout=60)
        ask = asks_job if way in {"job", "names"} else partial(client.call, "listZones")
        with pytest.raises(MoldError) as caught:
            ask()
    told = str(caught.value)
    assert "***" in told
    for secret in ("kEy", "signature=%", "somebody"):
        assert secret not in told


def test_a_redirect_without_end_is_not_read_to_its_end() -> None:
    class Endless(serving.Server):
        def answer(self, request: Request) -> Reply:
            return Reply(302, {"Location": "/x"}, (bytes(65536) for _ in iter(int, 1)))

    with Endless() as server:
        endpoint = f"{server.url}/client/api"
        client = Mold(MoldServer("odd", endpoint, ApiKey("k", "s")), clock=VirtualClock())
        with pytest.raises(StrangeAnswer, match="longer than"):
            client.call("listZones")


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_wait_for_nothing_is_not_asked_without_pause(status: int) -> None:
    asked: list[str] = []

    class Hasty(serving.Server):
        def answer(self, request: Request) -> Reply:
            asked.append(request.body(10_000).decode())
            return Reply(status, {"Retry-After": "0"}, b"")

    clock = VirtualClock()
    with Hasty() as server:
        client = Mold(MoldServer("odd", f"{server.url}/client/api", ApiKey("k", "s")), clock=clock)
        with pytest.raises(MoldUnreachable):
            client.call("listZones")
    assert min(clock.slept) >= 0.5
    assert len(asked) < 30


def test_an_error_without_its_usual_fields_is_still_one(
    odd_server: tuple[str, list[bytes]],
) -> None:
    address, answers = odd_server
    answers.append(http(b'{"errorresponse":{}}', "530 Strange"))
    client = Mold(MoldServer("odd", address, ApiKey("k", "s")), clock=VirtualClock())
    with pytest.raises(MoldRefused, match="530: no text"):
        client.call("listZones")


def test_an_empty_body_is_asked_for_again(odd_server: tuple[str, list[bytes]]) -> None:
    address, answers = odd_server
    answers += [http(b""), http(b'{"listzonesresponse":{}}')]
    client = Mold(MoldServer("odd", address, ApiKey("k", "s")), clock=VirtualClock())
    assert client.list_all("listZones", "zone") == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=80), JSON.map(lambda value: json.dumps(value).encode())),
       st.sampled_from([200, 401, 431, 500, 502, 530]))  # fmt: skip
def test_whatever_is_answered_is_an_object_or_a_known_error(body: bytes, status: int) -> None:
    client = Mold(MoldServer("odd", "http://odd/client/api", ApiKey("k", "s")))
    with contextlib.suppress(StrangeAnswer, RequestLost):
        assert isinstance(client._unwrapped("listZones", body, status, {}), dict)
    client.close()


@settings(deadline=None)
@given(JSON)
def test_whatever_a_version_is_it_is_read_or_refused(value: object) -> None:
    named = isinstance(value, dict) and isinstance(value.get("id"), str)
    with contextlib.suppress(StrangeAnswer):
        read_record(KubernetesVersion, value, "test")
        assert named


def test_what_the_network_said_is_not_repeated_with_its_address(
    simulator: FakeMold, client_of: ClientOf
) -> None:
    simulator.faults.add("refused", times=1000)
    client = client_of(simulator, read_method="get", patience=1.0)
    with pytest.raises(MoldUnreachable) as caught:
        client.call("listZones")
    printed = "".join(traceback.format_exception(caught.value))
    assert "listZones" in printed
    assert ADMIN.key not in printed
    assert "signature=" not in printed


# ---- lists and jobs ---------------------------------------------------------------------------


def test_an_empty_list_is_an_empty_object(client: Mold) -> None:
    assert client.call("listKubernetesSupportedVersions") == {}
    assert client.list_all("listKubernetesSupportedVersions", "kubernetessupportedversion") == []


def test_lists_go_on_over_pages(simulator: FakeMold, client: Mold) -> None:
    simulator.cloud.zones += [Zone(f"Zone {n}") for n in range(1203)]
    zones = client.list_all("listZones", "zone")
    assert len(zones) == 1205
    assert len({zone["id"] for zone in zones}) == 1205
    assert len(simulator.log) == 3


def test_a_list_of_exactly_one_page_ends(simulator: FakeMold, client: Mold) -> None:
    simulator.cloud.zones += [Zone(f"Zone {n}") for n in range(498)]
    assert len(client.list_all("listZones", "zone")) == 500


def test_a_server_with_smaller_pages_is_served(simulator: FakeMold, client: Mold) -> None:
    simulator.cloud.settings["default.page.size"].value = "100"
    simulator.cloud.zones += [Zone(f"Zone {n}") for n in range(250)]
    assert len(client.list_all("listZones", "zone")) == 252


def test_a_server_that_knows_no_pages_does_not_trap_us(
    odd_server: tuple[str, list[bytes]],
) -> None:
    address, answers = odd_server
    zones = ",".join(f'{{"id":"{n}"}}' for n in range(500))
    answers += [http(b'{"r":{"count":1,"zone":[%s]}}' % zones.encode())] * 9
    client = Mold(MoldServer("odd", address, ApiKey("k", "s")), clock=VirtualClock())
    assert len(client.list_all("listZones", "zone")) == 500


def test_a_job_that_fails_carries_its_text(simulator: FakeMold, client: Mold) -> None:
    version = add_directly(simulator.cloud)
    simulator.cloud.clusters.append(CloudCluster("prod", version.id, simulator.cloud.zones[0]))
    with pytest.raises(MoldRefused, match="Existing clusters") as caught:
        client.call_job("deleteKubernetesSupportedVersion", id=version.id)
    assert "upgrade or delete these clusters" in str(caught.value.hint)


def test_a_job_lost_by_a_restart_is_told(simulator: FakeMold, client: Mold) -> None:
    version = add_directly(simulator.cloud)
    job = client.call("deleteKubernetesSupportedVersion", id=version.id)["jobid"]
    simulator.cloud.restart()
    with pytest.raises(JobLost, match=job):
        client.wait_job(job, "deleteKubernetesSupportedVersion", timeout=60)


def test_a_job_that_a_restart_ended_is_lost_and_a_deletion_begun_again(
    simulator: FakeMold, client: Mold
) -> None:
    version = add_directly(simulator.cloud)
    ended: list[object] = []

    def restart(_number: int, command: str, moment: str) -> None:
        if command == "queryAsyncJobResult" and moment == "before" and len(ended) < 2:
            for job in simulator.cloud.jobs.values():
                job.status, job.result, job.due = 2, None, 1e9
                ended.append(job)

    simulator.faults.watchers.append(restart)
    command = "deleteKubernetesSupportedVersion"
    with pytest.raises(JobLost, match="ended without a result") as caught:
        client.call_job(command, id=version.id)
    assert "run the same command again" in str(caught.value.hint)
    client.delete_version(version.id)
    assert version.id not in simulator.cloud.versions


def test_a_job_that_never_ends_is_given_up(simulator: FakeMold, client: Mold) -> None:
    version = add_directly(simulator.cloud)
    job = client.call("deleteKubernetesSupportedVersion", id=version.id)["jobid"]
    simulator.cloud.jobs[job].due = 1e9
    with pytest.raises(MoldUnreachable, match="still runs after 60 s"):
        client.wait_job(job, "deleteKubernetesSupportedVersion", timeout=60)


# ---- texts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [431, 530])
def test_the_same_fault_has_the_same_remedy_whatever_its_number(code: int) -> None:
    refused = MoldRefused("x", code, "Invalid version format. Semantic version needed")
    assert refused.hint == remedy_for("Invalid version format. Semantic version needed")
    assert "1.34.12" in str(refused.hint)


def test_unknown_texts_have_no_invented_remedy() -> None:
    assert remedy_for("The moon is in the wrong phase") is None


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (
            "sun.security.validator.ValidatorException: PKIX path building failed: unable to find "
            "valid certification path to requested target",
            "does not trust that host's certificate",
        ),
        ("java.net.UnknownHostException: iso.example", "cannot resolve the name"),
        ("iso.example: Name or service not known", "cannot resolve the name"),
        ("java.io.IOException: No space left on device", "is full"),
    ],
)
def test_what_java_says_of_a_download_has_a_way_out(text: str, remedy: str) -> None:
    assert remedy in (remedy_for(text) or "")


def test_times_are_read_as_mold_writes_them() -> None:
    found = parse_time("2026-10-08T10:00:00+0900")
    assert found is not None
    assert found.utcoffset() is not None
    assert parse_time("yesterday") is None
    assert parse_time(None) is None


def test_every_error_of_this_room_has_its_exit_code() -> None:
    for kind in (StrangeAnswer, JobLost):
        assert issubclass(kind, MoldError)
        assert kind("x").exit_code == 8
    assert issubclass(OutcomeUnknown, MoldUnreachable)
    assert MoldUnreachable("x").exit_code == 4


def test_a_server_whose_clock_tells_no_time_is_asked_all_the_same(
    simulator: FakeMold, client: Mold
) -> None:
    simulator.date = "1 Jan 2020 00:00:00 +9999999999999999999999"
    assert client.zones()
    assert client.skew is None
