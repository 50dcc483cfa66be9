"""The recipes and locks we ship, held against the facts of upstream."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from isobuilder.compat.ablestack import ImportedRecipe, lock_from
from isobuilder.documents.nodes import plain
from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.documents.text import yaml_text
from isobuilder.model.loading import load_lock, load_recipe, read_recipe
from isobuilder.model.lock import LockedBoot, LockedFile, LockedManifest, answers
from isobuilder.model.recipe import FileEntry, ManifestEntry
from isobuilder.pipeline.recipes import recipe_schema, schema_bytes
from isobuilder.rules.pairings import core_images
from tests.facts.present_form import present_form, releases, runtime_files

jsonschema: Any = import_module("jsonschema")  # comes without types

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
GOLDEN = ROOT / "tests" / "golden" / "recipes"
RELEASES = releases()
IDS = [facts["kubernetes_version"] for facts in RELEASES]

every_release = pytest.mark.parametrize("facts", RELEASES, ids=IDS)


def recipe_path(facts: dict[str, Any]) -> Path:
    return RECIPES / f"kubernetes-{facts['kubernetes_version']}.yaml"


def lock_path(facts: dict[str, Any]) -> Path:
    return RECIPES / f"kubernetes-{facts['kubernetes_version']}.amd64.lock.json"


def test_six_releases_are_shipped_and_nothing_else() -> None:
    assert sorted(path.name for path in RECIPES.glob("kubernetes-*.yaml")) == sorted(
        recipe_path(facts).name for facts in RELEASES
    )
    assert sorted(path.name for path in RECIPES.glob("*.lock.json")) == sorted(
        lock_path(facts).name for facts in RELEASES
    )


@every_release
def test_a_recipe_asks_for_the_files_of_the_facts(facts: dict[str, Any]) -> None:
    recipe = load_recipe(recipe_path(facts), "amd64")
    wanted = {file["path"]: file["url"] for file in (*facts["files"], *runtime_files())}
    asked: tuple[FileEntry | ManifestEntry, ...] = (*recipe.files, *recipe.manifests)
    assert {entry.path: entry.url for entry in asked} == wanted
    assert len(wanted) == 22


@every_release
def test_a_lock_has_every_digest_of_the_facts(facts: dict[str, Any]) -> None:
    lock = load_lock(lock_path(facts))
    assert str(lock.kubernetes) == facts["kubernetes_version"]
    locked: tuple[LockedFile | LockedManifest, ...] = (*lock.files, *lock.manifests)
    assert {entry.path: entry.sha256.hex for entry in locked} == {
        file["path"]: file["sha256"] for file in (*facts["files"], *runtime_files())
    }
    assert {image.reference: image.digest for image in lock.images} == {
        image["tag"]: image["digest"] for image in facts["images"]
    }
    assert {image.reference for image in lock.images if image.core} == set(facts["core_images"])
    assert {image.reference: image.original for image in lock.images if image.original} == {
        image["tag"]: (image["original"],)
        for image in facts["images"]
        if image["original"] != image["tag"]
    }
    assert len(lock.images) == 13


@every_release
def test_a_lock_has_the_components_of_the_facts(facts: dict[str, Any]) -> None:
    lock = load_lock(lock_path(facts))
    for name, part in facts["components"].items():
        component = lock.components[name]
        known = {
            "source_repository": component.source_repository,
            "source_sha": component.source_sha,
            "api_signature": component.labels["io.ablestack.api-signature"],
            **component.facts,
        }
        if component.kubernetes_minor is not None:
            known["kubernetes_minor"] = component.kubernetes_minor
        assert known == part


@every_release
def test_a_lock_answers_its_recipe(facts: dict[str, Any]) -> None:
    lock = load_lock(lock_path(facts))
    assert answers(lock, load_recipe(recipe_path(facts), "amd64")) == []


@every_release
def test_a_lock_is_what_importing_the_facts_gives(facts: dict[str, Any]) -> None:
    imported = ImportedRecipe.model_validate_json(json.dumps(present_form(facts)))
    shipped = load_lock(lock_path(facts))
    recipe = load_recipe(recipe_path(facts), "amd64")
    # The present builder's ISOs start no machines, so its facts have no containerd and no runc.
    made = lock_from(imported, recipe, "facts", previous=shipped)
    assert (
        made.model_copy(update={"tool": shipped.tool}).to_bytes() == lock_path(facts).read_bytes()
    )


@every_release
def test_a_shipped_release_boots_and_leaves_the_payload_to_the_build(facts: dict[str, Any]) -> None:
    lock = load_lock(lock_path(facts))
    assert lock.boot == LockedBoot(os="debian-13", kernel="cloud")
    assert lock.boot.payload is None


@every_release
def test_our_table_of_core_images_agrees_with_the_facts(facts: dict[str, Any]) -> None:
    version = load_lock(lock_path(facts)).kubernetes
    assert core_images(version) == tuple(facts["core_images"])


@every_release
@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_recipes_have_neither_mistakes_nor_warnings(
    facts: dict[str, Any], architecture: str
) -> None:
    read = read_recipe(recipe_path(facts), architecture)
    assert read.warnings == ()
    other = {"amd64": "arm64", "arm64": "amd64"}[architecture]
    urls = [file.url for file in read.recipe.files]
    urls += [manifest.source for manifest in read.recipe.manifests]
    assert not [url for url in urls if other in url]
    assert "etcd/etcd-linux-amd64.tar.gz" in {file.path for file in read.recipe.files}


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_an_expanded_recipe_is_what_it_was(architecture: str) -> None:
    recipe = load_recipe(RECIPES / "kubernetes-1.37.1.yaml", architecture)
    golden = GOLDEN / f"kubernetes-1.37.1.{architecture}.yaml"
    assert yaml_text(recipe.to_data()) == golden.read_text()


def test_an_expanded_recipe_is_a_recipe_with_the_same_digest() -> None:
    golden = GOLDEN / "kubernetes-1.37.1.arm64.yaml"
    assert (
        load_recipe(golden).digest
        == load_recipe(RECIPES / "kubernetes-1.37.1.yaml", "arm64").digest
    )


# --- JSON Schema ---


def test_the_shipped_schema_is_that_of_the_model() -> None:
    shipped = RECIPES / "recipe.schema.json"
    assert shipped.read_bytes() == schema_bytes(), "run isobuilder recipe schema > recipes/..."


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(recipe_schema())


@pytest.mark.parametrize(
    "path",
    [
        *RECIPES.rglob("*.yaml"),
        *GOLDEN.glob("*.yaml"),
        *(ROOT / "tests" / "lab" / "recipes").glob("*.yaml"),
        *(ROOT / "isobuilder" / "demo").glob("recipe*.yaml"),
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_schema_accepts_every_recipe_file(path: Path) -> None:
    validator = jsonschema.Draft202012Validator(recipe_schema())
    assert [error.message for error in validator.iter_errors(plain(read_yaml(path)))] == []


@pytest.mark.parametrize("path", [*RECIPES.rglob("*.yaml")], ids=lambda path: path.name)
def test_recipes_name_the_schema_for_editors(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    name = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / name).resolve() == RECIPES / "recipe.schema.json"


@pytest.mark.parametrize(
    "wrong",
    [
        {"extends": "a.yaml"},
        {"schema": 2},
        {"schema": 1, "file": []},
        {"schema": 1, "files": [{"path": "a"}]},
        {"schema": 1, "files": [{"name": "a", "mode": "755"}]},
        {"schema": 1, "files": [{"name": "a", "remove": False}]},
        {"schema": 1, "files": [{"name": "a", "sha256": "x"}]},
        {"schema": 1, "profile": "mold"},
        {"schema": 1, "kubernetes": "1.30"},
        {"schema": 1, "kubernetes": 1.3},
        {"schema": 1, "vars": {"a": 1}},
        {"schema": 1, "render": [{"template": "a"}]},
        {"schema": 1, "components": {"a": {"source_sha": "main"}}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_no_recipe(wrong: dict[str, Any]) -> None:
    assert list(jsonschema.Draft202012Validator(recipe_schema()).iter_errors(wrong))
