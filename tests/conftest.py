from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.http import Http, HttpSettings
from isobuilder.store import Store
from tests.fakes.hostile import FileServer

QUICK = HttpSettings(
    retries=3, retry_budget=5.0, first_delay=0.01, connect_timeout=2.0, stall_timeout=2.0
)
"""Patience of a test."""


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Proxies, logins and caches of whoever runs the tests must not decide their outcome."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg-config"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(QUICK) as http:
        yield http


@pytest.fixture
def files() -> Iterator[FileServer]:
    """A server of files that misbehaves to order."""
    with FileServer() as server:
        yield server
