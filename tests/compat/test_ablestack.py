from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isobuilder.compat.ablestack import ImportedRecipe, load_imported, lock_from, recipe_data
from isobuilder.documents.mistakes import InputErrors
from isobuilder.documents.plain_yaml import yaml_map
from isobuilder.documents.text import yaml_text
from isobuilder.errors import InputError
from isobuilder.model.loading import load_lock, load_recipe
from isobuilder.model.lock import Lock, answers
from isobuilder.model.recipe import Recipe
from isobuilder.model.validation import build
from isobuilder.pipeline.recipes import check_recipe, import_recipe

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "facts" / "kubernetes-1.34.12-amd64.json"
RECIPE = ROOT / "recipes" / "kubernetes-1.34.12.yaml"
LOCK = ROOT / "recipes" / "kubernetes-1.34.12.amd64.lock.json"
RUNTIME = ("containerd", "runc")  # for machines that start from the ISO

Change = Callable[[dict[str, Any]], object]


def imported(change: Change = lambda _data: None) -> ImportedRecipe:
    data = json.loads(SAMPLE.read_text())
    change(data)
    return ImportedRecipe.model_validate_json(json.dumps(data))


def made(found: ImportedRecipe) -> Recipe:
    text = yaml_text(recipe_data(found, "x.json"))
    return build(yaml_map(text.encode(), "x.yaml"), Recipe)


def lock(change: Change, recipe: Recipe | None = None) -> Lock:
    """Import what is changed so for our recipe, of which a lock is there already."""
    recipe = recipe or load_recipe(RECIPE, "amd64")
    return lock_from(imported(change), recipe, "x.json", previous=load_lock(LOCK))


def differences(change: Change) -> list[str]:
    with pytest.raises(InputErrors) as caught:
        lock(change)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_a_recipe_of_the_present_builder_becomes_a_recipe_that_its_lock_answers() -> None:
    found = load_imported(SAMPLE)
    recipe = made(found)
    assert answers(lock_from(found, recipe, "x.json"), recipe) == []


def test_the_made_recipe_asks_for_the_same_as_ours_and_keeps_the_digests() -> None:
    recipe, ours = made(imported()), load_recipe(RECIPE, "amd64")
    assert {file.name: (file.path, file.url, file.mode) for file in recipe.files} == {
        file.name: (file.path, file.url, file.mode)
        for file in ours.files
        if file.name not in RUNTIME
    }
    assert {one.name: (one.path, one.url, one.images) for one in recipe.manifests} == {
        one.name: (one.path, one.url, one.images) for one in ours.manifests
    }
    assert all((file.checksum or "").startswith("sha256:") for file in recipe.files)
    assert recipe.images.replace == ours.images.replace
    assert set(recipe.render) == set(ours.render)
    assert {name: part.labels for name, part in recipe.components.items()} == {
        name: part.labels for name, part in ours.components.items()
    }


DRIVER = "67ccfd98668e0979771acc7084f893d2b0b4f12b"
PROFILE = "f24ff0a1d3dfef949fc97c7f97058abf9035cdd3"  # the commit of the driver's manifests
RAW = f"https://raw.githubusercontent.com/dhslove/ablestack-kubernetes-csi/{PROFILE}/deploy"
CSI_IMAGES = {
    "ghcr.io/dhslove/ablestack-kubernetes-csi": "ghcr.io/cloudstack/cloudstack-csi-driver:main",
    **{
        f"registry.k8s.io/sig-storage/{name}": f"registry.k8s.io/sig-storage/{name}:{tag}"
        for name, tag in {
            "csi-provisioner": "v5.0.1",
            "csi-attacher": "v4.6.1",
            "csi-resizer": "v1.11.1",
            "csi-snapshotter": "v6.3.0",
            "snapshot-controller": "v6.3.0",
            "livenessprobe": "v2.12.0",
            "csi-node-driver-registrar": "v2.10.1",
        }.items()
    },
}


def with_csi(data: dict[str, Any]) -> None:
    """Make of a plain recipe one with a driver, in the form that its builder has them."""
    data["profile"] = "mold-cks-csi"
    data["files"] += [
        {"path": path, "url": f"{RAW}/{name}", "sha256": digit * 64, "version": None}
        for digit, path, name in (
            ("1", "manifest.yaml", "manifest.yaml"),
            ("2", "snapshot-crds.yaml", "snapshot-crds.yaml"),
            ("3", "csi-profile.json", "profile.json"),
        )
    ]
    for number, (repository, original) in enumerate(CSI_IMAGES.items()):
        reference = f"{repository}@sha256:{number:064x}"
        data["images"].append(
            {
                "original": original,
                "resolved_from": reference,
                "reference": reference,
                "import_alias": repository,
            }
        )
    data["components"]["provider"]["manifest_sha"] = data["components"]["provider"]["source_sha"]
    data["components"]["provider"]["sdk"] = {"version": "v2", "source_sha": "5" * 40, "n": 1}
    del data["components"]["provider"]["sdk_source_sha"]
    data["components"]["csi"] = {
        "source_repository": "dhslove/ablestack-kubernetes-csi",
        "source_sha": DRIVER,
        "manifest_sha": PROFILE,
        "manifest_path": "deploy/manifest.yaml",
        "api_signature": "HMAC-SHA256",
        "image": f"ghcr.io/dhslove/ablestack-kubernetes-csi@sha256:{0:064x}",
    }


