"""What one run of a sync did and saw, for people, machines and mail; kept until it was told."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import date
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import Any, Literal

from isobuilder.documents.json import NOTE
from isobuilder.errors import IsobuilderError
from isobuilder.files import is_file, read_bytes, write_whole
from isobuilder.model.base import Model, canonical_json
from isobuilder.model.validation import parse_json
from isobuilder.sources.upstream.notices import Notice

_log = logging.getLogger(__name__)

State = Literal["done", "kept", "waits", "failed"]


class SyncStep(Model):
    """What became of one step for one subject."""

    subject: str  # a version, or one with profile and architecture
    step: str  # propose, lock, publish, register, retire ...
    state: State
    fact: str = ""


@dataclass(slots=True)
class SyncReport:
    """All that one run did and saw."""

    day: date
    steps: list[SyncStep] = field(default_factory=list)
    notices: tuple[Notice, ...] = ()

    @property
    def failed(self) -> list[SyncStep]:
        """The steps that failed."""
        return [step for step in self.steps if step.state == "failed"]

    @property
    def changed(self) -> list[SyncStep]:
        """The steps that did something."""
        return [step for step in self.steps if step.state == "done"]

    @property
    def title(self) -> str:
        """One line that says how it went."""
        return f"Sync of {self.day}: {len(self.changed)} done, {len(self.failed)} failed"

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "day": str(self.day),
            "steps": [step.model_dump(mode="json") for step in self.steps],
            "notices": [notice.to_data() for notice in self.notices],
        }

    def to_webhook(self) -> bytes:
        """Return it as JSON, with a line of text for what shows only that."""
        return canonical_json({"schema": 1, "text": self.title, **self.to_data()})

    @property
    def markdown(self) -> str:
        """The same for people."""
        lines = [f"# {self.title}", ""]
        for title, steps in (("Failed", self.failed), ("Done", self.changed)):
            if steps:
                lines += [f"## {title}", ""]
                lines += [f"- {one.subject}: {one.step}: {one.fact}" for one in steps]
                lines.append("")
        waits = [one for one in self.steps if one.state == "waits"]
        if waits or self.notices:
            lines += ["## To know", ""]
            lines += [f"- {one.subject}: {one.step} waits: {one.fact}" for one in waits]
            lines += [f"- {one.level}: {one.subject}: {one.fact}" for one in self.notices]
        return "\n".join(lines).rstrip() + "\n"

    @property
    def mail(self) -> bytes:
        """The same as a message without sender and recipient, which sendmail takes."""
        message = EmailMessage(SMTP)
        message["Subject"] = f"isobuilder: {self.title}"
        message["Date"] = formatdate()
        message.set_content(self.markdown, cte="quoted-printable")
        return message.as_bytes()


class _Noted(Model):
    begun: tuple[tuple[str, str], ...] = ()
    steps: tuple[SyncStep, ...] = ()


class Journal:
    """What runs have done and nobody was told yet: a run that is killed is told of by the next.

    That a step begins to change something is noted before, what it did after. Whoever finds it done
    knows by that whether somebody was told.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted = self._read()

    @property
    def untold(self) -> tuple[SyncStep, ...]:
        """What was done and not told."""
        return self._noted.steps

    def has_begun(self, subject: str, step: str) -> bool:
        """Say if a step was begun whose end nobody noted."""
        return (subject, step) in self._noted.begun

    def begin(self, subject: str, step: str) -> None:
        """Note that a step is about to change something.

        Raises:
            EnvironmentProblem: it cannot be written.
        """
        if not self.has_begun(subject, step):
            self._write((*self._noted.begun, (subject, step)), self._noted.steps)

    def note(self, step: SyncStep) -> None:
        """Keep what was done, until it was told.

        Raises:
            EnvironmentProblem: it cannot be written.
        """
        begun = (one for one in self._noted.begun if one != (step.subject, step.step))
        self._write(tuple(begun), (*self._noted.steps, step))

    def told(self) -> None:
        """Forget what was done; what was begun and not ended is still to come."""
        if self._noted.begun:
            self._write(self._noted.begun, ())
        else:
            self._path.unlink(missing_ok=True)

    def _write(self, begun: tuple[tuple[str, str], ...], steps: tuple[SyncStep, ...]) -> None:
        self._noted = _Noted(begun=begun, steps=steps)
        write_whole(self._path, canonical_json(self._noted.model_dump(mode="json")))

    def _read(self) -> _Noted:
        if not is_file(self._path):
            return _Noted()
        try:
            return parse_json(read_bytes(self._path, NOTE.size), str(self._path), _Noted)
        except IsobuilderError as error:
            _log.warning("what an earlier run did is not told: %s", error)
            return _Noted()
