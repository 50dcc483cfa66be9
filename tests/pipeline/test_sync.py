"""One unattended run brings recipes, the published folder and servers to what a policy wants."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo.mold import Cloud, CloudUser, Timing
from isobuilder.demo.mold.server import Logged
from isobuilder.digest import Digest
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.files import locked
from isobuilder.pipeline.upstream.report import Journal, SyncStep
from isobuilder.publish.index import read_index
from tests.cli.calling import call
from tests.fakes.mold import FakeMold
from tests.mold.conftest import ADMIN, ClientOf, client_of, clock, cloud, simulator
from tests.pipeline.site import DAY, Site, done, site
from tests.publish.test_webhook import Hook

__all__ = ["client_of", "clock", "cloud", "simulator", "site"]


def test_two_versions_for_two_architectures_are_built_published_and_registered(
    site: Site, simulator: FakeMold, client_of: ClientOf
) -> None:
    site.release("1.33.13", etcd="3.5.24")
    site.release("1.34.9")
    lab = client_of(simulator)
    report = site.run((lab,))
    assert report.failed == []
    cells = [f"{v} {a}" for v in ("1.33.13", "1.34.9") for a in ("amd64", "arm64")]
    assert done(report) == [
        ("1.33.13", "propose"),
        ("1.34.9", "propose"),
        *((cell, step) for cell in cells for step in ("lock", "publish", "register")),
    ]
    index = read_index(site.published).isos
    assert [(str(one.kubernetes), one.architecture) for one in index] == [
        (v, a) for v in ("1.33.13", "1.34.9") for a in ("amd64", "arm64")
    ]
    for one in index:
        assert Digest.of_file(site.published / one.name) == one.sha256
        assert (site.published / one.name).stat().st_size == one.size
    sums = (site.published / "SHA256SUMS").read_text()
    assert sums.splitlines() == [f"{one.sha256.hex}  {one.name}" for one in index]
    assert {version.semver for version in simulator.cloud.versions.values()} == {
        "1.33.13",
        "1.34.9",
    }

    # A second run has nothing to do: it asks, and changes nothing anywhere.
    asked = len(simulator.log)
    before = {path: path.stat().st_mtime_ns for path in site.published.iterdir()}
    again = site.run((lab,))
    assert done(again) == []
    assert {path: path.stat().st_mtime_ns for path in site.published.iterdir()} == before
    commands = {call.command for call in simulator.log[asked:]}
    assert not [name for name in commands if not name.startswith("list")]


def test_a_cell_that_fails_keeps_no_other_from_its_turn(site: Site) -> None:
    site.release("1.34.9")
    broken = "/dl.k8s.io/release/v1.34.9/bin/linux/arm64/kubelet"
    data = site.upstream._files[broken]
    site.upstream.put_file(broken, b"not what its checksum says")
    report = site.run()
    assert [(step.subject, step.step) for step in report.failed] == [("1.34.9 arm64", "lock")]
    assert len(site.names()) == 3  # 1.33.12 twice, 1.34.9 for amd64
    assert "## Failed" in report.markdown
    assert "1.34.9 arm64: lock: " in report.markdown
    site.upstream._files[broken] = data
    assert done(site.run()) == [("1.34.9 arm64", "lock"), ("1.34.9 arm64", "publish")]


def test_a_recipe_whose_run_ended_before_it_noted_it_is_told_by_the_next_and_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.release("1.34.9")
    with monkeypatch.context() as patch:

        def ended(_journal: Journal, step: SyncStep) -> None:
            raise KeyboardInterrupt(step.step)

        patch.setattr(Journal, "note", ended)
        with pytest.raises(KeyboardInterrupt, match="propose"):
            site.run(architectures=["amd64"])
    assert (site.recipes / "kubernetes-1.34.9.yaml").is_file()
    assert ("1.34.9", "propose") in done(site.run(architectures=["amd64"]))
    assert ("1.34.9", "propose") not in done(site.run(architectures=["amd64"]))


def test_a_release_that_is_not_whole_is_waited_for(site: Site) -> None:
    site.release("1.34.9")
    missing = "/dl.k8s.io/release/v1.34.9/bin/linux/arm64/kubectl.sig"
    kept = site.upstream._files.pop(missing)
    report = site.run(architectures=["amd64", "arm64"])
    assert not (site.recipes / "kubernetes-1.34.9.yaml").exists()
    assert any("kubectl.sig" in one.fact for one in report.notices if one.level == "wait")
    site.upstream._files[missing] = kept
    assert ("1.34.9", "propose") in done(site.run(architectures=["amd64", "arm64"]))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"freezes": [{"first": "2026-06-15", "last": "2026-06-30", "why": "audit"}]}, "audit"),
        ({"minors": ["1.33"]}, "1.34 is not followed"),
    ],
)
def test_what_a_policy_does_not_want_waits_and_says_why(
    site: Site, changes: dict[str, Any], why: str
) -> None:
    site.release("1.34.9")
    report = site.run(architectures=["amd64"], **changes)
    (step,) = [step for step in report.steps if step.state == "waits"]
    assert (step.subject, step.step) == ("1.34.9", "propose")
    assert why in step.fact
    assert why in report.markdown


def test_a_version_with_a_known_regression_is_not_begun(site: Site) -> None:
    rules = site.folder / "rules.yaml"
    rules.write_text(
        'schema: 1\nas_of: "2026-06-01"\nsources: {us: our own tests}\nknown_bad:\n'
        "- {component: kubernetes, versions: [1.34.9..1.34.9], level: warning, source: us,\n"
        "   fact: pods do not start here}\n"
    )
    site.release("1.34.9")
    report = site.run(rules="rules.yaml", architectures=["amd64"])
    (failed,) = report.failed
    assert "pods do not start here" in failed.fact
    assert not list(site.recipes.glob("*1.34.9*"))
    report = site.run(rules="rules.yaml", architectures=["amd64"], known_bad=True)
    assert ("1.34.9", "propose") in done(report)


def test_a_policy_that_publishes_nowhere_is_about_recipes_and_locks(site: Site) -> None:
    site.release("1.34.9")
    report = site.run(architectures=["amd64"], publish=None)
    assert report.failed == []
    assert done(report) == [
        ("1.34.9", "propose"),
        ("1.33.12 amd64", "lock"),
        ("1.34.9 amd64", "lock"),
    ]
    assert (site.recipes / "kubernetes-1.34.9.amd64.lock.json").exists()
    assert list(site.published.iterdir()) == []
    with pytest.raises(InputErrors, match=r"servers need publish\.url"):
        site.policy(publish=None, servers=["lab"])


def test_a_published_file_is_never_replaced(site: Site) -> None:
    assert len(done(site.run(architectures=["amd64"]))) == 4  # two locks, two ISOs
    name = site.names()[0]
    (site.published / "index.json").unlink()
    (site.published / name).write_bytes(b"somebody else's")
    report = site.run(architectures=["amd64"])
    (failed,) = report.failed
    assert f"{name}: is published with other bytes" in failed.fact
    assert (site.published / name).read_bytes() == b"somebody else's"


def test_two_runs_at_once_do_not_happen(site: Site) -> None:
    with (
        locked(site.recipes / ".sync.lock"),
        pytest.raises(EnvironmentProblem, match="another sync is at work here"),
    ):
        site.run()


KILLS = int(os.environ.get("ISOBUILDER_KILLS", "10"))
"""How often a run is killed; `make test-kills` does it a hundred times."""


@pytest.mark.slow
@pytest.mark.timeout(600 + 120 * KILLS)
def test_a_run_that_is_killed_at_any_moment_and_begun_again_ends_the_same(
    site: Site,
) -> None:
    """Two versions for two architectures, at random moments; each time from the beginning."""
    site.release("1.33.13", etcd="3.5.24")
    site.release("1.34.9")
    chance = random.Random("killed")
    with Hook() as hook:
        began = time.monotonic()
        wanted = _end_of(site, hook, kill_after=None)
        lasted = time.monotonic() - began
        assert [name for name, _ in wanted.isos] == [
            f"kubernetes-v{version}-mold-cks-{arch}-r1.iso"
            for version in ("1.33.13", "1.34.9")
            for arch in ("amd64", "arm64")
        ]
        killed = 0
        for number in range(1, KILLS + 1):
            _forget(site)
            ended = _end_of(site, hook, kill_after=chance.uniform(0.0, lasted))
            killed += ended.killed
            if not ended.killed:
                lasted /= 2  # the machine was busier when that was measured
            assert ended == wanted
            if number % 10 == 0:
                print(f"{number} of {KILLS} runs begun again, {killed} killed", flush=True)
        print(f"{killed} of {KILLS} runs killed on the way, {lasted:.1f} s each")
        assert killed > KILLS // 2


@dataclass(frozen=True)
class Ended:
    """What there is after a run, and after it was killed and begun again."""

    isos: tuple[tuple[str, str], ...]  # name, digest
    index: bytes
    recipes: tuple[tuple[str, str], ...]
    registered: tuple[tuple[str, str], ...]  # every call that added a version: each once
    told: tuple[tuple[str, str], ...]  # every step that a webhook was told of, at least once
    killed: bool = field(compare=False, default=False)


_RUN = f"""
import datetime, pathlib, sys
import isobuilder
from isobuilder.model.policy import read_policy
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, MoldServer
from isobuilder.pipeline.sync import sync
policy, settings = (pathlib.Path(text) for text in sys.argv[1:3])
lab = Mold(MoldServer("lab", sys.argv[3], ApiKey({ADMIN.key!r}, {ADMIN.secret!r})))
day = datetime.date.fromisoformat("{DAY}")
with isobuilder.open_session(isobuilder.read_config(settings)) as session:
    report = sync(read_policy(policy), session, day=day, molds=[lab])
