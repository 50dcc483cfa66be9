from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError
from isobuilder.iso.read.reader import IsoReader
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import iso_digest, write_iso
from isobuilder.store import Blob, Store
from tests.iso.makers import EPOCH, entry, iso_of


def tree(store: Store) -> list[IsoEntry]:
    blob = store.add_bytes(os.urandom(700_000))
    return [
        entry("k8s/kubeadm", b"k" * 100_000, 0o755),
        IsoEntry("docker/" + "cd" * 32 + ".tar", 0o600, (b"head", blob, b"tail" * 2000, blob)),
        entry("network.yaml", b"kind: List\n"),
        entry("empty"),
    ]


def test_the_digest_is_that_of_the_file(store: Store, tmp_path: Path) -> None:
    written = iso_of(tree(store), tmp_path / "a.iso")
    data = written.path.read_bytes()
    assert written.digest == Digest.of(data)
    assert written.size == len(data)
    assert iso_digest(tree(store), label="CDROM", epoch=EPOCH)[1] == len(data)


def test_what_goes_in_comes_out(store: Store, tmp_path: Path) -> None:
    entries = tree(store)
    with IsoReader(iso_of(entries, tmp_path / "a.iso").path) as reader:
        assert reader.label == "CDROM"
        assert reader.files.keys() == {one.path for one in entries}
        for one in entries:
            expected = b"".join(p if isinstance(p, bytes) else p.read() for p in one.pieces)
            assert reader.open(one.path).read() == expected
        assert reader.files["k8s/kubeadm"].mode == 0o555
        assert reader.files["network.yaml"].mode == 0o444
        assert {entry.mtime for entry in reader.files.values()} == {EPOCH}


def test_the_order_of_entries_changes_nothing(store: Store, tmp_path: Path) -> None:
    entries = tree(store)
    first = iso_of(entries, tmp_path / "a.iso").digest
    for seed in range(3):
        shuffled = random.Random(seed).sample(entries, len(entries))
        assert iso_of(shuffled, tmp_path / "b.iso").digest == first
        assert iso_digest(shuffled, label="CDROM", epoch=EPOCH)[0] == first


SCRIPT = """
import os, sys
from pathlib import Path
os.umask(int(sys.argv[2], 8))
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
paths = ["k8s/kubeadm", "docker/" + "ab" * 32 + ".tar", "b.yaml", "a.yaml", "B.yaml"]
entries = [IsoEntry(path, 0o755, (path.encode() * 999,)) for path in paths]
if sys.argv[3] == "reversed":
    entries.reverse()
print(write_iso(entries, Path(sys.argv[1]), label="CDROM", epoch=1700000000).digest)
"""


