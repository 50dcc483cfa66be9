"""A bill, lists of vulnerabilities, VEX statements and a policy -> a verdict, with every reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.model.base import Model
from isobuilder.model.validation import build
from isobuilder.trust.bill.advisories import SEVERITIES, Hit, Severity
from isobuilder.trust.bill.vex import Statement

Answer = Literal["refused", "below", "no-fix", "not_affected", "fixed", "accepted"]
"""Why a vulnerability counts or does not: ``refused`` is what fails the gate."""

_SETTLED = {"not_affected": "not_affected", "fixed": "fixed"}


class Accepted(Model):
    """A vulnerability that somebody lives with until a day."""

    id: str
    until: date  # the last day on which it is
    reason: Annotated[str, Field(min_length=1)]
    purl: str | None = None  # of the one component it is accepted in; None: anywhere


class GatePolicy(Model):
    """What a release may have."""

    format: Annotated[Literal[1], Field(alias="schema")] = 1
    fail_on: Severity = "high"  # the least severity that is refused
    unknown: Literal["refuse", "pass"] = "refuse"  # of what nobody judged
    only_fixed: bool = False  # refuse only what a version mends
    vex_days: PositiveInt = 180  # how long a statement holds after it was last said
    accepted: tuple[Accepted, ...] = ()


def read_gate_policy(path: Path) -> GatePolicy:
    """Return a policy.

    Raises:
        InputError: the file cannot be read.
        InputErrors: all that is wrong with it, each with its place.
    """
    return build(read_yaml(path), GatePolicy)


@dataclass(frozen=True, slots=True)
class Judged:
    """One vulnerability in one part, and what the policy makes of it."""

    hit: Hit
    answer: Answer
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says."""

    judged: tuple[Judged, ...]
    expired: tuple[str, ...]  # statements and exceptions that would have counted once
    unused: tuple[str, ...]  # and those that nothing asked for

    @property
    def passed(self) -> bool:
        """Whether nothing is refused."""
        return not any(one.answer == "refused" for one in self.judged)


def judge(
    hits: Iterable[Hit], statements: Sequence[Statement], policy: GatePolicy, now: datetime
) -> Verdict:
    """Return the verdict of ``policy`` at ``now``; of several statements the last one counts."""
    expired: dict[str, None] = {}
    used: set[int] = set()
    judged = []
    for hit in hits:
        told = [
            (number, one)
            for number, one in enumerate(statements)
            if one.names & hit.names and one.parts & _refs(hit)
        ]
        used.update(number for number, _ in told)
        holding = [one for _, one in told if one.expires(policy.vex_days) > now]
        for _, one in told:
            if one not in holding:
                ended = one.expires(policy.vex_days)
                expired[f"{hit.name}: the statement of {one.author} ended {ended:%Y-%m-%d}"] = None
        latest = max(holding, key=lambda one: one.moment, default=None)
        judged.append(_judged(hit, latest, policy, now.date(), expired))
    return Verdict(
        tuple(judged),
        tuple(expired),
        tuple(
            f"statements[{one.number}] of {', '.join(sorted(one.names))}"
            for number, one in enumerate(statements)
            if number not in used
        ),
    )


def _refs(hit: Hit) -> set[str]:
    """Return what a statement may be about so that it holds: the part, or the whole it is in."""
    return {hit.part.bom_ref} | ({hit.owner.bom_ref} if hit.owner else set())


def _judged(
    hit: Hit, said: Statement | None, policy: GatePolicy, today: date, expired: dict[str, None]
) -> Judged:
    if said is not None and said.status in _SETTLED:
        answer: Answer = "fixed" if said.status == "fixed" else "not_affected"
        return Judged(hit, answer, f"{said.author}: {said.reason or said.status}")
    for one in policy.accepted:
        if one.id not in hit.names or one.purl not in {None, hit.part.purl}:
            continue
        if one.until >= today:
            return Judged(hit, "accepted", f"until {one.until}: {one.reason}")
        expired[f"{hit.name}: accepted until {one.until}"] = None
    if hit.severity == "unknown":
        if policy.unknown == "pass":
            return Judged(hit, "below", "nobody judged its severity")
    elif SEVERITIES.index(hit.severity) < SEVERITIES.index(policy.fail_on):
        return Judged(hit, "below", f"below {policy.fail_on}")
    if policy.only_fixed and not hit.fixed:
        return Judged(hit, "no-fix", "no version mends it")
    mended = f"mended in {', '.join(hit.fixed)}" if hit.fixed else "no version mends it yet"
    return Judged(hit, "refused", mended)
