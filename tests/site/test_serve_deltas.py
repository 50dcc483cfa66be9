"""``site serve`` hands out deltas beside ISOs, and nothing else of their folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.formats.sums import written_sums
from isobuilder.pipeline.delta.ways import read_delta
from isobuilder.site.server import SiteServer
from isobuilder.site.shelf import Shelf
from tests.site.asking import ask
from tests.site.isos import PAUSE, image, iso

GOLDEN = Path(__file__).parents[1] / "golden" / "isodelta" / "format1.delta"
NAME = "new.from-v1.34.8-r1-0123abcd.delta"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an ISO, a delta, and other things."""
    made = tmp_path / "isos"
    made.mkdir()
    iso(made / "new.iso", [image(PAUSE)])
    shutil.copy(GOLDEN, made / NAME)
    shutil.copy(GOLDEN, made / ".hidden.delta")
    (made / "notes.txt").write_text("not for everybody")
    (made / "keys.delta").write_text("not a delta")
    (made / "cut.delta").write_bytes(GOLDEN.read_bytes()[:-1])
    (made / "link.delta").symlink_to("/etc/passwd")
    os.mkfifo(made / "pipe.delta")
    (made / "folder.delta").mkdir()
    return made


def serving(*places: Path) -> SiteServer:
    shelf = Shelf(places)
    shelf.open()
    return SiteServer(shelf)


def test_a_delta_is_there_whole_and_in_parts_with_its_sum(folder: Path) -> None:
    data = GOLDEN.read_bytes()
    with serving(folder) as server:
        said = ask(server, f"/isos/{NAME}")
        assert (said.status, said.body) == (200, data)
        assert said.headers["content-type"] == "application/octet-stream"
        part = ask(server, f"/isos/{NAME}", Range="bytes=10-19", If_Range=said.headers["etag"])
        assert (part.status, part.body) == (206, data[10:20])
        sums = ask(server, f"/isos/{NAME}.sha256")
        assert sums.body.decode().strip() == f"{Digest.of(data).hex}  {NAME}"
        assert "sha-256=:" in said.headers["repr-digest"]


@pytest.mark.parametrize("end", ["iso", "delta"])
def test_sums_of_a_name_with_a_backslash_are_those_of_sha256sum(folder: Path, end: str) -> None:
    file = folder / f"back\\slash.{end}"
    shutil.copy(folder / (NAME if end == "delta" else "new.iso"), file)
    with serving(folder) as server:
        said = ask(server, f"/isos/back%5Cslash.{end}.sha256")
        assert said.body == written_sums([(Digest.of_file(file), file.name)])


def test_the_page_has_deltas_without_any_iso(folder: Path) -> None:
    (folder / "new.iso").unlink()
    with serving(folder) as server:
        page = ask(server, "/").body.decode()
    assert "No ISO is served at the moment." in page
    assert f"<a href='/isos/{NAME}'>" in page


def test_lists_tell_what_a_delta_makes_of_what(folder: Path) -> None:
    [way] = read_delta(GOLDEN).ways
    with serving(folder) as server:
        [listed] = json.loads(ask(server, "/site.json").body)["deltas"]
        assert listed == {
            "name": NAME,
            "path": f"/isos/{NAME}",
            "size": GOLDEN.stat().st_size,
            "sha256": Digest.of_file(GOLDEN).hex,
            "makes": [
                {
                    "new": way.new,
                    "new_sha256": way.new_digest.hex,
                    "old": [{"name": name, "sha256": digest.hex} for name, digest in way.olds],
                }
            ],
        }
        for language, words in (("en", "makes"), ("ko", "새 ISO")):
            page = ask(server, "/", Accept_Language=language).body.decode()
            assert f"<a href='/isos/{NAME}'>" in page
            assert f"{words} {way.new}" in page
        assert b"isobuilder_site_deltas 1" in ask(server, "/metrics").body


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", "keys.delta", "cut.delta", "link.delta", "pipe.delta", "folder.delta"),
        *(".hidden.delta", "..%2fx.delta", f"{NAME}/", "%2e%2e/isos"),
    ],
)
def test_nothing_else_of_the_folder_is_served(name: str, folder: Path) -> None:
    with serving(folder) as server:
        assert ask(server, f"/isos/{name}").status in {400, 404}


def test_of_an_iso_that_was_named_only_its_own_deltas_are_served(folder: Path) -> None:
    shutil.copy(GOLDEN, folder / "other.from-v1-r1.delta")
    with serving(folder / "new.iso") as server:
        assert ask(server, f"/isos/{NAME}").status == 200
        assert ask(server, "/isos/other.from-v1-r1.delta").status == 404


def test_deltas_come_go_and_are_replaced_while_it_serves(folder: Path) -> None:
    shelf = Shelf([folder])
    shelf.open()
    assert [one.found.name for one in shelf.catalog.deltas] == [NAME]
    assert not shelf.look()
    shutil.copy(GOLDEN, folder / "r2.delta")
    assert shelf.look()
    assert [one.found.name for one in shelf.catalog.deltas] == [NAME, "r2.delta"]
    (folder / NAME).unlink()
    (folder / "r2.delta").write_bytes(b"isodelta, and no more")
    assert shelf.look()
    assert shelf.catalog.deltas == ()


def test_a_delta_that_was_replaced_is_not_answered_with_other_bytes(folder: Path) -> None:
    server = serving(folder)
    (folder / NAME).unlink()
    (folder / NAME).write_bytes(b"other bytes")
    server._watcher.run = lambda: None  # type: ignore[method-assign]
    with server:
        assert ask(server, f"/isos/{NAME}").status == 503
