"""Files we make ourselves say what a node reads from them."""

from __future__ import annotations

import configparser
import json
from typing import Any

import pytest

from isobuilder.content.render import TEMPLATES, render, render_file
from isobuilder.digest import Digest
from isobuilder.errors import InputError
from isobuilder.model.lock import Lock
from isobuilder.model.recipe import Render

PROVIDER = "ghcr.io/ablecloud-team/ablestack-kubernetes-provider"
CSI = "ghcr.io/ablecloud-team/ablestack-kubernetes-csi"
SHA = "5dee69546c4e1eeee5828c126b5282c603384f4a"
SDK = "06c94ac6637fe03b795cef10ba1afde1d1e8ef8c"


def locked_image(reference: str) -> dict[str, Any]:
    digest = Digest.of(reference.encode())
    return {
        "reference": reference,
        "index": Digest.of(b"index of " + reference.encode()),
        "digest": digest,
        "size": None,
        "archive": f"docker/{digest.hex}.tar",
        "original": [],
        "core": False,
    }


def lock_with(components: dict[str, Any], *references: str) -> Lock:
    data = {
        "schema": 1,
        "kubernetes": "1.34.12",
        "revision": 1,
        "profile": "mold-cks",
        "architecture": "amd64",
        "recipe": Digest.of(b"recipe"),
        "epoch": 0,
        "tool": "0",
        "files": [],
        "manifests": [],
        "images": [locked_image(reference) for reference in references],
        "render": [],
        "components": components,
        "registration": {},
    }
    return Lock.model_validate_json(json.dumps(data))


def item(template: str) -> Render:
    return Render(path=template.removesuffix(".j2"), template=template)


@pytest.fixture
def provider_lock() -> Lock:
    provider = {
        "image": f"{PROVIDER}:v1",
        "source_sha": SHA,
        "facts": {"sdk_source_sha": SDK},
    }
    csi = {"image": f"{CSI}@{Digest.of(b'index of ' + f'{CSI}:v3'.encode())}"}
    return lock_with({"provider": provider, "csi": csi}, f"{PROVIDER}:v1", f"{CSI}:v3")


def unit(text: bytes) -> dict[str, dict[str, list[str]]]:
    parser = configparser.RawConfigParser(strict=False, dict_type=dict, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text.decode())
    return {section: {key: [value] for key, value in parser[section].items()} for section in parser}


def test_the_kubelet_unit_runs_the_program_where_nodes_put_it(provider_lock: Lock) -> None:
    text = render_file(provider_lock, item("kubelet.service.j2"), {})
    assert unit(text)["Service"]["ExecStart"] == ["/opt/bin/kubelet"]
    assert unit(text)["Service"]["Restart"] == ["always"]
    assert unit(text)["Unit"]["Wants"] == ["network-online.target"]
    assert b"/usr/bin" not in text
    assert text.endswith(b"WantedBy=multi-user.target\n")


def test_the_drop_in_clears_the_command_and_ends_it_with_the_extra_arguments(
    provider_lock: Lock,
) -> None:
    text = render_file(provider_lock, item("10-kubeadm.conf.j2"), {}).decode()
    commands = [line for line in text.splitlines() if line.startswith("ExecStart")]
    assert commands[0] == "ExecStart="
    assert commands[1].startswith("ExecStart=/opt/bin/kubelet $KUBELET_KUBECONFIG_ARGS ")
    assert commands[1].endswith(" $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS")
    assert "EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env" in text
    assert "EnvironmentFile=-/etc/default/kubelet" in text
    assert "/usr/bin" not in text


def test_the_ownership_file_names_provider_and_sdk_by_digest_and_commit(
    provider_lock: Lock,
) -> None:
    data = json.loads(render_file(provider_lock, item("provider-ownership-v1.json.j2"), {}))
    assert data == {
        "schemaVersion": 1,
        "providerSource": SHA,
        "providerImage": f"{PROVIDER}@{Digest.of(f'{PROVIDER}:v1'.encode())}",
        "sdkSource": SDK,
    }


def test_the_csi_profile_names_driver_and_files_by_digest(provider_lock: Lock) -> None:
    digests = {"manifest.yaml": Digest.of(b"m"), "snapshot-crds.yaml": Digest.of(b"s")}
    data = json.loads(render_file(provider_lock, item("csi-profile.json.j2"), digests))
    assert data == {
        "schemaVersion": 1,
        "apiSignature": "HmacSHA256",
        "driverImage": f"{CSI}@{Digest.of(f'{CSI}:v3'.encode())}",
        "files": {path: digest.hex for path, digest in digests.items()},
    }


def test_an_unknown_template_is_refused_with_place_and_choice(provider_lock: Lock) -> None:
    with pytest.raises(InputError, match=r"amd64-r1: x.conf: no template 'x.conf.j2'") as refused:
        render_file(provider_lock, item("x.conf.j2"), {})
    assert refused.value.hint is not None
    assert all(name in refused.value.hint for name in TEMPLATES)
    with pytest.raises(InputError, match=r"no template '\.\./render\.py'"):
        render("../render.py", {})


@pytest.mark.parametrize("name", ["provider-ownership-v1.json.j2", "csi-profile.json.j2"])
def test_a_missing_component_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"needs the component '(provider|csi)'"):
        render_file(lock_with({}), item(name), {})


def test_a_component_without_its_source_is_refused() -> None:
    lock = lock_with({"provider": {"image": f"{PROVIDER}:v1"}}, f"{PROVIDER}:v1")
    with pytest.raises(InputError, match=r"components\.provider has no source_sha"):
        render_file(lock, item("provider-ownership-v1.json.j2"), {})


def test_a_component_whose_image_was_not_locked_is_refused() -> None:
    lock = lock_with({"csi": {"image": f"{CSI}:v3"}}, f"{CSI}:v4")
    with pytest.raises(InputError, match=r"ablestack-kubernetes-csi:v3 is not among the locked"):
        render_file(lock, item("csi-profile.json.j2"), {})


def test_a_csi_profile_of_files_that_are_not_there_is_refused(provider_lock: Lock) -> None:
    with pytest.raises(InputError, match=r"speaks of snapshot-crds.yaml, which is not on"):
        render_file(provider_lock, item("csi-profile.json.j2"), {"manifest.yaml": Digest.of(b"m")})


def test_a_template_without_its_value_is_refused() -> None:
    with pytest.raises(InputError, match=r"^template kubelet\.service\.j2: "):
        render("kubelet.service.j2", {})


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_same_lock_gives_the_same_bytes(name: str, provider_lock: Lock) -> None:
    digests = {"manifest.yaml": Digest.of(b"m"), "snapshot-crds.yaml": Digest.of(b"s")}
    first = render_file(provider_lock, item(name), digests)
    assert render_file(provider_lock, item(name), dict(reversed(digests.items()))) == first
