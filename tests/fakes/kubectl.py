"""The real kubectl, which needs no cluster to say what it reads: only a server that knows kinds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isobuilder.http.replies import Reply, Request
from isobuilder.http.serving import Server

PROGRAM = Path(sys.executable).with_name("kubectl")
_MARKER = "isobuilder.test/next"


class Discovery(Server):
    """The part of an API server that says which kinds there are."""

    def __init__(self, kinds: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._kinds = kinds  # by group and version, e.g. apps/v1

    def answer(self, request: Request) -> Reply:
        found: dict[str, Any] | None = None
        version = request.path.removeprefix("/apis/").removeprefix("/api/")
        if request.path == "/api":
            found = {"kind": "APIVersions", "versions": ["v1"]}
        elif request.path == "/apis":
            groups = [_group(name) for name in self._kinds if "/" in name]
            found = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        elif version in self._kinds:
            found = {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": version,
                "resources": [_resource(kind) for kind in self._kinds[version]],
            }
        if found is None:
            return Reply(404)
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(found).encode())


def _group(name: str) -> dict[str, Any]:
    version = {"groupVersion": name, "version": name.partition("/")[2]}
    return {"name": name.partition("/")[0], "versions": [version], "preferredVersion": version}


def _resource(kind: str) -> dict[str, Any]:
    name = kind.lower()
    return {
        "name": f"{name}s",
        "singularName": name,
        "namespaced": True,
        "kind": kind,
        "verbs": ["create"],
    }


def objects_of(
    manifests: Sequence[bytes], kinds: Mapping[str, Sequence[str]], folder: Path
) -> list[list[dict[str, Any]]]:
    """Return the objects that ``kubectl create --dry-run=client -o json`` finds in each manifest.

    All are given to one kubectl, which takes them in the order of their names; small objects of
    ours between them tell where each begins.
    """
    files = folder / "manifests"
    files.mkdir()
    marker = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": _MARKER}}
    for number, data in enumerate(manifests):
        (files / f"{number:04}-a.json").write_text(json.dumps(marker), encoding="utf-8")
        (files / f"{number:04}-b.yaml").write_bytes(data)
    with Discovery(kinds) as server:
        command = [str(PROGRAM), "create", "--dry-run=client", "--validate=false", "--output=json"]
        command += [
            f"--server={server.url}",
            f"--cache-dir={folder / 'cache'}",
            f"--filename={files}",
        ]
        ended = subprocess.run(
            command,
            capture_output=True,
            check=False,
            env={"HOME": str(folder), "KUBECONFIG": "/dev/null"},
            text=True,
            encoding="utf-8",
            timeout=120,
        )
    assert ended.stderr == ""
    return _split(ended.stdout)


def _split(printed: str) -> list[list[dict[str, Any]]]:
    decoder, index, found = json.JSONDecoder(), 0, list[list[dict[str, Any]]]()
    while printed[index:].strip():
        value, end = decoder.raw_decode(printed, index)
        index = end + len(printed[end:]) - len(printed[end:].lstrip())
        if value["metadata"]["name"] == _MARKER:
            found.append([])
            continue
        value["metadata"].pop("namespace")  # kubectl adds the default one
        found[-1].append(value)
    return found
