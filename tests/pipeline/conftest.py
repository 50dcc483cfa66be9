from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.demo.content import fill, write_recipes
from isobuilder.pipeline.build import Built, build
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.sources.session import Session, open_session
from isobuilder.store import Store
from tests.fakes.upstream import FakeUpstream
from tests.pipeline.world import Locked, World, write_config


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with FakeUpstream() as upstream:
        fill(upstream)
        plain, csi = write_recipes(folder)
        yield World(upstream, plain, csi, write_config(folder / "config.yaml", upstream))


@pytest.fixture(scope="session")
def full_store(world: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that has everything of the demo's lock."""
    return Store(tmp_path_factory.mktemp("full") / "store")


@pytest.fixture(scope="session")
def locked(world: World, full_store: Store) -> Locked:
    with open_session(world.config, full_store) as session:
        found = lock_recipe(world.recipe, "amd64", session)
    return Locked(found.lock, found.path)


@pytest.fixture(scope="session")
def built(
    world: World, locked: Locked, full_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    """The demo's ISO; only to be read."""
    with open_session(world.config, full_store) as session:
        return build(locked.lock, tmp_path_factory.mktemp("built"), session)


@pytest.fixture
def session(world: World, built: Built, full_store: Store) -> Iterator[Session]:
    """Tools whose store already has everything that the demo needs."""
    with open_session(world.config, full_store) as session:
        yield session


@pytest.fixture
def empty_session(world: World, tmp_path: Path) -> Iterator[Session]:
    with open_session(world.config, Store(tmp_path / "empty-store")) as session:
        yield session
