"""Images that manifests name outside the image fields of pods are found, and little else is."""

from __future__ import annotations

import base64
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
        ('data: {x.json: \'{"helper":{"image":"busybox"}}\'}', "busybox"),
        ('data: {x.json: \'{"p":"{\\"image\\":\\"busybox:1.36\\"}"}\'}', "busybox:1.36"),
        ('data: {x.sh: \'curl -d "{\\\\"image\\\\":\\\\"busybox\\\\"}"\'}', "busybox"),
        ('data: {x.log: \'then {"image":"alpine"}\'}', "alpine"),
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
        ("spec: {url: 'docker://alpine:3.19'}", "alpine:3.19"),
        ("spec: {url: 'docker://quay.io/containerdisks/fedora'}", "quay.io/containerdisks/fedora"),
        ("spec: {url: 'oci://ghcr.io/a/b:v1'}", "ghcr.io/a/b:v1"),
        (f"spec: {{url: 'oci://ghcr.io/a/b@{D}'}}", f"ghcr.io/a/b@{D}"),
        ("properties: {sidecarImage: {type: string, default: 'busybox:1.36'}}", "busybox:1.36"),
    ],
)
def test_what_looks_like_an_image_is_found(text: str, name: str) -> None:
    assert texts(text) == [name]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (
            "repository: nvcr.io/nvidia, image: driver, version: '550.90'",
            "nvcr.io/nvidia/driver:550.90",
        ),
        (f"repository: nvcr.io/nvidia, image: dcgm, version: '{D}'", f"nvcr.io/nvidia/dcgm@{D}"),
        ("repository: nvcr.io/nvidia, image: driver", "nvcr.io/nvidia/driver"),
        ("repository: x, image: 'q.io/a/b:v1', version: v2", "q.io/a/b:v1"),
        ("registry: ghcr.io, image: a/b, tag: v3", "ghcr.io/a/b:v3"),
        ("registry: ghcr.io/, image: a/b, version: v3", "ghcr.io/a/b:v3"),
        ("registry: ghcr.io, image: 'q.io/a/b', tag: v3", "q.io/a/b:v3"),
        (f"repository: q.io/r, digest: '{D}'", f"q.io/r@{D}"),
        (f"repository: q.io/r, tag: v1, sha: {'a' * 64}", f"q.io/r:v1@{D}"),
        ("registry: quay.io, name: cilium/x, tag: v1", "quay.io/cilium/x:v1"),
        ("name: quay.io/a/b, newTag: v3", "quay.io/a/b:v3"),
        ("name: a, newName: quay.io/a/b, newTag: v3", "quay.io/a/b:v3"),
        ("image: nginx, tag: '1.27'", "nginx:1.27"),
        (f"image: calico/node, digest: '{D}'", f"calico/node@{D}"),
        ("hub: docker.io/istio, image: proxyv2, tag: 1.29.0", "docker.io/istio/proxyv2:1.29.0"),
        ("hub: docker.io/istio, image: own/proxyv2, tag: 1.29.0", "own/proxyv2:1.29.0"),
        ("image: 'q.io/a/b:v1', version: v2", "q.io/a/b:v1"),
        ("repository: owner/code, image: summerwind/actions-runner", "summerwind/actions-runner"),
    ],
)
def test_an_image_in_parts_is_told_whole_and_once(fields: str, name: str) -> None:
    assert texts(f"spec: {{part: {{{fields}}}}}") == [name]


def test_the_hub_of_istios_values_counts_for_the_names_below_it() -> None:
    values = (
        '    {\n      "global": {\n        "hub": "docker.io/istio",\n        "proxy": {\n'
        '          "image": "proxyv2"\n        },\n        "tag": "1.29.0"\n      }\n    }\n'
    )
    text = f"kind: ConfigMap\ndata:\n  values: |-\n{values}"
    (mention,) = mentions(read_manifest(text.encode(), "m.yaml"))
    assert (mention.text, str(mention.mark)) == ("docker.io/istio/proxyv2:1.29.0", "m.yaml:8:1")


def test_the_variant_of_istios_images_is_a_part_of_the_tag() -> None:
    values = "{hub: docker.io/istio, tag: 1.29.0, variant: distroless, pilot: {image: pilot}}"
    assert texts(f"spec: {values}") == ["docker.io/istio/pilot:1.29.0-distroless"]


def test_the_version_of_a_chart_is_no_tag_of_its_repository() -> None:
    assert texts("dependencies: [{name: x, repository: bitnami/charts, version: 1.2.3}]") == []


def test_parts_in_a_text_of_yaml_are_put_together() -> None:
    text = "spec:\n  valuesContent: |\n    image:\n      repository: q.io/r\n      tag: v9\n"
    (mention,) = mentions(read_manifest(text.encode(), "m.yaml"))
    assert (mention.text, str(mention.mark)) == ("q.io/r:v9", "m.yaml:4:1")


@pytest.mark.parametrize(("kind", "key"), [("Secret", "data"), ("ConfigMap", "binaryData")])
def test_what_is_kept_in_base64_is_read(kind: str, key: str) -> None:
    pod = b"kind: Pod\nspec:\n  containers:\n  - image: quay.io/b/b:v1\n"
    text = f"kind: {kind}\n{key}:\n  pod.yaml: {base64.b64encode(pod).decode()}\n"
    text += f"  SIDE_IMAGE: {base64.b64encode(b'busybox:1').decode()}\n  other: '*'\n"
    text += f"  bytes: {base64.b64encode(bytes(range(256))).decode()}\n"
    assert found(text) == [
        (f"{key}.pod.yaml", "quay.io/b/b:v1"),
        (f"{key}.SIDE_IMAGE", "busybox:1"),
    ]


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
        "spec: {url: 'oci://ghcr.io/org/charts', version: 1.2.3}",
        "status: {containerRuntimeVersion: 'docker://20.10.7'}",
        "status: {containerID: 'docker://" + "a" * 64 + "'}",
        "spec: {name: app, version: v1, registry: quay.io}",
        "spec: {name: app, tag: v1}",
        "spec: {repository: 'https://git.example/a/b', tag: v1}",
        'data: {x.json: \'{"image":"logo.png","repository":"q.io/r"}\'}',
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
    [
        *("x.y/a:1 image=b:1\\n", "a", "a.b/c:", "image ", "image=", "a/", "--image", "a.b:1/c@"),
        *("[:", "docker://", '{"a":', "image:", '[{"image":"a"},', "tag: a\\nhub: b\\n"),
    ],
)
def test_long_texts_take_no_long_time(unit: str) -> None:
    text = unit * (400_000 // len(unit))
    started = time.process_time()
    texts(f"data: {{x: '{text}'}}")
    assert time.process_time() - started < 10
