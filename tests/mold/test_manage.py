"""Listing, showing and changing what is registered."""

from __future__ import annotations

import dataclasses

import pytest

from isobuilder.demo.mold import CloudCluster
from isobuilder.errors import MoldError, UsageProblem
from isobuilder.mold import manage
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.errors import MoldRefused
from isobuilder.mold.manage import Filter
from tests.fakes.mold import FakeMold
from tests.mold.clocks import VirtualClock
from tests.mold.conftest import VIEWER, ClientOf
from tests.mold.messes import add_directly


@pytest.fixture
def mold(client: Mold) -> Mold:
    return client


def names(mold: Mold, **wanted: object) -> list[str]:
    return [e.version.name for e in manage.list_entries(mold, Filter(**wanted))]  # type: ignore[arg-type]


def test_versions_are_listed_newest_first_and_filtered(simulator: FakeMold, mold: Mold) -> None:
    cloud = simulator.cloud
    add_directly(cloud, "1.34.9")
    add_directly(cloud, "1.34.12", zone=cloud.zones[1])
    add_directly(cloud, "1.35.4", arch="aarch64", state="Disabled")
    assert names(mold) == ["v1.35.4", "v1.34.12", "v1.34.9"]
    assert names(mold, version="1.34") == ["v1.34.12", "v1.34.9"]
    assert names(mold, version="1.34.1") == []
    assert names(mold, arch="aarch64") == ["v1.35.4"]
    assert names(mold, state="disabled") == ["v1.35.4"]
    assert names(mold, zones=("Zone1",)) == ["v1.35.4", "v1.34.9"]
    assert names(mold, zones=(cloud.zones[1].id,), keyword="34.1") == ["v1.34.12"]
    assert names(mold, zones=("Zone1", "Zone2")) == names(mold)
    assert names(mold, ready=False) == []


def test_an_unknown_zone_lists_nothing_and_is_told_with_the_known_ones(
    simulator: FakeMold, mold: Mold
) -> None:
    add_directly(simulator.cloud)
    with pytest.raises(MoldError, match="no zone 'nope'") as caught:
        names(mold, zones=("Zone1", "nope"))
    assert caught.value.hint == "known: Zone1, Zone2"


def test_who_may_only_look_sees_versions_and_their_isos(
    simulator: FakeMold, client_of: ClientOf
) -> None:
    add_directly(simulator.cloud)
    add_directly(simulator.cloud, "1.35.4", state="Disabled")
    [entry] = manage.list_entries(client_of(simulator, VIEWER))
    assert entry.version.semanticversion == "1.34.12"
    assert all(row.isready for row in entry.rows)
    assert len(entry.rows) == 2


def test_many_versions_take_few_calls(simulator: FakeMold, mold: Mold) -> None:
    for patch in range(600):
        add_directly(simulator.cloud, f"1.34.{patch}")
    assert len(names(mold)) == 600
    assert all(entry.rows for entry in manage.list_entries(mold))
    assert len(simulator.log) <= 12


def test_an_iso_that_was_uploaded_for_a_project_is_seen_among_many(
    simulator: FakeMold, mold: Mold
) -> None:
    for number in range(7):
        add_directly(simulator.cloud, f"1.34.{number}", in_project=number == 3)
    assert [len(entry.rows) for entry in manage.list_entries(mold)] == [2] * 7


def test_a_version_is_found_by_id_name_or_number(simulator: FakeMold, mold: Mold) -> None:
    version = add_directly(simulator.cloud)
    for key in (version.id, "v1.34.12", "1.34.12"):
        assert manage.find_entry(mold, key).version.id == version.id
    with pytest.raises(MoldError, match=r"no version '1\.99\.0'"):
        manage.find_entry(mold, "1.99.0")


def test_what_stands_for_several_is_refused_with_their_ids(simulator: FakeMold, mold: Mold) -> None:
    twins = [add_directly(simulator.cloud), add_directly(simulator.cloud, arch="aarch64")]
    with pytest.raises(UsageProblem, match="stands for 2 versions") as caught:
        manage.delete(mold, "1.34.12")
    for twin in twins:
        assert twin.id in str(caught.value.hint)
    assert simulator.writes() == []


def test_details_have_zones_users_and_events(simulator: FakeMold, mold: Mold) -> None:
    cloud = simulator.cloud
    version = add_directly(cloud)
    add_directly(cloud, "1.35.4")
    cloud.clusters.append(CloudCluster("prod", version.id, cloud.zones[0]))
    cloud.note("KUBERNETES.VERSION.ADD", "added", resource=version.id)
    cloud.note("ISO.CREATE", "created", resource=version.iso_id)
    cloud.note("VM.CREATE", "something else", resource="else")
    details = manage.show(mold, version.id)
    assert [row.zonename for row in details.entry.rows] == ["Zone1", "Zone2"]
    assert [cluster.name for cluster in details.clusters or ()] == ["prod"]
    assert {event.type for event in details.events or ()} == {
        "KUBERNETES.VERSION.ADD",
        "ISO.CREATE",
    }


def test_a_key_that_may_only_list_versions_sees_them(
    simulator: FakeMold, client_of: ClientOf
) -> None:
    version = add_directly(simulator.cloud)
    allowed = ("listCapabilities", "listKubernetesSupportedVersions")
    user = dataclasses.replace(VIEWER, key="Ak-few", key_rules=tuple((a, "allow") for a in allowed))
    simulator.cloud.users.append(user)
    few = client_of(simulator, user)
    [entry] = manage.list_entries(few)
    assert (entry.version.id, entry.rows) == (version.id, ())
    details = manage.show(few, "1.34.12")
    assert (details.clusters, details.events) == (None, None)


