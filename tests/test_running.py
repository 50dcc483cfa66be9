"""A server runs while a block runs, and no longer."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem
from isobuilder.run import running

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
    assert time.monotonic() - begun < 10


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(EnvironmentProblem, match=r"no-such-server: cannot run here: No such file"),
        running(["no-such-server"], ready=lambda: True, timeout=1, log=tmp_path / "log"),
    ):
        pytest.fail("it cannot run")
