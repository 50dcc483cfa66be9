"""The prepared lab: its upstream answers like the real one, its runtimes import its images."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.model.loading import load_recipe
from tools.lab import containerd2, golang, parts
from tools.lab.images import OCI, Tagged, oci_archive, read_catalogue
from tools.lab.kubernetes import CURRENT, PROGRAMS, RELEASES, prove
from tools.lab.place import HERE, lab_dir, run
from tools.lab.rebuild import RELEASED, Program
from tools.lab.upstream import Upstream, lab_upstream

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (lab_dir() / "ready").is_file(), reason="run make lab first"),
]


VERSION = CURRENT.version


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with lab_upstream() as running:
        yield running


def image_of(name: str) -> Tagged:
    catalogue = read_catalogue(_images() / "catalogue.json")
    return next(image for image in catalogue if f"/{name}:" in image.reference)


def _images() -> Path:
    return lab_dir() / "images"


def ask(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=headers)
    with opener.open(request, timeout=30) as answer:
        return answer.status, dict(answer.headers), answer.read()


def test_every_program_is_served_with_the_checksum_beside_it(upstream: Upstream) -> None:
    for program in PROGRAMS:
        url = f"{upstream.files}/dl.k8s.io/release/v{VERSION}/bin/linux/amd64/{program}"
        promised = ask(f"{url}.sha256")[2].decode()
        assert hashlib.sha256(ask(url)[2]).hexdigest() == promised


def test_the_file_server_speaks_of_ranges_and_etags(upstream: Upstream) -> None:
    url = f"{upstream.files}/dl.k8s.io/release/v{VERSION}/bin/linux/amd64/kubeadm"
    etag = ask(url, Range="bytes=0-3")[1]["ETag"]
    status, headers, body = ask(url, **{"Range": "bytes=1-3", "If-Range": etag})
    assert (status, body) == (206, b"ELF")
    assert headers["Content-Range"].startswith("bytes 1-3/")
    assert ask(url, **{"Range": "bytes=1-3", "If-Range": '"another"'})[0] == 200


def test_the_pause_tag_leads_to_an_index_with_three_entries(upstream: Upstream) -> None:
    url = f"{upstream.registry}/v2/registry.k8s.io/pause/manifests/3.10.2"
    _, headers, body = ask(url, Accept=OCI.index)
    assert headers["Docker-Content-Digest"] == f"sha256:{hashlib.sha256(body).hexdigest()}"
    platforms = [entry["platform"]["architecture"] for entry in json.loads(body)["manifests"]]
    assert platforms == ["arm64", "amd64", "unknown"]


def test_every_image_kubeadm_asks_for_is_in_the_registry(upstream: Upstream) -> None:
    kubeadm = lab_dir() / f"programs/kubernetes-{VERSION}/kubeadm"
    wanted = run([kubeadm, "config", "images", "list", f"--kubernetes-version=v{VERSION}"])
    accept = ", ".join(
        image.top.media_type for image in read_catalogue(_images() / "catalogue.json")
    )
    for reference in wanted.split():
        repository, tag = reference.rsplit(":", 1)
        status, _, _ = ask(f"{upstream.registry}/v2/{repository}/manifests/{tag}", Accept=accept)
        assert status == 200


@pytest.mark.parametrize("version", ["1.37.1", "1.37.2"])
def test_the_programs_know_their_version(version: str) -> None:
    prove(lab_dir() / f"programs/kubernetes-{version}", RELEASES[version])


@pytest.mark.parametrize("program", RELEASED, ids=str)
def test_programs_are_upstreams_own_bit_for_bit(program: Program) -> None:
    if golang.version() != CURRENT.compiler:
        pytest.skip(f"upstream used Go {CURRENT.compiler}, this is {golang.version()}")
    if program.name == "kubelet":
        pytest.skip("the lab's is compiled without C: make rebuild")
    suffix = "" if program.architecture == "amd64" else f"-{program.architecture}"
    folder = lab_dir() / f"programs/kubernetes-{CURRENT.version}{suffix}"
    if not folder.is_dir():
        pytest.skip(f"the lab has no {program.architecture}")
    assert hashlib.sha256((folder / program.name).read_bytes()).hexdigest() == program.digest


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
@pytest.mark.parametrize(
    ("image", "command", "expected"),
    [
        ("kube-apiserver", "/usr/local/bin/kube-apiserver --version", f"Kubernetes v{VERSION}"),
        ("kube-proxy", "/usr/local/bin/kube-proxy --version", f"Kubernetes v{VERSION}"),
        # A link to libxt_NAT.so; without it services fail and all else looks well.
        ("kube-proxy", "/usr/sbin/iptables -j MASQUERADE --help", "--random-fully"),
        ("kube-proxy", "/usr/sbin/ip6tables -m state --help", "--state"),
        ("kube-proxy", "/usr/sbin/ipset --version", "ipset v7"),
        ("kube-proxy", "/usr/sbin/conntrack --version", "conntrack v1"),
        ("etcd", "/usr/local/bin/etcd --version", f"etcd Version: {parts.ETCD}"),
        ("coredns", "/coredns -version", f"CoreDNS-{parts.COREDNS}"),
        ("kube-router", "/sbin/ip -V", "iproute2"),
        ("keepalived", "/usr/sbin/keepalived --version", f"Keepalived v{parts.KEEPALIVED}"),
    ],
)
def test_an_image_has_all_its_program_needs(
    image: str, command: str, expected: str, tmp_path: Path
) -> None:
    tagged = image_of(image)
    manifest = json.loads((_images() / "blobs" / tagged.platform.digest[7:]).read_bytes())
    for layer in manifest["layers"]:
        with tarfile.open(_images() / "blobs" / layer["digest"][7:]) as archive:
            archive.extractall(tmp_path, filter="tar")
    words = ["chroot", str(tmp_path), *command.split()]
    both = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert expected in both.stdout + both.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root")
@pytest.mark.parametrize("major", ["1", "2"])
def test_each_containerd_imports_an_image(major: str, tmp_path: Path) -> None:
    pause = image_of("pause")
    archive = oci_archive(pause, _images() / "blobs", tmp_path / "pause.tar")
    programs = containerd2.paths()[major]
    version = containerd2.prove(programs, major, archive, pause.reference)
    assert version.startswith(f"{major}.")


def test_the_recipes_ask_only_for_what_the_upstream_has() -> None:
    names = ["kubernetes-1.37.1", "kubernetes-1.37.1-csi", "kubernetes-1.37.1-virtual-ip"]
    names.append("kubernetes-1.37.2")
    if (lab_dir() / "programs/kubernetes-1.36.5").is_dir():
        names.append("kubernetes-1.36.5")
    for name in names:
        recipe = load_recipe(HERE / f"recipes/{name}.yaml", "amd64")
        urls = [file.url for file in recipe.files]
        urls += [manifest.source for manifest in recipe.manifests]
        sums = [file.checksum for file in recipe.files if file.checksum]
        urls += [text for text in sums if not text.startswith("sha256:")]
        for url in urls:
            assert (lab_dir() / "files" / url.removeprefix("https://")).is_file(), url
        tags = {image.reference for image in read_catalogue(_images() / "catalogue.json")}
        assert {component.image for component in recipe.components.values()} <= tags
        assert {*recipe.images.extra, *recipe.images.replace.values()} <= tags
