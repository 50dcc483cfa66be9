"""Every form of a call of CloudStack's script becomes a recipe, or all that is wrong is told."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isobuilder.compat.cloudstack import SCRIPT, call_in, is_call, read_call
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import InputError
from isobuilder.model.loading import load_recipe
from isobuilder.model.recipe import Recipe
from isobuilder.pipeline.recipes import check_recipe, import_call
from tests.cli.calling import call

CALICO = "https://raw.githubusercontent.com/projectcalico/calico/v3.30.0/manifests/calico.yaml"
DASHBOARD = (
    "https://raw.githubusercontent.com/kubernetes/dashboard/v2.7.0/aio/deploy/recommended.yaml"
)
FIRST = ["./", "1.33.1", "1.7.1", "1.33.0", CALICO, DASHBOARD]


def imported(folder: Path, *arguments: str, script: str = SCRIPT) -> Recipe:
    path = import_call([script, *arguments], out=folder)
    assert check_recipe(path).mistakes == []
    (architecture,) = check_recipe(path).architectures
    return load_recipe(path, architecture)


NODE_FILES = {"k8s/kubeadm", "k8s/kubelet", "k8s/kubectl", "kubelet.service", "10-kubeadm.conf"}


def paths_of(recipe: Recipe) -> set[str]:
    paths = {entry.path for entry in recipe.files} | {entry.path for entry in recipe.render}
    return paths | {entry.path for entry in recipe.manifests}


def urls_of(recipe: Recipe) -> dict[str, str]:
    found = {entry.path: entry.source for entry in recipe.files}
    return found | {entry.path: entry.source for entry in recipe.manifests}


@pytest.mark.parametrize(
    ("more", "architecture", "etcd"),
    [
        ([], "amd64", None),
        (["setup-v1.33.1"], "amd64", None),
        ([""], "amd64", None),
        (["setup", "x86_64"], "amd64", None),
        (["setup", "amd64"], "amd64", None),
        (["setup", "aarch64"], "arm64", None),
        (["setup", "arm64", "3.5.21"], "arm64", "3.5.21"),
        (["aarch64", "setup-v1.33.1"], "arm64", None),
        (["setup", "", "v3.5.21"], "amd64", "3.5.21"),
        (["setup", "3.5.21"], "amd64", "3.5.21"),
    ],
)
def test_a_call_gives_its_versions_at_its_paths(
    tmp_path: Path, more: list[str], architecture: str, etcd: str | None
) -> None:
    recipe = imported(tmp_path, *FIRST, *more)
    assert (str(recipe.kubernetes), recipe.architectures) == ("1.33.1", (architecture,))
    wanted = NODE_FILES | {"network.yaml", "dashboard.yaml"}
    wanted |= {f"cni/cni-plugins-{architecture}.tgz"}
    wanted |= {f"cri-tools/crictl-linux-{architecture}.tar.gz"}
    assert paths_of(recipe) == wanted | ({"etcd/etcd-linux-amd64.tar.gz"} if etcd else set())
    urls = urls_of(recipe)
    assert urls["network.yaml"] == CALICO
    assert urls["dashboard.yaml"] == DASHBOARD
    assert "/v1.7.1/cni-plugins-linux-" in urls[f"cni/cni-plugins-{architecture}.tgz"]
    assert "/v1.33.0/crictl-v1.33.0-linux-" in urls[f"cri-tools/crictl-linux-{architecture}.tar.gz"]
    if etcd:
        assert f"/v{etcd}/etcd-v{etcd}-linux-{architecture}" in urls["etcd/etcd-linux-amd64.tar.gz"]
    assert {entry.images for entry in recipe.manifests} == {"pin"}  # as the script's own sed
    assert recipe.images.sources == ("kubeadm", "manifests")
    assert not recipe.boot


def test_a_version_of_headlamp_means_a_recipe_for_nodes_of_mold(tmp_path: Path) -> None:
    recipe = imported(tmp_path, "./", "1.34.2", "1.8.0", "1.34.1", CALICO, "0.41.0", "name")
    assert recipe.profile == "mold-cks"
    assert {"headlamp.yaml", "provider.yaml", "autoscaler.yaml"} <= paths_of(recipe)
    urls = urls_of(recipe)
    assert urls["headlamp.yaml"].endswith("/headlamp/v0.41.0/kubernetes-headlamp.yaml")
    replaced = recipe.images.replace["ghcr.io/headlamp-k8s/headlamp:latest"]
    assert replaced == "ghcr.io/headlamp-k8s/headlamp:v0.41.0"
    (etcd,) = [file.url for file in recipe.files if file.name == "etcd"]
    assert "/v3.6.5/" in etcd  # what kubeadm 1.34.2 pairs with


@pytest.mark.parametrize("path", ["network.yaml", "./network.yaml"])
def test_a_file_of_ones_own_is_one_beside_the_recipe(tmp_path: Path, path: str) -> None:
    (tmp_path / "network.yaml").write_text("apiVersion: v1\nkind: List\nitems: []\n")
    recipe = imported(tmp_path, *FIRST[:4], path, DASHBOARD)
    assert urls_of(recipe)["network.yaml"] == "file:network.yaml"


def test_plugins_of_old_releases_have_their_old_names(tmp_path: Path) -> None:
    old = ["./", "1.18.20", "0.7.1", "1.18.0", CALICO, DASHBOARD]
    (plugins,) = [f.url for f in imported(tmp_path, *old).files if f.name == "cni-plugins"]
    assert plugins.endswith("/v0.7.1/cni-plugins-amd64-v0.7.1.tgz")


Change = Callable[[list[str]], Any]


@pytest.mark.parametrize(
    ("at", "text", "fact"),
    [
        (1, "1.33", "KUBERNETES_VERSION: expected a version such as 1.33.1, found '1.33'"),
        (1, "latest", "KUBERNETES_VERSION: expected a version"),
        (2, "x", "CNI_VERSION: expected a version"),
        (3, "", "CRICTL_VERSION: expected a version"),
        (4, "/root/network.yaml", "NETWORK_YAML: 'file:/root/network.yaml' is a path of one"),
        (4, "file:///root/n.yaml", "NETWORK_YAML: 'file:///root/n.yaml' is a path of one machine"),
        (4, "http://127.0.0.1/n.yaml", "NETWORK_YAML: expected an https address"),
        (4, f"{CALICO}?raw=1", "NETWORK_YAML: query or fragment"),
        (5, "https://x.example/main/d.yaml", "DASHBOARD_YAML: 'main' in "),
    ],
)
def test_what_nobody_can_lock_is_refused_with_its_name(at: int, text: str, fact: str) -> None:
    words = [SCRIPT, *FIRST]
    words[at + 1] = text
    with pytest.raises(InputErrors) as refused:
        read_call(words, SCRIPT)
    (mistake,) = refused.value.mistakes
    assert fact in str(mistake)
    assert mistake.hint


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InputErrors) as refused:
        read_call([SCRIPT, "./", "1", "2", "3", "../4", "../5", "a", "b", "arm64", "amd64"], SCRIPT)
    assert [mistake.path for mistake in refused.value.mistakes] == [
        "KUBERNETES_VERSION",
        "CNI_VERSION",
        "CRICTL_VERSION",
        "NETWORK_YAML",
        "DASHBOARD_YAML",
        "ARCH",
        "BUILD_NAME",
    ]
    with pytest.raises(InputErrors, match="expected six arguments or more, found 2"):
        read_call([SCRIPT, "./", "1.33.1"], SCRIPT)


def test_another_recipe_is_not_written_over(tmp_path: Path) -> None:
    imported(tmp_path, *FIRST)
    imported(tmp_path, *FIRST)
    with pytest.raises(InputError, match="is there already, with other content"):
        imported(tmp_path, *FIRST, "other", "arm64")


@pytest.mark.parametrize(
    "text",
    [
        f"#!/bin/sh\nset -e\nsudo ./{SCRIPT} {' '.join(FIRST)} name\n",
        f"# a note\nbash -x /opt/cs/{SCRIPT} ./ 1.33.1 1.7.1 \\\n  1.33.0 {CALICO} "
        f"\\\r\n  '{DASHBOARD}'\n",
        f"echo 'usage: {SCRIPT} A B'\n# {SCRIPT} x\n./{SCRIPT} {' '.join(FIRST)} # now\n",
    ],
)
def test_a_call_is_found_in_a_text(text: str) -> None:
    words = call_in(text)
    assert words is not None
    assert is_call(words)
    assert str(read_call(words, "x").kubernetes) == "1.33.1"


def test_a_text_without_a_call_has_none() -> None:
    assert call_in("#!/bin/sh\nmake\n'open\n") is None


@pytest.mark.parametrize("page", ["coming-from-the-script.md", "ko/coming-from-the-script.md"])
def test_the_page_about_the_script_can_be_typed(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    (theirs,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    (ours,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert theirs in ours
    monkeypatch.chdir(tmp_path)
    lines = ours.replace("\\\n", " ").splitlines()
    said = [call(*shlex.split(line)[1:]).stdout.strip() for line in lines]
    assert said == [
        "kubernetes-1.33.1.yaml",
        "good: kubernetes-1.33.1.yaml (amd64)",
    ]
