"""No text under 4 MiB costs more than 300 MiB or 10 s, and large ones are refused at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isobuilder.formats.manifests import read_manifest
from isobuilder.formats.oci import read_document

MIB = 1024 * 1024

Reader = tuple[str, list[str]]

_READ = """
import importlib, json, os, resource, sys, time
from pathlib import Path
sys.path.insert(0, ".")
from isobuilder.errors import IsobuilderError

def measure(where, path, arguments):
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    module, _, name = where.partition(":")
    read = getattr(importlib.import_module(module), name)
    data = Path(path)
    if arguments == ["path"]:
        arguments = []
    else:
        data = data.read_bytes()
    if arguments and arguments[-1] in {"Lock", "IsoManifest"}:
        models = importlib.import_module("isobuilder.model." + arguments[-1].lower())
        arguments[-1] = getattr(models, arguments[-1])
    began, told = time.process_time(), ""
    try:
        read(data, *arguments)
    except IsobuilderError as error:
        told = str(error)
    with open("/proc/self/status") as status:  # what getrusage says begins with the parent's
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
    print(json.dumps([peak, time.process_time() - began, len(told), told[:200]]), flush=True)

for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:  # each is read by a process of its own, which need not import it all again
    child = os.fork()
    if not child:
        try:
            measure(*json.loads(line))
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        print("null", flush=True)
"""

LOCK = ("isobuilder.model.validation:parse_json", ["x.json", "Lock"])
MANIFEST = ("isobuilder.model.validation:model_of", ["x.json", "IsoManifest"])
RECIPE = ("isobuilder.model.loading:load_recipe", ["path"])
OCI: Reader = ("tests.documents.test_costs:oci", [])
KUBERNETES: Reader = ("tests.documents.test_costs:kubernetes", [])


def keys(count: int, value: str = "0") -> str:
    return ",".join(f'"k{number:x}":{value}' for number in range(count))


def lines(count: int, line: str) -> str:
    return "".join(line.format(number) for number in range(count))


RECIPE_HEAD = 'schema: 1\nkubernetes: "1.34.12"\nprofile: mold-cks\n'

TEXTS: dict[str, Callable[[], str]] = {
    "zeros": lambda: "[" + "0," * (MIB - 2) + "0]",
    "lists": lambda: "[" + "[]," * (5 * MIB) + "0]",
    "few lists": lambda: '{"images":[' + "[]," * 20_000 + "0]}",
    "files of zeros": lambda: '{"schema":1,"lock_sha256":"","files":[' + "0," * 49_900 + "0]}",
    "images of zeros": lambda: '{"images":[' + "0," * 49_900 + "0]}",
    "unknown keys": lambda: "{" + keys(49_900) + "}",
    "components": lambda: '{"components":{' + keys(24_000, "{}") + "}}",
    "doubled keys": lambda: "{" + '"a":0,' * 49_000 + '"a":0}',
    "long keys": lambda: "{" + ",".join(f'"{"k" * 10_000}{n}":0' for n in range(400)) + "}",
    "deep": lambda: '{"a":' * 600_000,
    "deep lists": lambda: "[" * (4 * MIB - 1),
    "digits": lambda: '{"schema":' + "9" * (4 * MIB - 20) + "}",
    "escapes": lambda: '{"a":"' + "\\ud83d\\ude00" * 340_000 + '"}',
    "long text": lambda: '{"schema":"' + "é" * (2 * MIB - 20) + '"}',
    "yaml zeros": lambda: "a:\n" + "- 0\n" * (MIB - 2),
    "yaml words": lambda: RECIPE_HEAD + "files: [" + "0, " * 99_900 + "]\n",
    "yaml keys": lambda: RECIPE_HEAD + lines(49_000, "k{}: 1\n"),
    "yaml doubled": lambda: RECIPE_HEAD + "vars:\n" + "  a: b\n" * 49_000,
    "yaml deep": lambda: "[" * (4 * MIB),
    "yaml dashes": lambda: "- " * (2 * MIB),
    "yaml quote": lambda: 'a: "' + "[" * (4 * MIB - 10),
    "yaml digits": lambda: "a: " + "9" * (MIB - 10),
    "yaml tags": lambda: lines(49_000, "- !!str a\n"),
    "yaml anchors": lambda: lines(49_000, "- &a{} a\n"),
    "yaml bomb": lambda: (
        "l0: &l0 [a, a]\n"
        + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 90))
    ),
    "yaml list of aliases": lambda: (
        "- &l0 [a, a, a, a]\n"
        + "".join(f"- &l{n} [{', '.join([f'*l{n - 1}'] * 8)}]\n" for n in range(1, 13))
    ),
    "vars and unknown names": lambda: (
        RECIPE_HEAD
        + "vars:\n"
        + lines(3000, "  some_name_{0}: x\n")
        + "components:\n"
        + lines(3000, "  c{0}: {{image: 'x{{{{ some_nome_{0} }}}}'}}\n")
    ),
    "templates": lambda: (
        RECIPE_HEAD
        + "vars:\n"
        + lines(3000, "  some_name_{0}: x\n")
        + "components:\n"
        + lines(20_000, "  c{0}: {{image: 'x{{{{ some_name_1 }}}}'}}\n")
    ),
    "names of entries": lambda: (
        RECIPE_HEAD
        + "vars:\n"
        + lines(20_000, "  some_name_{0}: x\n")
        + "files:\n"
        + lines(9000, "- {{name: n{0}, path: 'x{{{{ name }}}}'}}\n")
    ),
    "removals": lambda: (
        RECIPE_HEAD + "files:\n" + lines(15_000, "- {{name: n{0}, remove: true}}\n")
    ),
    "long words": lambda: RECIPE_HEAD + lines(3000, "k{}" + "k" * 900 + ": 1\n"),
}

_BOTH = ["zeros", "lists", "few lists", "doubled keys", "deep", "deep lists", "digits", "long text"]
_OURS = ["files of zeros", "images of zeros", "unknown keys", "components", "long keys", "escapes"]
_FORMS = [name for name in TEXTS if name.startswith("yaml")]

CASES = [
    *((LOCK, text) for text in (*_BOTH, *_OURS)),
    *((MANIFEST, text) for text in (*_BOTH, *_OURS)),
    *((OCI, text) for text in _BOTH),
    *((RECIPE, text) for text in TEXTS if text not in {*_BOTH, *_OURS}),
    *((KUBERNETES, text) for text in (*_FORMS, "zeros")),
]


@pytest.fixture(scope="module")
def process() -> Iterator[subprocess.Popen[str]]:
    """What reads texts, each in a process of its own, and tells what that cost."""
    modules = {where.partition(":")[0] for (where, _), _ in CASES} - {__name__}
    modules |= {"isobuilder.model.lock", "isobuilder.model.isomanifest"}
    modules |= {"isobuilder.formats.oci", "isobuilder.formats.manifests"}
    with subprocess.Popen(
        [sys.executable, "-c", _READ, *sorted(modules)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reader", "text"),
    CASES,
    ids=[f"{reader[0].partition(':')[2]}-{text}" for reader, text in CASES],
)
def test_what_a_text_costs_is_bounded(
    process: subprocess.Popen[str], reader: Reader, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "text"
    path.write_text(TEXTS[text](), encoding="utf-8")
    where, arguments = reader
    assert process.stdin is not None
    assert process.stdout is not None
    print(json.dumps([where, str(path), arguments]), file=process.stdin, flush=True)
    memory, seconds, length, told = json.loads(process.stdout.readline())
    print(f"{memory} MiB, {seconds:.1f} s, {length} characters: {told}")
    assert memory < 300
    assert seconds < 10
    assert length < 100_000


def oci(data: bytes) -> object:
    return read_document(data, place="x")


def kubernetes(data: bytes) -> object:
    manifest = read_manifest(data, "x.yaml")
    return manifest.images, manifest.objects
