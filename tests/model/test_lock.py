from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.model.loading import load_lock, load_recipe
from isobuilder.model.lock import Lock, answers, lock_name, released_epoch
from isobuilder.model.recipe import Recipe
from isobuilder.model.validation import parse_json

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe(RECIPES / "kubernetes-1.35.9.yaml", "amd64")


@pytest.fixture
def lock() -> Lock:
    return load_lock(RECIPES / "kubernetes-1.35.9.amd64.lock.json")


def edited(lock: Lock, **values: Any) -> Lock:
    return parse_json(json.dumps(lock.to_data() | values).encode(), "x.lock.json", Lock)


def entries(lock: Lock, section: str, which: str, **values: Any) -> dict[str, Any]:
    found = lock.to_data()[section]
    for entry in found:
        if entry.get("name", entry.get("reference")) == which:
            entry.update(values)
    return {section: found}


def test_what_a_recipe_may_name_no_more_stays_readable_in_locks(lock: Lock) -> None:
    """Rules for what moves become stricter, and a lock has digests."""
    branch = "https://raw.githubusercontent.com/x/y/release-1.25/a.yaml"
    name = lock.manifests[0].name
    assert edited(lock, **entries(lock, "manifests", name, url=branch)).manifests[0].url == branch
    with pytest.raises(InputErrors, match="moving target"):
        edited(lock, **entries(lock, "manifests", name, url="https://a.example/latest/a.yaml"))


def test_a_lock_answers_its_recipe(lock: Lock, recipe: Recipe) -> None:
    assert answers(lock, recipe) == []


def test_a_lock_of_another_architecture_answers_too_few_things(lock: Lock) -> None:
    other = load_recipe(RECIPES / "kubernetes-1.35.9.yaml", "arm64")
    assert any(
        line.startswith("files[kubeadm].url: the recipe has") for line in answers(lock, other)
    )


def test_a_lock_of_an_architecture_the_recipe_has_not(lock: Lock, recipe: Recipe) -> None:
    only = recipe.model_copy(update={"architectures": ("arm64",)})
    assert "architecture: the recipe has arm64, the lock amd64" in answers(lock, only)


@pytest.mark.parametrize(
    ("key", "value", "difference"),
    [
        ("kubernetes", "1.35.8", "kubernetes: the recipe has 1.35.9, the lock 1.35.8"),
        ("revision", 2, "revision: the recipe has 1, the lock 2"),
        ("profile", "cloudstack-cks", "profile: the recipe has mold-cks, the lock cloudstack-cks"),
        (
            "registration",
            {"min_cpu": 4, "min_memory_mb": 2048},
            "registration: the recipe has min_cpu=2 min_memory_mb=2048, "
            "the lock min_cpu=4 min_memory_mb=2048",
        ),
        (
            "render",
            [],
            "render: the recipe has 10-kubeadm.conf from 10-kubeadm.conf.j2, kubelet.service from "
            "kubelet.service.j2, provider-ownership-v1.json from provider-ownership-v1.json.j2, "
            "the lock nothing",
        ),
    ],
)
def test_every_difference_of_the_whole_is_named(
    lock: Lock, recipe: Recipe, key: str, value: object, difference: str
) -> None:
    assert answers(edited(lock, **{key: value}), recipe) == [difference]


def test_every_difference_of_an_entry_is_named(lock: Lock, recipe: Recipe) -> None:
    url = "https://example.com/kubelet"
    changed = edited(lock, **entries(lock, "files", "kubelet", url=url, mode="0644"))
    assert answers(changed, recipe) == [
        "files[kubelet].url: the recipe has https://dl.k8s.io/release/v1.35.9/bin/linux/amd64/"
        "kubelet, the lock https://example.com/kubelet",
        "files[kubelet].mode: the recipe has 0755, the lock 0644",
    ]
    changed = edited(lock, **entries(lock, "manifests", "network", images="keep", path="n.yaml"))
    assert answers(changed, recipe) == [
        "manifests[network].path: the recipe has network.yaml, the lock n.yaml",
        "manifests[network].images: the recipe has pin, the lock keep",
    ]


