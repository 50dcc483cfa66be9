"""How long work looks: bars on a terminal, lines in a log, JSON for machines."""

from __future__ import annotations

import threading
import time
from typing import Any, TextIO

from isobuilder.progress import SILENT, Progress, Task
from isobuilder.text import as_json, human_size, printable

_LINE_EVERY = 5.0  # seconds between two plain lines about the same work


def choose(style: str, stream: TextIO) -> Progress:
    """Return the listener of that style; ``auto`` is bars on a terminal and lines elsewhere."""
    if style == "auto":
        style = "bar" if stream.isatty() else "plain"
    if style == "bar":
        return _Bars(stream)
    if style == "plain":
        return Lines(stream)
    if style == "json":
        return _JsonLines(stream)
    return SILENT


class _Counted:
    """Counts what is done and hands it to the style; several threads may advance it."""

    def __init__(self, name: str, total: int | None, unit: str) -> None:
        self.name = name
        self.total = total
        self.unit = unit
        self.count = 0
        self.lock = threading.Lock()
        self.begun = time.monotonic()

    @property
    def seconds_left(self) -> int | None:
        """How long it still takes if it goes on as it went; None while nobody can say."""
        if self.total is None or not 0 < self.count < self.total:
            return None
        elapsed = time.monotonic() - self.begun
        return int(elapsed * (self.total - self.count) / self.count)

    def advance(self, amount: int) -> None:
        with self.lock:
            self.count += amount
            self.changed()

    def set_total(self, total: int) -> None:
        with self.lock:
            self.total = total
            self.changed()

    def done(self) -> None:
        """Nothing more to say unless the style does."""

    def changed(self) -> None:
        """The numbers moved."""


class _Bars:
    """A bar for each piece of work, on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def step(self, text: str) -> None:
        """Write the stage above the bars."""
        from tqdm import tqdm

        tqdm.write(printable(text), file=self._stream)

    def start(self, name: str, *, total: int | None, unit: str = "B") -> Task:
        """Open a bar."""
        return _Bar(name, total, unit, self._stream)


class _Bar(_Counted):
    def __init__(self, name: str, total: int | None, unit: str, stream: TextIO) -> None:
        from tqdm import tqdm

        super().__init__(name, total, unit)
        scale: dict[str, Any] = {"unit_scale": True, "unit_divisor": 1024} if unit == "B" else {}
        self._bar = tqdm(
            desc=printable(name, 40),
            total=total,
            unit=unit,
            file=stream,
            leave=False,
            mininterval=0.2,
            delay=0.3,  # seconds; what is done sooner needs no bar
            **scale,
        )

    def changed(self) -> None:
        self._bar.total = self.total
        self._bar.update(self.count - self._bar.n)

    def done(self) -> None:
        self._bar.close()


class Lines:
    """One line when a stage begins, and one now and then about work that takes long."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def step(self, text: str) -> None:
        """Write the stage."""
        print(printable(text), file=self._stream, flush=True)

    def start(self, name: str, *, total: int | None, unit: str = "B") -> Task:
        """Begin to watch a piece of work."""
        return _Line(name, total, unit, self._stream)


class _Line(_Counted):
    def __init__(self, name: str, total: int | None, unit: str, stream: TextIO) -> None:
        super().__init__(name, total, unit)
        self._stream = stream
        self._last = self.begun

    def changed(self) -> None:
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY:
            self._last = now
            line = f"  {printable(self.name)}: {self._text()}"
            print(line, file=self._stream, flush=True)

    def _text(self) -> str:
        amounts = [self.count] if self.total is None else [self.count, self.total]
        if self.unit == "B":
            told = " of ".join(human_size(amount) for amount in amounts)
        else:
            told = f"{' of '.join(str(amount) for amount in amounts)} {self.unit}"
        left = self.seconds_left
        return told if left is None else f"{told}, {left // 60} min {left % 60} s left"


class _JsonLines:
    """One JSON object a line: ``step``, ``start``, ``progress`` and ``done`` events.

    What the command says besides is a ``message`` event; errors stay two lines of text.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def step(self, text: str) -> None:
        """Write the stage."""
        self.write({"event": "step", "text": text})

    def start(self, name: str, *, total: int | None, unit: str = "B") -> Task:
        """Write that work begins."""
        self.write({"event": "start", "name": name, "total": total, "unit": unit})
        return _Event(name, total, unit, self)

    def write(self, event: dict[str, Any]) -> None:
        """Write one event as one line."""
        with self._lock:
            print(as_json(event), file=self._stream, flush=True)


class _Event(_Counted):
    def __init__(self, name: str, total: int | None, unit: str, out: _JsonLines) -> None:
        super().__init__(name, total, unit)
        self._out = out
        self._last = time.monotonic()

    def changed(self) -> None:
        now = time.monotonic()
        if now - self._last >= 1.0:
            self._last = now
            self._say("progress")

    def done(self) -> None:
        self._say("done")

    def _say(self, event: str) -> None:
        self._out.write(
            {
                "event": event,
                "name": self.name,
                "count": self.count,
                "total": self.total,
                "unit": self.unit,
                "seconds_left": self.seconds_left,
            }
        )
