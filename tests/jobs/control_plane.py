"""The lab's etcd, API server and controllers on loopback, and a stand-in for nodes.

Nodes are the only part that is not real: ``Nodes`` does what a pod's containers say, one after
another, as processes of this machine in which folders of the test stand for the pod's own, and
tells the API server how they ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.lab.place import lab_dir
from tools.lab.servers import free_port

VERSION = "1.37.2"


def programs() -> dict[str, Path]:
    """Return the paths of what is needed by name; some may not be there."""
    folder = lab_dir() / "programs"
    names = ("kube-apiserver", "kube-controller-manager", "kubectl")
    found = {name: folder / f"kubernetes-{VERSION}" / name for name in names}
    return {**found, "etcd": folder / "etcd" / "server"}


@dataclass(slots=True)
class ControlPlane:
    """A cluster without nodes; ``env`` leads kubectl to it."""

    folder: Path
    env: dict[str, str]

    def kubectl(self, *words: str | Path, given: str | None = None) -> str:
        done = subprocess.run(
            [programs()["kubectl"], *words],
            env={**os.environ, **self.env},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "--output", "json"))


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Start a control plane and end it with the block."""
    etcd, peer, api = free_port(), free_port(), free_port()
    key = folder / "sa.key"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "RSA", "-out", key], check=True, capture_output=True
    )
    (folder / "tokens.csv").write_text('secret,tester,1,"system:masters"\n')
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": f"https://127.0.0.1:{api}",
                    "certificate-authority": str(folder / "certs/apiserver.crt"),
                },
            }
        ],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    paths = programs()
    started = []

    def start(name: str, *options: str) -> None:
        with (folder / f"{name}.log").open("wb") as log:
            words: list[str | Path] = [paths[name], *options]
            started.append(subprocess.Popen(words, stdout=log, stderr=log, cwd=folder))

    plane = ControlPlane(
        folder,
        {"KUBECONFIG": str(kubeconfig), "PATH": f"{paths['kubectl'].parent}:{os.environ['PATH']}"},
    )
    try:
        start(
            "etcd",
            *(f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync"),
            *(f"--listen-client-urls=http://127.0.0.1:{etcd}",),
            *(f"--advertise-client-urls=http://127.0.0.1:{etcd}",),
            *(f"--listen-peer-urls=http://127.0.0.1:{peer}",),
        )
        start(
            "kube-apiserver",
            *(f"--etcd-servers=http://127.0.0.1:{etcd}", f"--secure-port={api}"),
            *("--bind-address=127.0.0.1", f"--cert-dir={folder / 'certs'}"),
            *("--authorization-mode=RBAC", f"--token-auth-file={folder / 'tokens.csv'}"),
            *(f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"),
            *("--service-account-issuer=https://test.example", "--v=1"),
            *("--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none"),
        )
        _until_ready(plane, started)
        start(
            "kube-controller-manager",
            *(f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"),
            *("--controllers=cronjob-controller,job-controller,serviceaccount-controller",),
            *(f"--service-account-private-key-file={key}", "--v=1"),
        )
        yield plane
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def _until_ready(plane: ControlPlane, started: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            plane.kubectl("get", "--raw", "/readyz")
        except AssertionError:
            log = (plane.folder / "kube-apiserver.log").read_text()[-3000:]
            assert time.monotonic() < end, log
            assert all(process.poll() is None for process in started), log
            time.sleep(0.2)
        else:
            return


@dataclass(slots=True)
class Nodes:
    """Does the pods of a namespace; ``folder`` has what is mounted into them."""

    plane: ControlPlane
    folder: Path
    namespace: str
    env: dict[str, str]
    ended: dict[str, int] = field(default_factory=dict)  # pod -> exit code
    stopping: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            thread.join()

    def _work(self) -> None:
        while not self.stopping.wait(0.3):
            for pod in self.plane.get("pods", "--namespace", self.namespace)["items"]:
                if pod["metadata"]["name"] not in self.ended:
                    self._do(pod)

    def _do(self, pod: dict[str, Any]) -> None:
        spec, name = pod["spec"], pod["metadata"]["name"]
        code, statuses = 0, []
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            code = self._run(container)
            if container in spec["containers"]:
                statuses.append(_status(container, code))
            if code:
                break
        self.ended[name] = code
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": statuses}
        patch = ["patch", "pod", name, "--namespace", self.namespace, "--subresource", "status"]
        self.plane.kubectl(*patch, "--type", "merge", "--patch", json.dumps({"status": status}))

    def _run(self, container: dict[str, Any]) -> int:
        for mount in container["volumeMounts"]:
            (self.folder / mount["mountPath"].lstrip("/")).mkdir(parents=True, exist_ok=True)
        env = {one["name"]: self._here(one["value"]) for one in container.get("env", [])}
        done = subprocess.run(
            [self._here(word) for word in container["command"]],
            cwd=self.folder / container["workingDir"].lstrip("/"),
            env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **env, **self.env},
            capture_output=True,
            text=True,
            check=False,
        )
        with (self.folder / "said").open("a") as said:
            said.write(done.stdout + done.stderr)
        return done.returncode

    def _here(self, text: str) -> str:
        """Return a text in which the pod's folders are those of the test."""
        for place in ("/var/lib/isobuilder", "/etc/isobuilder"):
            text = text.replace(place, str(self.folder) + place)
        return text


def _status(container: dict[str, Any], code: int) -> dict[str, Any]:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}},
    }