def test_a_recipe_with_a_driver_is_taken_over(tmp_path: Path) -> None:
    data = json.loads(SAMPLE.read_text())
    with_csi(data)
    source = tmp_path / "csi.json"
    source.write_text(json.dumps(data))
    written = import_recipe(source, recipe=None, out=tmp_path)
    checked = check_recipe(written[0])
    assert (checked.mistakes, checked.warnings, checked.locked) == ([], [], ("amd64",))
    recipe, made_lock = load_recipe(written[0], "amd64"), load_lock(written[1])
    images = {image.reference: image for image in made_lock.images}
    for number, repository in enumerate(CSI_IMAGES):
        image = images[f"{repository}@sha256:{number:064x}"]
        assert (image.digest.hex, image.original) == (f"{number:064x}", ())
    assert not set(CSI_IMAGES.values()) & set(recipe.images.replace)
    csi = recipe.components["csi"]
    assert (csi.source_sha, csi.manifest_sha) == (DRIVER, PROFILE)
    assert csi.labels["org.opencontainers.image.revision"] == DRIVER
    provider = recipe.components["provider"]
    assert provider.manifest_sha is None
    assert provider.facts["sdk_source_sha"] == "5" * 40
    assert made_lock.components == recipe.components


def test_the_manifest_is_of_the_commit_that_is_told_for_it(tmp_path: Path) -> None:
    data = json.loads(SAMPLE.read_text())
    with_csi(data)
    data["components"]["csi"]["manifest_sha"] = "9" * 40
    source = tmp_path / "csi.json"
    source.write_text(json.dumps(data))
    with pytest.raises(InputErrors) as refused:
        import_recipe(source, recipe=None, out=tmp_path)
    assert "components.csi.manifest_sha: expected manifest.yaml from dhslove/" in str(refused.value)
    assert "9" * 40 in str(refused.value)


@pytest.mark.parametrize("alias", [None, "ghcr.io/headlamp-k8s/headlamp"])
def test_an_image_without_a_whole_alias_gets_its_name_from_the_rest(alias: str | None) -> None:
    def change(data: dict[str, Any]) -> None:
        for image in data["images"]:
            if alias is None:
                del image["import_alias"]
            elif "headlamp" in image["original"] and alias:
                image["import_alias"] = alias

    recipe = made(imported(change))
    found = lock_from(imported(change), recipe, "x.json")
    assert answers(found, recipe) == []
    if alias:
        (image,) = [one for one in found.images if alias in one.reference]
        assert image.reference == f"{alias}@{image.digest}"
        assert recipe.images.replace["ghcr.io/headlamp-k8s/headlamp:latest"] == image.reference


def test_what_that_builder_knows_besides_is_let_through() -> None:
    def more(data: dict[str, Any]) -> None:
        data["something_new"] = {"a": 1}
        data["files"][0]["note"] = "x"

    assert lock(more).images


def test_sizes_are_unknown_and_the_evidence_says_imported() -> None:
    found = lock(lambda _data: None)
    assert {file.size for file in found.files} == {None}
    assert {file.evidence.source for file in found.files} == {"imported"}
    assert {file.evidence.signature for file in found.files} == {None, "kubernetes"}


def test_the_epoch_is_the_day_of_the_newest_minor_that_is_surely_older() -> None:
    assert lock(lambda _data: None).epoch == 1756252800  # 2025-08-27
    dated = load_recipe(RECIPE, "amd64").model_copy(update={"released": "2026-10-01"})
    assert lock(lambda _data: None, dated).epoch == 1790812800


def test_what_that_builder_does_not_have_comes_from_the_lock_so_far_or_from_upstream() -> None:
    locked = {file.name: file.sha256 for file in lock(lambda _data: None).files}
    before = {file.name: file.sha256 for file in load_lock(LOCK).files}
    assert {name: locked[name] for name in RUNTIME} == {name: before[name] for name in RUNTIME}
    with pytest.raises(InputErrors) as caught:
        lock_from(imported(), load_recipe(RECIPE, "amd64"), "x.json")
    assert [mistake.path for mistake in caught.value.mistakes] == [
        "files[runtime/containerd-linux-amd64.tar.gz]",
        "files[runtime/runc]",
    ]


