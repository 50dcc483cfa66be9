"""Trees that exactly one rule of the node contract objects to, at least one for every rule."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from isobuilder.contract.rule import Action
from isobuilder.digest import Digest
from isobuilder.model.profile import ProfileName
from tests.contract import trees
from tests.contract.trees import Image, Tree, named
from tests.fakes.elf import program

HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"
Change = Callable[[Tree], None]
NODE, CNI = (named(reference) for reference in trees.CALICO)
EXTRA = named("r.example/extra:1")
PAUSE = named("registry.k8s.io/pause:3.10.1")
PROXY = named("registry.k8s.io/kube-proxy:v1.34.12")
CNI_TGZ = "cni/cni-plugins-amd64.tgz"
CRICTL_TGZ = "cri-tools/crictl-linux-amd64.tar.gz"
ETCD_TGZ = "etcd/etcd-linux-amd64.tar.gz"


@dataclass(frozen=True, slots=True)
class BadTree:
    """A good tree, a change, and the one rule that notices."""

    rule: str
    name: str
    change: Change
    base: ProfileName = "mold-cks"
    profile: ProfileName | None = None  # that it is played as; the base's own if not said
    actions: tuple[Action, ...] = ("create", "upgrade")
    label: str = "CDROM"
    sealed: bool = True  # manifest.json and SHA256SUMS are made after the change
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.rule}: {self.name}"

    def tree(self) -> Tree:
        tree = trees.good(self.base)
        self.change(tree)
        return trees.seal(tree, self.base) if self.sealed else tree

    def medium(self) -> trees.DictMedium:
        return trees.DictMedium(self.tree(), self.label, self.sizes)


def nothing(_: Tree) -> None:
    """Leave the tree as it is."""


def put(path: str, data: bytes) -> Change:
    def change(tree: Tree) -> None:
        tree[path] = data

    return change


def drop(*paths: str) -> Change:
    def change(tree: Tree) -> None:
        for path in paths:
            del tree[path]

    return change


def move(path: str, target: str) -> Change:
    def change(tree: Tree) -> None:
        tree[target] = tree.pop(path)

    return change


def edit(path: str, old: str, new: str) -> Change:
    def change(tree: Tree) -> None:
        text = tree[path].decode()
        assert old in text, f"{old!r} is not in {path}"
        tree[path] = text.replace(old, new).encode()

    return change


def cut(path: str) -> Change:
    def change(tree: Tree) -> None:
        tree[path] = tree[path][: len(tree[path]) // 2]

    return change


def both(*changes: Change) -> Change:
    def change(tree: Tree) -> None:
        for one in changes:
            one(tree)

    return change


def lines(*wanted: str) -> Change:
    """Add lines to images.list."""

    def change(tree: Tree) -> None:
        tree["docker/images.list"] += "".join(f"{line}\n" for line in wanted).encode()

    return change


def line(image: Image, new: str = "") -> Change:
    """Replace the line of an image in images.list, or remove it, if the tree has a list."""
    old = f"{image.digest.hex}.tar {trees.repository(image.reference)}\n"
    listed = edit("docker/images.list", old, new and f"{new}\n")

    def change(tree: Tree) -> None:
        if "docker/images.list" in tree:
            listed(tree)

    return change


def without(*images: Image) -> Change:
    """Remove images and their lines."""
    return both(*(both(drop(image.path), line(image)) for image in images))


def more(image: Image) -> Change:
    def change(tree: Tree) -> None:
        tree.update(trees.with_image(tree, image))

    return change


def rename(image: Image, name: str) -> Change:
    """Give the archive of an image another name, in images.list too."""

    def change(tree: Tree) -> None:
        tree[f"docker/{name}"] = tree.pop(image.path)

    return both(change, line(image, f"{name} {trees.repository(image.reference)}"))


def repack(image: Image, keep: Callable[[str], bool]) -> Change:
    """Pack an image with only some of its files."""
    files = {name: data for name, data in image.oci_files().items() if keep(name)}
    return put(image.path, trees.tar(files))


def document(path: str, kind: str, edit_it: Callable[[dict[str, Any]], None]) -> Change:
    """Change every object of a kind in a manifest."""

    def change(tree: Tree) -> None:
        documents = list(yaml.safe_load_all(tree[path]))
        chosen = [one for one in documents if one["kind"] == kind]
        assert chosen, f"no {kind} in {path}"
        for one in chosen:
            edit_it(one)
        tree[path] = trees.yaml_of(*documents)

    return change


def container(path: str, kind: str, **values: Any) -> Change:
    """Change the first container of every workload of a kind."""
    return document(
        path,
        kind,
        lambda one: one["spec"]["template"]["spec"]["containers"][0].update(values),
    )


def setting(path: str, **values: Any) -> Change:
    """Change values of a JSON file."""

    def change(tree: Tree) -> None:
        tree[path] = json.dumps({**json.loads(tree[path]), **values}).encode()

    return change


def profile_again(tree: Tree) -> None:
    """Make csi-profile.json fit the CSI manifests again."""
    tree["csi-profile.json"] = trees.csi_profile(tree, named(trees.CSI).pinned)


def no_images(tree: Tree) -> None:
    for path in [path for path in tree if path.startswith("docker/")]:
        del tree[path]


PLUGIN = program(version=None)
FLAT_DROP_IN = "$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS"
PINNED_NODE, PINNED_HEADLAMP = NODE.pinned, named(trees.HEADLAMP).pinned
DEPLOYMENT, MANIFEST, CSI_PROFILE = "Deployment", "manifest.yaml", "csi-profile.json"


def _disc() -> list[BadTree]:
    return [
        BadTree("A.2.label", "no label of ours (#14180)", nothing, label="ISOIMAGE"),
        BadTree("A.2.label", "no label at all", nothing, label=""),
        BadTree("A.2.label", "lower case", nothing, label="cdrom"),
        BadTree("A.2.dot-file", "a dot file", put("k8s/.placeholder", b"")),
        BadTree("A.2.dot-file", "a folder with a dot", put(".git/config", b"x")),
        BadTree("A.2.index-html", "index.html", put("index.html", b"x")),
        BadTree("A.2.index-html", "deeper, with an ending", put("docs/index.html.ko", b"x")),
        BadTree("A.2.plain-name", "a percent sign", put("docs/a%20b.txt", b"x")),
        BadTree("A.2.plain-name", "letters beyond ASCII", put("docs/안내.txt", b"x")),
    ]


def _archives_of_programs() -> list[BadTree]:
    def tgz(files: Tree, mode: int = 0o755) -> bytes:
        return trees.tar_gz(files, mode)

    wrong_sum = tgz({"loopback": PLUGIN})[:-8] + bytes(8)
    return [
        BadTree("A.3.cni-glob", "two archives", put("cni/cni-plugins-arm64.tgz", b"x")),
        BadTree("A.3.cni-glob", "none", drop(CNI_TGZ)),
        BadTree("A.3.cni-archive", "an HTML page", put(CNI_TGZ, HTML)),
        BadTree("A.3.cni-archive", "cut off", cut(CNI_TGZ)),
        BadTree("A.3.cni-archive", "wrong checksum", put(CNI_TGZ, wrong_sum)),
        BadTree("A.3.cni-archive", "not a tar", put(CNI_TGZ, gzip.compress(b"x" * 5000))),
        BadTree("A.3.cni-archive", "in a folder", put(CNI_TGZ, tgz({"bin/loopback": PLUGIN}))),
        BadTree("A.3.cni-archive", "not a program", put(CNI_TGZ, tgz({"loopback": HTML}))),
        BadTree("A.3.cni-archive", "may not run", put(CNI_TGZ, tgz({"loopback": PLUGIN}, 0o644))),
        BadTree("A.3.crictl-glob", "two", put("cri-tools/crictl-linux-x64.tar.gz", b"x")),
        BadTree("A.3.crictl-glob", "none", drop(CRICTL_TGZ)),
        BadTree("A.3.crictl-archive", "in a folder", put(CRICTL_TGZ, tgz({"a/crictl": PLUGIN}))),
        BadTree("A.3.crictl-archive", "an XML error", put(CRICTL_TGZ, b"<?xml version='1.0'?>")),
        BadTree("A.8.etcd-missing", "none", drop(ETCD_TGZ)),
        BadTree("A.8.etcd-archive", "flat", put(ETCD_TGZ, tgz({"etcd": PLUGIN}))),
        BadTree("A.8.etcd-archive", "empty", put(ETCD_TGZ, b"")),
    ]


def _programs() -> list[BadTree]:
    older, arm = program(version="1.34.11"), program("arm64")
    arm_tgz = trees.tar_gz({"loopback": program("arm64", version=None)})
    return [
        BadTree("A.3.program-missing", "no kubeadm", drop("k8s/kubeadm")),
        BadTree("A.3.program-missing", "no kubectl", drop("k8s/kubectl")),
        BadTree("A.3.program", "an HTML page (#10295)", put("k8s/kubeadm", HTML)),
        BadTree("A.3.program", "cut off", cut("k8s/kubelet")),
        BadTree("A.3.program", "empty", put("k8s/kubectl", b"")),
        BadTree("A.6.kubeadm-version", "an older kubeadm", put("k8s/kubeadm", older)),
        BadTree("A.6.program-versions", "an older kubelet", put("k8s/kubelet", older)),
        BadTree("A.6.version-unknown", "no stamp", put("k8s/kubectl", PLUGIN)),
        BadTree("A.10.architecture", "a kubelet for arm64", put("k8s/kubelet", arm)),
        BadTree("A.10.architecture", "plugins for arm64", put(CNI_TGZ, arm_tgz)),
    ]


def _units_and_sums() -> list[BadTree]:
    unit, drop_in, sums = "kubelet.service", "10-kubeadm.conf", "SHA256SUMS"
    rule = "A.3.kubeadm-drop-in"
    environment = "EnvironmentFile=-/etc/default/kubelet\n"
    return [
        BadTree("A.3.kubelet-service", "none", drop(unit)),
        BadTree("A.3.kubelet-service", "elsewhere", edit(unit, "/opt/bin", "/usr/local/bin")),
        BadTree("A.3.kubelet-service", "an HTML page", put(unit, HTML)),
        BadTree(rule, "none", drop(drop_in)),
        BadTree(rule, "arguments in the wrong order", edit(drop_in, FLAT_DROP_IN, _swapped())),
        BadTree(rule, "without kubeadm's", edit(drop_in, "$KUBELET_KUBEADM_ARGS ", "")),
        BadTree(rule, "without the cloud's", edit(drop_in, environment, "")),
        BadTree(rule, "command not cleared", edit(drop_in, "ExecStart=\n", "")),
        BadTree(rule, "another configuration", edit(drop_in, "kubelet/config.yaml", "k.yaml")),
        BadTree("A.3.sums-missing", "none", drop(sums), sealed=False),
        BadTree("A.3.sums-unused", "no manifest.json", drop("manifest.json"), sealed=False),
        BadTree("A.3.sums-syntax", "CR LF", edit(sums, "\n", "\r\n"), sealed=False),
        BadTree("A.3.sums-syntax", "empty", put(sums, b""), sealed=False),
        BadTree("A.3.sums-syntax", "prose", put(sums, b"see the web site\n"), sealed=False),
        BadTree("A.3.sums-syntax", "climbing", edit(sums, "  k8s/", "  ../k8s/"), sealed=False),
    ]


def _swapped() -> str:
    return "$KUBELET_EXTRA_ARGS $KUBELET_KUBEADM_ARGS"


def _pod_of(image: str, *arguments: str) -> bytes:
    container = {"name": "a", "image": image, "args": list(arguments)}
    spec = {"containers": [container]}
    return trees.yaml_of(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
    )


def _images() -> list[BadTree]:
    node_line = f"{NODE.digest.hex}.tar quay.io/calico/node"
    full = {trees.REF_NAME: NODE.reference}
    stray_arm = named("docker.io/library/extra:1", "arm64")
    pinned_network = put("network.yaml", trees.network_yaml())
    operator = (
        trees.network_yaml()
        + b"---\n"
        + trees.yaml_of(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "data": {"AGENT_IMAGE": "extra.example/agent:1"},
            }
        )
    )
    argument = _pod_of(NODE.reference, "--agent-image=extra.example/agent:1")
    further = _pod_of("extra.example/further:1")
    manager = "quay.io/jetstack/cert-manager-controller:v1.21.0"
    solver = both(more(named(manager)), put("own.yaml", _pod_of(manager)))
    spaced = both(lambda t: t.update({"docker/a node.tar": t.pop(NODE.path)}), line(NODE))
    layer = f"blobs/sha256/{Digest.of(NODE.layer).hex}"
    return [
        BadTree("A.3.docker-missing", "no images", no_images),
        BadTree(
            "A.4.no-images-list",
            "none",
            nothing,
            base="cloudstack-cks",
            profile="mold-cks",
            actions=("create",),
        ),
        BadTree("A.4.images-list", "no repository", line(NODE, f"{NODE.digest.hex}.tar")),
        BadTree("A.4.images-list", "three fields", line(NODE, f"{node_line} v1")),
        BadTree("A.4.images-list", "the same twice", lines(node_line)),
        BadTree("A.4.images-list-line", "an archive without line", line(NODE)),
        BadTree("A.4.images-list-stale", "a line without archive", drop(NODE.path)),
        BadTree("A.4.base-name-tag", "with tag", line(NODE, f"{node_line}:v3.32.2")),
        BadTree("A.4.base-name", "another repository", line(NODE, f"{node_line}s")),
        BadTree("A.4.archive", "blobs only (#13157)", repack(PAUSE, _is_blob)),
        BadTree("A.4.archive", "no index.json", repack(NODE, lambda n: n != "index.json")),
        BadTree("A.4.archive", "no layer", repack(NODE, lambda name: name != layer)),
        BadTree("A.4.archive", "an HTML page", put(NODE.path, HTML * 20)),
        BadTree("A.4.archive", "cut off", cut(NODE.path)),
        BadTree("A.4.archive", "empty", put(NODE.path, b"")),
        BadTree("A.4.archive", "compressed", put(NODE.path, gzip.compress(NODE.oci()))),
        BadTree("A.4.archive-name", "a space", spaced, base="cloudstack-cks"),
        BadTree("A.4.reference", "no name", put(NODE.path, NODE.oci({}))),
        BadTree(
            "A.4.reference",
            "a bare tag on Apache",
            put(EXTRA.path, EXTRA.oci({trees.REF_NAME: "v1"})),
            base="cloudstack-cks",
        ),
        BadTree("A.4.platform", "an image for arm64", more(stray_arm)),
        BadTree("A.4.nested", "in a folder", put("docker/old/node.tar", NODE.oci(full))),
        BadTree("A.4.stray", "a text", put("docker/README.txt", b"x")),
        BadTree("A.4.digest-name", "by another name", rename(NODE, "calico-node.tar")),
        BadTree("A.4.digest-name", "by another digest", rename(NODE, f"{'0' * 64}.tar")),
        BadTree("A.4.core-images", "no kube-proxy", without(PROXY)),
        BadTree("A.4.manifest-images", "no network (#4459)", without(NODE, CNI)),
        BadTree("A.4.manifest-images", "digests on Apache", pinned_network, base="cloudstack-cks"),
        BadTree("A.4.further-images", "a manifest that people apply", put("own/x.yml", further)),
        BadTree("A.4.mentioned-images", "an operator's argument", put("network.yaml", operator)),
        BadTree("A.4.mentioned-images", "in a further manifest", put("own.yaml", argument)),
        BadTree("A.4.mentioned-images", "what an operator has built in", solver),
        BadTree("A.5.pause-line", "two", more(named("registry.k8s.io/pause:3.9"))),
        BadTree("A.5.pause-line", "none", without(PAUSE)),
        BadTree("A.5.pause-digest", "by another name", rename(PAUSE, "pause.tar")),
        BadTree("A.5.pause-digest", "in Docker's form", put(PAUSE.path, PAUSE.docker())),
        BadTree(
            "A.5.pause-imported",
            "none",
            drop(PAUSE.path),
            base="cloudstack-cks",
            profile="mold-cks",
            actions=("create",),
        ),
    ]


def _is_blob(name: str) -> bool:
    return name.startswith("blobs/")


def _manifests() -> list[BadTree]:
    network, headlamp, provider = "network.yaml", "headlamp.yaml", "provider.yaml"
    account = document(
        provider,
        DEPLOYMENT,
        lambda one: one["spec"]["template"]["spec"].pop("serviceAccountName"),
    )
    elsewhere = document(
        headlamp, DEPLOYMENT, lambda one: one["metadata"].update(namespace="headlamp")
    )
    always = container(network, "DaemonSet", imagePullPolicy="Always")
    create: tuple[Action, ...] = ("create",)
    own_image = named("registry.local/headlamp:v0.40.1")
    tagged = container(headlamp, DEPLOYMENT, image=trees.HEADLAMP)
    return [
        BadTree("A.6.manifest", "an HTML page", put(network, HTML)),
        BadTree("A.6.manifest", "not YAML", put(network, b"a: [1\nb: }")),
        BadTree("A.6.manifest", "no kind", put(network, b"apiVersion: v1\n")),
        BadTree("A.6.manifest", "comments only", put(network, b"# nothing\n")),
        BadTree("A.6.manifest", "nested without end", put(network, b"[" * 100_000)),
        BadTree("A.6.manifest", "too large", nothing, sizes={network: 17 * 1024 * 1024}),
        BadTree("A.6.network", "none", drop(network)),
        BadTree("A.6.network", "empty", put(network, b"")),
        BadTree("A.6.dashboard", "none", drop(headlamp), actions=create),
        BadTree("A.7.headlamp", "another namespace", elsewhere),
        BadTree("A.7.headlamp", "by its tag", tagged),
        BadTree("A.7.headlamp", "another name", container(headlamp, DEPLOYMENT, name="ui")),
        BadTree(
            "A.7.headlamp",
            "from a private registry",
            both(more(own_image), container(headlamp, DEPLOYMENT, image=own_image.pinned)),
        ),
        BadTree("A.7.provider", "no service account", account),
        BadTree("A.7.provider-missing", "none", drop(provider), actions=create),
        BadTree("A.7.pull-policy", "always (#8296)", always),
        BadTree("B.4.pull-policy", "always (#8296)", always, base="cloudstack-cks"),
        BadTree("A.9.dashboard", "none", drop(headlamp)),
        BadTree(
            "A.9.dashboard-yaml",
            "headlamp.yaml alone",
            move("dashboard.yaml", headlamp),
            base="cloudstack-cks",
        ),
        BadTree("A.9.dashboard-yaml", "none", drop("dashboard.yaml"), base="cloudstack-cks"),
        BadTree(
            "A.9.not-images",
            "images.list",
            put("docker/images.list", b"x.tar r.example/x\n"),
            base="cloudstack-cks",
        ),
        BadTree("A.9.provider", "none", drop(provider)),
        BadTree("A.9.provider", "empty", put(provider, b"")),
        BadTree("A.9.import-time", "9 GiB", nothing, sizes={NODE.path: 9 * 1024**3}),
    ]


def _autoscaler() -> list[BadTree]:
    path, rbac = "autoscaler.yaml", "C.4.autoscaler-rbac"

    def other_name(one: dict[str, Any]) -> None:
        one["metadata"]["name"] = "autoscaler"

    return [
        BadTree("A.7.autoscaler-missing", "none", drop(path)),
        BadTree("A.7.autoscaler", "no placeholder", edit(path, "<cluster-id>", "cluster")),
        BadTree("A.7.autoscaler", "another name", document(path, DEPLOYMENT, other_name)),
        BadTree(rbac, "no storage classes", edit(path, "- storageclasses\n", "- nodes\n")),
        BadTree(rbac, "no device classes", edit(path, "- deviceclasses\n", "- nodes\n")),
        BadTree(rbac, "not bound", document(path, "ClusterRoleBinding", _unbind)),
    ]


def _unbind(binding: dict[str, Any]) -> None:
    binding["subjects"][0]["namespace"] = "default"


def _csi() -> list[BadTree]:
    profile: ProfileName = "mold-cks-csi"
    rule, ownership = "A.7.csi-profile", "provider-ownership-v1.json"
    crds = "snapshot-crds.yaml"

    def with_profile(change: Change) -> Change:
        return both(change, profile_again)

    daemon = "DaemonSet"
    loose = container(MANIFEST, daemon, image=trees.CSI)
    other = container(MANIFEST, daemon, image=PINNED_NODE)
    space = document(MANIFEST, daemon, lambda one: one["metadata"].update(namespace="default"))
    kind = document(MANIFEST, daemon, lambda one: one.update(kind=DEPLOYMENT))
    return [
        BadTree("A.3.csi-manifest", "no manifest", drop(MANIFEST), base=profile),
        BadTree("A.3.csi-manifest", "no CRDs", drop(crds), base=profile),
        BadTree("A.3.csi-manifest", "neither", drop(MANIFEST, crds, CSI_PROFILE), base=profile),
        BadTree(rule, "none", drop(CSI_PROFILE), base=profile),
        BadTree(rule, "not JSON", put(CSI_PROFILE, HTML), base=profile),
        BadTree(rule, "a list", put(CSI_PROFILE, b"[]"), base=profile),
        BadTree(rule, "another schema", setting(CSI_PROFILE, schemaVersion=2), base=profile),
        BadTree(rule, "SHA-1", setting(CSI_PROFILE, apiSignature="HmacSHA1"), base=profile),
        BadTree(rule, "stale digests", setting(CSI_PROFILE, files={}), base=profile),
        BadTree("A.7.csi-workloads", "by its tag", with_profile(loose), base=profile),
        BadTree("A.7.csi-workloads", "another driver", with_profile(other), base=profile),
        BadTree("A.7.csi-workloads", "another namespace", with_profile(space), base=profile),
        BadTree("A.7.csi-workloads", "another kind", with_profile(kind), base=profile),
        BadTree("A.3.ownership", "no commit", setting(ownership, providerSource="main")),
        BadTree("A.3.ownership", "not JSON", put(ownership, HTML)),
    ]


BAD_TREES: tuple[BadTree, ...] = (
    *_disc(),
    *_archives_of_programs(),
    *_programs(),
    *_units_and_sums(),
    *_images(),
    *_manifests(),
    *_autoscaler(),
    *_csi(),
)
"""Every one of them, with the rule that must notice."""
