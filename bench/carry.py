"""What carrying and keeping cost: export beside tar, split and sha256sum; parity; healing.

``bench.site`` runs these. Commands take turns, and each ratio is of one round. Parity is that of
par2cmdline-turbo; what other tools do with it is tried by the ``par2`` of the distribution.
"""

from __future__ import annotations

import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import page, section
from bench.ground import PRODUCT, say
from bench.measure import BenchError, Contender, Measured, clean_environment, in_turn, run
from isobuilder.digest import Digest
from isobuilder.model.loading import load_lock
from isobuilder.site.parity import parity_of
from isobuilder.store import Store

PART = 256 << 20  # bytes of a part
SCRATCH = 15_000_000  # bytes, for each GB
SECTORS = 100  # dead ones, wherever they lie
BEYOND = 0.03  # of the ISO: more than its parity

EXPORT, PEER = "site export", "tar, split, sha256sum"
_ONE_READ = """
import sys
from isobuilder.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(open("/proc/self/io").read().split()[1], file=sys.stderr)
"""

Goal = tuple[str, float, float]  # what, at most, measured


def carrying(folder: Path, blobs: Sequence[bytes], rounds: int) -> Iterator[str | Goal]:
    """Measure an export of ``blobs``; goals come between the lines."""
    say("a lock of these blobs")
    environment = clean_environment(folder / "home")
    lock, files = _lock(folder, blobs, environment)
    size = sum(map(len, blobs))
    out, copies = folder / "ours", folder / "theirs"
    ours: list[str | Path] = ["site", "export", lock, "--store", folder / "store", "--offline"]
    ours += ["--part-size", str(PART), "--out", out / "b.tar"]

    def again() -> None:
        for place in (out, copies):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()

    script = (
        f"tar -cf - -C {shlex.quote(str(files))} . | split -b {PART} - part. && sha256sum part.*"
    )
    theirs = ["/bin/sh", "-ec", f"cd {shlex.quote(str(copies))}; {script} > sums"]
    say(EXPORT)
    found = in_turn(
        [Contender(PEER, theirs, again), Contender(EXPORT, [PRODUCT, *ours], again)],
        rounds,
        environment=environment,
        log=folder / "log",
    )
    yield page.table(section.figures(found))
    ratio = found[1].ratio("cpu", found[0])
    yield f"\nExport: {ratio:.2f} of the processor time."
    yield (f"{EXPORT} / {PEER}, CPU", 0.6, ratio)
    again()
    words = [sys.executable, "-c", _ONE_READ, *map(str, ours)]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    read = int(done.stderr.split()[-1]) / size
    yield f"Bytes that the process read, of those it carried: {read:.3f} (its own code included)."
    yield ("bytes read / bytes carried", 1.05, read)
    for place in (out, copies, files, folder / "store"):
        shutil.rmtree(place)


def _lock(folder: Path, blobs: Sequence[bytes], environment: dict[str, str]) -> tuple[Path, Path]:
    """Return a lock of nothing but ``blobs``, which are in a store, and a folder with them."""
    demo = folder / "demo"
    words: list[str | Path] = [PRODUCT, "demo", "--out", demo, "-q"]
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)
    lock = load_lock(next(demo.glob("*.lock.json")))
    store, files = Store(folder / "store"), folder / "files"
    files.mkdir()
    listed = []
    for number, data in enumerate(blobs):
        digest = store.add_bytes(data).digest
        (files / digest.hex).write_bytes(data)
        more = {"name": f"file{number}", "path": f"files/{number}", "url": f"https://x/{number}"}
        listed.append(
            lock.files[0].model_copy(update={**more, "sha256": digest, "size": len(data)})
        )
    nothing: dict[str, object] = {"manifests": (), "images": (), "render": (), "components": {}}
    path = folder / "big.amd64.lock.json"
    path.write_bytes(lock.model_copy(update={"files": tuple(listed), **nothing}).to_bytes())
    return path, files


