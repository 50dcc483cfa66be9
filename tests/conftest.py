from __future__ import annotations

import logging
import os
import resource
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.http.client import Http
from isobuilder.http.settings import HttpSettings
from isobuilder.store import Store
from tests.cli.printed import held_to_the_reference
from tests.fakes.hostile import FileServer

QUICK = HttpSettings(
    retries=3, retry_budget=5.0, first_delay=0.01, connect_timeout=30.0, stall_timeout=30.0
)
"""Few and quick tries. A server of a test may be late on a busy machine: what waits for the end of
patience sets a short one of its own."""


def pytest_configure() -> None:
    """Take Ctrl-C as a person's terminal gives it.

    A shell that starts a job in the background lets it ignore SIGINT, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what pyproject.toml marks as run "only with" a target, until ``-m`` asks for it."""
    for line in config.getini("markers"):
        mark, _, what = str(line).partition(": ")
        if "; only with `make " not in what or mark in str(config.option.markexpr):
            continue
        skip = pytest.mark.skip(reason=what)
        for item in items:
            if item.get_closest_marker(mark):
                item.add_marker(skip)


STOPS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """The program sets up logging and signal handlers; the test process gets its own back.

    Signals that are ignored stay so in every process that is started later.
    """
    root = logging.getLogger()
    stops = {number: signal.getsignal(number) for number in STOPS}
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for number, stop in stops.items():
        signal.signal(number, stop)


@pytest.fixture(autouse=True, scope="session")
def _what_is_printed_for_machines_is_in_the_reference() -> Iterator[None]:
    with held_to_the_reference():
        yield


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Proxies, logins and caches of whoever runs the tests must not decide their outcome."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg-data"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def http(tmp_path: Path) -> Iterator[Http]:
    with Http(replace(QUICK, folders=(tmp_path,))) as http:
        yield http


@pytest.fixture
def files() -> Iterator[FileServer]:
    """A server of files that misbehaves to order."""
    with FileServer() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *names, "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[FileServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with FileServer(tls=context) as server:
        yield server


SMALL_DISK = 1024 * 1024  # bytes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that takes about 1 MiB: a file system of its own, or else no larger file."""
    folder = tmp_path / "small"
    folder.mkdir()
    if _mount("-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", folder):
        yield folder
        subprocess.run(["umount", "--lazy", folder], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Make a folder and all below it read-only for whoever runs the tests, root included."""
    mounted: list[Path] = []

    def seal(folder: Path) -> None:
        if os.geteuid() != 0:
            for path in (folder, *folder.rglob("*")):
                path.chmod(path.stat().st_mode & ~0o222)
            return
        assert _mount("--bind", folder, folder)
        mounted.append(folder)
        assert _mount("-o", "remount,bind,ro", folder)

    yield seal
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(*arguments: str | Path) -> bool:
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True)
    return done.returncode == 0
