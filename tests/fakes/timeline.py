"""Upstream on any day from November 2025 to November 2026, on loopback, as it answered then."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import date
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from isobuilder.formats.version import ReleaseVersion

AUTOSCALER = "2132862adc757e4547033e36e0502ca00f3d1762"
PROVIDER = "5dee69546c4e1eeee5828c126b5282c603384f4a"
BASELINES = {  # minor -> release that was changed, its state, its commit
    "1.34": ("cluster-autoscaler-1.34.5", "stable", "cb2123ed13148c38fbdb1ede42d8e99761ee2909"),
    "1.35": ("cluster-autoscaler-1.35.2", "stable", "2d42588803c71fe9b35dcd9e3669ac6bb550ca22"),
    "1.36": ("cluster-autoscaler-1.36.1", "stable", "35e8a280425c76a4040f57ae0fa232a952c02024"),
    "1.37": (
        "1.37-development-source",
        "development-candidate",
        "22575f5c8af3edd9a10ca10d7d9edef68d2982cd",
    ),
}
FACTS = Path(__file__).parents[1] / "facts" / "upstream-timeline.json"
PROJECTS = {
    "containerd/containerd": "containerd",
    "opencontainers/runc": "runc",
    "containernetworking/plugins": "cni-plugins",
    "kubernetes-sigs/cri-tools": "crictl",
    "etcd-io/etcd": "etcd",
    "projectcalico/calico": "calico",
}
FILES = {
    "containerd": "containerd-{version}-linux-{arch}.tar.gz",
    "runc": "runc.{arch}",
    "cni-plugins": "cni-plugins-linux-{arch}-v{version}.tgz",
    "crictl": "crictl-v{version}-linux-{arch}.tar.gz",
    "etcd": "etcd-v{version}-linux-{arch}.tar.gz",
}


def provenance(minor: str, baseline: str, status: str, commit: str, /, **changes: object) -> bytes:
    """Return what lies beside a release of the autoscaler, as its own build writes it."""
    told = {
        "source_repository": "ablecloud-team/autoscaler",
        "source_sha": AUTOSCALER,
        "build_run": "https://github.com/ablecloud-team/autoscaler/actions/runs/1",
        "original_baseline": baseline,
        "binary_source_sha": commit,
        "baseline_status": status,
        "kubernetes_minor": minor,
        "architecture": "amd64",
        "api_signature": "HMAC-SHA256",
        "customization_files": {"client.go": "e" * 64},
    }
    return json.dumps({**told, **changes}, indent=2).encode() + b"\n"


@cache
def facts() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FACTS.read_text(encoding="utf-8"))
    return read


def released(day: date) -> list[ReleaseVersion]:
    """Return the versions of Kubernetes that were public by the end of a day, the newest first."""
    found = [
        ReleaseVersion(row["version"]) for row in facts()["releases"] if row["day"] <= str(day)
    ]
    return sorted(found, reverse=True)


class Timeline:
    """The server; set ``day`` to travel, and ``faults`` (status, headers, body) by path."""

    def __init__(self, day: str) -> None:
        self.day = date.fromisoformat(day)
        self.faults: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
        self.digests: dict[str, str] = {}  # other digests of files than the facts have, by name
        self.cves: list[dict[str, Any]] = []  # items of the feed
        self.own = {  # tags of Mold's components, as they are known
            "autoscaler": [f"mold-k8s1.{n}-r1-{AUTOSCALER[:12]}" for n in range(34, 38)],
            "ablestack-kubernetes-provider": [f"mold-v1.2.1-r1-{PROVIDER[:12]}"],
        }
        self.commits = {AUTOSCALER[:12]: AUTOSCALER, PROVIDER[:12]: PROVIDER}
        self.beside = {  # files of their releases, by tag and name
            f"mold-k8s{minor}-r1-{AUTOSCALER[:12]}/provenance.json": provenance(minor, *built)
            for minor, built in BASELINES.items()
        }
        self.notes: dict[str, str] = {}  # of the schedule, by version
        self.asked: Counter[str] = Counter()
        self.answered: Counter[int] = Counter()
        timeline = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                timeline.asked[self.path] += 1
                status, headers, body = timeline.answer(self.path)
                etag = f'"{hash(body):x}"'
                if status == 200 and self.headers.get("If-None-Match") == etag:
                    status, body = 304, b""
                timeline.answered[status] += 1
                self.send_response(status)
                for name, value in {**headers, "ETag": etag}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def mirrors(self) -> dict[str, tuple[str, ...]]:
        base = f"http://127.0.0.1:{self._server.server_port}"
        return {
            "https://dl.k8s.io": (f"{base}/dl",),
            "https://kubernetes.io": (f"{base}/k8s",),
            "https://api.github.com": (f"{base}/gh",),
            "https://github.com": (f"{base}/github",),
            "https://proxy.golang.org": (f"{base}/go",),
            "https://raw.githubusercontent.com": (f"{base}/raw",),
            "registry.k8s.io": (f"{base}/registry",),
        }

    def answer(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        if path in self.faults:
            return self.faults[path]
        body: bytes | None = None
        if path.startswith("/dl/release/stable"):
            body = self._marker(path.removeprefix("/dl/release/stable").removesuffix(".txt"))
        elif path.startswith("/gh/repos/ablecloud-team/"):
            body = self._own(path.removeprefix("/gh/repos/ablecloud-team/"))
        elif path.startswith("/github/ablecloud-team/"):
            body = self.beside.get(path.partition("/releases/download/")[2])
        elif path.startswith("/k8s/docs/reference/issues-security/"):
            body = json.dumps(
                {"version": "https://jsonfeed.org/version/1.1", "items": self.cves}
            ).encode()
        elif path.startswith("/gh/repos/"):
            project = path.removeprefix("/gh/repos/").partition("/releases")[0]
            body = self._github(PROJECTS[project])
        elif path.startswith("/go/k8s.io/kubernetes/@v/"):
            body = self._module(path.rpartition("/")[2])
        elif path == "/raw/kubernetes/website/main/data/releases/schedule.yaml":
            body = self._schedule()
        return (404, {}, b"not found") if body is None else (200, {}, body)

    def _marker(self, minor: str) -> bytes | None:
        known = [one for one in released(self.day) if one.is_final]
        wanted = [one for one in known if not minor or one.line_text == minor.removeprefix("-")]
        return f"v{wanted[0]}".encode() if wanted else None

    def _own(self, path: str) -> bytes | None:
        component, _, rest = path.partition("/")
        if rest.startswith("commits/"):
            tag = rest.removeprefix("commits/")
            commit = self.commits.get(tag) or self.commits.get(rest.rpartition("-")[2])
            return json.dumps({"sha": commit}).encode() if commit else None
        found = [
            {"tag_name": tag, "target_commitish": "main", "assets": []}
            for tag in self.own[component]
        ]
        return json.dumps(found).encode()

    def _github(self, component: str) -> bytes:
        digests = {
            row["version"]: row for row in facts()["digests"] if row["component"] == component
        }
        found = []
        for row in reversed(facts()["components"]):
            if row["component"] == component and row["day"] <= str(self.day):
                version = row["version"]
                assets = [
                    {"name": name, "digest": f"sha256:{self.digests.get(name, digest)}"}
                    for arch, digest in digests.get(version, {}).items()
                    if arch in {"amd64", "arm64"}
                    for name in [FILES[component].format(version=version, arch=arch)]
                ]
                found.append(
                    {
                        "tag_name": f"v{version}",
                        "draft": False,
                        "prerelease": "-" in version,
                        "published_at": f"{row['day']}T12:00:00Z",
                        "assets": assets,
                    }
                )
        return json.dumps(found).encode()

    def _module(self, name: str) -> bytes | None:
        rows = {row["version"]: row for row in facts()["releases"] if row["day"] <= str(self.day)}
        if name == "list":
            return "".join(f"v{version}\n" for version in rows).encode()
        row = rows.get(name.removeprefix("v").removesuffix(".info"))
        if row is None:
            return None
        time = row.get("tagged_at") or f"{row['tag_day']}T12:00:00Z"
        return json.dumps({"Version": f"v{row['version']}", "Time": time}).encode()

    def _schedule(self) -> bytes | None:
        states = [row for row in facts()["schedule"] if row["window"][0] <= str(self.day)]
        if not states:
            return None
        lines = ["schedules:"]
        for minor, newest in states[-1]["newest"].items():
            lines += [f"- release: {minor}", "  next:"]  # without quotes, as old states have it
            release, deadline, target = states[-1]["next"].get(minor, (None, None, None))
            if release:
                lines += [f"    release: {release}", f"    cherryPickDeadline: {deadline}"]
                lines += [f"    targetDate: {target}"]
                if note := self.notes.get(release):
                    lines += [f"    note: {note}"]
            else:
                lines[-1] = "  next: {}"
            if newest:
                lines += ["  previousPatches:", f"  - release: {newest}", "    targetDate: N/A"]
        return ("\n".join(lines) + "\n").encode()
