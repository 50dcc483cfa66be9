"""What was made of old ISOs and a delta is the new ISO, bit for bit, or it is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isobuilder.delta.container import MAGIC, Delta, write_delta
from isobuilder.delta.prove import prove
from isobuilder.digest import Digest
from isobuilder.errors import InputError, IntegrityError, IsobuilderError
from isobuilder.files import locked, new_file
from isobuilder.pipeline.delta import apply, make
from isobuilder.pipeline.delta.apply import apply_deltas
from isobuilder.pipeline.delta.make import MadeDelta, make_delta
from isobuilder.run import run
from tests.delta.sealing import opened, sealed
from tests.fuzz.mutation import edited_json
from tests.pipeline.delta.discs import Tree, a_tree, disc, edited_bytes, edited_tree, spoiled
from tests.pipeline.delta.released import registration_of

GOLDEN = Path(__file__).parents[2] / "golden" / "isodelta"
ROUNDS = int(os.environ.get("ISOBUILDER_DELTAS", "8"))
"""How many pairs of ISOs, and ten times as many changed deltas; ``make test-deltas`` tries more."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, MadeDelta]:
    """Two ISOs and the delta between them."""
    folder = tmp_path_factory.mktemp("pair")
    chance = random.Random(1)
    tree = a_tree(chance)
    old, new = disc(tree, folder / "old.iso"), disc(edited(tree, chance), folder / "new.iso")
    return old, new, make_delta([old], new, folder / "one.delta")


