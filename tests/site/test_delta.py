"""The page about updating a site is followed word for word; what the commands tell and refuse."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import sys
import zlib
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.formats.sums import written_sums
from isobuilder.pipeline.build import Built
from isobuilder.pipeline.verify import promised
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints
from tests.pipeline.delta.discs import a_tree, disc
from tests.pipeline.signed import bundle_of, new_key, put_signature
from tests.pipeline.world import Locked
from tests.site.test_page import DOCS, run_line, steps

NAME = "kubernetes-v1.34.12-mold-cks-amd64"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two ISOs."""
    folder = tmp_path_factory.mktemp("pair")
    chance = random.Random(1)
    tree = a_tree(chance)
    changed = bytearray(tree["bin/program1"])
    changed[100:200] = chance.randbytes(100)
    new = {**tree, "bin/program1": bytes(changed), "new.yaml": b"new\n"}
    return disc(tree, folder / "old.iso"), disc(new, folder / "new.iso")


def test_both_languages_have_the_same_commands() -> None:
    pages = [DOCS / "updating-a-site.md", DOCS / "ko" / "updating-a-site.md"]
    assert steps(pages[0]) == steps(pages[1])
    boxes = [page.read_text(encoding="utf-8").count("- [ ]") for page in pages]
    assert boxes[0] == boxes[1] >= 8


def test_the_page_leads_to_the_iso_that_was_published(tmp_path: Path) -> None:
    outside, inside, programs = (tmp_path / name for name in ("outside", "inside", "bin"))
    for folder in (outside, inside / "dist", programs):
        folder.mkdir(parents=True)
    program = programs / "isobuilder"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m isobuilder "$@"\n')
    program.chmod(0o755)
    told = ""
    for number, commands in steps(DOCS / "updating-a-site.md"):
        if number == "3":
            shutil.copy(outside / "r2.delta", inside)
            shutil.copy(outside / "dist" / f"{NAME}-r1.iso", inside / "dist")
        folder = inside if number == "3" else outside
        for line in commands:
            told += run_line(line, folder, programs, alone=folder == inside)
    made, published = (folder / "dist" / f"{NAME}-r2.iso" for folder in (inside, outside))
    assert Digest.of_file(made) == Digest.of_file(published)
    beside = f"{NAME}-r2.registration.json"
    assert (made.parent / beside).read_bytes() == (published.parent / beside).read_bytes()
    assert (inside / "r2.delta").stat().st_size < made.stat().st_size / 50
    assert "all small things" in told


def test_what_each_piece_cost_and_why_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = call("-v", "site", "delta", *pair, "--out", tmp_path / "x.delta")
    (row,) = [line for line in done.stderr.splitlines() if line.startswith("bin/program1")]
    assert "edits" in row
    assert "patch" in row
    made = json.loads(call("site", "delta", *pair, "--out", tmp_path / "y", "--json").stdout)
    (told,) = [one for one in made["told"] if one["piece"] == "bin/program1"]
    assert told["how"] == "edits"
    assert told["carried"] == told["tried"]["edits"] < told["tried"]["patch"]
    shown = json.loads(call("site", "delta", "--show", tmp_path / "y", "--json").stdout)
    (link,) = shown[0]["links"]
    assert link["digest"] == Digest.of_file(pair[1])
    assert link["given"][0]["digest"] == Digest.of_file(pair[0])
    assert {one["piece"] for one in link["pieces"]} == {"bin/program1", "all small things"}
    assert link["carried"] == sum(one["carried"] for one in link["pieces"])


