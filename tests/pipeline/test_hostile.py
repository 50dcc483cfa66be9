"""What strangers may have written, from one end to the other: an answer of ours, and soon."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.errors import InputError, IntegrityError
from isobuilder.http.replies import Reply, Request
from isobuilder.machine.payload import payloads
from isobuilder.pipeline.build import Built
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.pipeline.verify import verify
from isobuilder.sources.session import Session
from isobuilder.store import Store
from tests.pipeline.forging import Contents
from tests.pipeline.world import Locked, World, command

# --- manifests on an ISO

ODD_SCALARS = [
    "!!bool foo",
    "!!int ''",
    "!!int 0x",
    "!!int '1_'",
    "!!float foo",
    "!!timestamp foo",
    "!!binary '='",
    "!!null x",
    "!!merge x",
    "!!set [a]",
    "!!omap {a: b}",
    "!!python/object:os.system x",
    "!x y",
    "2001-99-99",
    "0b2",
    "1e999999",
    f"0x{'f' * 5000}",
    "9" * 5000,
    "190:20:30",
    ".inf",
    "[" * 500,
    "&a [*a]",
    "{<<: 3}",
]

NO_SUCH_THING: list[object] = [None, True, 3, 1.5, "", "x", [], {}, [[]], [None], {"a": "b"}, [3]]
"""What may stand where something else belongs."""

OBJECTS: list[dict[str, object]] = [
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "kube-system", "labels": {}},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {
                    "containers": [{"name": "a", "image": "x.example/a:1", "args": ["a"]}],
                    "initContainers": [{"name": "b", "image": "x.example/b:1"}],
                    "volumes": [{"name": "v", "image": {"reference": "x.example/v:1"}}],
                    "serviceAccountName": "a",
                },
            },
        },
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "a"},
        "roleRef": {"apiGroup": "x", "kind": "ClusterRole", "name": "a"},
        "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "kube-system"}],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "a"},
        "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}],
    },
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "b"}},
    {"apiVersion": "v1", "kind": "List", "items": [{"kind": "Pod"}]},
]


def places_in(value: object, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below: list[tuple[str | int, object]] = []
    if isinstance(value, dict | list):
        below = list(value.items() if isinstance(value, dict) else enumerate(value))
    found = [place for key, inner in below for place in places_in(inner, (*way, key))]
    return [way, *found] if way else found


def with_other(value: object, way: tuple[str | int, ...], other: object) -> object:
    copy = json.loads(json.dumps(value))
    inner = copy
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = other
    return copy


def refused_or_not(built: Built, target: Path, path: str, data: bytes) -> None:
    """Verify an ISO with another file; whatever is found, it is found in our words."""
    contents = Contents.of(built.iso)
    contents.files[path] = data
    contents.mend()
    contents.write_plainly(target)
    found = verify(target, layers=False)
    assert all(str(finding).isprintable() for finding in found.findings)


@pytest.mark.parametrize("path", ["network.yaml", "autoscaler.yaml"])
@pytest.mark.parametrize("scalar", ODD_SCALARS, ids=range(len(ODD_SCALARS)))
def test_odd_values_in_a_manifest_are_findings(
    scalar: str, path: str, built: Built, tmp_path: Path
) -> None:
    refused_or_not(built, tmp_path / "a.iso", path, f"kind: A\nx: {scalar}\n".encode())


@pytest.mark.parametrize("other", NO_SUCH_THING, ids=str)
def test_anything_may_stand_anywhere_in_a_manifest(
    other: object, built: Built, tmp_path: Path
) -> None:
    texts = [
        json.dumps(with_other(thing, way, other)) for thing in OBJECTS for way in places_in(thing)
    ]
    for path in ("network.yaml", "autoscaler.yaml"):
        refused_or_not(built, tmp_path / "a.iso", path, "\n---\n".join(texts).encode())


@pytest.mark.parametrize(
    "path", ["manifest.json", "docker/images.list", "SHA256SUMS", "sbom.cdx.json"]
)
def test_any_bytes_may_stand_in_what_describes_an_iso(
    path: str, built: Built, tmp_path: Path
) -> None:
    for data in (b"", b"\0", b"[]", b"{}", b"\xff" * 99, b"a b\n" * 999, b'{"files": 3}'):
        contents = Contents.of(built.iso)
        contents.files[path] = data
        contents.write_plainly(tmp_path / "a.iso")
        assert not verify(tmp_path / "a.iso", layers=False).passed or path == "sbom.cdx.json"


@pytest.mark.parametrize("depth", [9, 30])
def test_aliases_of_aliases_are_refused_at_once(depth: int, built: Built, tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(depth)]
    began = time.process_time()
    text = "kind: A\n" + "\n".join(lines) + f"\nmetadata: {{name: *a{depth}}}\n"
    refused_or_not(built, tmp_path / "a.iso", "network.yaml", text.encode())
    assert time.process_time() - began < 10


# --- what a mirror serves in place of a manifest


def served(path: str, data: bytes) -> Callable[[Request, Reply], Reply | None]:
    def hook(request: Request, _reply: Reply) -> Reply | None:
        return Reply(200, {}, data) if request.path.endswith(path) else None

    return hook


@pytest.mark.parametrize(
    "text",
    [
        b"kind: Pod\nspec: {containers: [{image: 'not a reference!'}]}\n",
        b"\xff\xfe\0",
        b"[" * 100_000,
    ],
)
def test_a_manifest_that_makes_no_sense_is_told_when_it_is_locked(
    text: bytes, world: World, empty_session: Session, tmp_path: Path
) -> None:
    hook = served("calico.yaml", text)
    world.upstream.hooks.append(hook)
    try:
        with pytest.raises(InputError) as caught:
            lock_recipe(copy_of(world.recipe, tmp_path), "amd64", empty_session)
        assert all(line.isprintable() for line in caught.value.lines)
    finally:
        world.upstream.hooks.remove(hook)


def test_a_manifest_far_too_large_is_not_read(
    world: World, empty_session: Session, tmp_path: Path
) -> None:
    hook = served("calico.yaml", b"# " + b"x" * (17 * 1024 * 1024))
    world.upstream.hooks.append(hook)
    try:
        with pytest.raises(IntegrityError, match="longer than the 16777216 bytes allowed"):
            lock_recipe(copy_of(world.recipe, tmp_path), "amd64", empty_session)
    finally:
        world.upstream.hooks.remove(hook)


def copy_of(recipe: Path, folder: Path) -> Path:
    """Return a copy of the recipe, which names no checksum of its manifests."""
    copy = folder / recipe.name
    copy.write_bytes(recipe.read_bytes())
    return copy


# --- what lies in a store


def test_a_file_that_is_no_note_of_a_payload_is_passed_by(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = tmp_path / "notes/os-payload"
    folder.mkdir(parents=True)
    for name in (".nfs0001", "README", "0" * 63, "g" * 64):
        (folder / name).write_text("x")
    assert payloads(store) == []


# --- a process that may open few files


@pytest.mark.parametrize("most", [6, 10, 14, 18, 24])
@pytest.mark.parametrize("what", ["fetch", "build", "verify", "store check"])
def test_without_descriptors_there_is_one_error_and_no_traceback(
    what: str, most: int, world: World, locked: Locked, built: Built, tmp_path: Path
) -> None:
    shared: list[str | Path] = ["--config", world.config_file, "--store", tmp_path / "store"]
    words: dict[str, list[str | Path]] = {
        "fetch": ["fetch", locked.path, *shared],
        "build": ["build", locked.path, *shared, "--out", tmp_path / "out"],
        "verify": ["verify", built.iso, "--lock", locked.path],
        "store check": ["store", "check", "--store", built.iso.parent],
    }
    done = subprocess.run(
        command(*words[what]),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert "bug in isobuilder" not in done.stderr
    if done.returncode:
        assert done.stderr.count("error: ") >= 1
        assert done.returncode in {1, 3, 4, 5, 6}
    assert not list((tmp_path / "out").glob("*")) or done.returncode == 0


def test_random_bytes_are_no_iso(tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(20):
        (tmp_path / "a.iso").write_bytes(chance.randbytes(2048 * chance.randrange(60)))
        assert not verify(tmp_path / "a.iso").passed, number
