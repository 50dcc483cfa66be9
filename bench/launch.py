"""``launch.py RESULT PROGRAM ARG...``: run a program and write what it took, as JSON.

A small process of its own, because Linux counts the memory of whoever starts a program as that
program's own until it is loaded: what is below this process's few MiB cannot be seen.
"""

import json
import os
import sys
import time

_TICK = os.sysconf("SC_CLK_TCK")


def _busy() -> float:
    """Return the seconds all processors have worked since the machine started."""
    with open("/proc/stat", "rb") as file:  # noqa: PTH123 - pathlib would cost memory here
        user, nice, system, _idle, _wait, irq, soft, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + soft) / _TICK


def main() -> int:
    """Run it; the command's own exit code is passed on."""
    result, program, *arguments = sys.argv[1:]
    busy, start = _busy(), time.perf_counter()
    pid = os.posix_spawn(program, [program, *arguments], os.environ)
    _, status, usage = os.wait4(pid, 0)  # the process and all children it waited for
    wall, busy = time.perf_counter() - start, _busy() - busy
    cpu = usage.ru_utime + usage.ru_stime
    figures = {
        "wall": wall,
        "user": usage.ru_utime,
        "sys": usage.ru_stime,
        "peak": usage.ru_maxrss / 1024,  # MiB
        "others": max(0.0, busy - cpu) / wall / (os.cpu_count() or 1),
    }
    with open(result, "w", encoding="ascii") as file:  # noqa: PTH123
        json.dump(figures, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
