"""Fetching a lock, seen from the closure of what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from isobuilder.content.needed import digests, missing, needed
from isobuilder.demo import images
from isobuilder.demo.images import Image
from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.model.config import Config
from isobuilder.model.lock import LockedImage
from isobuilder.pipeline.fetch import collect, fetch, names_of
from isobuilder.sources.session import Session, open_session
from isobuilder.store import Store, stored
from tests.fakes import hostile_registry as hostile
from tests.fakes.upstream import FakeUpstream
from tests.pipeline.world import Locked


def test_after_fetching_nothing_that_is_needed_is_missing_and_gc_frees_none_of_it(
    locked: Locked, empty_session: Session
) -> None:
    lock, store = locked.lock, empty_session.store
    assert len(missing(lock, store.find)) == len(needed(lock, store.find))
    fetch([lock], empty_session)
    stray = store.add_bytes(b"no lock names me")
    assert not missing(lock, store.find)
    collected = collect(store, [lock])
    assert [blob.digest for blob in collected.removed] == [stray.digest]
    assert {blob.digest for blob in stored(store)} >= digests([lock], store.find)
    assert not missing(lock, store.find)


def test_gc_forgets_the_names_of_what_is_gone_and_of_nothing_else(
    locked: Locked, empty_session: Session
) -> None:
    lock, store = locked.lock, empty_session.store
    fetch([lock], empty_session)
    store.remember("lock", Digest.of(b"old"), b"of another version")
    collect(store, [lock], dry_run=True)
    assert len(store.remembered("lock")) == 2
    collect(store, [lock])
    assert store.remembered("lock") == [lock.digest]
    assert set(names_of(store)) >= digests([lock], store.find)
    collect(store, [], everything=True)
    assert store.remembered("lock") == []


def test_without_any_one_blob_exactly_that_is_missing(
    locked: Locked, empty_session: Session
) -> None:
    lock, store = locked.lock, empty_session.store
    fetch([lock], empty_session)
    for digest in digests([lock], store.find):
        path = store.path_of(digest)
        aside = path.rename(path.with_name("aside"))
        assert {need.digest for need in missing(lock, store.find)} == {digest}
        aside.rename(path)


def test_a_layer_of_two_sizes_is_refused_before_anything_is_fetched(
    locked: Locked, tmp_path: Path
) -> None:
    base = images.layer({"etc/base": bytes(range(256)) * 500})
    first = images.image([base])
    top = hostile.edited(first.top, lambda body: body["layers"][0].update(size=5))
    second = Image(top, (top,), first.blobs)
    with FakeUpstream() as upstream:
        for name, image in (("a", first), ("b", second)):
            upstream.put_image(f"r.example/{name}", "1", image)
        changes = {"files": (), "manifests": (), "images": (pin("a", first), pin("b", second))}
        lock = locked.lock.model_copy(update=changes)
        config = Config(mirrors={"r.example": (f"{upstream.url}/r.example",)})
        with (
            open_session(config, Store(tmp_path / "store")) as session,
            pytest.raises(IntegrityError, match=r"r\.example/b:1: .* has 5 bytes here"),
        ):
            fetch([lock], session)
        assert not [line for line in upstream.log if "/blobs/" in line.path]


def pin(name: str, image: Image) -> LockedImage:
    digest = image.top.digest
    return LockedImage(
        reference=f"r.example/{name}:1",
        index=None,
        digest=digest,
        size=None,
        archive=f"docker/{digest.hex}.tar",
    )
