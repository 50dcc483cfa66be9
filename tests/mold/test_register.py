"""Registering: once, Ready everywhere, and sensible on bad days."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo.mold import Cloud, Timing, Zone
from isobuilder.demo.mold.download import DownloadOutcome
from isobuilder.errors import InputError, IsobuilderError, MoldError
from isobuilder.formats.kube import KubeVersion
from isobuilder.http.replies import Reply, Request
from isobuilder.mold.api.client import JobLost
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.errors import (
    AccessRefused,
    MoldUnreachable,
    OutcomeUnknown,
    StrangeAnswer,
)
from isobuilder.mold.api.signing import SignatureAlgorithm
from isobuilder.mold.register import register
from isobuilder.mold.request import Outcome, RegistrationRequest, ServerResult
from tests.fakes.mold import FakeMold
from tests.fakes.web import Web
from tests.mold.clocks import VirtualClock
from tests.mold.conftest import VIEWER, ClientOf, Published, PublishedOf, server_of
from tests.mold.messes import add_directly


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def run(client: Mold, state: Path, published: Published, **wish: Any) -> ServerResult:
    options = {"url": published.url} | wish
    [result] = register(
        [client], RegistrationRequest(published.registration, **options), state=state
    )
    return result


def outcomes(result: ServerResult) -> dict[str, str]:
    if result.error is not None:
        raise result.error
    return {zone.zone: str(zone.outcome) for zone in result.zones}


READY = {"Zone1": "ready", "Zone2": "ready"}


def test_an_iso_becomes_ready_in_every_zone(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    result = run(client, state, published)
    assert outcomes(result) == READY
    assert result.ok
    [version] = simulator.cloud.versions.values()
    assert version.name == "v1.34.12-mold-cks-amd64-r1"
    assert version.checksum == published.registration.checksum
    assert (version.semver, version.arch, version.zone) == ("1.34.12", "x86_64", None)
    assert (version.min_cpu, version.min_memory, version.state) == (2, 2048, "Enabled")


def test_registering_again_makes_no_writing_call(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    run(client, state, published)
    before = len(simulator.writes())
    assert before == 1
    again = run(client, state, published)
    assert outcomes(again) == READY
    assert again.done == []
    assert len(simulator.writes()) == before


def test_only_the_missing_zone_is_added(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    run(client, state, published, zones=("Zone1",))
    result = run(client, state, published)
    assert outcomes(result) == READY
    zones = [version.zone.name for version in simulator.cloud.versions.values() if version.zone]
    assert zones == ["Zone1", "Zone2"]
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.writes()) == 2


def test_zones_may_be_named_by_id_and_twice(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    zone = simulator.cloud.zones[1]
    result = run(client, state, published, zones=(zone.id, "Zone2"))
    assert outcomes(result) == {"Zone2": "ready"}
    assert len(simulator.cloud.versions) == 1


def test_one_copy_for_all_zones_is_ready_in_each(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.region_store = True
    assert outcomes(run(client, state, published)) == READY
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.writes()) == 1


def test_one_copy_that_fails_fails_in_every_zone(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.region_store = True
    simulator.cloud.zones[0].fails_with = "Read timed out"
    kept = run(client, state, published, keep_failed=True)
    assert outcomes(kept) == {"Zone1": "failed", "Zone2": "failed"}
    simulator.cloud.zones[0].fails_with = None
    assert outcomes(run(client, state, published)) == READY  # replaced
    assert len(simulator.cloud.versions) == 1


def test_another_revision_stands_beside_the_first(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf
) -> None:
    run(client, state, publish())
    assert outcomes(run(client, state, publish(revision=2))) == READY
    assert len(simulator.cloud.versions) == 2


def test_two_architectures_of_a_version_are_two_entries(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf
) -> None:
    run(client, state, publish())
    assert outcomes(run(client, state, publish(arch="aarch64"))) == READY
    assert {v.arch for v in simulator.cloud.versions.values()} == {"x86_64", "aarch64"}


def test_a_name_is_not_given_to_two_isos(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    add_directly(simulator.cloud, name=published.registration.name, checksum="{SHA-256}" + "0" * 64)
    result = run(client, state, published)
    assert isinstance(result.error, MoldError)
    assert "already the name of another ISO" in str(result.error)
    assert simulator.writes() == []
    assert outcomes(run(client, state, published, name="v1.34.12 again")) == READY


@pytest.mark.parametrize("reports_url", [True, False])
def test_without_reported_checksums_the_url_or_else_the_name_decides(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    reports_url: bool,
) -> None:
    simulator.cloud.reports_checksum = False
    simulator.cloud.reports_url = reports_url
    run(client, state, published)
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.writes()) == 1


def test_a_checksum_may_be_reported_with_its_algorithm() -> None:
    from isobuilder.mold.api.records import IsoInZone

    digits = "AB" * 32
    assert IsoInZone(id="x", checksum="{SHA-256}" + digits).sha256 == digits.lower()
    assert IsoInZone(id="x", checksum=digits).sha256 == digits.lower()
    assert IsoInZone(id="x", checksum="0" * 128).sha256 is None


def test_a_double_made_by_hand_is_left_to_audit(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    for _ in range(2):
        add_directly(simulator.cloud, checksum=published.registration.checksum)
    result = run(client, state, published)
    assert outcomes(result) == READY
    assert any("registered 2 times" in warning for warning in result.warnings)
    assert simulator.writes() == []


def test_disabling_and_enabling_is_part_of_the_wish(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    run(client, state, published, enabled=False)
    [version] = simulator.cloud.versions.values()
    assert version.state == "Disabled"
    run(client, state, published)
    assert version.state == "Disabled"
    run(client, state, published, enabled=True)
    assert version.state == "Enabled"


def test_name_and_resources_may_be_chosen(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    run(client, state, published, name="쿠버네티스 1.34 ~*", min_cpu=4, min_memory=8192)
    [version] = simulator.cloud.versions.values()
    assert (version.name, version.min_cpu, version.min_memory) == ("쿠버네티스 1.34 ~*", 4, 8192)


def test_what_is_past_its_end_of_life_is_told(
    client: Mold, state: Path, publish: PublishedOf
) -> None:
    [warning] = run(client, state, publish("1.34.12")).warnings
    assert "support of Kubernetes 1.34 ended on 2026-10-27" in warning
    assert run(client, state, publish("1.36.3")).warnings == []


def test_an_iso_for_nodes_of_the_other_kind_is_told_before_anything_is_registered(
    cloud: Cloud, client_of: ClientOf, published: Published, tmp_path: Path
) -> None:
    with FakeMold(cloud, algorithm=SignatureAlgorithm.HMAC_SHA1) as simulator:
        server = dataclasses.replace(server_of(simulator), algorithm=simulator.algorithm)
        client = client_of(simulator, server=server)
        before: list[int] = []
        request = RegistrationRequest(published.registration, url=published.url)
        [result] = register(
            [client],
            request,
            state=tmp_path,
            tell=lambda text: before.append(len(simulator.writes()) + ("mold-cks" not in text)),
        )
    assert result.ok
    assert before == [0]
    assert "mold-cks is not for CloudStack 4.23.0.0" in result.warnings[0]


def test_what_is_there_but_disabled_is_told(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf
) -> None:
    published = publish("1.36.3")
    run(client, state, published, enabled=False)
    result = run(client, state, published)
    assert outcomes(result) == READY
    assert ["is Disabled" in warning for warning in result.warnings] == [True]


def test_other_minimums_than_what_is_there_are_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    run(client, state, published)
    result = run(client, state, published, min_cpu=4, min_memory=2048)
    assert len([w for w in result.warnings if "wants 2 CPUs, not 4" in w]) == 1
    assert not [w for w in result.warnings if "MB of memory" in w]
    assert len(simulator.writes()) == 1


def test_direct_download_is_ready_at_once_also_in_edge_zones(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.zones.append(Zone("Edge1", type="Edge", has_store=False))
    assert outcomes(run(client, state, published)) == READY
    assert {v.zone.name for v in simulator.cloud.versions.values() if v.zone} == {"Zone1", "Zone2"}
    result = run(client, state, published, direct_download=True)
    assert outcomes(result) == READY | {"Edge1": "ready"}
    assert [z.text for z in result.zones if z.zone == "Edge1"] == ["Bypassed Secondary Storage"]
    assert len(simulator.cloud.versions) == 3


def test_a_disabled_zone_without_storage_keeps_no_other_from_its_iso(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.zones.append(Zone("Busan", enabled=False, has_store=False))
    for _ in range(2):
        assert outcomes(run(client, state, published)) == READY
    assert len(simulator.cloud.versions) == 2


def test_not_waiting_leaves_the_download_to_the_server(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    result = run(client, state, published, wait=False)
    assert outcomes(result) == {"Zone1": "pending", "Zone2": "pending"}
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.writes()) == 1


def test_a_dry_run_says_and_does_nothing(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    result = run(client, state, published, dry_run=True)
    assert result.done == ["would register v1.34.12-mold-cks-amd64-r1 in all zones"]
    assert outcomes(result) == {"Zone1": "missing", "Zone2": "missing"}
    assert simulator.writes() == []


# ---- refusals: each text of the server reaches the person with a remedy --------------------


def refusal_of(result: ServerResult) -> tuple[str, str]:
    assert result.error is not None
    assert result.error.exit_code == 8
    return str(result.error), result.error.hint or ""


@pytest.mark.parametrize("code", [431, 530])
@pytest.mark.parametrize(
    ("change", "text", "hint"),
    [
        ({"kubernetesversion": KubeVersion("1.10.9")}, "1.11.0 is minimum", "1.11.0 and newer"),
    ],
)
def test_what_the_server_refuses_comes_with_its_text_and_a_remedy(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    change: dict[str, Any],
    text: str,
    hint: str,
    code: int,
) -> None:
    simulator.cloud.parameter_error = code
    published.registration = published.registration.model_copy(update=change)
    said, remedy = refusal_of(run(client, state, published))
    assert f"addKubernetesSupportedVersion: Mold answered {code}" in said
    assert text in said
    assert hint in remedy
    assert not simulator.cloud.versions


def test_an_architecture_the_server_does_not_know_is_told(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf
) -> None:
    simulator.cloud.arches = ("x86_64", "i686")
    said, hint = refusal_of(run(client, state, publish(arch="aarch64")))
    assert "Unsupported arch type: aarch64" in said
    assert "4.20" in hint


def _without_architectures(cloud: Cloud, *, tells: bool) -> None:
    cloud.is_mold, cloud.knows_arches, cloud.tells_parameters = False, False, tells
    cloud.version = "4.23.0.0" if tells else "4.19.1.3"


@pytest.mark.parametrize("tells", [True, False])
def test_a_server_without_architectures_gets_no_iso_of_another_one(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf, *, tells: bool
) -> None:
    _without_architectures(simulator.cloud, tells=tells)
    published = publish(arch="aarch64")
    for dry_run in (True, False, False):
        said, hint = refusal_of(run(client, state, published, dry_run=dry_run))
        assert "knows no architectures" in said
        assert "4.20" in hint
    assert not simulator.cloud.versions
    for _again in range(2):
        assert outcomes(run(client, state, publish())) == READY
    assert len(simulator.cloud.versions) == 1


def test_an_architecture_that_is_not_told_makes_no_other_iso(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf
) -> None:
    published = publish(arch="aarch64")
    assert outcomes(run(client, state, published)) == READY
    simulator.cloud.knows_arches, simulator.cloud.tells_parameters = False, False
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.cloud.versions) == 1


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/x.iso", "http://127.0.0.1:1/x.iso"])
def test_an_unreachable_url_is_told(
    client: Mold, state: Path, published: Published, url: str
) -> None:
    said, hint = refusal_of(run(client, state, published, url=url))
    assert url in said
    assert "isobuilder mold check" in hint


def test_a_loopback_url_is_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.refuses_loopback = True
    _said, hint = refusal_of(run(client, state, published))
    assert "loopback" in hint


def test_a_zone_without_image_store_is_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.zones[1].has_store = False
    for _ in range(2):
        result = run(client, state, published)
        assert outcomes(result) == {"Zone1": "ready"}
        assert any("not waited for: Zone2" in warning for warning in result.warnings)
        assert len(simulator.cloud.versions) == 1
    result = run(client, state, published, zones=("Zone1", "Zone2"))
    assert outcomes(result) == {"Zone1": "ready", "Zone2": "failed"}
    assert "No image store available in zone: Zone2" in result.zones[1].text
    assert len(simulator.cloud.versions) == 1


def test_an_unknown_zone_is_told_with_the_known_ones(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    said, hint = refusal_of(run(client, state, published, zones=("Zone9",)))
    assert "Zone9" in said
    assert "Zone1, Zone2" in hint
    assert simulator.writes() == []


def test_an_edge_zone_wants_direct_download(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.zones.append(Zone("Edge1", type="Edge"))
    said, hint = refusal_of(run(client, state, published, zones=("Edge1",)))
    assert "edge zone" in said
    assert "--direct-download" in hint


def test_a_server_without_zones_is_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.zones.clear()
    assert "no zone" in refusal_of(run(client, state, published))[0]


def test_a_server_whose_zones_are_all_disabled_is_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    for place in simulator.cloud.zones:
        place.enabled = False
    assert "no enabled zone" in refusal_of(run(client, state, published))[0]


def test_a_plugin_that_is_off_is_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.plugin_on = False
    result = run(client, state, published)
    assert isinstance(result.error, AccessRefused)
    assert result.error.cause == "plugin"


def test_a_role_that_may_not_register_is_told(
    simulator: FakeMold, client_of: ClientOf, state: Path, published: Published
) -> None:
    result = run(client_of(simulator, VIEWER), state, published)
    assert isinstance(result.error, AccessRefused)
    assert result.error.cause == "role"


@pytest.mark.parametrize(
    "wish",
    [
        {"url": None},
        {"url": "ftp://x/y.iso"},
        {"url": "http://user:hunter2@x/y.iso"},
        {"url": "http://x/y.img"},
        {"min_cpu": 1},
        {"min_memory": 1024},
        {"upload": Path("x.iso")},
        {"url": None, "upload": Path("x.iso"), "direct_download": True},
    ],
)
def test_what_no_server_takes_is_refused_before_any_is_asked(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    wish: dict[str, Any],
) -> None:
    with pytest.raises(InputError) as caught:
        run(client, state, published, **wish)
    assert "hunter2" not in str(caught.value)
    assert simulator.log == []


# ---- downloads that fail ---------------------------------------------------------------------


def failed(result: ServerResult) -> tuple[str, str]:
    assert result.error is None
    assert not result.ok
    texts = {(z.text, z.hint or "") for z in result.zones if z.outcome is Outcome.FAILED}
    assert len(texts) == 1
    return texts.pop()


def test_a_redirect_is_told_and_leaves_nothing(
    simulator: FakeMold, client: Mold, state: Path, published: Published, web: Web
) -> None:
    web.redirects["/go.iso"] = published.url
    text, hint = failed(run(client, state, published, url=f"{web.url}/go.iso"))
    assert "due to redirection, response code: 302" in text
    assert "isobuilder mold setting store.download.follow.redirects true" in hint
    assert not simulator.cloud.versions


def test_html_in_place_of_the_iso_is_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published, web: Web
) -> None:
    url = web.put("/login.iso", b"<!doctype html><title>Log in</title>")
    text, hint = failed(run(client, state, published, url=url))
    assert "Template content is unsupported" in text
    assert "login" in hint
    assert not simulator.cloud.versions


def test_a_checksum_mismatch_is_told(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf
) -> None:
    first, second = publish(), publish(revision=2)
    text, hint = failed(run(client, state, first, url=second.url))
    assert "didn't match the given value" in text
    assert "--download-check" in hint
    assert not simulator.cloud.versions


def test_a_server_that_tells_no_length_is_good_enough(
    client: Mold, state: Path, published: Published, web: Web
) -> None:
    web.no_length.add(published.url.removeprefix(web.url))
    assert outcomes(run(client, state, published)) == READY


def test_an_iso_that_is_too_large_is_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.settings["max.template.iso.size"].value = "0"
    text, hint = failed(run(client, state, published))
    assert text == "Download file size is too large"
    assert "max.template.iso.size" in hint


def test_a_private_address_that_is_not_allowed_is_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published, web: Web
) -> None:
    from isobuilder.demo.mold import Host

    simulator.cloud.resolve["iso.internal"] = Host("10.20.30.40", web.url)
    url = published.url.replace(web.url, "http://iso.internal")
    text, hint = failed(run(client, state, published, url=url))
    assert text == "Connection refused"
    assert "secstorage.allowed.internal.sites" in hint
    simulator.cloud.settings["secstorage.allowed.internal.sites"].value = "10.20.30.0/24"
    assert outcomes(run(client, state, published, url=url)) == READY


def test_one_zone_that_fails_takes_the_all_zone_version_with_it(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.zones[1].fails_with = "Read timed out"
    result = run(client, state, published)
    assert outcomes(result) == {"Zone1": "ready", "Zone2": "failed"}
    assert not simulator.cloud.versions
    kept = run(client, state, published, keep_failed=True)
    assert not kept.ok
    assert len(simulator.cloud.versions) == 1


def test_with_zones_named_the_good_zone_keeps_its_own(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.zones[1].fails_with = "Read timed out"
    result = run(client, state, published, zones=("Zone1", "Zone2"))
    assert outcomes(result) == {"Zone1": "ready", "Zone2": "failed"}
    [version] = simulator.cloud.versions.values()
    assert version.zone is simulator.cloud.zones[0]
    simulator.cloud.zones[1].fails_with = None
    assert outcomes(run(client, state, published, zones=("Zone1", "Zone2"))) == READY


def test_a_download_stuck_in_allocated_ends_with_the_timeout(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    for zone in simulator.cloud.zones:
        zone.stuck = True
    text, hint = failed(run(client, state, published, timeout=120.0))
    assert "not Ready after 120 s: Processing" in text
    assert "secondary storage VM" in hint
    assert len(simulator.cloud.versions) == 1  # let go of only after its download


def test_a_zone_in_which_nobody_downloads_is_told_at_once(
    cloud: Cloud, client: Mold, published: Published, state: Path
) -> None:
    cloud.zones[1].storage_vm = False
    told: list[str] = []
    request = RegistrationRequest(published.registration, url=published.url, timeout=60)
    [result] = register([client], request, state=state, tell=told.append)
    assert told == ["lab: no storage VM runs in Zone2: nothing is downloaded there"]
    assert outcomes(result) == {"Zone1": "ready", "Zone2": "failed"}


def test_what_could_not_be_deleted_during_its_download_is_told_after_the_reason(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    for zone in simulator.cloud.zones:
        zone.stuck = True
    result = run(client, state, published, timeout=30.0)
    assert result.error is None
    assert any("could not be deleted yet: Please specify" in text for text in result.warnings)
    for zone in simulator.cloud.zones:
        zone.stuck = False
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.cloud.versions) == 1


@pytest.mark.parametrize("trouble", [MoldUnreachable, OutcomeUnknown, JobLost, StrangeAnswer])
def test_what_cannot_be_deleted_hides_no_reason_and_keeps_no_other_from_it(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
    trouble: type[IsobuilderError],
) -> None:
    for zone in simulator.cloud.zones:
        zone.fails_with = "Read timed out"
    real, asked = client.delete_version, []

    def fail_once(version_id: str) -> None:
        asked.append(version_id)
        if len(asked) == 1:
            raise trouble("no answer")
        real(version_id)

    monkeypatch.setattr(client, "delete_version", fail_once)
    text, _hint = failed(run(client, state, published, zones=("Zone1", "Zone2")))
    assert text == "Read timed out"
    assert list(simulator.cloud.versions) == asked[:1]


@pytest.mark.parametrize("trouble", [MoldUnreachable, StrangeAnswer])
def test_a_double_that_cannot_be_deleted_is_a_warning(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
    trouble: type[IsobuilderError],
) -> None:
    def fail(_version_id: str) -> None:
        raise trouble("no answer")

    monkeypatch.setattr(client, "delete_version", fail)
    second_run_adds(simulator, published, 5.0)
    result = run(client, state, published)
    assert outcomes(result) == READY
    assert any("double" in text for text in result.warnings)


def test_a_version_whose_iso_is_gone_is_replaced(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf
) -> None:
    other = publish("1.35.4")
    run(client, state, other)
    for published in (publish(), publish(arch="aarch64")):
        run(client, state, published)
        [old] = [v for v in simulator.cloud.versions.values() if v.url == published.url]
        old.has_iso = False
        result = run(client, state, published)
        assert outcomes(result) == READY
        assert f"deleted {old.id}, whose ISO is gone" in result.done
        assert old.id not in simulator.cloud.versions


@pytest.mark.parametrize(
    "text",
    [
        "Storage agent or storage VM disconnected",
        "Storage Limit Reached",
        "HTTP Server does not support partial get",
        "Download canceled",
        "Illegal host specified in URL.",
        "No route to host",
        "Network is unreachable",
        "java.net.UnknownHostException: web.example",
        "iso.example",
    ],
)
@pytest.mark.parametrize("details", [True, False])
def test_a_failure_is_replaced_whatever_its_text(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    text: str,
    details: bool,
) -> None:
    simulator.cloud.reports_details = details
    for zone in simulator.cloud.zones:
        zone.fails_with = text
    said, hint = failed(run(client, state, published, keep_failed=True))
    assert said == text
    assert hint
    [old] = simulator.cloud.versions
    for zone in simulator.cloud.zones:
        zone.fails_with = None
    assert outcomes(run(client, state, published)) == READY
    assert old not in simulator.cloud.versions


@pytest.mark.parametrize("algorithm", ["sha512", "md5"])
def test_bytes_are_compared_whatever_hash_the_server_kept(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf, algorithm: str
) -> None:
    published, other = publish(), publish(revision=2)
    version = add_directly(
        simulator.cloud,
        name=published.registration.name,
        url=published.url,
        checksum="{X}" + hashlib.new(algorithm, other.path.read_bytes()).hexdigest(),
    )
    result = run(client, state, published, iso=published.path)
    assert "already the name of another ISO" in str(result.error)
    digits = hashlib.new(algorithm, published.path.read_bytes()).hexdigest()
    version.checksum = digits
    for row in version.rows:
        row.outcome = dataclasses.replace(row.outcome, hexdigest=digits)  # type: ignore[type-var]
    assert outcomes(run(client, state, published, iso=published.path)) == READY
    assert simulator.writes() == []


def test_what_had_failed_before_is_replaced(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    for zone in simulator.cloud.zones:
        zone.fails_with = "Connection refused"
    run(client, state, published, keep_failed=True)
    [old] = simulator.cloud.versions
    for zone in simulator.cloud.zones:
        zone.fails_with = None
    result = run(client, state, published)
    assert outcomes(result) == READY
    [new] = simulator.cloud.versions
    assert new != old


def test_what_somebody_else_made_under_another_name_and_failed_is_left_alone(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    for zone in simulator.cloud.zones:
        zone.fails_with = "Connection refused"
    run(client, state, published, name="kim's", keep_failed=True)
    [theirs] = simulator.cloud.versions
    for zone in simulator.cloud.zones:
        zone.fails_with = None
    result = run(client, state, published)
    assert outcomes(result) == READY
    assert theirs in simulator.cloud.versions
    assert any(f"kim's ({theirs}) is the same ISO and failed" in w for w in result.warnings)
    writes = len(simulator.writes())
    assert outcomes(run(client, state, published)) == READY
    assert simulator.writes()[writes:] == []


def test_what_another_run_began_and_failed_is_replaced_in_the_same_run(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    clock: VirtualClock,
) -> None:
    for zone in simulator.cloud.zones:
        zone.fails_with = "Connection refused"
    run(client, state, published, wait=False)
    [old] = simulator.cloud.versions.values()

    def heal(_now: float) -> None:
        if any(row.outcome for row in old.rows):
            for zone in simulator.cloud.zones:
                zone.fails_with = None

    clock.on_sleep.append(heal)
    assert outcomes(run(client, state, published)) == READY
    assert old.id not in simulator.cloud.versions


def test_a_status_text_nobody_knows_is_not_a_failure_at_once(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = Cloud.state_of

    def odd(cloud: Cloud, row: Any) -> tuple[str, str, bool]:
        state, status, ready = known(cloud, row)
        return state, ("Reticulating splines" if "%" in status else status), ready

    monkeypatch.setattr(Cloud, "state_of", odd)
    simulator.cloud.reports_details = False
    assert outcomes(run(client, state, published)) == READY
    simulator.cloud.pace = dataclasses.replace(simulator.cloud.pace, downloading=600.0)
    simulator.cloud.versions.clear()
    text, _hint = failed(run(client, state, published))
    assert text == "Reticulating splines"


def test_a_ready_iso_with_another_checksum_is_a_failure(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
) -> None:
    def swap(_number: int, _command: str, _moment: str) -> None:
        simulator.cloud.tick()
        for version in simulator.cloud.versions.values():
            version.checksum = ""
            for row in version.rows:
                if row.outcome is not None:
                    row.outcome = dataclasses.replace(row.outcome, hexdigest="0" * 64)

    simulator.faults.watchers.append(swap)
    text, _hint = failed(run(client, state, published))
    assert "Mold reports SHA-256 0000" in text


@pytest.mark.parametrize("algorithm", ["sha512", "md5"])
def test_other_bytes_in_a_zone_that_ends_later_are_a_failure_whatever_their_hash(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf, algorithm: str
) -> None:
    published, other = publish(), publish(revision=2)
    digits = [
        hashlib.new(algorithm, one.path.read_bytes()).hexdigest() for one in (published, other)
    ]
    version = add_directly(simulator.cloud, name=published.registration.name, url=published.url)
    good, late = version.rows
    good.outcome = dataclasses.replace(good.outcome, hexdigest=digits[0])  # type: ignore[type-var]
    ready, late.outcome = late.outcome, None

    def end(now: float) -> None:
        if now > 10 and ready is not None:
            late.outcome = dataclasses.replace(ready, hexdigest=digits[1])

    assert isinstance(client.clock, VirtualClock)
    client.clock.on_sleep.append(end)
    result = run(client, state, published, iso=published.path)
    assert outcomes(result) == {"Zone1": "ready", "Zone2": "failed"}
    name = {"sha512": "SHA-512", "md5": "MD5"}[algorithm]
    assert f"Mold reports {name} {digits[1]}, expected {digits[0]}" in result.zones[1].text
    again = run(client, state, published, iso=published.path)
    assert "already the name of another ISO" in str(again.error)


def test_an_upload_whose_failure_only_its_state_tells_is_replaced(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.cloud.reports_details = False
    zone = simulator.cloud.zones[0]
    version = add_directly(simulator.cloud, name=published.registration.name, zone=zone)
    version.rows[0].outcome = DownloadOutcome(error="", size=0, hexdigest="")
    version.url = published.url
    result = run(client, state, published, zones=("Zone1",))
    assert outcomes(result) == {"Zone1": "ready"}
    assert f"deleted {version.id}, whose download had failed" in result.done


def test_two_names_of_one_server_are_told_and_register_once(
    simulator: FakeMold, client: Mold, client_of: ClientOf, state: Path, published: Published
) -> None:
    told: list[str] = []
    second = client_of(simulator, server=server_of(simulator, name="other"))
    request = RegistrationRequest(published.registration, url=published.url)
    first, again = register([client, second], request, state=state, tell=told.append)
    assert (first.server, again.server) == ("lab", "other")
    assert outcomes(first) == outcomes(again) == READY
    assert again.done == []
    assert len(simulator.cloud.versions) == 1
    assert told == [f"other is lab: both are {client.endpoint}"]


# ---- bad days in the middle ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cut", "lost", "refused", "html", "502", "503", "429"])
def test_a_broken_answer_to_the_registration_registers_once(
    simulator: FakeMold, client: Mold, state: Path, published: Published, kind: str
) -> None:
    simulator.faults.add(kind, command="addKubernetesSupportedVersion")
    result = run(client, state, published)
    assert outcomes(result) == READY
    assert len(simulator.cloud.versions) == 1


def test_answers_with_unknown_and_without_optional_fields_are_understood(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.faults.add("empty-fields", times=1000)
    assert outcomes(run(client, state, published)) == READY
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.cloud.versions) == 1


def test_a_minute_of_503_during_the_wait_is_carried_through(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
) -> None:
    def fall(_number: int, command: str, moment: str) -> None:
        if command == "addKubernetesSupportedVersion" and moment == "after":
            simulator.go_down(60)

    simulator.faults.watchers.append(fall)
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.cloud.versions) == 1


def in_the_wait(simulator: FakeMold, then: Callable[[], None]) -> None:
    """Let something happen in the middle of the wait."""
    looks: list[str] = []

    def look(_number: int, command: str, moment: str) -> None:
        if command == "listIsos" and moment == "before":
            looks.append(command)
            if len(looks) == 5:  # the first three are before the wait
                then()

    simulator.faults.watchers.append(look)


@pytest.mark.parametrize("kind", ["down", "html"])
def test_an_outage_during_the_wait_is_waited_over(
    simulator: FakeMold, client: Mold, state: Path, published: Published, kind: str
) -> None:
    def fall() -> None:
        if kind == "down":
            simulator.go_down(1000)
        else:
            simulator.faults.add("html", command="listIsos", times=200)

    in_the_wait(simulator, fall)
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.cloud.versions) == 1


def test_what_a_server_was_doing_when_it_went_away_stays_and_is_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    in_the_wait(simulator, lambda: simulator.go_down(9000))
    result = run(client, state, published)
    assert isinstance(result.error, MoldUnreachable)
    assert client.clock.monotonic() > 3600
    assert [zone.outcome for zone in result.zones] == [Outcome.PENDING] * 2
    assert any("stays, as it may be Ready by now" in text for text in result.warnings)
    simulator.down_until = 0.0
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.cloud.versions) == 1


def test_a_server_that_goes_away_for_good_is_told_and_the_next_run_carries_on(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    def fall(_number: int, command: str, moment: str) -> None:
        if command == "addKubernetesSupportedVersion" and moment == "after":
            simulator.go_down(4000)

    simulator.faults.watchers.append(fall)
    result = run(client, state, published)
    assert isinstance(result.error, MoldUnreachable)
    simulator.down_until = 0.0
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.cloud.versions) == 1


def test_a_server_that_is_replaced_during_the_wait_is_told(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    count = 0

    def swap(_number: int, command: str, moment: str) -> None:
        nonlocal count
        if command == "listIsos" and moment == "before":
            count += 1
            if count == 3:
                simulator.cloud.replace()

    simulator.faults.watchers.append(swap)
    text, hint = failed(run(client, state, published))
    assert "went away during the wait" in text
    assert "again" in hint
    assert outcomes(run(client, state, published)) == READY


def second_run_adds(
    simulator: FakeMold, published: Published, after: float, name: str | None = None
) -> None:
    """Let another machine register the same ISO right when this one does."""

    def rival(_number: int, command: str, moment: str) -> None:
        if command == "addKubernetesSupportedVersion" and moment == "after":
            simulator.faults.watchers.remove(rival)
            version = add_directly(
                simulator.cloud,
                name=name or published.registration.name,
                url=published.url,
                checksum=published.registration.checksum,
            )
            version.created = simulator.cloud.now_text()
            if after:
                from datetime import timedelta

                moment_there = simulator.cloud.clock.now() + timedelta(seconds=after)
                version.created = moment_there.strftime("%Y-%m-%dT%H:%M:%S%z")

    simulator.faults.watchers.append(rival)


@pytest.mark.parametrize("after", [-5.0, 0.0, 5.0])
def test_two_registrations_at_once_leave_one(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    after: float,
) -> None:
    second_run_adds(simulator, published, after)
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.cloud.versions) == 1


@pytest.mark.parametrize("after", [-5.0, 5.0])
def test_what_somebody_else_makes_at_once_under_another_name_stays(
    simulator: FakeMold, client: Mold, state: Path, published: Published, after: float
) -> None:
    second_run_adds(simulator, published, after, name="kim's")
    assert outcomes(run(client, state, published)) == READY
    assert "kim's" in {version.name for version in simulator.cloud.versions.values()}


def test_what_somebody_else_made_is_not_taken_for_ours_whose_answer_was_lost(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    def lose(_number: int, command: str, moment: str) -> None:
        if command == "addKubernetesSupportedVersion" and moment == "before":
            simulator.faults.watchers.remove(lose)
            url, checksum = published.url, published.registration.checksum
            add_directly(simulator.cloud, name="kim's", url=url, checksum=checksum)
            raise ConnectionAbortedError

    simulator.faults.watchers.append(lose)
    result = run(client, state, published)
    assert outcomes(result) == READY
    [theirs] = [v.id for v in simulator.cloud.versions.values() if v.name == "kim's"]
    assert not any(theirs in text for text in result.done)


def test_two_real_runs_at_once_register_once(
    simulator: FakeMold,
    client_of: ClientOf,
    state: Path,
    published: Published,
    tmp_path: Path,
) -> None:
    import threading

    results: list[ServerResult] = []
    clients = [client_of(simulator) for _ in range(4)]
    threads = [
        threading.Thread(
            target=lambda c=client, n=n: results.append(
                # Different folders: as if on different machines.
                run(c, tmp_path / f"machine{n}", published)
            )
        )
        for n, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [outcomes(result) for result in results] == [READY] * 4
    assert len(simulator.cloud.versions) == 1


def test_after_ctrl_c_the_next_run_carries_on(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    clock: VirtualClock,
) -> None:
    def interrupt(_now: float) -> None:
        if simulator.cloud.versions:
            clock.on_sleep.clear()
            raise KeyboardInterrupt

    clock.on_sleep.append(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(client, state, published)
    assert len(simulator.cloud.versions) == 1
    assert outcomes(run(client, state, published)) == READY
    assert len(simulator.cloud.versions) == 1


# ---- several servers -------------------------------------------------------------------------


def test_each_server_has_its_own_result(
    simulator: FakeMold,
    client_of: ClientOf,
    state: Path,
    published: Published,
    clock: VirtualClock,
) -> None:
    other = Cloud(zones=("Busan",), clock=clock, pace=Timing(join=True))
    other.users = simulator.cloud.users
    broken = Cloud(zones=("Jeju",), clock=clock, pace=Timing(join=True))
    broken.users = simulator.cloud.users
    broken.plugin_on = False
    with FakeMold(other) as second, FakeMold(broken) as third:
        clients = [
            client_of(simulator, server=server_of(simulator, name="seoul")),
            client_of(second, server=server_of(second, name="busan")),
            client_of(third, server=server_of(third, name="jeju")),
            client_of(second, server=server_of(second, name="busan-again")),
        ]
        wish = RegistrationRequest(published.registration, url=published.url)
        results = register(clients, wish, state=state)
    assert [result.server for result in results] == ["seoul", "busan", "jeju", "busan-again"]
    assert [result.ok for result in results] == [True, True, False, True]
    assert outcomes(results[1]) == outcomes(results[3]) == {"Busan": "ready"}


# ---- upload ----------------------------------------------------------------------------------


def test_an_iso_is_uploaded_to_every_zone(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    result = run(client, state, published, url=None, upload=published.path)
    assert outcomes(result) == READY
    assert len(simulator.cloud.versions) == 2
    writes = len(simulator.writes())
    again = run(client, state, published, url=None, upload=published.path)
    assert outcomes(again) == READY
    assert len(simulator.writes()) == writes


def test_an_upload_of_the_wrong_file_is_told_and_leaves_nothing(
    simulator: FakeMold, client: Mold, state: Path, publish: PublishedOf
) -> None:
    first, second = publish(), publish(revision=2)
    text, _hint = failed(run(client, state, first, url=None, upload=second.path))
    assert "didn't match" in text
    assert not simulator.cloud.versions


def test_no_login_of_a_netrc_file_goes_to_where_an_upload_is_sent(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "netrc").write_text("default login kim password hunter2\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[str | None] = []
    real = client.session.send

    def send(request: Any, **options: Any) -> Any:
        seen.append(request.headers.get("Authorization"))
        return real(request, **options)

    monkeypatch.setattr(client.session, "send", send)
    assert run(client, state, published, url=None, upload=published.path).ok
    assert len(seen) > 5
    assert set(seen) == {None}


def test_an_upload_that_is_refused_leaves_nothing(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    def expire(_number: int, command: str, moment: str) -> None:
        if command.startswith("getUpload") and moment == "after":
            for version in simulator.cloud.versions.values():
                for row in version.rows:
                    row.upload_until = None

    simulator.faults.watchers.append(expire)
    text, _hint = failed(run(client, state, published, url=None, upload=published.path))
    assert "HTTP 401" in text
    assert not simulator.cloud.versions


def test_an_upload_that_breaks_off_tells_its_reason_and_is_begun_again_once_the_server_lets_go(
    simulator: FakeMold, client: Mold, state: Path, published: Published, clock: VirtualClock
) -> None:
    def cut(_number: int, command: str, moment: str) -> None:
        if command == "upload" and moment == "before":
            raise ConnectionAbortedError

    simulator.faults.watchers.append(cut)
    result = run(client, state, published, url=None, upload=published.path, zones=("Zone1",))
    assert isinstance(result.error, MoldUnreachable)
    assert "upload to 127.0.0.1" in str(result.error)
    assert any("could not be deleted yet: The ISO is either" in text for text in result.warnings)
    simulator.faults.watchers.clear()
    clock.sleep(3600)  # upload.operation.timeout
    again = run(client, state, published, url=None, upload=published.path, zones=("Zone1",))
    assert outcomes(again) == {"Zone1": "ready"}
    assert len(simulator.cloud.versions) == 1


def test_an_upload_whose_ticket_was_lost_leaves_nothing(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    simulator.faults.add("lost", command="getUploadParamsForKubernetesSupportedVersion")
    result = run(client, state, published, url=None, upload=published.path)
    assert outcomes(result) == {"Zone1": "failed", "Zone2": "ready"}
    assert "the answer was lost" in result.zones[-1].text
    assert any("could not be deleted yet" in text for text in result.warnings)
    again = run(client, state, published, url=None, upload=published.path, timeout=7200.0)
    assert outcomes(again) == READY
    assert len(simulator.cloud.versions) == 2


@pytest.mark.parametrize("zone", [0, 1])
@pytest.mark.parametrize("trouble", ["broken", "refused", "ticket"])
def test_what_keeps_one_zone_from_its_upload_keeps_no_other(
    simulator: FakeMold, client: Mold, state: Path, published: Published, zone: int, trouble: str
) -> None:
    tickets = 0

    def go_wrong(_number: int, command: str, moment: str) -> None:
        nonlocal tickets
        tickets += command.startswith("getUpload") and moment == "after"
        if tickets != zone + 1:
            return
        if trouble == "ticket" and command.startswith("getUpload") and moment == "after":
            raise ConnectionAbortedError
        if trouble == "broken" and command == "upload":
            raise ConnectionAbortedError
        if trouble == "refused" and command.startswith("getUpload") and moment == "after":
            for row in list(simulator.cloud.versions.values())[-1].rows:
                row.upload_until = None

    simulator.faults.watchers.append(go_wrong)
    result = run(client, state, published, url=None, upload=published.path)
    bad, good = simulator.cloud.zones[zone], simulator.cloud.zones[1 - zone]
    assert outcomes(result) == {bad.name: "failed", good.name: "ready"}
    uploaded = [v for v in simulator.cloud.versions.values() if v.zone is good]
    assert len(uploaded) == 1
    assert uploaded[0].id not in " ".join(result.warnings)


def test_an_upload_that_was_killed_is_replaced_once_mold_gave_it_up(
    simulator: FakeMold, client: Mold, state: Path, published: Published
) -> None:
    registration = published.registration
    client.call(
        "getUploadParamsForKubernetesSupportedVersion",
        name=registration.name,
        semanticversion=str(registration.kubernetesversion),
        mincpunumber=2,
        minmemory=2048,
        format="ISO",
        zoneid=simulator.cloud.zones[0].id,
        checksum=registration.checksum,
    )
    result = run(
        client, state, published, url=None, upload=published.path, zones=("Zone1",), timeout=7200.0
    )
    assert outcomes(result) == {"Zone1": "ready"}
    assert len(simulator.cloud.versions) == 1


def test_an_arm_iso_cannot_be_uploaded(client: Mold, state: Path, publish: PublishedOf) -> None:
    arm = publish(arch="aarch64")
    with pytest.raises(InputError, match="no field for the architecture"):
        run(client, state, arm, url=None, upload=arm.path)


def test_the_version_of_another_server_is_not_ours(client: Mold) -> None:
    client.delete_version("not-there")


def test_of_an_upload_that_is_refused_without_end_only_the_beginning_is_read(
    simulator: FakeMold,
    client: Mold,
    state: Path,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_request: Request) -> Reply:
        return Reply(500, {}, (b"no! " * 16384 for _ in iter(int, 1)))

    monkeypatch.setattr(simulator, "on_upload", refuse)
    wish = {"url": None, "upload": published.path, "zones": ("Zone1",)}
    result = run(client, state, published, **wish)
    assert "HTTP 500: no! no! no!" in str(result.error)
