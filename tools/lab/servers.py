"""nginx and docker-registry from Debian's packages, each a child process on a loopback port."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tools.lab.place import LabError

_TRIES = 5
_READY_SECONDS = 20.0


def within(tree: Path, program: str) -> list[str]:
    """Return the words that run a program of an unpacked tree with the libraries of that tree."""
    libraries = [tree / folder / "x86_64-linux-gnu" for folder in ("lib", "usr/lib")]
    loader = next(tree.glob("**/x86_64-linux-gnu/ld-linux-x86-64.so.2"))
    path = ":".join(str(folder) for folder in libraries)
    return [str(loader), "--library-path", path, str(tree / program)]


@contextlib.contextmanager
def file_server(peers: Path, root: Path, scratch: Path) -> Iterator[int]:
    """Serve ``root`` with nginx (Range, ETag, Last-Modified) and yield its port."""

    def command(port: int) -> list[str]:
        config = scratch / "nginx.conf"
        config.write_text(_NGINX.format(port=port, root=root, scratch=scratch, user=_user()))
        nginx = within(peers, "usr/sbin/nginx")
        return [*nginx, "-p", str(scratch), "-e", str(scratch / "nginx.log"), "-c", str(config)]

    with _started(command, "/", scratch, "nginx.log") as port:
        yield port


@contextlib.contextmanager
def registry(peers: Path, storage: Path, scratch: Path, *, read_only: bool = True) -> Iterator[int]:
    """Serve ``storage`` with docker-registry and yield its port."""

    def command(port: int) -> list[str]:
        config = scratch / "registry.yml"
        text = _REGISTRY.format(port=port, storage=storage, read_only=str(read_only).lower())
        config.write_text(text)
        return [*within(peers, "usr/bin/docker-registry"), "serve", str(config)]

    with _started(command, "/v2/", scratch, "registry.log") as port:
        yield port


def _user() -> str:
    # As root nginx would drop to another user, who cannot read everybody's home.
    return "user root root;" if os.geteuid() == 0 else ""


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _started(
    command: Callable[[int], list[str]], path: str, scratch: Path, log_name: str
) -> Iterator[int]:
    log = scratch / log_name
    for _ in range(_TRIES):
        port = free_port()
        with running(command(port), f"http://127.0.0.1:{port}{path}", log) as answers:
            if answers:
                yield port
                return
        if b"ddress already in use" not in log.read_bytes():
            break
    last = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    raise LabError(f"{log_name.removesuffix('.log')}: does not answer\n{last}")


@contextlib.contextmanager
def running(words: Sequence[str | Path], url: str, log: Path) -> Iterator[bool]:
    """Run a server for as long as the block lasts, and yield whether it answers at ``url``."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            # Should this process be killed, the server ends with it.
            ["setpriv", "--pdeathsig", "TERM", "--", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield _answers(process, url)
    finally:
        _stop(process)


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(url, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_NGINX = """
{user}
daemon off;
worker_processes 2;
pid {scratch}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  access_log {scratch}/access.log;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {scratch}/body;
  proxy_temp_path {scratch}/proxy;
  fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi;
  scgi_temp_path {scratch}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {root};
    location ~ /\\. {{ return 404; }}
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
    readonly: {{enabled: {read_only}}}
http:
  addr: 127.0.0.1:{port}
  host: http://127.0.0.1:{port}
"""
