from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError
from isobuilder.files import locked
from isobuilder.progress import SILENT, Task
from isobuilder.store import (
    Origin,
    Partial,
    Store,
    Stored,
    check,
    collect,
    copy_to,
    default_root,
    hold_collections,
    lease,
    partial_of,
    stored,
)
from tests.cli.calling import call

KUBELET = b"kubelet v1.33.1"
DAY = 24 * 3600.0


def tree(store: Store) -> list[str]:
    """Everything that holds content, as paths."""
    return sorted(
        str(path.relative_to(store.root))
        for path in store.root.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    )


@contextmanager
def python(
    code: str, *arguments: object, before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run code in another process, which says "ready" when it is where it should be."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


# --- getting in and being found


def test_bytes_are_found_by_their_digest(store: Store) -> None:
    blob = store.add_bytes(KUBELET)
    assert store.find(Digest.of(KUBELET)) == blob
    assert blob.read() == KUBELET
    assert blob.size == len(KUBELET)
    assert tree(store) == [f"blobs/sha256/{blob.digest.hex[:2]}/{blob.digest.hex}"]


def test_a_blob_cannot_be_written_by_accident(store: Store) -> None:
    assert store.add_bytes(KUBELET).path.stat().st_mode & 0o777 == 0o444


def test_what_is_absent_is_not_found(store: Store) -> None:
    assert store.find(Digest.of(KUBELET)) is None


@pytest.mark.parametrize(
    ("chunks", "fact"),
    [
        ([b"kubelet v6.66.6"], r"kubelet: expected sha256:\w+, got sha256:\w+"),
        ([KUBELET, b"!"], "longer than the promised 15 bytes"),
        ([KUBELET[:-1]], "expected 15 bytes, got 14"),
        ([], "expected 15 bytes, got 0"),
    ],
)
def test_add_refuses_bytes_that_were_not_promised(
    store: Store, chunks: list[bytes], fact: str
) -> None:
    with pytest.raises(IntegrityError, match=fact):
        store.add(chunks, digest=Digest.of(KUBELET), name="kubelet", size=len(KUBELET))
    assert tree(store) == []


def test_a_source_that_fails_leaves_nothing_behind(store: Store) -> None:
    def broken() -> Iterator[bytes]:
        yield KUBELET
        raise EnvironmentProblem("source failed")

    with pytest.raises(EnvironmentProblem, match="source failed"):
        store.add(broken(), digest=Digest.of(KUBELET), name="kubelet")
    assert tree(store) == []


def test_a_full_disk_is_named_and_leaves_nothing_behind(small_disk: Path) -> None:
    store = Store(small_disk)
    big = bytes(2 * 1024 * 1024)
    with pytest.raises(EnvironmentProblem, match=f"{small_disk}.*(No space|too large)") as caught:
        store.add([big], digest=Digest.of(big), name="big")
    assert "free space" in str(caught.value.hint)
    assert tree(store) == []
    assert store.add_bytes(KUBELET).read() == KUBELET


def test_a_store_that_may_not_be_written_still_hands_out_blobs(
    store: Store, read_only: Callable[[Path], None]
) -> None:
    blob = store.add_bytes(KUBELET)
    read_only(store.root)
    assert store.add_bytes(KUBELET) == blob
    with lease(store, [blob.digest]):
        assert store.find(blob.digest) == blob
    with pytest.raises(EnvironmentProblem, match=str(store.root)) as caught:
        store.add_bytes(b"other")
    assert "writable" in str(caught.value.hint)
    with pytest.raises(EnvironmentProblem, match=str(store.root)):
        collect(store, [])
    assert check(store).damaged == ()


def test_a_file_in_place_of_the_store_is_an_error_a_person_can_act_on(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(EnvironmentProblem, match="store"):
        Store(tmp_path / "store").add_bytes(KUBELET)


def test_facts_are_remembered_by_what_they_depend_on(store: Store) -> None:
    key = Digest.of(b"inputs")
    assert store.recall("layers", key) is None
    store.remember("layers", key, b"fact")
    assert store.recall("layers", key) == b"fact"
    assert store.recall("other", key) is None


def test_the_default_place_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_root() == tmp_path / "cache" / "isobuilder"


ADD = """
import sys
from pathlib import Path
from isobuilder.digest import Digest
from isobuilder.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    store.add_bytes(str(number % 10).encode() * 100_000)
"""


def test_several_processes_may_add_the_same_at_once(store: Store) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(python(ADD, store.root)) for _ in range(3)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            assert process.wait(timeout=60) == 0
    report = check(store)
    assert (report.blobs, report.damaged) == (10, ())
    assert len(tree(store)) == 10


# --- downloads on their way


def test_a_download_goes_on_where_it_ended(store: Store) -> None:
    origin = Origin("https://dl.k8s.io/kubelet", '"v1"', None)
    with partial_of(store, "key") as partial:
        assert partial is not None
        partial.start(origin)
        partial.append(KUBELET[:5])
    with partial_of(store, "key") as partial:
        assert partial is not None
        assert (partial.size, partial.origin) == (5, origin)
        partial.append(KUBELET[5:])
        assert partial.digest() == Digest.of(KUBELET)
        blob = partial.finish()
    assert store.find(Digest.of(KUBELET)) == blob
    assert tree(store) == [str(blob.path.relative_to(store.root))]


def test_a_download_is_held_by_one_at_a_time(store: Store) -> None:
    with partial_of(store, "key") as first:
        assert first is not None
        with partial_of(store, "key") as second, partial_of(store, "other") as other:
            assert second is None
            assert other is not None
    with partial_of(store, "key") as third:
        assert third is not None


def test_starting_throws_away_what_was_there(store: Store) -> None:
    with partial_of(store, "key") as partial:
        assert partial is not None
        partial.start(Origin("https://a/"))
        partial.append(b"old")
        partial.start(Origin("https://b/"))
        partial.append(KUBELET)
        assert partial.finish().digest == Digest.of(KUBELET)


@pytest.mark.parametrize("note", [b"", b'{"url": ', b"[]", b'{"x": 1}', b"\xff"])
def test_a_torn_note_is_no_note(store: Store, note: bytes) -> None:
    with partial_of(store, "key") as partial:
        assert partial is not None
        partial.start(Origin("https://a/"))
        partial.append(b"old")
    (store.root / "partial" / "key.json").write_bytes(note)
    with partial_of(store, "key") as partial:
        assert partial is not None
        assert (partial.size, partial.origin) == (3, None)


def test_a_full_disk_during_a_download_is_named(small_disk: Path) -> None:
    store = Store(small_disk)
    with partial_of(store, "key") as partial:
        assert partial is not None
        partial.start(Origin("https://a/"))

        def fill() -> None:
            for _ in range(20):
                partial.append(bytes(100_000))

        with pytest.raises(EnvironmentProblem, match=r"partial: (No space|File too)"):
            fill()
        partial.discard()
    assert tree(store) == []


# --- checking


def damage(path: Path, change: Callable[[bytes], bytes]) -> None:
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(change(data))


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-1], lambda data: data[:-1] + b"\0", lambda _: b"", lambda d: d + b"x"],
)
def test_damage_is_found_and_moved_out_of_the_way(
    store: Store, change: Callable[[bytes], bytes]
) -> None:
    good, bad = store.add_bytes(b"good"), store.add_bytes(KUBELET)
    damage(bad.path, change)
    report = check(store)
    assert report.blobs == 2
    (found,) = report.damaged
    assert found.name == bad.digest.hex
    assert f"expected {bad.digest}, got sha256:" in found.fact
    assert found.quarantined is not None
    assert found.quarantined.read_bytes() == change(KUBELET)
    assert store.find(bad.digest) is None
    assert store.find(good.digest) == good
    assert check(store).damaged == ()


