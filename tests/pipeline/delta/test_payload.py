"""A delta of two OS payloads is as small as what changed in them."""

from __future__ import annotations

import lzma
import os
import random
from itertools import pairwise
from pathlib import Path

import pytest

from isobuilder.delta.container import Delta
from isobuilder.delta.plan import Made, Put
from isobuilder.digest import Digest
from isobuilder.pipeline.delta.apply import apply_deltas
from isobuilder.pipeline.delta.make import MadeDelta, make_delta
from tests.formats.squashing import squashfs
from tests.formats.test_cpio import cpio
from tests.pipeline.delta.discs import Tree, a_tree, disc, edited_bytes, edited_tree

ROOT = "boot/kiso/root.squashfs"
GOLDEN = Path(__file__).parents[2] / "golden" / "isodelta"
ROUNDS = int(os.environ.get("ISOBUILDER_DELTAS", "2"))


def system(chance: random.Random) -> Tree:
    """Return files of an operating system: libraries, drivers of a kernel, many small ones."""
    words = [chance.randbytes(6).hex().encode() for _ in range(200)]
    tree = {f"usr/lib/lib{n}.so": b" ".join(chance.choices(words, k=9000)) for n in range(4)}
    tree |= {f"etc/{n}.conf": b" ".join(chance.choices(words, k=30)) for n in range(60)}
    return tree | {"usr/lib/modules/6.1/x.ko": b" ".join(chance.choices(words, k=6000))}


def pair(folder: Path, old: Tree, new: Tree) -> MadeDelta:
    """Make the delta of two discs and apply it."""
    before, after = disc(old, folder / "old.iso"), disc(new, folder / "new.iso")
    made = make_delta([before], after, folder / "x.delta")
    assert not made.refused
    done = apply_deltas([before], [made.path], folder / "made.iso")
    assert (folder / "made.iso").read_bytes() == after.read_bytes()
    assert done.digest == Digest.of_file(after)
    return made


def changed(tree: Tree) -> Tree:
    """Return a system in which one library, a small file and the kernel's version changed."""
    library = bytearray(tree["usr/lib/lib1.so"])
    library[70_000:70_010] = b"0123456789"
    driver = tree["usr/lib/modules/6.1/x.ko"].replace(b"a", b"b", 3)
    made = {**tree, "usr/lib/lib1.so": bytes(library) + b"longer", "etc/7.conf": b"another = 1\n"}
    del made["usr/lib/modules/6.1/x.ko"]
    return {**made, "usr/lib/modules/6.2/x.ko": driver}


def test_a_delta_of_a_file_system_is_that_of_the_files_that_changed(tmp_path: Path) -> None:
    tree = system(random.Random(1))
    old, new = squashfs(tree), squashfs(changed(tree))
    made = pair(tmp_path, {ROOT: old}, {ROOT: new})
    assert made.size < 1500 < len(new) / 100
    told = {(one.piece, one.how) for one in made.told}
    library = f"{ROOT}: usr/lib/lib1.so"
    assert {(library, "patch"), (library, "blocks")} <= told


def test_a_driver_is_told_once_for_root_and_initramfs(tmp_path: Path) -> None:
    tree = system(random.Random(2))
    name = "usr/lib/modules/6.1/x.ko"
    trees = [tree, {**tree, name: random.Random(3).randbytes(50_000)}]
    old, new = (
        {ROOT: squashfs(one), "boot/kiso/initrd.img": cpio({name: one[name]})} for one in trees
    )
    assert pair(tmp_path, old, new).size < 52_000


def test_what_was_compressed_in_another_way_stays_whole(tmp_path: Path) -> None:
    tree = system(random.Random(4))
    old = squashfs(tree)
    new = bytearray(squashfs(changed(tree)))
    at = new.index(b"\x78\xda")
    new[at + 1] = 0x9C  # what zlib says at level 6
    made = pair(tmp_path, {ROOT: old}, {ROOT: bytes(new)})
    assert "blocks" not in {one.how for one in made.told}
    assert made.size < len(new) / 2  # what did not change is copied all the same


@pytest.mark.parametrize("seed", range(ROUNDS))
@pytest.mark.parametrize("kind", ["sound", "with fragments", "packed tables", "damaged"])
def test_whatever_two_file_systems_are_the_delta_makes_one_of_the_other(
    kind: str, seed: int, tmp_path: Path
) -> None:
    chance = random.Random(f"{kind}{seed}")
    tree = a_tree(chance)
    old, new = (
        squashfs(one, fragments=kind == "with fragments", plain=kind != "packed tables")
        for one in (tree, edited_tree(tree, chance))
    )
    if kind == "damaged":
        old, new = edited_bytes(old, chance), edited_bytes(new, chance)
    pair(tmp_path, {ROOT: old}, {ROOT: new})


def test_three_payloads_in_a_row_are_made_in_one_go(tmp_path: Path) -> None:
    first = system(random.Random(5))
    second = changed(first)
    third = {**second, "usr/lib/lib2.so": second["usr/lib/lib2.so"][:-500] + b"end"}
    discs = [
        disc({ROOT: squashfs(tree)}, tmp_path / f"{number}.iso")
        for number, tree in enumerate((first, second, third))
    ]
    deltas = [
        make_delta([old], new, tmp_path / f"{old.stem}.delta").path for old, new in pairwise(discs)
    ]
    apply_deltas(discs[:1], deltas, tmp_path / "made.iso")
    assert (tmp_path / "made.iso").read_bytes() == discs[2].read_bytes()


def test_a_delta_of_blocks_is_applied_for_ever(tmp_path: Path) -> None:
    """Made once, with methods 30 and 31; never made again."""
    with Delta(GOLDEN / "blocks.delta") as delta:
        runs = delta.links[0].link.runs
    used = {
        one.method
        for run in runs
        if isinstance(run, Put)
        for one in run.segments
        if isinstance(one, Made)
    }
    assert {30, 31} <= used
    out = tmp_path / "new.iso"
    old = tmp_path / "old.iso"
    old.write_bytes(lzma.decompress((GOLDEN / "blocks.old.xz").read_bytes()))
    done = apply_deltas([old], [GOLDEN / "blocks.delta"], out)
    assert done.digest.hex == "c3f0ef92ae1456f3b375b51a875cbfaeea15daaae94237ec4db7f80ca727e401"
    assert Digest.of_file(out) == done.digest
