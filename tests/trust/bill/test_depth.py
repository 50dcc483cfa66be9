from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from isobuilder.content.tree import tree
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError
from isobuilder.model.lock import Lock
from isobuilder.store import Store
from isobuilder.trust.bill import depth
from isobuilder.trust.bill.depth import BlobSpan, deepened
from isobuilder.trust.bill.model import Bill, BillPart, only_image, read_bill
from isobuilder.trust.bill.notes import Notes
from tests.fakes.elf import program
from tests.fakes.packages import DEP5, OS_RELEASE, STATUS, layer_of
from tests.iso.makers import CNI, CRICTL, small_image, small_lock

IMAGE = "registry.k8s.io/pause:3.10.1"
GO = program(
    lines=(
        "path\tx/cmd/y",
        "mod\tk8s.io/kubernetes\tv1.34.12",
        "dep\tgolang.org/x/net\tv0.1.0\th1:a=",
    )
)
DEBIAN = layer_of(
    {
        "etc/os-release": OS_RELEASE,
        "var/lib/dpkg/status": STATUS,
        "usr/share/doc/bash/copyright": DEP5,
        "usr/bin/tool": GO,
    }
)


class OfStore:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked: list[Digest] = []

    def span(self, digest: Digest, /) -> BlobSpan | None:
        self.asked.append(digest)
        blob = self.store.find(digest)
        return None if blob is None else BlobSpan(blob.open(), 0, blob.size)


def lock_with(store: Store, layers: Sequence[bytes]) -> Lock:
    """Return a lock whose first image has ``layers``, packed as they are given."""
    packed = gzip.compress(layer_of({"tool": GO}), mtime=0)
    lock = small_lock(store, extra={"runtime/tool": GO, CNI: packed, CRICTL: packed})
    image = small_image(store, layers=[("+gzip", data, data) for data in layers])
    digest = image.manifest.digest
    first = lock.images[0].model_copy(
        update={"digest": digest, "archive": f"docker/{digest.hex}.tar", "reference": IMAGE}
    )
    others = tuple(one for one in lock.images if one.reference != IMAGE)
    return lock.model_copy(update={"images": (first, *others)})


def bill_of(store: Store, layers: Sequence[bytes] | None = None) -> Bill:
    lock = lock_with(store, layers if layers is not None else [gzip.compress(DEBIAN, mtime=0)])
    return read_bill(tree(lock, store).sbom, "sbom.cdx.json")


def image_in(bill: Bill) -> BillPart:
    (found,) = (part for part in bill.images if part.name == "registry.k8s.io/pause")
    return found


def layer_of_image(store: Store, bill: Bill) -> Digest:
    manifest = store.path_of(Digest.from_hex(image_in(bill).sha256 or "")).read_bytes()
    return Digest(json.loads(manifest)["layers"][0]["digest"])


def test_the_bill_on_the_iso_is_read_and_written_as_it_is(store: Store) -> None:
    data = tree(small_lock(store), store).sbom
    assert read_bill(data, "x").to_bytes() == data


def test_an_image_has_its_system_its_packages_and_the_modules_of_its_programs(
    store: Store,
) -> None:
    image = image_in(deepened(bill_of(store), OfStore(store)))
    by_purl = {part.purl: part for part in image.inside}
    assert set(by_purl) == {
        None,
        "pkg:deb/debian/bash@5.2.37-2%2Bb5?arch=amd64&distro=debian-13&upstream=bash%405.2.37-2",
        "pkg:deb/debian/libssl3t64@3.5.1-1?arch=amd64&distro=debian-13&upstream=openssl",
        "pkg:golang/golang.org/x/net@v0.1.0",
        "pkg:golang/k8s.io/kubernetes@v1.34.12",
        "pkg:golang/stdlib@1.24.6",
    }
    assert (by_purl[None].type, by_purl[None].name, by_purl[None].version) == (
        "operating-system",
        "debian",
        "13",
    )
    net = by_purl["pkg:golang/golang.org/x/net@v0.1.0"]
    assert net.fact("go-sum") == "h1:a="
    assert net.evidence is not None
    assert [one.location for one in net.evidence.occurrences] == ["usr/bin/tool"]
    bash = next(part for part in image.inside if part.name == "bash")
    assert bash.licence_names == ("Apache-2.0", "GPL-2+")


def test_a_program_on_the_iso_itself_is_looked_into(store: Store) -> None:
    found = deepened(bill_of(store), OfStore(store))
    (tool,) = (part for part in found.components if part.name == "runtime/tool")
    assert {part.name for part in tool.inside} >= {"k8s.io/kubernetes", "stdlib"}


