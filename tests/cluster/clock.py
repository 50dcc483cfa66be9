"""Machines whose clock is slower than the host's, for a host on which they are too slow.

Kubernetes has limits that no setting lengthens: an API server that is not ready half a minute
after it listens ends itself. A machine in emulation that is four times too slow for them is an
ordinary one for whoever sees only its own clock, when that is four times slower, too: as much work
is done in a second of it. All machines of a run share one such clock. How many seconds of the host
a second of theirs takes, ``ISOBUILDER_TEST_CLOCK`` says.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from tests.cluster.runs import CLOCK, HERE


def slowed(program: str, folder: Path, *, factor: int = CLOCK) -> Path:
    """Make a program in ``folder`` that runs the installed ``program`` on a slower clock.

    However often it is started, it has one clock, which is the host's at this moment and slower
    from then on.
    """
    library = folder / "slow_clock.so"
    options = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
    source = str(HERE / "slow_clock.c")
    subprocess.run(["gcc", *options, "-o", str(library), source, "-ldl"], check=True)
    found = shutil.which(program)
    assert found is not None, f"{program} is not installed"
    # Told by the program itself: what starts machines gives them no variables of ours.
    variables = {
        "SLOW_CLOCK_FACTOR": str(factor),
        "SLOW_CLOCK_MONOTONIC": str(time.clock_gettime_ns(time.CLOCK_MONOTONIC)),
        "SLOW_CLOCK_REAL": str(time.clock_gettime_ns(time.CLOCK_REALTIME)),
        "LD_PRELOAD": str(library),
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    made = folder / Path(found).name
    made.write_text(
        "\n".join(["#!/bin/sh", *lines, f'exec {shlex.quote(found)} "$@"', ""]), encoding="utf-8"
    )
    made.chmod(0o755)
    return made


def put_first(folder: Path) -> None:
    """Let programs in ``folder`` be found before all others, by this process and what it starts."""
    os.environ["PATH"] = os.pathsep.join([str(folder), os.environ["PATH"]])
