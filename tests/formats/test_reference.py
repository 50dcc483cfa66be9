"""Names of images are read as Docker and containerd read them."""

from __future__ import annotations

import pytest

from isobuilder.formats.reference import ImageReference, lockable, moving_part, spelled_out

D = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full", "looked_up"),
    [
        ("nginx", "docker.io/library/nginx:latest", None),
        ("nginx:1.27", "docker.io/library/nginx:1.27", None),
        ("calico/node:v3.1", "docker.io/calico/node:v3.1", None),
        ("docker.io/nginx:1", "docker.io/library/nginx:1", None),
        ("index.docker.io/nginx:1", "docker.io/library/nginx:1", None),
        ("index.docker.io/a/b:1", "docker.io/a/b:1", None),
        ("localhost/a:1", "localhost/a:1", None),
        ("localhost:5000/a:1", "localhost:5000/a:1", None),
        ("registry:5000/a:1", "registry:5000/a:1", None),
        ("host:5000", "docker.io/library/host:5000", None),
        ("Registry/a:1", "Registry/a:1", None),
        ("[::1]:5000/a:1", "[::1]:5000/a:1", None),
        ("[fe80::1]/a:1", "[fe80::1]/a:1", None),
        ("quay.io/a:V1.B_2", "quay.io/a:V1.B_2", None),
        ("quay.io/a__b/c-d--e.f:1", "quay.io/a__b/c-d--e.f:1", None),
        (f"a@{D}", f"docker.io/library/a@{D}", f"docker.io/library/a@{D}"),
        (f"quay.io/a:1@{D}", f"quay.io/a:1@{D}", f"quay.io/a@{D}"),
        (f"a:latest@{D}", f"docker.io/library/a:latest@{D}", f"docker.io/library/a@{D}"),
        ("quay.io/" + "a" * 255 + ":1", "quay.io/" + "a" * 255 + ":1", None),
        ("quay.io/a:" + "x" * 128, "quay.io/a:" + "x" * 128, None),
    ],
)
def test_every_form_is_written_out(text: str, full: str, looked_up: str | None) -> None:
    reference = ImageReference.parse(text)
    assert str(reference) == full
    assert reference.looked_up == (looked_up or full)
    assert ImageReference.parse(full) == reference
    assert spelled_out(text) == spelled_out(full) == full


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "a b", " a:1", "a:1\n", "a:", ":1", "@", "a@", "/a", "a/", "a//b", "-a", "a-"),
        *("a___b", "a..b", "a/B:1", "A:1", "quay.io/A:1", "http://quay.io/a:1", "ko://a/b"),
        *("${R}/a:1", "{{ .Values.image }}", "{IMAGE}", "<image>", "!*:latest", "*", "a:1+b"),
        *("a@9.1.6", "a@sha256:abc", "a@sha256:" + "A" * 64, "a@sha512:" + "b" * 128, "a" * 64),
        *("a:" + "x" * 129, "quay.io/" + "a" * 256 + ":1", "[::1/a:1", "a:1@" + D + "@" + D),
    ],
)
def test_what_is_no_reference_is_refused_and_stands_for_itself(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ImageReference.parse(text)
    assert spelled_out(text) == text


@pytest.mark.parametrize("text", [f"a:latest@{D}", f"a@{D}", "a:1", "a:v1-main", "a:stable"])
def test_a_tag_that_stays_or_a_digest_can_be_locked(text: str) -> None:
    assert lockable(text) == ImageReference.parse(text)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("nginx", "no tag or digest"),
        ("latest", "no tag or digest"),
        ("registry:5000/a", "no tag or digest"),
        ("a:latest", "the tag 'latest' in 'a:latest' is a moving target"),
        ("a:LATEST", "moving target"),
        ("a:main", "moving target"),
        ("a:master", "moving target"),
        ("a:HEAD", "moving target"),
        ("a:canary", "moving target"),
        ("auto!", "not an image reference"),
    ],
)
def test_what_may_be_another_image_tomorrow_cannot_be_locked(text: str, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        lockable(text)


RAW, HUB = "raw.githubusercontent.com", "github.com"


@pytest.mark.parametrize(
    ("host", "path", "part"),
    [
        (RAW, "/x/y/refs/heads/release-1.20/a.yaml", "refs/heads/release-1.20"),
        (RAW, "/x/y/refs%2Fheads%2Fv1/a.yaml", "refs/heads/v1"),
        (RAW, "/projectcalico/calico/release-v3.30/manifests/calico.yaml", "release-v3.30"),
        (RAW, "/x/y/stable/a.yaml", "stable"),
        (RAW, "/x/y/1.9.x/a.yaml", "1.9.x"),
        (RAW, "/x/y/m%61in/a.yaml", "main"),
        (HUB, "/x/y/raw/refs/heads/stable/a.yaml", "refs/heads/stable"),
        (HUB, "/x/y/archive/refs/heads/dev.tar.gz", "refs/heads/dev.tar.gz"),
        (HUB, "/x/y/archive/dev.tar.gz", "dev"),
        (HUB, "/x/y/archive/release-1.20.zip", "release-1.20"),
        (HUB, "/x/y/raw/Develop/a.yaml", "develop"),
        (HUB, "/x/y/releases/download/nightly/a", "nightly"),
        (HUB, "/x/y/releases/latest/download/a", "latest"),
        ("codeload.github.com", "/x/y/tar.gz/trunk", "trunk"),
        ("gitlab.example", "/x/y/z/-/raw/release-1.2/a.yaml", "release-1.2"),
        ("gitlab.example", "/x/y/-/archive/edge/y-edge.tar.gz", "edge"),
        ("git.example", "/x/y/raw/branch/v1/a.yaml", "raw/branch/v1"),
        ("bitbucket.org", "/x/y/get/dev.zip", "dev"),
        ("cdn.jsdelivr.net", "/gh/x/y@canary/a.yaml", "canary"),
        ("a.example", "/refs/heads/v1/a", "refs/heads/v1"),
        ("a.example", "/LATEST/a", "latest"),
    ],
)
def test_what_moves_in_an_address_is_found(host: str, path: str, part: str) -> None:
    assert moving_part(host, path) == part


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (RAW, "/projectcalico/calico/v3.30.2/manifests/calico.yaml"),
        (RAW, "/x/y/refs/tags/release-1.20/a.yaml"),
        (RAW, "/x/y/release-1.20.3/a.yaml"),
        (RAW, "/x/edge/v1/config/stable/release-1.2/a.yaml"),
        (RAW, "/x/y/0123456789abcdef0123456789abcdef01234567/dev/a.yaml"),
        (RAW, "/x/y/gh-pages"),
        (HUB, "/trunk-rs/trunk/releases/download/v0.21.7/trunk.tar.gz"),
        (HUB, "/x/y/releases/download/release-1.20/a"),
        (HUB, "/x/y/archive/refs/tags/v1.2.tar.gz"),
        (HUB, "/x/y/archive/v1.2.tar.gz"),
        (HUB, "/x/y/raw"),
        ("gitlab.example", "/x/y/-/releases/v1/downloads/dev"),
        ("gitlab.example", "/x/y/-/raw"),
        ("a.example", "/-"),
        ("download.docker.com", "/linux/static/stable/x86_64/docker-27.5.1.tgz"),
        ("charts.helm.sh", "/stable"),
        ("dl.k8s.io", "/release/v1.34.12/bin/linux/amd64/kubeadm"),
        ("a.example", "/release-1.20/a"),
        ("a.example", "/dev/a"),
        ("cdn.jsdelivr.net", "/gh/x/y@v1.2/dev/a.yaml"),
        ("cdn.jsdelivr.net", "/npm"),
        ("a.example", ""),
        (HUB, "/"),
    ],
)
def test_what_stays_is_no_moving_part(host: str, path: str) -> None:
    assert moving_part(host, path) is None
