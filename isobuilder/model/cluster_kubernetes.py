"""What a cluster file asks of Kubernetes: whether its version can, and whether nodes survive it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from isobuilder.documents.mistakes import Mistake
from isobuilder.documents.nodes import Map, plain
from isobuilder.documents.plain_yaml import yaml_value
from isobuilder.errors import InputError
from isobuilder.formats.kube import kubeadm_api
from isobuilder.formats.kubelet import kubelet_mistakes
from isobuilder.model.cluster import Cluster, Patch, Volume
from isobuilder.model.cluster_networks import At

_PROGRAMS = {
    "kubelet": "kubelet",
    "api_server": "kube-apiserver",
    "controller_manager": "kube-controller-manager",
    "scheduler": "kube-scheduler",
    "etcd": "etcd",
}
_GONE_FLAGS: Mapping[str, Mapping[str, int]] = {
    "kubelet": {
        "cni-bin-dir": 24,
        "cni-cache-dir": 24,
        "cni-conf-dir": 24,
        "docker-endpoint": 24,
        "experimental-dockershim-root-directory": 24,
        "image-pull-progress-deadline": 24,
        "network-plugin": 24,
        "network-plugin-mtu": 24,
        "container-runtime": 27,
        "master-service-namespace": 27,
        "keep-terminated-pod-volumes": 31,
        "pod-infra-container-image": 35,
    },
    "api_server": {
        "address": 24,
        "insecure-bind-address": 24,
        "insecure-port": 24,
        "port": 24,
        "service-account-api-audiences": 25,
        "master-service-namespace": 27,
    },
    "controller_manager": {
        "address": 24,
        "port": 24,
        "experimental-cluster-signing-duration": 25,
        "enable-taint-manager": 27,
        "pod-eviction-timeout": 27,
    },
    "scheduler": {
        "policy-config-file": 23,
        "policy-configmap": 23,
        "policy-configmap-namespace": 23,
        "use-legacy-policy-config": 23,
        "address": 24,
        "port": 24,
    },
    "etcd": {
        "enable-v2": 34,
        "experimental-enable-v2v3": 34,
        "proxy": 34,
        "proxy-dial-timeout": 34,
        "proxy-failure-wait": 34,
        "proxy-read-timeout": 34,
        "proxy-refresh-interval": 34,
        "proxy-write-timeout": 34,
    },
}
"""Flags that many still write, and with which minor of Kubernetes no program starts with them.

Sources: kubernetes #96345, #105424, #106859, #106860, #106907, #108476, #108624, #115840, #116015,
#122082, #133779; "Kubernetes Removals and Major Changes In v1.27"; etcd #19914. kubeadm starts etcd
3.6 from 1.34 on and 3.7 from 1.37 on, as the pairings have it.
"""
_ETCD_EXPERIMENTAL = ("experimental-", 37)
"""How all flags begin that etcd 3.7 has under other names or not at all. Source: etcd #19959."""

_TARGETS = {"kubeletconfiguration": 25, "corednsdeployment": 32, "kubeproxydaemonset": 37}
"""What kubeadm patches since when; the others since patches are in its configuration, 1.22."""

