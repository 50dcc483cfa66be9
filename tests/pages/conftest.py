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
