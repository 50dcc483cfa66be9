"""The commands of ``isobuilder mold`` as a person types them, against a simulator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from isobuilder.cli import main
from isobuilder.demo.mold import Cloud, CloudCluster, CloudUser, Timing
from isobuilder.demo.mold.download import DownloadOutcome
from isobuilder.http.replies import Reply, Request
from isobuilder.model.loading import builtin_recipes
from isobuilder.mold.api.signing import SignatureAlgorithm
from isobuilder.site.server import SiteServer
from isobuilder.site.shelf import Shelf
from isobuilder.text import width
from tests.cli.calling import call, errors, hints
from tests.fakes.mold import FakeMold
from tests.fakes.web import Web
from tests.mold.conftest import Published, iso_bytes, registration_of
from tests.mold.messes import add_directly
from tests.site.isos import PAUSE, image, iso

KEY, SECRET = "Ak-cli-0123456789abcdef", "Sk-cli-secret-fedcba9876543210"


@pytest.fixture
def simulator() -> Iterator[FakeMold]:
    cloud = Cloud(pace=Timing(allocated=0.01, downloading=0.02, installing=0.01, job=0.01))
    cloud.users = [CloudUser("admin", KEY, SECRET, "password")]
    with FakeMold(cloud) as simulator:
        yield simulator


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


@pytest.fixture
def published(web: Web, tmp_path: Path) -> Published:
    data = iso_bytes()
    registration = registration_of("1.35.4", data)
    path = tmp_path / "dist" / registration.filename
    path.parent.mkdir()
    path.write_bytes(data)
    path.with_suffix(".registration.json").write_bytes(registration.to_bytes())
    return Published(registration, web.put(f"/{registration.filename}", data), path)


class Typed:
    """Types commands."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.chdir(home)
        for name in list(os.environ):
            if name.startswith(("XDG_", "ISOBUILDER_", "CLOUDSTACK_")):
                monkeypatch.delenv(name)
        self.seen = ""

    def __call__(self, *words: str, answer: str | None = None, code: int = 0) -> Result:
        result = CliRunner().invoke(main, ["mold", *words], input=answer)
        self.seen += result.output + result.stderr
        assert result.exit_code == code, (result.exit_code, result.output, result.stderr)
        return result

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", "-q", code=code).stdout)


@pytest.fixture
def typed(simulator: FakeMold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    (tmp_path / "home").mkdir()
    typed = Typed(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("ISOBUILDER_MOLD_ENDPOINT", simulator.endpoint)
    monkeypatch.setenv("ISOBUILDER_MOLD_API_KEY", KEY)
    monkeypatch.setenv("ISOBUILDER_MOLD_SECRET_KEY", SECRET)
    yield typed
    assert SECRET not in typed.seen
    assert KEY not in typed.seen


def register_words(published: Published, *more: str) -> tuple[str, ...]:
    return ("register", str(published.path), "--url", published.url, "--poll", "0.05s", *more)


def test_from_nothing_to_ready_and_nothing_on_the_second_run(
    typed: Typed, simulator: FakeMold, published: Published
) -> None:
    first = typed(*register_words(published))
    assert first.stdout.count("Ready") == 2
    assert "registered v1.35.4-mold-cks-amd64-r1 in all zones" in first.stderr
    before = len(simulator.writes())
    second = typed(*register_words(published))
    assert second.stdout.count("Ready") == 2
    assert len(simulator.writes()) == before


def test_the_side_file_is_as_good_as_the_iso(typed: Typed, published: Published) -> None:
    side = published.path.with_suffix(".registration.json")
    [result] = typed.json("register", str(side), "--url", published.url, "--poll", "0.05s")
    assert result["ok"]
    assert [zone["outcome"] for zone in result["zones"]] == ["ready", "ready"]


def test_an_iso_is_uploaded(typed: Typed, simulator: FakeMold, published: Published) -> None:
    typed("register", str(published.path), "--upload", "--zone", "Zone2", "--poll", "0.05s")
    [version] = simulator.cloud.versions.values()
    assert version.zone is simulator.cloud.zones[1]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--all-zones", "--zone", "Zone1", "--url", "http://x/y.iso"), 2, "exclude"),
        (("--upload", "--url", "http://x/y.iso"), 2, "exclude"),
        ((), 2, "--url"),
        (("--url", "http://x/y.img"), 3, ".iso"),
        (("--url", "http://x/y.iso", "--timeout", "soon"), 2, "such as 90s"),
        (("--url", "http://x/y.iso", "--timeout", "٩s"), 2, "such as 90s"),
        (("--url", "http://x/y.iso", "--zone", "Nowhere"), 8, "known: Zone1, Zone2"),
    ],
)
def test_wishes_that_make_no_sense_are_told(
    typed: Typed, published: Published, words: tuple[str, ...], code: int, text: str
) -> None:
    assert text in typed("register", str(published.path), *words, code=code).stderr