def test_events_of_one_second_are_told_in_their_order(
    simulator: FakeMold, mold: Mold, clock: VirtualClock
) -> None:
    for step in range(30):
        simulator.cloud.note("KUBERNETES.VERSION.UPDATE", f"step {step}")
        if step % 10 == 9:
            clock.sleep(1)
    found = manage.list_events(mold, manage.EventFilter(limit=25))
    assert [event.description for event in found] == [f"step {n}" for n in range(29, 4, -1)]
    simulator.cloud.settings["default.page.size"].value = "20"
    assert manage.list_events(mold, manage.EventFilter(limit=25)) == found


def test_enabling_and_disabling_changes_only_what_differs(simulator: FakeMold, mold: Mold) -> None:
    version = add_directly(simulator.cloud)
    assert "already" in manage.set_state(mold, version.id, enabled=True)
    assert "would make" in manage.set_state(mold, version.id, enabled=False, dry_run=True)
    assert simulator.writes() == []
    manage.set_state(mold, version.id, enabled=False)
    assert version.state == "Disabled"
    assert [event["type"] for event in simulator.cloud.events] == ["KUBERNETES.VERSION.UPDATE"]


def test_the_state_is_one_of_two(client: Mold, simulator: FakeMold) -> None:
    version = add_directly(simulator.cloud)
    with pytest.raises(MoldRefused, match="Invalid value for state parameter"):
        client.call("updateKubernetesSupportedVersion", id=version.id, state="enabled")


def test_deleting_takes_the_iso_along_and_waits_for_it(simulator: FakeMold, mold: Mold) -> None:
    version = add_directly(simulator.cloud)
    assert "would delete" in manage.delete(mold, version.id, dry_run=True)
    assert simulator.writes() == []
    manage.delete(mold, version.id)
    assert version.id not in simulator.cloud.versions
    assert mold.isos(version.iso_id) == ()


def test_what_a_cluster_uses_is_not_deleted(simulator: FakeMold, mold: Mold) -> None:
    version = add_directly(simulator.cloud)
    simulator.cloud.clusters.append(CloudCluster("prod", version.id, simulator.cloud.zones[0]))
    with pytest.raises(MoldError, match=r"used by prod \(Zone1\)"):
        manage.delete(mold, version.id)
    assert simulator.writes() == []


def test_clusters_of_projects_are_users_too(simulator: FakeMold, mold: Mold) -> None:
    version = add_directly(simulator.cloud)
    zone = simulator.cloud.zones[0]
    simulator.cloud.clusters += [
        CloudCluster("prod", version.id, zone, in_project=True),
        CloudCluster("mine", version.id, zone),
    ]
    found = manage.show(mold, "1.34.12").clusters
    assert sorted(cluster.name for cluster in found or ()) == ["mine", "prod"]
    with pytest.raises(MoldError, match=r"is used by mine .*, prod"):
        manage.delete(mold, "1.34.12")


def test_an_unfinished_upgrade_pins_a_version_too(simulator: FakeMold, mold: Mold) -> None:
    old, new = add_directly(simulator.cloud, "1.33.4"), add_directly(simulator.cloud)
    cluster = CloudCluster("prod", old.id, simulator.cloud.zones[0], upgrading_to=new.id)
    simulator.cloud.clusters.append(cluster)
    with pytest.raises(MoldRefused, match="unfinished upgrades reference the artifact"):
        manage.delete(mold, new.id)
    assert new.id in simulator.cloud.versions


@pytest.mark.parametrize("finish", [True, False])
def test_a_deletion_survives_a_restart_of_the_server(
    simulator: FakeMold, mold: Mold, finish: bool
) -> None:
    version = add_directly(simulator.cloud)
    restarts = 0

    def restart(_number: int, command: str, moment: str) -> None:
        nonlocal restarts
        if command == "queryAsyncJobResult" and moment == "before" and restarts == 0:
            restarts += 1
            simulator.cloud.restart(finish_jobs=finish)

    simulator.faults.watchers.append(restart)
    manage.delete(mold, version.id)
    assert restarts == 1
    assert version.id not in simulator.cloud.versions


@pytest.mark.parametrize("kind", ["cut", "lost", "refused"])
def test_a_deletion_whose_answer_is_lost_is_looked_up(
    simulator: FakeMold, mold: Mold, kind: str
) -> None:
    version = add_directly(simulator.cloud)
    simulator.faults.add(kind, command="deleteKubernetesSupportedVersion")
    manage.delete(mold, version.id)
    assert version.id not in simulator.cloud.versions


@pytest.mark.parametrize(
    ("text", "tries"),
    [
        ("Another Kubernetes artifact reference operation is in progress; retry later", 3),
        (
            "Kubernetes binaries ISO deletion did not complete; supported version is preserved "
            "for retry",
            1,
        ),
    ],
)
def test_a_deletion_that_is_refused_for_now_is_told_or_tried_again(
    simulator: FakeMold,
    mold: Mold,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    tries: int,
) -> None:
    version = add_directly(simulator.cloud)
    calls: list[str] = []

    def refuse(_self: Mold, command: str, **_params: object) -> None:
        calls.append(command)
        raise MoldRefused(command, 530, text)

    monkeypatch.setattr(Mold, "call_job", refuse)
    with pytest.raises(MoldRefused) as caught:
        manage.delete(mold, version.id)
    assert len(calls) == tries
    assert "again" in str(caught.value.hint)
