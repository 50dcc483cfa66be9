"""Is the server ready? Each thing that can stand in the way has its line and remedy."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from isobuilder.demo.mold import Cloud, Zone, commands
from isobuilder.errors import MoldError
from isobuilder.http.client import Http
from isobuilder.http.replies import Reply, Request
from isobuilder.http.serving import Server
from isobuilder.http.settings import HttpSettings
from isobuilder.mold.address import allowed_by, refused_kind, resolve_host
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, MoldServer
from isobuilder.mold.api.errors import StrangeAnswer
from isobuilder.mold.api.signing import SignatureAlgorithm
from isobuilder.mold.check import ENABLED, check
from isobuilder.mold.check_url import FOLLOW_REDIRECTS, INTERNAL_SITES, MAX_SIZE
from isobuilder.mold.checklist import Fix, Level, Line, Question
from tests.fakes.mold import FakeMold
from tests.fakes.web import Web
from tests.mold.clocks import SkewedClock, VirtualClock
from tests.mold.conftest import ADMIN, VIEWER, ClientOf, Published, PublishedOf, server_of
from tests.mold.messes import add_directly


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(HttpSettings(retries=0, connect_timeout=30.0), netrc=False) as http:
        yield http


class Checked:
    """Runs the check and finds lines by subject."""

    def __init__(self, client: Mold, http: Http) -> None:
        self.client = client
        self.http = http

    def lines(self, published: Published | None = None, **question: Any) -> list[Line]:
        if published is not None:
            question = {"registration": published.registration, "url": published.url} | question
        return check(self.client, Question(**question), http=self.http)

    def line(self, subject: str, published: Published | None = None, **question: Any) -> Line:
        found = [x for x in self.lines(published, **question) if x.subject == subject]
        assert len(found) == 1, found
        return found[0]

    def problem(self, subject: str, published: Published | None = None, **question: Any) -> Line:
        line = self.line(subject, published, **question)
        assert line.level is Level.PROBLEM, line
        return line


@pytest.fixture
def checked(client: Mold, http: Http) -> Checked:
    return Checked(client, http)


def test_a_server_that_is_ready_has_no_problem(
    simulator: FakeMold, checked: Checked, published: Published
) -> None:
    lines = checked.lines(published, download=True)
    assert [line for line in lines if line.level is Level.PROBLEM] == []
    assert {line.subject for line in lines} >= {
        "server", "clock", "role", "Kubernetes service", "cloud.kubernetes.cluster.max.size",
        "network offering", "zones", "image stores", "storage VMs", "endpoint.url",
        "service offering", "node template",
        "registered versions", "host", "size", MAX_SIZE, "checksum",
    }  # fmt: skip
    assert simulator.writes() == []


def test_a_simulator_is_called_one(checked: Checked) -> None:
    assert "a simulator, not a Mold" in checked.line("server").fact


@pytest.mark.parametrize(
    ("mess", "cause"),
    [("key", "key"), ("algorithm", "signature"), ("clock", "clock")],
)
def test_a_refused_key_ends_the_check_with_its_cause(
    simulator: FakeMold,
    client_of: ClientOf,
    http: Http,
    clock: VirtualClock,
    mess: str,
    cause: str,
) -> None:
    from isobuilder.mold.api.signing import SignatureAlgorithm

    secret = "wrong" if mess == "key" else ADMIN.secret
    algorithm = (
        SignatureAlgorithm.HMAC_SHA1 if mess == "algorithm" else SignatureAlgorithm.HMAC_SHA256
    )
    server = MoldServer("lab", simulator.endpoint, ApiKey(ADMIN.key, secret), algorithm=algorithm)
    used = SkewedClock(clock, -3600) if mess == "clock" else clock
    checked = Checked(client_of(simulator, server=server, clock=used), http)
    [line] = checked.lines()
    assert line.subject == f"access ({cause})"
    assert line.level is Level.PROBLEM


def test_a_server_that_does_not_answer_ends_the_check(
    simulator: FakeMold, checked: Checked
) -> None:
    simulator.go_down(10_000)
    [line] = checked.lines()
    assert (line.level, line.subject) == (Level.PROBLEM, "server")


def test_who_answers_is_told_with_what_differs(
    checked: Checked, cloud: Cloud, published: Published
) -> None:
    line = checked.line("cloud", published)
    assert (line.level, line.fact.partition(",")[0]) == (Level.OK, "Mold 4.23.0.0")
    assert checked.line("profile", published).level is Level.OK


def test_an_iso_for_nodes_of_the_other_kind_is_told(
    cloud: Cloud, client_of: ClientOf, published: Published
) -> None:
    with FakeMold(cloud, algorithm=SignatureAlgorithm.HMAC_SHA1) as simulator:
        server = dataclasses.replace(server_of(simulator), algorithm=simulator.algorithm)
        question = Question(registration=published.registration)
        with Http(HttpSettings()) as http:
            lines = check(client_of(simulator, server=server), question, http=http)
    found = {line.subject: line for line in lines}
    assert found["cloud"].fact.startswith("CloudStack 4.23.0.0, which takes cloudstack-cks")
    assert found["profile"].level is Level.WARNING
    assert "mold-cks is not for CloudStack" in found["profile"].fact


@pytest.mark.parametrize(
    ("days", "rules", "level", "fact"),
    [
        (None, (), Level.OK, "automation, without an end"),
        (400, (), Level.OK, "automation, good until 2027-12-26"),
        (29, (), Level.WARNING, "automation, good until 2026-12-20"),
        (400, (("list*", "allow"), ("*Kubernetes*", "deny")), Level.WARNING,
         "automation, good until 2027-12-26; its own rules do not allow "
         "addKubernetesSupportedVersion, updateKubernetesSupportedVersion, "
         "deleteKubernetesSupportedVersion"),
    ],
)  # fmt: skip
def test_how_long_a_key_is_good_for_and_what_it_may_is_told(
    checked: Checked,
    cloud: Cloud,
    days: int | None,
    rules: tuple[tuple[str, str], ...],
    level: Level,
    fact: str,
) -> None:
    user = cloud.users[0]
    user.key_name, user.key_rules = "automation", rules
    user.key_ends = None if days is None else cloud.clock.now() + timedelta(days=days)
    line = checked.line("key")
    assert (line.level, line.fact) == (level, fact)


def test_a_server_that_keeps_one_pair_a_user_says_nothing_of_keys(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(commands.LISTS, "listUserKeys")
    assert "key" not in [line.subject for line in checked.lines()]


def test_a_limit_of_calls_is_told(checked: Checked, cloud: Cloud) -> None:
    cloud.most_calls = 25
    assert checked.line("API limit").fact.startswith("25 calls in 1 s")


@pytest.mark.parametrize(("ahead", "said"), [(-300, "ahead"), (300, "behind"), (60, None)])
def test_clocks_are_compared_where_no_answer_tells_the_time(
    simulator: FakeMold, client_of: ClientOf, clock: VirtualClock, ahead: int, said: str | None
) -> None:
    client = client_of(simulator, clock=SkewedClock(clock, ahead))
    with Http(HttpSettings()) as http:
        [line] = [x for x in check(client, Question(), http=http) if x.subject == "clock"]
    assert client.skew is None
    assert line.level is (Level.WARNING if said else Level.OK)
    assert said is None or line.fact == f"the server's clock is more than 120 s {said}"


def test_clocks_that_drift_are_told_before_they_matter(
    simulator: FakeMold, checked: Checked
) -> None:
    simulator.sends_date, simulator.skew_seconds = True, 300.0
    line = checked.line("clock")
    assert line.level is Level.WARNING
    assert "ahead" in line.fact


def test_a_role_that_may_only_look_is_told(
    simulator: FakeMold, client_of: ClientOf, http: Http, published: Published
) -> None:
    checked = Checked(client_of(simulator, VIEWER), http)
    line = checked.problem("role", published)
    assert "addKubernetesSupportedVersion" in line.fact
    assert "root administrator" in str(line.remedy)
    # What this role may not see is said so, and the rest is still checked.
    assert checked.line("image stores", published).level is Level.WARNING
    assert checked.line("size", published).level is Level.OK


def test_a_plugin_that_is_off_can_be_fixed_with_a_restart(
    simulator: FakeMold, checked: Checked, client: Mold
) -> None:
    simulator.cloud.settings[ENABLED].value = "false"
    simulator.cloud.restart()
    line = checked.problem("Kubernetes service")
    assert line.fix is not None
    assert line.fix.new == "true"
    assert "restart" in str(line.fix.then)
    line.fix.apply(client)
    waiting = checked.problem("Kubernetes service")
    assert "not yet running" in waiting.fact
    assert waiting.fix is None
    simulator.cloud.restart()
    assert checked.line("Kubernetes service").level is Level.OK


def test_capabilities_that_do_not_tell_are_no_problem(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mold, "capabilities", lambda _self: {})
    assert checked.line("Kubernetes service").level is Level.OK


@pytest.mark.parametrize(
    "name",
    ["cloud.kubernetes.cluster.network.offering", "cloud.kubernetes.clusternetwork.offering"],
)
def test_the_network_offering_is_looked_up_under_both_spellings(
    simulator: FakeMold, checked: Checked, name: str
) -> None:
    settings = simulator.cloud.settings
    settings[name] = settings.pop("cloud.kubernetes.cluster.network.offering")
    assert name in checked.line("network offering").fact
    settings[name].value = "Gone"
    line = checked.problem("network offering")
    assert line.fix == Fix(name, "Gone", "DefaultNetworkOfferingforKubernetesService")
    simulator.cloud.network_offerings.clear()
    assert checked.problem("network offering").fix is None


def test_a_server_without_the_settings_is_no_problem(simulator: FakeMold, checked: Checked) -> None:
    simulator.cloud.settings = {"default.page.size": simulator.cloud.settings["default.page.size"]}
    assert checked.line("network offering").level is Level.WARNING
    assert checked.line("cloud.kubernetes.cluster.max.size").level is Level.WARNING


def test_a_cluster_size_of_nothing_is_told(simulator: FakeMold, checked: Checked) -> None:
    simulator.cloud.settings["cloud.kubernetes.cluster.max.size"].value = "0"
    assert checked.problem("cloud.kubernetes.cluster.max.size").fix is not None


def test_zones_are_looked_at(simulator: FakeMold, checked: Checked) -> None:
    simulator.cloud.zones += [Zone("Edge1", type="Edge"), Zone("Old", enabled=False)]
    levels = {(x.level, x.fact) for x in checked.lines() if x.subject == "zones"}
    assert (Level.WARNING, "Edge1 is an edge zone") in levels
    assert (Level.WARNING, "Old is Disabled") in levels
    facts = [x.fact for x in checked.lines(zones=("Zone1", "Nowhere")) if x.subject == "zones"]
    assert facts == ["no zone 'Nowhere'", "Zone1"]
    simulator.cloud.zones.clear()
    assert checked.problem("zones").fact == "no zone to register in"


def test_a_zone_without_image_store_is_told(simulator: FakeMold, checked: Checked) -> None:
    simulator.cloud.zones[1].has_store = False
    simulator.cloud.zones[1].storage_vm = False
    line = checked.line("image stores")
    assert (line.level, line.fact) == (
        Level.WARNING,
        "no secondary storage in Zone2: these zones are left out",
    )
    assert checked.line("storage VMs").level is Level.OK
    assert "Zone2" in checked.problem("image stores", zones=("Zone1", "Zone2")).fact
    assert checked.line("image stores", zones=("Zone1",)).level is Level.OK
    subjects = [line.subject for line in checked.lines(direct_download=True)]
    assert "image stores" not in subjects


def test_a_zone_that_a_registration_leaves_out_is_no_problem(
    simulator: FakeMold, checked: Checked
) -> None:
    simulator.cloud.zones += [
        Zone("Edge1", type="Edge", has_store=False),
        Zone("Old", enabled=False, has_store=False, storage_vm=False),
    ]
    lines = checked.lines()
    assert not [line for line in lines if line.level is Level.PROBLEM]
    named = [x for x in checked.lines(zones=("Edge1",)) if x.level is Level.PROBLEM]
    assert [line.fact for line in named] == ["Edge1 is an edge zone"]
    assert "Old" in checked.problem("storage VMs", zones=("Old",)).fact


def test_a_cloud_in_which_no_zone_takes_downloads_is_told(
    simulator: FakeMold, checked: Checked
) -> None:
    for zone in simulator.cloud.zones:
        zone.enabled = False
    facts = [x.fact for x in checked.lines() if x.level is Level.PROBLEM]
    assert facts == ["no enabled zone takes downloads"]
    for zone in simulator.cloud.zones:
        zone.enabled, zone.has_store = True, False
    assert "no secondary storage in Zone1, Zone2" in checked.problem("image stores").fact


def test_a_zone_where_nobody_downloads_is_told(simulator: FakeMold, checked: Checked) -> None:
    simulator.cloud.zones[1].storage_vm = False
    assert "Zone2" in checked.problem("storage VMs").fact
    assert checked.line("storage VMs", zones=("Zone1",)).level is Level.OK


@pytest.mark.parametrize(
    "value",
    [
        None,
        "http://127.0.0.1:8080/client/api",
        "http://[::1]:8080/client/api",
        "http://0.0.0.0:8080/client/api",
        "http://LOCALHOST.localdomain:8080/client/api",
        "nothing",
    ],
)
def test_an_address_that_nodes_cannot_use_is_told(
    simulator: FakeMold, checked: Checked, value: str | None
) -> None:
    simulator.cloud.settings["endpoint.url"].value = "http://127.example.org:8080/client/api"
    assert checked.line("endpoint.url").level is Level.OK
    simulator.cloud.settings["endpoint.url"].value = value
    line = checked.problem("endpoint.url")
    assert "isobuilder mold setting endpoint.url" in str(line.remedy)


def test_whether_the_service_runs_is_found_by_trying_it(
    simulator: FakeMold, checked: Checked
) -> None:
    simulator.cloud.settings[ENABLED].value = "false"
    line = checked.line("Kubernetes service")
    assert (line.level, "until the management server is restarted" in line.fact) == (
        Level.WARNING,
        True,
    )
    simulator.cloud.restart()
    assert checked.problem("Kubernetes service").fact == "off"
    simulator.cloud.settings[ENABLED].value = "true"
    assert "not yet running" in checked.problem("Kubernetes service").fact


def test_offerings_that_are_too_small_are_told(
    simulator: FakeMold, checked: Checked, published: Published
) -> None:
    simulator.cloud.offerings = [{"name": "Tiny", "cpunumber": 1, "memory": 512}]
    assert "2 CPUs and 2048 MB" in checked.problem("service offering", published).fact
    simulator.cloud.offerings = [{"name": "Custom", "iscustomized": True}]
    assert checked.line("service offering", published).level is Level.OK


def test_a_missing_node_template_of_the_architecture_is_told(
    checked: Checked, publish: PublishedOf
) -> None:
    assert checked.line("node template", publish()).level is Level.OK
    line = checked.line("node template", publish(arch="aarch64"))
    assert line.level is Level.WARNING
    assert "aarch64" in line.fact


def test_an_architecture_that_the_server_does_not_know_is_a_problem(
    simulator: FakeMold, checked: Checked, publish: PublishedOf
) -> None:
    assert checked.line("architecture", publish(arch="aarch64")).level is Level.OK
    simulator.cloud.knows_arches = False
    problem = checked.problem("architecture", publish(arch="aarch64"))
    assert "knows no architectures" in problem.fact
    assert "4.20" in (problem.remedy or "")


def test_what_is_registered_already_is_told(
    simulator: FakeMold, checked: Checked, published: Published
) -> None:
    assert "not yet" in checked.line("registered versions", published).fact
    add_directly(simulator.cloud, name="by hand")
    assert "by hand" in checked.line("registered versions", published).fact


def test_a_minor_past_its_end_of_life_is_told(checked: Checked, publish: PublishedOf) -> None:
    assert "1.34 ended on 2026-10-27" in checked.line("end of life", publish("1.34.12")).fact
    line = checked.line("end of life", publish("1.36.3"))
    assert (line.level, line.fact) == (Level.OK, "upstream mends Kubernetes 1.36 until 2027-06-28")


def test_what_the_node_template_has_to_have_is_told(checked: Checked, publish: PublishedOf) -> None:
    line = checked.line("nodes", publish("1.36.5"))
    assert line.level is Level.OK
    assert "cgroup v2" in line.fact
    assert "containerd 2.3.0 of 2.3 or 2.2.0 of 2.2, or a newer line" in line.fact


def test_a_check_without_a_url_says_what_it_left_out(checked: Checked) -> None:
    assert checked.line("URL").level is Level.WARNING


# ---- the URL ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["ftp://x/y.iso", "file:///y.iso", "http://u:p@x/y.iso", "nonsense"]
)
def test_a_url_of_another_kind_is_told(checked: Checked, url: str) -> None:
    assert checked.problem("URL", url=url).fact.startswith("expected http")


def test_a_path_without_the_extension_is_told(checked: Checked, web: Web) -> None:
    assert ".iso" in checked.problem("URL", url=f"{web.url}/image.img").fact


def test_a_host_without_address_is_told(checked: Checked, published: Published) -> None:
    line = checked.problem("host", published, resolve=lambda _host: ())
    assert "cannot be resolved" in line.fact


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0", "2001:db8::1"]
)
def test_an_address_mold_refuses_is_told(
    checked: Checked, published: Published, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = checked.line("host", published, resolve=lambda _host: (address,))
    assert line.level is Level.WARNING
    assert "this simulator takes it" in line.fact
    real = Mold.capabilities
    monkeypatch.setattr(Mold, "capabilities", lambda self: real(self) | {"simulator": False})
    assert (
        "which Mold refuses"
        in checked.problem("host", published, resolve=lambda _h: (address,)).fact
    )


def test_a_private_address_must_be_among_the_internal_sites(
    simulator: FakeMold, checked: Checked, published: Published, client: Mold
) -> None:
    def resolve(_host: str) -> tuple[str, ...]:
        return ("10.1.2.3",)

    simulator.cloud.settings[INTERNAL_SITES].value = "192.168.0.0/16"
    line = checked.problem("host", published, resolve=resolve)
    assert line.fix is not None
    assert line.fix.new == "192.168.0.0/16,10.1.2.3/32"
    line.fix.apply(client)
    assert checked.line("host", published, resolve=resolve).level is Level.OK
    assert checked.line("host", published, resolve=lambda _h: ("93.184.216.34",)).level is Level.OK


def test_a_redirect_is_told_with_the_setting_that_decides(
    simulator: FakeMold, checked: Checked, published: Published, web: Web
) -> None:
    web.redirects["/go.iso"] = published.url + "?X-Signature=secret"
    url = f"{web.url}/go.iso"
    line = checked.problem("redirect", published, url=url)
    assert "HTTP 302" in line.fact
    assert "secret" not in line.fact
    assert f"isobuilder mold setting {FOLLOW_REDIRECTS} true" in str(line.remedy)
    assert line.fix == Fix(FOLLOW_REDIRECTS, "false", "true")
    simulator.cloud.settings[FOLLOW_REDIRECTS].value = "true"
    assert checked.line("redirect", published, url=url).level is Level.OK
    web.redirect_status = 308
    assert "never follows 308" in checked.problem("redirect", published, url=url).fact


def test_an_answer_that_is_no_iso_is_told(checked: Checked, published: Published, web: Web) -> None:
    url = web.put("/login.iso", b"<html>")
    assert "does not serve an ISO" in checked.problem("content", published, url=url).fact


def test_a_url_that_answers_404_or_nothing_is_told(
    checked: Checked, published: Published, web: Web
) -> None:
    assert "404" in checked.problem("URL answers", published, url=f"{web.url}/no.iso").fact
    line = checked.problem("URL answers", published, url="http://127.0.0.1:1/no.iso")
    assert "seen from here" in line.fact


def test_sizes_are_compared(
    simulator: FakeMold, checked: Checked, published: Published, web: Web
) -> None:
    longer = published.registration.model_copy(update={"size": 5})
    other = dataclasses.replace(published, registration=longer)
    assert "the ISO has 5" in checked.problem("size", other).fact
    simulator.cloud.settings[MAX_SIZE].value = "0"
    line = checked.problem(MAX_SIZE, published)
    assert line.fix == Fix(MAX_SIZE, "0", "1")
    web.no_length.add(published.url.removeprefix(web.url))
    line = checked.line("size", published)
    assert (line.level, "Content-Length" in line.fact) == (Level.WARNING, True)


def test_the_bytes_are_compared_when_asked_for(
    checked: Checked, publish: PublishedOf, web: Web
) -> None:
    first, second = publish(), publish(revision=2)
    assert checked.line("checksum", first, download=True).level is Level.OK
    line = checked.problem("checksum", first, url=second.url, download=True)
    assert first.registration.checksum.removeprefix("{SHA-256}") in line.fact


@pytest.mark.parametrize("size", [None, 0], ids=["known", "unknown"])
def test_a_download_ends_where_the_iso_would(
    checked: Checked, publish: PublishedOf, size: int | None
) -> None:
    published = publish()
    iso = bytes(32769) + b"CD001"

    class Endless(Server):
        def answer(self, request: Request) -> Reply:
            return Reply(200, {}, (iso * 10 for _ in iter(int, 1)))

    registration = published.registration
    limit = registration.size
    if size is not None:
        registration = registration.model_copy(update={"size": size})
        limit = 1_000_000
    with Endless() as web:
        url = f"{web.url}/x.iso"
        line = checked.problem(
            "checksum", registration=registration, url=url, download=True, ceiling=1_000_000
        )
    assert line.fact == f"{url}: longer than the {limit} bytes of the ISO"


def test_what_is_no_iso_is_not_downloaded(checked: Checked, published: Published, web: Web) -> None:
    url = web.put("/page.iso", b"<html>" + bytes(100_000))
    lines = checked.lines(published, url=url, download=True)
    assert [line.subject for line in lines if line.subject in {"content", "checksum"}] == [
        "content"
    ]
    assert web.hits.count("GET /page.iso") == 1


# ---- fixes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ((("listKubernetesSupportedVersions", "deny"), ("*", "allow")), "not available"),
        ((), "has no id"),
    ],
)
def test_versions_that_cannot_be_read_are_told_as_that_and_not_as_a_service_that_is_off(
    simulator: FakeMold,
    checked: Checked,
    monkeypatch: pytest.MonkeyPatch,
    rules: tuple[tuple[str, str], ...],
    named: str,
) -> None:
    simulator.cloud.users[0].key_rules = rules
    if not rules:
        monkeypatch.setattr(Mold, "versions", lambda _self: _odd())
    line = checked.problem("Kubernetes service")
    assert named in line.fact
    assert "restart" not in str(line.remedy)
    assert line.fix is None
    assert checked.line("image stores").level is Level.OK  # the rest is looked at


def _odd() -> None:
    raise StrangeAnswer("lab: listKubernetesSupportedVersions: a version has no id")


def test_a_fix_names_the_command_that_undoes_it(client: Mold) -> None:
    fix = Fix(INTERNAL_SITES, "", "10.0.0.0/8")
    client.server = dataclasses.replace(client.server, options="--server lab")
    command = f"isobuilder mold setting {INTERNAL_SITES} '' --server lab"
    assert fix.restore_command(client) == command


def test_a_fix_does_not_overwrite_what_somebody_set_meanwhile(
    simulator: FakeMold, client: Mold
) -> None:
    fix = Fix(MAX_SIZE, "50", "60")
    simulator.cloud.settings[MAX_SIZE].value = "80"
    with pytest.raises(MoldError, match="it was '50' when it was checked"):
        fix.apply(client)
    assert simulator.cloud.setting(MAX_SIZE) == "80"


def test_addresses_are_judged_as_mold_judges_them() -> None:
    assert refused_kind("10.0.0.1") is None
    assert refused_kind("fe80::1%eth0") == "an IPv6 address"
    assert allowed_by("10.0.0.1", "nonsense, 10.0.0.0/8")
    assert not allowed_by("10.0.0.1", "nonsense")
    assert allowed_by("8.8.8.8", "")
    assert resolve_host("no-such-host.invalid") == ()
    assert "127.0.0.1" in resolve_host("127.0.0.1")


@pytest.mark.parametrize("address", ["http://[", "http://a]b/client/api"])
def test_an_address_of_the_server_that_is_none_is_a_problem(
    simulator: FakeMold, checked: Checked, address: str
) -> None:
    simulator.cloud.settings["endpoint.url"].value = address
    assert "every cluster is refused" in checked.problem("endpoint.url").fact


def test_a_url_that_is_none_is_a_problem(checked: Checked, published: Published) -> None:
    line = checked.problem("URL", published, url="http://[/x.iso")
    assert "expected http:// or https://" in line.fact


def test_a_redirect_to_what_is_no_address_is_told(
    web: Web, checked: Checked, published: Published
) -> None:
    web.redirects["/moved.iso"] = "http://["
    found = checked.lines(published, url=f"{web.url}/moved.iso")
    assert any("(malformed address)" in line.fact for line in found)