def test_a_zone_that_fails_is_partly_done(
    typed: Typed, simulator: FakeMold, published: Published
) -> None:
    simulator.cloud.zones[1].fails_with = "Connection refused"
    result = typed(*register_words(published), code=7)
    assert "Zone2: Connection refused" in result.stderr
    assert "hint: " in result.stderr
    simulator.cloud.zones[0].fails_with = "Connection refused"
    typed(*register_words(published), code=8)


def test_two_servers_have_two_results(
    typed: Typed, simulator: FakeMold, published: Published
) -> None:
    other = Cloud(zones=("Busan",), pace=simulator.cloud.pace)
    other.users = simulator.cloud.users
    config = typed.home / "config.yaml"
    with FakeMold(other) as second:
        config.write_text(
            "mold:\n"
            f"  seoul: {{endpoint: '{simulator.endpoint}'}}\n"
            f"  busan: {{endpoint: '{second.endpoint}'}}\n"
        )
        del os.environ["ISOBUILDER_MOLD_ENDPOINT"]
        words = ("--config", str(config), "--server", "seoul", "--server", "busan")
        typed(*register_words(published), *words)
        listed = typed.json("list", *words)
        assert [item["server"] for item in listed] == ["seoul", "busan"]
        assert [one["server"] for one in typed.json("show", "1.35.4", *words)] == ["seoul", "busan"]
        other.plugin_on = False
        result = typed(*register_words(published), *words, code=7)
        assert "busan" in result.stdout + result.stderr
        assert "choose with --server" in typed("zones", "--config", str(config), code=2).stderr


@dataclass
class Two:
    """A server that works, one that does not, and what chooses both in some order."""

    good: Cloud
    bad: Cloud
    words: tuple[str, ...]


@pytest.fixture(params=["good first", "good last"])
def order(request: pytest.FixtureRequest) -> tuple[str, str]:
    return ("good", "bad") if request.param == "good first" else ("bad", "good")


class Portal(FakeMold):
    """A login page in the place of an API."""

    def answer(self, request: Request) -> Reply:
        request.body()
        return Reply(200, {"Content-Type": "text/html"}, b"<!doctype html><title>Log in</title>")


_BAD_SERVERS = [
    "service off",
    "no keys",
    "a web page",
    "another signature",
    "a key past its end",
    "no TLS where it is asked for",
]


@pytest.fixture(params=_BAD_SERVERS)
def two(
    typed: Typed,
    simulator: FakeMold,
    request: pytest.FixtureRequest,
    order: tuple[str, str],
) -> Iterator[Two]:
    state = request.param
    other = Cloud(pace=simulator.cloud.pace)
    other.users = [CloudUser("admin", KEY, SECRET, "password")]
    other.plugin_on = state != "service off"
    if state == "a key past its end":
        other.users[0].key_ends = other.clock.now() - timedelta(days=1)
    keys = f", key_file: {typed.home / 'gone'}" if state == "no keys" else ""
    sha1 = state == "another signature"
    algorithm = SignatureAlgorithm.HMAC_SHA1 if sha1 else SignatureAlgorithm.HMAC_SHA256
    config = typed.home / "config.yaml"
    kind = Portal if state == "a web page" else FakeMold
    with kind(other, algorithm=algorithm) as second:
        endpoint = second.endpoint
        if state == "no TLS where it is asked for":
            endpoint = endpoint.replace("http://", "https://")
        config.write_text(
            f"mold:\n  good: {{endpoint: '{simulator.endpoint}'}}\n"
            f"  bad: {{endpoint: '{endpoint}'{keys}}}\n"
        )
        del os.environ["ISOBUILDER_MOLD_ENDPOINT"]
        servers = [word for name in order for word in ("--server", name)]
        yield Two(simulator.cloud, other, ("--config", str(config), *servers))


