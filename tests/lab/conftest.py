"""Programs are rebuilt only with ``make rebuild``, because that takes ten minutes."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what ``-m rebuild`` did not ask for."""
    if "rebuild" in str(config.option.markexpr):
        return
    skip = pytest.mark.skip(reason="compiles Kubernetes; run make rebuild")
    for item in items:
        if item.get_closest_marker("rebuild"):
            item.add_marker(skip)