def test_the_share_of_layers_that_are_made_exactly_again_is_told(tmp_path: Path) -> None:
    """One of two is packed as zlib packs; the other in a way that no model knows."""
    chance = random.Random(4)
    words = [chance.randbytes(4).hex().encode() for _ in range(300)]
    known, strange = {}, {}
    for name in ("old", "new"):
        content = b" ".join(chance.choices(words, k=8_000))
        known[name] = gzip.compress(content, mtime=0, compresslevel=6)
        strange[name] = packed_without_a_search(content)
        disc({"a.tgz": known[name], "b.tgz": strange[name]}, tmp_path / f"{name}.iso")
    both = (tmp_path / "old.iso", tmp_path / "new.iso")
    part, whole = len(known["new"]), len(known["new"]) + len(strange["new"])
    done = call("-v", "site", "delta", *both, "--out", tmp_path / "x.delta")
    (told,) = [line for line in done.stderr.splitlines() if "rebuilt exactly" in line]
    assert told.startswith("2 gzip streams changed, ")
    assert told.endswith(f": {100 * part / whole:.1f} % rebuilt exactly")
    rows = [line.split() for line in done.stderr.splitlines() if ".tgz" in line]
    how = {row[0]: row[2] for row in rows}
    assert how["a.tgz"] == "gzip" != how["b.tgz"]


def packed_without_a_search(content: bytes) -> bytes:
    """Return a gzip file as no compressor of our models makes one, however it is asked."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_HUFFMAN_ONLY)
    sums = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    return gzip.compress(b"")[:10] + stream.compress(content) + stream.flush() + sums


def test_of_a_folder_only_what_the_ledger_says_is_taken(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    records = ("--records", tmp_path / "records")
    ledger = tmp_path / "ledger.txt"
    call("site", "ledger", pair[0], "--site", "one", "--out", ledger, *records)
    folder = tmp_path / "isos"
    folder.mkdir()
    shutil.copy(pair[0], folder)
    disc({"else": b"x" * 50_000}, folder / "a.iso")
    out = ("--out", tmp_path / "x.delta", "--json")
    made = json.loads(call("site", "delta", folder, pair[1], "--known", ledger, *out).stdout)
    assert made["olds"] == [str(folder / "old.iso")]
    call("site", "ledger", folder / "a.iso", "--site", "two", "--out", ledger, *records)
    done = call("site", "delta", pair[0], pair[1], "--known", ledger, *out, code=3)
    assert "the site has none of 1 ISO" in errors(done)[0]


def test_commands_that_make_no_sense_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert "two ISOs make a delta" in errors(call("site", "delta", pair[0], code=2))[0]
    done = call("site", "apply", *pair, "--out", tmp_path / "x.iso", code=2)
    assert "no delta is among 2 files" in errors(done)[0]
    done = call("site", "delta", "--show", pair[0], code=3)
    assert "not a delta" in errors(done)[0]


def test_folders_without_two_isos_are_no_pair(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    shutil.copy(pair[1], tmp_path / "two")
    done = call("site", "delta", tmp_path / "one", tmp_path / "two", code=2)
    assert "1 ISO in " in errors(done)[0]
    assert "two make a delta" in errors(done)[0]


@pytest.mark.parametrize("which", [0, 1])
def test_a_delta_is_not_written_over_what_it_is_made_of(
    which: int, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    both = [Path(shutil.copy(path, tmp_path)) for path in pair]
    before = both[which].read_bytes()
    done = call("site", "delta", *both, "--out", both[which], code=3)
    assert errors(done) == [f"error: {both[which]}: is there already, and is no delta"]
    assert both[which].read_bytes() == before


def test_an_older_delta_is_replaced(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "x.delta"
    call("site", "delta", pair[1], pair[0], "--out", out)
    before = out.read_bytes()
    call("site", "delta", *pair, "--out", out)
    assert out.read_bytes() != before


@pytest.mark.parametrize("which", ["old", "new", "out"])
def test_names_that_are_no_text_are_names(
    which: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    names = {name: f"{name}.iso" for name in ("old", "new", "out")}
    names[which] = os.fsdecode(b"\xfe\xff" + names[which].encode())
    old, new = (Path(shutil.copy(path, tmp_path / names[path.stem])) for path in pair)
    sums = new.with_name(f"{new.name}.sha256")
    sums.write_bytes(f"{Digest.of_file(new).hex}  ".encode() + os.fsencode(new.name) + b"\n")
    call("site", "delta", old, new, "--out", tmp_path / "x.delta")
    call("site", "delta", "--show", tmp_path / "x.delta")
    out = tmp_path / "site" / names["out"]
    call("site", "apply", old, tmp_path / "x.delta", "--out", out)
    call("site", "apply", old, tmp_path / "x.delta", "--out", out, "--json")
    assert Digest.of_file(out) == Digest.of_file(new)
    assert out.with_name(f"{out.name}.sha256").read_bytes().endswith(os.fsencode(out.name) + b"\n")


@pytest.mark.parametrize("name", ["n\nl.iso", "back\\slash.iso"])
def test_the_sums_beside_an_iso_of_any_name_are_sums_of_it(
    name: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    new = Path(shutil.copy(pair[1], tmp_path / "new.iso"))
    new.with_name("new.iso.sha256").write_text(f"{Digest.of_file(new).hex}  new.iso\n")
    call("site", "delta", pair[0], new, "--out", tmp_path / "x.delta")
    out = tmp_path / name
    call("site", "apply", pair[0], tmp_path / "x.delta", "--out", out)
    assert promised(out) == Digest.of_file(out)
    sums = out.with_name(f"{name}.sha256").read_bytes()
    assert sums == written_sums([(Digest.of_file(out), name)])


def test_pipes_are_no_isos_and_no_deltas(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Nobody writes into this one: a command that opened it as a file would wait for ever."""
    pipe, out = tmp_path / "pipe.iso", tmp_path / "x"
    os.mkfifo(pipe)
    for words in [
        ("delta", pipe, pair[1], "--out", out),
        ("delta", pair[0], pipe, "--out", out),
        ("delta", *pair, "--out", pipe),
        ("delta", "--show", pipe),
        ("ledger", pipe, "--site", "x", "--records", tmp_path / "records"),
        ("ledger", pair[0], "--site", "x", "--records", tmp_path / "records", "--out", pipe),
    ]:
        done = call("site", *words, code=3)
        assert "is no file" in errors(done)[0] or "and is no file" in errors(done)[0]
    call("site", "delta", *pair, "--out", out)
    done = call("site", "apply", pipe, out, "--out", tmp_path / "made.iso", code=3)
    assert "is no file" in errors(done)[0]
    words = (pair[0], out, "--out", pipe, "--replace")
    assert "is no file" in errors(call("site", "apply", *words, code=3))[0]
    assert pipe.is_fifo()


