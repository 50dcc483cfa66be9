"""Words of others that once were more than a reader could take: one case for each place."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from isobuilder.errors import InputError, IntegrityError, IsobuilderError
from isobuilder.formats.manifests import read_manifest
from isobuilder.mold.catalogue import SUFFIX, read_catalogue, read_registration
from isobuilder.pipeline.build import Built
from isobuilder.pipeline.compare import contents_of
from isobuilder.rules.support import end_of_life, version_order
from tests.pipeline.forging import Contents


@pytest.mark.parametrize(
    "name", ["", "/", "a b", "x:y:z", "@", "UPPER/x:1", "\u00e9:1", "9" * 5000]
)
def test_a_name_in_manifest_json_that_is_no_reference_is_told_when_an_iso_is_inspected(
    built: Built, tmp_path: Path, name: str
) -> None:
    contents = Contents.of(built.iso)
    manifest = json.loads(contents.files["manifest.json"])
    manifest["images"][0]["reference"] = name
    contents.files["manifest.json"] = json.dumps(manifest).encode()
    forged = contents.write_plainly(tmp_path / "forged.iso")
    with pytest.raises(IsobuilderError) as told:
        contents_of(forged)
    assert isinstance(told.value, InputError | IntegrityError)
    assert len(str(told.value)) < 5000


@pytest.mark.parametrize(
    "version", ["1.\u00b2", "1." + "9" * 5000, "1", "", "1.-1", "\u0661.\u0662", "1.2.3.4"]
)
def test_a_version_that_kubernetes_never_had_is_ordered_and_has_an_end_or_none(
    version: str,
) -> None:
    assert all(part >= 0 for part in version_order(version))
    end_of_life(version)


@pytest.mark.parametrize(
    "text",
    [
        "- - - -",
        "a: &x [*x]",
        "? {}",
        "{a: 1, a: 2}",
        "--- !!python/object:os.system x",
        "kind: Pod\nmetadata: 3\nspec: []",
        "a: " + "[" * 500,
        "\u2028: 1",
        "- !!binary x",
    ],
)
def test_a_manifest_that_is_none_has_errors_of_ours_only(text: str) -> None:
    with suppress(IsobuilderError):
        for value in read_manifest(text.encode(), "x").objects:
            assert isinstance(value, dict)


@pytest.mark.parametrize(
    "change",
    [
        {"filename": "../x.iso"},
        {"filename": "a\0b.iso"},
        {"filename": "n" * 5000},
        {"checksum": "{SHA-256}"},
        {"size": -1},
        {"size": 1e999},
        {"name": "\x1b[2J"},
        {"arch": []},
    ],
)
def test_a_registration_with_one_wrong_word_is_refused_wherever_it_is_read(
    tmp_path: Path, change: dict[str, object]
) -> None:
    data: dict[str, object] = {
        "schema": 1,
        "name": "v1.36.5",
        "kubernetesversion": "1.36.5",
        "arch": "x86_64",
        "checksum": "{SHA-256}" + "ab" * 32,
        "filename": "x.iso",
        "size": 1,
        "mincpunumber": 2,
        "minmemory": 2048,
        "download_url": None,
        "product_version": "1",
        "profile": "mold",
        "revision": 1,
    }
    side = tmp_path / f"x{SUFFIX}"
    side.write_text(json.dumps(data | change))
    with pytest.raises(InputError):
        read_registration(side)
    with pytest.raises(InputError):
        read_catalogue(tmp_path)
