"""``--metrics``: what Prometheus reads of runs and sites, and what Grafana shows of it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from isobuilder.store import Store
from tests.cli.calling import call, errors
from tests.pipeline.world import Locked, World
from tests.site.isos import PAUSE, image, iso
from tests.site.serving import served

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = DOCS / "grafana-dashboard.json"


def samples(path: Path) -> dict[tuple[str, str], float]:
    """Return what Prometheus reads: values by name and the value of the first label."""
    found = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        assert family.documentation
        for one in family.samples:
            found[one.name, next(iter(one.labels.values()), "")] = one.value
    return found


def build(world: World, locked: Locked, store: Store, *words: str | Path, code: int = 0) -> Any:
    config = ("--config", world.config_file, "--store", store.root)
    return call("build", locked.path, *config, *words, code=code)


@pytest.fixture
def first(world: World, locked: Locked, full_store: Store, tmp_path: Path) -> Path:
    """The numbers of a build that went well, and the ISO beside them."""
    path = tmp_path / "build.prom"
    build(world, locked, full_store, "--out", tmp_path, "--metrics", path)
    return path


def test_a_build_tells_what_it_made_and_took(first: Path) -> None:
    found = samples(first)
    (made,) = first.parent.glob("*.iso")
    assert found["isobuilder_build_iso_bytes", made.name] == made.stat().st_size
    assert found["isobuilder_build_iso_built", made.name] == 1
    assert found["isobuilder_run_exit_code", "build"] == 0
    assert found["isobuilder_run_cpu_seconds", "build"] > 0
    assert found["isobuilder_run_peak_memory_bytes", "build"] > 2**20
    success = found["isobuilder_run_last_success_timestamp_seconds", "build"]
    assert success == found["isobuilder_run_timestamp_seconds", "build"]
    assert 0 <= time.time() - success < 300
    assert first.stat().st_mode & 0o777 == 0o644


def test_a_run_that_fails_tells_so_and_keeps_when_one_went_well(
    world: World, locked: Locked, full_store: Store, first: Path
) -> None:
    before = samples(first)
    empty = Store(first.parent / "empty")
    build(world, locked, empty, "--offline", "--out", empty.root, "--metrics", first, code=6)
    after = samples(first)
    key = ("isobuilder_run_last_success_timestamp_seconds", "build")
    assert after["isobuilder_run_exit_code", "build"] == 6
    assert after[key] == before[key]
    assert after["isobuilder_run_timestamp_seconds", "build"] > after[key]


@pytest.mark.parametrize("before", [b"", b"\xff\x00" * 99, b"isobuilder_run_last_success" * 9])
def test_a_file_of_somebody_else_is_replaced(
    world: World, locked: Locked, full_store: Store, first: Path, before: bytes
) -> None:
    first.write_bytes(before)
    build(world, locked, full_store, "--out", first.parent, "--metrics", first)
    assert samples(first)["isobuilder_build_iso_built", next(first.parent.glob("*.iso")).name] == 0


def test_a_place_that_cannot_be_written_is_told_before_anything_is_built(
    world: World, locked: Locked, full_store: Store, tmp_path: Path
) -> None:
    place = tmp_path / "none" / "build.prom"
    done = build(world, locked, full_store, "--out", tmp_path, "--metrics", place, code=6)
    assert errors(done) == [f"error: {place}: cannot be written"]
    assert list(tmp_path.iterdir()) == []


def test_a_site_writes_its_numbers_while_it_serves(tmp_path: Path) -> None:
    path = iso(tmp_path / "x.iso", [image(PAUSE)])
    numbers = tmp_path / "site.prom"
    with served(path, "--metrics", numbers, cwd=tmp_path):
        deadline = time.monotonic() + 60
        while not numbers.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert samples(numbers)["isobuilder_site_isos", ""] == 1


# --- Grafana ---


def dashboard() -> dict[str, Any]:
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def read_again(data: dict[str, Any]) -> dict[str, Any]:
    """Return what Grafana's own schema, as its SDK has it, keeps of a dashboard."""
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(data), cls=JSONEncoder))
    assert isinstance(again, dict)
    return again


def unknown(given: Any, kept: Any, place: str = "") -> list[str]:
    """Return the places of what is given and was not kept as it was."""
    if isinstance(given, dict) and isinstance(kept, dict):
        parts = [(f"{place}.{key}", value, kept.get(key)) for key, value in given.items()]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        parts = [(f"{place}[{i}]", *pair) for i, pair in enumerate(zip(given, kept, strict=True))]
    else:
        return [] if given == kept else [f"{place}: {given!r} became {kept!r}"]
    return [one for name, left, right in parts for one in unknown(left, right, name)]


def test_grafanas_schema_knows_all_of_the_dashboard() -> None:
    data = dashboard()
    assert unknown(data, read_again(data)) == []
    data["panels"][1]["gridPosition"] = {"h": 1}
    assert unknown(data, read_again(data)) == [".panels[1].gridPosition: {'h': 1} became None"]


def asked_for() -> set[str]:
    text = DASHBOARD.read_text(encoding="utf-8")
    return set(re.findall(r"isobuilder_(?:run|build|sync|site)_\w+", text))


def test_the_page_names_what_is_told_and_the_dashboard_shows_nothing_else(first: Path) -> None:
    page = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    named = set(re.findall(r"isobuilder_(?:run|build|sync|site)_\w+", page))
    told = {name for name, _label in samples(first)}
    assert told <= named
    assert {name.removesuffix("_bucket") for name in asked_for()} <= named
