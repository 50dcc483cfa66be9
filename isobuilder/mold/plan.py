"""The changes that would mend what an audit found, in a file that people can read and apply."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from isobuilder.model.base import Model, canonical_json
from isobuilder.model.registration import RegistrationFile
from isobuilder.mold.jsonfile import read_json_file

Deed = Literal["delete", "register", "enable", "disable"]
_ORDER: tuple[Deed, ...] = ("delete", "register", "enable", "disable")


class PlanTarget(Model):
    """The version a change is about, as it was when the plan was made."""

    id: str
    name: str
    semanticversion: str
    arch: str


class Reason(Model):
    """What has to be so still when a version is deleted."""

    failed_in: tuple[str, ...] = ()  # ids of zones: its ISO has failed in one of them, or is gone
    keeps: tuple[str, ...] = ()  # ids of versions that serve in its place


class Action(Model):
    """One change and its reason."""

    do: Deed
    why: str
    reason: Reason | None = None  # of a deletion that another state of the server would forbid
    version: PlanTarget | None = None  # of everything but register
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
        ChangePlan,
        hint="expected a plan that isobuilder mold audit --plan wrote",
    )