def test_it_follows_the_official_schema_and_is_a_document_of_its_own(store: Store) -> None:
    shallow = bill_of(store, [gzip.compress(DEBIAN), b"no layer"])
    deep = deepened(shallow, OfStore(store))
    data = deep.to_bytes()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    assert deep.serial != shallow.serial
    assert read_bill(data, "x") == deep
    one = only_image(deep, IMAGE).to_bytes().decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(one) is None


def test_the_same_bytes_give_the_same_bill_with_and_without_notes(store: Store) -> None:
    bill = bill_of(store)
    first = deepened(bill, OfStore(store)).to_bytes()
    assert deepened(bill, OfStore(store), notes=Notes(store)).to_bytes() == first
    again = OfStore(store)
    assert deepened(bill, again, notes=Notes(store)).to_bytes() == first


def test_what_is_noted_of_a_layer_is_not_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bill = bill_of(store)
    deepened(bill, OfStore(store), notes=Notes(store))
    monkeypatch.setattr(depth, "look_into", lambda _: pytest.fail("read again"))
    assert image_in(deepened(bill, OfStore(store), notes=Notes(store))).inside


def test_a_damaged_note_is_found_out_again(store: Store) -> None:
    bill = bill_of(store)
    whole = deepened(bill, OfStore(store), notes=Notes(store))
    for path in (store.root / "notes" / "inside").iterdir():
        path.write_bytes(b'{"found": 7}')
    assert deepened(bill, OfStore(store), notes=Notes(store)) == whole


def test_a_layer_that_cannot_be_read_is_told_and_the_rest_is_there(store: Store) -> None:
    found = deepened(bill_of(store, [gzip.compress(DEBIAN), b"no layer" * 100]), OfStore(store))
    image = image_in(found)
    (told,) = image.facts("not-read")
    assert told.startswith("byte 0: not a tar header")
    assert any(part.name == "bash" for part in image.inside)
    assert found.compositions is not None
    assert found.compositions[0].assemblies == (image.bom_ref,)


def test_a_bomb_is_not_unpacked(store: Store) -> None:
    bomb = gzip.compress(bytes(96 * 1024 * 1024), 9)
    image = image_in(deepened(bill_of(store, [bomb]), OfStore(store)))
    assert "unpacks to more than" in image.facts("not-read")[0]


def test_many_bombs_together_end_the_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "_FREE", 1024 * 1024)
    data = gzip.compress(bytes(8 * 1024 * 1024), 9)
    looker = depth._Looker(OfStore(store), Notes(), most=1024)
    blob = store.add_bytes(data)
    with pytest.raises(IntegrityError, match="all archives together unpack to more than 1024"):
        looker._layer(blob.digest, "image")


def test_a_layer_of_other_bytes_ends_the_work(store: Store) -> None:
    bill = bill_of(store)
    layer = layer_of_image(store, bill)

    class Lying(OfStore):
        def span(self, digest: Digest, /) -> BlobSpan | None:
            found = super().span(digest)
            if found is None or digest != layer:
                return found
            path = store.path_of(digest)
            other = path.with_name("other")
            found.stream.close()
            other.write_bytes(path.read_bytes()[:-1] + b"\1")
            return replace(found, stream=other.open("rb"))

    with pytest.raises(IntegrityError, match=r"expected sha256:\w+, got sha256:\w+"):
        deepened(bill, Lying(store))


def test_a_layer_that_nobody_has_ends_the_work(store: Store) -> None:
    bill = bill_of(store)
    store.path_of(layer_of_image(store, bill)).unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        deepened(bill, OfStore(store))


def test_one_image_is_a_bill_of_its_own(store: Store) -> None:
    deep = deepened(bill_of(store), OfStore(store))
    one = only_image(deep, "registry.k8s.io/pause")
    assert one.metadata.component.name == "registry.k8s.io/pause"
    assert one.components == image_in(deep).inside
    with pytest.raises(InputError, match="expected the name of one image, got 'nothing'"):
        only_image(deep, "nothing")


def test_a_bill_of_others_is_refused() -> None:
    with pytest.raises(InputError, match="x: "):
        read_bill(b'{"bomFormat": "CycloneDX", "specVersion": "1.5"}', "x")


def test_nothing_is_left_in_the_folder_for_temporary_files(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    deepened(bill_of(store), OfStore(store))
    assert not list(tmp_path.glob("isobuilder-*"))
