"""The changes that would mend what an audit found, in a file that people can read and apply."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from isobuilder.errors import InputError, IsobuilderError, MoldError
from isobuilder.model.base import Model, canonical_json
from isobuilder.model.registration import RegistrationFile
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.journal import Journal
from isobuilder.mold.jsonfile import read_json_file
from isobuilder.mold.manage import refuse_if_used, users_of
from isobuilder.mold.register import register
from isobuilder.mold.registered import entries_of
from isobuilder.mold.request import Outcome, Request
from isobuilder.progress import SILENT, Progress

Deed = Literal["delete", "register", "enable", "disable"]
_ORDER: tuple[Deed, ...] = ("delete", "register", "enable", "disable")


class Subject(Model):
    """The version a change is about, as it was when the plan was made."""

    id: str
    name: str
    semanticversion: str
    arch: str


class Action(Model):
    """One change and its reason."""

    do: Deed
    why: str
    version: Subject | None = None  # of everything but register
    registration: RegistrationFile | None = None  # of register
    url: str | None = None
    zone: str | None = None  # name; None is all zones

    @property
    def order(self) -> tuple[int, str]:
        """Sort key: what is in the way goes first."""
        name = self.version.name if self.version else ""
        return _ORDER.index(self.do), name

    def __str__(self) -> str:
        """Return the line that is printed."""
        if self.version is not None:
            return f"{self.do} {self.version.name} ({self.version.id}): {self.why}"
        name = self.registration.name if self.registration else "?"
        return f"{self.do} {name} in {self.zone or 'all zones'}: {self.why}"


class ServerPlan(Model):
    """The changes to one server."""

    server: str
    endpoint: str
    actions: tuple[Action, ...]


class ChangePlan(Model):
    """The changes to several servers; what the plan file holds."""

    format: Annotated[Literal[1], Field(alias="schema")]
    servers: tuple[ServerPlan, ...]

    def to_bytes(self) -> bytes:
        """Return the canonical text."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


def plan_for(servers: tuple[ServerPlan, ...]) -> ChangePlan:
    """Return the plan for several servers, in the order in which it is carried out."""
    ordered = tuple(
        server.model_copy(update={"actions": tuple(sorted(server.actions, key=lambda a: a.order))})
        for server in servers
    )
    return ChangePlan.model_validate({"schema": 1, "servers": ordered})


def read_plan(path: Path) -> ChangePlan:
    """Return the plan in a file.

    Raises:
        InputError: the file is missing or holds something else.
    """
    return read_json_file(
        path,
        ChangePlan.model_validate_json,
        hint="expected a plan that isobuilder mold audit --plan wrote",
    )


class Fate(StrEnum):
    """How an action ended."""

    DONE = "done"
    ALREADY = "already"
    SKIPPED = "skipped"
    FAILED = "failed"
    WOULD = "would"


@dataclass(frozen=True, slots=True)
class Applied:
    """An action and what became of it."""

    action: Action
    fate: Fate
    text: str


def apply_plan(
    mold: Mold,
    plan: ServerPlan,
    *,
    journal: Journal,
    follow_redirects: bool = False,
    timeout: float = 3600.0,
    poll: float = 3.0,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> list[Applied]:
    """Carry out the changes to one server, each looked at again right before it is made.

    What a cluster uses by now is left alone, and so is what is no longer what the plan says. One
    failure does not keep the other changes from being made.

    Raises:
        InputError: the plan is for another server.
    """
    if plan.endpoint != mold.client.endpoint:
        raise InputError(
            f"the plan is for {plan.server} at {plan.endpoint}, not for {mold.client.endpoint}"
        )
    done = []
    for action in plan.actions:
        progress.step(f"{mold.name}: {action}")
        try:
            if action.do == "register":
                wish = replace(
                    _wish(action),
                    follow_redirects=follow_redirects,
                    timeout=timeout,
                    poll=poll,
                    dry_run=dry_run,
                )
                done.append(_register(mold, action, wish, journal, progress))
            else:
                done.append(_change(mold, action, dry_run=dry_run))
        except IsobuilderError as error:
            done.append(Applied(action, Fate.FAILED, str(error)))
    return done


def _wish(action: Action) -> Request:
    if action.registration is None:
        raise InputError("a plan's register action needs a registration")
    zones = (action.zone,) if action.zone else ()
    return Request(action.registration, url=action.url, zones=zones)


def _register(
    mold: Mold, action: Action, wish: Request, journal: Journal, progress: Progress
) -> Applied:
    [result] = register([mold.client], wish, journal=journal, progress=progress)
    if result.error is not None:
        raise result.error
    failed = [zone for zone in result.zones if zone.outcome is Outcome.FAILED]
    if failed:
        return Applied(action, Fate.FAILED, "; ".join(f"{z.zone}: {z.text}" for z in failed))
    if wish.dry_run:
        return Applied(action, Fate.WOULD, "; ".join(result.done) or "nothing to do")
    fate = Fate.DONE if result.done else Fate.ALREADY
    return Applied(action, fate, "Ready in " + ", ".join(zone.zone for zone in result.zones))


def _change(mold: Mold, action: Action, *, dry_run: bool) -> Applied:
    subject = action.version
    if subject is None:
        raise InputError(f"a plan's {action.do} action needs a version")
    found = mold.versions(id=subject.id)
    if not found:
        fate = Fate.ALREADY if action.do == "delete" else Fate.SKIPPED
        return Applied(action, fate, "it is no longer there")
    [entry] = entries_of(mold, found[:1])
    version = entry.version
    now = (version.name, version.semanticversion, version.arch)
    if now != (subject.name, subject.semanticversion, subject.arch):
        return Applied(action, Fate.SKIPPED, f"it is {' '.join(now)} now, not what the plan says")
    if action.do in {"delete", "disable"}:
        try:
            refuse_if_used(mold, entry, users_of(mold, entry))
        except MoldError as error:
            return Applied(action, Fate.SKIPPED, str(error))
    if dry_run:
        return Applied(action, Fate.WOULD, "")
    if action.do == "delete":
        mold.delete_version(version.id)
    else:
        state = "Enabled" if action.do == "enable" else "Disabled"
        if version.state == state:
            return Applied(action, Fate.ALREADY, state)
        mold.set_state(version.id, enabled=action.do == "enable")
    return Applied(action, Fate.DONE, "")
