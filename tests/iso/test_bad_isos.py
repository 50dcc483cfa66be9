"""ISOs that are damaged or crafted: each is refused with the place, none with a traceback."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.iso.check.contents import check_iso
from isobuilder.iso.read import tree
from isobuilder.iso.read.reader import IsoReader
from tests.iso.makers import entry, iso_of

BLOCK = 2048
PVD, SVD = 16 * BLOCK, 17 * BLOCK
LONG = "n" * 190  # its Rock Ridge name needs a continuation area
FILES = {
    "k8s/kubeadm": b"k" * 5000,
    "k8s/" + LONG: b"long",
    "a/b/c/deep": b"deep" * 700,
    "network.yaml": b"kind: List\n",
    "empty": b"",
    "other": b"o",
}


class Crafted:
    """The bytes of a good ISO, and where its structures are."""

    def __init__(self, path: Path) -> None:
        iso_of([entry(name, data) for name, data in FILES.items()], path)
        self.path = path
        self.data = bytearray(path.read_bytes())
        with IsoReader(path) as reader:
            self.files = dict(reader.files)
            self.folders = dict(reader.tree.folders)
            assert reader.joliet is not None
            self.joliet_folders = dict(reader.joliet.folders)
            self.joliet_files = dict(reader.joliet.files)

    def both(self, at: int, value: int) -> None:
        self.data[at : at + 8] = struct.pack("<I", value) + struct.pack(">I", value)

    def record(self, path: str) -> int:
        """Return where the record of a file or folder is."""
        if path in self.files:
            return self.files[path].offset
        parent, _, name = path.rpartition("/")
        folder = self.folders[parent]
        identifier = bytes([len(name)]) + name.upper().encode()
        return self.data.index(identifier, folder.offset, folder.end) - 32

    def field(self, path: str, signature: bytes) -> int:
        """Return where a system use field of a file is."""
        at = self.record(path)
        return self.data.index(signature, at, at + self.data[at])

    def open(self) -> IsoReader:
        self.path.write_bytes(self.data)
        return IsoReader(self.path)


@pytest.fixture
def crafted(tmp_path: Path) -> Crafted:
    return Crafted(tmp_path / "a.iso")


Craft = Callable[[Crafted], object]


def test_the_iso_is_good_before_it_is_crafted(crafted: Crafted) -> None:
    with crafted.open() as reader:
        assert {path: reader.open(path).read() for path in reader.files} == FILES


def extent_of(iso: Crafted, path: str, block: int) -> None:
    iso.both(iso.record(path) + 2, block)


def size_of(iso: Crafted, path: str, size: int) -> None:
    iso.both(iso.record(path) + 10, size)


def set_byte(iso: Crafted, at: int, value: int) -> None:
    iso.data[at] = value


def rename(iso: Crafted, path: str, name: bytes) -> None:
    at = iso.field(path, b"NM")
    assert len(name) == iso.data[at + 2] - 5
    iso.data[at + 5 : at + 5 + len(name)] = name


CRAFTED: dict[str, tuple[Craft, str]] = {
    # volume descriptors
    "magic": (lambda i: set_byte(i, PVD + 1, 0), "byte 32769: not an ISO 9660 image"),
    "second magic": (lambda i: set_byte(i, SVD + 3, 0), "not a volume descriptor"),
    "no primary": (lambda i: set_byte(i, PVD, 255), "no primary volume descriptor"),
    "block size": (
        lambda i: i.data.__setitem__(slice(PVD + 128, PVD + 132), b"\0\x02\x02\0"),
        "expected blocks of 2048 bytes, got 512",
    ),
    "two sizes": (lambda i: set_byte(i, PVD + 80, 1), "volume space size: .* in one byte order"),
    "label": (lambda i: set_byte(i, PVD + 40, 0xFF), "volume label: not text"),
    "root outside": (lambda i: i.both(PVD + 158, 1 << 30), "end behind the image"),
    "root size": (lambda i: i.both(PVD + 166, 100), "100 bytes, not whole blocks"),
    "root empty": (lambda i: i.both(PVD + 166, 0), "0 bytes, not whole blocks"),
    "root absurd": (lambda i: i.both(PVD + 166, 0xFFFFF800), "end behind the image"),
    "path table outside": (lambda i: i.both(PVD + 132, 0xFFFFFFFF), "end behind the image"),
    # directory records
    "record too short": (
        lambda i: set_byte(i, i.record("network.yaml"), 20),
        "a record of 20 bytes does not fit",
    ),
    "identifier too long": (
        lambda i: set_byte(i, i.record("network.yaml") + 32, 255),
        "an identifier of 255 bytes",
    ),
    "identifier empty": (
        lambda i: set_byte(i, i.record("network.yaml") + 32, 0),
        "an identifier of 0 bytes",
    ),
    "one byte order": (
        lambda i: set_byte(i, i.record("network.yaml") + 2, 1),
        "extent: .* in one byte order",
    ),
    "interleaved": (lambda i: set_byte(i, i.record("network.yaml") + 26, 1), "interleaved"),
    "extended": (lambda i: set_byte(i, i.record("network.yaml") + 1, 1), "extended attributes"),
    "associated": (lambda i: set_byte(i, i.record("network.yaml") + 25, 4), "the flags 0x4"),
    "endless file": (
        lambda i: set_byte(i, i.record("network.yaml") + 25, 0x80),
        "a file of several extents is not complete",
    ),
    "no dot": (
        lambda i: set_byte(i, i.folders["k8s"].offset + 33, 0x41),
        "expected the record of .",
    ),
    "dot elsewhere": (
        lambda i: i.both(i.folders["k8s"].offset + 2, 1),
        "expected the record of .",
    ),
    "file outside": (lambda i: extent_of(i, "network.yaml", 1 << 20), "end behind the image"),
    "file absurd": (lambda i: size_of(i, "network.yaml", 0xFFFFFFFF), "end behind the image"),
    "file on a folder": (
        lambda i: extent_of(i, "network.yaml", i.folders["k8s"].offset // BLOCK),
        "begins inside|share some",
    ),
    "file on the descriptors": (lambda i: extent_of(i, "network.yaml", 16), "begins inside"),
    "files overlap": (
        lambda i: extent_of(i, "network.yaml", i.files["k8s/kubeadm"].extents[0].offset // BLOCK),
        "begins inside 'network.yaml'",
    ),
    "file inside a file": (
        lambda i: extent_of(
            i, "network.yaml", i.files["k8s/kubeadm"].extents[0].offset // BLOCK + 1
        ),
        "'network.yaml' begins inside 'k8s/kubeadm'",
    ),
    "folder is its parent": (
        lambda i: extent_of(i, "a/b/c", i.folders["a"].offset // BLOCK),
        "a loop",
    ),
    "folder is the root": (
        lambda i: extent_of(i, "a", i.folders[""].offset // BLOCK),
        "a loop",
    ),
    "folder is itself": (
        lambda i: extent_of(i, "a/b", i.folders["k8s"].offset // BLOCK),
        "a loop",
    ),
    "folder is a file": (
        lambda i: extent_of(i, "a", i.files["k8s/kubeadm"].extents[0].offset // BLOCK),
        "does not fit|expected the record|interleaved",
    ),
    # Rock Ridge
    "climbing name": (lambda i: rename(i, "network.yaml", b"../../../abc"), "leaves the tree"),
    "absolute name": (lambda i: rename(i, "network.yaml", b"/etc/passwd1"), "leaves the tree"),
    "hidden name": (lambda i: rename(i, "network.yaml", b"network\0yaml"), "leaves the tree"),
    "no text": (lambda i: rename(i, "network.yaml", b"network\xffyaml"), "not UTF-8"),
    "equal names": (lambda i: rename(i, "empty", b"k8s\0\0"), "leaves the tree"),
    "parent name": (
        lambda i: set_byte(i, i.field("network.yaml", b"NM") + 4, 4),
        "a Rock Ridge name with flags",  # Linux takes the plain name instead
    ),
    "no mode": (
        lambda i: i.data.__setitem__(
            slice(i.field("network.yaml", b"PX"), i.field("network.yaml", b"PX") + 2), b"SL"
        ),
        "no file mode",
    ),
    "mode in one order": (
        lambda i: set_byte(i, i.field("network.yaml", b"PX") + 4, 0xFF),
        "file mode: .* in one byte order",
    ),
    "folder that says file": (
        lambda i: i.both(i.field("network.yaml", b"PX") + 4, 0o040555),
        "file or folder",
    ),
    "field too short": (
        lambda i: set_byte(i, i.field("network.yaml", b"PX") + 2, 3),
        "system use field b'PX': 3 bytes do not fit",
    ),
    "field too long": (
        lambda i: set_byte(i, i.field("network.yaml", b"TF") + 2, 255),
        "system use field b'TF': 255 bytes do not fit",
    ),
    "field without data": (
        lambda i: set_byte(i, i.field("network.yaml", b"PX") + 2, 8),
        "expected 32 bytes, got 4",
    ),
    "relocated": (
        lambda i: i.data.__setitem__(
            slice(i.field("network.yaml", b"TF"), i.field("network.yaml", b"TF") + 2), b"RE"
        ),
        "a relocated folder",
    ),
    "compressed": (
        lambda i: i.data.__setitem__(
            slice(i.field("network.yaml", b"TF"), i.field("network.yaml", b"TF") + 2), b"ZF"
        ),
        "a compressed file",
    ),
    "continuation outside": (
        lambda i: i.both(i.field("k8s/" + LONG, b"CE") + 4, 1 << 30),
        "continuation area: .* end behind the image",
    ),
    "continuation over the block": (
        lambda i: i.both(i.field("k8s/" + LONG, b"CE") + 20, 4000),
        "continuation area of 4000 bytes",
    ),
    # Joliet
    "joliet outside": (lambda i: i.both(SVD + 158, 1 << 30), "end behind the image"),
    "joliet file elsewhere": (
        lambda i: i.both(i.joliet_files["network.yaml"].offset + 10, 1 << 20),
        "end behind the image|begins inside",
    ),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_iso_is_refused(name: str, crafted: Crafted) -> None:
    craft, message = CRAFTED[name]
    craft(crafted)
    with pytest.raises(IntegrityError, match=message) as caught:
        crafted.open()
    assert "a.iso: byte " in str(caught.value)


@pytest.mark.parametrize("name", CRAFTED)
def test_who_asks_for_what_a_node_sees_is_not_kept_by_joliet_alone(
    name: str, crafted: Crafted
) -> None:
    CRAFTED[name][0](crafted)
    crafted.path.write_bytes(crafted.data)
    if name.startswith("joliet"):
        with IsoReader(crafted.path, node_only=True) as reader:
            assert reader.files == crafted.files
        return
    with pytest.raises(IntegrityError, match=CRAFTED[name][1]):
        IsoReader(crafted.path, node_only=True)


def test_two_entries_with_one_name_are_refused(crafted: Crafted) -> None:
    rename(crafted, "other", b"empty")
    with pytest.raises(IntegrityError, match="two entries for 'empty'"):
        crafted.open()


def test_continuation_areas_that_form_a_loop_are_refused(crafted: Crafted) -> None:
    at = crafted.field("k8s/" + LONG, b"CE")
    block, offset, _ = struct.unpack_from("<I4xI4xI", crafted.data, at + 4)
    area = block * BLOCK + offset
    crafted.data[area : area + 28] = crafted.data[at : at + 28]
    crafted.both(area + 20, 28)
    crafted.both(at + 20, 28)
    with pytest.raises(IntegrityError, match=r"continue without end|in one another"):
        crafted.open()


def test_truncated_isos_are_refused_at_any_length(crafted: Crafted) -> None:
    whole = bytes(crafted.data)
    last = max(e.extents[0].end for e in crafted.files.values() if e.extents)
    for length in [*range(0, last, 1777), last - 1]:
        crafted.path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError, match=r"a\.iso: byte \d+: "):
            IsoReader(crafted.path)


def test_too_many_entries_are_refused(crafted: Crafted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_ENTRIES", 5)
    with pytest.raises(IntegrityError, match="more than 5 directory records"):
        crafted.open()


def test_folders_of_too_many_bytes_are_refused(
    crafted: Crafted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "MAX_FOLDER_BYTES", 3 * BLOCK)
    with pytest.raises(IntegrityError, match="folders of more than 6144 bytes"):
        crafted.open()


def test_folders_too_deep_are_refused(crafted: Crafted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_DEPTH", 2)
    with pytest.raises(IntegrityError, match="folders more than 2 deep"):
        crafted.open()


def test_a_file_that_shrinks_while_it_is_read_is_told(crafted: Crafted) -> None:
    with crafted.open() as reader:
        crafted.path.write_bytes(crafted.data[: 20 * BLOCK])
        with pytest.raises(IntegrityError, match="the file ends early"):
            reader.open("network.yaml").read()
        with pytest.raises(IntegrityError, match="the file ends early"):
            check_iso(reader)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Crafted:
    return Crafted(tmp_path_factory.mktemp("good") / "a.iso")


@settings(
    max_examples=400, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(
    flips=st.lists(
        st.tuples(st.integers(PVD, 48 * BLOCK), st.integers(1, 255)), min_size=1, max_size=4
    )
)
def test_flipped_bits_give_an_error_or_a_tree_and_never_anything_else(
    flips: list[tuple[int, int]], good: Crafted
) -> None:
    changed = bytearray(good.data)
    for at, bits in flips:
        changed[at % len(changed)] ^= bits
    good.path.write_bytes(changed)
    started = time.process_time()
    with suppress(IntegrityError), IsoReader(good.path) as reader:
        check = check_iso(reader)
        assert check.digest == Digest.of(bytes(changed))
        assert sum(one.size for one in reader.files.values()) <= 20 * len(changed)
        assert all(reader.plain.files)
    assert time.process_time() - started < 20


def test_a_hostile_iso_cannot_use_much_memory(crafted: Crafted) -> None:
    # Every number of 4 bytes in the structures becomes as large as it can be, one at a time.
    tracemalloc.start()
    for at in range(PVD, 24 * BLOCK, 97):
        crafted.data[at : at + 8], before = b"\xff" * 8, crafted.data[at : at + 8]
        with suppress(IntegrityError):
            crafted.open().close()
        crafted.data[at : at + 8] = before
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 1024 * 1024
