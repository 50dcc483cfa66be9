"""What is noticed and proposed on each day of the stories: golden, and written anew by

python -m tests.pipeline.days > tests/golden/upstream/days.txt
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from isobuilder.formats.kube import KubeVersion
from isobuilder.model.config import Config
from isobuilder.model.loading import builtin_recipes
from isobuilder.pipeline.upstream.proposal import Proposal, propose
from isobuilder.pipeline.upstream.seen import Seen
from isobuilder.rules.book import shipped_rules
from isobuilder.sources.session import Session, open_session
from isobuilder.sources.upstream.look import look
from isobuilder.sources.upstream.notices import CheckPolicy, compare
from isobuilder.sources.upstream.sight import Sight
from isobuilder.store import Store
from tests.fakes.held import held_recipes
from tests.fakes.timeline import PROVIDER, Timeline, released

DAYS = (
    *("2025-11-01", "2025-11-11", "2025-11-12", "2025-11-14", "2025-12-10", "2025-12-17"),
    *("2025-12-27", "2026-01-06", "2026-01-13", "2026-01-28", "2026-02-10", "2026-02-13"),
    *("2026-02-24", "2026-02-26", "2026-02-27", "2026-03-11", "2026-03-18", "2026-03-19"),
    *("2026-04-16", "2026-04-22", "2026-04-26", "2026-04-30", "2026-05-12", "2026-05-22"),
    *("2026-06-02", "2026-06-04", "2026-06-11", "2026-06-12", "2026-06-29", "2026-07-08"),
    *(
        "2026-07-09",
        "2026-07-10",
        "2026-07-12",
        "2026-07-22",
        "2026-07-23",
        "2026-08-12",
        "2026-08-20",
    ),
    *("2026-08-26", "2026-09-01", "2026-09-15", "2026-09-16", "2026-09-17", "2026-09-23"),
    *("2026-09-24", "2026-09-25", "2026-09-29", "2026-10-07", "2026-10-20", "2026-10-29"),
    *("2026-11-07", "2026-11-25", "2026-12-16"),
)
"""All days of the stories in ``tests/facts/upstream-timeline.json`` that lie in its time."""

_KNOWN: dict[str, tuple[str, ...]] = {
    "autoscaler": (),
    "provider": (f"mold-v1.2.1-r1-{PROVIDER[:12]}",),
}
"""Components of Mold's, and the releases of them that recipes have."""


def told(day: date, timeline: Timeline, session: Session, seen: Seen) -> Iterator[str]:
    """Yield the lines of a day, for who built everything that was out the day before."""
    before = day - timedelta(days=3 if day == date(2026, 10, 29) else 1)
    held = tuple(held_recipes(_sight(before, timeline, session)))
    sight = _sight(day, timeline, session)
    notices = compare(sight, held, shipped_rules(), seen.before, CheckPolicy(0))
    for one in notices:
        fact = one.fact.replace(timeline.mirrors["https://dl.k8s.io"][0][:-3], "UPSTREAM")
        yield f"{one.level} {one.kind} {one.subject}: {fact}"
    for one in notices:
        if one.kind in {"new-patch", "new-minor"} and one.level == "todo":
            recipes = sorted(builtin_recipes().glob("*.yaml"))
            yield from _proposed(propose(KubeVersion(one.subject), recipes, sight, hold=0))


def _proposed(found: Proposal) -> Iterator[str]:
    yield f"propose {found.version} from {found.base.name}"
    for one in (*found.choices, *found.added):
        yield f"  {one.component} {one.version}: {one.reason}"
    yield from (f"  candidate: {lack}" for lack in found.lacks)


def _sight(day: date, timeline: Timeline, session: Session) -> Sight:
    timeline.day = day
    minors = {one.line_text for one in released(day) if one.is_final}
    return look(session, day, minors=sorted(minors), added=_KNOWN)


def all_days() -> dict[str, str]:
    """Return the text of each day, as somebody sees it who looks on all of them."""
    found, seen = {}, Seen()
    with Timeline(DAYS[0]) as timeline, tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        with open_session(Config(mirrors=timeline.mirrors, retries=0), store) as session:
            for text in DAYS:
                day = date.fromisoformat(text)
                found[text] = "".join(f"{x}\n" for x in told(day, timeline, session, seen))
                seen = seen.after(_sight(day, timeline, session))
    return found


if __name__ == "__main__":
    sys.stdout.write("\n".join(f"== {day}\n{text}" for day, text in all_days().items()))
