"""What make installs is locked, and the lock answers pyproject.toml."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import newest
from tools.lock_dependencies import HEAD, LOCKER, changes, read_project, supported
from tools.make_venv import LOCK, OLDEST, Locked, fetch_pip, read_lock

PROJECT = read_project()
EXTRAS = PROJECT["project"]["optional-dependencies"]
REQUIREMENTS = [
    Requirement(line)
    for line in (
        *PROJECT["project"]["dependencies"],
        *EXTRAS["dev"],
        *PROJECT["build-system"]["requires"],
        "pip",
    )
    if not line.startswith("isobuilder[")
]


def holds(marker: Marker | None, python: str) -> bool:
    where = {"python_version": python, "python_full_version": f"{python}.0"}
    return marker is None or marker.evaluate(where)


@pytest.mark.parametrize("python", supported(PROJECT))
@pytest.mark.parametrize("wanted", REQUIREMENTS, ids=lambda wanted: wanted.name)
def test_the_lock_has_what_pyproject_asks_for(wanted: Requirement, python: str) -> None:
    found = [
        item
        for item in read_lock()
        if canonicalize_name(item.name) == canonicalize_name(wanted.name)
        and holds(Marker(item.marker) if item.marker else None, python)
    ]
    assert len(found) == (1 if holds(wanted.marker, python) else 0)
    assert all(wanted.specifier.contains(item.version) for item in found), "run make lock-deps"


def test_the_supported_pythons_begin_where_pyproject_says() -> None:
    assert PROJECT["project"]["requires-python"] == f">={supported(PROJECT)[0]}"
    assert supported(PROJECT)[0] == ".".join(map(str, OLDEST))
    assert "3.14" in supported(PROJECT)


@pytest.mark.parametrize("lock", [LOCK, LOCKER], ids=lambda lock: lock.name)
def test_a_lock_says_names_versions_and_hashes_and_nothing_else(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert text.startswith(HEAD)
    line = r"[a-z0-9.-]+==[\w.!]+( ; [\w '<>=!.()]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(f"({line})+", text.removeprefix(HEAD))


def test_reading_a_lock_gives_its_lines_back() -> None:
    zstd = next(item for item in read_lock() if item.name == "backports-zstd")
    assert zstd.marker == "python_full_version < '3.14'"
    assert str(zstd).startswith(f"backports-zstd=={zstd.version} ; {zstd.marker} --hash=sha256:")
    assert {len(digest) for digest in zstd.sha256} == {64}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    (tmp_path / "index" / "pip").mkdir(parents=True)
    (tmp_path / "index" / "pip" / "pip-9.1-py3-none-any.whl").write_bytes(b"a wheel")
    handler = partial(Handler, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_pip_itself_is_held_to_the_lock(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)
    right = hashlib.sha256(b"a wheel").hexdigest()
    assert fetch_pip(Locked("pip", "9.1", "", (right,)), tmp_path).read_bytes() == b"a wheel"
    with pytest.raises(SystemExit, match=f"its sha256 {right} is not in locked.txt"):
        fetch_pip(Locked("pip", "9.1", "", ("0" * 64,)), tmp_path)
    with pytest.raises(SystemExit, match=r"lists no pip-9\.2-py3-none-any\.whl"):
        fetch_pip(Locked("pip", "9.2", "", (right,)), tmp_path)


def test_a_new_lock_tells_what_it_changed() -> None:
    before = "a==1 \\\n    --hash=sha256:0\nb==1 ; python_version < '3.14'\nc==1\n"
    after = "a==1 \\\n    --hash=sha256:1\nb==2 ; python_version < '3.14'\nd==1\n"
    assert changes(before, after) == ["b 1 -> 2", "c 1 -> (none)", "d (none) -> 1"]


@pytest.mark.parametrize(
    ("requirement", "name", "anything"),
    [
        ("PyYAML>=6.0.2,<7", "pyyaml", "PyYAML"),
        ("backports.zstd>=1,<2; python_version < '3.14'", "backports-zstd", None),
        ("cyclonedx-python-lib[json-validation]>=11,<12", "cyclonedx-python-lib", None),
    ],
)
def test_beyond_the_ranges_only_the_ranges_go(
    requirement: str, name: str, anything: str | None
) -> None:
    assert newest.name_of(requirement) == name
    free, old = Requirement(newest.without_range(requirement)), Requirement(requirement)
    assert str(free.specifier) == ""
    assert (free.name, free.extras, free.marker) == (old.name, old.extras, old.marker)
    assert anything is None or str(free) == anything


def test_the_library_that_breaks_a_test_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    newer = {"pyyaml": "6.0.4", "click": "8.5.1"}
    newest.tell({"pyyaml": "6.0.3"}, newer, ["a.py::x", "b.py::y"], {"pyyaml": ["a.py::x"]})
    said = capsys.readouterr().out
    assert "WARNING: newest releases break tests\n  pyyaml 6.0.3 -> 6.0.4 breaks:\n" in said
    assert "    a.py::x\n  none alone, but all together:\n    b.py::y\n" in said
    assert "click" not in said
