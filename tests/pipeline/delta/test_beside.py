"""What lies beside an ISO that a delta makes is of that ISO, whenever a run ends."""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from isobuilder.delta.container import Delta, write_delta
from isobuilder.delta.general import Whole
from isobuilder.delta.plan import Link, Made, Put
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.files import new_file
from isobuilder.medium import SBOM, SIDE_FILES, SIGNATURE, VEX
from isobuilder.pipeline.delta.apply import apply_deltas
from isobuilder.pipeline.delta.beside import Beside, side
from isobuilder.pipeline.delta.make import make_delta
from isobuilder.pipeline.delta.place import Writer
from tests.pipeline.delta.discs import a_tree, disc
from tests.pipeline.delta.released import registration_of


@dataclass(frozen=True, slots=True)
class Line:
    """Three releases, all with what lies beside, and the delta from the first to the second."""

    isos: tuple[Path, ...]
    delta: Path

    def at_site(self, folder: Path, number: int, *, ends: tuple[str, ...] = SIDE_FILES) -> Path:
        """Put what lies beside a release into a folder, and return the name of its ISO there."""
        folder.mkdir(exist_ok=True)
        out = folder / "st.iso"
        for end in ends:
            data = side(self.isos[number], end).read_bytes()
            side(out, end).write_bytes(data.replace(self.isos[number].name.encode(), b"st.iso"))
        return out


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp("line")
    tree = a_tree(random.Random(1))
    isos = []
    for number in range(3):
        iso = disc({**tree, "release": b"%d" % number}, folder / f"r{number}.iso")
        for end in SIDE_FILES:
            side(iso, end).write_text(f"{end} of {number}")
        side(iso, "iso.sha256").write_text(f"{Digest.of_file(iso).hex}  {iso.name}\n")
        side(iso, "registration.json").write_bytes(registration_of(iso))
        isos.append(iso)
    return Line(tuple(isos), make_delta(isos[:1], isos[1], folder / "x.delta").path)


def assert_right(line: Line, out: Path) -> None:
    """The second release is there, and all that lies beside it is of it."""
    assert out.read_bytes() == line.isos[1].read_bytes()
    for end in SIDE_FILES:
        expected = side(line.isos[1], end).read_bytes().replace(b"r1.iso", b"st.iso")
        if end != "registration.json":
            assert side(out, end).read_bytes() == expected
    told = json.loads(side(out, "registration.json").read_bytes())
    assert told["checksum"].endswith(Digest.of_file(line.isos[1]).hex)


@pytest.mark.parametrize(
    "ends", [SIDE_FILES[1:], ("lock.json",), ("registration.json",), ("manifest.json",), (SBOM,)]
)
def test_what_lies_there_of_another_iso_is_told_before_one_is_written(
    ends: tuple[str, ...], line: Line, tmp_path: Path
) -> None:
    out = line.at_site(tmp_path / "q", 2, ends=ends)
    with pytest.raises(InputError, match="is there already, and is of another ISO"):
        apply_deltas(line.isos[:1], [line.delta], out)
    assert not out.exists()
    apply_deltas(line.isos[:1], [line.delta], out, replace=True)
    assert_right(line, out)


def test_what_lies_there_of_this_iso_stays(line: Line, tmp_path: Path) -> None:
    """Beside an ISO that is there, an SBOM may be a deeper one, a registration has an address."""
    out = line.at_site(tmp_path / "q", 1)
    apply_deltas(line.isos[:1], [line.delta], out)
    assert_right(line, out)
    side(out, SBOM).write_text("deeper")
    filled = json.loads(side(out, "registration.json").read_bytes()) | {"download_url": "http://x"}
    side(out, "registration.json").write_text(json.dumps(filled))
    side(out, "lock.json").unlink()
    done = apply_deltas(line.isos[:1], [line.delta], out)
    assert (done.there, done.beside) == (True, (side(out, "lock.json"),))
    assert side(out, SBOM).read_text() == "deeper"


class Killed(BaseException):
    """As by SIGKILL: nothing of ours runs any more."""


