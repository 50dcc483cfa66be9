"""One unattended run brings recipes, the published folder and servers to what a policy wants."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo.content import fill, recipe
from isobuilder.digest import Digest
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import EnvironmentProblem
from isobuilder.files import locked
from isobuilder.model.config import Config
from isobuilder.model.policy import SyncPolicy, read_policy
from isobuilder.mold.api.commands import Mold
from isobuilder.pipeline.sync import SyncReport, read_index, sync
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from tests.cli.calling import call
from tests.fakes.mold import FakeMold
from tests.fakes.upstream import FakeUpstream
from tests.mold.conftest import ClientOf, client_of, clock, cloud, simulator

__all__ = ["client_of", "clock", "cloud", "simulator"]

DAY = date(2026, 6, 20)
NOWHERE = ("https://proxy.golang.org", "https://api.github.com", "https://kubernetes.io")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Site:
    """An upstream, a folder of recipes, a published folder on a web server, and a policy."""

    def __init__(self, folder: Path, upstream: FakeUpstream) -> None:
        self.folder = folder
        self.upstream = upstream
        self.recipes = folder / "recipes"
        self.published = folder / "published"
        for place in (self.recipes, self.published):
            place.mkdir()
        handler = functools.partial(Quiet, directory=str(self.published))
        self.web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.web.serve_forever, daemon=True).start()
        self.release("1.33.12", etcd="3.5.24")
        self.release("1.34.8")
        for version, minor in (("1.33.12", "1.33"), ("1.34.8", "1.34")):
            text = recipe().decode().replace('"1.34.12"', f'"{version}"')
            text = text.replace('"1.34"', f'"{minor}"')
            if minor == "1.33":
                text = text.replace('etcd: "3.6.5"', 'etcd: "3.5.24"')
            (self.recipes / f"kubernetes-{version}.yaml").write_text(text)

    def release(self, version: str, *, etcd: str | None = None) -> None:
        """Put a release of Kubernetes upstream, with signatures, and an etcd that fits."""
        fill(self.upstream, version)
        for arch in ("amd64", "arm64"):
            for name in ("kubeadm", "kubelet", "kubectl"):
                for suffix in (".sig", ".cert"):
                    path = f"dl.k8s.io/release/v{version}/bin/linux/{arch}/{name}{suffix}"
                    self.upstream.put_file(path, b"c3RhbmQtaW4=")
        if etcd:
            sums = ""
            for arch in ("amd64", "arm64"):
                name = f"etcd-v{etcd}-linux-{arch}.tar.gz"
                releases = "github.com/etcd-io/etcd/releases/download"
                data = self.upstream._files[f"/{releases}/v3.6.5/etcd-v3.6.5-linux-{arch}.tar.gz"][
                    0
                ]
                assert isinstance(data, bytes)
                base = f"{releases}/v{etcd}"
                self.upstream.put_file(f"{base}/{name}", data)
                sums += f"{Digest.of(data).hex}  {name}\n"
            self.upstream.put_file(f"{base}/SHA256SUMS", sums.encode())

    def policy(self, **changes: object) -> SyncPolicy:
        data = {
            "schema": 1,
            "recipes": "recipes",
            "publish": {
                "folder": "published",
                "url": f"http://127.0.0.1:{self.web.server_port}",
            },
            "hold_days": 0,
            **changes,
        }
        path = self.folder / "policy.yaml"
        path.write_text(json.dumps(data))
        return read_policy(path)

    @property
    def config(self) -> Config:
        nowhere = dict.fromkeys(NOWHERE, (f"{self.upstream.url}/nowhere",))
        return Config(mirrors={**self.upstream.mirrors, **nowhere}, retries=0)

    def run(self, molds: tuple[Mold, ...] = (), day: date = DAY, **changes: object) -> SyncReport:
        store = Store(self.folder / "store")
        with open_session(self.config, store) as session:
            return sync(self.policy(**changes), session, day=day, molds=molds)

    def names(self) -> list[str]:
        return [one.name for one in read_index(self.published).isos]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with FakeUpstream() as upstream:
        made = Site(tmp_path, upstream)
        yield made
        made.web.shutdown()
        made.web.server_close()


def done(report: SyncReport) -> list[tuple[str, str]]:
    return [(step.subject, step.step) for step in report.steps if step.state == "done"]


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
        locked(site.published / ".sync.lock"),
        pytest.raises(EnvironmentProblem, match="another sync is at work here"),
    ):
        site.run()


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_and_begun_again_ends_the_same(
    site: Site, tmp_path: Path
) -> None:
    site.release("1.34.9")
    site.policy(architectures=["amd64"])
    settings = tmp_path / "config.yaml"
    mirrors = {name: list(places) for name, places in site.config.mirrors.items()}
    settings.write_text(
        json.dumps({"mirrors": mirrors, "retries": 0, "store": str(tmp_path / "store")})
    )
    script = (
        "import datetime, pathlib, sys\n"
        "import isobuilder\n"
        "from isobuilder.model.policy import read_policy\n"
        "from isobuilder.pipeline.sync import sync\n"
        "policy = read_policy(pathlib.Path(sys.argv[1]))\n"
        "with isobuilder.open_session(isobuilder.read_config(pathlib.Path(sys.argv[2]))) as s:\n"
        f"    report = sync(policy, s, day=datetime.date({DAY.year}, {DAY.month}, {DAY.day}))\n"
        "print(len(report.changed), len(report.failed))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "policy.yaml"), str(settings)]
    env = {**os.environ, "HOME": str(tmp_path)}
    began = time.monotonic()
    whole = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    lasted = time.monotonic() - began
    assert whole.stdout.split()[1] == "0"
    wanted = {path.name: Digest.of_file(path) for path in site.published.glob("*.iso")}
    index = (site.published / "index.json").read_bytes()
    for moment in range(1, 11):
        _forget(site)
        running = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        try:
            running.wait(timeout=lasted * moment / 11)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
        for path in site.published.glob("*.iso"):
            assert Digest.of_file(path) == wanted[path.name]  # whole, whenever it was killed
        again = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert again.stdout.split()[1] == "0"
        assert {p.name: Digest.of_file(p) for p in site.published.glob("*.iso")} == wanted
        assert (site.published / "index.json").read_bytes() == index


def _forget(site: Site) -> None:
    for path in (*site.published.iterdir(), *site.recipes.glob("*1.34.9*")):
        if path.is_file():
            path.unlink()


# --- policies ---


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"publish": {"folder": "x"}, "servers": ["lab"]}, "servers need publish.url"),
        ({"hold_days": -1}, "hold_days"),
        ({"freezes": [{"first": "2026-02-02", "last": "2026-01-01"}]}, "expected last not before"),
        ({"minors": ["1.34.12"]}, "minors[0]"),
        ({"architectures": ["x86"]}, "architectures[0]"),
        ({"retire": True}, "unknown key 'retire'"),
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


def test_the_command_reports_to_people_and_machines(site: Site) -> None:
    site.policy(architectures=["amd64"], minors=["1.34"], ended_minors=True)
    settings = site.folder / "config.yaml"
    mirrors = {name: list(places) for name, places in site.config.mirrors.items()}
    settings.write_text(
        json.dumps({"mirrors": mirrors, "retries": 0, "store": str(site.folder / "store")})
    )
    arguments = ("upstream", "sync", site.folder / "policy.yaml", "--config", settings)
    first = call(*arguments, "--report", site.folder / "report.md")
    assert "2 done, 0 failed" in first.stdout
    assert (site.folder / "report.md").read_text() == first.stdout
    steps = json.loads(call(*arguments, "--json").stdout)["steps"]
    assert [(one["step"], one["state"]) for one in steps] == [("lock", "kept"), ("publish", "kept")]
    (site.recipes / "kubernetes-1.34.8.amd64.lock.json").write_text("{}")
    assert "1 of 1 steps failed" in call(*arguments, code=7).stderr


def test_a_recipe_that_is_none_keeps_no_other_from_its_turn(site: Site) -> None:
    (site.recipes / "mine.yaml").write_text("kubernetes: soon\n")
    report = site.run(architectures=["amd64"])
    assert [(step.subject, step.step) for step in report.failed] == [("mine.yaml", "recipe")]
    assert len(site.names()) == 2
