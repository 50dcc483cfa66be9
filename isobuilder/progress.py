"""What a long step reports to; the command line decides how it looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work that is under way."""

    def advance(self, amount: int) -> None:
        """``amount`` more units are done; negative when work has to be repeated."""

    def set_total(self, total: int) -> None:
        """The size of the work became known."""

    def done(self) -> None:
        """The work has ended."""


class Progress(Protocol):
    """A listener to long work. Safe to call from several threads."""

    def step(self, text: str) -> None:
        """A new stage begins; ``text`` says which in a few words."""

    def start(self, name: str, *, total: int | None, unit: str = "B") -> Task:
        """A piece of work begins; ``total`` in ``unit`` (B is bytes), None when not known."""


class _SilentTask:
    def advance(self, amount: int) -> None:
        pass

    def set_total(self, total: int) -> None:
        pass

    def done(self) -> None:
        pass


class _Silent:
    """Listens and says nothing; the default of library calls."""

    def step(self, text: str) -> None:
        """Ignore the stage."""

    def start(self, name: str, *, total: int | None, unit: str = "B") -> Task:  # noqa: ARG002
        """Ignore the work."""
        return _SilentTask()


SILENT: Progress = _Silent()


@contextmanager
def task(progress: Progress, name: str, *, total: int | None, unit: str = "B") -> Iterator[Task]:
    """Report one piece of work, ended also when it fails."""
    work = progress.start(name, total=total, unit=unit)
    try:
        yield work
    finally:
        work.done()
