"""The script that upgrades a node, run by the real shell on a cluster that programs play."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

SCRIPT = files("isobuilder.nodeconfig") / "templates" / "node-upgrade.sh"
FOLLOWS = Path(__file__).parents[1] / "cluster" / "node.sh"  # what follows a plan in machines
PLAYER = Path(__file__).with_name("upgrade_player.sh")
PLAYED = ("kubectl", "ctr", "systemctl", "containerd", "stat", "hostname")
OLD, NEW = "1.36.5", "1.37.2"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")


@dataclass(frozen=True)
class Machine:
    """One node: a folder that stands for its disk, and the cluster, which all nodes share."""

    root: Path
    play: Path
    medium: Path

    def upgrade(self, *words: str, code: int = 0, patience: int = 2) -> str:
        """Run the script and return what it printed, errors last; it waits ``patience`` seconds."""
        done = subprocess.run(
            ["bash", str(SCRIPT), *words],
            env={
                "PATH": f"{self.root}/bin:{os.environ['PATH']}",
                "PLAY": str(self.play),
                "KISO_MEDIUM": str(self.medium),
                "KISO_RUNNING": str(self.root / "running"),
                "KISO_NODE": str(self.root / "node"),
                "KISO_STATE": str(self.root / "state"),
                "KISO_KUBERNETES": str(self.root / "kubernetes"),
                "KISO_UNITS": str(self.root / "units"),
                "KISO_LOCAL": str(self.root / "local"),
                "KISO_CNI": str(self.root / "cni"),
                "KISO_TOOLS": str(self.root / "tools"),
                "KISO_IMAGES": str(self.root),
                "KISO_LOG": str(self.root / "log"),
                "KISO_PAUSE": "0.02",
                "KISO_TIME": str(patience),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            start_new_session=True,  # the power goes for the whole group of processes
        )
        assert done.returncode == code, f"{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def be(self, name: str) -> None:
        (self.play / "self").write_text(f"{name}\n")

    @property
    def cluster(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.play / "cluster.json").read_text())
        return found

    def change(self, **changes: Any) -> None:
        (self.play / "cluster.json").write_text(json.dumps(self.cluster | changes))

    def change_node(self, name: str, **status: Any) -> None:
        cluster = self.cluster
        for node in cluster["nodes"]:
            if node["metadata"]["name"] == name:
                node["status"] |= status
        self.change(nodes=cluster["nodes"])

    @property
    def changes(self) -> list[str]:
        path = self.play / "changes"
        return path.read_text().splitlines() if path.exists() else []


def alias(name: str, tag: str) -> str:
    return f"registry.k8s.io/{name}:{tag}"


def node_of(name: str, role: str, version: str, images: list[str]) -> dict[str, Any]:
    labels = {"node-role.kubernetes.io/control-plane": ""} if role == "control-plane" else {}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {
            "nodeInfo": {"kubeletVersion": f"v{version}"},
            "conditions": [{"type": "Ready", "status": "True"}],
            "images": [{"names": [image]} for image in images],
        },
    }


def make_medium(medium: Path, version: str, *, runtime: str = "2.3.7") -> None:
    """Write what the script reads of a bootable ISO of ``version``."""
    for folder in ("k8s", "docker", "runtime", "cni", "cri-tools"):
        (medium / folder).mkdir(parents=True)
    (medium / "k8s/kubeadm").write_text(f"{PLAYER.read_text()}# {version}\n")
    (medium / "k8s/kubeadm").chmod(0o755)
    (medium / "k8s/kubelet").write_text(f"v{version}\n")
    (medium / "k8s/kubectl").write_text(f"kubectl v{version}\n")
    for name in ("kubelet.service", "10-kubeadm.conf"):
        (medium / name).write_text(f"[Unit]\n# {version}\n")
    (medium / "runtime/runc").write_text(f"runc of {runtime}\n")
    for path, member in (
        (f"runtime/containerd-linux-{ARCHITECTURE}.tar.gz", "bin/containerd"),
        (f"cni/cni-plugins-linux-{ARCHITECTURE}.tgz", "bridge"),
        (f"cri-tools/crictl-linux-{ARCHITECTURE}.tar.gz", "crictl"),
    ):
        source = medium.parent / "member"
        source.write_text(f"{member} {runtime}\n")
        with tarfile.open(medium / path, "w:gz") as archive:
            archive.add(source, member)
    images = []
    for name in ("kube-apiserver", "kube-proxy"):
        data = f"{name} {version}".encode()
        path = f"docker/{name}.tar"
        (medium / path).write_bytes(data)
        images.append(
            {
                "import_alias": alias(name, f"v{version}"),
                "reference": f"registry.k8s.io/{name}@sha256:{'0' * 64}",
                "path": path,
                "size": len(data),
            }
        )
    manifest = {"kubernetes_version": version, "architecture": ARCHITECTURE, "images": images}
    (medium / "manifest.json").write_text(json.dumps(manifest))
    write_sums(medium)


def write_sums(medium: Path) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(medium)}\n"
        for path in sorted(medium.rglob("*"))
        if path.is_file() and path.name != "SHA256SUMS"
    ]
    (medium / "SHA256SUMS").write_text("".join(lines))


CERTIFICATES = """\
CERTIFICATE                EXPIRES                  RESIDUAL TIME   CERTIFICATE AUTHORITY   EXTERNALLY MANAGED
admin.conf                 Nov 28, 2027 12:00 UTC   364d            ca                      no
apiserver                  Nov 28, 2027 12:00 UTC   364d            ca                      no

