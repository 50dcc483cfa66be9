"""The layer picture of docs/architecture.md, held as a list of sets."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder import errors
from isobuilder.cli.main import main

PACKAGE = Path(__file__).parents[1] / "isobuilder"

# From the bottom up. A module imports its own room and rows below it: never upward, never sideways.
LAYERS: list[set[str]] = [
    {"text"},
    {"errors"},
    {"digest", "progress", "run", "files", "cancel"},
    {"documents", "http"},
    {"formats"},
    {"model"},
    {"store", "compat", "medium", "rules"},
    {"sources", "iso", "contract", "machine", "nodeconfig", "mold", "trust", "jobs", "publish"},
    {"content", "delta"},
    {"pipeline"},
    {"site", "report"},
    {"demo"},
    {"cli"},
]

# Libraries with one home each, so that one knows where the outside is touched.
HOMES = {
    "click": {"cli"},
    "tqdm": {"cli"},
    "pycdlib": {"iso"},  # and there one module, see below
    "jinja2": {"documents", "content", "machine", "report"},
    "requests": {"mold", "demo"},
    "urllib3": {"http"},
    "subprocess": {"run"},
    "obstore": {"publish"},
    "yaml": {"documents", "formats"},
    # Strangers' archives have one reader. machine reads what mmdebstrap just made, and packs a
    # folder of its own; the demonstration makes archives and reads none.
    "tarfile": {"machine", "demo"},
    "gzip": {"demo"},
    "zipfile": set(),
    "zlib": {"formats", "delta"},
    "lzma": {"formats", "delta"},
    "bz2": {"delta"},
    "sqlite3": {"formats"},
    "compression": {"formats"},
    "backports": {"formats"},
    "segno": {"site", "report"},
    "cryptography": {"trust"},
    "rfc3161_client": {"trust"},
    "pysequoia": {"trust"},
    "pkcs11": {"trust"},
    "numpy": {"delta"},
    "bsdiff4": {"delta"},
    "keyring": {"mold"},
}

# What reaches the terminal goes through one door, which makes lines of it that only show; and
# so does what becomes another program.
DOORS = {
    r"\bclick\.(echo|secho|style|confirm)\(": {"cli/telling.py"},
    r"\bprint\(": {"cli/progress.py"},
    r"sys\.(stdout|stderr)\.(buffer\.)?write|os\.write\([12],": set(),
    r"\btraceback\.print_": set(),
    # Programs start in run.py, which uses subprocess; see HOMES.
    r"\bos\.(system|popen|spawn|posix_spawn|exec[lv]|fork)|\bmultiprocessing\b": set(),
    r"\bshell=True\b": set(),
}

# Foreign JSON is read where it is bounded; what is validated was read there before.
READERS = {
    r"json\.(loads?|JSONDecoder)\b|\bfrom json import": {"documents/json.py"},
    r"model_validate_json\b": {"model/validation.py"},
    # Of str it also takes digits that int does not; bytes have none of those.
    r"\.isdigit\(": {"text.py", "iso/read/rockridge.py", "formats/tar.py", "formats/mentions.py"},
}

# What is allowed elsewhere, and why. This list only gets shorter.
EXCEPTIONS = {
    ("formats/elf.py", next(iter(READERS))): "Go's quoted strings, each of one line",
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
        elif isinstance(node, ast.Call) and calls_import(node.func):
            for word in node.args[:1]:
                if isinstance(word, ast.Constant) and isinstance(word.value, str):
                    yield node.lineno, word.value


def calls_import(function: ast.expr) -> bool:
    """Return whether it is import_module or the like, by which nothing gets around a rule."""
    name = getattr(function, "attr", getattr(function, "id", ""))
    return name in {"import_module", "__import__"}


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


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_reaches_the_terminal_or_the_system_goes_through_one_door(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    doors = {what for what, homes in DOORS.items() if name_of(path) not in homes}
    assert [what for what in sorted(doors) if re.search(what, text)] == []


@pytest.mark.parametrize(("name", "what"), EXCEPTIONS)
def test_every_exception_is_still_needed(name: str, what: str) -> None:
    assert re.search(what, (PACKAGE / name).read_text(encoding="utf-8"))


# --- what must stay ---


def modules_below(*rooms: str) -> list[Path]:
    return [path for path in modules() if name_of(path).startswith(rooms)]


def test_what_reads_an_iso_shares_no_code_with_what_writes_it() -> None:
    # Names of places on an ISO, and buffers that bytes pass through, are all that both know.
    both = {"isobuilder.iso.names", "isobuilder.iso.boot_names", "isobuilder.iso.ring"}
    reads = modules_below("iso/read", "iso/check", "contract", "medium.py")
    writes = modules_below("iso/write")
    assert reads
    assert writes
    for own, other in ((reads, "isobuilder.iso.write"), (writes, "isobuilder.iso.read")):
        for path in own:
            names = {name for _, name in imports_of(path) if name.startswith("isobuilder.iso.")}
            assert not [name for name in names if name.startswith(other)], path
    known = [
        {name for path in side for _, name in imports_of(path) if name.startswith("isobuilder.iso")}
        for side in (reads, writes)
    ]
    assert known[0] & known[1] <= both


def test_only_the_writer_of_isos_uses_the_library_that_makes_them() -> None:
    using = {name_of(path) for path in modules() for _, name in imports_of(path) if "pycd" in name}
    assert using == {"iso/write/author.py"}


def test_a_blob_is_made_only_where_its_bytes_were_hashed() -> None:
    proofs = {
        r"(?<!\w)Blob\(": {"store/blobs.py"},
        r"(?<!\w)IsoBlob\(": {"content/from_iso.py", "content/donor.py"},
    }
    for pattern, homes in proofs.items():
        found = {name_of(path) for path in modules() if re.search(pattern, path.read_text("utf-8"))}
        assert found == homes


def test_every_error_has_the_exit_code_of_its_kind() -> None:
    kinds = {cls.__name__: cls.exit_code for cls in vars(errors).values() if is_error(cls)}
    told = dict(re.findall(r"(\d+) ([^,]+)", main_epilog()))
    assert {name: str(code) in told for name, code in kinds.items()} == dict.fromkeys(kinds, True)
    assert kinds["InputError"] == 3
    assert kinds["UpstreamError"] == 4
    assert kinds["IntegrityError"] == 5
    assert kinds["EnvironmentProblem"] == 6
    assert kinds["PartlyDone"] == 7
    assert kinds["MoldError"] == 8


def is_error(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, errors.IsobuilderError)


def main_epilog() -> str:
    return main.epilog or ""


def test_tests_use_real_servers_and_no_mocks() -> None:
    word = "mo" + "ck"
    wrong = [
        path
        for path in Path(__file__).parent.rglob("*.py")
        if re.search(rf"import .*\b{word}|{word}er\b|Magic{word.title()}", path.read_text("utf-8"))
    ]
    assert not wrong


def test_no_room_or_module_is_for_whatever_is_left() -> None:
    words = {"utils", "util", "common", "helpers", "helper", "misc", "shared", "lib"}
    assert [
        path for path in modules() if words & {*path.relative_to(PACKAGE).parts[:-1], path.stem}
    ] == []


FOLDERS = sorted({path.parent for path in modules()})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_is_seen_at_a_glance(folder: Path) -> None:
    found = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(found) <= 20


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_read_in_one_sitting(path: Path) -> None:
    assert path.read_text("utf-8").count("\n") <= 450


def test_a_public_class_name_has_one_meaning() -> None:
    homes: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name_of(path))
    assert [name for name, places in homes.items() if len(places) > 1] == []


# The lab makes its OS payloads anew when this file changes, so its next real change takes this too.
AT_HOME = {("machine/osbuild.py", "Suite")}


def own_names(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Yield the public names that a module defines, and whether a decorator hands them on."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found = (ast.unparse(one).split("(")[0] for one in node.decorator_list)
            yield (
                node.name,
                bool(set(found) - {"contextmanager", "cache", "lru_cache", "dataclass"}),
            )
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, False


def told_by(tree: ast.Module) -> set[str]:
    """Return the names by which a module says what it takes, gives and raises."""
    told: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            told |= set(re.findall(r"\w+", ast.get_docstring(node) or ""))
        notes: list[ast.expr | None] = []
        if isinstance(node, ast.FunctionDef):
            notes = [node.returns]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            notes = [node.annotation]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
            notes = [node.value]  # a type made of others
        elif isinstance(node, ast.ClassDef):
            notes = list(node.bases)
        for note in filter(None, notes):
            told |= set(re.findall(r"\w+", ast.unparse(note)))
    return told


def test_what_only_its_own_module_uses_is_private() -> None:
    root = PACKAGE.parent
    files = [
        path
        for room in ("isobuilder", "tests", "tools", "bench")
        for path in (root / room).rglob("*.py")
    ]
    words = {path: set(re.findall(r"\w+", path.read_text("utf-8"))) for path in files}
    used = Counter(word for found in words.values() for word in found)
    wrong = []
    for path in modules():
        tree = ast.parse(path.read_text("utf-8"))
        told = told_by(tree)
        for name, handed_on in own_names(tree):
            known = handed_on or used[name] > 1 or name in told or (name_of(path), name) in AT_HOME
            if not (name.startswith("_") or known):
                wrong.append(f"{name_of(path)}: {name}")
    assert wrong == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_function_is_seen_at_a_glance(path: Path) -> None:
    found = ast.walk(ast.parse(path.read_text("utf-8")))
    functions = [node for node in found if isinstance(node, ast.FunctionDef)]
    sizes = {one.name: (one.end_lineno or 0) - one.lineno + 1 for one in functions}
    assert {name: size for name, size in sizes.items() if size > 60} == {}
