"""A server runs while a block runs, and no longer; a stranger's program reaches nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem
from isobuilder.run import run_confined, running

PYTHON = Path(sys.executable)


def server(
    place: Path, *, before: str = "", after: str = "import time; time.sleep(60)"
) -> list[str]:
    """A program that writes its number into a file once it is ready."""
    ready = place / "ready"
    code = (
        f"import os, pathlib, signal\n{before}\nprint('started', flush=True)\n"
        f"pathlib.Path({str(ready)!r} + '.new').write_text(str(os.getpid()))\n"
        f"os.rename({str(ready)!r} + '.new', {str(ready)!r})\nimport time; time.sleep(60)"
    )
    return [str(PYTHON), "-c", code]


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_runs_inside_the_block_and_has_ended_behind_it(tmp_path: Path) -> None:
    ready, log = tmp_path / "ready", tmp_path / "log"
    with running(server(tmp_path), ready=ready.exists, timeout=30, log=log):
        number = int(ready.read_text())
        assert alive(number)
        assert os.getpgid(number) == number
    assert not alive(number)
    assert log.read_text() == "started\n"


def test_a_server_ends_when_the_block_fails(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with (
        pytest.raises(KeyError),
        running(server(tmp_path), ready=ready.exists, timeout=30, log=tmp_path / "log"),
    ):
        raise KeyError("x")
    assert not alive(int(ready.read_text()))


def test_a_server_that_does_not_want_to_end_is_made_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.run._GRACE", 0.2)
    ready = tmp_path / "ready"
    deaf = server(tmp_path, before="signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    with running(deaf, ready=ready.exists, timeout=30, log=tmp_path / "log"):
        number = int(ready.read_text())
        os.kill(number, signal.SIGTERM)
    assert not alive(number)


IMPATIENT = """
import signal, sys
from pathlib import Path
import isobuilder.run
from isobuilder.run import running

def stop(_number, _frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, stop)
isobuilder.run._GRACE = 1
folder = Path(sys.argv[1])
try:
    with running(sys.argv[2:], ready=(folder / "ready").exists, timeout=30, log=folder / "log"):
        print("up", flush=True)
        signal.pause()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("signals", [1, 2, 5, 20])
def test_however_many_signals_come_no_server_outlives_us(tmp_path: Path, signals: int) -> None:
    deaf = server(tmp_path, before="signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    process = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, str(tmp_path), *map(str, deaf)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    for _ in range(signals):
        if process.poll() is None:
            process.terminate()
        time.sleep(0.02)
    process.communicate(timeout=30)
    assert not alive(int((tmp_path / "ready").read_text()))


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; print('x' * 9000); sys.exit('no such option: --frobnicate')"
    with (
        pytest.raises(EnvironmentProblem, match=r"exit 1: .*no such option: --frobnicate"),
        running([PYTHON, "-c", code], ready=lambda: False, timeout=30, log=tmp_path / "log"),
    ):
        pytest.fail("it is not ready")


def test_a_server_that_never_gets_ready_is_told_and_ended(tmp_path: Path) -> None:
    begun = time.monotonic()
    with (
        pytest.raises(EnvironmentProblem, match=r"not ready after 0\.2 s: it said nothing"),
        running(["sleep", "60"], ready=lambda: False, timeout=0.2, log=tmp_path / "log"),
    ):
        pytest.fail("it is not ready")
    assert time.monotonic() - begun < 50


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(EnvironmentProblem, match=r"no-such-server: cannot run here: No such file"),
        running(["no-such-server"], ready=lambda: True, timeout=1, log=tmp_path / "log"),
    ):
        pytest.fail("it cannot run")


# --- programs of strangers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a shell and what it needs to run where nothing else is."""
    found = shutil.which("dash") or shutil.which("sh")
    assert found is not None
    shell = Path(found).resolve()
    listed = subprocess.run(["ldd", shell], check=True, capture_output=True, text=True).stdout
    inside = tmp_path / "inside"
    inside.mkdir()
    for name in re.findall(r"/\S+", listed):
        (inside / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, inside / name[1:])
    shutil.copy(shell, inside / "sh")
    return inside


def confined(
    folder: Path, script: str, *, timeout: float = 20, most: int = 1000
) -> tuple[str, bool]:
    return run_confined(folder, ["sh", "-c", script], timeout=timeout, most_output=most)


SECRETS = (
    "echo $HOME; for f in /etc/passwd /proc/1/environ /dev/null; do test -e $f && echo $f; done"
)


def test_a_confined_program_sees_no_file_but_its_own(folder: Path) -> None:
    printed, shut_in = confined(folder, "echo $HOME; echo /* /etc/passwd*")
    if not shut_in:
        pytest.skip("this machine gives no user namespaces")
    home, _, seen = printed.partition("\n")
    assert home == "/"
    assert set(seen.split()) == {f"/{path.name}" for path in folder.iterdir()} | {"/etc/passwd*"}


def test_a_confined_program_is_nobody_alone_and_without_network() -> None:
    # With the whole disk as its folder, so that it can look around.
    look = "import os, socket; print(os.getuid(), os.getpid(), socket.if_nameindex())"
    printed, shut_in = run_confined(
        Path("/"), [str(PYTHON.resolve()), "-c", look], timeout=20, most_output=1000
    )
    if not shut_in:
        pytest.skip("this machine gives no user namespaces")
    assert printed == "65534 1 [(1, 'lo')]\n"


def test_without_namespaces_a_program_still_gets_nothing_of_our_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.run._CONFINED", ("false",))
    monkeypatch.setenv("SECRET", "x")
    printed, shut_in = confined(folder, 'echo "$HOME:$SECRET"')
    assert (printed, shut_in) == (f"{folder}:\n", False)


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_confined_program_ends_in_time_with_all_it_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, namespaces: bool
) -> None:
    if not namespaces:
        monkeypatch.setattr("isobuilder.run._CONFINED", ("false",))
    ours = f"while : {folder}; do :; done"  # such loops of other tests may run beside us
    for script in (f"{ours} & {ours}", f"exec >&- 2>&-; {ours}"):
        with pytest.raises(EnvironmentProblem, match=r"still running after 0\.5 s"):
            confined(folder, script, timeout=0.5)
    end = time.monotonic() + 60  # the kernel ends them when it comes to that
    while ours in listed():
        assert time.monotonic() < end
        time.sleep(0.05)


def listed() -> str:
    """Return the command lines of all processes."""
    command = ["ps", "-eo", "args", "-ww"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_confined_program_may_not_print_without_end(folder: Path) -> None:
    for where in ("1", "2"):
        with pytest.raises(EnvironmentProblem, match="printed more than 1000 bytes"):
            confined(folder, f"while :; do echo more and more >&{where}; done")


def test_a_confined_program_that_fails_is_told_with_its_words(folder: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"exit 3: no such thing"):
        confined(folder, "echo no such thing >&2; exit 3")
    with pytest.raises(EnvironmentProblem, match="missing"):
        run_confined(folder, ["missing"], timeout=5, most_output=100)
