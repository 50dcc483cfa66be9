"""What a rule of the node contract is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from isobuilder.contract.view import NodeView
from isobuilder.model.finding import Severity
from isobuilder.model.profile import Cloud

Action = Literal["create", "upgrade"]
Role = Literal["control", "worker", "etcd"]

EVERYWHERE: tuple[Role, ...] = ("control", "worker")
"""Nodes of a cluster; etcd nodes are machines apart and read one file."""


class Problem(NamedTuple):
    """One way in which a disc breaks a rule."""

    place: str
    fact: str
    remedy: str


Check = Callable[[NodeView], Iterator[Problem]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One demand of a node, and the check that a disc meets it."""

    id: str  # the part before the last dot is a section of docs/node-contract.md
    check: Check
    severity: Severity
    clouds: tuple[Cloud, ...]
    actions: tuple[Action, ...]
    roles: tuple[Role, ...]

    @property
    def section(self) -> str:
        """The section of docs/node-contract.md, e.g. "A.3"."""
        return self.id.rpartition(".")[0]

    @property
    def title(self) -> str:
        """What holds on a good disc."""
        return (self.check.__doc__ or "").strip().partition("\n")[0].removesuffix(".")

    @property
    def why(self) -> str:
        """What a node does, and so what happens when the rule is broken."""
        return " ".join((self.check.__doc__ or "").strip().partition("\n")[2].split())


def rule(
    id_: str,
    *,
    severity: Severity = "error",
    clouds: tuple[Cloud, ...] = ("mold", "cloudstack"),
    actions: tuple[Action, ...] = ("create", "upgrade"),
    roles: tuple[Role, ...] = EVERYWHERE,
) -> Callable[[Check], Rule]:
    """Make a rule of a check, whose docstring tells title and reason."""

    def made(check: Check) -> Rule:
        return Rule(id_, check, severity, clouds, actions, roles)

    return made
