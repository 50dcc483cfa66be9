"""A bundle is what a stranger carried: whatever is in it, nothing unproved gets into the store."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
import tracemalloc
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest

from isobuilder.content.archives import tar_header
from isobuilder.content.donor import IsoDonor
from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError, IsobuilderError
from isobuilder.iso.read.rawiso import Extent
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from isobuilder.site.bundles.admit import StoreKeeper, arrived, take_folder, take_part
from isobuilder.site.bundles.arrival import take_iso
from isobuilder.site.bundles.bundle import Bundle
from isobuilder.site.bundles.export import write_folder, write_parts
from isobuilder.site.bundles.packing import Packing
from isobuilder.store import Store
from tests.cli.calling import call, errors, half_written, hints


@pytest.fixture
def whole(packed: Packing, tmp_path: Path) -> Path:
    """A bundle of one part."""
    one = packed.bundle.model_copy(update={"part_size": None})
    write_parts(Packing(one, packed.texts, packed.find), tmp_path / "whole.tar")
    return tmp_path / "whole.tar"


@pytest.fixture
def parts(packed: Packing, tmp_path: Path) -> list[Path]:
    return [part.path for part in write_parts(packed, tmp_path / "b.tar").parts]


def take(data: bytes, store: Store) -> Bundle:
    return take_part(io.BytesIO(data), "stick/b.tar", StoreKeeper(store)).bundle


def second_header(data: bytes) -> int:
    """Return where the header of the first blob is."""
    size = int(data[124:135], 8)
    return 512 + size + -size % 512


def member(kind: bytes, name: str, *, link: str = "", size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info.tobuf(tarfile.GNU_FORMAT)


HEADERS = {
    "a symbolic link": member(tarfile.SYMTYPE, "blobs/sha256/x", link="/etc/passwd"),
    "a hard link": member(tarfile.LNKTYPE, "blobs/sha256/x", link="../../etc/passwd"),
    "a block device": member(tarfile.BLKTYPE, "blobs/sha256/x"),
    "a pipe": member(tarfile.FIFOTYPE, "blobs/sha256/x"),
    "a file '/etc/cron.d/x'": member(tarfile.REGTYPE, "/etc/cron.d/x", size=3),
    "a file '../../x'": member(tarfile.REGTYPE, "../../x", size=3),
    "a folder 'blobs/'": member(tarfile.DIRTYPE, "blobs/"),
    "a file 'bomb' of 8796093022208 bytes": member(tarfile.REGTYPE, "bomb", size=1 << 43),
    "a sparse file": member(tarfile.GNUTYPE_SPARSE, "x", size=3),
    "a header that goes on": b"",
    "the end": bytes(512),
}


@pytest.mark.parametrize("found", [name for name in HEADERS if HEADERS[name]])
def test_a_member_that_should_not_be_there_is_refused_with_its_place(
    found: str, whole: Path, store: Store, tmp_path: Path
) -> None:
    data = bytearray(whole.read_bytes())
    at = second_header(bytes(data))
    data[at : at + 512] = HEADERS[found]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        IntegrityError, match=f"b.tar: byte {at}: expected a file 'blobs/"
    ) as caught:
        take(bytes(data), store)
    assert found in str(caught.value)
    new = [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()]
    assert new == []


def test_flipped_bytes_anywhere_are_refused_or_make_another_bundle(
    whole: Path, packed: Packing, tmp_path: Path
) -> None:
    good = whole.read_bytes()
    chance = random.Random(16)
    head = second_header(good)
    places = [*range(0, 700, 7), *(chance.randrange(head) for _ in range(40))]
    places += [head + n for n in range(0, 512, 5)]
    places += [chance.randrange(len(good)) for _ in range(60)]
    places += [len(good) - n for n in (1, 500, 1024, 1025)]
    for number, place in enumerate(places):
        bad = bytearray(good)
        bad[place] ^= 1 << chance.randrange(8)
        store = Store(tmp_path / f"store{number}")
        told = None
        try:
            bundle = take(bytes(bad), store)
        except IsobuilderError as error:
            told = str(error)
        if told is not None:
            assert told.startswith("stick/b.tar: ")
        else:  # a letter of a name, a digit of a version: what it says is no other bytes
            assert place < head
            assert bundle.identity != packed.bundle.identity
        assert half_written(store.root) == []


def test_a_part_that_was_cut_off_is_refused_and_its_whole_blobs_stay(
    whole: Path, packed: Packing, tmp_path: Path
) -> None:
    good = whole.read_bytes()
    for number, size in enumerate([0, 1, 511, 512, 700, 300_000, len(good) - 1024, len(good) - 1]):
        store = Store(tmp_path / f"store{number}")
        with pytest.raises(IntegrityError, match=rf"stick/b\.tar: cut off at byte {size}, inside"):
            take(good[:size], store)
        assert half_written(store.root) == []
        assert (store.own(packed.bundle.contents[0].digest) is not None) == (size >= 300_000)


def test_something_behind_the_end_is_refused(whole: Path, store: Store) -> None:
    good = whole.read_bytes()
    with pytest.raises(IntegrityError, match=f"byte {len(good)}: something behind its end"):
        take(good + b"\0", store)


def test_what_is_no_bundle_is_told_as_such(tmp_path: Path, built: object) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in {
        "page.tar": b"<html>" * 200,
        "empty.tar": b"",
        "zeros.tar": bytes(4096),
        "zip.tar": b"PK\x03\x04" + bytes(600),
        "gzip.tar": b"\x1f\x8b\x08" + bytes(600),
        "other.tar": member(tarfile.REGTYPE, "docker/x.tar", size=0) + bytes(1024),
        "huge.tar": member(tarfile.REGTYPE, "bundle.json", size=1 << 40) + bytes(1024),
    }.items():
        (folder / name).write_bytes(data)
        done = call("site", "import", folder / name, "--store", tmp_path / "s", code=5)
        assert f"{folder / name}: " in errors(done)[0]
    (folder / "x").mkdir()
    done = call("site", "import", folder / "x", "--store", tmp_path / "s", code=3)
    assert "neither a bundle, nor parts of one, nor an ISO" in errors(done)[0]


def changed(whole: Path, **values: object) -> bytes:
    """Return a bundle whose bundle.json says something else."""
    data = whole.read_bytes()
    size = int(data[124:135], 8)
    said = json.loads(data[512 : 512 + size]) | values
    text = (json.dumps(said, indent=2, sort_keys=True) + "\n").encode()
    padded = text + bytes(-len(text) % 512)
    return tar_header("bundle.json", len(text)) + padded + data[second_header(data) :]


@pytest.mark.parametrize(
    ("values", "fact"),
    [
        ({"schema": 2}, "is of format 2, this isobuilder reads format 1"),
        ({"part": 2}, "says it is part 2 of 1"),
        ({"part": 0}, "part: "),
        ({"part_size": 1}, "no bundle has such parts"),
        ({"contents": []}, "expected the end|the end is not"),
        ({"tool": "\x1b[2J"}, "tool: "),
        ({"more": 1}, "more: "),
    ],
)
def test_what_bundle_json_says_is_checked(
    values: dict[str, object], fact: str, whole: Path, store: Store
) -> None:
    with pytest.raises(IsobuilderError, match=fact):
        take(changed(whole, **values), store)
    assert half_written(store.root) == []


def test_a_newer_bundle_says_what_to_do(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "new.tar").write_bytes(changed(whole, schema=2))
    done = call("site", "import", tmp_path / "new.tar", "--store", tmp_path / "s", code=3)
    assert "a newer isobuilder wrote it" in hints(done)[0]


@pytest.mark.parametrize("name", ["../x", "/x", ".x", "-x", "a/b", "a\nb", "x" * 301, ""])
def test_no_name_of_a_document_leads_anywhere(name: str, whole: Path, store: Store) -> None:
    data = whole.read_bytes()
    said = json.loads(data[512 : 512 + int(data[124:135], 8)])
    said["contents"][0]["names"] = [name]
    with pytest.raises(IntegrityError, match="contents"):
        take(changed(whole, contents=said["contents"]), store)


def test_the_text_of_bundle_json_has_one_form(whole: Path, store: Store) -> None:
    data = whole.read_bytes()
    size = int(data[124:135], 8)
    text = json.dumps(json.loads(data[512 : 512 + size])).encode()
    padded = tar_header("bundle.json", len(text)) + text + bytes(-len(text) % 512)
    with pytest.raises(IntegrityError, match="not in the form that we write"):
        take(padded + data[second_header(data) :], store)


def test_sizes_that_promise_more_parts_than_anybody_has_cost_nothing(
    whole: Path, store: Store
) -> None:
    data = whole.read_bytes()
    said = json.loads(data[512 : 512 + int(data[124:135], 8)])
    for item in said["contents"]:
        item["size"] = 1 << 44
    with pytest.raises(IntegrityError, match=r"no bundle has such parts: .* more than 9999"):
        take(changed(whole, contents=said["contents"], part_size=100_000), store)


def test_a_long_bundle_json_is_not_kept_once_for_each_part(whole: Path, store: Store) -> None:
    """A part of some 300 KB that speaks of hundreds does not take as many times that."""
    facts = {"kind": "file", "media_type": None, "size": 2_000_000}
    item = {"digest": Digest.of(b"x"), "names": [f"{n:0280}" for n in range(1000)], **facts}
    data = changed(whole, contents=[item], part_size=300_000)
    data = changed(whole, contents=[item], part_size=second_header(data) + 8192)
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="expected a file 'pieces/"):
            take(data, store)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000


def test_pieces_that_are_not_what_was_cut_are_thrown_away_and_good_ones_taken(
    parts: list[Path], packed: Packing, store: Store
) -> None:
    bad = bytearray(parts[1].read_bytes())
    bad[-2000] ^= 1
    for data in (bytes(bad) if path == parts[1] else path.read_bytes() for path in parts):
        take(data, store)
    with pytest.raises(IntegrityError, match=r"put together of parts 2, 3") as caught:
        arrived(packed.bundle, store)
    assert "sha256sum -c" in str(caught.value.hint)
    for path in parts:
        take(path.read_bytes(), store)
    assert not arrived(packed.bundle, store).missing
    assert half_written(store.root) == []


def test_a_part_of_another_bundle_is_refused_or_told(
    parts: list[Path], whole: Path, packed: Packing, tmp_path: Path
) -> None:
    store = ("--store", tmp_path / "s", "--out", tmp_path / "site")
    identity = packed.bundle.identity
    done = call("site", "import", whole, "--bundle", identity, *store, code=5)
    assert "whole.tar: bundle.json: of bundle sha256:" in errors(done)[0]
    assert f"expected {identity}" in errors(done)[0]
    call("site", "import", *parts, "--bundle", identity, *store)


def test_a_bundle_in_a_folder_is_read_without_following_links(
    packed: Packing, tmp_path: Path
) -> None:
    one = packed.bundle.model_copy(update={"part_size": None})
    folder = tmp_path / "folder"
    write_folder(Packing(one, packed.texts, packed.find), folder)
    first = folder / "blobs" / "sha256" / one.contents[0].digest.hex
    saved = first.read_bytes()
    for number in range(2):
        first.unlink()
        if number:
            os.mkfifo(first)
        else:
            first.symlink_to("/etc/passwd")
        done = take_folder(folder, StoreKeeper(Store(tmp_path / f"s{number}")))
        (told,) = done.failures
        assert str(told).startswith(f"{first}: ")
        assert done.added == len(one.contents) - 1
    first.unlink()
    first.write_bytes(saved[:-1] + b"!")
    (told,) = take_folder(folder, StoreKeeper(Store(tmp_path / "s3"))).failures
    assert f"one: expected {Digest.of(saved)}" in str(told)


def test_a_damaged_blob_of_a_folder_hides_nothing_else(packed: Packing, tmp_path: Path) -> None:
    one = packed.bundle.model_copy(update={"part_size": None})
    folder, site = tmp_path / "folder", ("--out", tmp_path / "site", "--store", tmp_path / "s")
    write_folder(Packing(one, packed.texts, packed.find), folder)
    blobs = [folder / "blobs" / "sha256" / item.digest.hex for item in one.contents]
    saved = [path.read_bytes() for path in blobs]
    blobs[0].write_bytes(saved[0][:-1] + b"!")
    blobs[2].unlink()
    os.mkfifo(blobs[2])
    for words in (("check", folder, *site[2:]), ("import", folder, *site)):
        done = call("site", *words, code=5 if words[0] == "check" else 7)
        told = "\n".join(errors(done))
        assert f"{folder}: one: expected {one.contents[0].digest}, got sha256:" in told
        assert f"{blobs[2]}: " in told
        assert f"bundle {one.identity}: " in told
    assert f"bundle {one.identity}: missing what is in it: one, three\n" in done.stderr
    store = Store(tmp_path / "s")
    assert [store.own(item.digest) is None for item in one.contents] == [True, False, True, False]
    blobs[2].unlink()
    for path, data in zip(blobs, saved, strict=True):
        path.write_bytes(data)
    call("site", "import", folder, *site)


def test_a_size_that_lies_moves_no_good_blob_away(packed: Packing, tmp_path: Path) -> None:
    one = packed.bundle.model_copy(update={"part_size": None})
    store = Store(tmp_path / "store")
    write_folder(Packing(one, packed.texts, packed.find), tmp_path / "b")
    take_folder(tmp_path / "b", StoreKeeper(store))
    item = one.contents[0]
    short = item.model_copy(update={"size": item.size - 1})
    lie = one.model_copy(update={"contents": (short, *one.contents[1:])})
    (tmp_path / "b" / "bundle.json").write_bytes(lie.to_bytes())
    blob = tmp_path / "b" / "blobs" / "sha256" / item.digest.hex
    blob.write_bytes(blob.read_bytes()[:-1])
    fact = f"one: said to have 249999 bytes, and {item.digest} has 250000"
    (told,) = take_folder(tmp_path / "b", StoreKeeper(store)).failures
    assert f"{tmp_path / 'b'}: {fact}" in str(told)
    with pytest.raises(IntegrityError, match=fact):
        arrived(lie, store)
    assert not arrived(one, store).missing
    assert half_written(store.root) == []
    assert not (store.root / "quarantine").exists()


def test_a_full_disk_is_told_and_the_next_run_goes_on(
    parts: list[Path], packed: Packing, small_disk: Path, tmp_path: Path
) -> None:
    (small_disk / "filled").write_bytes(bytes(500_000))
    done = call(
        "site", "import", *parts, "--store", small_disk / "s", "--out", tmp_path / "x", code=6
    )
    assert "No space left" in done.stderr or "File too large" in done.stderr
    done = call("site", "export", "1.36.5", "--out", small_disk / "b.tar", "--offline", code=6)
    assert errors(done)
    (small_disk / "filled").unlink()
    room = Store(tmp_path / "room")
    for path in parts:
        take(path.read_bytes(), room)
    assert not arrived(packed.bundle, room).missing


def test_an_iso_that_claims_a_thousand_digests_of_a_file_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"x" * 5000
    lies = [Digest.of(bytes([n % 256, n // 256])) for n in range(1000)]
    sums = "".join(f"{digest.hex}  file\n" for digest in [*lies, Digest.of(content)])
    entries = [
        IsoEntry("SHA256SUMS", 0o644, (sums.encode(),)),
        IsoEntry("file", 0o644, (content,)),
    ]
    write_iso(entries, tmp_path / "x.iso", label="CDROM", epoch=0)
    with IsoReader(tmp_path / "x.iso") as reader:
        reads: list[Sequence[Extent]] = []
        stream = reader.image.stream

        def counted(runs: Sequence[Extent]) -> BinaryIO:
            reads.append(runs)
            return stream(runs)

        monkeypatch.setattr(reader.image, "stream", counted)
        donor = IsoDonor(reader, None)
        reads.clear()
        assert [digest for digest in donor.claims if donor.find(digest)] == [Digest.of(content)]
        assert len(reads) == 1
    store = Store(tmp_path / "store")
    with ExitStack() as closing:
        take_iso(tmp_path / "x.iso", store, closing)
    assert half_written(store.root) == []
    assert [path.name for path in store.root.rglob("blobs/sha256/*/*")] == [Digest.of(content).hex]
