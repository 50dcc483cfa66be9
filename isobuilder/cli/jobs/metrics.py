"""``--metrics``: numbers about a run, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from isobuilder.cli.app import NEW_FILE, App
from isobuilder.cli.telling import tell
from isobuilder.errors import EnvironmentProblem, UsageProblem

if TYPE_CHECKING:
    from isobuilder.jobs.metrics import RunMetrics
    from isobuilder.pipeline.build import Built
    from isobuilder.pipeline.upstream.report import SyncReport


def _no_iso(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Refuse what may be the ISO that the same run makes or serves, and is not named otherwise."""
    if path is not None and path.suffix == ".iso":
        raise UsageProblem(f"--metrics: {path} is called like an ISO", hint="name another file")
    return path


metrics_option = click.option(
    "--metrics",
    type=NEW_FILE,
    callback=_no_iso,
    help="Write numbers here, in the text format of Prometheus, for node_exporter to read.",
)


class Numbers(Protocol):
    """Takes numbers about a run."""

    def add(self, name: str, meaning: str, value: float, **labels: str) -> None:
        """Note one value."""


class _Nobody:
    def add(self, name: str, meaning: str, value: float, **labels: str) -> None:
        """Note nothing: nobody asked."""


def numbers_into(app: App, path: Path | None, command: str) -> Numbers:
    """Return who takes numbers; they are written when the program ends, however it does."""
    if path is None:
        return _Nobody()
    from isobuilder.jobs.metrics import RunMetrics

    return app.closing.enter_context(_written(RunMetrics(path, command)))


@contextmanager
def _written(metrics: RunMetrics) -> Iterator[RunMetrics]:
    code = 0
    try:
        yield metrics
    except BaseException as error:
        code = getattr(error, "exit_code", 1)  # of what click ends with: the error was told
        raise
    finally:
        try:
            metrics.write(code)
        except EnvironmentProblem as problem:  # no reason to end otherwise than we do
            tell(f"warning: {problem}", err=True)


def note_built(numbers: Numbers, built: Built) -> None:
    """Tell of an ISO that a build has made, or found made."""
    lock = built.lock
    labels = {
        "iso": built.iso.name,
        "kubernetes": str(lock.kubernetes),
        "profile": lock.profile,
        "architecture": lock.architecture,
    }
    numbers.add("build_iso_bytes", "Size of each ISO.", built.size, **labels)
    new = int(not built.reused)
    numbers.add("build_iso_built", "1 if this run wrote it, 0 if it was there.", new, **labels)


def note_sync(numbers: Numbers, report: SyncReport) -> None:
    """Tell what the steps of a sync came to, and what upstream's state gives to do."""
    from collections import Counter

    from isobuilder.sources.upstream.notices import LEVELS

    steps = Counter((step.step, step.state) for step in report.steps)
    for state in ("done", "kept", "waits", "failed"):  # also those that did not occur
        numbers.add(
            "sync_results",
            "Steps of the last run by what became of them.",
            sum(number for (_step, became), number in steps.items() if became == state),
            state=state,
        )
    for (step, state), number in sorted(steps.items()):
        numbers.add("sync_steps", "The same by step.", number, step=step, state=state)
    notices = Counter(notice.level for notice in report.notices)
    for level in LEVELS:
        number = notices[level]
        numbers.add("sync_notices", "What upstream's state gives to know.", number, level=level)
