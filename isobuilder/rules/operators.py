"""Images that known operators start later, beside those that their manifests name.

An operator has names built in: what it is not told, it starts by its own defaults. Which tag those
have is known to its release alone, so only the repository is told here, and any tag of it will do.

Sources, as of 2026-11-28: Longhorn ``deploy/longhorn.yaml`` and ``longhorn-images.txt``; Rook
``deploy/examples/operator.yaml`` and ``images.txt``; cert-manager ``--acme-http01-solver-image``;
prometheus-operator ``pkg/operator/defaults.go`` and ``image.go``; tigera-operator
``pkg/components/calico.go`` and docs.tigera.io, "Configure use of your image registry" (before
Calico 3.30 the registry was docker.io); ECK ``pkg/controller/common/container/container.go``;
CloudNativePG ``pkg/versions/versions.go``; KubeVirt ``pkg/virt-operator/util/config.go``. MetalLB,
the provisioner of local paths, CDI and the CSI drivers of Kubernetes name in their manifests
whatever they start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from isobuilder.formats.manifests import Manifest, Object, Place, at
from isobuilder.formats.mentions import Mention, mentions
from isobuilder.formats.reference import ImageReference


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: its own image, and those that it starts without being told."""

    repository: str  # without the registry, which a copy of it has another of
    starts: tuple[str, ...]  # repositories with the registry that its project uses


_SIDECARS = tuple(
    f"registry.k8s.io/sig-storage/{name}"
    for name in (
        "csi-attacher",
        "csi-node-driver-registrar",
        "csi-provisioner",
        "csi-resizer",
        "csi-snapshotter",
    )
)
_LONGHORN = tuple(
    f"docker.io/longhornio/{name}"
    for name in (
        "backing-image-manager",
        "csi-attacher",
        "csi-node-driver-registrar",
        "csi-provisioner",
        "csi-resizer",
        "csi-snapshotter",
        "livenessprobe",
        "longhorn-engine",
        "longhorn-instance-manager",
        "longhorn-share-manager",
    )
)
_CALICO = tuple(
    f"quay.io/calico/{name}"
    for name in (
        "apiserver",
        "cni",
        "csi",
        "kube-controllers",
        "node",
        "node-driver-registrar",
        "pod2daemon-flexvol",
        "typha",
    )
)
_KUBEVIRT = tuple(
    f"quay.io/kubevirt/{name}"
    for name in ("virt-api", "virt-controller", "virt-handler", "virt-launcher")
)
_PROMETHEUS, _ALERTMANAGER = "quay.io/prometheus/prometheus", "quay.io/prometheus/alertmanager"

OPERATORS = (
    Operator("longhornio/longhorn-manager", _LONGHORN),
    Operator("rook/ceph", ("quay.io/ceph/ceph", "quay.io/cephcsi/cephcsi", *_SIDECARS)),
    Operator("jetstack/cert-manager-controller", ("quay.io/jetstack/cert-manager-acmesolver",)),
    Operator(
        "prometheus-operator/prometheus-operator",
        (
            "quay.io/prometheus-operator/prometheus-config-reloader",
            _PROMETHEUS,
            _ALERTMANAGER,
        ),
    ),
    Operator("tigera/operator", _CALICO),
    Operator("cloudnative-pg/cloudnative-pg", ("ghcr.io/cloudnative-pg/postgresql",)),
    Operator("kubevirt/virt-operator", _KUBEVIRT),
)


@dataclass(frozen=True, slots=True)
class _Started:
    """What an operator starts for resources of one kind that name no image."""

    by: str
    repositories: tuple[str, ...]
    versioned: bool = True  # whether the resource's own version is the tag


def _elastic(repository: str) -> _Started:
    return _Started("eck/eck-operator", (f"docker.elastic.co/{repository}",))