CERTIFICATE AUTHORITY   EXPIRES                  RESIDUAL TIME   EXTERNALLY MANAGED
ca                      Nov 26, 2036 12:00 UTC   9y              no
etcd-ca                 Nov 26, 2036 12:00 UTC   9y              no
"""  # noqa: E501 - as kubeadm prints it


def machine(root: Path, name: str, role: str = "control-plane", *, version: str = NEW) -> Machine:
    """Return the node ``name`` of a cluster of three, with a medium of ``version`` mounted."""
    play, medium = root / "play", root / "medium"
    play.mkdir()
    make_medium(medium, version)
    make_medium(root / "running", OLD, runtime="2.1.9")
    new = [alias(name, f"v{version}") for name in ("kube-apiserver", "kube-proxy")]
    cluster = {
        "version": OLD,
        "servers": {"one": OLD, "two": OLD},
        "nodes": [
            node_of("one", "control-plane", OLD, [] if name == "one" else new),
            node_of("two", "control-plane", OLD, [] if name == "two" else new),
            node_of("three", "worker", OLD, [] if name == "three" else new),
        ],
    }
    (play / "cluster.json").write_text(json.dumps(cluster))
    (play / "images").write_text("".join(f"{image}\n" for image in new))
    (play / "certificates").write_text(CERTIFICATES)
    (play / "containerd").write_text("v2.3.7\n")
    (play / "cgroup").write_text("cgroup2fs\n")
    (play / "target").write_text(version)
    for folder in ("bin", "tools", "kubernetes/manifests", "local/sbin", "cni", "units", "state"):
        (root / folder).mkdir(parents=True)
    for program in PLAYED:
        (root / "bin" / program).symlink_to(PLAYER)
    (root / "bin/sync").write_text("#!/bin/sh\n")  # of the whole host it would take its time
    (root / "bin/sync").chmod(0o755)
    for program in ("kubelet", "kubectl", "kubeadm"):
        (root / "tools" / program).symlink_to(root / "running/k8s" / program)
    (root / "kubernetes/kubelet.conf").touch()
    if role == "control-plane":
        (root / "kubernetes/admin.conf").touch()
        (root / "kubernetes/manifests/kube-apiserver.yaml").touch()
    made = Machine(root, play, medium)
    made.be(name)
    return made


def versions(cluster: dict[str, Any]) -> dict[str, str]:
    return {
        node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"]
        for node in cluster["nodes"]
    }


def is_whole(node: Machine, name: str) -> None:
    """Check all that an upgrade of ``name`` has to leave behind."""
    assert versions(node.cluster)[name] == f"v{NEW}"
    own = next(item for item in node.cluster["nodes"] if item["metadata"]["name"] == name)
    assert own["status"]["conditions"] == [{"type": "Ready", "status": "True"}]
    names = [image["names"][0] for image in own["status"]["images"]]
    assert sorted(names) == [alias("kube-apiserver", f"v{NEW}"), alias("kube-proxy", f"v{NEW}")]
    for program in ("kubelet", "kubectl", "kubeadm"):
        path = node.root / "tools" / program
        assert not path.is_symlink(), "it would be lost with the medium"
        assert path.read_bytes() == (node.medium / "k8s" / program).read_bytes()
    assert (node.root / "local/bin/containerd").read_text() == "bin/containerd 2.3.7\n"
    assert (node.root / "local/sbin/runc").read_text() == "runc of 2.3.7\n"
    assert (node.root / "cni/bridge").read_text() == "bridge 2.3.7\n"
    assert NEW in (node.root / "units/kubelet.service").read_text()
    assert NEW in (node.root / "units/kubelet.service.d/10-kubeadm.conf").read_text()


def heads(node: Machine) -> list[str]:
    return [" ".join(change.split()[:3]) for change in node.changes]


def test_the_first_control_plane_is_upgraded_step_by_step(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    assert node.upgrade().endswith(f"upgrade: done: one v{NEW}\n")
    assert heads(node) == [
        "ctr -n k8s.io",
        "ctr -n k8s.io",
        "kubeadm upgrade apply",
        "kubectl drain one",
        "systemctl stop kubelet.service",
        "systemctl restart containerd.service",
        "systemctl daemon-reload",
        "systemctl restart kubelet.service",
        "kubectl --request-timeout=60s uncordon",
    ]
    assert node.cluster["version"] == NEW
    assert not any(item["spec"] for item in node.cluster["nodes"]), "a node is still cordoned"
    is_whole(node, "one")
    told = next((tmp_path / "state").glob("*/kubeadm.yaml")).read_text()
    assert "  upgradeManifests: 2s\n" in told
    assert f"  kubernetesVersion: v{NEW}\n" in told


def test_a_node_that_is_done_is_left_alone(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    node.upgrade()
    before = node.changes
    assert f"upgrade: one has v{NEW}\n" in node.upgrade()
    assert node.changes == before


def test_a_further_control_plane_does_not_apply_again(tmp_path: Path) -> None:
    node = machine(tmp_path, "two")
    node.change(version=NEW, servers={"one": NEW, "two": OLD})
    node.change_node("one", nodeInfo={"kubeletVersion": f"v{NEW}"})
    node.upgrade()
    assert [head for head in heads(node) if head.startswith("kubeadm")] == ["kubeadm upgrade node"]
    assert node.cluster["servers"]["two"] == NEW
    is_whole(node, "two")


def control_planes_done(node: Machine) -> None:
    node.change(version=NEW, servers={"one": NEW, "two": NEW})
    for name in ("one", "two"):
        node.change_node(name, nodeInfo={"kubeletVersion": f"v{NEW}"})


def test_a_worker_is_drained_from_a_control_plane_and_does_the_rest_itself(tmp_path: Path) -> None:
    node = machine(tmp_path, "three", "worker")
    control_planes_done(node)
    said = node.upgrade(code=1)
    assert "error: three is not drained\nhint: on a control plane: " in said
    (tmp_path / "kubernetes/admin.conf").touch()
    node.upgrade("drain", "three")
    (tmp_path / "kubernetes/admin.conf").unlink()
    node.upgrade()
    is_whole(node, "three")
    (tmp_path / "kubernetes/admin.conf").touch()
    assert "upgrade: three takes pods again" in node.upgrade("uncordon", "three")
    assert not any(item["spec"] for item in node.cluster["nodes"])


def test_a_node_that_somebody_had_cordoned_stays_so(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    nodes = node.cluster["nodes"]
    nodes[0]["spec"] = {"unschedulable": True}
    node.change(nodes=nodes)
    node.upgrade()
    is_whole(node, "one")
    assert node.cluster["nodes"][0]["spec"] == {"unschedulable": True}


def test_a_manifest_that_was_taken_away_when_the_power_went_is_put_back(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (node.play / "kill").write_text("before 3")  # kubeadm has begun and said nothing yet
    node.upgrade(code=-9)
    (node.play / "kill").unlink()
    manifest = tmp_path / "kubernetes/manifests/kube-apiserver.yaml"
    for when in ("2026-11-28-09-00-00", "2026-11-28-10-00-00"):
        backup = tmp_path / f"kubernetes/tmp/kubeadm-backup-manifests-{when}/{manifest.name}"
        backup.parent.mkdir(parents=True)
        backup.write_text(when)
    manifest.unlink()
    said = node.upgrade()
    assert "upgrade: kube-apiserver: its manifest was taken away and is back\n" in said
    assert manifest.read_text() == "2026-11-28-10-00-00"
    is_whole(node, "one")


@pytest.mark.parametrize("booted", ["old", "another"])
def test_the_runtime_of_an_iso_that_was_started_meanwhile_is_replaced_again(
    tmp_path: Path, booted: str
) -> None:
    node = machine(tmp_path, "one")
    (tmp_path / "state/setup.old").touch()
    (node.play / "kill").write_text("before 7")  # the runtime is there, the kubelet is not
    node.upgrade(code=-9)
    (node.play / "kill").unlink()
    # Each ISO unpacks its programs once; see setup of the boot system.
    if booted == "another":
        (tmp_path / "local/bin/containerd").write_text("bin/containerd 2.1.9\n")
        (tmp_path / "state/setup.another").touch()
    node.upgrade()
    is_whole(node, "one")
    restarts = heads(node).count("systemctl restart containerd.service")
    assert restarts == (2 if booted == "another" else 1)
    assert f"upgrade: one has v{NEW}\n" in node.upgrade()


def test_a_runtime_is_on_the_disk_before_the_mark_that_it_is(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (tmp_path / "bin/sync").write_text(
        f"""#!/bin/sh
