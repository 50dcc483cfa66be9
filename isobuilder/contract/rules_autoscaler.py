"""Rules of sections A.7 and C.4 of the node contract: the cluster autoscaler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from isobuilder.contract.rule import Problem, Rule, rule
from isobuilder.contract.rules_manifests import RELEASED
from isobuilder.contract.view import NodeView
from isobuilder.formats.manifests import at, items, of_kind

_PATH = "autoscaler.yaml"
_NAME = "cluster-autoscaler"
_PLACEHOLDERS = ("<cluster-id>", "<min>", "<max>")
_READ = {"get", "list", "watch"}
_STORAGE = ("storageclasses", "csinodes", "csidrivers", "csistoragecapacities", "volumeattachments")
_DYNAMIC = ("resourceclaims", "resourceslices", "deviceclasses")
_DYNAMIC_SINCE = 34  # dynamic resource allocation is on by default from Kubernetes 1.34


@rule("A.7.autoscaler-missing", severity="warning", roles=("control",))
def autoscaler_missing(disc: NodeView) -> Iterator[Problem]:
    """There is an autoscaler.yaml.

    Without it autoscaling cannot be switched on for clusters of this ISO.
    """
    if not disc.has(_PATH):
        yield Problem(_PATH, "missing or empty", "add it to the recipe's manifests")


@rule("A.7.autoscaler", roles=("control",))
def autoscaler(disc: NodeView) -> Iterator[Problem]:
    """autoscaler.yaml is a template that the cloud can fill in.

    `autoscale-kube-cluster` replaces <cluster-id>, <min> and <max> and waits for the Deployment
    cluster-autoscaler.
    """
    documents = disc.objects(_PATH)
    if documents is None:
        return
    text = disc.text(_PATH)
    for placeholder in _PLACEHOLDERS:
        if placeholder not in text:
            yield Problem(_PATH, f"the placeholder {placeholder} is not in it", RELEASED)
    if _deployment(documents) is None:
        yield Problem(_PATH, f"no Deployment {_NAME} in it", RELEASED)


@rule("C.4.autoscaler-rbac", clouds=("mold",), roles=("control",))
def autoscaler_rbac(disc: NodeView) -> Iterator[Problem]:
    """The autoscaler may read storage and, from 1.34, dynamic resource allocation.

    The scheduler's plugins in it start informers for these resources; without the right to list
    them it waits for ever and scales nothing (apache/cloudstack#5976).
    """
    documents = disc.objects(_PATH)
    deployment = _deployment(documents or ())
    if documents is None or deployment is None:
        return
    namespace = at(deployment, "metadata", "namespace") or "default"
    account = at(deployment, "spec", "template", "spec", "serviceAccountName") or "default"
    rules = _cluster_rules(documents, account, namespace)
    wanted = [("storage.k8s.io", resource) for resource in _STORAGE]
    if disc.version is not None and disc.version.minor >= _DYNAMIC_SINCE:
        wanted += [("resource.k8s.io", resource) for resource in _DYNAMIC]
    for group, resource in wanted:
        verbs: set[str] = set()
        for entry in rules:
            if _names(entry, "apiGroups", group) and _names(entry, "resources", resource):
                verbs.update(str(verb) for verb in items(entry, "verbs"))
        if not ("*" in verbs or verbs >= _READ):
            fact = f"the service account {namespace}/{account} may not read {resource}.{group}"
            yield Problem(_PATH, fact, "add get, list and watch to its ClusterRole")


def _deployment(documents: tuple[Mapping[str, Any], ...]) -> Mapping[str, Any] | None:
    found = (d for d in of_kind(documents, "Deployment") if at(d, "metadata", "name") == _NAME)
    return next(found, None)


def _cluster_rules(
    documents: tuple[Mapping[str, Any], ...], account: str, namespace: str
) -> list[Mapping[str, Any]]:
    """Return the rules of every ClusterRole that is bound to the service account."""
    subject = ("ServiceAccount", account, namespace)
    roles = {
        at(binding, "roleRef", "name")
        for binding in of_kind(documents, "ClusterRoleBinding")
        if at(binding, "roleRef", "kind") == "ClusterRole"
        and subject in {_identity(entry) for entry in items(binding, "subjects")}
    }
    return [
        entry
        for role in of_kind(documents, "ClusterRole")
        if at(role, "metadata", "name") in roles
        for entry in items(role, "rules")
        if isinstance(entry, Mapping) and not entry.get("resourceNames")
    ]


def _identity(subject: object) -> tuple[str, str, str]:
    return (
        str(at(subject, "kind")),
        str(at(subject, "name")),
        str(at(subject, "namespace")),
    )


def _names(entry: Mapping[str, Any], key: str, wanted: str) -> bool:
    return wanted in items(entry, key) or "*" in items(entry, key)


RULES: tuple[Rule, ...] = (autoscaler_missing, autoscaler, autoscaler_rbac)
