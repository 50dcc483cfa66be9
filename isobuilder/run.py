"""The only starter of other programs."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isobuilder.errors import EnvironmentProblem

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "apt-get": "apt",
    "zbarimg": "zbar-tools",
    "par2": "par2",
    "go": "golang-go",
    "dpkg-deb": "dpkg",
    "newuidmap": "uidmap",
    "mkfs.ext4": "e2fsprogs",
    "prlimit": "util-linux",
    "unshare": "util-linux",
    "kubectl": "kubernetes-client",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-x86_64": "qemu-system-x86",
    "sqfstar": "squashfs-tools",
}
"""Which Debian package has a program; used only in hints."""

_LAST_LINES = 8
_LONGEST_LINE = 300  # characters of such a line, its end
_ASK_AGAIN = 0.05  # seconds between two questions whether a server is ready
_NOTHING = "it said nothing"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 10  # seconds a server gets to end
_CONFINED = (
    *("prlimit", "--core=0", "--nofile=64", "--fsize=16777216", "--"),
    # Nobody of a user namespace of its own, so without privileges even where we are root; nothing
    # to reach: no network, no other process, and below --root no file but its own.
    *("unshare", "--user", "--map-user=65534", "--map-group=65534"),
    *("--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"),
)


class ProgramFailed(EnvironmentProblem):
    """A program ended with another code than 0; what that means only its caller knows."""

    def __init__(self, command: str, code: int, said: str) -> None:
        super().__init__(f"{command}: exit {code}: {said}")
        self.code = code
        self.said = said  # its last lines on stderr


def find_program(name: str) -> Path:
    """Return where ``name`` is installed.

    Raises:
        EnvironmentProblem: it is not; the hint names the package to install.
    """
    found = shutil.which(name, path=_search_path())
    if found is None:
        package = PACKAGES.get(name, name)
        raise EnvironmentProblem(
            f"{name}: not installed", hint=f"on Debian or Ubuntu: apt-get install {package}"
        )
    return Path(found)


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    cwd: Path | None = None,
    stdin: bytes | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return what it printed on stdout.

    The child gets ``stdin`` (bytes, or a file to read) or none, a C.UTF-8 locale, our PATH and HOME
    and the variables of ``env``, and nothing else of our environment, so a result does not depend
    on who runs it. ``timeout`` is in seconds. Arguments appear in errors, so secrets belong into
    ``stdin``.

    Raises:
        EnvironmentProblem: not installed, or too slow.
        ProgramFailed: a non-zero exit.
    """
    command = shlex.join(str(part) for part in argv)
    try:
        # stdin is a pipe or /dev/null, never the terminal: a child that asks must fail, not hang.
        with _input(stdin) as given:
            process: subprocess.CompletedProcess[bytes] = subprocess.run(  # noqa: PLW1510
                [str(part) for part in argv],
                **given,
                capture_output=True,
                timeout=timeout,
                cwd=cwd,
                env=child_environment(env),
            )
    except FileNotFoundError as error:
        raise EnvironmentProblem(f"{argv[0]}: not installed") from error
    except PermissionError as error:
        raise EnvironmentProblem(f"{argv[0]}: may not be executed: {error.strerror}") from error
    except OSError as error:
        raise EnvironmentProblem(f"{argv[0]}: cannot run here: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentProblem(f"{command}: still running after {timeout:g} s") from error
    if process.returncode != 0:
        said = _tail(process.stderr) or "nothing on stderr"
        raise ProgramFailed(command, process.returncode, said)
    return process.stdout.decode("utf-8", "replace")


def run_confined(
    folder: Path, argv: Sequence[str], *, timeout: float, most_output: int
) -> tuple[str, bool]:
    """Run a program that is not ours, the first word of ``argv``, which is a file of ``folder``.

    Returns what it printed on stdout, and whether it was shut in: where the machine has user
    namespaces, it sees no network, no process and no file outside ``folder``, and has no
    privileges. Elsewhere it merely gets an empty environment, with ``folder`` as its home. It and
    what it started end with the call, after ``timeout`` seconds or more than ``most_output`` bytes
    at the latest.

    Raises:
        EnvironmentProblem: it cannot be started, is too slow, prints too much or ends with another
            code than 0; carries its last lines.
    """
    shut_in = can_confine()
    command = [*_CONFINED, f"--root={folder}", "--wd=/", "--", f"/{argv[0]}", *argv[1:]]
    if not shut_in:
        command = [str(folder / argv[0]), *argv[1:]]
    environment = {"PATH": _search_path(), "HOME": "/" if shut_in else str(folder)}
    printed = _bounded(command, shlex.join(argv), folder, environment, timeout, most_output)
    return printed.decode("utf-8", "replace"), shut_in


def run_bounded(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    most_output: int,
    cwd: Path,
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Run a program of the user to its end and return what it printed on stdout.

    As ``run``, but it and all that it started end after ``timeout`` seconds, or more than
    ``most_output`` bytes, at the latest.

    Raises:
        EnvironmentProblem: not installed, too slow, prints too much, or ends with another code
            than 0; carries its last lines.
    """
    command = [str(part) for part in argv]
    words = shlex.join(command)
    return _bounded(command, words, cwd, child_environment(env), timeout, most_output)


def run_signer(
    argv: Sequence[str],
    stdin: bytes,
    *,
    timeout: float,
    most_output: int,
    env: Mapping[str, str],
) -> bytes:
    """Run a program of the user that keeps secrets; return what it printed on stdout.

    It gets ``stdin`` and ``env`` as they are. Errors name it and neither its words nor what it
    said, of which nobody knows what is in there.

    Raises:
        EnvironmentProblem: not installed, slower than ``timeout`` seconds, ends with another code
            than 0, or prints more than ``most_output`` bytes.
    """
    name = argv[0]
    try:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            argv, input=stdin, capture_output=True, timeout=timeout, env=dict(env), check=False
        )
    except FileNotFoundError as error:
        raise EnvironmentProblem(f"{name}: not installed") from error
    except OSError as error:
        raise EnvironmentProblem(f"{name}: cannot run here: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise EnvironmentProblem(f"{name}: still running after {timeout:g} s") from None
    if done.returncode != 0:
        raise EnvironmentProblem(
            f"{name}: exit {done.returncode}", hint="run it by hand to see why"
        )
    if len(done.stdout) > most_output:
        raise EnvironmentProblem(f"{name}: printed more than {most_output} bytes")
    return done.stdout


def _bounded(
    command: Sequence[str],
    words: str,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    most_output: int,
) -> bytes:
    """Return what a program prints; ``words`` are what messages call it."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise EnvironmentProblem(f"{command[0]}: not installed") from error
    except OSError as error:
        raise EnvironmentProblem(f"{words}: cannot run here: {error.strerror}") from error
    deadline = time.monotonic() + timeout
    try:
        printed, said = _read_both(process, words, deadline, most_output)
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise EnvironmentProblem(f"{words}: still running after {timeout:g} s") from error
    finally:
        with _undisturbed():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if code != 0:
        raise EnvironmentProblem(f"{words}: exit {code}: {_tail(said) or _NOTHING}")
    return printed


def can_confine() -> bool:
    """Return whether a program that is not ours can be shut in here: by user namespaces."""
    try:
        run([*_CONFINED, "true"], timeout=10)
    except EnvironmentProblem:
        return False
    return True


def _read_both(
    process: subprocess.Popen[bytes], words: str, deadline: float, most: int
) -> tuple[bytes, bytes]:
    """Return what a program prints on stdout and stderr until it closes both."""
    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
    held = {stream.fileno(): bytearray() for stream in streams}
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, 65536)
                held[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fileobj)
                if len(held[key.fd]) > most:
                    raise EnvironmentProblem(f"{words}: printed more than {most} bytes")
    printed, said = held.values()
    return bytes(printed), bytes(said)


def _tail(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()[-_LAST_LINES:]
    return " | ".join(line.strip()[-_LONGEST_LINE:] for line in lines)


@contextmanager
def _input(stdin: bytes | Path | None) -> Iterator[dict[str, Any]]:
    if isinstance(stdin, Path):
        with stdin.open("rb") as file:
            yield {"stdin": file}
    else:
        yield {"input": stdin if stdin is not None else b""}


@contextmanager
def running(
    argv: Sequence[str | Path],
    *,
    ready: Callable[[], bool],
    timeout: float,
    log: Path,
    env: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> Iterator[Callable[[], bool]]:
    """Keep a server running while the block runs, from when ``ready`` first says so.

    What the block is given says whether the program still runs.

    ``ready`` is asked again and again for at most ``timeout`` seconds. What the program prints goes
    to the file ``log``; the file descriptors ``keep`` stay open in it. It is a process group of its
    own, so that an interrupt at the terminal
    reaches it through us; at the end of the block it is asked to end, and made to after a while.

    Raises:
        EnvironmentProblem: not installed, ended early, or not ready in time; carries the last
            lines of ``log``.
    """
    command = shlex.join(str(part) for part in argv)
    process: subprocess.Popen[bytes] | None = None
    try:
        with log.open("wb") as output, _undisturbed():
            try:
                process = subprocess.Popen(
                    [str(part) for part in argv],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=child_environment(env),
                    process_group=0,
                    pass_fds=keep,
                )
            except OSError as error:
                raise EnvironmentProblem(f"{argv[0]}: cannot run here: {error.strerror}") from error
        deadline = time.monotonic() + timeout
        while not ready():
            if (code := process.poll()) is not None:
                raise EnvironmentProblem(f"{command}: exit {code}: {last_lines(log) or _NOTHING}")
            if time.monotonic() > deadline:
                said = last_lines(log) or _NOTHING
                raise EnvironmentProblem(f"{command}: not ready after {timeout:g} s: {said}")
            time.sleep(_ASK_AGAIN)
        yield lambda: process.poll() is None
    finally:
        if process is not None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with _undisturbed():
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals that would end us wait for the end of the block, such as while a child is ended.

    Only in the main thread: signals disturb no other.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDING}
    ours = {number: handler for number, handler in before.items() if callable(handler)}
    try:
        for number in ours:
            signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def last_lines(log: Path) -> str:
    """Return the end of what a program wrote into ``log``, on one line; empty if nothing."""
    with log.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 8192, 0))
        return _tail(file.read())


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment every child program gets."""
    base = {"PATH": _search_path(), "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "TZ": "UTC"}
    if home := os.environ.get("HOME"):
        base["HOME"] = home
    return base | dict(extra or {})


def _search_path() -> str:
    # Daemons such as containerd live in sbin, which an ordinary user's PATH often lacks.
    ours = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return f"{ours}:/usr/local/sbin:/usr/sbin:/sbin"
