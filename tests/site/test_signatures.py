"""The evidence of an ISO is there for clients of registries: as cosign's tags, and as referrers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.http.client import Http
from isobuilder.model.trust.claims import CLAIMS
from isobuilder.site.catalog import Catalog
from isobuilder.site.names import FULL_NAMES, targets_for
from isobuilder.site.push import push
from isobuilder.site.shelf import Shelf
from isobuilder.sources.pushing import RegistryWriter
from isobuilder.sources.registry_auth import Credentials
from isobuilder.trust.evidence import rekor
from isobuilder.trust.evidence.bundle import SignatureBundle, read_bundle, write_bundle
from tests.cli.calling import call
from tests.conftest import QUICK
from tests.fakes.debian_registry import docker_registry, installed
from tests.pipeline.signed import new_key, openssl
from tests.site.isos import ETCD, PAUSE, image, iso, signature
from tests.trust.cosigning import NO_ROOTS, cosigns, run

GOLDEN = Path(__file__).parents[1] / "trust" / "evidence" / "golden"
IMAGE = image(PAUSE, b"pause")
HOME, TAG = "registry.k8s.io/pause", f"{IMAGE.digest.replace(':', '-')}.sig"
TEXT = json.dumps({"critical": {"image": {"docker-manifest-digest": IMAGE.digest}}}).encode()
ARCHIVE = f"docker/{IMAGE.digest.hex}.tar"


def signed_text(version: int) -> SignatureBundle:
    """Return what a real log said, of another text: nothing here is judged."""
    bundle = read_bundle((GOLDEN / f"rekor-{version}.sigstore.json").read_bytes(), "golden")
    return replace(bundle, digest=Digest.of(TEXT))


STATEMENT = (GOLDEN / "npm-sigstore-2.0.0.sigstore.json").read_bytes()


def evidence(texts: Mapping[str, bytes], **changed: object) -> dict[str, bytes]:
    """Return the files of an ISO whose image is signed, each text named by its kind."""
    files = {}
    listed = []
    for number, (name, data) in enumerate(texts.items()):
        path = f"evidence/pause-{number}.{name}"
        files[path] = data
        kind = name.partition(".")[0]
        listed.append(
            {"kind": kind, "path": path, "sha256": Digest.of(data), "size": len(data)} | changed
        )
    claim = {
        "subject": PAUSE,
        "what": "images",
        "path": ARCHIVE,
        "sha256": IMAGE.digest,
        "url": PAUSE,
        "policy": "kubernetes",
        "status": "signed",
        "evidence": listed,
    }
    policy = {
        "images": {"identity": "x@example.org", "issuer": "https://issuer.example"},
        "of": ["registry.k8s.io/"],
    }
    document = {
        "schema": 1,
        "kubernetes": "1.37.1",
        "policies": {"kubernetes": policy},
        "claims": [claim],
    }
    return {**files, CLAIMS: json.dumps(document).encode()}


def opened(tmp_path: Path, files: Mapping[str, bytes]) -> Catalog:
    return Shelf([iso(tmp_path / "x.iso", [IMAGE], files=files)]).open()


def both() -> dict[str, bytes]:
    return evidence(
        {
            "bundle.1": write_bundle(signed_text(1)),
            "payload": TEXT,
            "bundle.2": write_bundle(signed_text(2)),
            "bundle.3": STATEMENT,
        }
    )


def test_signatures_of_a_text_are_cosigns_tag_and_say_what_the_evidence_says(
    tmp_path: Path,
) -> None:
    catalog = opened(tmp_path, both())
    assert catalog.warnings == ()
    found = catalog.repositories[HOME].find(TAG)
    assert found is not None
    assert set(found.blobs) == {Digest.of(TEXT)}
    layers = found.document.layers
    assert [layer.digest for layer in layers] == [Digest.of(TEXT)] * 2
    for version, layer in zip((1, 2), layers, strict=True):
        noted, _ = rekor.noted(layer.annotations, TEXT, "tag")
        kept = signed_text(version)
        assert noted.certificate == kept.certificate
        assert noted.signature == kept.signature
        assert noted.digest == Digest.of(TEXT)
        assert noted.stamps == kept.stamps[:1]
        # A log of version 2 promises nothing, which is what there is room for in a note.
        promised = [replace(entry, proof=None) for entry in kept.entries if entry.promise]
        assert list(noted.entries) == promised


def test_a_signed_statement_is_a_bundle_that_refers_to_the_image(tmp_path: Path) -> None:
    repository = opened(tmp_path, both()).repositories[HOME]
    (entry,) = json.loads(repository.referrers(IMAGE.digest).data)["manifests"]
    assert entry["artifactType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    found = repository.find(entry["digest"])
    assert found is not None
    assert found.document.subject == IMAGE.digest
    (part,) = found.blobs.values()
    with part.path.open("rb") as file:
        file.seek(part.start)
        assert file.read(part.size) == STATEMENT


def test_what_signs_an_index_is_about_nothing_that_is_here(tmp_path: Path) -> None:
    files = evidence(
        {"bundle": write_bundle(signed_text(1)), "payload": TEXT, "index": b'{"manifests": []}'}
    )
    catalog = opened(tmp_path, files)
    assert catalog.repositories[HOME].find(TAG) is None
    assert catalog.warnings == ()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (evidence({"bundle": STATEMENT}, sha256=Digest.of(b"other")), "its content is"),
        (evidence({"bundle": b"{}"}), "bundle"),
        (evidence({"bundle": STATEMENT}, path="evidence/gone.sigstore.json"), "missing"),
        ({CLAIMS: b"{"}, "claims.json"),
        ({CLAIMS: b'{"schema": 9}'}, "claims.json"),
    ],
)
def test_evidence_that_is_none_is_told_and_the_images_are_served(
    files: dict[str, bytes], told: str, tmp_path: Path
) -> None:
    catalog = opened(tmp_path, files)
    (warning,) = catalog.warnings
    assert warning.startswith("x.iso: evidence: ")
    assert told in warning
    assert catalog.repositories[HOME].find("3.10") is not None
    assert catalog.repositories[HOME].find(TAG) is None


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    if not installed():
        pytest.skip("needs docker-registry")
    (tmp_path / "registry").mkdir()
    with docker_registry(tmp_path / "registry", login=False) as url:
        yield url


def test_a_real_registry_keeps_them_all(tmp_path: Path, registry: str) -> None:
    catalog = opened(tmp_path, both())
    with Http(QUICK, netrc=False) as http:
        writer = RegistryWriter(registry, http, Credentials(()))
        report = push(writer, targets_for(catalog.repositories.values(), FULL_NAMES))
        assert report.refused == []
        kept = writer.manifest(HOME, TAG)
        ours = catalog.repositories[HOME].find(TAG)
        assert kept is not None
        assert ours is not None
        assert kept.data == ours.data
        again = push(writer, targets_for(catalog.repositories.values(), FULL_NAMES))
        assert again.blobs_sent == again.manifests_sent == 0


def test_cosign_finds_a_key_s_signature_good_at_the_registry_that_was_filled(
    tmp_path: Path, registry: str
) -> None:
    programs = cosigns()
    if not programs:
        pytest.skip("no cosign on this machine; make test-sigstore builds one")
    key, other = new_key(tmp_path, "ours"), new_key(tmp_path, "another")
    words: list[str | Path] = ["dgst", "-sha256", "-sign", key]
    signed = signature(IMAGE, lambda text: openssl(*words, stdin=text))
    path = iso(tmp_path / "x.iso", [IMAGE, signed], [image(ETCD)])
    told = call("site", "push", path, "--registry", f"{registry}/team", "--json").stdout
    assert json.loads(told)["refused"] == []
    name = f"{registry.partition('://')[2]}/team/{HOME}"
    none = tmp_path / "root.json"
    none.write_text(NO_ROOTS)
    for public, reference, good in (
        (key, f"{name}:3.10", True),
        (key, f"{name}@{IMAGE.digest}", True),
        (other, f"{name}:3.10", False),
        (key, f"{name.removesuffix('pause')}etcd:3.6.5-0", False),  # which nobody signed
    ):
        done = run(
            *(programs[0], tmp_path, "verify", "--key", public.with_suffix(".pub")),
            *("--insecure-ignore-tlog", "--trusted-root", none),
            *("--allow-http-registry", "--allow-insecure-registry", reference),
        )
        assert (done.returncode == 0) == good, done.stderr
