"""Pages in a real browser: only with ``make test-pages``, for it needs Chromium and two minutes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages.browser import PROGRAM, Browser, browser
from tests.pipeline.conftest import built, full_store, locked, world

__all__ = ["built", "full_store", "locked", "world"]

AXE = Path(sys.prefix) / "pages" / "axe_playwright_python" / "axe.min.js"
"""Where ``make test-pages`` puts what judges access."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A browser is started only when asked for: ``make test-pages``, or ``-m pages``."""
    if "pages" in str(config.option.markexpr):
        return
    skip = pytest.mark.skip(reason="starts a browser; run make test-pages")
    for item in items:
        if item.get_closest_marker("pages"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"not installed: {PROGRAM}")
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="session")
def axe() -> str:
    if not AXE.is_file():
        pytest.skip("not installed: what requirements/pages.txt names; run make test-pages")
    return AXE.read_text(encoding="utf-8")
