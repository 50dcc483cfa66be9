"""Names of images are read as Docker and containerd read them."""

from __future__ import annotations

import pytest

from isobuilder.formats.reference import ImageReference, lockable, spelled_out

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
        ("auto!", "not an image reference"),
    ],
)
def test_what_may_be_another_image_tomorrow_cannot_be_locked(text: str, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        lockable(text)
