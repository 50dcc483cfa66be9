from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest

from isobuilder.documents.mistakes import InputErrors
from isobuilder.model.loading import read_recipe

SHIPPED = Path(__file__).parents[2] / "recipes"
Extend = Callable[..., Path]


@pytest.fixture
def extend(tmp_path: Path) -> Extend:
    def extend(more: str, base: str = "kubernetes-1.34.12.yaml") -> Path:
        path = tmp_path / "a.yaml"
        path.write_text(f"schema: 1\nextends: {base}\n{more}\n")
        return path

    return extend


def mistakes(path: Path) -> str:
    with pytest.raises(InputErrors) as caught:
        read_recipe(path)
    return "\n".join(f"{one} [{one.hint}]" for one in caught.value.mistakes)


def warnings(path: Path) -> str:
    return "\n".join(map(str, read_recipe(path).warnings))


# What each profile cannot be without, by the name of its entry in the shipped recipes.
FILES = ["kubeadm", "kubelet", "kubectl", "cni-plugins", "crictl"]
CSI = """\
profile: mold-cks-csi
vars: {csi_sha: cccccccccccccccccccccccccccccccccccccccc}
manifests:
  - {name: csi, path: manifest.yaml, url: "https://example.com/manifest.yaml"}
  - {name: snapshot-crds, path: snapshot-crds.yaml, url: "https://example.com/crds.yaml"}
render:
  - {path: csi-profile.json, template: csi-profile.json.j2}
components:
  csi:
    image: ghcr.io/dhslove/ablestack-kubernetes-csi:1
    source_sha: "{{ csi_sha }}"
    labels: {io.ablestack.api-signature: HMAC-SHA256}
"""


@pytest.mark.parametrize("name", [*FILES, "etcd"])
def test_mold_needs_each_file(extend: Extend, name: str) -> None:
    found = mistakes(extend(f"files: [{{name: {name}, remove: true}}]"))
    assert "the profile mold-cks needs" in found
    assert "[add it to files]" in found


@pytest.mark.parametrize("name", ["network", "headlamp", "provider", "autoscaler"])
def test_mold_needs_each_manifest(extend: Extend, name: str) -> None:
    found = mistakes(extend(f"manifests: [{{name: {name}, remove: true}}]"))
    assert f"the profile mold-cks needs {name}.yaml" in found


@pytest.mark.parametrize("path", ["kubelet.service", "10-kubeadm.conf"])
def test_every_profile_needs_the_unit_files(extend: Extend, path: str) -> None:
    found = mistakes(extend(f"render: [{{path: {path}, remove: true}}]"))
    assert f"the profile mold-cks needs {path}" in found


def test_all_that_is_missing_is_told_at_once(extend: Extend) -> None:
    files = "files: [{name: kubeadm, remove: true}, {name: etcd, remove: true}]"
    found = mistakes(extend(f"{files}\ncomponents: {{provider: {{remove: true}}}}"))
    assert len(found.splitlines()) == 3


def test_a_dashboard_may_stand_for_headlamp(extend: Extend) -> None:
    more = "  - {name: dash, path: dashboard.yaml, url: 'https://example.com/d.yaml', images: pin}"
    read_recipe(extend(f"manifests:\n  - {{name: headlamp, remove: true}}\n{more}"))


@pytest.mark.parametrize(
    "path", ["cni/cni-plugins-arm64.tgz", "cri-tools/crictl-linux-arm64.tar.gz"]
)
def test_two_archives_for_one_glob_are_refused(extend: Extend, path: str) -> None:
    found = mistakes(extend(f"files: [{{name: more, path: {path}, url: 'https://example.com/x'}}]"))
    assert "expected exactly one" in found
    assert path in found


def test_a_manifest_among_the_files_is_refused(extend: Extend) -> None:
    found = mistakes(
        extend(
            "manifests: [{name: provider, remove: true}]\n"
            "files: [{name: p, path: provider.yaml, url: 'https://example.com/x'}]"
        )
    )
    assert "expected provider.yaml among manifests, found it among files" in found


