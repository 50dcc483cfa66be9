"""Where the lab lives on disk, and how a step is done once and never half."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
EPOCH = 1790183182  # 2026-09-23, the day of Kubernetes 1.37.1: the time stamp of all that is packed


class LabError(Exception):
    """The lab cannot be prepared or used; the text says why and what to do."""


def lab_dir() -> Path:
    """Return the lab's directory: ``ISOBUILDER_LAB``, else ``.lab`` in the checkout."""
    named = os.environ.get("ISOBUILDER_LAB")
    return Path(named).absolute() if named else CHECKOUT / ".lab"


def say(text: str) -> None:
    """Print one line of progress on stderr."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> str:
    """Run a program to its end and return its stdout; ``timeout`` is in seconds.

    Raises:
        LabError: it is not installed, took too long, or failed; carries its last lines.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]}: not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{words[0]}: still running after {timeout:.0f} s") from error
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise LabError(f"{' '.join(words)[:400]}: exit {done.returncode}\n{last}")
    return done.stdout


def fingerprint(*parts: str | bytes | Path) -> str:
    """Return one hash over texts and over the content of files and directories."""
    total = hashlib.sha256()
    for part in parts:
        for block in _bytes_of(part):
            total.update(hashlib.sha256(block).digest())
    return total.hexdigest()


def _bytes_of(part: str | bytes | Path) -> Iterator[bytes]:
    if isinstance(part, str):
        yield part.encode()
    elif isinstance(part, bytes):
        yield part
    elif part.is_dir():
        for path in sorted(part.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(part)).encode()
                yield path.read_bytes()
    else:
        yield part.read_bytes()


def once(target: Path, mark: str, make: Callable[[Path], None]) -> Path:
    """Return ``target``, a directory that ``make`` filled for exactly this ``mark``.

    ``make`` gets an empty directory beside ``target``, which takes its name only when ``make`` came
    back: an interrupted run leaves nothing that looks finished, and the next one begins again.
    """
    stamp = target / ".mark"
    if stamp.is_file() and stamp.read_text() == mark:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    remove(draft)
    draft.mkdir()
    say(f"{target.name} ...")
    begun = time.monotonic()
    make(draft)
    (draft / ".mark").write_text(mark)
    remove(target)
    draft.rename(target)
    say(f"{target.name}: {time.monotonic() - begun:.0f} s")
    return target


def remove(path: Path) -> None:
    """Remove a directory tree that may be missing or have read-only parts."""
    if not path.exists():
        return
    for folder in [path, *(entry for entry in path.rglob("*") if entry.is_dir())]:
        if not folder.is_symlink():
            folder.chmod(0o755)
    shutil.rmtree(path)


@contextlib.contextmanager
def alone(lab: Path) -> Iterator[None]:
    """Hold the lab's lock, so that two preparations wait for each other."""
    lab.mkdir(parents=True, exist_ok=True)
    with (lab / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{lab}: another preparation is running, waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def size_of(paths: Iterable[Path]) -> int:
    """Return how many bytes the regular files below ``paths`` have."""
    return sum(
        entry.stat().st_size
        for path in paths
        for entry in ([path] if path.is_file() else path.rglob("*"))
        if entry.is_file() and not entry.is_symlink()
    )