def test_a_blob_in_the_wrong_folder_is_damage(store: Store) -> None:
    blob = store.add_bytes(KUBELET)
    wrong = store.root / "blobs" / "sha256" / "zz" / blob.path.name
    wrong.parent.mkdir()
    blob.path.rename(wrong)
    assert [found.name for found in check(store).damaged] == [blob.digest.hex]


def test_damage_that_cannot_be_moved_is_still_reported(
    store: Store, read_only: Callable[[Path], None]
) -> None:
    blob = store.add_bytes(KUBELET)
    damage(blob.path, lambda data: data[:-1])
    read_only(store.root)
    (found,) = check(store).damaged
    assert found.quarantined is None


def test_a_blob_that_cannot_be_read_stays_where_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, other = store.add_bytes(b"good"), store.add_bytes(KUBELET)
    real = Path.open

    def failing(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == other.path:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", failing)
    report = check(store)
    assert report.damaged == ()
    (found,) = report.unreadable
    assert (found.name, found.fact) == (other.digest.hex, "unreadable: Input/output error")
    assert store.find(other.digest) == other
    assert store.find(good.digest) == good


@pytest.mark.parametrize("place", ["blobs/sha256/XX", "blobs/sha256", "blobs", "leases"])
def test_a_folder_of_the_store_that_cannot_be_read_is_told_and_nothing_is_removed(
    store: Store, place: str
) -> None:
    blob = store.add_bytes(KUBELET)
    store.add_bytes(b"other")
    with lease(store, [blob.digest]):
        pass
    before = tree(store)
    folder = store.root / place.replace("XX", blob.digest.hex[:2])
    folder.chmod(0)
    try:
        for words in (("check",), ("list",), ("gc", "--all")):
            if place == "leases" and words != ("gc", "--all"):
                continue
            done = as_any_user("store", *words, "--store", store.root)
            assert done.returncode == 6, done.stderr
            assert f"error: {folder}" in done.stderr
            assert "readable for this user" in done.stderr
            assert not done.stdout
    finally:
        folder.chmod(0o755)
    assert tree(store) == before


ANY_USER = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def as_any_user(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command for whom permissions count, which they do not for root."""
    return subprocess.run(
        [*ANY_USER, sys.executable, "-m", "isobuilder", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_what_is_no_blob_is_no_damage_and_stays(store: Store, tmp_path: Path) -> None:
    blob = store.add_bytes(KUBELET)
    folder = blob.path.parent
    (folder / "README").write_text("mine")
    (folder / ".nfs0001").write_text("a server's")
    (folder / ("0" * 64)).mkdir()
    os.mkfifo(folder / ("1" * 64))
    (folder / ("2" * 64)).symlink_to(tmp_path / "nowhere")
    there = set(folder.iterdir())
    report = check(store)
    assert (report.blobs, report.damaged, report.unreadable) == (1, (), ())
    assert set(folder.iterdir()) == there
    assert [one.digest for one in stored(store)] == [blob.digest]


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_what_is_no_file_is_no_blob_and_keeps_nobody_waiting(store: Store, what: str) -> None:
    place = store.path_of(Digest.of(KUBELET))
    place.parent.mkdir(parents=True)
    place.mkdir() if what == "folder" else os.mkfifo(place)
    assert store.find(Digest.of(KUBELET)) is None
    if what == "pipe":
        assert store.add_bytes(KUBELET).read() == KUBELET
        return
    with pytest.raises(EnvironmentProblem):
        store.add_bytes(KUBELET)


def test_what_was_read_of_a_blob_was_hashed_again(store: Store) -> None:
    blob = store.add_bytes(KUBELET)
    damage(blob.path, lambda data: data[:-1] + b"\0")
    with pytest.raises(IntegrityError, match="damaged since it was stored") as caught:
        blob.read()
    assert blob.digest in str(caught.value)


def test_a_copy_of_a_damaged_blob_is_not_left(store: Store, tmp_path: Path) -> None:
    blob = store.add_bytes(KUBELET)
    copy_to(blob, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == KUBELET
    damage(blob.path, lambda data: data[:-1] + b"\0")
    with pytest.raises(IntegrityError, match="damaged since it was stored"):
        copy_to(blob, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_more_than_anybody_reads_at_once_is_left_alone(store: Store) -> None:
    blob = store.add_bytes(b"small")
    blob.path.chmod(0o644)
    os.truncate(blob.path, 700 * 1024 * 1024)
    with pytest.raises(IntegrityError, match="expected at most"):
        blob.read()


# --- a folder where others may write


@pytest.mark.parametrize("link", ["symbolic", "hard", "to nowhere"])
@pytest.mark.parametrize("ending", ["part", "json", "tmp", "5.stretch"])
def test_a_download_writes_through_no_link(
    store: Store, tmp_path: Path, link: str, ending: str
) -> None:
    key = Digest.of(KUBELET).hex
    victim = tmp_path / "victim"
    if link != "to nowhere":
        victim.write_bytes(b"mine\n")
    place = store.root / "partial" / f"{key}.{ending}"
    place.parent.mkdir(parents=True)
    place.hardlink_to(victim) if link == "hard" else place.symlink_to(victim)
    with partial_of(store, key) as held:
        assert held is not None
        held.append(KUBELET[:5])
        with held.open_stretch(5) as file:
            file.write(KUBELET[5:])
        assert held.absorb(5) == len(KUBELET) - 5
        assert held.finish().read() == KUBELET
    with partial_of(store, key) as held:
        assert held is not None
        held.start(Origin("https://x.example/y"))
        held.append(b"again")
    assert victim.exists() == (link != "to nowhere")
    assert link == "to nowhere" or victim.read_bytes() == b"mine\n"


def test_a_pipe_in_place_of_a_download_keeps_nobody_waiting(store: Store) -> None:
    key = Digest.of(KUBELET).hex
    (store.root / "partial").mkdir(parents=True)
    os.mkfifo(store.root / "partial" / f"{key}.part")
    with partial_of(store, key) as held:
        assert held is not None
        held.append(KUBELET)
        assert held.finish().read() == KUBELET


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "far too long"])
def test_a_note_that_we_cannot_have_written_is_none(
    store: Store, tmp_path: Path, what: str
) -> None:
    key = Digest.of(KUBELET)
    (tmp_path / "other").write_bytes(b"{}")
    (store.root / "partial").mkdir(parents=True)
    for place in (store.root / "notes/kind" / key.hex, store.root / f"partial/{key.hex}.json"):
        place.parent.mkdir(parents=True, exist_ok=True)
        if what == "link":
            place.symlink_to(tmp_path / "other")
        elif what == "pipe":
            os.mkfifo(place)
        elif what == "folder":
            place.mkdir()
        else:
            place.touch()
            os.truncate(place, 700 * 1024 * 1024)
    assert store.recall("kind", key) is None
    assert list(store.recall_all("kind")) == []
    assert Partial(store, key.hex).origin is None


@pytest.mark.parametrize("what", ["link", "link to nowhere", "pipe", "folder"])
def test_collecting_passes_by_what_strangers_put_in_place_of_leases_and_locks(
    store: Store, tmp_path: Path, what: str
) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    gone = aged(store, b"gone", 30)
    places = ("leases/lease-x", "locks/x.lock", "partial/add-x", "partial/x", "quarantine/x.1")
    for place in (store.root / name for name in places):
        place.parent.mkdir(parents=True, exist_ok=True)
        if what == "folder":
            place.mkdir()
            os.utime(place, (0, 0))
        elif what == "pipe":
            os.mkfifo(place)
        else:
            place.symlink_to(tmp_path / ("other" if what == "link" else "none"))
    assert [blob.digest for blob in collect(store, []).removed] == [gone]
    assert (tmp_path / "other").read_bytes() == b"mine"
    assert not (tmp_path / "none").exists()
    assert os.path.lexists(store.root / "leases/lease-x")


def test_a_lock_makes_no_file_where_a_link_leads(store: Store, tmp_path: Path) -> None:
    place = store.root / "locks" / f"{Digest.of(KUBELET).hex}.lock"
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "made")
    with pytest.raises(EnvironmentProblem), partial_of(store, Digest.of(KUBELET).hex):
        pytest.fail("it is a link")
    assert not (tmp_path / "made").exists()


# --- collecting


def aged(store: Store, content: bytes, days: float) -> Digest:
    blob = store.add_bytes(content)
    when = time.time() - days * DAY
    os.utime(blob.path, (when, when))
    return blob.digest


def test_collect_removes_what_no_lock_reaches(store: Store) -> None:
    kept, gone = aged(store, b"kept", 1), aged(store, b"gone", 1)
    result = collect(store, [kept])
    assert [blob.digest for blob in result.removed] == [gone]
    assert (result.freed, result.kept, result.in_use) == (4, 4, 0)
    assert store.find(kept)
    assert not store.find(gone)


def test_the_longest_unused_go_first_until_the_rest_fits(store: Store) -> None:
    old, middle, new = (aged(store, bytes([days]) * 100, days) for days in (30, 20, 10))
    result = collect(store, [], max_size=150)
    assert [blob.digest for blob in result.removed] == [old, middle]
    assert [blob.digest for blob in stored(store)] == [new]
    assert collect(store, [], max_size=150).removed == ()


def test_a_dry_run_removes_nothing(store: Store) -> None:
    gone = aged(store, b"gone", 1)
    assert [blob.digest for blob in collect(store, [], dry_run=True).removed] == [gone]
    assert store.find(gone)


def test_a_lease_protects_blobs_and_makes_them_young(store: Store) -> None:
    used, gone = aged(store, b"used", 30), aged(store, b"gone", 10)
    later = Digest.of(b"not there yet")
    with lease(store, [used, later]):
        store.add_bytes(b"not there yet")
        result = collect(store, [])
        assert [blob.digest for blob in result.removed] == [gone]
        assert result.in_use == 2
        assert [blob.digest for blob in stored(store)][-1] in {used, later}
    assert {blob.digest for blob in collect(store, []).removed} == {used, later}
    assert tree(store) == []


LEASE = """
import sys
from pathlib import Path
from isobuilder.digest import Digest
from isobuilder.store import Store, lease
with lease(Store(Path(sys.argv[1])), [Digest(sys.argv[2])]):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_nothing_is_collected_while_a_held_lease_cannot_be_read(store: Store) -> None:
    blob = store.add_bytes(KUBELET)
    with lease(store, [blob.digest]):
        (path,) = (store.root / "leases").glob("lease-*")
        for torn in (b"", b'["sha256:00', b"7", b'["x"]'):
            path.write_bytes(torn)
            with pytest.raises(EnvironmentProblem, match="lease-"):
                collect(store, reachable=())
    assert store.find(blob.digest)


def test_a_lease_of_another_process_holds_until_that_is_killed(store: Store) -> None:
    used = aged(store, b"used", 30)
    with python(LEASE, store.root, used):
        assert collect(store, []).removed == ()
    assert [blob.digest for blob in collect(store, []).removed] == [used]
    assert tree(store) == []


def test_who_may_not_write_the_lock_of_another_user_has_a_lease_all_the_same(store: Store) -> None:
    used = aged(store, b"used", 30)
    collect(store, [used])
    (store.root / "locks" / "collect.lock").chmod(0o444)
    with python(LEASE, store.root, used, before=ANY_USER):
        (path,) = (store.root / "leases").iterdir()
        assert path.stat().st_mode & 0o777 == 0o644
        assert collect(store, []).removed == ()
    assert [blob.digest for blob in collect(store, []).removed] == [used]


def test_a_store_that_may_be_written_and_not_locked_is_warned_of(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(path: Path, **_named: object) -> AbstractContextManager[bool]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    blob = store.add_bytes(KUBELET)
    (store.root / "leases").mkdir()
    monkeypatch.setattr("isobuilder.store.upkeep.locked", refused)
    with lease(store, [blob.digest]):
        pass
    assert "collect.lock: Permission denied, so its blobs are used without a lease" in caplog.text


KILLED = """
import sys
from pathlib import Path
from isobuilder.digest import Digest
from isobuilder.store import Store
def chunks():
    yield bytes(600_000)
    print("ready", flush=True)
    sys.stdin.readline()
Store(Path(sys.argv[1])).add(chunks(), digest=Digest("sha256:" + "0" * 64), name="x")
"""


@pytest.mark.parametrize("text", ["", "[", "7", '["sha256:1"]', "[" * 100_000])
def test_a_damaged_lease_that_is_held_keeps_everything(store: Store, text: str) -> None:
    blob = store.add_bytes(KUBELET)
    path = store.root / "leases" / "lease-x"
    path.parent.mkdir(parents=True)
    with locked(path):
        path.write_text(text, encoding="ascii")
        with pytest.raises(EnvironmentProblem, match="lease-x"):
            collect(store, [])
        assert store.find(blob.digest) == blob
    collect(store, [])
    assert store.find(blob.digest) is None


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(
    store: Store,
) -> None:
    with python(KILLED, store.root) as dead, python(KILLED, store.root):
        kill(dead)
        left = sorted((store.root / "partial").iterdir())
        assert len(left) == 2
        for path in left:
            os.utime(path, (0, 0))
        assert collect(store, []).freed >= 300_000
        assert len(list((store.root / "partial").iterdir())) == 1


def test_abandoned_downloads_go_when_they_are_old_and_idle(store: Store) -> None:
    for key in ("old", "young", "held"):
        with partial_of(store, key) as partial:
            assert partial is not None
            partial.start(Origin("https://a/"))
            partial.append(b"12345678")
    for path in (store.root / "partial").iterdir():
        if path.stem in {"old", "held"}:
            os.utime(path, (0, 0))
    with partial_of(store, "held"):
        collect(store, [])
    assert {path.stem for path in (store.root / "partial").iterdir()} == {"young", "held"}
    assert not (store.root / "locks" / "old.lock").exists()


def test_a_download_that_a_wrong_clock_dated_ahead_goes(store: Store) -> None:
    later = time.time() + 12 * 3600
    for key, when in (("soon", later), ("far", later + 365 * DAY)):
        with partial_of(store, key) as partial:
            assert partial is not None
            partial.start(Origin("https://a/"))
        for path in (store.root / "partial").glob(f"{key}.*"):
            os.utime(path, (when, when))
    collect(store, [])
    assert {path.stem for path in (store.root / "partial").iterdir()} == {"soon"}


def test_what_is_damaged_stays_in_quarantine_for_a_week(store: Store) -> None:
    for days in (6, 8):
        blob = store.add_bytes(bytes(days))
        damage(blob.path, lambda data: data + b"!")
        os.utime(blob.path, (0, 0))
        (found,) = check(store).damaged
        assert found.quarantined is not None
        since = time.time_ns() - days * 24 * 3600 * 10**9
        found.quarantined.rename(found.quarantined.with_suffix(f".{since}"))
    assert collect(store, [], dry_run=True).freed == 9
    assert collect(store, []).freed == 9
    (left,) = (store.root / "quarantine").iterdir()
    assert left.stat().st_size == 7


def test_a_lease_of_very_many_blobs_is_read(store: Store) -> None:
    used, gone = aged(store, b"used", 1), aged(store, b"gone", 1)
    many = [Digest.from_hex(f"{number:064x}") for number in range(60_000)]
    with lease(store, [used, *many]):
        assert [blob.digest for blob in collect(store, []).removed] == [gone]


@pytest.mark.parametrize("name", ["store", "locks"])
def test_a_link_to_nowhere_in_place_of_a_folder_is_told_by_its_name(
    name: str, store: Store, tmp_path: Path
) -> None:
    place = store.root if name == "store" else store.root / name
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(tmp_path / "nowhere")
    with (
        pytest.raises(EnvironmentProblem, match=f"{place}: File exists") as caught,
        lease(store, []),
    ):
        pytest.fail("there is no store")
    assert "a link that leads nowhere" in str(caught.value.hint)


def test_a_store_that_is_a_link_to_itself_is_none(store: Store) -> None:
    store.root.symlink_to(store.root)
    done = as_any_user("store", "list", "--store", store.root)
    assert done.returncode == 6, done.stdout
    assert f"error: {store.root}: Too many levels of symbolic links" in done.stderr


def test_blobs_on_another_disk_than_downloads_are_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path), None, str(target))

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(EnvironmentProblem, match="Invalid cross-device link") as caught:
        store.add_bytes(KUBELET)
    assert "on one file system" in str(caught.value.hint)


def test_a_blob_of_a_year_that_nobody_writes_is_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    dated = Stored(Digest.of(KUBELET), 1, 300_000_000_000.0)  # some file systems keep that
    monkeypatch.setattr("isobuilder.store.stored", lambda _store: [dated])
    assert "9999-12-31" in call("store", "list", "--store", store.root).stdout


class Steps:
    """Hears what is told of long work."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def step(self, text: str) -> None:
        self.told.append(text)

    def start(self, name: str, *, total: int | None, unit: str = "B") -> Task:
        return SILENT.start(name, total=total, unit=unit)


def test_a_collection_waits_for_who_does_not_know_yet_what_it_needs_and_says_so(
    store: Store,
) -> None:
    gone, steps = aged(store, b"gone", 30), Steps()
    with ThreadPoolExecutor() as pool:
        with hold_collections(store):
            ended = pool.submit(collect, store, [], progress=steps)
            while not steps.told:
                time.sleep(0.01)
            # It waits for the lock by now, which keeps nobody from sharing it.
            with hold_collections(store), lease(store, [gone]):
                assert store.find(gone)
            assert not ended.done()
        assert [blob.digest for blob in ended.result().removed] == [gone]
    assert str(store.root) in steps.told[0]
    with hold_collections(store):
        pass
    collect(store, [], progress=steps)
    assert len(steps.told) == 1


def test_a_store_that_may_not_be_written_keeps_no_collection_waiting(
    store: Store, read_only: Callable[[Path], None]
) -> None:
    blob = store.add_bytes(KUBELET)
    read_only(store.root)
    with hold_collections(store):
        assert store.find(blob.digest) == blob


def test_a_blob_that_was_taken_away_meanwhile_is_told_as_that(store: Store) -> None:
    blob = store.add_bytes(KUBELET)
    collect(store, [])
    for use in (blob.open, blob.read):
        with pytest.raises(EnvironmentProblem, match="taken away meanwhile") as caught:
            use()
        assert "run the command again" in str(caught.value.hint)


def test_an_empty_store_is_no_problem(store: Store) -> None:
    assert stored(store) == []
    assert check(store).blobs == 0
    assert collect(store, []).removed == ()
