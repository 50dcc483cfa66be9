"""Whose kubeadm is run while a lock is made, and whose never is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from isobuilder.demo.content import KUBERNETES, fill
from isobuilder.demo.programs import elf_stand_in
from isobuilder.demo.upstream import DemoUpstream
from isobuilder.digest import Digest
from isobuilder.errors import InputError
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.architecture import host_architecture
from isobuilder.model.config import Config
from isobuilder.model.lock import Lock
from isobuilder.model.recipe import Recipe
from isobuilder.rules.pairings import core_images
from isobuilder.sources.resolve import resolve
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from tests.fakes.hostile import FileServer

HERE = host_architecture() or "amd64"
ELSEWHERE = "arm64" if HERE == "amd64" else "amd64"
UNLISTED = "1.34.999"  # of which our table knows nothing
IMAGES = core_images(KubeVersion(KUBERNETES)) or ()


@pytest.fixture(scope="module")
def registry() -> Iterator[DemoUpstream]:
    with DemoUpstream() as upstream:
        fill(upstream)
        yield upstream


@pytest.fixture
def origin(secure: FileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> FileServer:
    """An upstream with a certificate that this machine trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    return secure


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file that is there once ``script`` was started."""
    return tmp_path / "started"


def script(trace: Path) -> bytes:
    lines = "".join(f"echo {image}\n" for image in IMAGES)
    return f"#!/bin/sh\necho was here > {trace}\n{lines}".encode()


def program(architecture: str = HERE) -> bytes:
    prints = "".join(f"{image}\n" for image in IMAGES)
    return elf_stand_in(UNLISTED, architecture, name="kubeadm", prints=prints)


def put(server: FileServer, content: bytes, architecture: str = HERE) -> str:
    """Serve a kubeadm and its checksum; return the address of the one."""
    address = server.add(f"{architecture}/kubeadm", content)
    server.add(f"{architecture}/kubeadm.sha256", Digest.of(content).hex.encode())
    return address


def recipe(url: str, checksum: str | None, version: str = UNLISTED) -> Recipe:
    file = {"name": "kubeadm", "path": "k8s/kubeadm", "url": url, "checksum": checksum}
    return Recipe.model_validate(
        {
            "schema": 1,
            "kubernetes": KubeVersion(version),
            "profile": "mold-cks",
            "architectures": ("amd64", "arm64"),
            "released": "2024-01-01",
            "files": (file,),
            "images": {"from": ("kubeadm",)},
        }
    )


def lock(
    asked: Recipe,
    registry: DemoUpstream,
    folder: Path,
    *,
    mirrors: Mapping[str, str] | None = None,
    architecture: str = HERE,
    previous: Lock | None = None,
) -> Lock:
    places = {"registry.k8s.io": registry.mirrors["registry.k8s.io"]}
    places |= {name: (mirror,) for name, mirror in (mirrors or {}).items()}
    config = Config(mirrors=places, retries=0, retry_budget=1.0)
    with open_session(config, Store(folder / "store")) as session:
        update = {"registry.k8s.io/pause"} if previous else ()
        return resolve(
            asked,
            architecture,
            session,
            folder=Path("nowhere"),
            stem="x",
            previous=previous,
            update=update,
        )


def names(made: Lock) -> set[str]:
    return {image.reference for image in made.images if image.core}


@pytest.mark.parametrize("by", ["http", "https", "file"])
def test_no_program_of_a_mirror_is_ever_started(
    by: str,
    origin: FileServer,
    files: FileServer,
    registry: DemoUpstream,
    tmp_path: Path,
    trace: Path,
) -> None:
    for server in (files, origin):
        put(server, script(trace))
    folder = tmp_path / "mirror" / HERE
    folder.mkdir(parents=True)
    (folder / "kubeadm").write_bytes(script(trace))
    (folder / "kubeadm.sha256").write_text(Digest.of(script(trace)).hex)
    mirror = {
        "http": files.url().rstrip("/"),
        "https": origin.url().rstrip("/"),
        "file": folder.parent.as_uri(),
    }[by]
    url = f"https://dl.k8s.io/{HERE}/kubeadm"
    for version in (KUBERNETES, UNLISTED):
        asked = recipe(url, f"{url}.sha256", version)
        if version == KUBERNETES:
            made = lock(asked, registry, tmp_path, mirrors={"https://dl.k8s.io": mirror})
            assert names(made) == set(IMAGES)
            assert made.core_from is None
        else:
            with pytest.raises(InputError, match="only a mirror vouches for kubeadm"):
                lock(asked, registry, tmp_path, mirrors={"https://dl.k8s.io": mirror})
    assert not trace.exists()


def test_no_program_without_a_checksum_is_started(
    origin: FileServer, registry: DemoUpstream, tmp_path: Path, trace: Path
) -> None:
    url = put(origin, script(trace))
    with pytest.raises(InputError, match="names no checksum of kubeadm, so it is not run"):
        lock(recipe(url, None), registry, tmp_path)
    assert not trace.exists()


def test_kubeadm_of_its_own_https_origin_is_asked_and_the_lock_says_so(
    origin: FileServer, registry: DemoUpstream, tmp_path: Path
) -> None:
    url = put(origin, program())
    made = lock(recipe(url, f"{url}.sha256"), registry, tmp_path)
    assert names(made) == set(IMAGES)
    assert made.core_from == "kubeadm"
    assert Lock.model_validate_json(made.to_bytes(), strict=False) == made


def test_a_mirror_may_bring_the_bytes_that_the_origin_or_the_recipe_vouches_for(
    origin: FileServer, files: FileServer, registry: DemoUpstream, tmp_path: Path
) -> None:
    put(files, program())
    mirrors = {"https://dl.k8s.io": files.url().rstrip("/")}
    url = f"https://dl.k8s.io/{HERE}/kubeadm"
    checksum = origin.add("sums", f"{Digest.of(program()).hex}  kubeadm\n".encode())
    for vouched in (checksum, str(Digest.of(program()))):
        made = lock(recipe(url, vouched), registry, tmp_path, mirrors=mirrors)
        assert names(made) == set(IMAGES)


def test_where_the_table_says_the_same_the_lock_is_the_same_whoever_was_asked(
    origin: FileServer, files: FileServer, registry: DemoUpstream, tmp_path: Path
) -> None:
    put(files, program())
    url = put(origin, program())
    asked = recipe(url, f"{url}.sha256", KUBERNETES)
    base = origin.url().rstrip("/")
    mirrored = lock(asked, registry, tmp_path, mirrors={base: files.url().rstrip("/")})
    assert lock(asked, registry, tmp_path).to_bytes() == mirrored.to_bytes()


def test_for_another_architecture_the_same_kubeadm_of_this_machine_is_asked(
    origin: FileServer, registry: DemoUpstream, tmp_path: Path
) -> None:
    url = put(origin, program(ELSEWHERE), ELSEWHERE)
    put(origin, program())
    made = lock(recipe(url, f"{url}.sha256"), registry, tmp_path, architecture=ELSEWHERE)
    assert names(made) == set(IMAGES)
    assert made.core_from == "kubeadm"


def test_for_another_architecture_a_mirror_is_not_asked_for_a_program_to_run(
    files: FileServer, registry: DemoUpstream, tmp_path: Path, trace: Path
) -> None:
    put(files, program(ELSEWHERE), ELSEWHERE)
    put(files, script(trace))
    url = f"https://dl.k8s.io/{ELSEWHERE}/kubeadm"
    mirrors = {"https://dl.k8s.io": files.url().rstrip("/")}
    with pytest.raises(InputError, match=f"kubeadm is for {ELSEWHERE}, this machine is not"):
        lock(
            *(recipe(url, f"{url}.sha256"), registry, tmp_path),
            mirrors=mirrors,
            architecture=ELSEWHERE,
        )
    assert not trace.exists()


def test_a_kubeadm_that_stays_locked_is_not_asked_again(
    origin: FileServer, registry: DemoUpstream, tmp_path: Path
) -> None:
    url = put(origin, program())
    asked = recipe(url, f"{url}.sha256")
    first = lock(asked, registry, tmp_path)
    base = origin.url().rstrip("/")
    again = lock(asked, registry, tmp_path, mirrors={base: "file:///nowhere"}, previous=first)
    assert again == first


@pytest.mark.parametrize(
    ("prints", "fact"),
    [
        ("", "kubeadm printed no images"),
        ("no image at all!\n", "something else than images"),
        ("x" * 70_000, "printed more than 65536 bytes"),
    ],
)
def test_what_is_no_list_of_images_is_no_answer(
    origin: FileServer, registry: DemoUpstream, tmp_path: Path, prints: str, fact: str
) -> None:
    url = put(origin, elf_stand_in(UNLISTED, HERE, name="kubeadm", prints=prints))
    with pytest.raises(InputError, match=fact):
        lock(recipe(url, f"{url}.sha256"), registry, tmp_path)
