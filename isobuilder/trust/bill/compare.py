"""Two bills -> which packages were added, removed and changed, image by image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from isobuilder.errors import InputError
from isobuilder.text import printable
from isobuilder.trust.bill.model import Bill, BillPart
from isobuilder.trust.bill.purl import parse_purl

Change = Literal["added", "removed", "changed"]

_SYSTEM = "operating-system"


@dataclass(frozen=True, slots=True)
class PackageChange:
    """What became of one package in one image or file; several versions may lie side by side."""

    owner: str  # the image without its tag, the path of a file; empty for what is the ISO's own
    kind: str  # of package URLs, e.g. deb
    name: str
    left: tuple[str, ...]  # versions
    right: tuple[str, ...]

    @property
    def change(self) -> Change:
        """What happened."""
        if not self.left:
            return "added"
        return "changed" if self.right else "removed"


def compared(left: Bill, right: Bill) -> tuple[PackageChange, ...]:
    """Return what differs, by image, kind and name."""
    old, new = _versions(left), _versions(right)
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, after = (tuple(sorted(side.get(key, ()))) for side in (old, new))
        if before != after:
            found.append(PackageChange(*key, before, after))
    return tuple(found)


def _versions(bill: Bill) -> dict[tuple[str, str, str], set[str]]:
    found: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for owner, part in bill.walk():
        if (named := _named(part)) is not None:
            found[(owner.name if owner else "", *named)].add(part.version or "")
    return found


def _named(part: BillPart) -> tuple[str, str] | None:
    """Return kind and name of a package, whatever its version; None of what is told elsewhere."""
    if part.type == _SYSTEM:
        return "system", part.name
    if part.purl is None or part.type == "file":
        return None
    if part.type == "container":
        return "oci", part.name
    try:
        return parse_purl(part.purl).key
    except InputError:
        return "unknown", part.name


def as_markdown(changes: tuple[PackageChange, ...]) -> str:
    """Return the changes as tables, one for each image, for release notes."""
    by_owner: dict[str, list[PackageChange]] = defaultdict(list)
    for one in changes:
        by_owner[one.owner].append(one)
    return "\n".join(line for owner in sorted(by_owner) for line in _lines(owner, by_owner[owner]))


def _lines(owner: str, changes: list[PackageChange]) -> Iterator[str]:
    yield f"## {_cell(owner) or 'On the ISO itself'}\n"
    yield "| Package | Kind | Before | After |"
    yield "|---|---|---|---|"
    for one in changes:
        before, after = (", ".join(side) or "-" for side in (one.left, one.right))
        yield f"| {_cell(one.name)} | {one.kind} | {_cell(before)} | {_cell(after)} |"
    yield ""


def _cell(text: str) -> str:
    """Return foreign text as a table of Markdown shows it and does not act on it."""
    shown = printable(text)
    return "".join(f"\\{c}" if c in "\\|`*_[]<>#" else c for c in shown)
