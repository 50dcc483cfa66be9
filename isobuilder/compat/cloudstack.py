"""A command line of CloudStack's ``create-kubernetes-binaries-iso.sh``, turned into a recipe.

Its forms, all of them by position: seven arguments (CloudStack 4.12 and later), the same with an
architecture and a version of etcd behind (4.21, ABLESTACK), and with a version of Headlamp in the
place of the dashboard's address (ABLESTACK, for Mold's nodes). The documentation's example has the
architecture before the name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isobuilder.documents.mistakes import InputErrors, Mark, Mistake
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.architecture import ARCHITECTURES, DEFAULT
from isobuilder.model.recipe import check_address

SCRIPT = "create-kubernetes-binaries-iso.sh"
_USAGE = (
    f"the script's own order: {SCRIPT} OUTPUT_PATH KUBERNETES_VERSION CNI_VERSION CRICTL_VERSION "
    "NETWORK_YAML DASHBOARD_YAML or HEADLAMP_VERSION, then BUILD_NAME, ARCH, ETCD_VERSION if wanted"
)
_VERSION = re.compile(r"v?([0-9]+\.[0-9]+\.[0-9]+)")
_HEADLAMP = (
    "https://raw.githubusercontent.com/kubernetes-sigs/headlamp/v{{ headlamp }}/"
    "kubernetes-headlamp.yaml"
)
_OLD_CNI = (
    "https://github.com/containernetworking/plugins/releases/download/"
    "v{0}/cni-plugins-{{{{ arch }}}}-v{0}.tgz"
)
_MACHINES = {traits.mold: name for name, traits in ARCHITECTURES.items()}
_MACHINES |= {name: name for name in ARCHITECTURES}
_NEW_CNI = (0, 8)  # since when releases say linux in their names
# What our base recipe has beside what the script brings.
_OURS = ("kubeadm", "kubelet", "kubectl")
_MORE = ("containerd", "runc", *(f"{name}.{end}" for name in _OURS for end in ("sig", "cert")))


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """What the arguments of one call mean."""

    kubernetes: KubeVersion
    cni: str
    crictl: str
    network: str  # the address of its manifest
    dashboard: str | None  # the address of its manifest
    headlamp: str | None  # its version, where it is the dashboard
    architecture: str
    etcd: str | None
    name: str | None  # of the ISO


def is_call(words: Sequence[str]) -> bool:
    """Whether words are a call of the script, by whatever shell and path."""
    return any(word.rpartition("/")[2] == SCRIPT for word in words)


def call_in(text: str) -> list[str] | None:
    """Return the words of the first call in a text such as a shell script, if there is one."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if is_call(words) and not words[0].startswith("echo"):
            return words
    return None


def read_call(words: Sequence[str], place: str) -> ScriptCall:
    """Return what a call means.

    Raises:
        InputErrors: every argument that is none of the script's, or that nobody can lock.
    """
    at = next(i for i, word in enumerate(words) if word.rpartition("/")[2] == SCRIPT)
    given = list(words[at + 1 :])
    if len(given) < 6:
        fact = f"expected six arguments or more, found {len(given)}"
        raise InputErrors([Mistake(Mark(place), "", fact, _USAGE)])
    reader = _Arguments(place)
    kubernetes = reader.version("KUBERNETES_VERSION", given[1])
    cni = reader.version("CNI_VERSION", given[2])
    crictl = reader.version("CRICTL_VERSION", given[3])
    network = reader.address("NETWORK_YAML", given[4])
    is_headlamp = _VERSION.fullmatch(given[5]) is not None
    dashboard = None if is_headlamp else reader.address("DASHBOARD_YAML", given[5])
    more = [word for word in given[6:] if word]
    machines = [word for word in more if word in _MACHINES]
    versions = [word for word in more if _VERSION.fullmatch(word)]
    names = [word for word in more if word not in {*machines, *versions}]
    for label, found in (("ARCH", machines), ("ETCD_VERSION", versions), ("BUILD_NAME", names)):
        if len(found) > 1:
            reader.wrong(label, f"expected one, found {' and '.join(found)}")
    if reader.mistakes:
        raise InputErrors(reader.mistakes)
    return ScriptCall(
        kubernetes=KubeVersion(kubernetes),
        cni=cni,
        crictl=crictl,
        network=network,
        dashboard=dashboard,
        headlamp=given[5].removeprefix("v") if is_headlamp else None,
        architecture=_MACHINES[machines[0]] if machines else DEFAULT,
        etcd=versions[0].removeprefix("v") if versions else None,
        name=names[0] if names else None,
    )


class _Arguments:
    def __init__(self, place: str) -> None:
        self.mistakes: list[Mistake] = []
        self._place = place

    def wrong(self, label: str, fact: str, hint: str = _USAGE) -> None:
        self.mistakes.append(Mistake(Mark(self._place), label, fact, hint))

    def version(self, label: str, text: str) -> str:
        found = _VERSION.fullmatch(text)
        if found is None:
            self.wrong(label, f"expected a version such as 1.33.1, found {text[:60]!r}")
            return "0.0.0"
        return found[1]

    def address(self, label: str, text: str) -> str:
        """Return an address; a path is a file that lies beside the recipe then."""
        is_path = ":" not in text
        try:
            return check_address(f"file:{text.removeprefix('./')}" if is_path else text)
        except ValueError as error:
            hint = "name an https address that stays the same, such as that of a release"
            self.wrong(label, str(error), f"{hint}, or a file beside the recipe")
            return text


def call_data(call: ScriptCall, profile: str, known: Mapping[str, str]) -> dict[str, Any]:
    """Return the recipe that gives the same versions at the same paths, as the values of YAML.

    ``known`` has variables of the profile's base recipe for what the script takes from branches.
    """
    variables = {**known, "cni": call.cni, "crictl": call.crictl}
    files: list[dict[str, Any]] = [{"name": name, "remove": True} for name in _MORE]
    if call.etcd is not None:
        variables["etcd"] = call.etcd
    elif "etcd" not in known:
        files.append({"name": "etcd", "remove": True})
    if tuple(map(int, call.cni.split(".")[:2])) < _NEW_CNI:
        files.append({"name": "cni-plugins", "url": _OLD_CNI.format(call.cni)})
    manifests: list[dict[str, Any]] = [{"name": "network", "url": call.network, "images": "pin"}]
    data: dict[str, Any] = {
        "schema": 1,
        "kubernetes": str(call.kubernetes),
        "revision": 1,
        "profile": profile,
        "architectures": [call.architecture],
        "extends": f"base/{profile}.yaml",
        "vars": variables,
        "files": files,
        "manifests": manifests,
        "boot": False,
    }
    if call.headlamp is None:
        manifests.append({"name": "dashboard", "url": call.dashboard, "images": "pin"})
        return data
    variables["headlamp"] = call.headlamp
    manifests.append({"name": "headlamp", "url": _HEADLAMP})
    return data
