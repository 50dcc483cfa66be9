"""The layer picture of docs/architecture.md, held as a list of sets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "isobuilder"

# From the bottom up. A module imports its own room and rows below it: never upward, never sideways.
LAYERS: list[set[str]] = [
    {"errors"},
    {"text", "digest", "progress", "run", "files", "cancel"},
    {"documents", "http"},
    {"formats"},
    {"model"},
    {"store", "compat", "medium", "rules"},
    {"sources", "iso", "contract", "machine", "nodeconfig", "mold", "trust"},
    {"content"},
    {"pipeline"},
    {"demo"},
    {"cli"},
]

# Libraries with one home each, so that one knows where the outside is touched.
HOMES = {
    "click": {"cli"},
    "tqdm": {"cli"},
    "pycdlib": {"iso"},
    "jinja2": {"documents", "content", "machine"},
    "requests": {"http", "mold", "demo"},
    "urllib3": {"http"},
    "subprocess": {"run"},
    "yaml": {"documents", "formats"},
    # Strangers' archives have one reader. machine reads what mmdebstrap just made, and packs a
    # folder of its own; the demonstration makes archives and reads none.
    "tarfile": {"machine", "demo"},
    "gzip": {"demo"},
    "zlib": {"formats"},
    "compression": {"formats"},
    "backports": {"formats"},
}

# Foreign JSON is read where it is bounded; what is validated was read there before.
READERS = {
    r"json\.(loads?|JSONDecoder)\b": {"documents/json.py"},
    r"model_validate_json\b": {"model/validation.py"},
    # Of str it also takes digits that int does not; bytes have none of those.
    r"\.isdigit\(": {"text.py", "iso/read/rockridge.py", "formats/tar.py", "formats/mentions.py"},
}

# What is allowed elsewhere, and why. This list only gets shorter.
EXCEPTIONS = {
    ("formats/elf.py", r"json\.(loads?|JSONDecoder)\b"): "Go's quoted strings, each of one line",
}


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def modules() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if room_of(path) not in {"__init__", "__main__"}
    ]


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module or ""
            for alias in node.names:
                if node.module == "isobuilder":
                    yield node.lineno, f"isobuilder.{alias.name}"


def level_of(room: str) -> int:
    for level, rooms in enumerate(LAYERS):
        if room in rooms:
            return level
    raise AssertionError(f"the room {room!r} has no layer; add it to the picture")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_only_downwards(path: Path) -> None:
    own = room_of(path)
    wrong = []
    for line, name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "isobuilder" or len(parts) == 1 or parts[1] in {own, "__version__"}:
            continue
        if level_of(parts[1]) >= level_of(own):
            wrong.append(f"line {line}: {own} imports {name}")
    assert not wrong


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_library_has_one_home(path: Path) -> None:
    own = room_of(path)
    wrong = [
        f"line {line}: {name} belongs to {sorted(HOMES[name.split('.')[0]])}"
        for line, name in imports_of(path)
        if own not in HOMES.get(name.split(".")[0], {own})
    ]
    assert not wrong


# Words with one home each: whoever needs one asks the table there. Documentation may use them.
WORDS = {
    "profile.py": ("mold-cks", "cloudstack-cks"),
    "architecture.py": ("amd64", "arm64"),
}
# Formats are below the model and spell architectures as Go and OCI do; the demonstration is of one.
SPELLS_IT = {"formats/elf.py", "formats/oci.py", "cli/demo.py"}


def words_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module that are no documentation: docstrings, examples of commands."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if (
            isinstance(text, str)
            and id(node) not in documentation
            and not text.startswith("isobuilder ")
        ):
            yield getattr(node, "lineno", 0), text


@pytest.mark.parametrize("home", WORDS)
def test_names_of_profiles_and_architectures_have_one_home(home: str) -> None:
    wrong = []
    for path in modules():
        place = path.relative_to(PACKAGE).as_posix()
        if place == f"model/{home}" or place in SPELLS_IT or place.startswith("demo/"):
            continue
        for line, text in words_of(path):
            wrong += [f"{place}:{line}: {word}" for word in WORDS[home] if word in text]
    assert not wrong


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_foreign_json_has_one_reader(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    wrong = [
        pattern
        for pattern, homes in READERS.items()
        if re.search(pattern, text)
        and name_of(path) not in homes
        and (name_of(path), pattern) not in EXCEPTIONS
    ]
    assert not wrong


@pytest.mark.parametrize(("name", "what"), EXCEPTIONS)
def test_every_exception_is_still_needed(name: str, what: str) -> None:
    assert re.search(what, (PACKAGE / name).read_text(encoding="utf-8"))
