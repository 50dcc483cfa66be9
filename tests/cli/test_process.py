"""What the world does to a process: closed streams, readers that leave, signals, odd homes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from isobuilder.cli.exits import told
from isobuilder.errors import InputError
from isobuilder.pipeline.build import Built
from isobuilder.store import Store
from tests.cli.calling import call, errors, half_written
from tests.pipeline.world import Locked, World, command, run_cli


def shell(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script in which ``"$@"`` is the program with its arguments."""
    return subprocess.run(
        ["bash", "-c", script, "bash", *command(*arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("what", ["--help", "inspect"])
def test_a_reader_that_leaves_is_no_error_worth_a_word(built: Built, what: str) -> None:
    arguments = ["--help"] if what == "--help" else ["inspect", built.iso]
    done = shell('"$@" | head -1; exit "${PIPESTATUS[1]}"', *arguments)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("encoding", "shown"), [("latin-1", r"\ud55c\uad6d-r1.yaml"), ("euc-kr", "한국-r1.yaml")]
)
def test_a_terminal_of_another_encoding_gets_what_it_can_show(
    world: World, tmp_path: Path, encoding: str, shown: str
) -> None:
    path = tmp_path / "한국-r1.yaml"
    shutil.copy(world.recipe, path)
    for more in ((), ("--json",)):
        done = subprocess.run(
            [*command("recipe", "check", path, *more)],
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
            timeout=60,
            check=False,
        )
        text = done.stdout.decode(encoding)
        assert done.returncode == 0, done.stderr
        assert (str(path) in json.loads(text)[0].values()) if more else (shown in text)


def test_a_reader_that_never_reads_is_no_error_worth_a_word(built: Built) -> None:
    done = shell('"$@" --json | true; exit "${PIPESTATUS[0]}"', "inspect", built.iso)
    assert done.returncode in {0, 141}
    assert done.stderr == ""


def test_a_full_disk_behind_stdout_is_an_error_of_the_machine(built: Built) -> None:
    done = shell('"$@" > /dev/full', "inspect", built.iso)
    assert done.returncode == 6
    assert done.stderr.splitlines() == [
        "error: cannot write the result: No space left on device",
        "hint: free space there and run the command again",
    ]


@pytest.mark.parametrize("closed", ["<&-", "2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_disturb_a_build(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path, closed: str
) -> None:
    done = shell(
        f'"$@" {closed}',
        *("build", locked.path, "--offline", "--store", full_store.root, "--out", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / built.iso.name).read_bytes() == built.iso.read_bytes()


def test_an_error_without_stderr_keeps_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "x.lock.json").write_text("{")
    assert shell('"$@" 2>&-', "fetch", tmp_path / "x.lock.json").returncode == 3
    assert shell('"$@" 2>&-', "fetch", tmp_path / "nothing").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_a_signal_ends_a_fetch_soon_and_the_same_command_goes_on(
    world: World, locked: Locked, tmp_path: Path, number: signal.Signals
) -> None:
    arguments: list[str | Path] = ["fetch", locked.path, "--config", world.config_file]
    arguments += ["--store", tmp_path / "s"]
    child = subprocess.Popen(
        command(*arguments, "--limit-rate", "4K", "--progress", "plain"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    assert child.stderr.readline().startswith("fetching into ")
    child.send_signal(number)
    printed, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert printed == ""
    assert said == "error: interrupted; the same command carries on from here\n"
    run_cli(*arguments)
    assert half_written(tmp_path / "s") == []


def test_a_home_that_cannot_be_written_is_told_with_the_place(world: World, locked: Locked) -> None:
    home = {"HOME": "/proc/nobody", "XDG_CACHE_HOME": ""}
    done = run_cli("fetch", locked.path, "--config", world.config_file, env=home, check=6)
    assert "error: /proc/nobody/.cache/isobuilder" in done.stderr
    assert "hint: " in done.stderr


def test_a_home_that_cannot_be_written_does_not_matter_with_a_store(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    home = {"HOME": "/proc/nobody", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
    run_cli(
        *("build", locked.path, "--offline", "--store", full_store.root, "--out", tmp_path),
        env=home,
    )
    run_cli("verify", tmp_path / built.iso.name, env=home)


def test_a_folder_that_is_gone_is_no_bug(locked: Locked, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd {gone} && rmdir {gone} && PYTHONSAFEPATH=1 "$@"'
    done = shell(script, "plan", locked.path, "--store", tmp_path / "store")
    assert done.returncode == 0, done.stderr


def test_a_bug_is_reported_as_one_and_with_v_also_where(tmp_path: Path) -> None:
    script = (
        "import sys, isobuilder.pipeline.compare as compare\n"
        "from isobuilder.cli import main\n"
        "def broken(path): raise ZeroDivisionError('oops')\n"
        "compare.contents_of = broken\n"
        "main(sys.argv[1:], prog_name='isobuilder')\n"
    )
    arguments = [sys.executable, "-c", script, "inspect", __file__]
    short = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert short.returncode == 1
    assert short.stderr.splitlines() == [
        "error: bug in isobuilder: ZeroDivisionError: oops",
        "hint: run it again with -v and report what it prints",
    ]
    long = subprocess.run([*arguments, "-v"], capture_output=True, text=True, check=False)
    assert "Traceback" in long.stderr
    assert "in broken" in long.stderr


def python(code: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def test_ctrl_c_before_anything_is_begun_ends_without_a_word() -> None:
    done = python(
        "import os, signal, sys, types\n"
        "late = types.ModuleType('isobuilder.cli')\n"
        "late.main = lambda **_: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.modules['isobuilder.cli'] = late\n"
        "from isobuilder.__main__ import run\n"
        "run()\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_signal_that_the_interpreter_swallows_comes_again() -> None:
    done = python(
        "import os, signal, time\n"
        "from isobuilder.cli.exits import interruptible\n"
        "class Swallowing:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(60)\n"
        "with interruptible():\n"
        "    Swallowing()\n"
        "    try:\n"
        "        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n"
        "        print('ended')\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_what_else_is_swallowed_is_told_as_before() -> None:
    done = python(
        "import sys\n"
        "from isobuilder.cli.exits import interruptible\n"
        "class Failing:\n"
        "    def __del__(self):\n"
        "        raise ValueError('no')\n"
        "before = sys.unraisablehook = lambda found: print(found.exc_value)\n"
        "for _ in range(2):\n"
        "    with interruptible():\n"
        "        Failing()\n"
        "print(sys.unraisablehook is before)\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "no\nno\nTrue\n", "")


@pytest.mark.parametrize("kind", ["ValueError", "UpstreamError"])
def test_an_interruption_that_became_another_error_is_still_one(kind: str) -> None:
    done = python(
        "from isobuilder.errors import UpstreamError\n"
        "import isobuilder.pipeline.compare as compare\n"
        "from isobuilder.cli import main\n"
        "class Field:\n"
        "    def __set_name__(self, *_):\n"
        "        raise KeyboardInterrupt\n"
        "def contents_of(path):\n"
        "    try:\n"
        "        class Model:\n"
        "            field = Field()\n"
        "    except RuntimeError as error:\n"
        f"        raise {kind}('no') from error\n"
        "compare.contents_of = contents_of\n"
        f"main(['inspect', {__file__!r}], prog_name='isobuilder')\n"
    )
    assert done.returncode == 130
    assert done.stderr == "error: interrupted; the same command carries on from here\n"


def test_an_error_whose_causes_go_in_a_circle_is_told() -> None:
    one, two = InputError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert told(one, verbosity=0) == 3


ODD = "\udcff"  # as Python keeps a byte that is no UTF-8


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("sign x.iso --key k --builder ODD", 2, "'--builder': expected text in UTF-8"),
        ("node user-data --set timezone=ODD", 2, "'--set': expected text in UTF-8"),
        ("mold setting ODD", 2, "'NAME': expected text in UTF-8"),
        ("config show --remote-store oci://ODD/x", 2, "'--remote-store': expected text in UTF-8"),
        ("config show --store ODD", 3, "--store: store: expected text in UTF-8"),
        ("ISOBUILDER_STORE=ODD config show", 3, "ISOBUILDER_STORE: expected text in UTF-8"),
        ("ISOBUILDER_SIGNING_KEY=ODD config show --remote-store ODD", 2, "'--remote-store': "),
        ("ISOBUILDER_MOLD_API_KEY=ODD mold zones", 3, "ISOBUILDER_MOLD_API_KEY: expected text"),
    ],
)
def test_what_is_no_text_is_refused_where_it_enters(words: str, code: int, told: str) -> None:
    given = words.replace("ODD", ODD).split()
    env = {}
    if "=" in given[0]:
        env = dict([given.pop(0).split("=")])
    done = call(*given, code=code, env=env)
    assert told in errors(done)[0]


def test_a_korean_path_in_an_ascii_locale_works(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "빌드 폴더"
    folder.mkdir()
    lock = Path(shutil.copy(locked.path, folder / "잠금.lock.json"))
    env = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for more in ((), ("--json", "--replace")):
        done = subprocess.run(
            command("build", lock, "--offline", "--store", full_store.root, "--out", folder, *more),
            env={**os.environ, **env},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (folder / built.iso.name).exists()
        assert str(folder / built.iso.name).encode() in done.stdout


@pytest.mark.parametrize("command_line", [("build", "--out"), ("build", "--json", "--out")])
def test_a_path_that_is_no_text_is_printed_as_the_bytes_it_is(
    locked: Locked, built: Built, full_store: Store, tmp_path: Path, command_line: tuple[str, ...]
) -> None:
    out = os.fsencode(tmp_path) + b"/out\xff"
    words = command(
        *(command_line[0], locked.path, "--offline", "--store", full_store.root),
        *command_line[1:],
    )
    done = subprocess.run(
        [*(os.fsencode(word) for word in words), out],
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert out + b"/" + os.fsencode(built.iso.name) in done.stdout


def test_a_folder_that_cannot_be_made_is_no_bug(built: Built, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = run_cli("boot", built.iso, "--logs", tmp_path / "file" / "logs", check=6)
    assert f"error: {tmp_path / 'file'}" in done.stderr
    assert "bug" not in done.stderr