@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("show", "v1.34.12"),
        ("enable", "v1.34.12"),
        ("disable", "v1.34.12"),
        ("delete", "v1.34.12", "--yes"),
        ("events", "--of", "v1.34.12"),
        ("check",),
    ],
    ids=lambda command: command[0],
)
def test_every_server_has_its_turn_whatever_the_others_do(
    typed: Typed, two: Two, command: tuple[str, ...]
) -> None:
    version = add_directly(two.good)
    two.good.note("KUBERNETES.VERSION.ADD", "added", resource=version.id)
    result = typed(*command, *two.words, code=7)
    assert "1 of 2 failed, the others are done" in result.stderr
    assert "bad" in result.stderr
    shown = {"show": "v1.34.12", "events": "added", "check": "role: may add"}.get(
        command[0], "good"
    )
    assert shown in result.stdout
    assert (version.id in two.good.versions) is (command[0] != "delete")
    assert version.state == ("Disabled" if command[0] == "disable" else "Enabled")


def test_registering_auditing_and_applying_serve_every_server(
    typed: Typed, two: Two, published: Published, web: Web, tmp_path: Path
) -> None:
    folder, plan = str(published.path.parent), tmp_path / "plan.json"
    audited = ("audit", folder, "--url-base", web.url, "--plan", str(plan), *two.words)
    assert "missing" in typed(*audited, code=7).stdout
    typed("apply", str(plan), "--poll", "0.05s", *two.words)
    assert len(two.good.versions) == 1
    assert "Ready" in typed(*register_words(published), *two.words, code=7).stdout


def test_two_profiles_of_one_server_both_have_their_turn(
    typed: Typed, simulator: FakeMold, published: Published, order: tuple[str, str]
) -> None:
    wrong = typed.home / "wrong"
    wrong.write_text("api_key = Ak-nobody\nsecret_key = Sk-nobody\n")
    wrong.chmod(0o600)
    config = typed.home / "config.yaml"
    config.write_text(
        f"mold:\n  good: {{endpoint: '{simulator.endpoint}'}}\n"
        f"  bad: {{endpoint: '{simulator.endpoint}', key_file: {wrong}}}\n"
    )
    del os.environ["ISOBUILDER_MOLD_ENDPOINT"]
    servers = [word for name in order for word in ("--server", name)]
    words = register_words(published, "--config", str(config), *servers)
    found = typed.json(*words, code=7)
    assert [(one["server"], one["ok"]) for one in found] == [(it, it == "good") for it in order]
    told = f"{order[1]} is {order[0]}: both are {simulator.endpoint}"
    assert told in typed(*words, code=7).stderr
    assert len(simulator.cloud.versions) == 1


def test_what_is_already_gone_on_one_server_does_not_keep_it_on_the_other(
    typed: Typed, two: Two
) -> None:
    version = add_directly(two.good)
    result = typed("disable", "1.34.12", *two.words, code=7)
    assert version.state == "Disabled"
    assert "good: v1.34.12 is Disabled" in result.stdout


def test_a_plan_says_nothing_of_a_server_that_it_does_not_name(
    typed: Typed, simulator: FakeMold, published: Published, web: Web, tmp_path: Path
) -> None:
    folder, plan = str(published.path.parent), tmp_path / "plan.json"
    typed("audit", folder, "--url-base", web.url, "--plan", str(plan), code=9)
    [name] = [server["server"] for server in json.loads(plan.read_text())["servers"]]
    config = typed.home / "config.yaml"
    config.write_text(f"mold:\n  other: {{endpoint: '{simulator.endpoint}'}}\n")
    words = ("apply", str(plan), "--config", str(config), "--server")
    result = typed(*words, "other", code=3)
    assert f"{plan}: no plan for other" in result.stderr
    assert f"it has: {name}" in result.stderr
    assert "'godo': no such profile" in typed(*words, "other", "--server", "godo", code=2).stderr
    assert not simulator.cloud.versions


def test_who_says_no_to_one_server_is_asked_about_the_next(
    typed: Typed, simulator: FakeMold
) -> None:
    other = Cloud(pace=simulator.cloud.pace)
    other.users = simulator.cloud.users
    config = typed.home / "config.yaml"
    kept, gone = add_directly(simulator.cloud), add_directly(other)
    with FakeMold(other) as second:
        config.write_text(
            f"mold:\n  a: {{endpoint: '{simulator.endpoint}'}}\n"
            f"  b: {{endpoint: '{second.endpoint}'}}\n"
        )
        del os.environ["ISOBUILDER_MOLD_ENDPOINT"]
        words = ("delete", "1.34.12", "--config", str(config), "--server", "a", "--server", "b")
        typed(*words, answer="n\ny\n")
    assert kept.id in simulator.cloud.versions
    assert gone.id not in other.versions


