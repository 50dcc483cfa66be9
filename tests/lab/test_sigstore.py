"""A real Sigstore signs what is locked; years later, with everything stopped, the ISO proves it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from isobuilder.demo.content import fill, write_recipes
from isobuilder.formats.reference import ImageReference
from isobuilder.http.client import Http
from isobuilder.model.config import Config
from isobuilder.pipeline.build import Built, build
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.site.names import FULL_NAMES, targets_for
from isobuilder.site.push import push
from isobuilder.site.shelf import Shelf
from isobuilder.sources.pushing import RegistryWriter
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.session import open_session
from isobuilder.store import Store
from isobuilder.trust.evidence.bundle import read_bundle
from tests.conftest import QUICK
from tests.fakes.debian_registry import docker_registry
from tests.fakes.upstream import FakeUpstream
from tests.site.serving import served
from tools.lab.sigstore import RealSigstore, prepare, running

pytestmark = [pytest.mark.sigstore, pytest.mark.timeout(900)]

FILES, IMAGES = "files@example.org", "images@example.org"
PROGRAMS = ("kubeadm", "kubelet", "kubectl")


@dataclass(frozen=True)
class Signed:
    """The ISO of a recipe whose programs and images a real Sigstore signed."""

    built: Built
    root: Path
    policies: Path


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    folder = tmp_path_factory.mktemp("sigstore")
    programs, schema = prepare()
    with FakeUpstream() as upstream, running(programs, folder, schema) as sigstore:
        fill(upstream)
        recipe = _recipe(folder)
        policies = _policies(folder, sigstore)
        config = Config(
            mirrors=upstream.mirrors,
            retries=1,
            retry_budget=2.0,
            policies=str(policies),
            trusted_root=str(sigstore.root),
        )
        mild = _policies(folder, sigstore, level="wanted")
        loose = config.model_copy(update={"policies": str(mild)})
        store = Store(folder / "store")
        with open_session(loose, store) as session:
            bare = lock_recipe(recipe, "amd64", session, output=folder / "bare.lock.json").lock
        for number, file in enumerate(one for one in bare.files if one.name in PROGRAMS):
            blob = store.find(file.sha256)
            assert blob is not None
            _sign_file(sigstore, upstream, file.url, Path(str(blob.place)), number)
        for image in bare.images:
            if image.reference.startswith("registry.k8s.io/"):
                _sign_image(sigstore, upstream, image.parsed.with_digest(image.digest))
        with open_session(config, store) as session:
            lock = lock_recipe(recipe, "amd64", session, trust=True).lock
            built = build(lock, folder / "dist", session)
    return Signed(built, sigstore.root, policies)


def _recipe(folder: Path) -> Path:
    plain, _ = write_recipes(folder)
    text = plain.read_text()
    for name in PROGRAMS:
        path = f"    path: k8s/{name}\n"
        text = text.replace(path, f"{path}    signature: kubernetes\n")
    plain.write_text(text)
    return plain


def _policies(folder: Path, sigstore: RealSigstore, *, level: str = "needed") -> Path:
    def who(mail: str) -> dict[str, str]:
        return {"identity": mail, "issuer": sigstore.issuer.url}

    policy = {
        "files": who(FILES),
        "paths": [f"k8s/{name}" for name in PROGRAMS],
        "images": who(IMAGES),
        "of": ["registry.k8s.io/"],
        "level": level,
    }
    path = folder / f"{level}.yaml"
    path.write_text(json.dumps({"schema": 1, "policies": {"kubernetes": policy}}))
    return path


def _sign_file(
    sigstore: RealSigstore, upstream: FakeUpstream, url: str, blob: Path, number: int
) -> None:
    """Sign as Kubernetes' releases are: what is published is the pair, without the log's entry."""
    bundle = sigstore.folder / f"file-{number}.sigstore.json"
    sigstore.cosign("sign-blob", *sigstore.options(FILES), f"--bundle={bundle}", blob)
    read = read_bundle(bundle.read_bytes(), str(bundle))
    assert read.certificate is not None
    pem = base64.encodebytes(read.certificate).decode()
    text = f"-----BEGIN CERTIFICATE-----\n{pem}-----END CERTIFICATE-----\n".encode()
    path = url.removeprefix("https:/")
    upstream.put_file(f"{path}.sig", base64.b64encode(read.signed_with))
    upstream.put_file(f"{path}.cert", base64.b64encode(text))


def _sign_image(sigstore: RealSigstore, upstream: FakeUpstream, image: ImageReference) -> None:
    place = upstream.url.partition("://")[2]
    name = f"{place}/{image.name}@{image.digest}"
    insecure = ("--allow-http-registry", "--allow-insecure-registry")
    sigstore.cosign("sign", *sigstore.options(IMAGES, version=2), *insecure, name)


def test_cosign_proves_the_images_of_a_registry_that_was_filled_from_the_iso(
    signed: Signed, tmp_path: Path
) -> None:
    """What the site has of signatures is what its clients find, by pushing and by serving."""
    issuer = json.loads(signed.policies.read_text())["policies"]["kubernetes"]["images"]["issuer"]
    programs, _ = prepare()
    iso = signed.built.iso
    repositories = Shelf([iso]).open().repositories
    pause = repositories["registry.k8s.io/pause"]
    (tag,) = (one for one in pause.tags if not one.startswith("sha256-"))
    with (
        docker_registry(tmp_path, login=False) as registry,
        served(iso, cwd=tmp_path) as (site, _),
        Http(QUICK, netrc=False) as http,
    ):
        writer = RegistryWriter(registry, http, Credentials(()))
        assert push(writer, targets_for(repositories.values(), FULL_NAMES)).refused == []
        for place in (registry, site):
            name = f"{place.partition('://')[2]}/{pause.name}:{tag}"
            for mail, good in ((IMAGES, True), (FILES, False)):
                done = subprocess.run(
                    [
                        *(programs / "cosign", "verify", "--trusted-root", signed.root),
                        *("--certificate-identity", mail, "--certificate-oidc-issuer", issuer),
                        *("--allow-http-registry", "--allow-insecure-registry", name),
                    ],
                    env={"HOME": str(tmp_path), "PATH": "/usr/bin"},
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=120,
                )
                assert (done.returncode == 0) == good, done.stderr


def verified(signed: Signed, *more: str, clock: str = "+400d") -> dict[str, object]:
    iso, root, policies = map(str, (signed.built.iso, signed.root, signed.policies))
    command = [sys.executable, "-m", "isobuilder", "verify", iso, "--trust", "--json"]
    options = ["--trusted-root", root, "--policies", policies, *more]
    done = subprocess.run(
        ["faketime", "-f", clock, *command, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found | {"code": done.returncode}


def test_with_all_servers_stopped_and_the_clock_a_year_ahead_the_iso_proves_its_signatures(
    signed: Signed,
) -> None:
    found = verified(signed)
    assert found["findings"] == []
    assert found["code"] == 0
    lines = found["signatures"]
    assert isinstance(lines, list)
    by = {line["path"]: line for line in lines}
    for name in PROGRAMS:
        assert by[f"k8s/{name}"]["by"] == FILES
        assert "log proof of" in by[f"k8s/{name}"]["evidence"]
    images = [line for path, line in by.items() if path.startswith("docker/")]
    assert len(images) > 5
    assert all(line["by"] == IMAGES for line in images)
    assert all("timestamp" in line["evidence"] for line in images)


def test_cosign_proves_what_lies_on_the_iso(signed: Signed, tmp_path: Path) -> None:
    from isobuilder.iso.read.reader import IsoReader

    with IsoReader(signed.built.iso) as reader:
        for path in ("k8s/kubeadm", "evidence/kubeadm.sigstore.json"):
            with reader.open(path) as file:
                (tmp_path / path.rpartition("/")[2]).write_bytes(file.read())
    policies = json.loads(signed.policies.read_text())["policies"]["kubernetes"]
    programs, _ = prepare()
    done = subprocess.run(
        [
            *(programs / "cosign", "verify-blob", "--bundle", "kubeadm.sigstore.json"),
            *("--trusted-root", signed.root, "--certificate-identity", FILES),
            *("--certificate-oidc-issuer", policies["files"]["issuer"], "kubeadm"),
        ],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
