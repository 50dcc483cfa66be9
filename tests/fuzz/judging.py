"""One case tried, within a budget and under watch: what may come out is a value or our error."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import IsobuilderError

CPU = 10.0
"""Seconds of processor time that one case may cost."""

MEMORY = 300
"""MiB by which one case may let the process grow."""

LONGEST = 50_000
"""Characters of an error."""

SECRET = "hush-7f3a"

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.truncate"}
_TWO_PATHS = {"os.rename", "os.link", "os.symlink"}
_PROGRAMS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork"}


class OverBudget(BaseException):
    """The processor time is used up."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one case."""

    fault: str | None  # one line; None when all is as it should be
    told: str  # the error of ours, if that was the answer
    seconds: float  # of processor time
    growth: int  # MiB


@dataclass(slots=True)
class _Watch:
    """What the process may touch just now; nothing is watched while ``folder`` is None."""

    folder: str | None = None
    secret: str = ""
    seen: list[str] | None = None

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        folder, seen = self.folder, self.seen
        if folder is None or seen is None:
            return
        if event == "open":
            path, _mode, flags = arguments
            if isinstance(path, int) or path is None:
                return
            place = _absolute(path)
            if place.startswith(self.secret):
                seen.append(f"read {place}")
            if flags & _WRITING and not _may_write(place, folder):
                seen.append(f"opened {place} for writing")
        elif event in _CHANGES or event in _TWO_PATHS:
            paths = arguments[1:2] if event in _TWO_PATHS else arguments[:1]
            seen += [
                f"{event} {path!r}"
                for path in paths
                if not isinstance(path, int) and not _may_write(_absolute(path), folder)
            ]
        elif event in _PROGRAMS:
            seen.append(f"started {arguments[0]!r}")
        elif event == "socket.connect":
            address = arguments[1]
            if isinstance(address, tuple) and address[0] not in {"127.0.0.1", "::1"}:
                seen.append(f"connected to {address!r}")


def _absolute(path: Any) -> str:
    return os.path.normpath(os.path.join(os.getcwd(), os.fsdecode(path)))  # noqa: PTH109, PTH118


def _may_write(place: str, folder: str) -> bool:
    return (
        place.startswith((folder, "/dev/null", "/dev/pts", "/proc/self/")) or "__pycache__" in place
    )


_WATCH = _Watch()
_HOOKED = threading.Event()


@contextmanager
def watching(folder: Path) -> Iterator[list[str]]:
    """Give what the process does outside of ``folder`` while the block runs."""
    if not _HOOKED.is_set():  # an audit hook stays for good
        sys.addaudithook(_WATCH.hear)
        _HOOKED.set()
    seen: list[str] = []
    _WATCH.secret, _WATCH.seen = str(folder.parent / "secret"), seen
    _WATCH.folder = str(folder)
    try:
        yield seen
    finally:
        _WATCH.folder = None


@contextmanager
def at_home(base: Path) -> Iterator[Path]:
    """Make ``base/work`` the only folder of the process: home, caches, temporary and current one.

    Beside it stand secrets. The environment is as it was afterwards.
    """
    work = base / "work"
    for path in (base / "secret", work):
        path.mkdir(parents=True, exist_ok=True)
    (base / "secret" / "id_rsa").write_text(SECRET)
    before, folder = dict(os.environ), Path.cwd()
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")
    for name in [one for one in os.environ if one.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ.update(dict.fromkeys((*names, "XDG_RUNTIME_DIR", "TMPDIR"), str(work)))
    os.environ["NETRC"] = str(work / "netrc")
    os.chdir(work)
    try:
        yield work
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)


def tried(read: Callable[[bytes, Path], object], data: bytes, work: Path) -> Verdict:
    """Return what became of one case, tried in the empty folder ``work``."""
    _emptied(work)
    thrown: list[str] = []
    fault, told = None, ""
    begun, resident = time.process_time(), _start_counting()
    with _catching(thrown), watching(work) as seen, _limited():
        try:
            read(data, work)
        except IsobuilderError as error:
            told = f"{error}\n{error.hint or ''}"
            fault = _bad_words(error)
        except OverBudget:
            fault = f"more than {CPU:.0f} s of processor time: {_where(sys.exc_info()[1])}"
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            fault = f"{type(error).__name__}: {str(error)[:300]!r}: {_where(error)}"
    seconds, growth = time.process_time() - begun, _peak() - resident
    if fault is None and growth > MEMORY:
        fault = f"{growth} MiB of memory"
    if fault is None and seconds > CPU:
        fault = f"{seconds:.0f} s of processor time"
    if fault is None and (seen or thrown):
        fault = "; ".join([*seen, *thrown][:3])
    return Verdict(fault, told, seconds, growth)


def unfit(text: str) -> str | None:
    """Say what a terminal would do with a line besides showing it."""
    if SECRET in text:
        return "a line of a file that no case may read"
    bad = next((character for character in text if not character.isprintable()), None)
    return None if bad is None else f"{bad!r} in {text[:200]!r}"


def _bad_words(error: IsobuilderError) -> str | None:
    if len(str(error)) > LONGEST:
        return f"an error of {len(str(error))} characters: {str(error)[:200]!r}"
    for line in (*error.lines, error.hint or ""):
        if bad := unfit(line):
            return f"{type(error).__name__} that is no plain line: {bad}"
        # Of several mistakes each may have a hint of ours below it.
        if line.startswith(("hint: ", "error: ")) and not isinstance(error, InputErrors):
            return f"an error that looks like a line of ours: {line[:200]!r}"
    return None


def _where(error: BaseException | None) -> str:
    """Return the last place of ours that an error came from."""
    frames = traceback.extract_tb(error.__traceback__) if error else []
    ours = [frame for frame in frames if "/isobuilder/" in frame.filename] or list(frames)
    if not ours:
        return "nowhere"
    return f"{ours[-1].filename.rpartition('/isobuilder/')[2]}:{ours[-1].lineno}"


def _emptied(work: Path) -> None:
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _catching(thrown: list[str]) -> Iterator[None]:
    """Note what ends threads, what destructors raise, and warnings."""

    def of_thread(found: threading.ExceptHookArgs) -> None:
        thrown.append(f"a thread ended with {found.exc_value!r}: {_where(found.exc_value)}")

    before, unraised = threading.excepthook, sys.unraisablehook
    threading.excepthook = of_thread
    sys.unraisablehook = lambda found: thrown.append(f"unraisable: {found.exc_value!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        threading.excepthook, sys.unraisablehook = before, unraised


@contextmanager
def _limited() -> Iterator[None]:
    """Raise ``OverBudget`` once the processor time is used up."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise OverBudget

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _start_counting() -> int:
    """Let the kernel forget the peak so far; return what the process has now, in MiB."""
    # proc(5): 5 sets the peak to what is there now.
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
