"""What takes ten minutes of compiling runs only when its target asks for it."""

from __future__ import annotations

import pytest

_ONLY = {
    "bills": "compiles Syft and Grype; run make test-bills",
    "rebuild": "compiles Kubernetes; run make rebuild",
    "sigstore": "compiles a Sigstore; run make test-sigstore",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what ``-m`` did not ask for."""
    for mark, why in _ONLY.items():
        if mark in str(config.option.markexpr):
            continue
        skip = pytest.mark.skip(reason=why)
        for item in items:
            if item.get_closest_marker(mark):
                item.add_marker(skip)