@pytest.mark.parametrize(
    "path", ["manifest.json", "SHA256SUMS", "sha256sums", "sbom.cdx.json", "docker/x.tar"]
)
def test_what_the_build_itself_writes_may_not_be_there(extend: Extend, path: str) -> None:
    found = mistakes(extend(f"files: [{{name: more, path: {path}, url: 'https://example.com/x'}}]"))
    assert f"the build itself writes {path}" in found


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        ("Tools/a", "tools/b", "the folder tools is written Tools in files[more-1].path"),
        ("a/Tools/a", "a/tools/x/b", "the folder a/tools is written a/Tools in files[more-1].path"),
        ("K8S/a", "x", "the folder K8S is written k8s in files[kubeadm].path"),
        ("tools", "tools/b", "tools is a folder here, and tools is a file in files[more-1].path"),
        ("tools/x/b", "Tools", "tools is a folder here, and Tools is a file in files[more-2].path"),
        ("k8s", "x", "k8s is a folder here, and k8s is a file in files[more-1].path"),
        ("Boot/a", "x", "the folder Boot is written boot in what starts machines"),
        ("efi", "x", "efi is a folder of what starts machines"),
        ("docker", "x", "the build itself writes docker"),
        ("manifest.json/a", "x", "the build itself writes manifest.json/a"),
    ],
)
def test_paths_that_cannot_be_on_one_disc_are_told_with_both_places(
    extend: Extend, one: str, two: str, told: str
) -> None:
    listed = "".join(
        f"  - {{name: more-{number}, path: {path}, url: 'https://example.com/x'}}\n"
        for number, path in enumerate((one, two), 1)
    )
    assert told in mistakes(extend(f"files:\n{listed}"))


def test_files_in_one_folder_are_fine_and_without_boot_its_folders_are_free(extend: Extend) -> None:
    listed = "".join(
        f"  - {{name: more-{number}, path: {path}, url: 'https://example.com/x'}}\n"
        for number, path in enumerate(("tools/a", "tools/b/c", "efi", "k8s/more"))
    )
    read_recipe(extend(f"boot: false\nfiles:\n{listed}"))


def test_a_file_that_nodes_leave_out_may_not_be_there(extend: Extend) -> None:
    found = mistakes(
        extend("files: [{name: more, path: docs/index.html.gz, url: 'https://example.com/x'}]")
    )
    assert "nodes that fetch the tree over HTTP leave docs/index.html.gz out" in found


@pytest.mark.parametrize("name", ["headlamp", "provider"])
def test_mold_accepts_some_manifests_only_with_digests(extend: Extend, name: str) -> None:
    found = mistakes(extend(f"manifests: [{{name: {name}, images: keep}}]"))
    assert f"Mold accepts {name}.yaml only with images by digest [write images: pin]" in found


def test_the_pause_image_must_come_from_somewhere(extend: Extend) -> None:
    assert "no pause image" in mistakes(extend("images: {from: [manifests]}"))
    read_recipe(extend("images: {from: [manifests], extra: ['registry.k8s.io/pause:3.10.1']}"))


def test_images_of_manifests_that_are_not_taken_are_odd(extend: Extend) -> None:
    assert "images.from has no manifests" in warnings(extend("images: {from: [kubeadm]}"))


def test_a_missing_ownership_file_is_odd_not_wrong(extend: Extend) -> None:
    path = extend("render: [{path: provider-ownership-v1.json, remove: true}]")
    assert "no provider-ownership-v1.json" in warnings(path)


@pytest.mark.parametrize("name", ["provider", "autoscaler"])
def test_mold_needs_the_provenance_of_its_components(extend: Extend, name: str) -> None:
    found = mistakes(extend(f"components: {{{name}: {{remove: true}}}}"))
    assert f"components: the profile mold-cks needs the component {name}" in found


@pytest.mark.parametrize("name", ["provider", "autoscaler"])
@pytest.mark.parametrize(
    ("value", "fact"),
    [
        (
            "labels: {io.ablestack.api-signature: HMAC-SHA1}",
            "expected io.ablestack.api-signature: HMAC-SHA256, found HMAC-SHA1",
        ),
        (
            f"labels: {{org.opencontainers.image.revision: {'1' * 39}a}}",
            f"found {'1' * 39}a",
        ),
        (f"source_sha: {'2' * 39}b", "expected "),
    ],
)
def test_a_component_is_what_its_labels_and_manifest_say(
    extend: Extend, name: str, value: str, fact: str
) -> None:
    found = mistakes(extend(f"components:\n  {name}:\n{indent(value, '    ')}"))
    assert fact in found
    assert f"components.{name}" in found


