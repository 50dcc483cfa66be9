"""The last day of the timeline: upstream as it was then, and who looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from isobuilder.model.config import Config
from isobuilder.model.loading import builtin_recipes
from isobuilder.sources.session import Session, open_session
from isobuilder.store import Store
from tests.fakes.timeline import Timeline

RECIPES = sorted(builtin_recipes().glob("*.yaml"))
LAST = date(2026, 11, 28)


@pytest.fixture
def timeline() -> Iterator[Timeline]:
    with Timeline(str(LAST)) as server:
        yield server


@pytest.fixture
def session(timeline: Timeline, tmp_path: Path) -> Iterator[Session]:
    config = Config(mirrors=timeline.mirrors, retries=0)
    with open_session(config, Store(tmp_path / "store")) as opened:
        yield opened