def test_what_a_key_may_not_see_is_said(typed: Typed, simulator: FakeMold) -> None:
    version = add_directly(simulator.cloud)
    simulator.cloud.users[0].key_rules = (
        ("listCapabilities", "allow"),
        ("listKubernetesSupportedVersions", "allow"),
    )
    assert version.id in typed("list").stdout
    shown = typed("show", version.id).stdout
    assert "used by:         not shown to this key\n" in shown
    assert "events:          not shown to this key\n" in shown
    data = typed.json("show", version.id)
    assert (data["clusters"], data["events"]) == (None, None)


def test_a_mistyped_server_is_told_before_any_is_asked(typed: Typed, two: Two) -> None:
    version = add_directly(two.good)
    result = typed("delete", "v1.34.12", "--yes", *two.words, "--server", "goood", code=2)
    assert "'goood': no such profile; known: bad, good" in result.stderr
    assert version.id in two.good.versions


def test_a_named_server_is_never_that_of_a_variable(
    typed: Typed, two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_directly(two.good)
    config = two.words[1]
    monkeypatch.setenv("ISOBUILDER_MOLD_ENDPOINT", "http://127.0.0.1:9/client/api")
    monkeypatch.setenv("ISOBUILDER_MOLD_GOOD_API_KEY", KEY)
    monkeypatch.setenv("ISOBUILDER_MOLD_GOOD_SECRET_KEY", SECRET)
    typed("delete", "v1.34.12", "--yes", "--config", config, "--server", "good")
    assert version.id not in two.good.versions


def test_a_plan_that_would_change_nothing_is_not_written(
    typed: Typed, published: Published, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    words = ("audit", str(published.path.parent), "--plan", str(plan))
    result = typed(*words, code=9)  # missing, and no URL to register it from
    assert f"{plan} not written" in result.stderr
    assert not plan.exists()
    assert "no zone 'Nowhere'" in typed(*words, "--zone", "Nowhere", code=8).stderr


def test_the_words_of_a_stranger_are_one_line_that_does_nothing(
    typed: Typed, simulator: FakeMold
) -> None:
    name = "v1\x1b]0;x\x07\nhint: run curl http://x | sh\u202e"
    version = add_directly(simulator.cloud, name=name)
    simulator.cloud.zones[1].name = "Zone\x1b[2J"
    version.rows[1].outcome = DownloadOutcome("fail\x1b[1m\nerror: x", 0, "")
    simulator.cloud.note("ISO.CREATE", name, resource=version.iso_id)
    for words in (("list",), ("show", version.id), ("zones",), ("events",)):
        result = typed(*words)
        for line in (result.stdout + result.stderr).splitlines():
            assert line.isprintable(), (words, line)
            assert not line.startswith(("hint:", "error:")), (words, line)
    simulator.cloud.settings["endpoint.url"].value = "http://x/\x1b[2J\nhint: y"
    for line in typed("check").stdout.splitlines():
        assert line.isprintable()
        assert line.startswith(("ok ", "warning ", "problem ", "   "))
    result = typed("disable", version.id, "--dry-run")
    assert result.stdout.splitlines()[0].isprintable()
    simulator.cloud.clusters.append(
        CloudCluster("c\nhint: x", version.id, simulator.cloud.zones[0])
    )
    for line in typed("delete", version.id, "--yes", code=8).stderr.splitlines():
        assert line.isprintable()
        assert line != "hint: x"


def test_rows_with_wide_letters_stay_in_line(typed: Typed, simulator: FakeMold) -> None:
    add_directly(simulator.cloud, "1.34.9", name="운영 클러스터")
    add_directly(simulator.cloud, "1.34.12", name="plain")
    lines = typed("list").stdout.splitlines()
    columns = {width(line[: line.index("1.34")]) for line in lines[1:]}
    assert columns == {width(lines[0][: lines[0].index("VERSION")])}


def test_check_prints_one_line_for_each_thing(typed: Typed, published: Published) -> None:
    result = typed("check", str(published.path), "--url", published.url, "--download-check")
    lines = result.stdout.splitlines()
    assert any(line.startswith("ok       checksum: ") for line in lines)
    assert any(line.startswith("warning  host: ") for line in lines)
    assert {line["level"] for line in typed.json("check")} <= {"ok", "warning"}


def test_check_fixes_what_is_a_setting_when_asked(typed: Typed, simulator: FakeMold) -> None:
    name = "cloud.kubernetes.cluster.max.size"
    simulator.cloud.settings[name].value = "0"
    assert "--fix" in typed("check", code=8).stderr
    assert "would change" in typed("check", "--fix", "--dry-run", code=8).stderr
    assert simulator.cloud.setting(name) == "0"
    typed("check", "--fix", answer="n\n", code=8)
    assert simulator.cloud.setting(name) == "0"
    result = typed("check", "--fix", answer="y\n")
    assert f"{name}: '0' -> '10'" in result.stderr
    assert f"undo: isobuilder mold setting {name} 0" in result.stderr
    assert simulator.cloud.setting(name) == "10"


def test_a_setting_that_waits_for_a_restart_mends_nothing_yet(
    typed: Typed, simulator: FakeMold
) -> None:
    simulator.cloud.settings["cloud.kubernetes.service.enabled"].value = "false"
    simulator.cloud.restart()
    done = typed("check", "--fix", "--yes", code=8)
    assert "changed" in done.stderr
    [hint] = hints(done)
    assert "restart the management server" in hint
    assert hint.endswith("; then check again")
    simulator.cloud.restart()
    typed("check", "--fix", "--yes")


def test_the_command_that_undoes_a_change_is_for_the_same_server(
    typed: Typed, simulator: FakeMold
) -> None:
    name = "max.template.iso.size"
    (typed.home / "c.yaml").write_text(f"mold:\n  lab: {{endpoint: '{simulator.endpoint}'}}\n")
    lab = ("--config", str(typed.home / "c.yaml"))
    for words, options in (
        ((), ""),
        (("--endpoint", simulator.endpoint), f" --endpoint {simulator.endpoint}"),
        ((*lab, "--server", "lab"), " --server lab"),
    ):
        undo = typed("setting", name, "60", *words).stderr.splitlines()[-1]
        assert undo == f"undo: isobuilder mold setting {name} 50{options}"
        typed(*undo.split()[3:], *(lab if lab[0] in words else ()))
        assert simulator.cloud.setting(name) == "50"
    os.environ["ISOBUILDER_MOLD_ENDPOINT"] = ""
    assert typed("setting", name, "60", *lab).stderr.endswith(" 50 --server lab\n")


def test_a_setting_is_shown_changed_and_put_back(typed: Typed, simulator: FakeMold) -> None:
    name = "max.template.iso.size"
    assert typed("setting", name).stdout.strip().endswith("= 50")
    [found] = json.loads(typed("setting", name, "--json").stdout)
    assert (found["name"], found["value"]) == (name, "50")
    typed("setting", name, "60", "--json", code=2)
    assert simulator.cloud.setting(name) == "50"
    assert "would change" in typed("setting", name, "60", "--dry-run").stdout
    assert simulator.cloud.setting(name) == "50"
    changed = typed("setting", name, "60")
    assert "was '50', is '60'" in changed.stdout
    undo = changed.stderr.split("undo: isobuilder mold ")[1].split(" --server")[0]
    typed(*undo.split())
    assert simulator.cloud.setting(name) == "50"
    assert "already" in typed("setting", name, "50").stdout
    restart = typed("setting", "cloud.kubernetes.service.enabled", "false")
    assert "restart the management server" in restart.stderr
    typed("setting", "no.such.setting", code=8)


def test_versions_are_listed_and_shown(typed: Typed, simulator: FakeMold) -> None:
    assert "0 versions" in typed("list").stderr
    version = add_directly(simulator.cloud)
    version.rows[1].outcome = None
    simulator.cloud.zones[1].stuck = True
    simulator.cloud.clusters.append(CloudCluster("prod", version.id, simulator.cloud.zones[0]))
    simulator.cloud.note("KUBERNETES.VERSION.ADD", "Adding v1.34.12", resource=version.id)
    listed = typed("list")
    assert "Zone2: Processing" in listed.stdout
    assert typed.json("list", "--ready") == []
    assert typed.json("list", "--version", "1.34")[0]["id"] == version.id
    shown = typed("show", "1.34.12").stdout
    assert "used by:         prod" in shown
    assert "Adding v1.34.12" in shown
    assert typed.json("show", version.id)["clusters"][0]["name"] == "prod"
    typed("show", "9.9.9", code=8)


def test_versions_are_enabled_disabled_and_deleted(typed: Typed, simulator: FakeMold) -> None:
    version = add_directly(simulator.cloud)
    assert "would make" in typed("disable", version.id, "--dry-run").stdout
    typed("disable", version.id)
    assert version.state == "Disabled"
    typed("enable", version.id)
    assert version.state == "Enabled"
    assert "would delete" in typed("delete", version.id, "--dry-run").stdout
    typed("delete", version.id, answer="n\n", code=130)
    unanswered = typed("delete", version.id, answer="", code=2)
    assert errors(unanswered) == ["error: nobody answered the question"]
    assert hints(unanswered) == ["hint: answer it with --yes"]
    assert version.id in simulator.cloud.versions
    typed("delete", version.id, answer="y\n")
    assert version.id not in simulator.cloud.versions
    typed("delete", version.id, "--yes", code=8)


def test_events_and_zones_are_listed(typed: Typed, simulator: FakeMold) -> None:
    version = add_directly(simulator.cloud)
    for kind in ("KUBERNETES.VERSION.ADD", "VM.CREATE"):
        simulator.cloud.note(kind, f"about {kind}", resource=version.id)
    assert "VM.CREATE" not in typed("events").stdout
    assert [event["type"] for event in typed.json("events", "--type", "VM.CREATE")] == ["VM.CREATE"]
    assert len(typed.json("events", "--of", version.id)) == 2
    assert typed.json("events", "--level", "error") == []
    assert typed("events", "--limit", "1").stdout.count("about") == 1
    assert "Zone1" in typed("zones").stdout
    assert [zone["name"] for zone in typed.json("zones")] == ["Zone1", "Zone2"]


def test_what_was_shown_is_deleted_and_nothing_that_has_its_name_by_then(
    typed: Typed, simulator: FakeMold, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add_directly(simulator.cloud)
    others = []

    def somebody_replaces_it(question: str) -> bool:
        assert version.id in question
        del simulator.cloud.versions[version.id]
        others.append(add_directly(simulator.cloud))
        return True

    monkeypatch.setattr("isobuilder.cli.mold.group.agreed", somebody_replaces_it)
    done = typed("delete", "1.34.12", code=8)
    assert f"no version '{version.id}'" in done.stderr
    assert others[0].id in simulator.cloud.versions


def test_an_audit_plans_and_apply_mends(
    typed: Typed, simulator: FakeMold, published: Published, web: Web, tmp_path: Path
) -> None:
    add_directly(simulator.cloud, "1.35.1", name="clicked")
    folder, plan = str(published.path.parent), str(tmp_path / "plan.json")
    result = typed("audit", folder, "--url-base", web.url, "--plan", plan, code=9)
    assert "missing" in result.stdout
    assert "extra" in result.stdout
    assert "--plan FILE" in typed("audit", folder, code=9).stderr
    assert "would" in typed("apply", plan, "--dry-run").stdout
    typed("apply", plan, "--poll", "0.05s")
    assert "no difference" in typed("audit", folder).stderr
    assert typed.json("audit", folder) == []
    assert {one["fate"] for one in typed.json("apply", plan)} == {"already"}


def test_a_plan_that_no_longer_fits_is_refused(
    typed: Typed, simulator: FakeMold, published: Published, tmp_path: Path
) -> None:
    version = add_directly(simulator.cloud, "1.35.1", name="clicked")
    plan = str(tmp_path / "plan.json")
    typed("audit", str(published.path.parent), "--plan", plan, code=9)
    simulator.cloud.clusters.append(CloudCluster("new", version.id, simulator.cloud.zones[0]))
    result = typed("apply", plan, code=8)
    assert "used by new" in result.stdout
    assert "1 of 1 changes were not made" in result.stderr


def test_the_causes_of_a_refused_key_reach_the_person(
    typed: Typed, simulator: FakeMold, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "hmac-sha256" in typed("zones", "--signature", "hmac-sha1", code=8).stderr
    monkeypatch.setenv("ISOBUILDER_MOLD_SECRET_KEY", "wrong")
    assert "keys from: environment" in typed("zones", code=8).stderr
    monkeypatch.delenv("ISOBUILDER_MOLD_SECRET_KEY")
    assert "only one of the two keys" in typed("zones", code=3).stderr


def test_a_key_file_or_a_login_replaces_the_environment(
    typed: Typed, simulator: FakeMold, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "SECRET_KEY"):
        monkeypatch.delenv(f"ISOBUILDER_MOLD_{name}")
    assert "no credentials" in typed("zones", code=3).stderr
    file = typed.home / "key"
    file.write_text(f"api_key = {KEY}\nsecret_key = {SECRET}\n")
    file.chmod(0o644)
    assert "chmod 600" in typed("zones", "--key-file", str(file), code=6).stderr
    file.chmod(0o600)
    typed("zones", "--key-file", str(file))
    assert "without a password" in typed("zones", "--username", "admin", code=3).stderr
    monkeypatch.setenv("ISOBUILDER_MOLD_PASSWORD", "password")
    typed("zones", "--username", "admin")
    assert not simulator.cloud.sessions


def test_an_endpoint_belongs_to_one_server(typed: Typed, simulator: FakeMold) -> None:
    words = ("--endpoint", simulator.endpoint, "--server", "a", "--server", "b")
    assert "--endpoint is one server's" in typed("zones", *words, code=2).stderr


def test_the_simulator_starts_says_how_to_use_it_and_ends(tmp_path: Path) -> None:
    old = tmp_path / "mold-simulator.key"
    old.write_text("# of isobuilder mold simulate, which writes this file and removes it\nold\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "isobuilder", "mold", "simulate", "--zone", "Seoul"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    endpoint = process.stdout.readline().strip()
    said = [process.stderr.readline() for _ in range(5)]
    try:
        assert "SIMULATOR" in said[0]
        key_file = tmp_path / "mold-simulator.key"
        assert key_file.stat().st_mode & 0o777 == 0o600
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        for line in said:
            if "export " in line:
                name, _, value = line.strip().removeprefix("export ").partition("=")
                environ[name] = value
        assert environ["ISOBUILDER_MOLD_ENDPOINT"] == endpoint
        listed = subprocess.run(
            [sys.executable, "-m", "isobuilder", "mold", "zones"],
            env=environ,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Seoul" in listed.stdout
    finally:
        process.send_signal(signal.SIGTERM)
        _out, rest = process.communicate(timeout=60)
    assert "the simulator ended" in rest
    assert process.returncode == 0
    assert not key_file.exists()


def test_a_simulator_leaves_the_keys_of_a_real_server_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file = tmp_path / "lab.key"
    key_file.write_text("api_key = real\nsecret_key = real\n")
    done = call("mold", "simulate", "--key-file", key_file, code=3)
    assert errors(done) == [f"error: {key_file}: is there already, and no simulator wrote it"]
    assert hints(done) == ["hint: name another file with --key-file"]
    assert "real" in key_file.read_text()
    key_file.unlink()

    def replaced_meanwhile(_seconds: float) -> None:
        key_file.write_text("api_key = real\nsecret_key = real\n")
        raise KeyboardInterrupt

    monkeypatch.setattr("isobuilder.cli.mold.simulate.time.sleep", replaced_meanwhile)
    call("mold", "simulate", "--key-file", key_file)
    assert "real" in key_file.read_text()


def with_lock(published: Published, containerd: str) -> Published:
    """Put a lock beside a published ISO that has this containerd on it."""
    shipped = (builtin_recipes() / "kubernetes-1.36.5.amd64.lock.json").read_text()
    lock = published.path.with_suffix(".lock.json")
    lock.write_text(shipped.replace("2.3.6", containerd))
    return published


@pytest.fixture
def newer(web: Web, tmp_path: Path) -> Published:
    """Publish an ISO of a version that is mended and has nothing against it."""
    data = iso_bytes()
    registration = registration_of("1.36.5", data)
    path = tmp_path / "dist" / registration.filename
    path.parent.mkdir()
    path.write_bytes(data)
    path.with_suffix(".registration.json").write_bytes(registration.to_bytes())
    return Published(registration, web.put(f"/{registration.filename}", data), path)


def test_what_cannot_work_is_not_registered_and_a_problem_of_a_check(
    typed: Typed, simulator: FakeMold, newer: Published
) -> None:
    with_lock(newer, "2.3.1")
    refused = typed(*register_words(newer), code=3)
    assert "containerd 2.3.1: cannot start pods when the pause image is pinned" in refused.stderr
    assert "containerd issue 13529" in refused.stderr  # who says so
    assert simulator.writes() == []
    checked = typed("check", str(newer.path), "--url", newer.url, code=8)
    assert "problem  known-bad: containerd 2.3.1: cannot start pods" in checked.stdout


def test_what_is_unwise_is_registered_and_told_with_its_source(
    typed: Typed, newer: Published
) -> None:
    with_lock(newer, "2.3.5")
    done = typed(*register_words(newer))
    told = "containerd 2.3.5: CVE-2026-53493 (containerd security releases of 2026-09-24"
    assert told in done.stderr
    [result] = typed.json(*register_words(newer))
    assert any(told in text for text in result["warnings"])
    checked = typed("check", str(newer.path), "--url", newer.url)
    assert f"warning  known-bad: {told}" in checked.stdout
    findings = typed.json("audit", str(newer.path.parent))
    [unfit] = [one for one in findings if one["kind"] == "unfit"]
    assert told in unfit["fact"]


def test_an_audit_has_what_cannot_work_as_a_difference(typed: Typed, newer: Published) -> None:
    typed(*register_words(newer))
    with_lock(newer, "2.3.1")
    done = typed("audit", str(newer.path.parent), code=9)
    assert "difference  unfit" in done.stdout
    assert "cannot start pods" in done.stdout


def test_parts_of_which_nothing_is_known_are_told_as_good(typed: Typed, newer: Published) -> None:
    with_lock(newer, "2.3.6")
    checked = typed("check", str(newer.path), "--url", newer.url)
    assert "ok       parts: nothing is known against them" in checked.stdout


def test_rules_of_the_settings_win_where_isos_are_judged(
    typed: Typed, newer: Published, tmp_path: Path
) -> None:
    with_lock(newer, "2.3.1")
    (tmp_path / "rules.yaml").write_text(
        'schema: 1\nas_of: "2026-12-01"\nsources: {us: "tried by us"}\n'
        'known_bad: [{component: containerd, versions: ["2.3.0..2.3.3"], level: warning, '
        "when: pinned-pause, source: us, fact: "
        '"cannot start pods when the pause image is pinned by digest, as nodes of Mold pin it"}]\n'
    )
    (tmp_path / "settings.yaml").write_text("rules: rules.yaml\n")
    done = typed(*register_words(newer), "--config", str(tmp_path / "settings.yaml"))
    assert "cannot start pods" in done.stderr
    assert "(tried by us; looked up on 2026-12-01)" in done.stderr


@pytest.mark.parametrize("text", ["{}", "no json", ""])
def test_a_lock_that_cannot_be_read_is_told_and_the_version_alone_is_judged(
    typed: Typed, newer: Published, text: str
) -> None:
    newer.path.with_suffix(".lock.json").write_text(text)
    done = typed(*register_words(newer))
    assert "cannot be read, so only the version was judged" in done.stderr
    newer.path.with_suffix(".lock.json").unlink()
    assert "cannot be read" not in typed(*register_words(newer)).stderr


def test_a_lock_of_another_version_says_nothing_of_this_iso(
    typed: Typed, published: Published
) -> None:
    with_lock(published, "2.3.1")  # of 1.36.5, the ISO is 1.35.4
    assert "cannot start pods" not in typed(*register_words(published)).stderr


def test_settings_that_are_wrong_are_told_as_such_and_not_as_a_servers_error(
    typed: Typed, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("jobs: many\nper_host: 0\n")
    done = typed("list", "--server", "lab", "--config", str(settings), code=3)
    assert "settings.yaml:1:7: jobs" in done.stderr
    assert "settings.yaml:2:11: per_host" in done.stderr


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    """An ISO at a site, with its registration beside it."""
    folder = tmp_path / "isos"
    folder.mkdir()
    path = iso(folder / registration_of("1.35.4").filename, [image(PAUSE)])
    registration = registration_of("1.35.4", path.read_bytes())
    path.with_suffix(".registration.json").write_bytes(registration.to_bytes())
    return path


@pytest.fixture
def site(carried: Path) -> Iterator[SiteServer]:
    shelf = Shelf([carried.parent])
    shelf.open()
    with SiteServer(shelf) as server:
        yield server


def test_an_iso_is_registered_from_the_sites_own_server(
    typed: Typed, simulator: FakeMold, carried: Path, site: SiteServer
) -> None:
    words = ("register", str(carried), "--from-site", site.url, "--poll", "0.05s")
    typed(*words, "--url", "http://x/y.iso", code=2)
    (result,) = typed.json(*words)
    assert {zone["outcome"] for zone in result["zones"]} == {"ready"}
    urls = [version.url for version in simulator.cloud.versions.values()]
    assert set(urls) == {f"{site.url}/isos/{carried.name}"}


def test_what_the_check_finds_keeps_an_iso_of_the_site_from_being_registered(
    typed: Typed, simulator: FakeMold, carried: Path, site: SiteServer
) -> None:
    simulator.cloud.settings["max.template.iso.size"].value = "0"
    done = typed("register", str(carried), "--from-site", site.url, code=8)
    assert "max.template.iso.size" in done.stderr
    assert simulator.writes() == []


def test_a_server_that_is_not_ready_for_a_site_keeps_none_from_its_turn(
    typed: Typed, two: Two, carried: Path, site: SiteServer
) -> None:
    words = ("register", str(carried), "--from-site", site.url, "--poll", "0.05s", *two.words)
    results = {result["server"]: result for result in typed.json(*words, code=7)}
    assert {zone["outcome"] for zone in results["good"]["zones"]} == {"ready"}
    assert results["bad"]["error"]
    assert not results["bad"]["ok"]
    assert not two.bad.versions
