"""Image archives of every form ``ctr`` has an opinion about, and what it made of each.

The names and refusals are what containerd 1.6.20 and 2.x did; test_deep.py asks them again.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass

from isobuilder.digest import Digest
from tests.contract.trees import REF_NAME, Image, Tree, named, tar

BASE = "registry.k8s.io/pause"
FULL_NAME = "io.containerd.image.name"
PAUSE = named(f"{BASE}:3.10")


@dataclass(frozen=True, slots=True)
class Form:
    """An archive, and the names there are after its import; None when it is refused."""

    name: str
    data: bytes
    with_base: frozenset[str] | None
    without_base: frozenset[str] | None

    def __str__(self) -> str:
        return self.name


def _oci(annotations: dict[str, str], *, leave_out: str = "") -> bytes:
    files = PAUSE.oci_files(annotations)
    return tar({name: data for name, data in files.items() if name != leave_out})


def _two() -> bytes:
    other = Image("docker.io/x/y:1")
    files: Tree = {**other.oci_files(), **PAUSE.oci_files()}
    entries = [json.loads(one.oci_files()["index.json"])["manifests"][0] for one in (PAUSE, other)]
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    return tar(files)


def _docker(tags: list[str] | None) -> bytes:
    entry = {"Config": "config.json", "RepoTags": tags, "Layers": ["layer.tar"]}
    return tar(
        {
            "manifest.json": json.dumps([entry]).encode(),
            "config.json": PAUSE.config,
            "layer.tar": PAUSE.layer,
        }
    )


def _names(*names: str) -> frozenset[str]:
    return frozenset(names)


_PINNED = f"{BASE}@{PAUSE.digest}"
_LAYER = f"blobs/sha256/{Digest.of(PAUSE.layer).hex}"
_REF = {REF_NAME: PAUSE.reference}
_OTHER_PINNED = f"{BASE}@{Image('docker.io/x/y:1').digest}"

FORMS = (
    Form("full reference", _oci(_REF), _names(PAUSE.reference, _PINNED), _names(PAUSE.reference)),
    Form("bare tag", _oci({REF_NAME: "3.11"}), _names(f"{BASE}:3.11", _PINNED), _names()),
    Form(
        "another repository",
        _oci({REF_NAME: "quay.io/a:1"}),
        _names(_PINNED),
        _names("quay.io/a:1"),
    ),
    Form("a longer name", _oci({REF_NAME: f"{BASE}s:1"}), _names(_PINNED), _names(f"{BASE}s:1")),
    Form(
        "containerd's own name",
        _oci({FULL_NAME: "quay.io/other:1", REF_NAME: "1"}),
        _names("quay.io/other:1", _PINNED),
        _names("quay.io/other:1"),
    ),
    Form("no name", _oci({}), _names(_PINNED), _names()),
    Form(
        "two images",
        _two(),
        _names(PAUSE.reference, _PINNED, _OTHER_PINNED),
        _names(PAUSE.reference, "docker.io/x/y:1"),
    ),
    Form("no oci-layout", _oci(_REF, leave_out="oci-layout"), None, None),
    Form("no index.json", _oci(_REF, leave_out="index.json"), None, None),
    Form("no layer", _oci(_REF, leave_out=_LAYER), None, None),
    Form("only blobs", tar({_LAYER: PAUSE.layer}), None, None),
    Form("compressed", gzip.compress(_oci(_REF)), None, None),
    Form("empty", b"", None, None),
    Form("an HTML page", b"<html>" * 300, None, None),
    Form("cut off", _oci(_REF)[:2000], None, None),
)

DOCKER_FORMS = (
    Form(
        "docker save",
        _docker([PAUSE.reference, "busybox:1"]),
        _names(PAUSE.reference, "docker.io/library/busybox:1"),
        _names(PAUSE.reference, "docker.io/library/busybox:1"),
    ),
    Form("docker save without tags", _docker(None), _names(), _names()),
)
"""Here ``ctr`` makes a manifest of its own, whose digest only it knows."""
