"""What the person sees when upstream does its worst, and that the next run then ends right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo import images
from isobuilder.demo.content import fill, write_recipes
from isobuilder.demo.images import Image
from isobuilder.digest import Digest
from tests.cli.calling import (
    KUBEADM,
    call,
    errors,
    half_written,
    hints,
    impatient,
    lock_of_one,
)
from tests.fakes import hostile_registry
from tests.fakes.hostile import (
    Fault,
    FileServer,
    answer,
    cut,
    endless,
    gzipped,
    html,
    part,
    redirect,
    refuse,
    silent,
    stall,
)
from tests.fakes.images import simple
from tests.fakes.upstream import FakeUpstream, Hook
from tests.pipeline.world import Locked, World, write_config

CONTENT = b"a program, more or less\n" * 4000
OTHER = CONTENT[::-1]
SIZE = len(CONTENT)


@pytest.mark.parametrize(
    ("fault", "code", "error"),
    [
        (answer(OTHER), 5, f"expected {Digest.of(CONTENT)}, got {Digest.of(OTHER)}"),
        (answer(CONTENT[:-9], length=SIZE), 4, f"ended after {SIZE - 9} of {SIZE} bytes"),
        (answer(CONTENT, length=SIZE + 1), 5, f"expected {SIZE} bytes, the server offers"),
        (answer(CONTENT + b"more", length=None), 5, f"longer than the promised {SIZE} bytes"),
        (part(f"bytes 0-9/{SIZE}", CONTENT[:10]), 4, "answered 206"),
        (endless, 5, f"longer than the promised {SIZE} bytes"),
        (html, 5, "looks like an HTML page"),
        (gzipped, 5, "encoded it as gzip without being asked"),
        (redirect("/" + KUBEADM), 4, "redirects in a loop"),
        (redirect("ftp://elsewhere/kubeadm"), 4, "redirect"),
        (refuse(503), 4, "answered 503"),
        (refuse(429, Retry_After="0"), 4, "answered 429"),
        (refuse(429, Retry_After="86400"), 4, "answered 429"),
        (refuse(403), 4, "answered 403"),
        (refuse(404), 4, "answered 404"),
        (stall(100), 4, "no byte|timed out|stall|silent"),
        (silent, 4, "no byte|timed out|stall|silent|answer"),
        (cut(100), 4, "ended after|broke"),
    ],
    ids=[
        *("other bytes", "truncated", "claims more", "sends more", "unasked part", "endless"),
        *("html", "gzip", "redirect loop", "redirect to ftp", "503", "429", "429 for a day"),
        *("403", "404", "stalls", "silent", "cut"),
    ],
)
def test_a_server_that_misbehaves_is_told_and_leaves_nothing_wrong(
    files: FileServer, locked: Locked, tmp_path: Path, fault: Fault, code: int, error: str
) -> None:
    lock = lock_of_one(tmp_path, locked, CONTENT)
    files.add(KUBEADM, CONTENT, always=fault, ranges=False)
    shared = ("--config", impatient(tmp_path, files))
    done = call("fetch", lock, *shared, code=code)
    assert re.search(error, errors(done)[0]), done.stderr
    assert errors(done)[0].startswith(f"error: kubeadm: {files.url(KUBEADM)}: ")
    assert done.stdout == ""
    store = tmp_path / "store"
    assert not list(store.rglob("blobs/sha256/*/*"))
    files.add(KUBEADM, CONTENT)
    call("fetch", lock, *shared)
    assert half_written(store) == []
    assert (store / "blobs/sha256").is_dir()


@pytest.mark.parametrize(
    "fault",
    [
        cut(SIZE // 2),
        refuse(503),
        refuse(429, Retry_After="0"),
        stall(SIZE // 3),
    ],
    ids=["cut", "503", "429", "stalls"],
)
def test_a_fault_that_passes_is_passed_over(
    files: FileServer, locked: Locked, tmp_path: Path, fault: Fault
) -> None:
    files.add(KUBEADM, CONTENT, fault)
    done = call(
        "fetch", lock_of_one(tmp_path, locked, CONTENT), "--config", impatient(tmp_path, files)
    )
    assert errors(done) == []
    assert half_written(tmp_path / "store") == []


def test_a_part_that_another_run_left_is_continued(
    files: FileServer, locked: Locked, tmp_path: Path
) -> None:
    lock, config = lock_of_one(tmp_path, locked, CONTENT), impatient(tmp_path, files)
    files.add(KUBEADM, CONTENT, cut(SIZE // 2), always=refuse(503))
    call("fetch", lock, "--config", config, code=4)
    files.add(KUBEADM, CONTENT)
    call("fetch", lock, "--config", config)
    assert files.seen[-1].headers["range"] == f"bytes={SIZE // 2}-"


def test_content_that_changes_between_runs_is_fetched_anew(
    files: FileServer, locked: Locked, tmp_path: Path
) -> None:
    lock, config = lock_of_one(tmp_path, locked, CONTENT), impatient(tmp_path, files)
    files.add(KUBEADM, OTHER, cut(SIZE // 2), always=refuse(503), etag='"old"')
    call("fetch", lock, "--config", config, code=4)
    files.add(KUBEADM, CONTENT, etag='"new"')
    call("fetch", lock, "--config", config)
    assert half_written(tmp_path / "store") == []


# --- checksum files, read when a recipe is locked


@pytest.fixture
def own(tmp_path: Path) -> Iterator[World]:
    """An upstream of this test alone, to be spoiled."""
    with FakeUpstream() as upstream:
        fill(upstream)
        plain, csi = write_recipes(tmp_path)
        yield World(upstream, plain, csi, write_config(tmp_path / "config.yaml", upstream))


def lock_it(own: World, folder: Path, *, code: int) -> Any:
    return call(
        *("lock", own.recipe, "--arch", "amd64", "--config", own.config_file),
        *("--store", folder / "store"),
        env={"ISOBUILDER_RETRIES": "0"},
        code=code,
    )


SUM = "dl.k8s.io/" + KUBEADM + ".sha256"
ZEROS = "0" * 64


@pytest.mark.parametrize(
    ("content", "code", "error"),
    [
        (ZEROS.encode(), 5, f"expected .*{ZEROS}, got"),
        (f"{ZEROS}  kubeadm\r\n".encode(), 5, f"expected .*{ZEROS}, got"),
        (f"{ZEROS}  kubectl\n{ZEROS}  kubelet\n".encode(), 3, "no entry for 'kubeadm'|kubeadm"),
        (f"{ZEROS}  kubeadm\n{'1' * 64}  kubeadm\n".encode(), 5, "2 different sha256"),
        (b"<html><body>Not here</body></html>", 5, "got an HTML page"),
        (b"", 5, "got nothing"),
        (b"\x00\xff" * 40, 5, "got binary data"),
        (b"d41d8cd98f00b204e9800998ecf8427e  kubeadm\n", 3, "(?i)md5"),
        (b"x" * 2_000_000, 5, "at most 1048576 bytes, got 2000000"),
    ],
    ids=[
        *("wrong", "CRLF and wrong", "others only", "two for one", "html", "empty", "binary"),
        *("md5", "2 MB"),
    ],
)
def test_a_checksum_file_that_is_wrong_is_told_and_nothing_is_locked(
    own: World, tmp_path: Path, content: bytes, code: int, error: str
) -> None:
    own.upstream.put_file(SUM, content)
    done = lock_it(own, tmp_path, code=code)
    assert any(re.search(error, line) for line in errors(done)), done.stderr
    assert not list(tmp_path.glob("*.lock.json"))


def test_a_checksum_file_that_is_not_there_is_told(own: World, tmp_path: Path) -> None:
    own.recipe.write_text(own.recipe.read_text().replace("kubeadm.sha256", "kubeadm.sha257"))
    text = own.recipe.read_text().replace('"{{ url }}.sha256"', '"{{ url }}.sha257"', 1)
    own.recipe.write_text(text)
    done = lock_it(own, tmp_path, code=4)
    assert ".sha257: the server answered 404" in errors(done)[0]
    assert not list(tmp_path.glob("*.lock.json"))


@pytest.mark.parametrize(
    "form",
    [
        "{sum}",
        "{sum}\n",
        "{sum}  kubeadm\r\n",
        "{sum} *kubeadm\n" + ZEROS + "  kubectl\n",
        "SHA256 (kubeadm) = {sum}\n",
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{sum}  kubeadm\n"
        "-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n",
    ],
    ids=["bare", "one line", "CRLF", "several lines", "BSD", "clear-signed"],
)
def test_a_checksum_file_in_any_form_is_understood(
    own: World, locked: Locked, tmp_path: Path, form: str
) -> None:
    right = next(file.sha256 for file in locked.lock.files if file.name == "kubeadm")
    own.upstream.put_file(SUM, form.format(sum=right.hex).encode())
    lock_it(own, tmp_path, code=0)
    lock = json.loads(next(tmp_path.glob("*.lock.json")).read_bytes())
    assert lock["files"][0]["sha256"] == right


# --- registries

PAUSE = ("registry.k8s.io/pause", "3.10.1")
LAYER = {"pause": b"stand-in"}


def wrong_platform() -> Image:
    arm = images.image([images.layer(LAYER)], architecture="arm64")
    return images.index({"amd64": arm})


def other_platforms() -> Image:
    return simple("pause", architectures=["arm64"], attestations=True)


def schema_1() -> Image:
    top = hostile_registry.schema_1("pause")
    return Image(top, (top,), ())


@pytest.mark.parametrize(
    ("make", "code", "error"),
    [
        (wrong_platform, 5, "linux/arm64"),
        (other_platforms, 3, "expected an image for linux/amd64, got linux/arm64"),
        (schema_1, 3, "schema 1"),
    ],
)
def test_an_image_that_is_none_for_us_is_told_when_it_is_locked(
    own: World, tmp_path: Path, make: Callable[[], Image], code: int, error: str
) -> None:
    own.upstream.put_image(*PAUSE, make())
    done = lock_it(own, tmp_path, code=code)
    assert error in errors(done)[0]
    assert ":".join(PAUSE) in errors(done)[0]
    assert not list(tmp_path.glob("*.lock.json"))


def without_media_type() -> Image:
    image = simple("pause")

    def drop(body: dict[str, Any]) -> None:
        body.pop("mediaType", None)

    return replace(image, top=hostile_registry.edited(image.top, drop))


def with_a_thousand_entries() -> Image:
    image = simple("pause")

    def add(body: dict[str, Any]) -> None:
        entry = body["manifests"][0]
        others = [
            {**entry, "platform": {"os": "windows", "architecture": "amd64", "os.version": str(n)}}
            for n in range(1000)
        ]
        body["manifests"] = others[:500] + body["manifests"] + others[500:]

    return replace(image, top=hostile_registry.edited(image.top, add))


def with_attestations() -> Image:
    return simple("pause", attestations=True)


@pytest.mark.parametrize("make", [without_media_type, with_a_thousand_entries, with_attestations])
def test_an_odd_index_is_locked_and_fetched(
    own: World, tmp_path: Path, make: Callable[[], Image]
) -> None:
    own.upstream.put_image(*PAUSE, make())
    lock_it(own, tmp_path, code=0)
    lock = next(tmp_path.glob("*.amd64.lock.json"))
    pinned = {image["reference"]: image for image in json.loads(lock.read_bytes())["images"]}
    assert pinned[":".join(PAUSE)]["digest"] == simple("pause").manifests[0].digest
    call("fetch", lock, "--config", own.config_file, "--store", tmp_path / "store")
    assert half_written(tmp_path / "store") == []


@pytest.mark.parametrize(
    ("where", "fault", "code"),
    [
        ("manifests/sha256", hostile_registry.flipped, 5),
        ("blobs/sha256", hostile_registry.flipped, 5),
        ("blobs/sha256", hostile_registry.truncated, 4),
        ("blobs/sha256", hostile_registry.endless, 5),
        ("manifests/sha256", hostile_registry.page, 5),
        ("blobs/sha256", hostile_registry.gone, 4),
        ("manifests/sha256", hostile_registry.busy(503), 4),
    ],
    ids=[
        *("manifest with one other bit", "layer with one other bit", "layer cut", "endless layer"),
        *("html", "404", "503"),
    ],
)
def test_a_registry_that_misbehaves_is_told_and_leaves_nothing_wrong(
    world: World, locked: Locked, tmp_path: Path, where: str, fault: Hook, code: int
) -> None:
    hook = hostile_registry.only(where, fault)
    shared = ("--config", world.config_file, "--store", tmp_path / "store")
    world.upstream.hooks.append(hook)
    try:
        done = call("fetch", locked.path, *shared, code=code, env={"ISOBUILDER_RETRIES": "0"})
    finally:
        world.upstream.hooks.remove(hook)
    assert any("sha256:" in line for line in errors(done))
    assert hints(done) or code == 5
    blobs = [path for path in half_written(tmp_path / "store") if "blobs" in path]
    assert blobs == []
    call("fetch", locked.path, *shared)
    assert half_written(tmp_path / "store") == []
