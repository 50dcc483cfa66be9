from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.demo.content import fill, write_recipes
from isobuilder.demo.upstream import Upstream
from isobuilder.pipeline.build import Built, build
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.sources.session import Workshop, open_workshop
from isobuilder.store import Store
from tests.pipeline.world import Locked, World, write_config


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with Upstream() as upstream:
        fill(upstream)
        plain, csi = write_recipes(folder)
        yield World(upstream, plain, csi, write_config(folder / "config.yaml", upstream))


@pytest.fixture(scope="session")
def full_store(world: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that has everything of the demo's lock."""
    return Store(tmp_path_factory.mktemp("full") / "store")


@pytest.fixture(scope="session")
def locked(world: World, full_store: Store) -> Locked:
    with open_workshop(world.config, full_store) as workshop:
        found = lock_recipe(world.recipe, "amd64", workshop)
    return Locked(found.lock, found.path)


@pytest.fixture(scope="session")
def built(
    world: World, locked: Locked, full_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    """The demo's ISO; only to be read."""
    with open_workshop(world.config, full_store) as workshop:
        return build(locked.lock, tmp_path_factory.mktemp("built"), workshop)


@pytest.fixture
def workshop(world: World, built: Built, full_store: Store) -> Iterator[Workshop]:
    """Tools whose store already has everything that the demo needs."""
    with open_workshop(world.config, full_store) as workshop:
        yield workshop


@pytest.fixture
def empty_workshop(world: World, tmp_path: Path) -> Iterator[Workshop]:
    with open_workshop(world.config, Store(tmp_path / "empty-store")) as workshop:
        yield workshop
