"""OpenVEX statements: what somebody answers for about a vulnerability in an exact component.

Source: OpenVEX specification 0.2.0. The format lets a statement hold for ever and for anything that
is called so; here it holds for parts of the bill that it names with their version, for as long as
whoever judges allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from isobuilder.documents.json import DOCUMENT
from isobuilder.errors import InputError
from isobuilder.medium import VEX
from isobuilder.model.validation import model_of
from isobuilder.text import moment_of
from isobuilder.trust.bill.model import Bill, BillPart
from isobuilder.trust.bill.purl import Purl, parse_purl

VEX_ENDS = f".{VEX}"
"""How the name of the statements beside an ISO ends."""

Status = Literal["not_affected", "affected", "fixed", "under_investigation"]
_Justification = Literal[
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
]

_AHEAD = timedelta(days=1)  # clocks differ


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _Component(_Strict):
    id: Annotated[str | None, Field(alias="@id")] = None
    identifiers: dict[str, str] = {}
    hashes: dict[str, str] = {}

    @property
    def purl(self) -> str | None:
        """How it is named, where it is by a package URL."""
        own = self.id if self.id and self.id.startswith("pkg:") else None
        return self.identifiers.get("purl") or own


class _Product(_Component):
    subcomponents: tuple[_Component, ...] = ()


class _Vulnerability(_Strict):
    name: Annotated[str, Field(min_length=1)]
    aliases: tuple[str, ...] = ()


class _Statement(_Strict):
    vulnerability: _Vulnerability
    products: tuple[_Product, ...] = ()
    status: Status
    justification: _Justification | None = None
    impact_statement: str | None = None
    action_statement: str | None = None
    timestamp: str | None = None
    last_updated: str | None = None


class _Document(_Strict):
    context: Annotated[Literal["https://openvex.dev/ns/v0.2.0"], Field(alias="@context")]
    id: Annotated[str, Field(alias="@id", min_length=1)]
    author: Annotated[str, Field(min_length=1)]
    timestamp: str
    last_updated: str | None = None
    version: Annotated[int, Field(ge=1)]
    statements: Annotated[tuple[_Statement, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, bound to the parts of one bill."""

    number: int  # in its document, from 0
    names: frozenset[str]  # of the vulnerability, aliases among them
    status: Status
    reason: str  # why, in the words of the author or of the specification
    author: str
    moment: datetime  # when it was last said
    parts: frozenset[str]  # bom-refs

    def expires(self, days: int) -> datetime:
        """Return when nobody answers for it any more, if that is ``days`` after it was said."""
        return self.moment + timedelta(days=days)


def read_vex(data: bytes, place: str, bill: Bill, now: datetime) -> tuple[Statement, ...]:
    """Return the statements of a document, each bound to parts of ``bill``.

    Raises:
        InputError: no OpenVEX, against its rules, said after ``now``, or a statement that names
            nothing in the bill, or not exactly; everything that is wrong is told.
    """
    document = model_of(data, place, _Document, DOCUMENT, InputError)
    parts = _Parts(bill)
    found: list[Statement] = []
    wrong: list[str] = []
    for number, one in enumerate(document.statements):
        where = f"{place}: statements[{number}] of {one.vulnerability.name[:80]}"
        mistakes = list(_against_rules(one))
        moment = _moment(one, document)
        if moment is None:
            mistakes.append("expected a time such as 2026-11-28T12:00:00Z")
        elif moment > now + _AHEAD:
            mistakes.append(f"said on {moment:%Y-%m-%d}, and it is {now:%Y-%m-%d}")
        refs: set[str] = set()
        for product in one.products:
            try:
                refs |= parts.named(product)
            except InputError as error:
                mistakes.append(str(error))
        wrong += [f"{where}: {mistake}" for mistake in mistakes]
        if moment is not None and not mistakes:
            names = frozenset({one.vulnerability.name, *one.vulnerability.aliases})
            reason = one.justification or one.impact_statement or one.action_statement or ""
            found.append(
                Statement(
                    number, names, one.status, reason, document.author, moment, frozenset(refs)
                )
            )
    if wrong:
        raise InputError(*wrong[:20])
    return tuple(found)


def _moment(one: _Statement, document: _Document) -> datetime | None:
    told = one.last_updated or one.timestamp or document.last_updated or document.timestamp
    return moment_of(told)


def _against_rules(one: _Statement) -> Iterator[str]:
    if not one.products:
        yield "names no product"
    if one.status == "not_affected" and not (one.justification or one.impact_statement):
        yield "not_affected needs a justification or an impact_statement"
    if one.status != "not_affected" and one.justification:
        yield f"a justification is for not_affected, the status is {one.status}"
    if one.status == "affected" and not one.action_statement:
        yield "affected needs an action_statement"


class _Parts:
    """The parts of a bill by what they are exactly."""

    def __init__(self, bill: Bill) -> None:
        self._main = bill.metadata.component
        self._all: dict[tuple[str, str, str], list[tuple[BillPart | None, BillPart, Purl]]] = {}
        for owner, part in bill.walk():
            if part.purl is None:
                continue
            purl = parse_purl(part.purl)
            self._all.setdefault(purl.exact, []).append((owner, part, purl))

    def named(self, product: _Product) -> set[str]:
        """Return the parts that a product and its subcomponents mean."""
        if not product.subcomponents:
            return {part.bom_ref for _, part in self._exact(product)}
        owners = {part.bom_ref for _, part in self._product(product)}
        found: set[str] = set()
        for each in product.subcomponents:
            inside = {
                part.bom_ref
                for owner, part in self._exact(each)
                if (owner.bom_ref if owner else self._main.bom_ref) in owners
            }
            if not inside:
                raise InputError(f"{each.purl} is not in {product.purl}")
            found |= inside
        return found

    def _product(self, product: _Product) -> list[tuple[BillPart | None, BillPart]]:
        main = self._main.purl
        if main is not None and product.purl is not None and _means(product.purl, parse_purl(main)):
            return [(None, self._main)]
        return self._exact(product)

    def _exact(self, named: _Component) -> list[tuple[BillPart | None, BillPart]]:
        if named.purl is None:
            raise InputError(f"expected a package URL, got {str(named.id)[:120]!r}")
        wanted = parse_purl(named.purl)
        if not wanted.version:
            raise InputError(f"{named.purl} names no version, so it would hold for every one")
        there = [
            (owner, part)
            for owner, part, purl in self._all.get(wanted.exact, ())
            if set(wanted.qualifiers) <= set(purl.qualifiers) and _fits(named, part)
        ]
        if not there:
            raise InputError(f"{named.purl} is not in the bill")
        return there


def _means(text: str, purl: Purl) -> bool:
    wanted = parse_purl(text)
    return wanted.exact == purl.exact and set(wanted.qualifiers) <= set(purl.qualifiers)


def _fits(named: _Component, part: BillPart) -> bool:
    told = named.hashes.get("sha-256")
    return told is None or told == part.sha256
