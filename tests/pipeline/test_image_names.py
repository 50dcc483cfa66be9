"""Whatever a manifest calls its images, they are locked, on the disc, and found there by nodes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from isobuilder.demo import images
from isobuilder.demo.content import fill, write_recipes
from isobuilder.demo.images import Image
from isobuilder.demo.upstream import DemoUpstream
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import InputError
from isobuilder.iso.read.reader import IsoReader
from isobuilder.model.config import Config
from isobuilder.model.lock import Lock
from isobuilder.pipeline.build import build
from isobuilder.pipeline.lock import find_lock, lock_recipe
from isobuilder.pipeline.unlisted import unlisted_images
from isobuilder.pipeline.verify import Verification, verify
from isobuilder.sources.session import Session, open_session
from isobuilder.store import Store
from tests.cli.calling import call

NAMES = (
    "docker.io/someui/board:v2",
    "docker.io/library/a:1",
    "extra.example/node:v1",
    "extra.example/plugins:1",
    "other.example/only:1",
)


def an_image(name: str) -> Image:
    layers = [images.layer({"etc/name": name.encode()})]
    both = ("amd64", "arm64")
    return images.index({one: images.image(layers, architecture=one) for one in both})


def put(upstream: DemoUpstream, name: str, image: Image) -> None:
    repository, _, tag = name.rpartition(":")
    upstream.put_image(repository, tag, image)


@dataclass(frozen=True)
class Place:
    upstream: DemoUpstream
    folder: Path
    session: Session
    twin: Image

    def recipe(self, *containers: str, more: str = "", how: str = "pin") -> Path:
        """Write a recipe whose network.yaml has these containers."""
        count = len(list(self.folder.glob("r*.yaml")))
        lines = "".join(f"  - {text}\n" for text in containers)
        manifest = (
            f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n{lines}"
        )
        url = self.upstream.put_file(f"/extra.example/www/{count}/m.yaml", manifest.encode())
        path = self.folder / f"r{count}.yaml"
        path.write_text(
            "schema: 1\nextends: kubernetes-1.34.12.yaml\narchitectures: [amd64]\n"
            f'kubernetes: "1.34.12"\nmanifests: [{{name: network, url: "{url}", images: {how}}}]\n'
            + more,
            encoding="utf-8",
        )
        return path

    def lock(self, recipe: Path) -> Lock:
        return lock_recipe(recipe, "amd64", self.session).lock

    def made(self, recipe: Path) -> tuple[Verification, str]:
        """Return what verify says of the recipe's ISO, and its network.yaml."""
        self.lock(recipe)
        found = find_lock(recipe, "amd64")
        assert found is not None
        iso = build(found.lock, self.folder / recipe.stem, self.session).iso
        with IsoReader(iso) as reader, reader.open("network.yaml") as file:
            text = file.read().decode()
        return verify(iso, lock=found.lock, store=self.session.store), text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("names")
    with DemoUpstream() as upstream:
        fill(upstream)
        write_recipes(folder)
        for name in NAMES:
            put(upstream, name, an_image(name))
        twin = an_image("twin")
        for name in ("extra.example/tool:2.0", "extra.example/tool:2", "other.example/copy:2"):
            put(upstream, name, twin)
        upstream.put_file("/extra.example/www/none", b"")
        config = Config(mirrors=dict(upstream.mirrors), retries=1, retry_budget=2.0)
        with open_session(config, Store(folder / "store")) as session:
            yield Place(upstream, folder, session, twin)


def problems(result: Verification) -> list[str]:
    return [str(finding) for finding in result.findings]


def images_in(text: str) -> list[str]:
    return re.findall(r"(?:image|reference): ?'?\"?([^'\",} \n]+)", text)


SPELLINGS = (
    "someui/board:v2",
    "docker.io/someui/board:v2",
    "index.docker.io/someui/board:v2",
    "a:1",
    "docker.io/a:1",
    "index.docker.io/library/a:1",
)


