"""Rules of sections A.3 and A.7 of the node contract: the CSI driver and provider ownership."""

from __future__ import annotations

import re
from collections.abc import Iterator

from isobuilder.contract.rule import Problem, Rule, rule
from isobuilder.contract.rules_manifests import PIN, PROVIDER_IMAGES, RELEASED
from isobuilder.contract.view import NodeView
from isobuilder.errors import IntegrityError
from isobuilder.formats.manifests import at, items, of_kind
from isobuilder.model.profile import PROFILES

_SHA = re.compile(r"[0-9a-f]{40}")


@rule("A.3.csi-manifest", actions=("create",), roles=("control",))
def csi_manifest(disc: NodeView) -> Iterator[Problem]:
    """snapshot-crds.yaml comes with manifest.yaml.

    If snapshot-crds.yaml is there both are copied, and the script ends when manifest.yaml is
    missing. manifest.yaml alone is never deployed.
    """
    names = {"snapshot-crds.yaml", "manifest.yaml"}
    missing = sorted(names - disc.files.keys())
    if len(missing) == 1 or (missing and PROFILES[disc.profile].demands("manifest.yaml")):
        fact = (
            f"missing beside {names.difference(missing).pop()}"
            if len(missing) == 1
            else (f"missing, and {missing[1]} too, though the profile is {disc.profile}")
        )
        yield Problem(missing[0], fact, "add both CSI manifests to the recipe, or neither")


@rule("A.7.csi-profile", clouds=("mold",), actions=("create",), roles=("control",))
def csi_profile(disc: NodeView) -> Iterator[Problem]:
    """csi-profile.json names the qualified driver and the digests of the CSI manifests.

    `deploy-csi-driver` refuses the files otherwise.
    """
    path = "csi-profile.json"
    if "snapshot-crds.yaml" not in disc.files:
        return
    if not disc.has(path):
        yield Problem(path, "missing beside snapshot-crds.yaml", _RENDER_PROFILE)
        return
    profile = disc.json(path)
    if not isinstance(profile, dict):
        fact = str(profile) if isinstance(profile, IntegrityError) else "not a JSON object"
        yield Problem(path, fact, _RENDER_PROFILE)
        return
    for key, wanted in (("schemaVersion", 1), ("apiSignature", "HmacSHA256")):
        if profile.get(key) != wanted or isinstance(profile.get(key), bool):
            fact = f"{key} is {profile.get(key)!r}, expected {wanted!r}"
            yield Problem(path, fact, _RENDER_PROFILE)
    if not _CSI_IMAGE.fullmatch(str(profile.get("driverImage"))):
        fact = f"driverImage is {profile.get('driverImage')!r}, expected {_CSI_IMAGE.pattern}"
        yield Problem(path, fact, _RENDER_PROFILE)
    for name in ("snapshot-crds.yaml", "manifest.yaml"):
        if name in disc.files:
            digest = disc.digest(name)
            found = str(digest) if isinstance(digest, IntegrityError) else digest.hex
            if at(profile, "files", name) != found:
                fact = f"files.{name} is {at(profile, 'files', name)!r}, the file has {found}"
                yield Problem(path, fact, _RENDER_PROFILE)


@rule("A.7.csi-workloads", clouds=("mold",), actions=("create",), roles=("control",))
def csi_workloads(disc: NodeView) -> Iterator[Problem]:
    """manifest.yaml has the two CSI workloads, with every image by digest.

    `deploy-csi-driver` refuses other workloads, other namespaces, images without digest and a
    workload without the driver of csi-profile.json.
    """
    path = "manifest.yaml"
    documents = disc.objects(path)
    if documents is None or "snapshot-crds.yaml" not in disc.files:
        return
    workloads = of_kind(documents, "Deployment", "DaemonSet")
    found = {(w["kind"], at(w, "metadata", "name")) for w in workloads}
    if found != _CSI_WORKLOADS:
        wanted = ", ".join(" ".join(workload) for workload in sorted(_CSI_WORKLOADS))
        there = ", ".join(f"{kind} {name}" for kind, name in sorted(found, key=str)) or "none"
        yield Problem(path, f"expected the workloads {wanted}, found {there}", RELEASED)
        return
    profile = disc.json("csi-profile.json") if disc.has("csi-profile.json") else {}
    driver = at(profile, "driverImage")
    for workload in workloads:
        name = at(workload, "metadata", "name")
        if at(workload, "metadata", "namespace") != "kube-system":
            yield Problem(path, f"{name} is not in kube-system", RELEASED)
        containers = items(workload, "spec", "template", "spec", "containers")
        images = [str(at(container, "image")) for container in containers]
        loose = [image for image in images if not re.search(r"@sha256:[0-9a-f]{64}$", image)]
        if loose:
            yield Problem(path, f"{name}: the image {loose[0]} has no digest", PIN)
        elif isinstance(driver, str) and driver not in images:
            fact = f"{name} does not run {driver}, the driver of csi-profile.json"
            yield Problem(path, fact, _RENDER_PROFILE)


_CSI_IMAGE = re.compile(r"ghcr\.io/[a-z0-9.-]+/ablestack-kubernetes-csi@sha256:[0-9a-f]{64}")
_CSI_WORKLOADS = {
    ("Deployment", "cloudstack-csi-controller"),
    ("DaemonSet", "cloudstack-csi-node"),
}
_RENDER_PROFILE = "render it from the lock with the template csi-profile.json.j2"


@rule("A.3.ownership", clouds=("mold",), actions=("create",), roles=("control",))
def ownership(disc: NodeView) -> Iterator[Problem]:
    """provider-ownership-v1.json names provider and SDK by commit and digest.

    It is copied to the first control node, where it says that the provider of this ISO marks the
    load balancers it owns.
    """
    path = "provider-ownership-v1.json"
    if not disc.has(path):
        return
    marker = disc.json(path)
    schema, image = at(marker, "schemaVersion"), at(marker, "providerImage")
    fits = {
        "schemaVersion": schema == 1 and schema is not True,
        "providerSource": _SHA.fullmatch(str(at(marker, "providerSource"))),
        "providerImage": isinstance(image, str) and image.startswith(PROVIDER_IMAGES),
        "sdkSource": _SHA.fullmatch(str(at(marker, "sdkSource"))),
    }
    wrong = [key for key, good in fits.items() if not good]
    if wrong:
        fact = f"{wrong[0]} is {at(marker, wrong[0])!r}"
        yield Problem(path, fact, "render it with the template provider-ownership-v1.json.j2")


RULES: tuple[Rule, ...] = (csi_manifest, csi_profile, csi_workloads, ownership)
