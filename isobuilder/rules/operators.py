"""Images that known operators start later, beside those that their manifests name.

An operator has names built in: what it is not told, it starts by its own defaults. Which tag those
have is known to its release alone, so only the repository is told here, and any tag of it will do.

Sources, as of 2026-11-28: Longhorn ``deploy/longhorn.yaml`` and ``longhorn-images.txt``; Rook
``deploy/examples/operator.yaml`` and ``images.txt``; cert-manager ``--acme-http01-solver-image``;
prometheus-operator ``pkg/operator/defaults.go`` and ``image.go``. MetalLB, the provisioner of local
paths and the CSI drivers of Kubernetes name in their manifests whatever they start.
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
)

_MONITORING: Mapping[str, str] = {
    "Alertmanager": _ALERTMANAGER,
    "Prometheus": _PROMETHEUS,
    "PrometheusAgent": _PROMETHEUS,
    "ThanosRuler": "quay.io/thanos/thanos",
}
"""What prometheus-operator starts for a resource that names no image."""


def later_images(manifest: Manifest) -> tuple[Mention, ...]:
    """Return the images that a manifest names outside pods, and those its operators start besides.

    Raises:
        InputErrors: as ``Manifest.objects``.
    """
    named = {mention.name: mention for mention in mentions(manifest)}
    for value in manifest.objects:
        for mention in _monitored(value, manifest):
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


def _monitored(value: Object, manifest: Manifest) -> Iterator[Mention]:
    """Return the image of a resource of prometheus-operator that says which version it wants."""
    default = _MONITORING.get(str(value.get("kind")))
    if default is None or not str(value.get("apiVersion")).startswith("monitoring.coreos.com/"):
        return
    spec = value.get("spec")
    if at(spec, "image") or at(spec, "baseImage"):
        return  # found as a text
    sha, tag = at(spec, "sha"), at(spec, "tag") or at(spec, "version")
    text = f"{default}@sha256:{sha}" if sha else f"{default}:{tag}" if tag else default
    where = f"{value['kind']} {at(value, 'metadata', 'name')}"
    by = None if sha or tag else "prometheus-operator/prometheus-operator"
    mention = Mention(where, manifest.mark(manifest.documents[0].root), text, by=by)
    if mention.is_reference:
        yield mention