@pytest.mark.parametrize("how", ["pin", "keep"])
def test_every_spelling_of_a_name_is_found_again(place: Place, how: str) -> None:
    containers = [f"{{name: c{n}, image: '{text}'}}" for n, text in enumerate(SPELLINGS)]
    result, text = place.made(place.recipe(*containers, how=how))
    assert problems(result) == []
    if how == "keep":
        assert images_in(text) == list(SPELLINGS)
    else:
        assert {name.partition("@")[0] for name in images_in(text)} == {
            "docker.io/someui/board",
            "docker.io/library/a",
        }
        assert text.count("@sha256:") == len(SPELLINGS)


@pytest.mark.parametrize("key", ["old", "docker.io/library/old:latest", "index.docker.io/old"])
def test_what_is_replaced_is_found_by_every_spelling(place: Place, key: str) -> None:
    more = f'images: {{replace: {{"{key}": "extra.example/node:v1"}}}}\n'
    result, text = place.made(place.recipe("{name: c, image: docker.io/old}", more=more))
    assert problems(result) == []
    assert images_in(text)[0].startswith("extra.example/node@sha256:")


TWINS = ("extra.example/tool:2.0", "extra.example/tool:2", "other.example/copy:2")


@pytest.mark.parametrize("how", ["pin", "keep"])
def test_one_image_under_several_tags_and_repositories_has_all_its_names(
    place: Place, how: str
) -> None:
    containers = [f"{{name: c{n}, image: '{text}'}}" for n, text in enumerate(TWINS)]
    more = f"images: {{extra: [{', '.join(TWINS)}]}}\n"
    recipe = place.recipe(*containers, how=how, more=more)
    result, text = place.made(recipe)
    assert problems(result) == []
    (image,) = [one for one in place.lock(recipe).images if "tool" in one.reference]
    assert sorted(image.references) == sorted(TWINS)
    if how == "pin":
        digest = image.digest
        assert images_in(text) == [
            f"extra.example/tool@{digest}",
            f"extra.example/tool@{digest}",
            f"other.example/copy@{digest}",
        ]


@pytest.mark.parametrize("profile", ["mold-cks", "cloudstack-cks"])
@pytest.mark.parametrize("how", ["pin", "keep"])
def test_tags_with_digests_of_index_and_image_are_found(
    place: Place, how: str, profile: str
) -> None:
    index, own = place.twin.top.digest, place.twin.manifests[0].digest
    texts = [
        f"extra.example/tool:2.0@{index}",
        f"extra.example/tool@{index}",
        f"extra.example/tool:2@{own}",
        f"other.example/copy@{own}",
    ]
    containers = [f"{{name: c{n}, image: '{text}'}}" for n, text in enumerate(texts)]
    recipe = place.recipe(*containers, how=how, more=f"profile: {profile}\n")
    if profile == "cloudstack-cks":  # whose nodes want another dashboard
        written = recipe.read_text(encoding="utf-8")
        dashboard = "manifests: [{name: headlamp, path: dashboard.yaml, images: pin}, "
        recipe.write_text(written.replace("manifests: [", dashboard), encoding="utf-8")
    result, text = place.made(recipe)
    assert problems(result) == []
    if how == "pin" and profile == "cloudstack-cks":
        assert images_in(text) == [
            "extra.example/tool:2.0",
            f"extra.example/tool@{index}",
            "extra.example/tool:2",
            f"other.example/copy@{own}",
        ]
        assert text.count("imagePullPolicy: IfNotPresent") == len(texts)


def test_an_image_volume_is_locked_pinned_and_wanted(place: Place) -> None:
    volume = '{name: p, image: {reference: "extra.example/plugins:1", pullPolicy: Always}}'
    recipe = place.recipe(f"{{name: c, image: 'a:1'}}\n  volumes:\n  - {volume}")
    result, text = place.made(recipe)
    assert problems(result) == []
    assert 'reference: "extra.example/plugins@sha256:' in text
    assert "Always" not in text


