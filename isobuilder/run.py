"""The only starter of other programs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from isobuilder.errors import EnvironmentProblem

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
}
"""Which Debian package has a program; used only in hints."""

_LAST_LINES = 8


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
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return what it printed on stdout.

    The child gets ``stdin`` or none, a C.UTF-8 locale, our PATH and HOME and the variables of
    ``env``, and nothing else of our environment, so a result does not depend on who runs it.
    ``timeout`` is in seconds. Arguments appear in errors, so secrets belong into ``stdin``.

    Raises:
        EnvironmentProblem: not installed, too slow, or a non-zero exit; carries its last lines.
    """
    command = shlex.join(str(part) for part in argv)
    try:
        # stdin is a pipe or /dev/null, never the terminal: a child that asks must fail, not hang.
        process = subprocess.run(  # noqa: PLW1510
            [str(part) for part in argv],
            input=stdin if stdin is not None else b"",
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
        tail = process.stderr.decode("utf-8", "replace").strip().splitlines()[-_LAST_LINES:]
        said = " | ".join(line.strip() for line in tail) or "nothing on stderr"
        raise EnvironmentProblem(f"{command}: exit {process.returncode}: {said}")
    return process.stdout.decode("utf-8", "replace")


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
