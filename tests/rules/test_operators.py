"""What known operators start later is told, though no text names it."""

from __future__ import annotations

import pytest

from isobuilder.formats.manifests import read_manifest
from isobuilder.rules.operators import OPERATORS, Operator, later_images


def operator(image: str, more: str = "") -> str:
    return (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: o}\nspec:\n"
        "  template:\n    spec:\n"
        f"      containers:\n      - name: o\n        image: {image}\n{more}"
    )


def later(text: str) -> dict[str, str | None]:
    return {one.text: one.by for one in later_images(read_manifest(text.encode(), "m.yaml"))}


@pytest.mark.parametrize("known", OPERATORS, ids=lambda known: known.repository)
@pytest.mark.parametrize("registry", ["", "docker.io/", "mirror.example:5000/proxy/"])
def test_an_operator_that_is_told_nothing_starts_what_it_has_built_in(
    known: Operator, registry: str
) -> None:
    found = later(operator(f"{registry}{known.repository}:v1.2.3"))
    assert found == dict.fromkeys(known.starts, known.repository)


@pytest.mark.parametrize(
    "image",
    [
        "quay.io/metallb/controller:v0.15.2",
        "rancher/local-path-provisioner:v0.0.37",
        "registry.k8s.io/sig-storage/csi-provisioner:v6.1.0",
        "quay.io/other/longhorn-manager:v1",
        "{{ .Values.image }}",
    ],
)
def test_others_are_told_nothing_of(image: str) -> None:
    assert later(operator(f"'{image}'")) == {}


def test_what_an_operator_is_told_is_what_counts() -> None:
    solver = "quay.io/jetstack/cert-manager-acmesolver:v1.21.0"
    told = f"        args: ['--acme-http01-solver-image={solver}']\n"
    text = operator("quay.io/jetstack/cert-manager-controller:v1.21.0", told)
    assert later(text) == {solver: None}


def test_a_container_that_is_there_already_is_not_told_again() -> None:
    told = "      - {name: s, image: 'copy.example/jetstack/cert-manager-acmesolver:v1'}\n"
    assert later(operator("jetstack/cert-manager-controller:v1", told)) == {}


@pytest.mark.parametrize(
    ("spec", "text", "by"),
    [
        ("{version: v3.6.0}", "quay.io/prometheus/prometheus:v3.6.0", None),
        ("{tag: x, version: v3.6.0}", "quay.io/prometheus/prometheus:x", None),
        (
            f"{{sha: {'a' * 64}, version: v1}}",
            f"quay.io/prometheus/prometheus@sha256:{'a' * 64}",
            None,
        ),
        ("{baseImage: r.example/p, version: v1}", "r.example/p", None),
        ("{image: r.example/own:v2, version: v3}", "r.example/own:v2", None),
        (
            "{replicas: 2}",
            "quay.io/prometheus/prometheus",
            "prometheus-operator/prometheus-operator",
        ),
        (
            "",
            "quay.io/prometheus/prometheus",
            "prometheus-operator/prometheus-operator",
        ),
    ],
)
def test_a_resource_of_prometheus_operator_becomes_the_image_of_its_version(
    spec: str, text: str, by: str | None
) -> None:
    head = "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {name: k}\n"
    value = f"{head}spec: {spec}\n"
    assert later(value) == {text: by}
    assert later(value.replace("monitoring.coreos.com", "x.example")) == (
        {text: None} if "mage" in spec else {}
    )


def resource(api: str, kind: str, spec: str) -> str:
    return f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: k}}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("api", "kind", "spec", "found"),
    [
        (
            "elasticsearch.k8s.elastic.co/v1",
            "Elasticsearch",
            "{version: 9.2.1}",
            {"docker.elastic.co/elasticsearch/elasticsearch:9.2.1": None},
        ),
        (
            "kibana.k8s.elastic.co/v1",
            "Kibana",
            "{version: 9.2.1, image: 'r.example/kibana:1'}",
            {"r.example/kibana:1": None},
        ),
        (
            "operator.tigera.io/v1",
            "Whisker",
            "{}",
            dict.fromkeys(
                ("quay.io/calico/whisker", "quay.io/calico/whisker-backend"), "tigera/operator"
            ),
        ),
        (
            "postgresql.cnpg.io/v1",
            "Pooler",
            "{instances: 2}",
            {"ghcr.io/cloudnative-pg/pgbouncer": "cloudnative-pg/cloudnative-pg"},
        ),
        ("x.example/v1", "Elasticsearch", "{version: 9.2.1}", {}),
    ],
)
def test_a_resource_of_an_operator_becomes_the_images_that_it_stands_for(
    api: str, kind: str, spec: str, found: dict[str, str | None]
) -> None:
    assert later(resource(api, kind, spec)) == found


def test_calicos_own_way_of_installing_names_what_its_operator_starts() -> None:
    more = resource("operator.tigera.io/v1", "Installation", "{calicoNetwork: {}}")
    found = later(f"{operator('quay.io/tigera/operator:v1.38.6')}---\n{more}")
    assert len(found) == 8
    assert found["quay.io/calico/node"] == "tigera/operator"


def test_any_tag_and_any_copy_of_what_an_operator_starts_will_do() -> None:
    text = operator("quay.io/jetstack/cert-manager-controller:v1")
    (mention,) = later_images(read_manifest(text.encode(), "m.yaml"))
    for name in (
        "quay.io/jetstack/cert-manager-acmesolver:v1.21.0",
        f"mirror.example:5000/a/jetstack/cert-manager-acmesolver:v1@sha256:{'b' * 64}",
        f"quay.io/jetstack/cert-manager-acmesolver@sha256:{'b' * 64}",
    ):
        assert mention.is_among({"docker.io/library/a:1", name})
    assert not mention.is_among({"quay.io/jetstack/cert-manager-acmesolver-other:v1"})
    assert not mention.is_among({"quay.io/own-jetstack/cert-manager-acmesolver:v1"})