UNLOCKABLE: Sequence[tuple[str, str]] = (
    ("quay.io/some/thing", 'replace: {"quay.io/some/thing": "quay.io/some/thing:TAG"}'),
    ("nginx:latest", 'replace: {"nginx:latest": "docker.io/library/nginx:TAG"}'),
    ("quay.io/a/b:main", "the tag 'main' in 'quay.io/a/b:main' is a moving target"),
    ("quay.io/a/b:Master", "is a moving target"),
    ("auto", "no tag or digest in 'auto'"),
    ("", 'ignore: [""]'),
    ("{{ .Values.image }}", 'ignore: ["{{ .Values.image }}"]'),
    ("${REGISTRY}/a:v1", 'replace: {"${REGISTRY}/a:v1": "REGISTRY/NAME:TAG"}'),
    ("<image>", "not an image reference: '<image>'"),
    ("!*:latest", "not an image reference"),
    ("ko://example.com/cmd", "not an image reference"),
    ("extra.example/a:1+fix-01", "not an image reference"),
    ("extra.example/a@9.1.6", "not an image reference"),
    ("extra.example/A:1", "repositories have no capital letters"),
)


@pytest.mark.parametrize("how", ["pin", "keep"])
def test_names_that_cannot_be_locked_are_refused_all_at_once_with_the_way_out(
    place: Place, how: str
) -> None:
    containers = [f'{{name: c{n}, image: "{text}"}}' for n, (text, _) in enumerate(UNLOCKABLE)]
    with pytest.raises(InputErrors) as refused:
        place.lock(place.recipe("{name: good, image: 'a:1'}", *containers, how=how))
    mistakes = refused.value.mistakes
    assert len(mistakes) == len(UNLOCKABLE)
    for number, (mistake, (_, told)) in enumerate(zip(mistakes, UNLOCKABLE, strict=True)):
        assert mistake.mark.file.endswith("/m.yaml")
        assert mistake.mark.line == 7 + number
        assert mistake.path == f"spec.containers[{number + 1}].image"
        assert told in f"{mistake.fact} {mistake.hint}"


def test_texts_that_are_to_be_ignored_are_left_alone(place: Place) -> None:
    containers = [f'{{name: c{n}, image: "{text}"}}' for n, (text, _) in enumerate(UNLOCKABLE)]
    ignored = ", ".join(f'"{text}"' for text, _ in UNLOCKABLE)
    recipe = place.recipe(
        "{name: g, image: 'a:1'}", *containers, more=f"images: {{ignore: [{ignored}]}}\n"
    )
    result, text = place.made(recipe)
    assert problems(result) == []
    assert all(f'image: "{text_}"' in text for text_, _ in UNLOCKABLE)