def interpreters() -> list[str]:
    """This one, and any other that has the libraries, such as one from a matrix of CI."""
    found = [sys.executable]
    for name in ("python3.12", "python3.13", "python3.14"):
        program = shutil.which(name)
        if program is None:
            continue
        probe = [program, "-c", "import isobuilder.iso.write.writer"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            found.append(program)
    return found


@pytest.mark.parametrize("program", interpreters())
def test_zone_umask_locale_order_and_python_change_nothing(program: str, tmp_path: Path) -> None:
    digests = set()
    for zone, umask, locale, order in (
        ("UTC", "022", "C.UTF-8", "as given"),
        ("Asia/Seoul", "077", "C", "reversed"),
        ("America/St_Johns", "000", "POSIX", "as given"),
    ):
        environment = {
            "PATH": os.environ["PATH"],
            "TZ": zone,
            "LC_ALL": locale,
            "HOME": str(tmp_path / umask),
            "PYTHONHASHSEED": umask,
        }
        done = subprocess.run(
            [program, "-c", SCRIPT, tmp_path / f"{umask}.iso", umask, order],
            env=environment,
            capture_output=True,
            check=True,
            cwd=Path(__file__).parents[2],
            text=True,
        )
        digests.add(done.stdout)
    # The value itself is part of the promise: it changes only with isobuilder's version.
    assert digests == {"sha256:bdef117a11f047808ea6832f61400b2312d0c7e19629785950db26f5ffaa3994\n"}


@pytest.mark.parametrize(
    ("entries", "label", "epoch", "message"),
    [
        ([entry("a"), entry("a")], "CDROM", 1, "two entries for the path a"),
        ([entry("a"), entry("a/b")], "CDROM", 1, "a is a file and a folder"),
        ([entry("../a")], "CDROM", 1, "leaves the ISO"),
        ([entry("/a")], "CDROM", 1, "relative to the root"),
        ([entry(".hidden")], "CDROM", 1, "begins with a dot"),
        ([entry("x."), entry("x")], "CDROM", 1, "ends with a dot"),
        ([entry("1/2/3/4/5/6/7/8/9")], "CDROM", 1, "more than seven folders deep"),
        ([], "cdrom", 1, "volume label: expected 1 to 32"),
        ([], "", 1, "volume label"),
        ([], "CDROM", -1, "epoch: expected 0 to"),
        ([], "CDROM", 5_869_584_000, "epoch"),
    ],
)
def test_what_cannot_be_on_an_iso_is_refused(
    entries: list[IsoEntry], label: str, epoch: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        write_iso(entries, tmp_path / "a.iso", label=label, epoch=epoch)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", ["cidata", "config-2"])
def test_labels_of_cloud_init_may_be_written(label: str, tmp_path: Path) -> None:
    written = write_iso([entry("user-data")], tmp_path / "seed.iso", label=label, epoch=1)
    with IsoReader(written.path) as reader:
        assert reader.label == label


@pytest.mark.parametrize("change", [-1, 1])
def test_a_blob_of_another_length_stops_the_build(
    change: int, store: Store, tmp_path: Path
) -> None:
    blob = store.add_bytes(b"x" * 600_000)
    wrong = Blob(blob.digest, blob.size + change, blob.path)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(IntegrityError, match=r"(longer|1 bytes shorter) than the \d+ bytes"):
        iso_of([IsoEntry("a", 0o644, (wrong,))], out / "a.iso")
    assert list(out.iterdir()) == []


def test_a_blob_that_is_gone_stops_the_build(store: Store, tmp_path: Path) -> None:
    blob = store.add_bytes(b"x")
    blob.path.unlink()
    with pytest.raises(EnvironmentProblem, match="was taken away meanwhile"):
        iso_of([IsoEntry("a", 0o644, (blob,))], tmp_path / "a.iso")
    assert not (tmp_path / "a.iso").exists()


def test_too_little_space_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    full = os.statvfs_result([*real[:4], 1, *real[5:]])
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(EnvironmentProblem, match=r"the ISO needs \d+ bytes, 4096 are free"):
        iso_of([entry("a", b"1")], tmp_path / "a.iso")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    written = 0

    def write(fd: int, data: memoryview) -> int:
        nonlocal written
        written += len(data)
        if written > 500_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    entries = tree(store)
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.iso").write_bytes(b"the one before")
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        iso_of(entries, out / "a.iso")
    assert [path.name for path in out.iterdir()] == ["a.iso"]
    assert (out / "a.iso").read_bytes() == b"the one before"


def test_a_limit_on_file_size_is_a_full_disk(tmp_path: Path) -> None:
    # The kernel itself refuses here; nothing is replaced.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    out = tmp_path / "out"
    out.mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(EnvironmentProblem, match="File too large"):
            iso_of([entry("a", b"x" * 3_000_000)], out / "a.iso")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(out.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="No such file or directory"):
        iso_of([entry("a")], tmp_path / "missing" / "a.iso")


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    # /proc refuses even root, whom file modes do not stop.
    with pytest.raises(EnvironmentProblem):
        iso_of([entry("a")], Path("/proc/self/task/a.iso"))


def test_the_iso_has_ordinary_permissions(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        written = iso_of([entry("a")], tmp_path / "a.iso")
    finally:
        os.umask(old)
    assert written.path.stat().st_mode & 0o777 == 0o644


KILLED = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from isobuilder.iso.write import writer
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import OutputFile

def stuck(self, data):
    print("writing", flush=True)
    sys.stdin.read()

OutputFile.write = stuck
writer.write_iso([IsoEntry("a", 0o644, (b"x",))], Path(sys.argv[1]), label="CDROM", epoch=1)
"""


def test_what_a_killed_build_left_goes_with_the_next(tmp_path: Path) -> None:
    target = tmp_path / "a.iso"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"writing\n"
        (leftover,) = tmp_path.iterdir()
        iso_of([entry("b")], tmp_path / "b.iso")
        assert leftover.exists(), "a living build keeps its file"
        child.kill()
    assert not target.exists()
    iso_of([entry("a")], target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.iso", "b.iso"]


def test_builds_at_once_do_not_disturb_each_other(store: Store, tmp_path: Path) -> None:
    entries = tree(store)
    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(lambda n: iso_of(entries, tmp_path / f"{n % 2}.iso"), range(8)))
    assert len({one.digest for one in written}) == 1
    assert Digest.of_file(tmp_path / "0.iso") == written[0].digest
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"0.iso", "1.iso", "store"}


def test_progress_ends_at_the_size_of_the_image(store: Store, tmp_path: Path) -> None:
    class Recorder:
        total: int | None = None
        amount = 0
        ended = False

        def step(self, text: str) -> None:
            pass

        def start(self, name: str, *, total: int | None, unit: str = "B") -> Recorder:
            self.total = total
            return self

        def advance(self, amount: int) -> None:
            self.amount += amount

        def set_total(self, total: int) -> None:
            self.total = total

        def done(self) -> None:
            self.ended = True

    recorder = Recorder()
    written = write_iso(
        tree(store), tmp_path / "a.iso", label="CDROM", epoch=EPOCH, progress=recorder
    )
    assert recorder.total == recorder.amount == written.size
    assert recorder.ended
