"""A catalogue lists the deltas that make an ISO: from what, how large, in both languages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from isobuilder.delta.container import write_delta
from isobuilder.delta.plan import Given, Link, Put, Zeros
from isobuilder.digest import Digest
from isobuilder.files import new_file
from isobuilder.pipeline.build import Built
from tests.cli.calling import call, errors
from tests.report.catalogues import describe
from tests.report.reading import read_page, tables

OLD = "kubernetes-v1.34.9-mold-cks-amd64-r1.iso"


def delta_to(new: str, digest: Digest, size: int, path: Path, *olds: str) -> Path:
    """Write a delta that says it makes an ISO of others."""
    given = tuple(Given(name, Digest.of(name.encode()), 5) for name in olds)
    link = Link(new, digest, size, (*given, Put((Zeros(size),))), len(given), {})
    with new_file(path) as put:
        write_delta(put, [(link, [])])
    return path


@pytest.fixture
def shelf(built: Built, tmp_path: Path) -> Path:
    folder = tmp_path / "isos"
    describe(built, folder, "1.34.9")
    for path in (built.iso, *built.side_files):
        shutil.copy(path, folder)
    delta_to(built.iso.name, built.digest, built.size, folder / "one.delta", OLD)
    delta_to("x.iso", Digest.of(b"x"), 7, folder / "other.delta", OLD)
    return folder


def test_the_page_of_an_iso_and_index_json_list_the_deltas_that_make_it(
    shelf: Path, built: Built, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    call("catalogue", shelf, "--out", site)
    found = read_page((site / "isos" / f"{built.iso.stem}.html").read_bytes())
    [section] = found.find("section", aria_labelledby="deltas")
    head, row = tables(section)[0]
    size = (shelf / "one.delta").stat().st_size
    assert row[0] == OLD
    assert row[1].startswith("one.delta")
    assert row[2:] == [f"{size} B", f"{100 * size / built.size:.2f} %"]
    assert [one.shown("en") for one in section.find("h2")] == ["Deltas"]
    assert [one.shown("ko") for one in section.find("h2")] == ["델타"]
    assert "비트 하나까지" in section.shown("ko")
    assert f"--out {built.iso.name}" in section.shown("en")
    assert len(head) == 4
    listed = {
        one["name"]: one["deltas"] for one in json.loads((site / "index.json").read_bytes())["isos"]
    }
    assert listed[OLD.removesuffix(".iso")] == []
    assert listed[built.iso.stem] == [
        {
            "name": "one.delta",
            "size": size,
            "sha256": Digest.of_file(shelf / "one.delta").hex,
            "old": [OLD],
        }
    ]
    other = read_page((site / "isos" / f"{OLD.removesuffix('.iso')}.html").read_bytes())
    assert other.find("section", aria_labelledby="deltas") == []


def test_a_damaged_delta_is_told_and_left_out(shelf: Path, built: Built, tmp_path: Path) -> None:
    path = shelf / "one.delta"
    path.write_bytes(path.read_bytes()[:-1])
    (shelf / ".made.delta").write_bytes(b"half")
    done = call("catalogue", shelf, "--out", tmp_path / "site", code=7)
    assert errors(done)[0].startswith("error: one.delta: damaged: ")
    found = read_page((tmp_path / "site" / "isos" / f"{built.iso.stem}.html").read_bytes())
    assert found.find("section", aria_labelledby="deltas") == []


def test_what_a_stranger_called_an_iso_is_text(shelf: Path, built: Built, tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\u202e\n.iso"
    delta_to(built.iso.name, built.digest, built.size, shelf / "one.delta", name)
    call("catalogue", shelf, "--out", tmp_path / "site")
    page = (tmp_path / "site" / "isos" / f"{built.iso.stem}.html").read_text()
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;alert(1)" in page