def test_missing_and_additional_entries_are_named(lock: Lock, recipe: Recipe) -> None:
    changed = edited(lock, **entries(lock, "files", "crictl", name="crict1"))
    assert answers(changed, recipe) == [
        "files[crictl]: not in the lock",
        "files[crict1]: not in the recipe",
    ]


def test_a_digest_that_the_recipe_states_must_be_that_of_the_lock(
    lock: Lock, recipe: Recipe
) -> None:
    stated = f"sha256:{'0' * 64}"
    files = (recipe.files[0].model_copy(update={"checksum": stated}), *recipe.files[1:])
    found = answers(lock, recipe.model_copy(update={"files": files}))
    assert found == [
        f"files[kubeadm].checksum: the recipe has {stated}, the lock {lock.files[0].sha256}"
    ]


def test_images_the_recipe_names_itself_must_be_locked(lock: Lock, recipe: Recipe) -> None:
    images = recipe.images.model_copy(update={"extra": ("quay.io/more/more:1",)})
    found = answers(lock, recipe.model_copy(update={"images": images}))
    assert "images: quay.io/more/more:1 is not in the lock" in found
    images = recipe.images.model_copy(update={"sources": ()})
    found = answers(lock, recipe.model_copy(update={"images": images}))
    assert "images: registry.k8s.io/pause:3.10.1 is not in the recipe" in found
    assert "images: the lock has images of kubeadm, images.from says otherwise" in found


def test_core_images_must_be_there(lock: Lock, recipe: Recipe) -> None:
    without = [image for image in lock.to_data()["images"] if not image["core"]]
    assert answers(edited(lock, images=without), recipe) == [
        "images: the lock has no images that kubeadm asks for, images.from says otherwise"
    ]


def test_components_are_compared_by_name_and_field(lock: Lock, recipe: Recipe) -> None:
    components = lock.to_data()["components"]
    provider = components.pop("provider")
    assert answers(edited(lock, components=components), recipe) == [
        "components.provider: not in the lock"
    ]
    other = {**components, "provider": provider, "more": provider}
    assert answers(edited(lock, components=other), recipe) == ["components.more: not in the recipe"]
    changed = {**components, "provider": {**provider, "source_sha": "6" * 40}}
    assert answers(edited(lock, components=changed), recipe) == [
        f"components.provider.source_sha: the recipe has {provider['source_sha']}, "
        f"the lock {'6' * 40}"
    ]


def test_the_day_of_the_release_decides_the_epoch(lock: Lock, recipe: Recipe) -> None:
    dated = recipe.model_copy(update={"released": "2026-01-02"})
    found = answers(lock, dated)
    assert f"epoch: the recipe has 1767312000, the lock {lock.epoch}" in found
    assert released_epoch("1970-01-02") == 86400


def test_a_difference_that_no_field_shows_is_still_one(lock: Lock, recipe: Recipe) -> None:
    files = (recipe.files[0].model_copy(update={"checksum": None}), *recipe.files[1:])
    found = answers(lock, recipe.model_copy(update={"files": files}))
    assert len(found) == 1
    assert found[0].startswith("recipe: its digest is sha256:")


def test_a_lock_read_and_written_again_has_the_same_bytes(lock: Lock) -> None:
    assert parse_json(lock.to_bytes(), "x", Lock).to_bytes() == lock.to_bytes()


def test_names_of_locks_and_outputs(lock: Lock) -> None:
    assert lock_name(lock.kubernetes, "amd64") == "kubernetes-1.35.9.amd64.lock.json"
    assert lock.base_name == "kubernetes-v1.35.9-mold-cks-amd64-r1"
    assert lock.product_version == "1.35.9+mold-cks.r1"


@pytest.mark.parametrize("epoch", [-1, 5_869_584_000, 10**19])
def test_a_time_that_no_iso_can_tell_is_refused(lock: Lock, epoch: int) -> None:
    with pytest.raises(InputErrors, match="epoch"):
        edited(lock, epoch=epoch)
