"""The policy of ``upstream sync``: what is followed, built, published and registered."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, NonNegativeInt, model_validator

from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.base import Architecture, Model
from isobuilder.model.validation import build

Minor = Annotated[str, Field(pattern=r"^1\.(0|[1-9][0-9]{0,3})$")]


def _check_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials in the address, at which servers fetch without any")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"expected http:// or https://, got {text[:80]!r}")
    return text.rstrip("/")


class Publish(Model):
    """Where finished ISOs go, and where servers find them."""

    folder: str
    url: Annotated[str, AfterValidator(_check_address)] | None = None  # of the folder


class Freeze(Model):
    """Days on which nothing new is begun; both included."""

    first: date
    last: date
    why: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"expected last not before first, got {self.first} to {self.last}")
        return self


class SyncPolicy(Model):
    """What a sync does unattended."""

    format: Annotated[Literal[1], Field(alias="schema")]
    recipes: str  # the folder of recipes and locks; proposals are written there
    publish: Publish | None = None  # None: proposes and locks, and builds nothing
    architectures: tuple[Architecture, ...] = tuple(ARCHITECTURES)
    minors: tuple[Minor, ...] = ()  # those to follow; none: those that recipes are there for
    new_minors: bool = False  # whether a minor that no recipe is for is begun
    ended_minors: bool = False
    known_bad: bool = False  # whether versions that the rules warn of are begun all the same
    hold_days: NonNegativeInt = 3
    freezes: tuple[Freeze, ...] = ()
    servers: tuple[str, ...] = ()  # by their names in the settings
    rules: str | None = None

    @model_validator(mode="after")
    def _servers_can_fetch(self) -> Self:
        if self.servers and (self.publish is None or self.publish.url is None):
            raise ValueError("servers need publish.url, the address at which they fetch the ISOs")
        return self

    def frozen(self, day: date) -> Freeze | None:
        """Return the freeze that ``day`` is in."""
        return next((one for one in self.freezes if one.first <= day <= one.last), None)


def read_policy(path: Path) -> SyncPolicy:
    """Return a policy; its folders are meant from the folder it is in.

    Raises:
        InputError: the file cannot be read.
        InputErrors: all that is wrong with it, each with its place.
    """
    policy = build(read_yaml(path), SyncPolicy)
    beside = path.resolve().parent
    folders = {"recipes": str(beside / policy.recipes)}
    if policy.rules is not None:
        folders["rules"] = str(beside / policy.rules)
    publish = policy.publish
    if publish is not None:
        publish = publish.model_copy(update={"folder": str(beside / publish.folder)})
    return policy.model_copy(update={**folders, "publish": publish})