def edited(tree: Tree, chance: random.Random) -> Tree:
    program = bytearray(tree["bin/program1"])
    program[500:600] = chance.randbytes(100)
    return {**tree, "bin/program1": bytes(program), "text9.yaml": b"new: file\n"}


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_whatever_two_files_are_the_delta_makes_one_of_the_other(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    tree = a_tree(chance)
    old = disc(tree, tmp_path / "old.iso")
    new = disc(edited_tree(tree, chance), tmp_path / "new.iso")
    for path in (old, new):
        if chance.random() < 0.3:
            spoiled(path, chance)
    delta = make_delta([old], new, tmp_path / "x.delta")
    assert not delta.refused
    done = apply_deltas([old], [delta.path], tmp_path / "made.iso")
    assert (tmp_path / "made.iso").read_bytes() == new.read_bytes()
    assert done.digest == delta.digest == Digest.of_file(new)


def test_what_a_killed_proof_left_is_removed_by_the_next_run(
    pair: tuple[Path, Path, MadeDelta], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, used, other = (tmp_path / f".isobuilder-proof-{name}" for name in ("a", "b", "c"))
    for folder in (left, used, other):
        folder.mkdir()
        (folder / "proved.delta").write_bytes(b"x")
    (left / "lock").touch()
    proved = []

    def looking(delta: Path, *given: Any) -> Any:
        proved.append(delta)
        return prove(delta, *given)

    monkeypatch.setattr(make, "prove", looking)
    with locked(used / "lock"):
        make_delta([pair[0]], pair[1], tmp_path / "x.delta")
    assert [path.parent.name.startswith(".isobuilder-proof-") for path in proved] == [True]
    assert {path.name for path in tmp_path.iterdir()} == {"x.delta", used.name, other.name}


def test_a_delta_is_as_small_as_what_changed(pair: tuple[Path, Path, MadeDelta]) -> None:
    _, new, delta = pair
    assert delta.size < 1500 < new.stat().st_size / 100
    assert {told.piece: told.how for told in delta.told}["bin/program1"] == "edits"


def test_what_lay_beside_is_written_beside(tmp_path: Path) -> None:
    old, new = tmp_path / "old.iso", tmp_path / "new.iso"
    chance = random.Random(1)
    tree = a_tree(chance)
    disc(tree, old)
    disc(edited(tree, chance), new)
    registration = registration_of(new)
    (tmp_path / "new.registration.json").write_bytes(registration)
    (tmp_path / "new.iso.sha256").write_text(f"{Digest.of_file(new).hex}  new.iso\n")
    delta = make_delta([old], new, tmp_path / "x.delta")
    out = tmp_path / "site" / "there.iso"
    done = apply_deltas([old], [delta.path], out)
    assert {path.name for path in done.beside} == {"there.registration.json", "there.iso.sha256"}
    assert (out.parent / "there.registration.json").read_bytes() == registration
    assert (out.parent / "there.iso.sha256").read_text() == f"{done.digest.hex}  there.iso\n"


def test_a_year_of_deltas_is_applied_in_one_go(tmp_path: Path) -> None:
    chance = random.Random(5)
    tree = a_tree(chance)
    discs, deltas = [disc(tree, tmp_path / "0.iso")], []
    for number in range(1, 7):
        tree = edited_tree(tree, chance)
        discs.append(disc(tree, tmp_path / f"{number}.iso"))
        deltas.append(make_delta(discs[-2:-1], discs[-1], tmp_path / f"{number}.delta").path)
    chance.shuffle(deltas)
    done = apply_deltas([discs[0]], deltas, tmp_path / "out.iso")
    assert done.steps == tuple(path.name for path in discs[1:])
    assert (tmp_path / "out.iso").read_bytes() == discs[-1].read_bytes()
    middle = apply_deltas([discs[0]], deltas, tmp_path / "3.again", wanted=Digest.of_file(discs[3]))
    assert middle.digest == Digest.of_file(discs[3])


def test_several_old_ones_are_used_together_and_any_of_them_alone(tmp_path: Path) -> None:
    chance = random.Random(7)
    first, second = a_tree(chance), a_tree(chance)
    olds = [disc(first, tmp_path / "a.iso"), disc(second, tmp_path / "b.iso")]
    both = {f"a/{name}": data for name, data in first.items()}
    new = disc({**both, **second}, tmp_path / "new.iso")
    together = make_delta(olds, new, tmp_path / "together.delta")
    assert together.size < 3000
    apply_deltas(olds, [together.path], tmp_path / "1.iso")
    with pytest.raises(InputError, match="they need"):
        apply_deltas(olds[:1], [together.path], tmp_path / "2.iso")
    either = make_delta(olds, new, tmp_path / "either.delta", any_of=True)
    for number, old in enumerate(olds):
        out = tmp_path / f"either{number}.iso"
        assert apply_deltas([old], [either.path], out).digest == either.digest


def test_an_old_one_that_nothing_is_taken_from_is_not_needed(tmp_path: Path) -> None:
    chance = random.Random(1)
    tree = a_tree(chance)
    old, other = disc(tree, tmp_path / "old.iso"), disc(a_tree(chance), tmp_path / "other.iso")
    new = disc(edited(tree, chance), tmp_path / "new.iso")
    delta = make_delta([old, other], new, tmp_path / "x.delta")
    with Delta(delta.path) as opened:
        assert opened.links[0].link.digest == Digest.of_file(new)
    apply_deltas([old, other], [delta.path], tmp_path / "made.iso")


Spoil = Callable[[bytes], bytes]
DAMAGED: dict[str, tuple[Spoil, type[Exception], str]] = {
    "cut": (lambda data: data[:-1], IntegrityError, "damaged: it hashes to"),
    "cut in its head": (lambda data: data[:30], IntegrityError, "cut off in its head"),
    "a bit": (lambda d: d[:60] + bytes([d[60] ^ 1]) + d[61:], IntegrityError, "it hashes to"),
    "more": (lambda data: data + b"x", IntegrityError, "damaged: it hashes to"),
    "a newer format": (
        lambda data: MAGIC + b"\2" + data[9:],
        InputError,
        "a delta of format 2; this isobuilder knows 1",
    ),
    "nothing": (lambda _: b"", InputError, "not a delta"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_delta_is_refused_before_anything_is_written(
    what: str, pair: tuple[Path, Path, MadeDelta], tmp_path: Path
) -> None:
    spoil, kind, fact = DAMAGED[what]
    path = tmp_path / "x.delta"
    path.write_bytes(spoil(pair[2].path.read_bytes()))
    with pytest.raises(kind, match=fact):
        apply_deltas([pair[0]], [path], tmp_path / "out" / "made.iso")
    assert not (tmp_path / "out").exists()


def test_another_old_one_is_refused_before_anything_is_written(
    pair: tuple[Path, Path, MadeDelta], tmp_path: Path
) -> None:
    data = bytearray(pair[0].read_bytes())
    data[50_000] ^= 1
    other = tmp_path / "other.iso"
    other.write_bytes(data)
    with pytest.raises(InputError, match=r"other.iso: .* they need old.iso \(sha256:\w+\)"):
        apply_deltas([other], [pair[2].path], tmp_path / "out" / "made.iso")
    with pytest.raises(InputError, match=f"nothing makes {Digest.of(b'x')}"):
        apply_deltas([other], [pair[2].path], tmp_path / "out" / "x.iso", wanted=Digest.of(b"x"))
    fact = rf"nothing makes {Digest.of(b'x')}: they make new.iso \({pair[2].digest}\)"
    with pytest.raises(InputError, match=fact) as refused:
        apply_deltas([pair[0]], [pair[2].path], tmp_path / "out" / "x.iso", wanted=Digest.of(b"x"))
    assert "--digest" in str(refused.value.hint)
    assert not (tmp_path / "out").exists()


def test_a_delta_that_promises_another_digest_leaves_nothing(
    pair: tuple[Path, Path, MadeDelta], tmp_path: Path
) -> None:
    from dataclasses import replace

    with Delta(pair[2].path) as delta:
        needed = delta.links[0]
        data = delta.read(needed.begins, needed.link.carried)
    lying = replace(needed.link, digest=Digest.of(b"something else"))
    with new_file(tmp_path / "lie.delta") as put:
        write_delta(put, [(lying, [data])])
    out = tmp_path / "out"
    with pytest.raises(IntegrityError, match=f"expected {lying.digest}; it was removed"):
        apply_deltas([pair[0]], [tmp_path / "lie.delta"], out / "made.iso")
    assert list(out.iterdir()) == []


def test_another_file_of_that_name_stays(
    pair: tuple[Path, Path, MadeDelta], tmp_path: Path
) -> None:
    out = tmp_path / "made.iso"
    out.write_bytes(b"mine")
    with pytest.raises(InputError, match="is there already"):
        apply_deltas([pair[0]], [pair[2].path], out)
    assert out.read_bytes() == b"mine"
    assert not apply_deltas([pair[0]], [pair[2].path], out, replace=True).there
    assert apply_deltas([pair[0]], [pair[2].path], out).there


@pytest.mark.parametrize("left", ["good", "damaged", "too long"])
def test_what_a_killed_run_left_is_used_if_it_is_right(
    left: str, pair: tuple[Path, Path, MadeDelta], tmp_path: Path
) -> None:
    old, new, delta = pair
    data = bytearray(new.read_bytes())
    half = data[: len(data) // 2] if left != "too long" else data + b"more"
    if left == "damaged":
        half[1000] ^= 1
    part = tmp_path / f".made.iso.{delta.digest.hex[:16]}.part"
    part.write_bytes(half)
    done = apply_deltas([old], [delta.path], tmp_path / "made.iso")
    assert (tmp_path / "made.iso").read_bytes() == data
    assert (done.resumed > 0) == (left != "damaged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.iso"]


def test_a_delta_of_format_1_is_applied_for_ever(tmp_path: Path) -> None:
    """Made once, with every kind of run, segment and general method; never made again."""
    out = tmp_path / "new.iso"
    done = apply_deltas([GOLDEN / "old"], [GOLDEN / "format1.delta"], out)
    assert done.size == 17146
    assert done.digest.hex == "813a3a2cb67e8883f90a29b83f8a664fa0010986511d8e511a99360eb0867c34"
    assert Digest.of_file(out) == done.digest
    assert (tmp_path / "new.lock.json").read_bytes() == b"what lies beside\n"


def test_where_what_lies_beside_cannot_be_made_there_is_no_iso(tmp_path: Path) -> None:
    said, carried = opened(GOLDEN / "format1.delta")
    out, refused, told = tmp_path / "new.iso", 0, 0
    for at in range(0, len(carried), 3):
        damaged = carried[:at] + bytes([carried[at] ^ 0xFF]) + carried[at + 1 :]
        (tmp_path / "x.delta").write_bytes(sealed(json.dumps(said).encode(), damaged))
        try:
            apply_deltas([GOLDEN / "old"], [tmp_path / "x.delta"], out)
        except IsobuilderError as error:
            refused += 1
            told += f"{tmp_path / 'new.lock.json'}: cannot be made by the delta: " in str(error)
            assert not out.exists()
        for path in tmp_path.glob("new.*"):
            path.unlink()
    assert refused > 10
    assert told


@pytest.mark.parametrize("end", ["a/../../x", "/../evil", "lock.json/../../x", "", ".", "tar"])
def test_what_a_stranger_calls_what_lies_beside_is_no_part_of_a_name(
    tmp_path: Path, end: str
) -> None:
    said, carried = opened(GOLDEN / "format1.delta")
    said["links"][0]["beside"][end] = said["links"][0]["beside"]["lock.json"]
    (tmp_path / "x.delta").write_bytes(sealed(json.dumps(said).encode(), carried))
    apply_deltas([GOLDEN / "old"], [tmp_path / "x.delta"], tmp_path / "new.iso")
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"x.delta", "new.iso", "new.lock.json"}


MUTATED = 10 * ROUNDS


def test_whatever_somebody_changes_the_result_is_right_or_there_is_none(tmp_path: Path) -> None:
    said, carried = opened(GOLDEN / "format1.delta")
    old, new = (GOLDEN / "old").read_bytes(), tmp_path / "new.iso"
    chance = random.Random(ROUNDS)
    ended = {"right": 0, "refused": 0}
    for _ in range(MUTATED):
        delta, base = tmp_path / "x.delta", tmp_path / "old"
        base.write_bytes(edited_bytes(old, chance) if chance.random() < 0.2 else old)
        if chance.random() < 0.5:
            delta.write_bytes(sealed(edited_json(said, chance), carried))
        else:
            delta.write_bytes(sealed(json.dumps(said).encode(), edited_bytes(carried, chance)))
        try:
            digest = apply_deltas([base], [delta], new).digest
        except IsobuilderError:
            ended["refused"] += 1
            assert not new.exists()
        else:
            ended["right"] += 1
            assert Digest.of_file(new) == digest
            new.unlink()
        for path in tmp_path.glob("new.*"):
            path.unlink()
        assert {path.name for path in tmp_path.iterdir()} <= {"x.delta", "old"}
    assert ended["refused"] > MUTATED / 2


def test_applying_takes_little_memory_however_large_the_iso_is(tmp_path: Path) -> None:
    large = random.Random(2).randbytes(1024 * 1024) * 120
    old = disc({"a": large, "b": b"old"}, tmp_path / "old.iso")
    new = disc({"c": large, "b": b"new"}, tmp_path / "new.iso")
    delta = make_delta([old], new, tmp_path / "x.delta")
    assert delta.size < 2000
    code = (
        "import sys; from pathlib import Path\n"
        "from isobuilder.pipeline.delta.apply import apply_deltas\n"
        "apply_deltas([Path(sys.argv[1])], [Path(sys.argv[2])], Path(sys.argv[3]))\n"
        "print(Path('/proc/self/status').read_text())\n"
    )
    out = tmp_path / "made.iso"
    said = run([sys.executable, "-c", code, old, delta.path, out], timeout=60)
    most = next(line.split()[1] for line in said.splitlines() if line.startswith("VmHWM:"))
    assert int(most) < 100 * 1024  # KiB


def spoil(path: Path, *, put_back: bool = False) -> None:
    """Write other bytes over all of a file, and put its date back."""
    was = path.stat()
    path.write_bytes(bytes(was.st_size))
    if put_back:
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


@pytest.mark.parametrize("put_back", [False, True])
@pytest.mark.parametrize("moment", ["_path", "Writer.write"])
def test_no_delta_is_blamed_for_an_old_iso_that_is_changed_meanwhile(
    pair: tuple[Path, Path, MadeDelta],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    *,
    put_back: bool,
) -> None:
    old = Path(shutil.copy(pair[0], tmp_path / "old.iso"))
    name, _, method = moment.partition(".")
    holder = getattr(apply, name) if method else apply
    right = getattr(holder, method or name)

    def meanwhile(*given: object, **named: object) -> object:
        spoil(old, put_back=put_back)
        return right(*given, **named)

    monkeypatch.setattr(holder, method or name, meanwhile)
    with pytest.raises(IntegrityError, match=r"old\.iso: was changed while it was read") as caught:
        apply_deltas([old], [pair[2].path], tmp_path / "made.iso")
    assert caught.value.hint == "run the same command again once nobody writes there"
    assert [path.name for path in tmp_path.iterdir()] == ["old.iso"]


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_is_changed_while_a_delta_is_made_is_told(
    pair: tuple[Path, Path, MadeDelta],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    which: int,
) -> None:
    paths = [Path(shutil.copy(path, tmp_path)) for path in pair[:2]]
    link = make._Files.link

    def meanwhile(files: make._Files, *given: Any) -> Any:
        spoil(paths[which])
        return link(files, *given)

    monkeypatch.setattr(make._Files, "link", meanwhile)
    with pytest.raises(IntegrityError, match=f"^{paths[which]}: was changed while it was read"):
        make_delta(paths[:1], paths[1], tmp_path / "x.delta")
    assert sorted(tmp_path.iterdir()) == sorted(paths)