def test_what_lay_beside_the_iso_that_goes_does_not_stay_beside_the_new_one(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    old, new = (Path(shutil.copy(path, tmp_path)) for path in pair)
    site = Path(shutil.copy(old, tmp_path / "site" / "site.iso"))
    sums = site.with_name("site.iso.sha256")
    sums.write_text(f"{Digest.of_file(site).hex}  site.iso\n")
    (tmp_path / "site" / "site.registration.json").write_text("{}")
    new.with_name(f"{new.name}.sha256").write_text(f"{Digest.of_file(new).hex}  {new.name}\n")
    delta = tmp_path / "x.delta"
    call("site", "delta", old, new, "--out", delta)
    call("site", "apply", old, delta, "--out", site, code=3)
    assert Digest.of_file(old).hex in sums.read_text()
    call("site", "apply", old, delta, "--out", site, "--replace")
    assert sums.read_text() == f"{Digest.of_file(new).hex}  site.iso\n"
    assert sorted(one.name for one in site.parent.iterdir()) == ["site.iso", "site.iso.sha256"]


def test_sums_of_another_iso_are_told_before_one_is_written(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    delta, out = tmp_path / "x.delta", tmp_path / "made.iso"
    call("site", "delta", *pair, "--out", delta)
    sums = tmp_path / "made.iso.sha256"
    sums.write_text(f"{Digest.of_file(pair[0]).hex}  made.iso\n")
    done = call("site", "apply", pair[0], delta, "--out", out, code=3)
    assert f"{sums}: is there already, and is of another ISO" in errors(done)[0]
    assert not out.exists()
    call("site", "apply", pair[0], delta, "--out", out, "--replace")
    assert out.exists()
    assert not sums.exists()  # none goes along in this delta


@pytest.mark.parametrize("form", ["txt", "signed", "typed", "damaged", "png", "svg"])
def test_a_ledger_is_no_old_iso(form: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    ledger = tmp_path / f"ledger.{form if form in ('png', 'svg') else 'txt'}"
    words: list[str | Path] = ["--records", tmp_path / "records"]
    if form == "signed":
        words += ["--sign", "--key", new_key(tmp_path, "plant")]
    call("site", "ledger", pair[0], "--site", "one", "--out", ledger, *words)
    if form == "typed":
        ledger.write_text("-".join(ledger.read_text().lower().split()))
    elif form == "damaged":
        ledger.write_text(ledger.read_text()[:-4])
    out = tmp_path / "x.delta"
    for things in [(ledger, pair[1]), (pair[0], ledger), (ledger, pair[0], pair[1])]:
        done = call("site", "delta", *things, "--out", out, code=2)
        assert errors(done) == [f"error: {ledger}: is a ledger, no ISO"]
        assert f"--known {ledger}" in hints(done)[0]
    assert not out.exists()


def test_a_delta_is_no_old_iso(pair: tuple[Path, Path], tmp_path: Path) -> None:
    first, out = tmp_path / "first.delta", tmp_path / "x.delta"
    call("site", "delta", *pair, "--out", first)
    done = call("site", "delta", first, pair[1], "--out", out, code=2)
    assert errors(done) == [f"error: {first}: is a delta, no ISO"]
    assert not out.exists()


def test_old_and_new_may_be_locks(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    """The ISOs are built for it; whoever has the published old one makes the published new one."""
    new = tmp_path / "r2.lock.json"
    new.write_bytes(locked.lock.model_copy(update={"revision": 2}).to_bytes())
    alone = ("--offline", "--store", full_store.root)
    call("site", "delta", locked.path, new, "--out", tmp_path / "x.delta", *alone)
    call("build", new, "--out", tmp_path / "published", *alone)
    (published,) = (tmp_path / "published").glob("*.iso")
    made = tmp_path / "site" / published.name
    call("site", "apply", built.iso, tmp_path / "x.delta", "--out", made)
    assert made.read_bytes() == published.read_bytes()
    assert made.with_suffix(".lock.json").read_bytes() == new.read_bytes()


SIGNED = {
    "by the key": ("release", 0, ""),
    "by another key": ("other", 5, "no signature by a key that counts"),
    "of another ISO": ("release", 5, "it is of another ISO"),
    "not at all": (None, 5, "no signature goes along in the delta"),
}


@pytest.mark.parametrize("how", SIGNED)
def test_an_iso_that_is_not_signed_as_asked_is_refused_before_it_is_written(
    how: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = (Path(shutil.copy(path, tmp_path)) for path in pair)
    signer, code, fact = SIGNED[how]
    keys = {name: new_key(tmp_path, name) for name in ("release", "other")}
    if signer is not None:
        signed = pair[0] if how == "of another ISO" else pair[1]
        put_signature(new, Digest.of_file(signed), keys[signer])
    call("site", "delta", old, new, "--out", tmp_path / "x.delta")
    out = tmp_path / "site" / "new.iso"
    key = ("--key", keys["release"].with_suffix(".pub"))
    done = call("site", "apply", old, tmp_path / "x.delta", "--out", out, *key, code=code)
    assert out.exists() == (code == 0)
    assert bundle_of(out).exists() == (code == 0)
    assert code == 0 or fact in "\n".join(errors(done))