def test_a_lock_without_the_recipes_ignored_texts_does_not_answer_it(place: Place) -> None:
    recipe = place.recipe("{name: g, image: 'a:1'}")
    place.lock(recipe)
    recipe.write_text(recipe.read_text() + "images: {ignore: [auto]}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"images\.ignore"):
        find_lock(recipe, "amd64")


OPERATOR = (
    "{name: c, image: 'a:1',"
    " args: [--reloader=extra.example/node:v1, --x-image=other.example/only:1],"
    " env: [{name: RELATED_IMAGE_AGENT, value: extra.example/agent:1}]}"
)


def test_images_that_only_an_operator_knows_are_told_by_lock_and_verify(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    more = "images: {extra: ['extra.example/node:v1'], ignore: ['other.example/only:1']}\n"
    result, _ = place.made(place.recipe(OPERATOR, more=more))
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "m.yaml:6:" in warning
    assert "containers[0].env[0].value: the image extra.example/agent:1 is not locked" in warning
    assert "images.extra" in warning
    assert "images.ignore" in warning
    (finding,) = result.findings
    assert (finding.rule, finding.severity) == ("A.4.mentioned-images", "warning")
    assert "line 6: spec.containers[0].env[0].value names extra.example/agent:1" in finding.fact
    assert result.passed


def test_strict_refuses_them(place: Place) -> None:
    recipe = place.recipe(OPERATOR)
    with pytest.raises(InputErrors) as refused:
        lock_recipe(recipe, "amd64", place.session, strict=True)
    assert len(refused.value.mistakes) == 3
    place.lock(recipe)
    found = find_lock(recipe, "amd64")
    assert found is not None
    iso = build(found.lock, place.folder / "strict", place.session).iso
    assert verify(iso).passed
    assert not verify(iso, strict=True).passed


def test_inspect_names_what_is_neither_locked_nor_on_the_disc_nor_declared(place: Place) -> None:
    more = "images: {extra: ['extra.example/node:v1'], ignore: ['other.example/only:1']}\n"
    recipe = place.recipe(OPERATOR, more=more)
    place.lock(recipe)
    found = find_lock(recipe, "amd64")
    assert found is not None
    iso = build(found.lock, place.folder / "unlisted", place.session).iso
    where = "spec.containers[0].env[0].value"
    agent = {"manifest": "network.yaml", "line": 6, "path": where, "image": "extra.example/agent:1"}
    for source in (iso, found.path):
        assert [asdict(one) for one in unlisted_images(source, place.session.store)] == [agent]
        options = ("--store", place.session.store.root)
        told = json.loads(call("inspect", source, "--json", *options).stdout)
        assert told["unlisted_images"] == [agent]
        lines = call("inspect", source, *options).stdout.splitlines()
        assert lines[-2].split("  ")[0] == "NAMED, BUT NOT THERE"
        assert lines[-1].split() == ["extra.example/agent:1", "network.yaml:6:", where]
    empty = Store(place.folder / "no store")
    assert unlisted_images(found.path, empty) == ()
    assert not empty.root.exists()


def test_a_doubled_key_is_told_and_hinders_only_pinning(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    policies = "imagePullPolicy: X, imagePullPolicy: IfNotPresent"
    doubled = f"{{name: c, image: 'other.example/none:1', image: 'a:1', {policies}}}"
    result, text = place.made(place.recipe(doubled, how="keep"))
    assert problems(result) == []
    assert doubled in text
    told = [record.getMessage() for record in caplog.records]
    assert any(
        "the key 'image' is there twice in one mapping; the last one" in line for line in told
    )
    with pytest.raises(InputErrors, match="the key 'image' is there twice, so it cannot be pinned"):
        place.made(place.recipe(doubled))


@pytest.mark.parametrize("name", ["", "${REGISTRY}/a:v1", "{{ .Values.image }}", "<image>"])
def test_any_text_can_stand_for_an_image(place: Place, name: str) -> None:
    more = f'images: {{replace: {{"{name}": "extra.example/node:v1"}}}}\n'
    recipe = place.recipe(f"{{name: c, image: '{name}'}}", f'\n    image: "{name}"', more=more)
    result, text = place.made(recipe)
    assert problems(result) == []
    assert [one.partition("@")[0] for one in images_in(text)] == ["extra.example/node"] * 2


@pytest.mark.parametrize("text", ["only words\n", "- a\n- b\n", "a: b\n", "--- {a: b}\n"])
def test_what_kubectl_would_not_take_is_refused_when_it_is_locked(place: Place, text: str) -> None:
    recipe = place.recipe("{name: c, image: 'a:1'}")
    url = place.upstream.put_file(f"/extra.example/www/{len(text)}/x.yaml", text.encode())
    written = re.sub(r'url: "[^"]*"', f'url: "{url}"', recipe.read_text(encoding="utf-8"))
    recipe.write_text(written, encoding="utf-8")
    with pytest.raises(InputErrors) as refused:
        place.lock(recipe)
    assert refused.value.mistakes[0].mark.file == url
