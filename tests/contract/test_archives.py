"""Image archives give the names that containerd gives."""

from __future__ import annotations

import io
import json

import pytest

from isobuilder.contract.archives import ImportedArchive, as_imported, normal_name
from isobuilder.errors import IntegrityError
from isobuilder.formats.archive import read_archive
from tests.contract.forms import BASE, DOCKER_FORMS, FORMS, PAUSE, Form
from tests.contract.trees import tar


def imported(data: bytes) -> ImportedArchive:
    return as_imported(read_archive(io.BytesIO(data)))


@pytest.mark.parametrize("form", [*FORMS, *DOCKER_FORMS], ids=str)
def test_an_archive_gives_the_names_containerd_gave(form: Form) -> None:
    if form.with_base is None or form.without_base is None:
        with pytest.raises(IntegrityError):
            imported(form.data)
        return
    archive = imported(form.data)
    assert archive.imported(BASE) == form.with_base
    assert archive.imported("") == form.without_base


def test_an_archive_tells_digest_and_architecture() -> None:
    (image,) = imported(PAUSE.oci()).images
    assert (image.digest, image.architecture) == (PAUSE.digest, "amd64")
    (saved,) = imported(PAUSE.docker()).images
    assert (saved.digest, saved.architecture) == (None, "amd64")


def test_an_archive_with_only_blobs_is_told_as_ctr_does() -> None:
    blobs = {name: data for name, data in PAUSE.oci_files().items() if name.startswith("blobs/")}
    with pytest.raises(IntegrityError, match=r"\(only blobs/\); ctr: unrecognized image format"):
        imported(tar(blobs))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"oci-layout": b'{"imageLayoutVersion":"2.0.0"}'}, "imageLayoutVersion 1.0.0"),
        ({"oci-layout": b"x"}, "oci-layout: not JSON"),
        ({"index.json": b"[]"}, "expected a JSON object"),
        ({"index.json": b'{"schemaVersion":2,"manifests":[]}'}, "lists 0 images"),
        ({"index.json": b"[" * 90_000}, "nested more than 50 levels deep"),
        ({"index.json": b'{"a":"' + b"x" * 4_200_000 + b'"}'}, "not JSON of at most 4194304 bytes"),
        ({f"blobs/sha256/{PAUSE.digest.hex}": PAUSE.manifest + b" "}, "bytes, expected"),
    ],
)
def test_odd_layouts_are_refused(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        imported(tar({**PAUSE.oci_files(), **files}))


@pytest.mark.parametrize(
    "entries",
    [
        b"{}",
        b"[]",
        b"[1]",
        b'[{"Config":"config.json"}]',
        b'[{"Config":"c","Layers":[]}]',
        b'[{"Config":"config.json","Layers":[5]}]',
        b'[{"Config":"config.json","Layers":[],"RepoTags":"x"}]',
        b'[{"Config":"config.json","Layers":[],"RepoTags":["UPPER CASE"]}]',
    ],
)
def test_odd_docker_archives_are_refused(entries: bytes) -> None:
    assert json.loads(entries) is not None
    with pytest.raises(IntegrityError, match=r"manifest\.json"):
        imported(tar({"manifest.json": entries, "config.json": PAUSE.config}))


@pytest.mark.parametrize(
    ("written", "looked_up"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("quay.io/a/b:1", "quay.io/a/b:1"),
        (f"quay.io/a/b:1@sha256:{'0' * 64}", f"quay.io/a/b@sha256:{'0' * 64}"),
    ],
)
def test_a_name_in_a_manifest_is_looked_up_written_out(written: str, looked_up: str) -> None:
    assert normal_name(written) == looked_up
