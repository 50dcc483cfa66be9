"""Parity in the format of PAR2, made and used by par2."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.formats.par2 import read_pieces
from isobuilder.pipeline.build import Built
from isobuilder.site.parity import _alone, _zeroed, heal, protect
from tests.cli.calling import call, errors, hints

pytestmark = pytest.mark.skipif(shutil.which("par2") is None, reason="par2 is not installed")


@pytest.fixture
def iso(built: Built, tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    shutil.copytree(built.iso.parent, folder)
    return folder / built.iso.name


def scratch(iso: Path, *, at: int, size: int) -> None:
    data = bytearray(iso.read_bytes())
    data[at : at + size] = bytes(byte ^ 0xFF for byte in data[at : at + size])
    iso.write_bytes(data)


def test_a_scratch_within_the_parity_is_healed(iso: Path, built: Built) -> None:
    done = call("site", "protect", iso, "--percent", "10")
    assert Path(done.stdout.splitlines()[0]).name == f"{iso.name}.par2"
    before = sorted(iso.parent.iterdir())
    scratch(iso, at=100_000, size=20_000)
    call("site", "repair", iso, "--parity")
    assert Digest.of_file(iso) == built.digest
    assert sorted(iso.parent.iterdir()) == before
    assert "nothing was damaged" in call("site", "repair", iso, "--parity").stderr


def test_a_hundred_dead_sectors_are_healed_wherever_they_lie(tmp_path: Path) -> None:
    chance = random.Random(4)
    path = tmp_path / "any.iso"
    path.write_bytes(chance.randbytes(22_000_000 + 777))
    expected = Digest.of_file(path)
    protect(path)
    sectors = [number * 107 for number in range(100)]  # a piece has three: each hits one of its own
    assert sectors[-1] * 2048 < 22_000_000
    with path.open("r+b") as file:
        for number in sectors:
            file.seek(number * 2048)
            file.write(bytes(2048))
    assert heal(path, expected)
    assert Digest.of_file(path) == expected


def test_what_was_healed_is_told_to_machines(iso: Path, built: Built) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=100_000, size=20_000)
    told = {"iso": str(iso), "digest": built.digest, "places": []}
    for written in (iso.stat().st_size, 0):
        done = call("site", "repair", iso, "--parity", "--json")
        assert json.loads(done.stdout) == {**told, "written": written}


def test_other_tools_read_the_parity(iso: Path, built: Built) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=50_000, size=5_000)
    command = ["par2", "repair", "-q", f"{iso.name}.par2"]
    subprocess.run(command, cwd=iso.parent, check=True, capture_output=True)
    assert Digest.of_file(iso) == built.digest


@pytest.mark.parametrize("where", ["in place", "as a copy"])
def test_more_damage_than_parity_is_told_and_nothing_changed(
    where: str, iso: Path, tmp_path: Path
) -> None:
    call("site", "protect", iso, "--percent", "5")
    scratch(iso, at=100_000, size=60_000)
    damaged = iso.read_bytes()
    before = sorted(iso.parent.iterdir())
    more = () if where == "in place" else ("--out", tmp_path / "copies" / "mended.iso")
    done = call("site", "repair", iso, "--parity", *more, code=5)
    fact = "more damage than its parity can mend; it is as it was"
    assert errors(done) == [f"error: {iso}: {fact}"]
    assert "site repair --from" in hints(done)[0]
    assert iso.read_bytes() == damaged
    assert sorted(iso.parent.iterdir()) == before
    assert more == () or list((tmp_path / "copies").iterdir()) == []


def test_parity_of_which_nothing_is_left_is_told(iso: Path) -> None:
    call("site", "protect", iso, "--percent", "5")
    scratch(iso, at=100_000, size=5_000)
    for path in iso.parent.glob("*.par2"):
        path.write_bytes(b"")
    done = call("site", "repair", iso, "--parity", code=5)
    fact = "its parity is too damaged itself to mend anything; it is as it was"
    assert errors(done) == [f"error: {iso}: {fact}"]
    assert "site repair --from" in hints(done)[0]


def test_what_par2_says_of_a_full_disk_is_told_of_the_iso(
    iso: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("site", "protect", iso, "--percent", "5")
    scratch(iso, at=100_000, size=5_000)
    program(tmp_path, "echo Could not write: No space left on device >&2; exit 6", monkeypatch)
    done = call("site", "repair", iso, "--parity", code=6)
    assert errors(done) == [f"error: {iso}: par2: Could not write: No space left on device"]
    assert f"is there room at {iso.parent}?" in hints(done)[0]


def test_an_iso_that_got_another_name_together_with_its_parity_is_healed(
    iso: Path, built: Built
) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=100_000, size=20_000)
    for path in [iso, *iso.parent.glob("*.par2")]:
        path.rename(path.with_name(path.name.replace(iso.name, "my copy.iso")))
    renamed = iso.with_name("my copy.iso")
    call("site", "repair", renamed, "--parity", "--digest", built.digest)
    assert Digest.of_file(renamed) == built.digest
    assert not iso.exists()


def test_parity_of_another_iso_changes_nothing(iso: Path) -> None:
    damaged = iso.read_bytes()[:-1] + b"?"
    iso.write_bytes(damaged)
    call("site", "protect", iso, "--percent", "10")  # of what is damaged already
    scratch(iso, at=100_000, size=5_000)
    scratched = iso.read_bytes()
    done = call("site", "repair", iso, "--parity", code=5)
    assert "it is as it was" in errors(done)[0]
    assert iso.read_bytes() == scratched


def test_without_parity_it_says_so(iso: Path) -> None:
    scratch(iso, at=100_000, size=5)
    done = call("site", "repair", iso, "--parity", code=3)
    assert "no parity is beside it" in errors(done)[0]
    call("site", "protect", iso)
    done = call("site", "protect", iso, code=3)
    assert "is there already" in errors(done)[0]
    assert hints(done)


def test_a_name_that_looks_like_an_option_is_a_name(iso: Path, built: Built) -> None:
    odd = iso.rename(iso.with_name("-r99.iso"))
    call("site", "protect", odd, "--percent", "10")
    scratch(odd, at=100_000, size=20_000)
    call("site", "repair", odd, "--parity", "--digest", built.digest)
    assert Digest.of_file(odd) == built.digest


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``text`` run in the place of par2."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setattr("isobuilder.site.parity._program", lambda: path)


def test_what_others_put_beside_an_iso_while_it_is_mended_stays(
    iso: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=100_000, size=20_000)
    names = ("other.iso", "1.txt", f"{iso.name}.1")
    put = "".join(f"echo dear > ../{name}; " for name in names)
    program(tmp_path, f'{put} exec par2 "$@"', monkeypatch)
    call("site", "repair", iso, "--parity")
    assert Digest.of_file(iso) == built.digest
    assert all((iso.parent / name).read_text() == "dear\n" for name in names)


def test_par2_that_ends_in_the_middle_leaves_the_iso_as_it_was(
    iso: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=100_000, size=20_000)
    damaged, before = iso.read_bytes(), sorted(iso.parent.iterdir())
    half = f"mv {iso.name} {iso.name}.1; head -c 9000 {iso.name}.1 > {iso.name}; exit 1"
    program(tmp_path, half, monkeypatch)
    call("site", "repair", iso, "--parity", code=6)
    assert iso.read_bytes() == damaged
    assert sorted(iso.parent.iterdir()) == before


def killed_with_par2(*words: str | Path, folder: Path, half: str) -> None:
    """Run isobuilder with a par2 that does ``half`` and has both killed, as a power cut would."""
    (folder / "bin").mkdir()
    path = folder / "bin" / "par2"
    path.write_text(f"#!/bin/sh\n{half}\nkill -9 $PPID\nkill -9 $$\n")
    path.chmod(0o755)
    start = (
        "import sys; from pathlib import Path; import isobuilder.site.parity as parity;"
        "path = Path(sys.argv.pop(1)); parity._program = lambda: path;"
        "from isobuilder.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", start, path, *words], check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_was_killed_with_par2_while_it_mended_mends_when_it_is_run_again(
    iso: Path, built: Built, tmp_path: Path
) -> None:
    call("site", "protect", iso, "--percent", "10")
    before = sorted(iso.parent.iterdir())
    scratch(iso, at=100_000, size=20_000)
    damaged = iso.read_bytes()
    half = f"mv {iso.name} {iso.name}.1; : > {iso.name}"
    killed_with_par2("site", "repair", iso, "--parity", folder=tmp_path, half=half)
    assert iso.read_bytes() == damaged
    assert sorted(iso.parent.iterdir()) != before
    call("site", "repair", iso, "--parity")
    assert Digest.of_file(iso) == built.digest
    assert sorted(iso.parent.iterdir()) == before


def test_what_a_killed_run_left_beside_an_iso_that_is_right_goes(
    iso: Path, built: Built, tmp_path: Path
) -> None:
    call("site", "protect", iso, "--percent", "10")
    before = sorted(iso.parent.iterdir())
    good = iso.read_bytes()
    scratch(iso, at=100_000, size=20_000)
    killed_with_par2("site", "repair", iso, "--parity", folder=tmp_path, half=":")
    iso.write_bytes(good)
    assert "nothing was damaged" in call("site", "repair", iso, "--parity").stderr
    assert sorted(iso.parent.iterdir()) == before


def test_parity_has_its_name_only_when_it_is_whole(iso: Path, built: Built, tmp_path: Path) -> None:
    before = sorted(iso.parent.iterdir())
    half = 'while [ "$1" != -- ]; do shift; done; : > "$2"; : > "${2%.par2}.vol000+80.par2"'
    killed_with_par2("site", "protect", iso, folder=tmp_path, half=half)
    assert not list(iso.parent.glob("*.par2"))
    call("site", "protect", iso, "--percent", "10")
    assert len(set(iso.parent.iterdir()) - set(before)) == 2
    scratch(iso, at=100_000, size=20_000)
    call("site", "repair", iso, "--parity")
    assert Digest.of_file(iso) == built.digest


def test_par2_that_makes_nothing_is_told(
    iso: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "exit 0", monkeypatch)
    done = call("site", "protect", iso, "--json", code=6)
    assert "made nothing" in errors(done)[0]


@pytest.mark.parametrize("words", [("protect",), ("repair", "--parity")])
def test_one_run_at_a_time_makes_or_uses_the_parity_of_an_iso(
    words: tuple[str, ...], iso: Path, built: Built
) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=100_000, size=20_000)
    before = {path: path.read_bytes() for path in iso.parent.iterdir()}
    with _alone(iso):
        done = call("site", *words, iso, code=6)
    assert "another run" in errors(done)[0]
    assert hints(done)
    assert {path: path.read_bytes() for path in iso.parent.iterdir()} == before
    call("site", "repair", iso, "--parity")
    assert Digest.of_file(iso) == built.digest


def test_where_files_have_one_name_only_a_copy_is_mended(
    iso: Path, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # what FAT says

    call("site", "protect", iso, "--percent", "10")
    before = sorted(iso.parent.iterdir())
    scratch(iso, at=100_000, size=20_000)
    monkeypatch.setattr(os, "link", no_links)
    call("site", "repair", iso, "--parity")
    assert Digest.of_file(iso) == built.digest
    assert sorted(iso.parent.iterdir()) == before


def test_of_a_link_the_file_behind_it_is_protected_and_mended(iso: Path, built: Built) -> None:
    links = iso.parent.parent / "links"
    links.mkdir()
    link = links / "newest.iso"
    link.symlink_to(iso)
    done = call("site", "protect", link, "--percent", "10")
    assert done.stdout.splitlines()[0] == f"{iso}.par2"
    scratch(iso, at=100_000, size=20_000)
    call("site", "repair", link, "--parity", "--digest", built.digest)
    assert link.is_symlink()
    assert Digest.of_file(iso) == built.digest


def test_a_path_through_a_link_and_from_here_does(
    iso: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "to site").symlink_to(iso.parent)
    monkeypatch.chdir(tmp_path)
    path = Path("to site") / iso.name
    done = call("site", "protect", path, "--percent", "10")
    assert done.stdout.splitlines()[0] == f"{path}.par2"
    scratch(iso, at=100_000, size=20_000)
    call("site", "repair", path, "--parity")
    assert Digest.of_file(iso) == built.digest


@pytest.mark.parametrize(
    ("name", "data", "fact"),
    [
        ("empty.iso", b"", "has no bytes to protect"),
        ("all*.iso", b"x" * 9000, "takes no name with"),
        ("which?.iso", b"x" * 9000, "takes no name with"),
    ],
)
def test_what_par2_does_not_take_is_refused_in_our_words(
    name: str, data: bytes, fact: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert fact in errors(call("site", "protect", path, code=3))[0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_only_read_is_told(iso: Path, read_only: Callable[[Path], None]) -> None:
    read_only(iso.parent)
    done = call("site", "protect", iso, code=6)
    assert "Read-only" in errors(done)[0] or "denied" in errors(done)[0]
    assert "writable" in hints(done)[0]
    assert "nothing was damaged" in call("site", "repair", iso, "--parity").stderr


def with_zeros(folder: Path) -> Path:
    """Return a protected file in which pieces are zeros, as in the image of a boot partition."""
    chance = random.Random(2)
    path = folder / "zeros.iso"
    path.write_bytes(chance.randbytes(1 << 20) + bytes(1 << 18) + chance.randbytes(1 << 20))
    call("site", "protect", path, "--percent", "10")
    return path


def test_a_scratch_of_zeros_is_healed_where_zeros_are_right_elsewhere(tmp_path: Path) -> None:
    path = with_zeros(tmp_path)
    expected, good = Digest.of_file(path), path.read_bytes()
    path.write_bytes(good[:300_000] + bytes(150_000) + good[450_000:])
    pieces = read_pieces((tmp_path / "zeros.iso.par2").read_bytes())
    assert pieces is not None
    places = list(_zeroed(path, pieces))
    assert len(places) > 100
    assert all(300_000 <= at < 450_000 for at in places)  # and none where zeros are right
    call("site", "repair", path, "--parity", "--digest", expected)
    assert path.read_bytes() == good


def test_what_is_healed_is_not_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_zeros(tmp_path)
    expected, good = Digest.of_file(path), path.read_bytes()
    damaged = tmp_path / "damaged"
    path.write_bytes(good[:300_000] + bytes(150_000) + good[450_000:])
    shutil.copyfile(path, damaged)
    path.chmod(0o444)
    program(tmp_path, f'cmp ../{path.name} {damaged} && exec par2 "$@"', monkeypatch)
    call("site", "repair", path, "--parity", "--digest", expected)
    assert path.read_bytes() == good


@pytest.mark.parametrize(("mode", "umask"), [(0o600, 0o022), (0o664, 0o077)])
def test_who_may_read_an_iso_may_read_it_healed_and_nobody_else(
    iso: Path, built: Built, mode: int, umask: int
) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=100_000, size=20_000)
    if os.geteuid() == 0:
        os.chown(iso, 1234, 1235)
    iso.chmod(mode)
    with suppress(OSError):  # of a file system without attributes
        os.setxattr(iso, "user.from", b"carrier")
    kept, named = iso.stat(), os.listxattr(iso)
    before = os.umask(umask)
    try:
        assert "of user" not in call("site", "repair", iso, "--parity").stderr
    finally:
        os.umask(before)
    assert Digest.of_file(iso) == built.digest
    found = iso.stat()
    assert (found.st_mode, found.st_uid, found.st_gid) == (kept.st_mode, kept.st_uid, kept.st_gid)
    assert os.listxattr(iso) == named


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_owner_that_cannot_be_kept_is_told_and_gives_nobody_more(
    iso: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("site", "protect", iso, "--percent", "10")
    scratch(iso, at=100_000, size=20_000)
    os.chown(iso, 1234, 1235)
    iso.chmod(0o640)

    def refuse(path: Path, _user: int, _group: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    monkeypatch.setattr(os, "chown", refuse)
    done = call("site", "repair", iso, "--parity")
    now = f"is now of user {os.geteuid()}, group {os.getegid()}, mode 0600"
    assert f"{iso}: is mended, and {now}, not of user 1234, group 1235, mode 0640" in done.stderr
    assert iso.stat().st_mode & 0o777 == 0o600


def test_killed_with_the_parity_of_another_iso_no_byte_that_is_right_is_lost(
    tmp_path: Path,
) -> None:
    path = with_zeros(tmp_path)  # of which there will be parity, but no byte
    good = random.Random(3).randbytes(1 << 20) + bytes(1 << 20) + b"end"
    expected, damaged = Digest.of(good), b"?" + good[1:]
    path.write_bytes(damaged)
    words = ("site", "repair", path, "--parity", "--digest", expected)
    killed_with_par2(*words, folder=tmp_path, half=":")
    assert path.read_bytes() == damaged


def test_without_room_for_a_copy_a_scratch_of_zeros_is_healed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, name: Path) -> None:
        name.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = with_zeros(tmp_path)
    expected, good = Digest.of_file(path), path.read_bytes()
    path.write_bytes(good[:300_000] + bytes(20_000) + good[320_000:])
    monkeypatch.setattr(shutil, "copyfile", full)
    call("site", "repair", path, "--parity", "--digest", expected)
    assert path.read_bytes() == good


def test_what_cannot_be_healed_keeps_its_zeros(tmp_path: Path) -> None:
    path = with_zeros(tmp_path)
    expected, good = Digest.of_file(path), path.read_bytes()
    damaged = good[:300_000] + bytes(400_000) + good[700_000:]
    path.write_bytes(damaged)
    call("site", "repair", path, "--parity", "--digest", expected, code=5)
    assert path.read_bytes() == damaged
