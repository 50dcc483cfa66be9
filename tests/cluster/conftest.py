"""Real clusters: only with ``make test-cluster``, because each takes ten minutes without KVM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isobuilder.model.architecture import ARCHITECTURES, DEFAULT
from tests.boot.conftest import boot_store, built_iso, iso, results
from tests.cluster.clock import put_first, slowed
from tests.cluster.runs import CLOCK
from tests.cluster.summary import Summary

__all__ = ["boot_store", "iso", "results"]


@pytest.fixture(scope="session")
def summary(results: Path | None) -> Summary:
    """Where each cluster writes how long it took."""
    return Summary(results)


@pytest.fixture(scope="session", autouse=True)
def clock(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let the machines have a slower clock, if that was asked for."""
    if CLOCK > 1:
        folder = tmp_path_factory.mktemp("clock")
        put_first(slowed(ARCHITECTURES[DEFAULT].qemu, folder).parent)


@pytest.fixture(scope="session")
def iso_of(
    boot_store: Path, iso: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Path]]:
    """A bootable ISO of the lab for any version that the lab has."""
    made = {"1.37.1": iso}

    def build(version: str) -> Path:
        if version not in made:
            folder = tmp_path_factory.mktemp(f"iso-{version}")
            made[version] = built_iso(boot_store, folder, "--boot", "debian-13", version=version)
        return made[version]

    yield build
    for path in made.values():
        if path != iso:
            path.unlink()