def test_without_any_day_the_author_is_asked() -> None:
    recipe = load_recipe(RECIPE, "amd64")
    from isobuilder.formats.kube import KubeVersion

    older = recipe.model_copy(update={"kubernetes": KubeVersion("1.33.1")})
    with pytest.raises(InputError, match=r"when was Kubernetes 1\.33\.1 released"):
        lock(lambda _data: None, older)


def test_every_difference_from_the_recipe_is_named() -> None:
    def change(data: dict[str, Any]) -> None:
        data["files"] = [file for file in data["files"] if file["path"] != "k8s/kubelet"]
        data["files"][0]["url"] = "https://example.com/other.yaml"
        data["files"].append({"path": "x", "url": "https://example.com/x", "sha256": "0" * 64})
        data["images"][0]["original"] = "ghcr.io/else/else:1"

    found = differences(change)
    assert len(found) == 4
    kubelet = "x.json: files[k8s/kubelet]: not there, but the recipe has it"
    assert any(line.startswith(kubelet) for line in found)
    assert "x.json: files[x]: not in the recipe" in found
    assert any("its url is https://example.com/other.yaml, that of the recipe" in x for x in found)
    assert any("replaces ghcr.io/else/else:1, for which the recipe has nothing" in x for x in found)


def test_another_version_or_architecture_is_a_difference() -> None:
    found = differences(lambda data: data.update(kubernetes_version="1.34.11"))
    assert found == ["x.json: kubernetes: the recipe has 1.34.12, the lock 1.34.11"]


def test_an_image_reference_without_digest_is_refused() -> None:
    def change(data: dict[str, Any]) -> None:
        data["images"][0]["reference"] = "ghcr.io/headlamp-k8s/headlamp:v0.40.1"

    assert "no digest in its reference" in differences(change)[0]


@pytest.mark.parametrize(
    ("path", "value", "fact"),
    [
        (["architecture"], "s390x", "architecture: expected amd64 or arm64"),
        (["kubernetes_version"], "1.34", "kubernetes_version: expected a Kubernetes version"),
        (["profile"], "other", "profile: expected 'mold-cks' or 'mold-cks-csi', found 'other'"),
        (["images", 0, "import_alias"], "ghcr.io/a/b:latest", "is a moving target"),
        (["files", 0, "sha256"], "abc", "files[0].sha256: expected 64 lower-case hexadecimal"),
        (["files", 0, "path"], "../x", "leaves the ISO"),
        (["files", 0, "url"], "https://example.com/main/x", "is a moving target"),
        (["components", "provider", "api_signature"], "HMAC-SHA1", "expected 'HMAC-SHA256'"),
        (["components", "provider", "source_sha"], "v1", "expected a commit of 40 hexadecimal"),
    ],
)
def test_what_is_wrong_in_the_file_has_a_place(
    tmp_path: Path, path: list[str | int], value: str, fact: str
) -> None:
    data = json.loads(SAMPLE.read_text())
    inner = data
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    file = tmp_path / "x.json"
    file.write_text(json.dumps(data, indent=1))
    with pytest.raises(InputErrors) as caught:
        load_imported(file)
    assert fact in str(caught.value)
    assert caught.value.mistakes[0].mark.line


def test_a_component_whose_image_cannot_be_told_is_refused() -> None:
    def change(data: dict[str, Any]) -> None:
        data["components"]["provider"]["image"] = "ghcr.io/none/none:1"

    with pytest.raises(InputErrors, match=r"components\.provider: no image of the recipe"):
        recipe_data(imported(change), "x.json")


def test_a_component_without_image_belongs_to_the_one_made_from_its_commit() -> None:
    data = json.loads(SAMPLE.read_text())
    without = copy.deepcopy(data)
    for part in without["components"].values():
        del part["image"]
    found = ImportedRecipe.model_validate_json(json.dumps(without))
    assert recipe_data(found, "x") == recipe_data(imported(), "x")


def test_a_name_that_no_lock_takes_is_told() -> None:
    def shorten(data: dict[str, Any]) -> None:
        image = data["images"][0]
        image["import_alias"] = "team/x"  # with a digest behind it, and no registry before it
        image["original"] = image["resolved_from"]

    recipe = load_recipe(RECIPE, "amd64")
    named = imported(shorten).images[0]
    replaced = recipe.images.model_copy(update={"replace": {named.original: named.alias}})
    with pytest.raises(InputErrors, match="no registry in 'team/x@sha256:"):
        lock(shorten, recipe.model_copy(update={"images": replaced}))
