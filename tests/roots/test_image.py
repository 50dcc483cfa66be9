"""The container image of ``make image``: what runs in it, and that it is the same again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder import __version__
from isobuilder.digest import Digest
from tools.release.image import ARCHIVE, buildah_in, context_of, debian, image, import_tree

pytestmark = [pytest.mark.roots, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[str], Path]]:
    """The words that call buildah, and the archive, which a second build has to give as well."""
    folder = tmp_path_factory.mktemp("image")
    context, tree = context_of(folder, "3.13"), debian(folder / "debian.tar")
    for name in ("first", "second"):
        with buildah_in(folder / name) as buildah:
            image(buildah, context, folder / name / ARCHIVE, import_tree(buildah, tree))
    with buildah_in(folder / "third") as buildah:
        yield buildah, folder


def run(made: tuple[list[str], Path], *words: str) -> str:
    """Run isobuilder as the image says it is run."""
    buildah, folder = made
    archive = folder / "first" / ARCHIVE
    name = "container-" + words[0].strip("-")
    subprocess.run([*buildah, "from", f"--name={name}", f"oci-archive:{archive}"], check=True)
    done = subprocess.run(
        [*buildah, "run", "--isolation=chroot", name, "--", "isobuilder", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_packages_give_the_same_image(made: tuple[list[str], Path]) -> None:
    first, second = (made[1] / name / ARCHIVE for name in ("first", "second"))
    assert Digest.of_file(first) == Digest.of_file(second)


def test_it_knows_its_version(made: tuple[list[str], Path]) -> None:
    assert run(made, "--version") == f"isobuilder, version {__version__}\n"


def test_doctor_finds_what_building_takes(made: tuple[list[str], Path]) -> None:
    told = {one["name"]: one for one in json.loads(run(made, "doctor", "--json"))["abilities"]}
    assert {"build", "trust", "s3", "fast"} <= {name for name, one in told.items() if one["here"]}


def test_it_builds_the_demo_as_nobody(made: tuple[list[str], Path]) -> None:
    assert "sha256:" in run(made, "demo", "--out", "/tmp/demo")


def test_it_says_how_it_is_run(made: tuple[list[str], Path]) -> None:
    buildah, folder = made
    name = f"oci-archive:{folder / 'second' / ARCHIVE}"
    subprocess.run([*buildah, "pull", "--quiet", name], check=True, stdout=subprocess.DEVNULL)
    command = [*buildah, "inspect", "--type=image", f"localhost/isobuilder:{__version__}"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    config = told["OCIv1"]["config"]
    assert (config["User"], config["Entrypoint"]) == ("65532:65532", ["isobuilder"])
    assert config["WorkingDir"] == "/var/lib/isobuilder"
    assert list(config["Volumes"]) == ["/var/lib/isobuilder"]