def keeping(folder: Path, iso: Path, rounds: int) -> Iterator[str | Goal]:
    """Measure parity beside ``iso`` and what it heals.

    Raises:
        BenchError: something is not healed, or is that should not be.
    """
    environment = clean_environment(folder / "home")
    expected, gigabytes = Digest.of_file(iso), iso.stat().st_size / 1e9
    damaged = folder / "kept" / iso.name
    damaged.parent.mkdir()
    shutil.copyfile(iso, damaged)

    def bare() -> None:
        for path in parity_of(damaged):
            path.unlink()

    say("parity")
    protect = Contender("site protect", [PRODUCT, "site", "protect", damaged], bare)
    [made] = in_turn([protect], rounds, environment=environment, log=folder / "log")
    cases = _cases(iso.stat().st_size)
    words: list[str | Path] = [PRODUCT, "site", "repair", damaged, "--parity"]
    words += ["--digest", expected]
    healed = Measured("site repair --parity")
    for name, places in cases.items():
        say(f"healing: {name}")
        _damage(damaged, places)
        contender = Contender(healed.name, words)
        healed.runs.append(run(contender, environment=environment, log=folder / "log"))
        if Digest.of_file(damaged) != expected:
            raise BenchError(f"{name}: not healed")
    yield page.table(section.figures([made, healed]))
    yield f"\nOf {gigabytes:.2f} GB, 2 %: {_size_of(damaged) / 1e6:.0f} MB. Healed: " + (
        ", ".join(cases) + "."
    )
    yield ("parity of 2 %, CPU s a GB", 6, made.median("cpu") / gigabytes)
    yield ("parity of 2 %, MiB", 64, made.median("peak"))
    yield _refused(damaged, words, environment)
    yield _others(damaged, expected)
    shutil.rmtree(damaged.parent)


def _size_of(iso: Path) -> int:
    return sum(path.stat().st_size for path in parity_of(iso))


def _cases(size: int) -> dict[str, list[tuple[int, int]]]:
    """Return damages, each as places and how many bytes are lost there."""
    chance = random.Random(1)
    lost = int(SCRATCH * size / 1e9)
    sectors = [(chance.randrange(size // 2048) * 2048, 2048) for _ in range(SECTORS)]
    return {
        "a scratch at the beginning": [(0, lost)],
        "a scratch at the end": [(size - lost, lost)],
        "a scratch anywhere": [(chance.randrange(size - lost), lost)],
        f"{SECTORS} dead sectors": sectors,
    }


def _damage(iso: Path, places: Sequence[tuple[int, int]], lost: bytes = b"\0") -> None:
    with iso.open("r+b") as file:
        for at, count in places:
            file.seek(at)
            file.write(lost * count)


def _refused(damaged: Path, words: Sequence[str | Path], environment: dict[str, str]) -> str:
    say("more damage than parity")
    lost = int(damaged.stat().st_size * BEYOND)
    with damaged.open("rb") as file:
        kept = file.read(lost)
    _damage(damaged, [(0, lost)])
    before = Digest.of_file(damaged)
    done = subprocess.run(words, env=environment, check=False, capture_output=True)
    if done.returncode != 6 or Digest.of_file(damaged) != before:
        raise BenchError(f"damage beyond the parity: exit {done.returncode}")
    with damaged.open("r+b") as file:
        file.write(kept)
    return f"{lost // 1_000_000} MB lost: refused with 6, and the ISO is as it was."


def _others(damaged: Path, expected: Digest) -> str:
    say("the par2 of the distribution")
    other = shutil.which("par2")
    if other is None:
        return "No other par2 is installed."
    _damage(damaged, [(damaged.stat().st_size // 3, 2_000_000)], b"\xff")
    words = [other, "repair", "-q", "-q", f"{damaged.name}.par2"]
    subprocess.run(words, cwd=damaged.parent, check=True, capture_output=True)
    if Digest.of_file(damaged) != expected:
        raise BenchError(f"{other}: repaired to something else")
    said = subprocess.run([other, "-V"], capture_output=True, text=True, check=False).stdout
    return f"{said.strip() or other} read this parity and repaired 2 MB with it."


def judged(goals: Sequence[Goal]) -> str:
    """Return a table of goals and what was measured in this run."""
    rows = [("What", "at most", "measured", "")]
    for what, limit, value in goals:
        met = "met" if value <= limit else "**not met**"
        rows.append((what, f"{limit:g}", f"{value:.3g}", met))
    return f"{page.table(rows)}\n\n{section.load()}"
