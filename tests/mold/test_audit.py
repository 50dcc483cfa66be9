"""Comparing servers with what was built, and mending the difference."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from isobuilder.demo.mold import CloudCluster, Zone
from isobuilder.demo.mold.download import DownloadOutcome
from isobuilder.errors import InputError
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.apply import Fate, apply_plan
from isobuilder.mold.audit import audit, read_ends
from isobuilder.mold.catalogue import Item, read_catalogue, read_registration
from isobuilder.mold.compare import Deviation, Kind, Policy
from isobuilder.mold.plan import ServerPlan, plan_for, read_plan
from tests.fakes.mold import FakeMold
from tests.mold.conftest import VIEWER, ClientOf, Published, PublishedOf
from tests.mold.messes import add_directly

TODAY = date(2026, 11, 21)


@pytest.fixture
def mold(client: Mold) -> Mold:
    return client


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def item_of(published: Published) -> Item:
    return Item(published.registration, published.url)


Look = Callable[..., tuple[list[Deviation], ServerPlan]]


@pytest.fixture
def look(mold: Mold) -> Look:
    def call(*published: Published, **policy: object) -> tuple[list[Deviation], ServerPlan]:
        values = {"today": TODAY} | policy
        return audit(mold, [item_of(p) for p in published], Policy(**values))  # type: ignore[arg-type]

    return call


def kinds(findings: list[Deviation], *, notice: bool = False) -> list[Kind]:
    return [finding.kind for finding in findings if finding.notice == notice]


def register_directly(simulator: FakeMold, published: Published, **values: object) -> str:
    registration = published.registration
    defaults = {
        "name": registration.name,
        "checksum": registration.checksum,
        "arch": registration.arch,
        "url": published.url,
    }
    version = add_directly(
        simulator.cloud, str(registration.kubernetesversion), **(defaults | values)
    )
    return version.id


def deeds(plan: ServerPlan) -> list[str]:
    return [action.do for action in plan_for((plan,)).servers[0].actions]


def test_a_server_that_has_what_it_should_is_clean(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    first, second = publish("1.35.4"), publish("1.36.3")
    for published in (first, second):
        register_directly(simulator, published)
    findings, plan = look(first, second)
    assert findings == []
    assert plan.actions == ()


def test_what_is_missing_everywhere_is_one_registration(look: Look, publish: PublishedOf) -> None:
    findings, plan = look(publish("1.35.4"))
    assert kinds(findings) == [Kind.MISSING]
    [action] = plan.actions
    assert (action.do, action.zone) == ("register", None)


def test_what_is_missing_in_one_zone_is_registered_there(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    register_directly(simulator, published, zone=simulator.cloud.zones[0])
    findings, plan = look(published)
    assert [f.fact for f in findings] == ["not registered in Zone2"]
    assert [action.zone for action in plan.actions] == ["Zone2"]
    assert look(published, zones=("Zone1",))[0] == []


def test_a_zone_that_cannot_take_an_iso_needs_none(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    register_directly(simulator, published)
    simulator.cloud.zones += [
        Zone("Busan", has_store=False),
        Zone("Old", enabled=False, has_store=False),
        Zone("Edge1", type="Edge", has_store=False),
    ]
    findings, plan = look(published)
    assert [(f.kind, f.subject, f.notice) for f in findings] == [(Kind.ZONE, "Busan", True)]
    assert plan.actions == ()


def test_a_zone_with_other_bytes_than_the_others_is_told(
    simulator: FakeMold, mold: Mold, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    version_id = register_directly(simulator, published)
    row = simulator.cloud.versions[version_id].rows[1]
    row.outcome = DownloadOutcome(None, 40960, "0" * 64)
    findings, plan = audit(mold, [item_of(published)], Policy(TODAY))
    assert kinds(findings) == [Kind.MISSING, Kind.WRONG_CHECKSUM]
    assert deeds(plan) == ["delete", "register"]


def test_who_may_only_look_audits_what_they_see(
    simulator: FakeMold, client_of: ClientOf, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    register_directly(simulator, published)
    findings, plan = audit(client_of(simulator, VIEWER), [item_of(published)], Policy(TODAY))
    assert (findings, plan.actions) == ([], ())


def test_without_a_url_the_missing_can_only_be_told(mold: Mold, publish: PublishedOf) -> None:
    item = Item(publish("1.35.4").registration, None)
    findings, plan = audit(mold, [item], Policy(TODAY))
    assert "--url-base" in findings[0].fact
    assert plan.actions == ()


def test_doubles_go_and_the_used_one_stays(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    first = register_directly(simulator, published)
    used = register_directly(simulator, published)
    in_zone = register_directly(simulator, published, zone=simulator.cloud.zones[0])
    simulator.cloud.clusters.append(CloudCluster("prod", used, simulator.cloud.zones[0]))
    findings, plan = look(published)
    assert kinds(findings) == [Kind.DUPLICATE, Kind.DUPLICATE]
    gone = {action.version.id for action in plan.actions if action.version}
    assert gone == {first, in_zone}


def test_a_double_that_is_used_too_is_only_a_notice(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    for name in ("a", "b"):
        version = register_directly(simulator, published)
        simulator.cloud.clusters.append(CloudCluster(name, version, simulator.cloud.zones[0]))
    findings, plan = look(published)
    assert (kinds(findings), kinds(findings, notice=True)) == ([], [Kind.DUPLICATE])
    assert plan.actions == ()


def test_wrong_bytes_under_the_right_name_are_replaced(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    register_directly(simulator, published, checksum="{SHA-256}" + "0" * 64)
    findings, plan = look(published)
    assert kinds(findings) == [Kind.MISSING, Kind.WRONG_CHECKSUM]
    assert deeds(plan) == ["delete", "register"]


def test_the_right_bytes_under_the_wrong_architecture_are_replaced(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    published = publish("1.35.4", arch="aarch64")
    register_directly(simulator, published, arch="x86_64")
    findings, plan = look(published)
    assert Kind.WRONG_ARCHITECTURE in kinds(findings)
    assert deeds(plan) == ["delete", "register"]


def test_a_failed_download_is_begun_again(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    version = simulator.cloud.versions[register_directly(simulator, published)]
    version.rows[1].outcome = DownloadOutcome("Connection refused", 0, "")
    findings, plan = look(published)
    assert kinds(findings) == [Kind.NOT_READY, Kind.MISSING]
    assert deeds(plan) == ["delete", "register"]
    simulator.cloud.clusters.append(CloudCluster("prod", version.id, simulator.cloud.zones[0]))
    findings, plan = look(published)
    assert (kinds(findings), plan.actions) == ([], ())


def test_a_download_under_way_is_only_a_notice(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    version = simulator.cloud.versions[register_directly(simulator, published)]
    version.rows[1].outcome = None
    findings, _plan = look(published)
    assert kinds(findings, notice=True) == [Kind.NOT_READY]
    assert kinds(findings) == []


def test_what_is_disabled_is_enabled(simulator: FakeMold, look: Look, publish: PublishedOf) -> None:
    published = publish("1.35.4")
    register_directly(simulator, published, state="Disabled")
    findings, plan = look(published)
    assert kinds(findings) == [Kind.DISABLED]
    assert deeds(plan) == ["enable"]


def test_strangers_go_unless_they_are_kept_or_used(simulator: FakeMold, look: Look) -> None:
    stranger = add_directly(simulator.cloud, "1.35.1")
    findings, plan = look()
    assert kinds(findings) == [Kind.EXTRA]
    assert deeds(plan) == ["delete"]
    assert look(keep_extra=True)[0] == []
    simulator.cloud.clusters.append(CloudCluster("prod", stranger.id, simulator.cloud.zones[0]))
    findings, plan = look()
    assert (kinds(findings), kinds(findings, notice=True)) == ([], [Kind.EXTRA])


def test_what_upstream_no_longer_mends_is_disabled_and_its_clusters_named(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    old, older = publish("1.34.12"), publish("1.33.4")
    register_directly(simulator, old)
    used = register_directly(simulator, older)
    simulator.cloud.clusters.append(CloudCluster("prod", used, simulator.cloud.zones[0]))
    findings, plan = look(old, older)
    assert deeds(plan) == ["disable"]
    noticed = {(f.kind, f.subject) for f in findings if f.notice}
    assert (Kind.CLUSTER, "prod") in noticed
    assert (Kind.END_OF_LIFE, older.registration.name) in noticed


def test_what_is_past_its_end_and_not_there_is_told(look: Look, publish: PublishedOf) -> None:
    [finding], plan = (found := look(publish("1.34.12")))[0], found[1]
    assert (finding.kind, finding.notice) == (Kind.END_OF_LIFE, True)
    assert "not registered in Zone1, Zone2; support ended 2026-10-27" in finding.fact
    assert plan.actions == ()


def test_older_revisions_beside_the_newest_are_superseded(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    revisions = [publish("1.35.4", revision=number) for number in (1, 2, 10)]
    first, second, newest = (register_directly(simulator, one) for one in revisions)
    simulator.cloud.clusters.append(CloudCluster("prod", second, simulator.cloud.zones[0]))
    findings, plan = look(*revisions)
    assert kinds(findings) == [Kind.SUPERSEDED]
    assert kinds(findings, notice=True) == [Kind.SUPERSEDED]
    [action] = plan.actions
    assert (action.do, action.version and action.version.id) == ("disable", first)
    # Only the newest is listed: the others are kept, or are strangers that go.
    assert deeds(look(revisions[-1], keep_extra=True)[1]) == ["disable"]
    assert deeds(look(revisions[-1])[1]) == ["delete"]
    # What cannot be used yet is in nobody's place.
    simulator.cloud.versions[newest].rows[0].outcome = None
    simulator.cloud.zones[0].stuck = True
    assert Kind.SUPERSEDED in kinds(look(*revisions)[0])  # by the second
    simulator.cloud.versions[second].state = "Disabled"
    assert Kind.SUPERSEDED not in kinds(look(*revisions)[0])


def test_another_line_of_the_same_version_is_not_superseded(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    first, second = publish("1.35.4"), publish("1.35.4", revision=2)
    other = second.registration.model_copy(update={"name": "v1.35.4-mold-cks-gpu-amd64-r2"})
    second.registration = other
    for published in (first, second):
        register_directly(simulator, published)
    assert look(first, second)[0] == []


def test_an_old_minor_that_clusters_upgrade_by_way_of_is_kept(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    old, step, new = publish("1.33.4"), publish("1.34.12"), publish("1.35.4")
    used = register_directly(simulator, old)
    register_directly(simulator, step)
    register_directly(simulator, new)
    simulator.cloud.clusters.append(CloudCluster("prod", used, simulator.cloud.zones[0]))
    findings, plan = look(old, step, new)
    assert kinds(findings) == []
    assert plan.actions == ()


def test_an_old_stranger_is_disabled_when_strangers_are_kept(
    simulator: FakeMold, look: Look
) -> None:
    add_directly(simulator.cloud, "1.30.2")
    assert deeds(look(keep_extra=True)[1]) == ["disable"]
    findings, plan = look()
    assert kinds(findings) == [Kind.END_OF_LIFE]
    assert deeds(plan) == ["delete"]


def test_a_minor_missing_between_two_is_told(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    first, third = publish("1.35.4"), publish("1.37.1")
    for published in (first, third):
        register_directly(simulator, published)
    findings, _plan = look(first, third)
    assert [(f.kind, f.subject) for f in findings] == [(Kind.UPGRADE_GAP, "1.36")]
    # Another architecture does not close it.
    arm = publish("1.36.3", arch="aarch64")
    register_directly(simulator, arm)
    findings, _plan = look(first, third, arm)
    assert [f.subject for f in findings] == ["1.36"]


def test_versions_that_kubernetes_never_had_break_nothing(simulator: FakeMold, look: Look) -> None:
    for semver in ("1.²", "9" * 5000, "1.34.12.1", "01.34", "", "1.999999999.0", "-1.x"):
        version = add_directly(simulator.cloud, semver)
        version.state = "Enabled"
    assert kinds(look()[0])
    findings, _plan = look(keep_extra=True)
    assert len(findings) < 100


def test_a_cluster_whose_version_is_gone_is_told(simulator: FakeMold, look: Look) -> None:
    simulator.cloud.clusters.append(CloudCluster("lost", "gone", simulator.cloud.zones[0]))
    findings, _plan = look()
    assert kinds(findings, notice=True) == [Kind.CLUSTER]


# ---- the whole thing ---------------------------------------------------------------------------


def make_a_mess(simulator: FakeMold, publish: PublishedOf) -> tuple[list[Published], set[str]]:
    """Fill the server as years of clicks do; returns the catalogue and what clusters use."""
    cloud = simulator.cloud
    catalogue = [publish("1.34.12"), publish("1.35.4"), publish("1.36.3"), publish("1.37.1")]
    catalogue.append(publish("1.36.3", arch="aarch64"))
    eol, doubled, wrong, missing, arm = catalogue
    register_directly(simulator, eol)
    for _ in range(3):
        register_directly(simulator, doubled)
    used_double = register_directly(simulator, doubled, zone=cloud.zones[0])
    register_directly(simulator, wrong, checksum="{SHA-256}" + "f" * 64)
    register_directly(simulator, arm, arch="x86_64")
    half = cloud.versions[register_directly(simulator, missing, zone=cloud.zones[1])]
    half.state = "Disabled"
    used_old = add_directly(cloud, "1.36.1", name="clicked 1.36").id
    add_directly(cloud, "1.31.0", name="clicked 1.31")
    broken = add_directly(cloud, "1.35.2", name="never finished")
    broken.rows[0].outcome = DownloadOutcome("Connection refused", 0, "")
    for name, version in (("prod", used_double), ("test", used_old)):
        cloud.clusters.append(CloudCluster(name, version, cloud.zones[0]))
    return catalogue, {used_double, used_old}


def test_a_plan_turns_a_mess_into_what_was_wished_for(
    simulator: FakeMold,
    client: Mold,
    look: Look,
    state: Path,
    publish: PublishedOf,
    tmp_path: Path,
) -> None:
    catalogue, used = make_a_mess(simulator, publish)
    findings, server_plan = look(*catalogue)
    assert {Kind.MISSING, Kind.DUPLICATE, Kind.WRONG_CHECKSUM, Kind.WRONG_ARCHITECTURE,
            Kind.DISABLED, Kind.END_OF_LIFE, Kind.EXTRA} <= set(kinds(findings))  # fmt: skip
    file = tmp_path / "plan.json"
    file.write_bytes(plan_for((server_plan,)).to_bytes())
    [plan] = read_plan(file).servers
    mold = client

    before = {name: version for name, version in simulator.cloud.versions.items() if name in used}
    dry = apply_plan(mold, plan, state=state, dry_run=True)
    assert {applied.fate for applied in dry} <= {Fate.WOULD, Fate.FAILED}
    assert simulator.writes() == []
    applied = apply_plan(mold, plan, state=state)
    assert {a.fate for a in applied} == {Fate.DONE}, [a for a in applied if a.fate != Fate.DONE]

    touched = {e.params.get("id") for e in simulator.writes()}
    assert not touched & used
    assert {k: v for k, v in simulator.cloud.versions.items() if k in used} == before
    again, second_plan = look(*catalogue)
    assert kinds(again) == []
    assert second_plan.actions == ()
    assert Kind.EXTRA in kinds(again, notice=True)

    repeated = apply_plan(mold, plan, state=state)
    assert {a.fate for a in repeated} <= {Fate.ALREADY}


def test_what_came_into_use_since_the_plan_is_left_alone(
    simulator: FakeMold, client: Mold, look: Look, state: Path
) -> None:
    version = add_directly(simulator.cloud, "1.35.1")
    _findings, plan = look()
    simulator.cloud.clusters.append(CloudCluster("new", version.id, simulator.cloud.zones[0]))
    [applied] = apply_plan(client, plan, state=state)
    assert applied.fate is Fate.SKIPPED
    assert "used by new" in applied.text
    assert version.id in simulator.cloud.versions


def test_what_changed_its_identity_since_the_plan_is_left_alone(
    simulator: FakeMold, client: Mold, look: Look, state: Path
) -> None:
    version = add_directly(simulator.cloud, "1.35.1")
    _findings, plan = look()
    version.name = "something else"
    [applied] = apply_plan(client, plan, state=state)
    assert applied.fate is Fate.SKIPPED
    assert version.id in simulator.cloud.versions


def test_an_iso_that_is_ready_by_now_is_not_deleted_as_failed(
    simulator: FakeMold, client: Mold, look: Look, state: Path, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    version = simulator.cloud.versions[register_directly(simulator, published)]
    good = version.rows[1].outcome
    version.rows[1].outcome = DownloadOutcome("Connection refused", 0, "")
    _findings, plan = look(published)
    version.rows[1].outcome = good
    applied = {one.action.do: one for one in apply_plan(client, plan, state=state)}
    assert applied["delete"].fate is Fate.SKIPPED
    assert applied["delete"].text == "its ISO has not failed any more"
    assert list(simulator.cloud.versions) == [version.id]


def test_the_last_of_equal_isos_is_not_deleted_as_a_double(
    simulator: FakeMold, client: Mold, look: Look, state: Path, publish: PublishedOf
) -> None:
    published = publish("1.35.4")
    for _ in range(2):
        register_directly(simulator, published)
    _findings, plan = look(published)
    [action] = plan.actions
    assert action.version
    assert action.reason
    [kept] = action.reason.keeps
    there = simulator.cloud.versions[kept]
    there.rows[0].outcome = DownloadOutcome("Connection refused", 0, "")
    [applied] = apply_plan(client, plan, state=state)
    assert (applied.fate, applied.text) == (
        Fate.SKIPPED,
        f"it is the only one that is Ready in {simulator.cloud.zones[0].name}",
    )
    del simulator.cloud.versions[kept]
    [applied] = apply_plan(client, plan, state=state)
    assert applied.fate is Fate.SKIPPED
    assert applied.text == f"{kept}, the same ISO, is no longer there: it is the last one"
    assert list(simulator.cloud.versions) == [action.version.id]
    simulator.cloud.versions[kept] = there
    there.rows[0].outcome = there.rows[1].outcome
    [applied] = apply_plan(client, plan, state=state)
    assert applied.fate is Fate.DONE


def test_a_plan_without_the_reasons_of_deletions_is_read(tmp_path: Path, look: Look) -> None:
    file = tmp_path / "plan.json"
    target = {"id": "1", "name": "x", "semanticversion": "1.35.4", "arch": "x86_64"}
    action = {"do": "delete", "why": "extra: not in the catalogue", "version": target}
    server = {"server": "lab", "endpoint": "https://lab/client/api", "actions": [action]}
    file.write_text(json.dumps({"schema": 1, "servers": [server]}))
    assert read_plan(file).servers[0].actions[0].reason is None


def test_one_failure_does_not_keep_the_rest_from_being_done(
    simulator: FakeMold, client: Mold, look: Look, state: Path, publish: PublishedOf
) -> None:
    good = publish("1.36.3")
    bad = publish("1.35.4")
    bad.url = bad.url.replace("kubernetes", "gone")
    _findings, plan = look(bad, good)
    fates = {a.action.registration.name: a.fate for a in apply_plan(
        client, plan, state=state) if a.action.registration}  # fmt: skip
    assert fates == {bad.registration.name: Fate.FAILED, good.registration.name: Fate.DONE}


def test_a_plan_is_for_its_server_only(client: Mold, state: Path) -> None:
    plan = ServerPlan(server="other", endpoint="https://other/client/api", actions=())
    with pytest.raises(InputError, match="not for"):
        apply_plan(client, plan, state=state)


def test_a_plan_survives_its_file(tmp_path: Path, look: Look, publish: PublishedOf) -> None:
    _findings, server_plan = look(publish("1.35.4"))
    plan = plan_for((server_plan,))
    file = tmp_path / "plan.json"
    file.write_bytes(plan.to_bytes())
    assert read_plan(file) == plan
    assert plan.to_bytes() == read_plan(file).to_bytes()


@pytest.mark.parametrize("text", ["", "[]", '{"schema":2,"servers":[]}', '{"schema":1}'])
def test_another_file_is_not_a_plan(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"plan\.json"):
        read_plan(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(tmp_path / "none.json")


# ---- catalogue and end of life ---------------------------------------------------------------


def test_a_folder_of_isos_is_a_catalogue(publish: PublishedOf) -> None:
    first, second = publish("1.35.4"), publish("1.36.3")
    items = read_catalogue(first.path.parent, url_base="https://iso.example/k8s/")
    assert [item.registration for item in items] == [first.registration, second.registration]
    assert items[0].url == f"https://iso.example/k8s/{first.registration.filename}"


def test_a_list_of_registrations_is_a_catalogue(tmp_path: Path, publish: PublishedOf) -> None:
    data = publish("1.35.4").registration.to_data() | {"download_url": "https://x/y.iso"}
    for name, value in (("list", [data]), ("object", {"isos": [data]}), ("one", data)):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(value))
        assert [item.url for item in read_catalogue(file)] == ["https://x/y.iso"]


def test_the_registration_of_the_ablestack_builder_is_understood(tmp_path: Path) -> None:
    theirs = {
        "name": "v1.34.12-mold-cks",
        "kubernetesversion": "1.34.12",
        "arch": "x86_64",
        "checksum": "{SHA-256}" + "ab" * 32,
        "filename": "kubernetes-v1.34.12-mold-cks-csi-amd64-r3-0123abcd.iso",
        "mincpunumber": 2,
        "minmemory": 2048,
        "minimum_resources_basis": "kubeadm",
        "download_url": None,
        "source_repository": "ablecloud-team/ablestack-kubernetes-iso",
        "source_sha": "0" * 40,
        "release_eligible": True,
    }
    file = tmp_path / "x.registration.json"
    file.write_text(json.dumps(theirs))
    registration, _iso = read_registration(file)
    assert (registration.profile, registration.revision) == ("mold-cks-csi", 3)
    assert registration.product_version == "1.34.12+mold-cks-csi.r3"
    assert registration.checksum == theirs["checksum"]


def test_a_folder_without_isos_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.registration\.json file"):
        read_catalogue(tmp_path)


def test_the_same_name_twice_is_told(tmp_path: Path, published: Published) -> None:
    for folder in ("a", "b"):
        (tmp_path / "both" / folder).mkdir(parents=True)
        path = tmp_path / "both" / folder / "x.registration.json"
        path.write_bytes(published.registration.to_bytes())
    with pytest.raises(InputError, match="is that of"):
        read_catalogue(tmp_path / "both")


@pytest.mark.parametrize("text", ["{", '{"schema": 1}', "[17]"])
def test_a_damaged_catalogue_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"catalogue\.json"):
        read_catalogue(file)


def test_an_iso_and_its_side_file_lead_to_each_other(published: Published) -> None:
    side = published.path.with_suffix(".registration.json")
    assert read_registration(published.path) == (published.registration, published.path)
    assert read_registration(side) == (published.registration, published.path)
    published.path.unlink()
    assert read_registration(side) == (published.registration, None)
    with pytest.raises(InputError, match="no such file"):
        read_registration(published.path)


def test_an_iso_without_its_side_file_or_of_another_size_is_told(published: Published) -> None:
    with published.path.open("ab") as file:
        file.write(b"!")
    with pytest.raises(InputError, match="bytes, its registration says"):
        read_registration(published.path)
    published.path.with_suffix(".registration.json").unlink()
    with pytest.raises(InputError, match="side file"):
        read_registration(published.path)


def test_ends_of_life_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "eol.json"
    file.write_text('{"1.37": "2027-10-28"}')
    assert read_ends(file)["1.37"] == date(2027, 10, 28)
    with pytest.raises(InputError, match="cannot be read"):
        read_ends(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"x": "2027-01-01"}', "1:7: x: expected a minor such as 1.36, found 'x'"),
        ('{"1.034": "2020-01-01"}', r"1:11: .*: expected a minor such as 1.36, found '1\.034'"),
        ('{"1.34": 5}', "1:10: .*: expected a date such as 2026-10-08, found 5"),
        ('{"1.34": 86400}', "1:10: .*: expected a date such as 2026-10-08, found 86400"),
        ('{"1.34": "soon"}', "1:10: .*: expected a date such as 2026-10-08, found 'soon'"),
        ("[]", "1:1: expected keys and values, found a list"),
    ],
)
def test_ends_of_life_of_another_form_are_refused_with_their_place(
    text: str, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "eol.json"
    file.write_text(text)
    with pytest.raises(InputError, match=f"eol.json:{told}"):
        read_ends(file)


def test_what_only_a_cluster_of_a_project_uses_stays(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    old = publish("1.34.12")
    used = register_directly(simulator, old)
    stranger = add_directly(simulator.cloud, "1.35.1")
    zone = simulator.cloud.zones[0]
    simulator.cloud.clusters += [
        CloudCluster("prod", used, zone, in_project=True),
        CloudCluster("test", stranger.id, zone, in_project=True),
        CloudCluster("mine", stranger.id, zone),
    ]
    findings, plan = look(old)
    assert plan.actions == ()
    assert {"stays, as mine, test uses it", "stays, as prod uses it"} <= {
        finding.fact.split("; ")[-1] for finding in findings
    }


def test_a_copy_for_all_zones_is_the_iso_of_each(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    simulator.cloud.region_store = True
    published, other = publish("1.35.4"), publish("1.35.5")
    register_directly(simulator, published)
    failed = register_directly(simulator, other)
    assert look(published, other)[0] == []
    row = simulator.cloud.versions[failed].rows[0]
    row.outcome = DownloadOutcome("Read timed out", 0, "")
    findings, plan = look(published, other)
    assert (Kind.NOT_READY, "all zones: Read timed out") in [(f.kind, f.fact) for f in findings]
    assert deeds(plan) == ["delete", "register"]


def test_what_is_of_other_zones_alone_is_none_of_an_audit_of_some(
    simulator: FakeMold, look: Look, publish: PublishedOf
) -> None:
    busan = simulator.cloud.zones[1]
    old, gone, new = publish("1.34.12"), publish("1.35.5"), publish("1.35.4", revision=2)
    superseded, off = publish("1.35.4"), publish("1.36.2")
    for published in (old, superseded):
        register_directly(simulator, published, zone=busan)
    register_directly(simulator, off, zone=busan, state="Disabled")
    register_directly(simulator, gone, zone=busan, has_iso=False)
    register_directly(simulator, new)
    add_directly(simulator.cloud, "1.35.1", zone=busan)
    listed = (old, gone, new, superseded, off)
    assert {"disable", "enable", "delete"} <= set(deeds(look(*listed, zones=("Zone2",))[1]))
    _findings, plan = look(*listed, zones=("Zone1",))
    assert set(deeds(plan)) == {"register"}  # what Zone1 has not
    assert {action.zone for action in plan.actions} == {"Zone1"}
    stranger = add_directly(simulator.cloud, "1.35.2")
    assert [a.version.id for a in look(*listed, zones=("Zone1",))[1].actions if a.version] == [
        stranger.id
    ]
