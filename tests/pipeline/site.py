"""An upstream, a folder of recipes and a published folder for the tests of unattended runs."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator, Sequence
from datetime import date
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo.content import fill, recipe
from isobuilder.digest import Digest
from isobuilder.model.config import Config
from isobuilder.model.policy import SyncPolicy, read_policy
from isobuilder.mold.api.commands import Mold
from isobuilder.pipeline.sync import sync
from isobuilder.pipeline.upstream.report import SyncReport
from isobuilder.publish.index import read_index
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from tests.fakes.upstream import FakeUpstream

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
        self.remote_store: str | None = None
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
        mirrors = {**self.upstream.mirrors, **nowhere}
        return Config(mirrors=mirrors, retries=0, remote_store=self.remote_store)

    def run(
        self, molds: Sequence[Mold] = (), day: date = DAY, without: Any = (), **changes: object
    ) -> SyncReport:
        store = Store(self.folder / "store")
        with open_session(self.config, store) as session:
            policy = self.policy(**changes)
            return sync(policy, session, day=day, molds=molds, without=without)

    def settings(self, **more: object) -> Path:
        """Write settings that lead to the upstream, for a run in a process of its own."""
        path = self.folder / "config.yaml"
        mirrors = {name: list(places) for name, places in self.config.mirrors.items()}
        store = str(self.folder / "store")
        path.write_text(json.dumps({"mirrors": mirrors, "retries": 0, "store": store, **more}))
        return path

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
