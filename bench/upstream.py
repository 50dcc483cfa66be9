"""The payload served by nginx and docker-registry on loopback, unthrottled and throttled."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.measure import BenchError
from bench.payload import Payload
from isobuilder.formats.reference import ImageReference
from tools.lab.images import Tagged
from tools.lab.push import push
from tools.lab.servers import free_port, running

FILE_HOSTS = ("dl.k8s.io", "github.com", "raw.githubusercontent.com")
LIMIT = "20m"  # bytes per second of each connection, in nginx's spelling: 20 MiB


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where one way to the payload begins."""

    files: str  # http://127.0.0.1:PORT
    registry: str  # http://127.0.0.1:PORT


@dataclass(frozen=True, slots=True)
class Served:
    """The payload on loopback."""

    full: Upstream
    throttled: Upstream
    changed: str  # where dl.k8s.io has another kubeadm


def registries(images: Sequence[Tagged]) -> list[str]:
    """Return the names of the registries that images come from."""
    return sorted({ImageReference.parse(image.reference).registry for image in images})


def settings(path: Path, upstream: Upstream, names: Sequence[str], **more: str) -> Path:
    """Write the configuration that leads to ``upstream``; ``more`` are mirrors that win."""
    mirrors = {f"https://{host}": [f"{upstream.files}/{host}"] for host in FILE_HOSTS}
    mirrors |= {name: [f"{upstream.registry}/{name}"] for name in names}
    mirrors |= {origin: [mirror] for origin, mirror in more.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"mirrors": mirrors}), encoding="utf-8")
    return path


def settings_on_disk(path: Path, payload: Payload) -> Path:
    """Write the configuration that reads the payload without any server."""
    mirrors = {f"https://{host}": [(payload.files / host).as_uri()] for host in FILE_HOSTS}
    for name in registries(payload.tagged):
        mirrors[name] = [(payload.registry / name).as_uri()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"mirrors": mirrors}), encoding="utf-8")
    return path


@contextlib.contextmanager
def serve(payload: Payload, images: Sequence[Tagged], scratch: Path) -> Iterator[Served]:
    """Serve files and ``images`` of the payload for as long as the block lasts."""
    scratch.mkdir(parents=True, exist_ok=True)
    files, slow_files, registry, slow_registry = (free_port() for _ in range(4))
    (scratch / "registry.yml").write_text(
        _REGISTRY.format(port=registry, storage=scratch / "storage")
    )
    (scratch / "nginx.conf").write_text(
        _NGINX.format(
            user="user root root;" if os.geteuid() == 0 else "",
            scratch=scratch,
            root=payload.files,
            changed=payload.changed,
            limit=LIMIT,
            files=files,
            slow_files=slow_files,
            registry=registry,
            slow_registry=slow_registry,
        )
    )
    docker_registry: list[str | Path] = [
        _program("docker-registry"),
        "serve",
        scratch / "registry.yml",
    ]
    nginx: list[str | Path] = [_program("nginx"), "-p", scratch, "-e", scratch / "nginx.log"]
    nginx += ["-c", scratch / "nginx.conf"]
    with (
        _running(docker_registry, f"http://127.0.0.1:{registry}/v2/", scratch / "registry.log"),
        _running(nginx, f"http://127.0.0.1:{files}/", scratch / "nginx.out"),
    ):
        push(images, payload.blobs, registry)
        yield Served(
            full=Upstream(f"http://127.0.0.1:{files}", f"http://127.0.0.1:{registry}"),
            throttled=Upstream(
                f"http://127.0.0.1:{slow_files}", f"http://127.0.0.1:{slow_registry}"
            ),
            changed=f"http://127.0.0.1:{files}/changed/dl.k8s.io",
        )


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise BenchError(f"{name}: not installed")
    return found


@contextlib.contextmanager
def _running(words: Sequence[str | Path], url: str, log: Path) -> Iterator[None]:
    with running(words, url, log) as answers:
        if not answers:
            raise BenchError(f"{words[0]}: does not answer\n{log.read_text(errors='replace')}")
        yield


_NGINX = """
{user}
daemon off;
worker_processes 2;
pid {scratch}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {scratch}/body;
  proxy_temp_path {scratch}/proxy;
  fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi;
  scgi_temp_path {scratch}/scgi;
  server {{
    listen 127.0.0.1:{files};
    root {root};
    location /changed/ {{ alias {changed}/; }}
  }}
  server {{
    listen 127.0.0.1:{slow_files};
    root {root};
    limit_rate {limit};
  }}
  server {{
    listen 127.0.0.1:{slow_registry};
    limit_rate {limit};
    location / {{
      proxy_pass http://127.0.0.1:{registry};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"""
_REGISTRY = """
version: 0.1
log:
  level: warn
  accesslog: {{disabled: true}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  maintenance:
    uploadpurging: {{enabled: false}}
http:
  addr: 127.0.0.1:{port}
"""
