"""Our bills beside those of Syft, and what Grype finds in both."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isobuilder.digest import Digest
from isobuilder.trust.bill.depth import BlobSpan, deepened
from isobuilder.trust.bill.model import Bill, BillPart, Hash
from isobuilder.trust.bill.spdx import as_spdx
from tests.fakes.packages import INSTALLED
from tests.trust.bill.bills import bill_of
from tools.lab.archives import Entry
from tools.lab.golang import MODULES, Go, built
from tools.lab.images import Builder, Tagged, oci_archive, read_catalogue
from tools.lab.place import lab_dir, run

pytestmark = [pytest.mark.bills, pytest.mark.timeout(900)]

KINDS = {
    "go-module": "golang",
    "deb": "deb",
    "apk": "apk",
    "rpm": "rpm",
    "python": "pypi",
    "npm": "npm",
}
"""What Syft calls a kind -> how its package URLs begin."""

DATABASES = "github.com/anchore/go-rpmdb"  # a module that Syft is made of, with databases of RPM
OF_NO_MODULE = {"command-line-arguments", "cmd/go"}

Package = tuple[str, str, str]  # kind, name and version


@dataclass(frozen=True, slots=True)
class Images:
    """Images with their blobs."""

    blobs: Path
    images: Sequence[Tagged]

    def span(self, digest: Digest, /) -> BlobSpan | None:
        path = self.blobs / digest.hex
        return BlobSpan(path.open("rb"), 0, path.stat().st_size) if path.exists() else None

    def bill(self, images: Sequence[Tagged] | None = None) -> Bill:
        wanted = self.images if images is None else images
        return deepened(bill_of(*map(_part, wanted)), self)


def _part(image: Tagged) -> BillPart:
    name, _, version = image.reference.rpartition(":")
    digits = image.platform.digest.removeprefix("sha256:")
    hashes = (Hash(alg="SHA-256", content=digits),)
    ref = f"image:{image.reference}"
    return BillPart(type="container", bom_ref=ref, name=name, version=version, hashes=hashes)


@pytest.fixture(scope="module")
def scanners() -> Path:
    return built(lab_dir(), Go(lab_dir() / "go"), "scanners")


@pytest.fixture(scope="module")
def lab_images() -> Images:
    images = lab_dir() / "images"
    if not (lab_dir() / "ready").is_file():
        pytest.skip("run make lab first")
    return Images(images / "blobs", read_catalogue(images / "catalogue.json"))


@pytest.fixture(scope="module")
def systems(scanners: Path, tmp_path_factory: pytest.TempPathFactory) -> Images:
    """An image for each database of RPM that Syft's authors try, of Alpine, and of this machine."""
    words = ["go", "mod", "download", "-json", DATABASES]
    environment = Go(lab_dir() / "go").environment(network=True)
    module = json.loads(run(words, cwd=MODULES / "scanners", env=environment))
    release = Entry("etc/os-release", b'ID="centos"\nVERSION_ID="7"\n')
    made = {
        f"rpm-{database.parent.name}-{database.name}": [
            release,
            Entry(f"var/lib/rpm/{database.name}", database),
        ]
        for database in sorted(Path(module["Dir"]).glob("pkg/testdata/*/*"))
        if database.name in {"Packages", "Packages.db", "rpmdb.sqlite"}
    }
    assert len(made) > 10
    alpine = Entry("etc/os-release", b"ID=alpine\nVERSION_ID=3.20.1\n")
    made["alpine"] = [alpine, Entry("lib/apk/db/installed", INSTALLED)]
    made["here"] = [
        Entry(str(path).lstrip("/"), path)
        for path in _of_this_machine()
        if path.is_file() and not path.is_symlink()
    ]
    builder = Builder(tmp_path_factory.mktemp("systems") / "blobs")
    tagged = []
    for name, entries in made.items():
        manifest, blobs = builder.image([builder.layer(entries)], labels={})
        reference = f"example.org/{re.sub('[^a-z0-9]+', '-', name.lower())}:1"
        tagged.append(Tagged(reference, manifest, manifest, (manifest,), blobs))
    return Images(builder.blobs, tagged)


def _of_this_machine() -> Iterator[Path]:
    yield from map(Path, ("/usr/lib/os-release", "/var/lib/dpkg/status"))
    site = Path(pytest.__file__).parents[1]
    for folder, names in (
        (site, ("*.dist-info/*",)),
        (Path("/usr/lib/python3/dist-packages"), ("*.dist-info/*", "*.egg-info*", "*.egg-info/*")),
        (Path("/usr/lib/node_modules"), ("**/package.json",)),
        (Path("/usr/share/nodejs"), ("**/package.json",)),
    ):
        for name in names:
            yield from sorted(folder.glob(name))


def _environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "SYFT_CHECK_FOR_APP_UPDATE": "false",
        "GRYPE_CHECK_FOR_APP_UPDATE": "false",
        "GRYPE_DB_AUTO_UPDATE": "false",
        "GRYPE_DB_VALIDATE_AGE": "false",
        "GRYPE_DB_CACHE_DIR": str(home / "database"),
    }


