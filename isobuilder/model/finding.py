"""What a check found wrong: one line a person can act on."""

from __future__ import annotations

from typing import Literal

from isobuilder.model.base import Model

Severity = Literal["error", "warning"]


class Finding(Model):
    """One problem: which rule, where, what is the case, and what to do."""

    rule: str  # e.g. "A.4.images-list"; the letter and number point into docs/node-contract.md
    place: str  # a path on the ISO, a line of a file, "volume descriptor"
    fact: str  # what is there, with the value found and the value wanted
    remedy: str
    severity: Severity = "error"

    def __str__(self) -> str:
        """Return the line that is printed."""
        return f"{self.severity}: {self.rule}: {self.place}: {self.fact}; {self.remedy}"