[ $# = 0 ] && [ -e "$KISO_LOCAL/bin/containerd" ] || exit 0
[ -e "$KISO_STATE/upgrade-v{NEW}/runtime" ] || touch "$PLAY/synced"
"""
    )
    node.upgrade()
    assert (node.play / "synced").exists()


LATE = r"\t[ERROR CreateJob]: Job \"upgrade-health-check-1\" did not complete in 1m0s"
UNWELL = r"\t[ERROR ControlPlaneNodesReady]: there are NotReady control-planes in the cluster"


def test_a_cluster_that_schedules_again_only_later_is_waited_for(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    node.play.joinpath("preflight").write_text(f"{LATE}\n{LATE}\n")
    said = node.upgrade(patience=60)
    assert said.count("the cluster has not run kubeadm's job in time: once more") == 2
    assert heads(node).count("kubeadm upgrade apply") == 3
    is_whole(node, "one")


@pytest.mark.parametrize("found", [UNWELL, rf"{LATE}\n{UNWELL}"], ids=["another", "both"])
def test_what_else_kubeadm_finds_ends_the_upgrade_at_once(tmp_path: Path, found: str) -> None:
    node = machine(tmp_path, "one")
    node.play.joinpath("preflight").write_text(f"{found}\n")
    said = node.upgrade(code=1)
    assert "kubeadm upgrade apply failed" in said
    assert "once more" not in said


def test_a_job_that_never_runs_ends_the_upgrade_in_time(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    node.play.joinpath("preflight").write_text(f"{LATE}\n" * 10_000)
    said = node.upgrade(code=1)
    assert "kubeadm upgrade apply failed" in said
    assert "ERROR CreateJob" in said


def test_an_api_that_never_comes_back_is_told(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (node.play / "kill").write_text("before 3")
    node.upgrade(code=-9)
    (tmp_path / "kubernetes/manifests/kube-apiserver.yaml").unlink()
    assert "error: the API does not answer after 2 s\n" in node.upgrade(code=1)


# kubeadm upgrade apply, the third step, tells the cluster in the middle of its work.
@pytest.mark.parametrize(
    ("side", "step"),
    [*itertools.product(("before", "after"), range(1, 10)), ("half", 3)],
)
def test_a_control_plane_killed_at_any_step_goes_on_where_it_was(
    tmp_path: Path, step: int, side: str
) -> None:
    node = machine(tmp_path, "one")
    (node.play / "kill").write_text(f"{side} {step}")
    node.upgrade(code=-9)
    assert len(node.changes) == step
    (node.play / "kill").unlink()
    node.upgrade()
    is_whole(node, "one")
    assert node.cluster["version"] == NEW
    assert not any(item["spec"] for item in node.cluster["nodes"])
    imports = [change for change in node.changes if " import " in change]
    assert len(imports) - (step < 3 and side == "before") == 2, "an image was imported again"


@pytest.mark.parametrize("step", range(1, 8))
def test_a_worker_killed_at_any_step_goes_on_where_it_was(tmp_path: Path, step: int) -> None:
    node = machine(tmp_path, "three", "worker")
    control_planes_done(node)
    nodes = node.cluster["nodes"]
    nodes[2]["spec"] = {"unschedulable": True}
    node.change(nodes=nodes)
    (node.play / "kill").write_text(f"after {step}")
    node.upgrade(code=-9)
    (node.play / "kill").unlink()
    node.upgrade()
    is_whole(node, "three")


def refused(node: Machine, fact: str, *words: str) -> str:
    """Check that nothing but images is changed, and return the hint."""
    before = node.cluster
    said = node.upgrade(*words, code=1)
    error, hint = said[said.index("error: ") :].rstrip("\n").split("\nhint: ")
    assert fact in error
    assert said.count("error: ") == 1
    assert [change for change in node.changes if not change.startswith("ctr")] == []
    after = node.cluster
    for cluster in (before, after):
        for item in cluster["nodes"]:
            item["status"].pop("images")
    assert after == before
    return hint


def test_an_upgrade_that_skips_a_minor_is_refused(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    node.change(version="1.35.9")
    for name in ("one", "two", "three"):
        node.change_node(name, nodeInfo={"kubeletVersion": "v1.35.9"})
    fact = f"the cluster has v1.35.9 and the ISO v{NEW}: kubeadm goes from one minor to the next"
    assert refused(node, fact) == "bring the cluster to an ISO of 1.36 first"
    refused(node, fact, "check")


def test_an_upgrade_that_goes_back_is_refused(tmp_path: Path) -> None:
    node = machine(tmp_path, "one", version="1.36.4")
    fact = f"the cluster has v{OLD} and the ISO v1.36.4: Kubernetes does not go back"
    assert refused(node, fact) == f"use an ISO of v{OLD} or newer"


def test_nodes_of_two_versions_are_refused(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    node.change_node("three", nodeInfo={"kubeletVersion": "v1.36.4"})
    fact = f"the nodes have several versions beside v{NEW}: 1.36.4 {OLD}"
    assert refused(node, fact).startswith("finish the earlier upgrade with its own ISO")


def test_nodes_that_an_earlier_upgrade_left_behind_are_refused(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    for name in ("one", "two", "three"):
        node.change_node(name, nodeInfo={"kubeletVersion": "v1.36.4"})
    assert "finish the upgrade to v1.36.5" in refused(node, "its nodes v1.36.4")


def test_a_node_that_is_not_ready_is_refused(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    node.change_node("three", conditions=[{"type": "Ready", "status": "Unknown"}])
    assert "kubectl describe node three" in refused(node, "node three is not Ready")


def test_expired_certificates_are_told_before_anything(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    text = CERTIFICATES.replace(
        "364d            ca                      no\n\n", "<invalid> no\n\n"
    )
    (node.play / "certificates").write_text(text)
    hint = refused(node, "certificates have expired: apiserver")
    assert hint.startswith("kubeadm certs renew all")
    assert not node.changes


def test_an_authority_that_ends_within_a_month_is_told(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (node.play / "certificates").write_text(
        CERTIFICATES.replace(
            "etcd-ca                 Nov 26, 2036 12:00 UTC   9y ", "etcd-ca x 29d"
        )
    )
    refused(node, "certificate authorities end within 30 days: etcd-ca")


def test_a_medium_that_lacks_an_image_is_refused(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    with (node.play / "images").open("a") as file:
        file.write("registry.k8s.io/etcd:3.7.0-0\n")
    fact = f"the ISO lacks registry.k8s.io/etcd:3.7.0-0, which kubeadm v{NEW} wants"
    assert "images.from: [kubeadm]" in refused(node, fact)
    refused(node, fact, "images")


@pytest.mark.parametrize(
    "path",
    [
        "k8s/kubelet",
        "manifest.json",
        "runtime/runc",
        f"runtime/containerd-linux-{ARCHITECTURE}.tar.gz",
        f"cni/cni-plugins-linux-{ARCHITECTURE}.tgz",
        f"cri-tools/crictl-linux-{ARCHITECTURE}.tar.gz",
    ],
)
def test_a_damaged_medium_is_refused(tmp_path: Path, path: str) -> None:
    node = machine(tmp_path, "one")
    with (node.medium / path).open("a") as file:
        file.write("\n")
    assert "compare the ISO" in refused(node, "is damaged")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (node.medium / "docker/kube-proxy.tar").write_bytes(b"")
    refused(node, "containerd did not take docker/kube-proxy.tar")


def test_a_medium_of_another_architecture_is_refused(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    text = (node.medium / "manifest.json").read_text()
    (node.medium / "manifest.json").write_text(text.replace(ARCHITECTURE, "s390x"))
    refused(node, f"the ISO is for s390x and this machine is {ARCHITECTURE}")


def test_a_folder_that_is_no_medium_is_refused(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (node.medium / "manifest.json").unlink()
    refused(node, "there is no manifest.json in")


def test_workers_wait_for_the_control_planes(tmp_path: Path) -> None:
    node = machine(tmp_path, "three", "worker")
    assert "then the workers" in refused(node, f"the control planes have v{OLD} yet")
    (tmp_path / "kubernetes/admin.conf").touch()
    node.change(version=NEW)
    node.change_node("one", nodeInfo={"kubeletVersion": f"v{NEW}"})
    refused(node, f"the control planes are not at v{NEW} yet: two", "drain", "three")


def test_a_second_control_plane_does_not_begin_while_the_first_is_half_done(tmp_path: Path) -> None:
    node = machine(tmp_path, "two")
    node.change(servers={"one": NEW, "two": OLD})
    hint = refused(node, "the upgrade of one has begun and is not finished")
    assert hint == "call this script on one first"


def test_images_of_all_nodes_come_before_the_first_control_plane(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    assert node.upgrade("images").endswith(f"done: images of v{NEW}\n")
    assert {head.split()[0] for head in heads(node)} == {"ctr"}


def test_a_control_plane_alone_may_not_be_on_old_control_groups(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (node.play / "cgroup").write_text("tmpfs\n")
    refused(node, "it has control groups of version 1")


def test_a_runtime_that_the_new_kubelet_cannot_use_is_told(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (node.play / "containerd").write_text("v1.7.28\n")
    shutil.rmtree(tmp_path / "running")  # a machine that was not started from such an ISO
    for program in ("kubelet", "kubectl", "kubeadm"):
        (tmp_path / "tools" / program).unlink()
        (tmp_path / "tools" / program).write_text(OLD)
    assert "bring containerd to version 2" in refused(node, "wants containerd 2")


def test_pods_that_keep_a_node_are_named(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    (node.play / "undrainable").touch()
    said = node.upgrade(code=1)
    assert "log: error: cannot delete Pods that declare no controller: default/hello" in said
    assert "error: one cannot be drained" in said
    (node.play / "undrainable").unlink()
    node.upgrade()
    is_whole(node, "one")


def test_two_at_once_on_one_machine_are_refused(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    with (tmp_path / "state/upgrade.lock").open("w") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(node, "another upgrade is at work on this machine")


def test_what_is_no_node_is_told(tmp_path: Path) -> None:
    node = machine(tmp_path, "one")
    shutil.rmtree(tmp_path / "kubernetes")
    refused(node, "this machine is no node of a cluster")


def test_an_unknown_step_is_told(tmp_path: Path) -> None:
    refused(machine(tmp_path, "one"), "drian: no such step", "drian")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    subprocess.run(["shellcheck", str(SCRIPT), str(FOLLOWS)], check=True)