def test_a_manifest_must_be_of_the_commit_of_its_component(extend: Extend) -> None:
    repository = "ablecloud-team/ablestack-kubernetes-provider"
    url = f"https://raw.githubusercontent.com/{repository}/{'3' * 40}/deployment.yaml"
    found = mistakes(extend(f"manifests: [{{name: provider, url: {url}}}]"))
    assert f"components.provider.source_sha: expected provider.yaml from {repository}/" in found


def test_the_autoscaler_must_be_of_the_recipe_s_own_minor(extend: Extend) -> None:
    found = mistakes(extend('components: {autoscaler: {kubernetes_minor: "1.33"}}'))
    place = "components.autoscaler.kubernetes_minor"
    assert f"{place}: expected the recipe's own 1.34, found 1.33" in found


def test_csi_needs_its_manifests_profile_and_component(extend: Extend) -> None:
    found = mistakes(extend("profile: mold-cks-csi"))
    for wanted in ("manifest.yaml", "snapshot-crds.yaml", "csi-profile.json", "the component csi"):
        assert f"the profile mold-cks-csi needs {wanted}" in found
    assert read_recipe(extend(CSI)).recipe.profile == "mold-cks-csi"


def test_csi_manifests_must_keep_their_bytes(extend: Extend) -> None:
    found = mistakes(extend(CSI.replace('crds.yaml"}', 'crds.yaml", images: pin}')))
    assert "snapshot-crds.yaml must stay as upstream wrote it" in found


def test_the_shipped_csi_base_only_waits_for_what_upstream_has_not_published(
    extend: Extend,
) -> None:
    variables = (SHIPPED / "kubernetes-1.34.12.yaml").read_text().split("vars:\n")[1]
    more = f"""\
kubernetes: "1.34.12"
vars:
{variables}  csi_sha: {"d" * 40}
manifests:
  - {{name: csi, url: "https://example.com/{{{{ csi_sha }}}}/manifest.yaml"}}
  - {{name: snapshot-crds, url: "https://example.com/{{{{ csi_sha }}}}/snapshot-crds.yaml"}}
components: {{csi: {{image: "ghcr.io/dhslove/ablestack-kubernetes-csi:sha-{{{{ csi_sha }}}}"}}}}
"""
    recipe = read_recipe(extend(more, base="base/mold-cks-csi.yaml")).recipe
    assert recipe.profile == "mold-cks-csi"
    assert {one.path for one in recipe.manifests if one.images == "keep"} == {
        "manifest.yaml",
        "snapshot-crds.yaml",
    }


CLOUDSTACK = f"""\
kubernetes: "1.31.4"
vars: {{cni: "1.7.1", crictl: "1.31.1", etcd: "3.5.15", calico_sha: {"e" * 40}}}
"""


def test_cloudstack_keeps_manifests_and_may_pin_them(extend: Extend) -> None:
    base = "base/cloudstack-cks.yaml"
    path = extend(CLOUDSTACK, base=base)
    assert {one.images for one in read_recipe(path).recipe.manifests} == {"keep"}
    assert "no provider.yaml" in warnings(path)
    pinned = extend(CLOUDSTACK + "manifests: [{name: network, images: pin}]", base=base)
    assert {one.images for one in read_recipe(pinned).recipe.manifests} == {"keep", "pin"}


@pytest.mark.parametrize("name", FILES)
def test_cloudstack_needs_each_file(extend: Extend, name: str) -> None:
    more = CLOUDSTACK + f"files: [{{name: {name}, remove: true}}]"
    found = mistakes(extend(more, base="base/cloudstack-cks.yaml"))
    assert "the profile cloudstack-cks needs" in found


@pytest.mark.parametrize("name", ["network", "dashboard"])
def test_cloudstack_needs_each_manifest(extend: Extend, name: str) -> None:
    more = CLOUDSTACK + f"manifests: [{{name: {name}, remove: true}}]"
    found = mistakes(extend(more, base="base/cloudstack-cks.yaml"))
    assert "the profile cloudstack-cks needs" in found
