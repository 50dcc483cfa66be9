"""What a check found wrong: one line a person can act on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

from isobuilder.model.base import Model
from isobuilder.text import printable

Severity = Literal["error", "warning"]

MOST_FINDINGS = 100
"""Findings of one kind that are told: more of them tell nothing more, and could fill any memory."""

MOST_COUNTED = MOST_FINDINGS + 10_001
"""Findings of one kind that are looked for."""


_LONGEST = 4000  # characters of a finding as a line


class Finding(Model):
    """One problem: which rule, where, what is the case, and what to do."""

    rule: str  # e.g. "A.4.images-list"; the letter and number point into docs/node-contract.md
    place: str  # a path on the ISO, a line of a file, "volume descriptor"
    fact: str  # what is there, with the value found and the value wanted
    remedy: str
    severity: Severity = "error"

    def __str__(self) -> str:
        """Return the line that is printed."""
        text = f"{self.severity}: {self.rule}: {self.place}: {self.fact}; {self.remedy}"
        return printable(text, _LONGEST)


def bounded(findings: Iterable[Finding], most: int = MOST_FINDINGS) -> Iterator[Finding]:
    """Give the first ``most`` findings; one behind them says that there are more.

    Whoever has many cuts them at ``MOST_COUNTED``, behind which nobody counts.
    """
    following = iter(findings)
    yield from islice(following, most)
    if (last := next(following, None)) is not None:
        more = sum(1 for _ in islice(following, 10_000))
        fact = f"{last.fact} (and {'over ' * (more == 10_000)}{more} more like it, not listed)"
        yield last.model_copy(update={"fact": fact})
