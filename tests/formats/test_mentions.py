"""Images that manifests name outside the image fields of pods are found, and little else is."""

from __future__ import annotations

import time

import pytest

from isobuilder.formats.manifests import read_manifest
from isobuilder.formats.mentions import mentions

D = "sha256:" + "a" * 64


def found(text: str) -> list[tuple[str, str]]:
    manifest = read_manifest(text.encode(), "m.yaml")
    return [(mention.path, mention.text) for mention in mentions(manifest)]


def texts(text: str) -> list[str]:
    return [name for _, name in found(text)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('args: ["--solver-image=quay.io/jetstack/solver:v1"]', "quay.io/jetstack/solver:v1"),
        ('args: ["--reloader=extra.example/reloader:1"]', "extra.example/reloader:1"),
        ('args: [--engine-image, "longhornio/engine:v1.2"]', "longhornio/engine:v1.2"),
        ('command: ["/bin/x", "-image", busybox]', "busybox"),
        ('args: ["--image busybox:1"]', "busybox:1"),
        ("env: [{name: RELATED_IMAGE_AGENT, value: extra.example/agent}]", "extra.example/agent"),
        ("env: [{name: CSI_IMAGE, value: 'short/b:2'}]", "short/b:2"),
        ("data: {ROOK_CSI_CEPH_IMAGE: 'quay.io/cephcsi/cephcsi:v3'}", "quay.io/cephcsi/cephcsi:v3"),
        ('data: {x.json: \'{"helper":{"image":"busybox"}}\'}', None),
        ('data: {x.json: \'{"image": "quay.io/a/b:1"}\'}', "quay.io/a/b:1"),
        ("spec: {image: 'extra.example/thing:1'}", "extra.example/thing:1"),
        ("spec: {version: {image: 'extra.example/thing'}}", "extra.example/thing"),
        ("spec: {sidecarImage: nginx}", "nginx"),
        ("spec: {images: ['two:2']}", "two:2"),
        ("spec: {containerDisk: {image: 'quay.io/c/fedora:40'}}", "quay.io/c/fedora:40"),
        ("spec: {agent: {repository: q.io/r, tag: v9}}", "q.io/r:v9"),
        ("spec: {image: {registry: reg.io, repository: n/m, tag: v1}}", "reg.io/n/m:v1"),
        (f"spec: {{other: 'localhost:5000/a@{D}'}}", f"localhost:5000/a@{D}"),
        ("metadata: {annotations: {last: 'see quay.io/a/b:1.'}}", "quay.io/a/b:1"),
        ("x: [{containers: [{image: {repository: q.io/r, tag: '1'}}]}]", "q.io/r:1"),
    ],
)
def test_what_looks_like_an_image_is_found(text: str, name: str | None) -> None:
    assert texts(text) == ([] if name is None else [name])


@pytest.mark.parametrize(
    "text",
    [
        "spec: {containers: [{image: 'quay.io/a/b:1', name: c}]}",
        "spec: {volumes: [{image: {reference: 'quay.io/a/b:1'}}]}",
        "spec: {imagePullPolicy: Always, pullImage: true, imageTag: v1, image: auto}",
        "spec: {imagePullSecrets: [{name: registry-login}]}",
        "env: [{name: IMAGE_TAG, value: v1}, {name: IMAGE_PULL_POLICY, value: Always}]",
        "args: ['--listen=10.0.0.1:2379', '--url=https://quay.io/a/b:1', '--v=2']",
        "args: ['--pod-cidr=10.0.0.0/16', 'app.kubernetes.io/name: x', 'http://a.b/c:1']",
        "properties: {image: {type: string, description: 'such as quay.io/a/b:v1'}}",
        "data: {x: 'an image for people, image: {{ .Values.image }} and image=$(IMG)'}",
        "data: {x: 'apiVersion: apps.example.com/v1'}",
        "rules: [{apiGroups: [image.openshift.io], resources: [images]}]",
        "# image: quay.io/comment/only:1\na: b",
    ],
)
def test_what_looks_like_none_is_left_alone(text: str) -> None:
    assert texts(text) == []


def test_a_pod_in_a_text_is_found_with_its_line() -> None:
    text = (
        "data:\n  a: b\n  helperPod.yaml: |-\n    kind: Pod\n    spec:\n      containers:\n"
        "      - name: helper\n        image: busybox\n      - image: 'quay.io/a/b:1'\n"
    )
    (first, second) = mentions(read_manifest(text.encode(), "m.yaml"))
    assert (str(first.mark), first.text) == ("m.yaml:8:1", "busybox")
    assert (str(second.mark), second.text) == ("m.yaml:9:1", "quay.io/a/b:1")
    assert first.looked_up == "docker.io/library/busybox:latest"


def test_one_image_is_told_once_in_whatever_spelling() -> None:
    assert texts("a: {image: 'nginx:1'}\nb: {image: 'docker.io/library/nginx:1'}") == ["nginx:1"]


@pytest.mark.parametrize(
    "unit",
    ["x.y/a:1 image=b:1\\n", "a", "a.b/c:", "image ", "image=", "a/", "--image", "a.b:1/c@", "[:"],
)
def test_long_texts_take_no_long_time(unit: str) -> None:
    text = unit * (400_000 // len(unit))
    started = time.process_time()
    texts(f"data: {{x: '{text}'}}")
    assert time.process_time() - started < 10