print(report.markdown)
sys.exit(len(report.failed))
"""


def _end_of(site: Site, hook: Hook, kill_after: float | None) -> Ended:
    """Run to the end with a server of its own, perhaps killed before and begun again."""
    hook.came.clear()
    cloud = Cloud(pace=Timing(allocated=0, downloading=0, installing=0, join=True))
    cloud.users.append(CloudUser(ADMIN.name, ADMIN.key, ADMIN.secret, ADMIN.password, ADMIN.role))
    with FakeMold(cloud) as mold:
        settings = site.settings()
        site.policy(servers=["lab"], webhook={"url": hook.url})
        line: list[str | Path] = [sys.executable, "-c", _RUN]
        line += [site.folder / "policy.yaml", settings, mold.endpoint]
        env = {**os.environ, "HOME": str(site.folder)}
        killed = False
        if kill_after is not None:
            running = subprocess.Popen(line, env=env, stdout=subprocess.DEVNULL)
            try:
                running.wait(timeout=kill_after)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
                running.wait()
                killed = True
            _assert_whole(site)
        again = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stdout + again.stderr
        added = [one for one in mold.log if one.command == "addKubernetesSupportedVersion"]
        steps = [step for _, body in hook.came for step in json.loads(body)["steps"]]
        return Ended(
            isos=_digests(site.published.glob("*.iso")),
            index=(site.published / "index.json").read_bytes(),
            recipes=_digests(site.recipes.glob("[a-z]*")),
            registered=tuple(sorted(_added(one) for one in added)),
            told=tuple(sorted({(s["subject"], s["step"]) for s in steps if s["state"] == "done"})),
            killed=killed,
        )


def _added(one: Logged) -> tuple[str, str]:
    return one.params["semanticversion"], one.params["arch"]


def _digests(paths: Iterable[Path]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((path.name, Digest.of_file(path)) for path in paths))


def _assert_whole(site: Site) -> None:
    """Whenever a run was killed, what has its published name is what its checksum says."""
    for path in site.published.glob("*.iso"):
        told = path.with_name(f"{path.name}.sha256").read_text().split()[0]
        assert Digest.of_file(path).hex == told


def _forget(site: Site) -> None:
    for path in (*site.published.iterdir(), *site.recipes.glob("*1.3?.*")):
        if path.is_file() and not path.name.endswith(("1.33.12.yaml", "1.34.8.yaml")):
            path.unlink()


# --- policies ---


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"publish": {"folder": "x"}, "servers": ["lab"]}, "servers need publish.url"),
        ({"hold_days": -1}, "hold_days"),
        ({"hold_days": 99999999999}, "hold_days: input should be less than or equal to 36500"),
        ({"retire": {"ended_days": 999999999}}, "retire.ended_days"),
        ({"architectures": []}, "architectures: expected at least one"),
        ({"freezes": [{"first": "2026-02-02", "last": "2026-01-01"}]}, "expected last not before"),
        ({"minors": ["1.34.12"]}, "minors[0]"),
        ({"architectures": ["x86"]}, "architectures[0]"),
        ({"retired": True}, "unknown key 'retired'"),
        ({"publish": {"folder": "x", "s3": {"name": "isos"}}}, "expected either folder or s3"),
        ({"publish": {"url": "https://isos.example"}}, "expected either folder or s3"),
        ({"publish": {"s3": {"name": "My_Bucket"}}}, "publish.s3.name"),
        ({"publish": {"s3": {"name": "isos", "prefix": "a/../b"}}}, "publish.s3.prefix"),
        ({"publish": {"s3": {"name": "isos", "secret": "u:p"}}}, "unknown key 'secret'"),
        ({"webhook": {"url": "https://u:p@host/"}}, "credentials in the address"),
        ({"webhook": {"url": "ftp://host/"}}, "expected http:// or https://"),
        ({"retire": {"patches": 0}}, "retire.patches"),
        ({"retire": {"servers": "destroy"}}, "retire.servers"),
        ({"keep_revisions": -1}, "keep_revisions"),
        ({"deltas": -1}, "deltas"),
        ({"deltas": 21}, "deltas"),
        ({"deltas": "all"}, "deltas"),
        ({"deltas": 1, "publish": None}, "deltas are published beside the ISOs"),
        ({"deltas": 3, "retire": {"patches": 2}}, "expected deltas from at most 2 ISOs"),
        ({"publish": {"folder": "x", "url": "https://u:p@host/"}}, "credentials in the address"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_with_its_place(
    site: Site, change: dict[str, object], told: str
) -> None:
    with pytest.raises(InputErrors) as refused:
        site.policy(**change)
    assert told in str(refused.value)
    assert "policy.yaml:1:" in str(refused.value)
    assert "u:p" not in str(refused.value)


def test_every_path_of_a_policy_may_begin_with_the_home_folder(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(site.folder / "home"))
    policy = site.policy(recipes="~/recipes", rules="~/rules.yaml", publish={"folder": "~/isos"})
    assert policy.recipes == str(site.folder / "home/recipes")
    assert policy.rules == str(site.folder / "home/rules.yaml")
    assert policy.publish is not None
    assert policy.publish.folder == str(site.folder / "home/isos")


@pytest.mark.parametrize("text", ["~nobody-of-this-name/x", "a\0b"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: {"recipes": text},
        lambda text: {"rules": text},
        lambda text: {"publish": {"folder": text}},
        lambda text: {"signing": {"key": text}},
        lambda text: {"signed_by": {"keys": [text]}},
        lambda text: {"webhook": {"url": "https://hooks.example", "secret_file": text}},
    ],
)
def test_a_path_of_a_policy_that_can_be_none_is_refused(
    site: Site, change: Callable[[str], dict[str, object]], text: str
) -> None:
    with pytest.raises(InputError, match=r"no home folder is known|a NUL character"):
        site.policy(**change(text))


def test_a_folder_of_recipes_that_is_not_there_is_refused_and_not_made(site: Site) -> None:
    with pytest.raises(InputError, match="nope: there is no such folder"):
        site.run(recipes="nope")
    assert not (site.folder / "nope").exists()


def test_the_command_reports_to_people_and_machines(site: Site) -> None:
    site.policy(architectures=["amd64"], minors=["1.34"], ended_minors=True)
    settings = site.settings()
    arguments = ("upstream", "sync", site.folder / "policy.yaml", "--config", settings)
    first = call(*arguments, "--report", site.folder / "report.md")
    assert "2 done, 0 failed" in first.stdout
    assert (site.folder / "report.md").read_text() == first.stdout
    steps = json.loads(call(*arguments, "--json").stdout)["steps"]
    assert [(one["step"], one["state"]) for one in steps] == [("lock", "kept"), ("publish", "kept")]
    (site.recipes / "kubernetes-1.34.8.amd64.lock.json").write_text("{}")
    assert "1 of 1 steps failed" in call(*arguments, code=7).stderr


def test_each_kind_of_a_version_is_built_in_its_highest_revision(site: Site) -> None:
    plain = site.recipes / "kubernetes-1.34.8.yaml"
    (site.recipes / "again.yaml").write_text(
        plain.read_text().replace("revision: 1", "revision: 2")
    )
    for version, name in (("1.34.8", "kubernetes-1.34.8-csi.yaml"), ("1.34.7", "older.yaml")):
        text = files("isobuilder.demo").joinpath("recipe-csi.yaml").read_text()
        text = text.replace("kubernetes-1.34.12", "kubernetes-1.34.8")
        (site.recipes / name).write_text(text.replace('"1.34.12"', f'"{version}"'))
    report = site.run(architectures=["amd64"], minors=["1.34"])
    assert report.failed == []
    assert sorted(site.names()) == [
        "kubernetes-v1.34.8-mold-cks-amd64-r2.iso",
        "kubernetes-v1.34.8-mold-cks-csi-amd64-r1.iso",
    ]
    cells = ("1.34.8 mold-cks-csi amd64", "1.34.8 amd64")
    assert sorted(done(report)) == sorted((c, step) for c in cells for step in ("lock", "publish"))
    assert done(site.run(architectures=["amd64"], minors=["1.34"])) == []


def test_of_recipes_that_would_become_one_iso_none_is_built_and_their_names_are_told(
    site: Site,
) -> None:
    plain = site.recipes / "kubernetes-1.34.8.yaml"
    text = plain.read_text()
    (site.recipes / "copy.yaml").write_text(text.replace("vars:", "vars:\n  mine: x", 1))
    (site.recipes / "gpu.yaml").write_text(text + "variant: gpu\n")
    policy: dict[str, Any] = {"minors": ["1.34"], "publish": None}
    report = site.run(**policy)
    (failed,) = report.failed
    assert (failed.subject, failed.step) == ("copy.yaml, kubernetes-1.34.8.yaml", "recipe")
    assert "would become the same ISO (1.34.8 amd64, 1.34.8 arm64)" in failed.fact
    gpu = [("1.34.8 mold-cks.gpu amd64", "lock"), ("1.34.8 mold-cks.gpu arm64", "lock")]
    assert done(report) == gpu
    (site.recipes / "copy.yaml").unlink()
    assert done(site.run(**policy)) == [("1.34.8 amd64", "lock"), ("1.34.8 arm64", "lock")]


def test_a_recipe_that_is_none_keeps_no_other_from_its_turn(site: Site) -> None:
    (site.recipes / "mine.yaml").write_text("kubernetes: soon\n")
    os.mkfifo(site.recipes / "pipe.yaml")
    os.mkfifo(site.recipes / "kubernetes-1.33.12.amd64.lock.json")
    (site.recipes / ".#a.yaml").symlink_to("somebody@example.4711:1")  # as Emacs leaves it
    (site.recipes / "old.yaml").mkdir()
    report = site.run(architectures=["amd64"])
    assert [(step.subject, step.step) for step in report.failed] == [
        ("mine.yaml", "recipe"),
        ("pipe.yaml", "recipe"),
        ("1.33.12 amd64", "lock"),
    ]
    assert all("is no file" in step.fact for step in report.failed[1:])
    assert len(site.names()) == 1