def _run(home: Path, *words: str | Path, given: bytes = b"") -> bytes:
    done = subprocess.run(
        words,
        env=_environment(home),
        input=given,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout


def _syft(scanners: Path, images: Images, image: Tagged, folder: Path) -> Path:
    """Return Syft's report about an image, in its own form."""
    archive = oci_archive(image, images.blobs, folder / "image.tar")
    report = folder / "syft.json"
    _run(folder, scanners / "syft", "scan", "-q", f"oci-archive:{archive}", "-o", f"json={report}")
    archive.unlink()
    return report


def _of_syft(report: dict[str, Any]) -> set[Package]:
    """What Syft found of our kinds, but what the page says is told otherwise or is no package."""
    return {
        _as_one(KINDS[one["type"]], one["name"], one["version"])
        for one in report["artifacts"]
        if one["type"] in KINDS
        and one["name"] not in OF_NO_MODULE
        and one["foundBy"] != "elf-binary-package-cataloger"  # notes in programs, of no database
        and (one["type"], one["name"]) != ("rpm", "gpg-pubkey")
    }


def _of_ours(part: BillPart) -> set[Package]:
    return {
        _as_one(one.purl.removeprefix("pkg:").partition("/")[0], one.name, one.version or "")
        for one in part.inside
        if one.purl
    }


def _as_one(kind: str, name: str, version: str) -> Package:
    if kind == "pypi":
        name = re.sub("[-_.]+", "-", name).lower()
    if (kind, name) == ("golang", "stdlib"):
        version = version.removeprefix("go")
    return kind, name, "(devel)" if version == "UNKNOWN" else version


@pytest.mark.parametrize("which", ["lab_images", "systems"])
def test_nothing_that_syft_finds_is_missing(
    which: str, scanners: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    images: Images = request.getfixturevalue(which)
    bill = images.bill()
    assert not [part.name for part in bill.components if part.facts("not-read")]
    parts = {part.bom_ref: part for part in bill.images}
    seen: set[str] = set()
    missing = {}
    for image in images.images:
        theirs = _of_syft(json.loads(_syft(scanners, images, image, tmp_path).read_bytes()))
        ours = _of_ours(parts[f"image:{image.reference}"])
        seen |= {kind for kind, _, _ in theirs}
        if theirs - ours:
            missing[image.reference] = sorted(theirs - ours)
    assert missing == {}
    assert seen >= ({"golang"} if which == "lab_images" else {"deb", "apk", "rpm", "pypi"})


@pytest.mark.parametrize("form", ["cyclonedx", "spdx"])
def test_grype_finds_in_our_bill_what_it_finds_in_syfts(
    form: str, scanners: Path, lab_images: Images, systems: Images, tmp_path: Path
) -> None:
    """With vulnerabilities that are made up, in every second package of each kind."""
    write: Callable[[Bill], bytes] = Bill.to_bytes if form == "cyclonedx" else as_spdx
    named = {image.reference.rpartition("/")[2]: image for image in lab_images.images}
    chosen = [(lab_images, one) for name, one in named.items() if name.startswith("kube-")][:2]
    chosen += [(systems, image) for image in systems.images if "/here:" in image.reference]
    for images, image in chosen:
        report = _syft(scanners, images, image, tmp_path)
        found = sorted(_of_syft(json.loads(report.read_bytes())))
        _known(scanners, tmp_path, found[::2])
        ours = tmp_path / f"ours.{'cdx' if form == 'cyclonedx' else 'spdx'}.json"
        ours.write_bytes(write(images.bill([image])))
        theirs = _matches(scanners, tmp_path, report)
        assert len(theirs) > 5
        matches = _matches(scanners, tmp_path, ours)
        assert theirs <= matches
        assert {version for _, _, version in matches - theirs} <= {
            "(devel)"
        }  # Syft's UNKNOWN is passed over


def _known(scanners: Path, home: Path, packages: Sequence[Package]) -> None:
    """Give Grype a database in which each of these languages' packages is vulnerable."""
    ecosystems = {"golang": "go-module", "pypi": "python", "npm": "npm"}
    records = [
        {
            "id": f"GHSA-{number:04}-lab",
            "ecosystem": ecosystems[kind],
            "name": name,
            "constraint": ">=0",
        }
        for number, (kind, name, _) in enumerate(packages)
        if kind in ecosystems
    ]
    folder = home / f"known-{len(list(home.glob('known-*')))}"
    folder.mkdir()
    _run(home, scanners / "known", folder, given=json.dumps(records).encode())
    _run(home, scanners / "grype", "db", "import", folder / "vulnerability.db")


def _matches(scanners: Path, home: Path, bill: Path) -> set[tuple[str, ...]]:
    report = json.loads(_run(home, scanners / "grype", "-q", "-o", "json", f"sbom:{bill}"))
    return {
        (
            match["vulnerability"]["id"],
            re.sub("[-_.]+", "-", match["artifact"]["name"]).lower(),
            match["artifact"]["version"].removeprefix("go"),
        )
        for match in report["matches"]
    }