_MONITORING = "prometheus-operator/prometheus-operator"
_RESOURCES: Mapping[tuple[str, str], _Started] = {
    ("monitoring.coreos.com", "Alertmanager"): _Started(_MONITORING, (_ALERTMANAGER,)),
    ("monitoring.coreos.com", "Prometheus"): _Started(_MONITORING, (_PROMETHEUS,)),
    ("monitoring.coreos.com", "PrometheusAgent"): _Started(_MONITORING, (_PROMETHEUS,)),
    ("monitoring.coreos.com", "ThanosRuler"): _Started(_MONITORING, ("quay.io/thanos/thanos",)),
    ("operator.tigera.io", "Goldmane"): _Started(
        "tigera/operator", ("quay.io/calico/goldmane",), versioned=False
    ),
    ("operator.tigera.io", "Whisker"): _Started(
        "tigera/operator",
        ("quay.io/calico/whisker", "quay.io/calico/whisker-backend"),
        versioned=False,
    ),
    ("agent.k8s.elastic.co", "Agent"): _elastic("beats/elastic-agent"),
    ("apm.k8s.elastic.co", "ApmServer"): _elastic("apm/apm-server"),
    ("elasticsearch.k8s.elastic.co", "Elasticsearch"): _elastic("elasticsearch/elasticsearch"),
    ("enterprisesearch.k8s.elastic.co", "EnterpriseSearch"): _elastic(
        "enterprise-search/enterprise-search"
    ),
    ("kibana.k8s.elastic.co", "Kibana"): _elastic("kibana/kibana"),
    ("logstash.k8s.elastic.co", "Logstash"): _elastic("logstash/logstash"),
    ("maps.k8s.elastic.co", "ElasticMapsServer"): _elastic(
        "elastic-maps-service/elastic-maps-server"
    ),
    ("postgresql.cnpg.io", "Pooler"): _Started(
        "cloudnative-pg/cloudnative-pg", ("ghcr.io/cloudnative-pg/pgbouncer",), versioned=False
    ),
}


def later_images(manifest: Manifest) -> tuple[Mention, ...]:
    """Return the images that a manifest names outside pods, and those its operators start besides.

    Raises:
        InputErrors: as ``Manifest.objects``.
    """
    named = {mention.name: mention for mention in mentions(manifest)}
    for value in manifest.objects:
        for mention in _resource(value, manifest):
            named.setdefault(mention.name, mention)
    for place in manifest.places:
        known = [*named.values(), *(Mention("", p.use.mark, p.use.image) for p in manifest.places)]
        for mention in _started(place):
            if not mention.is_among({other.name for other in known if other.is_reference}):
                named[mention.name] = mention
    return tuple(named.values())


def _started(place: Place) -> Iterator[Mention]:
    try:
        own = ImageReference.parse(place.use.image)
    except ValueError:
        return
    for operator in OPERATORS:
        if f"/{own.name}".endswith(f"/{operator.repository}"):
            for repository in operator.starts:
                yield Mention(place.use.path, place.use.mark, repository, by=operator.repository)


def _resource(value: Object, manifest: Manifest) -> Iterator[Mention]:
    """Return the images of a resource that says at most which version it wants."""
    group = str(value.get("apiVersion")).partition("/")[0]
    started = _RESOURCES.get((group, str(value.get("kind"))))
    spec = value.get("spec")
    if started is None or at(spec, "image") or at(spec, "baseImage"):
        return  # what is named is found as a text
    sha, tag = at(spec, "sha"), at(spec, "tag") or at(spec, "version")
    told = started.versioned and bool(sha or tag)
    where = f"{value['kind']} {at(value, 'metadata', 'name')}"
    mark = manifest.mark(manifest.documents[0].root)
    for repository in started.repositories:
        text = repository
        if told:
            text = f"{repository}@sha256:{sha}" if sha else f"{repository}:{tag}"
        mention = Mention(where, mark, text, by=None if told else started.by)
        if mention.is_reference:
            yield mention