_SYSTEM = (
    *("/bin", "/boot", "/dev", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr"),
    *("/etc/cni", "/etc/containerd", "/etc/kiso", "/etc/pam.d", "/etc/ssh", "/etc/sudoers.d"),
    *("/etc/systemd", "/etc/group", "/etc/passwd", "/etc/shadow", "/etc/sudoers"),
    *("/run/containerd", "/run/kiso", "/run/systemd", "/var/lib/cloud", "/var/lib/cni"),
    *("/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet"),
    *("/var/lib/kiso", "/tmp"),  # noqa: S108 - refused
)
"""Folders in which nothing may be mounted, and of which no program of Kubernetes needs a part."""
_SHARED = (*("/etc", "/home", "/opt", "/root", "/run", "/var", "/var/lib", "/var/log", "/var/run"),)
"""Folders of which a part may be given, and not the whole."""
_LINKS = {"/var/run": "/run", "/var/lock": "/run/lock"}
"""Folders that are links on every Linux of today."""
_KUBEADM = ("/etc/kubernetes", "/etc/ssl/certs", "/etc/ca-certificates", "/etc/pki")
"""What kubeadm mounts itself, whole or in parts. Source: its phases/controlplane/volumes.go."""
_FREE = ("/etc/kubernetes/audit", "/etc/kubernetes/encryption", "/etc/kubernetes/policies")
"""Folders below those that are usual for such files."""
_TAKEN = frozenset(
    {
        *("ca-certs", "etc-ca-certificates", "etc-pki", "etcd-certs-0", "etcd-certs-1"),
        *("flexvolume-dir", "k8s-certs", "kubeconfig", "usr-local-share-ca-certificates"),
        *("etc-pki-ca-trust", "etc-pki-tls-certs", "usr-share-ca-certificates"),
    }
)
"""Names of kubeadm's own volumes, from the same source."""

_CLOUD_CONFIG = {
    "hostname": "nodes[].name",
    "fqdn": "nodes[].name",
    "preserve_hostname": "nodes[].name",
    "users": "users",
    "user": "users",
    "ssh_authorized_keys": "users",
    "password": "users",
    "chpasswd": "users",
    "disable_root": "users",
    "ssh_pwauth": "users",
    "ca_certs": "ca_certificates",
    "ca-certs": "ca_certificates",
    "write_files": "files",
    "runcmd": "commands",
    "ntp": "ntp",
    "timezone": "timezone",
    "network": "networks.nodes",
    "manage_etc_hosts": "networks.nodes",
}
"""Keys of cloud-config that we write, and the key of a cluster file that is meant instead."""


def kubernetes_mistakes(cluster: Cluster, at: At) -> Iterator[Mistake]:
    """Give what the version of ``cluster`` cannot do, and what would break its nodes."""
    yield from _fields(cluster, at)
    for steps, fact, hint in kubelet_mistakes(cluster.kubelet, cluster.kubernetes):
        yield at(fact, "kubelet", *steps, hint=hint)
    yield from _flags(cluster, at)
    for program in ("api_server", "controller_manager", "scheduler"):
        yield from _volumes(getattr(cluster.volumes, program), at, program)
    yield from _patches(cluster, at, cluster.patches)
    yield from _cloud_config(cluster.cloud_config, at)
    for index, node in enumerate(cluster.nodes):
        yield from _patches(cluster, at, node.patches, "nodes", index)
        yield from _cloud_config(node.cloud_config, at, "nodes", index)


def _fields(cluster: Cluster, at: At) -> Iterator[Mistake]:
    """Give what kubeadm's configuration of this version has no field for."""
    version = cluster.kubernetes
    api = kubeadm_api(version).rpartition("/")[2]
    asked: list[tuple[bool, tuple[str | int, ...], int]] = [
        (bool(getattr(cluster.environment, key)), ("environment", key), 31)
        for key in ("api_server", "controller_manager", "scheduler", "etcd")
    ]
    asked += [
        (getattr(cluster, key) is not None, (key,), 31)
        for key in ("certificate_days", "encryption_algorithm")
    ]
    asked.append((bool(cluster.patches), ("patches",), 22))
    for index, node in enumerate(cluster.nodes):
        asked.append((bool(node.patches), ("nodes", index, "patches"), 22))
    for is_asked, steps, minor in asked:
        if is_asked and version.minor < minor:
            fact = f"kubeadm {version} ({api}) has no field for it; it came with 1.{minor}"
            yield at(fact, *steps, hint="leave it out, or use a newer Kubernetes")


def _flags(cluster: Cluster, at: At) -> Iterator[Mistake]:
    """Give the flags with which nothing would start."""
    version = cluster.kubernetes
    for key, program in _PROGRAMS.items():
        for name in getattr(cluster.arguments, key):
            if (gone := _gone_with(key, name)) is not None and gone <= version.minor:
                fact = f"the {program} of {version} has no flag {name}; it went with 1.{gone}"
                yield at(fact, "arguments", key, name, hint="leave it out")
    for name, value in cluster.arguments.kubelet.items():
        # Source: kubeadm's phases/kubelet/flags.go; systemd.exec(5), EnvironmentFile=.
        if re.search(r"[\s\"'\\]", value):
            fact = "kubeadm writes the flags of the kubelet into one line, which systemd splits"
            hint = "leave out white space, quotes and backslashes"
            yield at(fact, "arguments", "kubelet", name, hint=hint)
    if cluster.arguments.api_server.get("anonymous-auth", "").lower() in {"false", "0", "f"}:
        fact = "the probes of kubeadm's API server would be refused, so that it is ended for ever"
        hint = "from 1.32 on allow it for /livez, /readyz and /healthz alone: a file of "
        hint += "AuthenticationConfiguration, named by the flag authentication-config"
        yield at(fact, "arguments", "api_server", "anonymous-auth", hint=hint)


def _gone_with(program: str, flag: str) -> int | None:
    """Return the minor from which on a program does not start with a flag."""
    gone = _GONE_FLAGS[program].get(flag)
    beginning, minor = _ETCD_EXPERIMENTAL
    if gone is None and program == "etcd" and flag.startswith(beginning):
        return minor
    return gone


def _volumes(volumes: tuple[Volume, ...], at: At, program: str) -> Iterator[Mistake]:
    names: set[str] = set()
    mounts: set[str] = set()
    for index, volume in enumerate(volumes):
        steps = ("volumes", program, index)
        if volume.name in _TAKEN or volume.name in names:
            owner = "kubeadm's own" if volume.name in _TAKEN else "another volume"
            fact = f"the name {volume.name} is that of {owner}"
            yield at(fact, *steps, "name", hint="choose another name")
        if volume.inside in mounts:
            yield at(f"two volumes at {volume.inside}", *steps)
        names.add(volume.name)
        mounts.add(volume.inside)
        for key, path in (("host", volume.host), ("mount", volume.mount)):
            if path is not None and (why := _why_not(path)):
                yield at(
                    f"{path} is {why}",
                    *steps,
                    key,
                    hint="use a folder of its own, such as "
                    "/var/log/kubernetes or /etc/kubernetes/audit",
                )


def _why_not(path: str) -> str | None:
    """Return why a volume may not be at ``path``, None if it may."""
    for link, target in _LINKS.items():
        if path.startswith(f"{link}/"):
            path = target + path.removeprefix(link)
    if path in _SHARED or any(folder.startswith(f"{path}/") for folder in _SYSTEM):
        return "a system path as a whole"
    if any(_is_below(path, folder) for folder in _SYSTEM):
        return "a system path"
    if any(_is_below(path, folder) for folder in _FREE):
        return None
    if any(_is_below(path, folder) or _is_below(folder, path) for folder in _KUBEADM):
        return "what kubeadm mounts itself"
    return None


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _patches(
    cluster: Cluster, at: At, patches: tuple[Patch, ...], *steps: str | int
) -> Iterator[Mistake]:
    for index, patch in enumerate(patches):
        place = (*steps, "patches", index)
        since = _TARGETS.get(patch.target, 0)
        if since > cluster.kubernetes.minor:
            fact = f"kubeadm {cluster.kubernetes} does not patch {patch.target}; 1.{since} does"
            yield at(fact, *place, "target", hint="leave it out, or use a newer Kubernetes")
        if patch.content is not None and (problem := patch_problem(patch, patch.content)):
            yield at(problem, *place, "content")


def patch_problem(patch: Patch, text: str) -> str | None:
    """Return what is wrong with the text of a patch, None if kubeadm can apply it.

    Source: Kubernetes, "Customizing components with the kubeadm API"; RFC 6902 for type json.
    """
    try:
        tree = yaml_value(text.encode(), patch.target)
    except InputError as error:
        return f"not a patch: {error}"
    if patch.type == "json":
        problem = _operations_problem(plain(tree))
    else:
        fits = isinstance(tree, Map) and tree.entries
        problem = None if fits else "expected some fields of what is patched"
    return f"not a {patch.type} patch: {problem}" if problem else None


def _operations_problem(found: object) -> str | None:
    if not isinstance(found, list) or not found:
        return "expected a list of operations, each with op and path"
    for number, operation in enumerate(found):
        wanted = {"op", "path", *_more_of(operation)}
        if not isinstance(operation, dict) or not wanted <= operation.keys():
            return f"operation {number} lacks {', '.join(sorted(wanted))}"
        if operation["op"] not in {"add", "remove", "replace", "move", "copy", "test"}:
            return f"operation {number} is {str(operation['op'])[:40]!r}"
        if not str(operation["path"]).startswith("/"):
            return f"the path of operation {number} does not begin with /"
    return None


def _more_of(operation: object) -> set[str]:
    """Return what else an operation of RFC 6902 needs."""
    does = operation.get("op") if isinstance(operation, dict) else None
    if does in {"move", "copy"}:
        return {"from"}
    return {"value"} if does in {"add", "replace", "test"} else set()


def _cloud_config(config: dict[str, object], at: At, *steps: str | int) -> Iterator[Mistake]:
    for key in config:
        if meant := _CLOUD_CONFIG.get(key):
            fact = f"cloud-config's {key} is written from other keys of this file"
            yield at(fact, *steps, "cloud_config", key, hint=f"use {meant}")
