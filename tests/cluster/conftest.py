"""Real clusters: only with ``make test-cluster``, because each takes ten minutes without KVM."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.boot.conftest import boot_store, iso, results
from tests.cluster.summary import Summary

__all__ = ["boot_store", "iso", "results"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Clusters are made only when asked for: ``make test-cluster``, or ``-m cluster``."""
    if "cluster" in str(config.option.markexpr):
        return
    skip = pytest.mark.skip(reason="makes clusters of virtual machines; run make test-cluster")
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def summary(results: Path | None) -> Summary:
    """Where each cluster writes how long it took."""
    return Summary(results)
