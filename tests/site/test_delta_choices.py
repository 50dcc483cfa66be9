"""Which ISO is the old one, which the new one, and which way deltas lead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from isobuilder.delta.container import write_delta
from isobuilder.delta.general import Whole
from isobuilder.delta.plan import Given, Link, Made, Put
from isobuilder.digest import Digest
from isobuilder.errors import InputError
from isobuilder.files import new_file
from isobuilder.pipeline.delta.apply import apply_deltas
from isobuilder.pipeline.delta.make import make_delta
from tests.cli.calling import call, errors, hints
from tests.pipeline.delta.released import registration_of
from tests.site.test_delta import pair

__all__ = ["pair"]


def test_a_new_iso_in_the_folder_of_old_ones_is_not_one_of_them(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever way it is named, and copies of it too."""
    folder = tmp_path / "isos"
    folder.mkdir()
    for path in pair:
        shutil.copy(path, folder)
    shutil.copy(pair[1], folder / "copy.iso")
    monkeypatch.chdir(folder)
    out = tmp_path / "x.delta"
    for more in ([], ["--any-of"]):
        done = call("site", "delta", "../isos", "new.iso", "--out", out, "--json", *more)
        assert json.loads(done.stdout)["olds"] == ["../isos/old.iso"]
    (folder / "old.iso").unlink()
    done = call("site", "delta", "../isos", "new.iso", "--out", tmp_path / "y.delta", code=3)
    assert errors(done) == ["error: new.iso: every old ISO is this very one"]
    (folder / "copy.iso").unlink()
    done = call("site", "delta", "../isos", "new.iso", "--out", tmp_path / "y.delta", code=2)
    assert errors(done) == ["error: new.iso: there is no old ISO to make it from"]
    assert not (tmp_path / "y.delta").exists()


def test_of_a_folder_no_last_one_is_taken_for_the_new_one(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """By the alphabet r9 is behind r10."""
    folder = tmp_path / "many"
    folder.mkdir()
    for name in ("r9.iso", "r10.iso"):
        shutil.copy(pair[1], folder / name)
    done = call("site", "delta", pair[0], folder, "--out", tmp_path / "x.delta", code=2)
    assert errors(done) == [f"error: {folder}: has 2 ISOs, and the last thing is the new one"]
    assert "name the new ISO itself" in hints(done)[0]
    empty = tmp_path / "empty"
    empty.mkdir()
    done = call("site", "delta", *pair, empty, "--out", tmp_path / "x.delta", code=2)
    assert errors(done) == [f"error: {empty}: has 0 ISOs, and the last thing is the new one"]
    (folder / "r9.iso").unlink()
    call("site", "delta", pair[0], folder, "--out", tmp_path / "x.delta")


def test_what_is_there_already_needs_no_delta(pair: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = pair
    delta = make_delta([old], new, tmp_path / "x.delta").path
    digest = Digest.of_file(new)
    done = call("site", "apply", new, delta, "--out", tmp_path / "made.iso", code=3)
    assert errors(done) == [f"error: new.iso: is new.iso ({digest}) already"]
    same = a_delta(tmp_path, [("new.iso", new, "again.iso", new)])
    with pytest.raises(InputError, match=r"^new.iso: is again.iso \(sha256:\w+\) already$"):
        apply_deltas([new], [same], tmp_path / "made.iso")


def a_delta(folder: Path, ways: list[tuple[str, Path, str, Path]]) -> Path:
    """Write a delta of links from one to the other, whatever they have in common."""
    links = []
    for old_name, old, new_name, new in ways:
        packed = Whole().make(b"", new.read_bytes())
        given = Given(old_name, Digest.of_file(old), old.stat().st_size)
        size = new.stat().st_size
        made = Put((Made(1, 0, 0, 1, len(packed), size, "all"),))
        links.append((Link(new_name, Digest.of_file(new), size, (given, made), 1, {}), [packed]))
    path = folder / f"{len(links)}.delta"
    with new_file(path) as put:
        write_delta(put, links)
    return path


@pytest.mark.parametrize("turned", [False, True])
def test_the_fewest_steps_are_taken_in_whatever_order_deltas_are_named(
    turned: bool, tmp_path: Path
) -> None:
    one, two, three, four = (tmp_path / f"{number}.iso" for number in range(1, 5))
    for path in (one, two, three, four):
        path.write_text(path.name)
    ways = [("1", one, "2", two), ("2", two, "3", three), ("3", three, "4", four)]
    ways.append(("1", one, "3", three))
    delta = a_delta(tmp_path, ways[::-1] if turned else ways)
    assert apply_deltas([one], [delta], tmp_path / "made.iso").steps == ("3", "4")
    assert (tmp_path / "made.iso").read_text() == "4.iso"


def test_words_that_would_be_ignored_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    delta, out = tmp_path / "x.delta", tmp_path / "made.iso"
    call("site", "delta", *pair, "--out", delta)
    for words in (("--out", "z"), ("--any-of",), ("--known", pair[0])):
        done = call("site", "delta", "--show", delta, *words, code=2)
        assert "--show only tells what is in deltas" in errors(done)[0]
    done = call("site", "apply", delta, "--out", out, code=2)
    assert errors(done) == ["error: no old ISO is among 1 file"]
    done = call("site", "apply", pair[0], delta, "--out", tmp_path / "made.img", code=2)
    assert errors(done) == [
        f"error: --out {tmp_path / 'made.img'}: the name of an ISO ends in .iso"
    ]
    out = tmp_path / f"{'n' * 235}.iso"
    done = call("site", "apply", pair[0], delta, "--out", out, code=3)
    assert errors(done)[0].startswith(f"error: {out}: a name of 239 bytes, at most 231")
    call("site", "apply", pair[0], delta, "--out", tmp_path / f"{'n' * 227}.iso")
    assert [path for path in tmp_path.iterdir() if path.suffix not in {".delta", ".iso"}] == []


def test_a_name_that_the_registration_does_not_know_is_told(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = (Path(shutil.copy(path, tmp_path)) for path in pair)
    told = json.loads(registration_of(new)) | {"filename": "new.iso"}
    (tmp_path / "new.registration.json").write_text(json.dumps(told))
    call("site", "delta", old, new, "--out", tmp_path / "x.delta")
    for name in ("new.iso", "other.iso"):
        out = tmp_path / "site" / name
        done = call("site", "apply", old, tmp_path / "x.delta", "--out", out)
        assert ("and calls the file new.iso" in done.stderr) == (name == "other.iso")
