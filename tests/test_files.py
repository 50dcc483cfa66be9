"""Whole files, and locks with an end of patience."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.files import files_in, holds, is_file, locked, own_path, read_bytes, write_whole

WRITER = """
import os, sys
from pathlib import Path
from isobuilder.files import write_whole
os.umask(0)
write_whole(Path(sys.argv[1]), b"secret" * 1000, private=sys.argv[2] == "private")
"""


@pytest.mark.parametrize(("kind", "mode"), [("private", 0o600), ("public", 0o644)])
def test_a_file_has_its_mode_whatever_the_umask(tmp_path: Path, kind: str, mode: int) -> None:
    path = tmp_path / "new" / "file"
    subprocess.run([sys.executable, "-c", WRITER, path, kind], check=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_private_file_is_private_before_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: set[int] = set()
    sync = os.fsync

    def watch(descriptor: int) -> None:
        modes.update(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir())
        sync(descriptor)

    (old := tmp_path / "key").touch(0o600)
    monkeypatch.setattr(os, "fsync", watch)
    write_whole(old, b"secret", private=True)
    assert modes == {0o600}


def test_a_disk_without_room_keeps_the_old_file(small_disk: Path) -> None:
    path = small_disk / "file"
    write_whole(path, b"old")
    with pytest.raises(EnvironmentProblem):
        write_whole(path, bytes(8 * 1024 * 1024))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in small_disk.iterdir()] == ["file"]


def test_a_file_that_is_too_large_is_not_told_as_a_full_disk(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from isobuilder.errors import EnvironmentProblem\n"
        "from isobuilder.files import write_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    write_whole(Path(sys.argv[1]), bytes(5000))\n"
        "except EnvironmentProblem as error:\n    print(error, error.hint)\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "x")]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "File too large" in said
    assert "smaller parts" in said


def test_a_lock_is_waited_for_as_long_as_was_said(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as mine:
        assert mine
        began = time.monotonic()
        with locked(path, timeout=0.3) as second:
            assert not second
        assert 0.3 <= time.monotonic() - began < 20
        with locked(path, timeout=0) as third:
            assert not third
    with locked(path, timeout=0) as free:
        assert free


def test_whoever_waits_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    path, got = tmp_path / "lock", threading.Event()

    def wait() -> None:
        with locked(path, timeout=60) as mine:
            if mine:
                got.set()

    with locked(path):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        assert not got.is_set()
    thread.join()
    assert got.is_set()


def test_a_name_that_no_file_has_is_told(tmp_path: Path) -> None:
    for name in ("a\0b", "x" * 5000):
        assert not is_file(tmp_path / name)
        with pytest.raises(InputError):
            read_bytes(tmp_path / name, 10)


def test_a_pipe_that_lies_somewhere_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    (link := tmp_path / "link").symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(InputError, match=f"{path}: is no file"):
            read_bytes(path, 10)
        assert not holds(path, b"")


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_a_pipe_that_a_shell_hands_over_is_read_to_its_end(folder: str) -> None:
    ours, theirs = os.pipe()

    def write() -> None:
        for word in (b"late ", b"and later"):
            time.sleep(0.1)
            os.write(theirs, word)
        os.close(theirs)

    threading.Thread(target=write).start()
    for _ in range(2):  # as where a recipe is read for each architecture
        assert read_bytes(Path(f"{folder}/{ours}"), 100) == b"late and later"
    os.close(ours)


def test_only_a_file_of_the_same_bytes_holds_them(tmp_path: Path) -> None:
    (path := tmp_path / "x").write_bytes(b"same")
    assert holds(path, b"same")
    for other in (b"", b"sam", b"some", b"same again"):
        assert not holds(path, other)
    assert not holds(tmp_path, b"")
    assert not holds(tmp_path / "none", b"")


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(InputError, match="is there, and is no file"):
            write_whole(path, b"text")
    assert pipe.is_fifo()
    assert link.is_symlink()


def test_a_path_that_a_person_wrote_may_begin_with_a_home_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert own_path("~/store") == Path("/home/me/store")
    assert own_path("a/~b") == Path("a/~b")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("~nobody-of-this-name/x", "no home folder is known for ~nobody-of-this-name"),
        ("a\0b", r"'a\\x00b': no file has a name with a NUL character"),
    ],
)
def test_a_path_that_can_be_none_is_told_by_its_text(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        own_path(text)


def test_a_link_that_cannot_be_followed_hides_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "a.iso").touch()
    (tmp_path / "b.iso").symlink_to("x" * 300)  # nothing has such a name; asking is an error
    (tmp_path / "c.iso").symlink_to("gone")
    (tmp_path / "d.iso").mkdir()
    assert [path.name for path in files_in(tmp_path, ".iso")] == ["a.iso", "b.iso"]
