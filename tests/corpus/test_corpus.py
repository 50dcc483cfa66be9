"""Every construct is read, locked, pinned and verified as the real kubectl reads it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo import images
from isobuilder.demo.content import fill, write_recipes
from isobuilder.demo.upstream import DemoUpstream
from isobuilder.formats.manifests import IMAGE_FIELDS, read_manifest
from isobuilder.formats.pinning import pin
from isobuilder.formats.reference import ImageReference, spelled_out
from isobuilder.iso.read.reader import IsoReader
from isobuilder.model.config import Config
from isobuilder.pipeline.build import build
from isobuilder.pipeline.lock import find_lock, lock_recipe
from isobuilder.pipeline.verify import verify
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from tests.corpus.constructs import KINDS, MENTIONED, NAMES, Construct, corpus
from tests.fakes.kubectl import objects_of

CORPUS = corpus()
DIGEST = "a" * 64
PINNED = {spelled_out(name): f"{ImageReference.parse(name).name}@sha256:{DIGEST}" for name in NAMES}


def pinned(construct: Construct) -> bytes:
    return pin(read_manifest(construct.data, construct.name), PINNED, construct.ignored)


def test_the_corpus_is_large_and_every_construct_another_one() -> None:
    assert len(CORPUS) >= 300
    assert len({construct.data for construct in CORPUS}) == len(CORPUS)
    assert len({construct.name for construct in CORPUS}) == len(CORPUS)


@pytest.mark.parametrize("construct", CORPUS, ids=lambda construct: construct.name)
def test_every_construct_is_read_and_pinned(construct: Construct) -> None:
    manifest = read_manifest(construct.data, construct.name)
    assert tuple(use.image for use in manifest.images) == construct.images
    again = read_manifest(pinned(construct), construct.name)
    expected = [
        name if name in construct.ignored else PINNED[spelled_out(name)]
        for name in construct.images
    ]
    assert [use.image for use in again.images] == expected
    changed = _rewritten(list(manifest.objects), frozenset(construct.ignored))
    assert list(again.objects) == changed


def test_kubectl_reads_the_same_objects_and_images_before_and_after(tmp_path: Path) -> None:
    before = objects_of([one.data for one in CORPUS], KINDS, _folder(tmp_path, "before"))
    after = objects_of([pinned(one) for one in CORPUS], KINDS, _folder(tmp_path, "after"))
    for construct, objects, changed in zip(CORPUS, before, after, strict=True):
        own = list(read_manifest(construct.data, construct.name).objects)
        assert _plain(own) == _plain(objects), construct.name
        assert sorted(_names(objects)) == sorted(_once_more(construct)), construct.name
        expected = _rewritten(objects, frozenset(construct.ignored))
        assert _plain(changed) == _plain(expected), construct.name


@pytest.fixture(scope="module")
def upstream() -> Iterator[DemoUpstream]:
    with DemoUpstream() as upstream:
        fill(upstream)
        for name in {spelled_out(name) for name in NAMES}:
            repository, _, tag = name.rpartition(":")
            layer = images.layer({"etc/name": name.encode()})
            upstream.put_image(repository, tag, images.image([layer], architecture="amd64"))
        yield upstream


def test_lock_pin_and_verify_agree_on_the_images_of_all_constructs(
    upstream: DemoUpstream, tmp_path: Path
) -> None:
    write_recipes(tmp_path)
    entries, ignored = [], list[str](MENTIONED)
    for number, construct in enumerate(CORPUS):
        url = upstream.put_file(f"/extra.example/www/{number:04}.yaml", construct.data)
        path = f"construct-{number:04}.yaml"
        entries.append({"name": f"c{number:04}", "path": path, "url": url, "images": "pin"})
        ignored += construct.ignored
    recipe = tmp_path / "corpus.yaml"
    data = {
        "schema": 1,
        "kubernetes": "1.34.12",
        "extends": "kubernetes-1.34.12.yaml",
        "architectures": ["amd64"],
        "manifests": entries,
        "images": {"ignore": ignored},
    }
    recipe.write_text(json.dumps(data), encoding="utf-8")
    config = Config(mirrors=dict(upstream.mirrors), retries=0)
    with open_session(config, Store(tmp_path / "store")) as session:
        lock_recipe(recipe, "amd64", session)
        found = find_lock(recipe, "amd64")
        assert found is not None
        iso = build(found.lock, tmp_path / "out", session).iso
        result = verify(iso, lock=found.lock, store=session.store)
    assert [str(finding) for finding in result.findings] == []
    locked = {name for image in found.lock.images for name in image.references}
    wanted = {spelled_out(name) for one in CORPUS for name in one.images if name not in one.ignored}
    assert wanted <= locked
    by_digest = {
        str(ImageReference.parse(name).with_digest(image.digest))
        for image in found.lock.images
        for name in image.references
    }
    with IsoReader(iso) as reader:
        for number, construct in enumerate(CORPUS):
            with reader.open(f"construct-{number:04}.yaml") as file:
                on_iso = read_manifest(file.read(), construct.name)
            names = {use.image for use in on_iso.images} - set(construct.ignored)
            assert names <= by_digest, construct.name
            assert len(on_iso.images) == len(construct.images), construct.name


# --- judged without our reader ---


def _folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def _plain(value: Any) -> str:
    """Return a value as text; kubectl prints 3.0 as 3, and knows whole numbers of 64 bits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value if -(2**63) <= value < 2**63 else float(value))
    if isinstance(value, float):
        return _plain(int(value)) if value.is_integer() and abs(value) < 2**63 else str(value)
    if isinstance(value, dict):
        inner = (f"{json.dumps(key)}: {_plain(part)}" for key, part in sorted(value.items()))
        return f"{{{', '.join(inner)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return json.dumps(value)


_LISTS = {
    "containers": "container",
    "initContainers": "container",
    "ephemeralContainers": "container",
}


def _fields(value: Any) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Give each map of a pod that names an image, with its keys for image and policy."""
    if isinstance(value, list):
        for item in value:
            yield from _fields(item)
    if not isinstance(value, dict):
        return
    for key, part in value.items():
        parts = [item for item in part if isinstance(item, dict)] if isinstance(part, list) else []
        for item in parts:
            if key in _LISTS and isinstance(item.get("image"), str):
                yield item, *IMAGE_FIELDS["container"]
            volume = item.get("image") if key == "volumes" else None
            if isinstance(volume, dict) and isinstance(volume.get("reference"), str):
                yield volume, *IMAGE_FIELDS["image volume"]
        yield from _fields(part)


def _names(objects: list[dict[str, Any]]) -> list[str]:
    return [found[image] for found, image, _ in _fields(objects)]


def _once_more(construct: Construct) -> list[str]:
    """Return the images as often as kubectl has them, which writes out what is shared."""
    return [*construct.images, *construct.images[: construct.shared]]


def _rewritten(objects: list[Any], ignored: frozenset[str]) -> list[Any]:
    found = copy.deepcopy(objects)
    for field, image, policy in _fields(found):
        if field[image] not in ignored:
            field[image] = PINNED.get(spelled_out(field[image]), field[image])
            field[policy] = "IfNotPresent"
    return found
