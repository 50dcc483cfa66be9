"""What a site holds, on paper, and what is made of a slip of the pen or an old one."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import zlib
from contextlib import ExitStack
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.pipeline.build import Built
from isobuilder.pipeline.fetch import note_locks
from isobuilder.site.ledgers.ledger import Ledger, among, make_ledger, read_text, to_text
from isobuilder.site.ledgers.qr import blocks, picture, scanned
from isobuilder.site.ledgers.records import one_at_a_time, read_record, standing
from isobuilder.store import Store
from tests.cli.calling import call, errors, hints


def iso_of(data: bytes) -> bytes:
    """Return what looks like an ISO; nobody reads more than its mark, and its digest."""
    return bytes(32769) + b"CD001" + data


DIGESTS = [Digest.of(b"blob %d" % number) for number in range(20_000)]


def test_what_a_site_holds_is_told_exactly_among_thousands_of_strangers() -> None:
    held = DIGESTS[:800]
    again = read_text(to_text(make_ledger("x", held, "blobs")), "paper")
    answer = among(again, DIGESTS)
    assert answer.exact
    assert answer.there == set(held)
    assert answer.unknown == 0


def test_strangers_that_look_as_if_they_were_there_are_sorted_out() -> None:
    held = DIGESTS[:50]
    ledger = make_ledger("x", held, "blobs")
    taken = held[7]
    # The same first 80 bits, and so the same number.
    strangers = [Digest(f"{taken[:40]}{n:031x}") for n in range(3)]
    answer = among(ledger, [*held, *strangers, *DIGESTS[50:]])
    assert answer.exact
    assert answer.there == set(held)


def test_what_the_reader_does_not_know_is_counted() -> None:
    ledger = make_ledger("x", DIGESTS[:20], "isos")
    answer = among(ledger, DIGESTS[5:30])
    assert answer.there == set(DIGESTS[5:20])
    assert answer.unknown == 5
    assert not answer.exact


@pytest.mark.parametrize(("count", "kind", "most"), [(20, "isos", 168), (800, "blobs", 2300)])
def test_a_ledger_is_short(count: int, kind: str, most: int) -> None:
    ledger = make_ledger("x", DIGESTS[:count], "isos" if kind == "isos" else "blobs")
    assert len(ledger.to_bytes()) <= most
    assert picture(to_text(ledger).replace(" ", ""), ".png").startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 17, 1000])
def test_a_text_is_the_ledger_that_was_written(count: int) -> None:
    ledger = make_ledger("x", DIGESTS[:count], "blobs")
    text = to_text(ledger)
    assert read_text(text, "paper") == ledger
    spelled = text.lower().replace("0", "o").replace("1", "l").replace(" ", "-\n ")
    assert read_text(spelled, "paper") == ledger
    assert among(ledger, DIGESTS[: count + 10]).there == set(DIGESTS[:count])


def test_every_wrong_letter_and_every_swap_is_found_in_its_group() -> None:
    text = to_text(make_ledger("x", DIGESTS[:5], "isos"))
    letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    chance = random.Random(2)
    tried = 0
    for at, letter in enumerate(text):
        if letter == " ":
            continue
        group = text[:at].count(" ") + 1
        slips = [text[:at] + chance.choice(letters.replace(letter, "")) + text[at + 1 :]]
        if text[at + 1 : at + 2] not in {"", " ", letter}:
            slips.append(text[:at] + text[at + 1] + letter + text[at + 2 :])
        for slip in slips:
            with pytest.raises(InputError, match=rf"paper: group {group}, "):
                read_text(slip, "paper")
            tried += 1
    assert tried > 150


def test_a_group_that_is_missing_doubled_or_moved_is_told() -> None:
    groups = to_text(make_ledger("x", DIGESTS[:9], "isos")).split()
    swapped = [groups[0], groups[2], groups[1], *groups[3:]]
    for wrong in (groups[:-1], groups[1:], [groups[0], *groups], swapped, groups[:1], []):
        with pytest.raises(InputError, match="paper: "):
            read_text(" ".join(wrong), "paper")


@pytest.mark.parametrize("text", ["", "hello", "P4" * 500_001, "\0", "Ж" * 25, "0" * 25, "*" * 60])
def test_what_is_no_ledger_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="paper: "):
        read_text(text, "paper")


def chain(*counts: int) -> list[Ledger]:
    """Return ledgers of one site that follow each other."""
    made: list[Ledger] = []
    for count in counts:
        last = made[-1] if made else None
        made.append(make_ledger("plant", DIGESTS[:count], "isos", last=last))
    return made


def test_nothing_new_is_the_same_ledger() -> None:
    one, same, two = chain(3, 3, 4)
    assert one == same
    assert (two.number, two.before) == (2, one.mark)


def test_ledgers_follow_each_other() -> None:
    one, two, three = chain(3, 4, 5)
    assert standing(one, "plant", None, "paper").news == "first"
    assert standing(two, "plant", one, "paper").news == "next"
    assert standing(two, "plant", two, "paper").news == "same"
    later = standing(three, "plant", one, "paper")
    assert (later.news, later.skipped) == ("later", 1)


def test_an_old_ledger_is_refused() -> None:
    one, two = chain(3, 4)
    with pytest.raises(IntegrityError, match="is ledger 1, and ledger 2 of plant was read"):
        standing(one, "plant", two, "paper")


def test_two_histories_of_one_site_are_noticed() -> None:
    one, two = chain(3, 4)
    other = make_ledger("plant", DIGESTS[:9], "isos", last=one)
    with pytest.raises(IntegrityError, match="has two histories"):
        standing(other, "plant", two, "paper")
    after = make_ledger("plant", DIGESTS[:10], "isos", last=other)
    with pytest.raises(IntegrityError, match="has two histories"):
        standing(after, "plant", two, "paper")


def test_a_site_that_lost_its_records_is_told_with_the_way_out(tmp_path: Path) -> None:
    """Its ledgers begin anew, and no letter of a later one says of which history it is."""
    paper, isos = tmp_path / "ledger.txt", tmp_path / "isos"
    isos.mkdir()
    office = ("--site", "x", "--records", tmp_path / "office")
    read = ("site", "ledger", "--read", paper, *office)

    def next_ledger(records: str, data: bytes) -> None:
        (isos / f"{data.hex()}.iso").write_bytes(iso_of(data))
        site = ("--site", "x", "--records", tmp_path / records)
        call("site", "ledger", isos, *site, "--out", paper)

    for data in (b"1", b"2"):
        next_ledger("before", data)
        assert "not proved" not in call(*read).stdout
    for data, fact in ((b"3", "it is stale"), (b"4", "two histories"), (b"5", "two histories")):
        next_ledger("after", data)
        done = call(*read, code=5)
        assert fact in errors(done)[0]
        assert "records were lost" in errors(done)[0] + hints(done)[0]
        assert "--forget begins anew with this one" in hints(done)[0]
    next_ledger("after", b"6")
    doubt = "that ledger 4 is of the same history as ledger 2 is not proved"
    known = ("--known", paper, *office[2:], "--out", tmp_path / "x.delta")
    assert f"{paper}: {doubt}" in call("site", "delta", *sorted(isos.iterdir()), *known).stderr
    before = (tmp_path / "office" / "x.json").read_bytes()
    told = json.loads(call(*read, "--json").stdout)
    assert (told["news"], told["skipped"], told["descent_proved"]) == ("later", 1, False)
    (tmp_path / "office" / "x.json").write_bytes(before)
    assert f"\n{doubt}: " in call(*read).stdout
    assert json.loads(call(*read, "--json").stdout)["descent_proved"] is True
    told = json.loads(call(*read, "--json", "--forget").stdout)
    assert (told["news"], told["descent_proved"]) == ("first", False)


def test_the_ledger_of_another_site_is_refused() -> None:
    (one,) = chain(3)
    with pytest.raises(InputError, match="is of another site than 'office'"):
        standing(one, "office", None, "paper")


@pytest.mark.skipif(shutil.which("zbarimg") is None, reason="zbarimg is not installed")
@pytest.mark.parametrize(("count", "kind"), [(20, "isos"), (800, "blobs")])
def test_zbarimg_reads_the_code_of_a_ledger(count: int, kind: str, tmp_path: Path) -> None:
    ledger = make_ledger("x", DIGESTS[:count], "isos" if kind == "isos" else "blobs")
    path = tmp_path / "ledger.png"
    path.write_bytes(picture(to_text(ledger).replace(" ", ""), ".png"))
    assert read_text(scanned(path), str(path)) == ledger


@pytest.mark.skipif(shutil.which("zbarimg") is None, reason="zbarimg is not installed")
def test_a_picture_without_a_code_and_what_is_no_picture_are_told(tmp_path: Path) -> None:
    words, folder = ("--site", "x", "--records", tmp_path / "r"), tmp_path / "came"
    folder.mkdir()
    blank = folder / "x.png"
    blank.write_bytes(blank_picture())
    told = {blank: "no QR code was found in it"}
    cut = blank_picture()[:45]
    for name, data in (("text.png", b"hello"), ("empty.JPG", b""), ("cut.png", cut)):
        (folder / name).write_bytes(data)
        told[folder / name] = "zbarimg does not read it as a picture: ERROR: "
    for path, fact in told.items():
        done = call("site", "ledger", "--read", path, *words, code=3)
        assert errors(done)[0].startswith(f"error: {path}: {fact}")
        assert "take a new picture" in hints(done)[0]
    os.mkfifo(folder / "pipe.png")
    done = call("site", "ledger", "--read", folder / "pipe.png", *words, code=3)
    assert errors(done) == [f"error: {folder / 'pipe.png'}: is no file"]
    assert read_record(tmp_path / "r", "x") is None


def blank_picture() -> bytes:
    """Return a white PNG, 8 by 8."""
    rows = zlib.compress((b"\0" + b"\xff" * 8) * 8)
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0), b"IDAT" + rows, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks
    )


def test_too_much_for_one_code_is_told() -> None:
    with pytest.raises(InputError, match="too many for one code"):
        blocks(to_text(make_ledger("x", DIGESTS[:2000], "blobs")).replace(" ", ""))


def test_a_site_tells_and_the_office_reads(built: Built, tmp_path: Path) -> None:
    iso = Path(shutil.copy(built.iso, tmp_path))
    other = tmp_path / "other.iso"
    other.write_bytes(iso_of(b"another one"))
    paper = tmp_path / "ledger.txt"
    site = ("--site", "plant-7", "--records", tmp_path / "site")
    office = ("--site", "plant-7", "--records", tmp_path / "office")
    told = call("site", "ledger", iso, *site, "--out", paper, "--out", tmp_path / "ledger.svg")
    assert told.stdout == paper.read_text()
    assert (tmp_path / "ledger.svg").read_bytes().startswith(b"<?xml")
    assert "█" in call("site", "ledger", iso, *site, "--qr").stdout
    read = call("site", "ledger", "--read", paper, *office, tmp_path, "--hand-over")
    assert f"there: {iso}" in read.stdout
    assert f"not there: {other}" in read.stdout
    (tmp_path / "more.iso").write_bytes(iso_of(b"one that only the site has"))
    call("site", "ledger", iso, tmp_path / "more.iso", *site, "--out", paper)
    (tmp_path / "more.iso").unlink()
    read = call("site", "ledger", "--read", paper, *office, tmp_path)
    assert "ledger 2, the next one: 2 isos" in read.stdout
    assert "1 iso of them nobody here knows" in read.stdout
    assert f"handed over, and not there: {Digest.of(iso_of(b'another one'))}" in read.stdout
    call("site", "ledger", iso, "--site", "plant-7", "--records", tmp_path / "x", "--out", paper)
    done = call("site", "ledger", "--read", paper, *office, code=5)
    assert "it is stale" in errors(done)[0]
    call("site", "ledger", "--read", paper, *office, "--forget")
    done = call("site", "ledger", "--read", paper, "--site", "other", code=3)
    assert "another site" in errors(done)[0]
    assert hints(done)


def test_a_ledger_is_not_written_over_another_file(built: Built, tmp_path: Path) -> None:
    iso = Path(shutil.copy(built.iso, tmp_path))
    site = ("--site", "plant-7", "--records", tmp_path / "site")
    note = tmp_path / "note.txt"
    note.write_text("to do")
    names = ("photo.png", "photo.SVG", "picture.svg", "ledger.png")
    pictures = [tmp_path / name for name in names]
    for path, data in zip(
        pictures, (b"\x89PNG of a cat", b"<?xml ", b"mine", b"to do"), strict=True
    ):
        path.write_bytes(data)
    for path in (iso, note, *pictures):
        before = path.read_bytes()
        done = call("site", "ledger", iso, *site, "--out", path, code=3)
        assert errors(done) == [f"error: {path}: is there already, and is no ledger"]
        assert path.read_bytes() == before
    assert not (tmp_path / "site").exists() or not list((tmp_path / "site").glob("*.json"))
    for path in (tmp_path / "report.pdf", tmp_path / "l.JPG"):
        path.write_text("to do")
        done = call("site", "ledger", iso, *site, "--out", path, code=2)
        assert errors(done) == [f"error: {path}: no ledger is written as {path.suffix}"]
        assert path.read_text() == "to do"
    (tmp_path / "made").mkdir()
    for _ in range(2):
        for name in ("l.txt", "l.png", "l.svg"):
            call("site", "ledger", iso, *site, "--out", tmp_path / "made" / name)


def test_what_is_a_slip_makes_no_ledger_of_nothing(tmp_path: Path) -> None:
    site = ("--site", "plant-7", "--records", tmp_path / "site")
    (tmp_path / "empty").mkdir()
    assert "which are named" in errors(call("site", "ledger", *site, code=2))[0]
    done = call("site", "ledger", tmp_path / "empty", *site, code=3)
    assert errors(done) == [f"error: {tmp_path / 'empty'}: no ISO is in this folder"]
    store = tmp_path / "stroe"
    done = call("site", "ledger", "--blobs", "--store", store, *site, code=3)
    assert errors(done) == [f"error: {store}: there is no store"]


def test_a_picture_that_is_not_read_is_told_with_what_is(built: Built, tmp_path: Path) -> None:
    words, drawn = ("--site", "x", "--records", tmp_path / "r"), tmp_path / "l.svg"
    call("site", "ledger", built.iso, *words, "--out", drawn)
    done = call("site", "ledger", "--read", drawn, *words, code=3)
    assert errors(done) == [f"error: {drawn}: is a picture that is not read"]
    assert ".png" in hints(done)[0]


def test_what_is_no_iso_is_in_no_ledger_of_isos(built: Built, tmp_path: Path) -> None:
    iso, records = Path(shutil.copy(built.iso, tmp_path)), ("--records", tmp_path / "r")
    lock = Path(shutil.copy(built.iso.with_suffix(".lock.json"), tmp_path))
    paper = tmp_path / "ledger.txt"
    call("site", "ledger", iso, "--site", "x", *records, "--out", paper)
    (tmp_path / "half.iso").write_bytes(built.iso.read_bytes()[:512])
    for named, wrong in ((lock, lock), (paper, paper), (tmp_path, tmp_path / "half.iso")):
        done = call("site", "ledger", iso, named, "--site", "y", *records, code=3)
        assert errors(done) == [f"error: {wrong}: is no ISO"]
    assert read_record(tmp_path / "r", "y") is None
    done = call("site", "ledger", "--read", paper, lock, "--site", "x", *records, code=3)
    assert errors(done) == [f"error: {lock}: is no ISO"]


def test_of_a_folder_only_files_are_isos(built: Built, tmp_path: Path) -> None:
    folder = tmp_path / "isos"
    (folder / "folder.iso").mkdir(parents=True)
    (folder / "gone.iso").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.iso")
    shutil.copy(built.iso, folder)
    words = ("--site", "plant-7", "--records", tmp_path / "site", "--json")
    assert json.loads(call("site", "ledger", folder, *words).stdout)["count"] == 1


def test_the_kind_of_a_picture_is_told_in_any_letters(built: Built, tmp_path: Path) -> None:
    for name, begin in (("L.PNG", b"\x89PNG"), ("L.Svg", b"<?xml")):
        out = tmp_path / name
        words = ("--site", "plant-7", "--records", tmp_path / "site", "--out", out)
        call("site", "ledger", built.iso, *words)
        assert out.read_bytes().startswith(begin)


def test_two_that_make_a_ledger_at_once_make_one_history(tmp_path: Path) -> None:
    names = ("one", "two", "three")
    for name in names:
        (tmp_path / f"{name}.iso").write_bytes(iso_of(name.encode()))
    words = [sys.executable, "-m", "isobuilder", "site", "ledger", "--site", "x", "--json"]
    with ExitStack() as ending:
        made = [
            ending.enter_context(
                subprocess.Popen(
                    [*words, "--records", tmp_path / "records", tmp_path / f"{name}.iso"],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for name in names
        ]
        told = [json.loads(one.communicate(timeout=120)[0]) for one in made]
    ledgers = sorted((read_text(one["ledger"], "x") for one in told), key=lambda one: one.number)
    assert [one.number for one in ledgers] == [1, 2, 3]
    assert [one.before for one in ledgers[1:]] == [one.mark for one in ledgers[:-1]]


def test_the_office_knows_what_of_a_lock_is_there(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    lock = built.iso.with_suffix(".lock.json")
    store = Store(tmp_path / "store")
    needs = [file.sha256 for file in built.lock.files]
    for digest in needs:
        blob = full_store.own(digest)
        assert blob is not None
        store.add_bytes(blob.read())
    note_locks(store, [built.lock])
    paper = tmp_path / "ledger.txt"
    site = ("--site", "x", "--records", tmp_path / "r1", "--store", store.root)
    call("site", "ledger", "--blobs", *site, "--out", paper)
    office = ("--site", "x", "--records", tmp_path / "r2", "--store", full_store.root)
    read = call("site", "ledger", "--read", paper, *office, lock)
    assert f"not there: {built.lock.base_name} (" in read.stdout
    missing = int(read.stdout.rpartition("(")[2].split()[0])
    whole = int(read.stdout.rpartition(" of ")[2].rstrip(")\n"))
    assert whole - missing == len(set(needs))


def test_what_is_behind_a_manifest_that_nobody_here_has_does_not_count_as_there(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    lock = built.iso.with_suffix(".lock.json")
    paper, office = tmp_path / "ledger.txt", ("--site", "x", "--records", tmp_path / "r2")
    site = ("--site", "x", "--records", tmp_path / "r1", "--store", full_store.root)
    call("site", "ledger", "--blobs", *site, "--out", paper)
    read = ("site", "ledger", "--read", paper, *office, lock, "--hand-over", "--store")
    done = call(*read, tmp_path / "stroe", code=3)
    more = len(built.lock.images) - 1
    assert (
        f"{built.lock.base_name}: what it needs is not known: {tmp_path}/stroe" in errors(done)[0]
    )
    assert errors(done)[0].endswith(f"{built.lock.images[0].reference} and {more} more")
    assert "isobuilder fetch" in hints(done)[0]
    assert read_record(tmp_path / "r2", "x") is None
    assert f"\nthere: {built.lock.base_name}\n" in call(*read, full_store.root).stdout


def test_what_was_handed_over_is_told_lost_only_by_a_ledger_of_its_kind(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    """And a ledger that is made where ledgers are read forgets nothing."""
    store = Store(tmp_path / "store")
    store.add_bytes(b"one")
    paper, other = tmp_path / "ledger.txt", tmp_path / "other.iso"
    other.write_bytes(iso_of(b"another one"))
    site = ("--site", "x", "--records", tmp_path / "site")
    office = ("--site", "x", "--records", tmp_path / "office", "--json")
    read = ("site", "ledger", "--read", paper, *office)

    def lost(*words: str | Path) -> list[str]:
        found = json.loads(call(*read, *words).stdout)["handed_over_and_not_there"]
        assert isinstance(found, list)
        return found

    blobs = ("site", "ledger", "--blobs", "--store", store.root, "--out", paper)
    call(*blobs, *site)
    lock = built.iso.with_suffix(".lock.json")
    assert lost(lock, "--store", full_store.root, "--hand-over") == []
    call("site", "ledger", built.iso, *site, "--out", paper)
    assert lost(other, "--hand-over") == []
    before = read_record(tmp_path / "office", "x")
    assert before is not None
    call("site", "ledger", built.iso, *office)
    assert read_record(tmp_path / "office", "x") == before
    store.add_bytes(b"two")
    call(*blobs, *site)
    needed = lost()
    assert set(needed) >= {file.sha256 for file in built.lock.files}
    call("site", "ledger", built.iso, *site, "--out", paper)
    assert lost() == [Digest.of(iso_of(b"another one"))]


def test_a_damaged_record_is_got_past_by_forgetting_it(built: Built, tmp_path: Path) -> None:
    paper = tmp_path / "ledger.txt"
    call("site", "ledger", built.iso, "--site", "x", "--records", tmp_path / "site", "--out", paper)
    read = ("site", "ledger", "--read", paper, "--site", "x", "--records", tmp_path)
    record = tmp_path / "x.json"
    for text in ("{", '{"schema": 1, "site": "x", "ledger": "0"}'):
        record.write_text(text)
        done = call(*read, code=3)
        assert str(record) in errors(done)[0]
        assert "--forget" in hints(done)[0]
        call(*read, "--forget")
        assert "read before" in call(*read).stdout
    record.write_text('{"schema": 2, "site": "x", "ledger": "0", "more": 1}')
    assert "newer isobuilder" in hints(call(*read, code=3))[0]


def test_what_fails_while_a_ledger_is_read_is_not_the_fault_of_the_records(tmp_path: Path) -> None:
    with (
        pytest.raises(BrokenPipeError),
        one_at_a_time(tmp_path, "x"),
    ):
        raise BrokenPipeError
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem), one_at_a_time(tmp_path / "file", "x"):
        pass


def test_a_ledger_that_was_read_before_a_newer_one_leaves_nothing_out(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    (tmp_path / "more.iso").write_bytes(iso_of(b"another one"))
    pair = (built.iso, tmp_path / "more.iso")
    site = ("--site", "x", "--records", tmp_path / "site")
    records = ("--records", tmp_path / "office")
    lock = built.iso.with_suffix(".lock.json")
    blobs, empty = tmp_path / "1.txt", tmp_path / "2.txt"
    call("site", "ledger", "--blobs", "--store", full_store.root, *site, "--out", blobs)
    export = ("site", "export", lock, "--store", full_store.root, "--offline", *records)
    out = ("--out", tmp_path / "b.tar", "--known")
    call("site", "ledger", "--read", blobs, "--site", "x", *records)
    before = (tmp_path / "office" / "x.json").read_bytes()
    call(*export, *out, blobs)
    (tmp_path / "b.tar").unlink()
    assert (tmp_path / "office" / "x.json").read_bytes() == before
    Store(tmp_path / "none").root.mkdir()
    call("site", "ledger", "--blobs", "--store", tmp_path / "none", *site, "--out", empty)
    call("site", "ledger", "--read", empty, "--site", "x", *records)
    done = call(*export, *out, blobs, code=5)
    assert "it is stale" in errors(done)[0]
    assert not (tmp_path / "b.tar").exists()
    done = call("site", "delta", *pair, "--known", blobs, *records, code=5)
    assert "it is stale" in errors(done)[0]
    for words in (("site", "export", lock), ("site", "delta", *pair)):
        assert "--records is about" in errors(call(*words, *records, code=2))[0]


@pytest.mark.parametrize("name", ["../x", "", ".x", "a/b", "x" * 65])
def test_no_name_of_a_site_leads_anywhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no name of a site"):
        read_record(tmp_path, name)


def test_only_what_the_site_lacks_is_carried(
    built: Built, full_store: Store, tmp_path: Path
) -> None:
    lock = built.iso.with_suffix(".lock.json")
    site = ("--store", tmp_path / "store")
    store = Store(tmp_path / "store")
    for file in built.lock.files:
        blob = full_store.own(file.sha256)
        assert blob is not None
        store.add_bytes(blob.read())
    note_locks(store, [built.lock])
    paper = tmp_path / "ledger.txt"
    call("site", "ledger", "--blobs", *site, "--site", "x", "--records", tmp_path, "--out", paper)
    export = ("site", "export", lock, "--store", full_store.root, "--offline", "--out")
    call(*export, tmp_path / "all.tar")
    call(*export, tmp_path / "new.tar", "--known", paper)
    sizes = [(tmp_path / name).stat().st_size for name in ("all.tar", "new.tar")]
    assert sizes[1] < sizes[0]
    assert "not carried: kubelet" in call("site", "check", tmp_path / "new.tar", code=7).stdout
    call("site", "check", tmp_path / "new.tar", *site)
    call("site", "import", tmp_path / "new.tar", *site, "--out", tmp_path / "in")
    lock_there = tmp_path / "in" / lock.name
    call("build", "--offline", lock_there, *site, "--out", tmp_path / "dist")
    assert Digest.of_file(tmp_path / "dist" / built.iso.name) == built.digest


def test_a_ledger_that_is_not_exact_leaves_nothing_out(built: Built, tmp_path: Path) -> None:
    paper = tmp_path / "ledger.txt"
    paper.write_text(to_text(make_ledger("x", DIGESTS[:5], "blobs")))
    lock = built.iso.with_suffix(".lock.json")
    out = ("--out", tmp_path / "b.tar", "--known", paper, "--offline")
    done = call("site", "export", lock, "--from", built.iso, *out, code=3)
    assert "cannot be told exactly: 5 of its blobs" in errors(done)[0]
    paper.write_text(to_text(make_ledger("x", DIGESTS[:5], "isos")))
    done = call("site", "export", lock, "--from", built.iso, *out, code=3)
    assert "is of ISOs" in errors(done)[0]
