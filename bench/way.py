"""What the pages for new users take on the lab's upstream: ``python -m bench.way``.

Their blocks are typed as `tools.way` gives them, with the lab's recipe of a real Kubernetes in
place of the shipped one; each command's seconds are those of bash's own ``time``.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench import page, section
from bench.measure import BenchError
from isobuilder.text import human_size
from tools.lab.kubernetes import CURRENT
from tools.lab.place import HERE
from tools.lab.servers import free_port
from tools.lab.upstream import lab_upstream
from tools.way import PORTS, script

# Servers become the program, so that the page's kill finds it.
_TIMED = """\
isobuilder() {
  case "${1-} ${2-}" in "mold simulate"|"site serve") exec isobuilder "$@" ;; esac
  local TIMEFORMAT="%R %U %S"
  { time command isobuilder "$@" 2>&3; } 3>&2 2> "$HOME/time"
  echo "$(tail -n 1 "$HOME/time") $*" >> "$HOME/times"
}
"""
_STEPS = (  # how a command begins -> what it is; the first of each kind counts, then the next
    ("lock ", "lock: ask upstream for the exact bytes"),
    ("build ", "build: fetch the rest, write the ISO"),
    ("verify ", "verify, against its lock"),
    ("build ", "build --check: once more, compared"),
    ("mold register ", "register on the simulator, which downloads it"),
    ("site export ", "site export: a bundle"),
    ("site check ", "site check, inside"),
    ("site import ", "site import"),
    ("build ", "build, inside, without network"),
    ("verify ", "verify, inside"),
)


def main() -> int:
    """Return the exit code: 0 when every page ended well."""
    options = section.parser("bench.way", __doc__, space="6 GB").parse_args()
    return section.measured(page.WAY, options, _run)


def _run(home: Path) -> str:
    (home / "isobuilder").mkdir()
    (home / "isobuilder" / "bin").symlink_to(Path(sys.executable).parent)
    recipe = home / f"kubernetes-{CURRENT.version}.yaml"
    shutil.copy(HERE / "recipes" / recipe.name, recipe)
    with lab_upstream(config=home / "lab.yaml") as upstream:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ISOBUILDER_", "XDG_"))
        }
        own = {"HOME": home, "RECIPE": recipe, "ISOBUILDER_CONFIG": upstream.config_path}
        done = subprocess.run(
            ["bash", "-c", _TIMED + script(installed=True, ports=free_ports())],
            env={**environment, **{name: str(value) for name, value in own.items()}},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            check=False,
        )
    if done.returncode:
        raise BenchError(f"the pages ended with {done.returncode}")
    return _told(home)


def free_ports() -> dict[int, int]:
    """Return a free port for each of the pages."""
    return {port: free_port() for port in PORTS}


def _told(home: Path) -> str:
    (iso,) = (home / "first" / "dist").glob("*.iso")
    sizes = (
        ("the ISO", _size(iso)),
        ("the store after it: what came from upstream", _size(home / ".cache" / "isobuilder")),
        ("the bundle for a site", _size(home / "first" / "carry")),
    )
    rows = [("what", "seconds", "of processor time"), *_times(home / "times")]
    day = datetime.now(UTC).date()
    busy = f"a load of {os.getloadavg()[1]:.0f} on {os.cpu_count()} processors"
    return f"""
The [pages for new users](../docs/installing.md), typed on the lab's upstream (Kubernetes
{CURRENT.version}, nginx and docker-registry on loopback): {day},
Python {platform.python_version()}, {busy}. Written by

    python -m bench.way --report bench/RESULTS.md

{page.table(rows)}

{page.table([("size of", "bytes"), *((what, human_size(size)) for what, size in sizes)])}

To that comes the way to upstream, which loopback makes short.
"""


def _times(file: Path) -> Iterator[tuple[str, str, str]]:
    lines = [line.split(" ", 3) for line in file.read_text("utf-8").splitlines()]
    for begins, what in _STEPS:
        at = next(at for at, (*_, words) in enumerate(lines) if f"{words} ".startswith(begins))
        wall, user, system, _words = lines[at]
        lines = lines[at + 1 :]
        yield what, f"{float(wall):.1f}", f"{float(user) + float(system):.1f}"


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in files if one.is_file())


if __name__ == "__main__":
    sys.exit(main())