@pytest.mark.parametrize("moment", range(6))
def test_a_run_that_is_killed_is_continued_by_the_same_command(
    moment: int, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before what lay beside the ISO that goes is removed, and after each file of it."""
    out = line.at_site(tmp_path / "q", 2)
    shutil.copy(line.isos[2], out)
    unlink, left = Path.unlink, [moment]

    def dying(path: Path, missing_ok: bool = False) -> None:
        if path.parent == out.parent and not path.name.startswith("."):
            if path.exists() and not left[0]:
                raise Killed
            left[0] -= path.exists()
        unlink(path, missing_ok=missing_ok)

    def dead(_beside: Beside) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dying)
        patched.setattr(Beside, "write", dead)
        with pytest.raises(Killed):
            apply_deltas(line.isos[:1], [line.delta], out, replace=True)
    apply_deltas(line.isos[:1], [line.delta], out, replace=True)
    assert_right(line, out)


def test_a_signature_of_the_iso_that_goes_goes_though_nothing_else_tells_of_it(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that replaced the ISO was killed before it removed what lay beside it."""
    out = line.at_site(tmp_path / "q", 2, ends=(SBOM,))
    side(out, SIGNATURE).write_text("of the other one")
    shutil.copy(line.isos[2], out)

    def dead(_beside: Beside, _ends: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Beside, "remove", dead)
        with pytest.raises(Killed):
            apply_deltas(line.isos[:1], [line.delta], out, replace=True)
    assert out.read_bytes() == line.isos[1].read_bytes()
    with pytest.raises(InputError, match="what lies beside it is of the ISO that it replaced"):
        apply_deltas(line.isos[:1], [line.delta], out)
    apply_deltas(line.isos[:1], [line.delta], out, replace=True)
    assert_right(line, out)
    assert not side(out, SIGNATURE).exists()
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


def test_beside_the_right_iso_only_what_differs_is_replaced(line: Line, tmp_path: Path) -> None:
    out = line.at_site(tmp_path / "q", 1)
    shutil.copy(line.isos[1], out)
    for end in (SIGNATURE, VEX, "lock.json", SBOM):
        side(out, end).write_text("mine")
    done = apply_deltas(line.isos[:1], [line.delta], out, replace=True)
    assert (done.there, done.beside) == (True, (side(out, "lock.json"),))
    assert [side(out, end).read_text() for end in (SIGNATURE, VEX, SBOM)] == ["mine"] * 3


@pytest.mark.parametrize("end", ["manifest.json", "lock.json", SBOM])
def test_what_the_delta_does_not_carry_is_not_taken_for_that_of_the_new_iso(
    end: str, line: Line, tmp_path: Path
) -> None:
    bare = Path(shutil.copy(line.isos[1], tmp_path / "bare.iso"))
    delta = make_delta(line.isos[:1], bare, tmp_path / "bare.delta").path
    out = line.at_site(tmp_path / "q", 2, ends=(end,))
    with pytest.raises(InputError, match=f"st.{end}: .* nothing of that kind lies beside bare.iso"):
        apply_deltas(line.isos[:1], [delta], out)
    assert not out.exists()
    apply_deltas(line.isos[:1], [delta], out, replace=True)
    assert [path.name for path in out.parent.iterdir()] == ["st.iso"]
    side(out, end).write_text("came later")
    assert apply_deltas(line.isos[:1], [delta], out).there


@pytest.mark.parametrize("what", ["a folder", "a pipe"])
def test_what_is_no_file_is_not_taken_for_one_beside_the_iso(
    what: str, line: Line, tmp_path: Path
) -> None:
    out = Path(shutil.copy(line.isos[2], tmp_path / "st.iso"))
    if what == "a folder":
        side(out, VEX).mkdir()
    else:
        os.mkfifo(side(out, "iso.sha256"))
    with pytest.raises(InputError, match="is there, and is no file"):
        apply_deltas(line.isos[:1], [line.delta], out, replace=True)
    assert out.read_bytes() == line.isos[2].read_bytes()


@pytest.mark.parametrize("end", ["manifest.json", "registration.json"])
def test_a_large_file_beside_the_iso_is_of_another_one(
    end: str, line: Line, tmp_path: Path
) -> None:
    out = tmp_path / "st.iso"
    with side(out, end).open("wb") as file:
        file.truncate(33 << 20)
    with pytest.raises(InputError, match="is of another ISO"):
        apply_deltas(line.isos[:1], [line.delta], out)
    apply_deltas(line.isos[:1], [line.delta], out, replace=True)
    assert_right(line, out)


def test_of_two_runs_that_write_one_name_the_second_is_refused(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where they make different ISOs."""
    other = make_delta(line.isos[:1], line.isos[2], tmp_path / "y.delta").path
    out, write = tmp_path / "q" / "st.iso", Beside.write

    def meanwhile(beside: Beside) -> tuple[Path, ...]:
        with pytest.raises(EnvironmentProblem, match="another run is writing it"):
            apply_deltas(line.isos[:1], [other], out, replace=True)
        return write(beside)

    monkeypatch.setattr(Beside, "write", meanwhile)
    apply_deltas(line.isos[:1], [line.delta], out)
    assert_right(line, out)


@pytest.mark.parametrize("what", ["an ISO", "sums", "the same"])
@pytest.mark.parametrize("links", [True, False])
def test_what_came_to_lie_there_meanwhile_stays(
    what: str, links: bool, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write = tmp_path / "q" / "st.iso", Writer.write
    found = {"an ISO": out, "sums": side(out, "iso.sha256"), "the same": out}[what]

    def meanwhile(writer: Writer) -> int:
        done = write(writer)
        if what == "sums":
            found.write_text(f"{Digest.of(b'x').hex}  st.iso\n")
        else:
            shutil.copy(line.isos[2 if what == "an ISO" else 1], found)
        return done

    def no_link(_one: Path, _other: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(Writer, "write", meanwhile)
    if what == "the same":
        apply_deltas(line.isos[:1], [line.delta], out)
        assert_right(line, out)
    else:
        with pytest.raises(InputError, match="is there already, and is"):
            apply_deltas(line.isos[:1], [line.delta], out)
        assert out.exists() == (what == "an ISO")
    assert len(list(out.parent.glob("*.iso.sha256"))) == (what != "an ISO")


def test_where_no_second_names_are_the_iso_gets_its_own(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(_one: Path, _other: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    apply_deltas(line.isos[:1], [line.delta], tmp_path / "st.iso")
    assert_right(line, tmp_path / "st.iso")


def test_what_a_run_to_another_iso_left_is_removed(line: Line, tmp_path: Path) -> None:
    out, left = tmp_path / "q" / "st.iso", "." + "st.iso" + "." + "0" * 16
    line.at_site(out.parent, 1)
    names = (f"{left}.part", f"{left}.sides", f"{left}.mine", ".st.iso.part")
    for name in names:
        (out.parent / name).write_bytes(b"x")
    apply_deltas(line.isos[:1], [line.delta], out)
    assert [(out.parent / name).exists() for name in names] == [False, False, True, True]


@pytest.mark.parametrize("how", ["itself", "by a link", "a link", "by two links", "the delta"])
def test_an_iso_is_not_written_over_what_it_is_made_of(
    how: str, line: Line, tmp_path: Path
) -> None:
    out = Path(shutil.copy(line.isos[0], tmp_path / "cur.iso"))
    old, delta = out, Path(shutil.copy(line.delta, tmp_path / "x.delta"))
    if how == "by a link":
        old = tmp_path / "link.iso"
        old.symlink_to("cur.iso")
    if how in {"a link", "by two links"}:
        out = tmp_path / "st.iso"
    if how == "a link":
        old = out
        old.symlink_to("cur.iso")
    if how == "by two links":
        out.symlink_to("cur.iso")
        old = tmp_path / "link.iso"
        old.symlink_to("st.iso")
    if how == "the delta":
        old, out = line.isos[0], delta
    before = out.read_bytes()
    with pytest.raises(InputError, match="is one of the files that the new ISO is made of"):
        apply_deltas([old], [delta], out, replace=True)
    assert out.read_bytes() == before


def test_among_old_isos_the_new_one_may_be_named_too(line: Line, tmp_path: Path) -> None:
    """As by isos/*.iso in a command that is typed again."""
    out = tmp_path / "new.iso"
    old = Path(shutil.copy(line.isos[0], tmp_path / "old.iso"))
    for there in (False, True):
        assert apply_deltas([old, out][: 1 + there], [line.delta], out).there == there


def forged(line: Line, folder: Path, registration: bytes) -> Path:
    """Return the delta with another registration, closed again."""
    with Delta(line.delta) as delta:
        needed = delta.links[0]
        link: Link = needed.link
        data = delta.read(needed.begins, link.carried)
    packed = Whole().make(b"", registration)
    run = Put((Made(1, 0, 0, 0, len(packed), len(registration), "registration"),))
    places = {**link.beside, "registration.json": len(link.runs)}
    lying = replace(link, runs=(*link.runs, run), beside=places)
    with new_file(folder / "forged.delta") as put:
        write_delta(put, [(lying, [data, packed])])
    return folder / "forged.delta"


@pytest.mark.parametrize("what", ["another ISO", "another size", "a list", "nothing", "no JSON"])
def test_a_registration_of_another_iso_is_not_written(
    what: str, line: Line, tmp_path: Path
) -> None:
    good = json.loads(registration_of(line.isos[1]))
    other = json.loads(registration_of(line.isos[2]))
    data = {
        "another ISO": json.dumps(other).encode(),
        "another size": json.dumps({**good, "size": good["size"] + 1}).encode(),
        "a list": json.dumps([other]).encode(),
        "nothing": b"{}",
        "no JSON": b"{",
    }[what]
    delta = forged(line, tmp_path, data)
    out = tmp_path / "q" / "st.iso"
    with pytest.raises(IntegrityError, match="the delta has one of another ISO"):
        apply_deltas(line.isos[:1], [delta], out)
    assert list(out.parent.iterdir()) == []


def test_no_delta_is_made_with_a_registration_of_another_iso(line: Line, tmp_path: Path) -> None:
    new = Path(shutil.copy(line.isos[1], tmp_path / "new.iso"))
    side(new, "registration.json").write_bytes(registration_of(line.isos[2]))
    with pytest.raises(InputError, match=r"new.registration.json: is of another ISO: it tells of"):
        make_delta(line.isos[:1], new, tmp_path / "x.delta")
    assert not (tmp_path / "x.delta").exists()


@pytest.mark.parametrize(
    "target", ["nowhere", "st.iso", "x/y"], ids=["nothing", "itself", "no way"]
)
def test_a_link_that_leads_nowhere_is_another_file(target: str, line: Line, tmp_path: Path) -> None:
    out = tmp_path / "st.iso"
    out.symlink_to(target)
    with pytest.raises(InputError, match=r"st\.iso: is there already, and is not") as caught:
        apply_deltas(line.isos[:1], [line.delta], out)
    assert "--replace" in str(caught.value.hint)
    assert str(out.readlink()) == target
    apply_deltas(line.isos[:1], [line.delta], out, replace=True)
    assert not out.is_symlink()
    assert_right(line, out)


def test_a_link_that_came_meanwhile_and_leads_nowhere_stays(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "st.iso"
    write = Writer.write

    def meanwhile(writer: Writer) -> int:
        out.symlink_to("nowhere")
        return write(writer)

    monkeypatch.setattr(Writer, "write", meanwhile)
    with pytest.raises(InputError, match=r"st\.iso: is there already, and is not"):
        apply_deltas(line.isos[:1], [line.delta], out)
    assert out.is_symlink()


def of_no_bytes(path: Path, kind: str, line: Line) -> None:
    if kind == "link":
        path.symlink_to(line.isos[2])
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "second name":
        path.hardlink_to(shutil.copy(line.isos[2], path.with_name("mine")))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["link", "loop", "second name", "pipe"])
def test_what_is_no_file_of_ours_in_the_place_of_the_part_goes(
    kind: str, line: Line, tmp_path: Path
) -> None:
    out = tmp_path / "st.iso"
    part = out.with_name(f".st.iso.{Digest.of_file(line.isos[1]).hex[:16]}.part")
    before = line.isos[2].read_bytes()
    of_no_bytes(part, kind, line)
    apply_deltas(line.isos[:1], [line.delta], out)
    assert_right(line, out)
    assert line.isos[2].read_bytes() == before
    assert kind != "second name" or (tmp_path / "mine").read_bytes() == before


def test_a_folder_in_the_place_of_the_part_is_told_by_its_name(line: Line, tmp_path: Path) -> None:
    out = tmp_path / "st.iso"
    part = out.with_name(f".st.iso.{Digest.of_file(line.isos[1]).hex[:16]}.part")
    of_no_bytes(part, "folder", line)
    with pytest.raises(EnvironmentProblem, match=f"^{part}: Is a directory"):
        apply_deltas(line.isos[:1], [line.delta], out)
