"""Rules of sections A.6 and A.7 of the node contract: manifests given to kubectl apply."""

from __future__ import annotations

from collections.abc import Iterator

from isobuilder.contract.rule import Problem, Rule, rule
from isobuilder.contract.view import APPLIED, NodeView
from isobuilder.errors import IntegrityError
from isobuilder.formats.manifests import Object, at, items, of_kind
from isobuilder.formats.reference import ImageReference

_HEADLAMP_IMAGES = ("ghcr.io/headlamp-k8s/headlamp@sha256:",)
PROVIDER_IMAGES = (
    "ghcr.io/dhslove/ablestack-kubernetes-provider@sha256:",
    "ghcr.io/ablecloud-team/ablestack-kubernetes-provider@sha256:",
)
PIN = "set images: pin for it in the recipe, with the image it names locked"
RELEASED = "take the manifest from a release of the component"


@rule("A.6.manifest")
def manifest(disc: NodeView) -> Iterator[Problem]:
    """Manifests are YAML files of Kubernetes objects.

    An error page that was saved as a manifest, or text that is not YAML, fails in `kubectl apply`
    after the cluster was made.
    """
    for path in APPLIED:
        if disc.has(path):
            found = disc.documents(path)
            if isinstance(found, IntegrityError):
                yield Problem(path, str(found), RELEASED)
            elif not found:
                yield Problem(path, "no Kubernetes object in it", RELEASED)


@rule("A.6.network", roles=("control",))
def network(disc: NodeView) -> Iterator[Problem]:
    """There is a network.yaml.

    It is applied unless a cluster brings its own CNI configuration; without it nodes never become
    Ready.
    """
    if not disc.has("network.yaml"):
        yield Problem("network.yaml", "missing or empty", "add a CNI to the recipe's manifests")


@rule("A.6.dashboard", severity="warning", actions=("create",), roles=("control",))
def dashboard(disc: NodeView) -> Iterator[Problem]:
    """There is a dashboard.

    headlamp.yaml is applied if it is there, else dashboard.yaml; without both a cluster has none.
    """
    if not disc.upgrade and not disc.has_dashboard:
        fact = "neither headlamp.yaml nor dashboard.yaml"
        yield Problem("headlamp.yaml", fact, "add one to the recipe's manifests")


@rule("A.7.headlamp", clouds=("mold",), roles=("control",))
def headlamp(disc: NodeView) -> Iterator[Problem]:
    """headlamp.yaml is the Headlamp that Mold manages.

    Mold adds tolerations to it and refuses a manifest with other names or an image without digest:
    `managed addon identity or manifest rejected`.
    """
    documents = disc.objects("headlamp.yaml")
    if documents is not None:
        yield from _managed(documents, "headlamp.yaml", "headlamp", _HEADLAMP_IMAGES)


@rule("A.7.provider", clouds=("mold",), actions=("upgrade",), roles=("control",))
def provider(disc: NodeView) -> Iterator[Problem]:
    """provider.yaml is the cloud provider that Mold manages.

    Mold refuses a manifest with other names, another service account or another image, so the
    registry in the image's name must stay as it is even where images come from a private one.
    """
    documents = disc.objects("provider.yaml")
    if documents is not None:
        name = "cloud-controller-manager"
        account = name
        yield from _managed(documents, "provider.yaml", name, PROVIDER_IMAGES, account)


def _managed(
    documents: tuple[Object, ...],
    path: str,
    name: str,
    images: tuple[str, ...],
    account: str | None = None,
) -> Iterator[Problem]:
    """Check what Mold's managed-addon-placement checks, in its order."""
    found = [
        document
        for document in of_kind(documents, "Deployment")
        if at(document, "metadata", "name") == name
        and at(document, "metadata", "namespace") == "kube-system"
    ]
    if len(found) != 1:
        fact = f"expected exactly one Deployment {name} in kube-system, found {len(found)}"
        yield Problem(path, fact, RELEASED)
        return
    if found[0].get("apiVersion") != "apps/v1":
        fact = f"the Deployment is of {found[0].get('apiVersion')}, expected apps/v1"
        yield Problem(path, fact, RELEASED)
    pod = at(found[0], "spec", "template", "spec")
    containers = [c for c in items(pod, "containers") if at(c, "name") == name]
    image = at(containers[0], "image") if len(containers) == 1 else None
    if len(containers) != 1:
        fact = f"expected exactly one container {name}, found {len(containers)}"
        yield Problem(path, fact, RELEASED)
    elif not isinstance(image, str) or not image.startswith(images):
        fact = f"the image is {image!r}, expected {' or '.join(images)}..."
        yield Problem(path, fact, PIN)
    if account is not None and at(pod, "serviceAccountName") != account:
        fact = f"the service account is {at(pod, 'serviceAccountName')!r}, expected {account!r}"
        yield Problem(path, fact, RELEASED)


@rule("A.7.provider-missing", severity="warning", actions=("create",), roles=("control",))
def provider_missing(disc: NodeView) -> Iterator[Problem]:
    """There is a provider.yaml.

    Without it clusters have no load balancers, and Mold leaves out `--cloud-provider=external`.
    """
    if not (disc.upgrade and disc.cloud == "mold") and not disc.has("provider.yaml"):
        fact = "missing or empty: the cloud provider cannot be deployed"
        yield Problem("provider.yaml", fact, "add it to the recipe's manifests")


@rule("A.7.pull-policy", clouds=("mold",))
def pull_policy(disc: NodeView) -> Iterator[Problem]:
    """No manifest has images pulled that are on the disc.

    With imagePullPolicy Always the image on the disc is never used (apache/cloudstack#8296).
    """
    yield from _pulled(disc)


@rule("B.4.pull-policy", severity="warning", clouds=("cloudstack",))
def pull_policy_kept(disc: NodeView) -> Iterator[Problem]:
    """No manifest has images pulled that are on the disc.

    With imagePullPolicy Always the image on the disc is never used (apache/cloudstack#8296), so
    such an add-on works only in clusters that reach its registry.
    """
    yield from _pulled(disc)


def _pulled(disc: NodeView) -> Iterator[Problem]:
    for path, images in disc.images():
        always = {
            use.image
            for use in images
            if use.pull_policy == "Always" or (use.pull_policy is None and _is_latest(use.image))
        }
        for image in sorted(always):
            yield Problem(path, f"{image} is pulled whenever a pod starts", PIN)


def _is_latest(image: str) -> bool:
    try:
        reference = ImageReference.parse(image)
    except ValueError:
        return False
    return reference.tag == "latest" and reference.digest is None


RULES: tuple[Rule, ...] = (
    manifest,
    network,
    dashboard,
    headlamp,
    provider,
    provider_missing,
    pull_policy,
    pull_policy_kept,
)
