"""Numbers about one run that nobody watches, for node_exporter to hand to Prometheus."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from isobuilder.errors import EnvironmentProblem, InputError
from isobuilder.files import read_bytes, write_whole
from isobuilder.formats.prometheus import Row, metric, value_in

_LAST_SUCCESS = "isobuilder_run_last_success_timestamp_seconds"
_MOST = 4 * 1024 * 1024  # bytes of such a file; ours have some kilobytes


class RunMetrics:
    """What one run of a command was like; nothing is written before its end.

    Raises:
        EnvironmentProblem: the file could not be written at the end; found out at the beginning.
    """

    def __init__(self, path: Path, command: str) -> None:
        self._path, self._command = path, command
        self._began = time.time()
        self._rows: dict[str, tuple[str, list[Row]]] = {}
        folder = path.absolute().parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise EnvironmentProblem(
                f"{path}: cannot be written", hint=f"{folder} has to be a folder for this user"
            )
        self._success = self._before()

    def add(self, name: str, meaning: str, value: float, **labels: str) -> None:
        """Note one value of the metric ``name``, which is told with its prefix."""
        self._rows.setdefault(f"isobuilder_{name}", (meaning, []))[1].append((labels, value))

    def write(self, exit_code: int) -> None:
        """Write all of it, in place of what an earlier run wrote.

        Raises:
            EnvironmentProblem: it cannot be written.
        """
        ended = time.time()
        if exit_code == 0:
            self._success = ended
        mine, children = (
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        cpu = sum(usage.ru_utime + usage.ru_stime for usage in (mine, children))
        peak = max(mine.ru_maxrss, children.ru_maxrss) * 1024  # Linux counts kilobytes
        self._run("timestamp_seconds", "When the last run ended, since 1970.", round(ended, 3))
        self._run("duration_seconds", "How long it took.", round(ended - self._began, 3))
        self._run("cpu_seconds", "Processor time of it and its programs.", round(cpu, 3))
        self._run("peak_memory_bytes", "Memory of its largest process.", peak)
        self._run("exit_code", "How it ended; 0 is well.", exit_code)
        parts = [metric(name, "gauge", *told) for name, told in self._rows.items()]
        if self._success is not None:
            rows: list[Row] = [({"command": self._command}, round(self._success, 3))]
            parts.append(metric(_LAST_SUCCESS, "gauge", "When a run last ended well.", rows))
        write_whole(self._path, "".join(parts).encode())

    def _run(self, name: str, meaning: str, value: float) -> None:
        self.add(f"run_{name}", meaning, value, command=self._command)

    def _before(self) -> float | None:
        """Return when a run last ended well, as an earlier one wrote it here."""
        try:
            text = read_bytes(self._path, _MOST).decode("utf-8", "replace")
        except InputError:
            return None
        return value_in(text, _LAST_SUCCESS, {"command": self._command})
