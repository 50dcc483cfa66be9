"""Look at upstream, compare with what we have, and remember what was seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from isobuilder.errors import InputError
from isobuilder.files import locked
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.loading import load_lock, load_recipe
from isobuilder.model.lock import Lock
from isobuilder.pipeline.fit import parts_of
from isobuilder.pipeline.lock import lock_path
from isobuilder.pipeline.upstream.lacking import Servers, unbuilt, unregistered
from isobuilder.pipeline.upstream.seen import load_seen, write_seen
from isobuilder.rules.book import RuleBook, shipped_rules
from isobuilder.rules.fit import PROJECTS
from isobuilder.sources.session import Session
from isobuilder.sources.upstream.look import look
from isobuilder.sources.upstream.notices import (
    CheckPolicy,
    Held,
    Notice,
    compare,
    followed,
    in_order,
)
from isobuilder.sources.upstream.own import PROJECTS as PROJECTS_OF_MOLD
from isobuilder.sources.upstream.sight import Release, Sight
from isobuilder.sources.upstream.whole import missing
from isobuilder.text import printable, shown_lines


@dataclass(frozen=True, slots=True)
class UpstreamCheck:
    """What a look saw, and what follows from it."""

    sight: Sight
    notices: tuple[Notice, ...]
    seen: Path  # the note of what looks have seen

    def told(self) -> None:
        """Note that somebody was told of this: what is told only once is not told again.

        Raises:
            InputErrors: the note was damaged since.
            EnvironmentProblem: it cannot be written.
        """
        with locked(self.seen.with_suffix(".lock")):
            write_seen(self.seen, load_seen(self.seen).with_told(self.sight))

    @property
    def to_do(self) -> bool:
        """Whether there is something to do."""
        return any(notice.level == "todo" for notice in self.notices)


def check_upstream(
    recipes: Iterable[Path],
    session: Session,
    *,
    day: date,
    rules: RuleBook | None = None,
    policy: CheckPolicy | None = None,
    architectures: Sequence[str] = (),
    token: str | None = None,
    isos: Sequence[Path] = (),
    servers: Servers | None = None,
) -> UpstreamCheck:
    """Look at upstream and return what is to be done about ``recipes`` and their locks.

    What is seen is remembered in the store's folder: hold days count from the first sight, and a
    file that is replaced later is noticed. With ``architectures`` a new version is something to do
    only when all its files, signatures and images are there for each of them.

    With ``isos`` it is told which of the newest recipes nobody built into those folders, with
    ``servers`` which versions they lack; one that is down keeps the others from nothing.

    A recipe or a lock that is wrong is told among the notices, and the others count. Whoever told
    somebody of them says so, by ``told``.

    Raises:
        EnvironmentProblem: the store's folder cannot be written.
    """
    wrong: list[Notice] = []
    held = tuple(one for path in recipes for one in held_by(path, wrong))
    book = rules or shipped_rules()
    path = session.store.root / "upstream" / "seen.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    session.progress.step("what upstream has")
    policy = policy or CheckPolicy()
    minors = {one.parts.kubernetes.minor_text for one in held} | set(policy.minors)
    sight = look(session, day, minors=minors, token=token, added=added_by(held))
    with locked(path.with_suffix(".lock")):
        seen = load_seen(path)
        notices = compare(sight, held, book, seen.before, policy)
        write_seen(path, seen.after(sight))
    if architectures:
        notices = [_only_whole(notice, architectures, session) for notice in notices]
    ours = followed(held, book, day, policy)
    if isos:
        notices += unbuilt(ours, isos, architectures or tuple(ARCHITECTURES))
    notices += unregistered(ours, servers or {})
    return UpstreamCheck(sight, tuple(in_order((*notices, *wrong))), path)


def _only_whole(notice: Notice, architectures: Sequence[str], session: Session) -> Notice:
    """Return a notice of a new version as it is if that is whole, else as one to wait for."""
    if notice.level != "todo" or notice.kind not in {"new-patch", "new-minor"}:
        return notice
    session.progress.step(f"whether Kubernetes {notice.subject} is whole")
    lacks = missing(KubeVersion(notice.subject), architectures, session)
    if not lacks:
        return notice
    fact = f"{notice.fact}; not whole: {'; '.join(lacks)}"
    return replace(notice, level="wait", fact=fact, hint="look again later")


def held_by(path: Path, wrong: list[Notice]) -> tuple[Held, ...]:
    """Return what a recipe pins, for its first architecture, with the digests of its locks.

    What is wrong with it or with a lock is added to ``wrong``.
    """
    digests: dict[tuple[str, str], str] = {}

    def told(place: Path, error: InputError) -> None:
        hint = error.hint or ""
        wrong.append(
            Notice("warning", "unreadable", *map(shown_lines, (place.name, str(error), hint)))
        )

    try:
        recipe = load_recipe(path)
    except InputError as error:
        told(path, error)
        return ()
    isos: dict[str, tuple[str, ...]] = dict.fromkeys(recipe.architectures, ())
    for architecture in recipe.architectures:
        beside = lock_path(path, recipe, architecture)
        if beside.exists():
            try:
                lock = load_lock(beside)
            except InputError as error:
                told(beside, error)
                continue
            digests |= _digests(lock)
            names = (replace(lock.iso_name, boots=boots).base for boots in (True, False))
            isos[architecture] = tuple(f"{name}.iso" for name in names)
    releases = {name: recipe.vars.get(f"{name}_release", "") for name in PROJECTS_OF_MOLD}
    added = {name: tag for name, tag in releases.items() if name in recipe.components}
    place, parts = printable(path.name), parts_of(recipe)
    return (Held(place, parts, digests, isos, added, recipe.flavour, recipe.revision),)


def added_by(held: Iterable[Held]) -> dict[str, set[str]]:
    """Return the components of Mold's that recipes have, with the releases that they name."""
    found: dict[str, set[str]] = {}
    for one in held:
        for component, tag in one.added.items():
            found.setdefault(component, set()).add(tag)
    return found


def _digests(lock: Lock) -> dict[tuple[str, str], str]:
    found = {}
    for file in lock.files:
        parts = PurePosixPath(urlsplit(file.url).path).parts[1:]
        component = PROJECTS.get("/".join(parts[:2]))
        if component:
            found[component, parts[-1]] = str(file.sha256)
    return found


def upstream_rows(
    sight: Sight, recipes: Iterable[Path], book: RuleBook
) -> tuple[list[dict[str, str | None]], list[dict[str, str | None]]]:
    """Return what was seen as rows: the minors of Kubernetes, then the lines of components."""
    ours: dict[str, KubeVersion] = {}
    for path in recipes:
        version = load_recipe(path).kubernetes
        ours[version.minor_text] = max(version, ours.get(version.minor_text, version))
    indexed = {one.version.line_text: one for one in reversed(sight.index)}
    minors = {*ours, *(minor for minor in sight.markers if minor)}
    kubernetes = []
    for minor in sorted(minors, key=lambda text: KubeVersion(f"{text}.0")):
        newest = sight.newest(minor) or (indexed[minor].version if minor in indexed else None)
        tagged = sight.in_index(newest) if newest else None
        life = book.minor(minor)
        kubernetes.append(
            {
                "minor": minor,
                "newest": _text(newest),
                "day": _text(tagged.day if tagged else None),
                "end": _text(life.end if life else None),
                "ours": _text(ours.get(minor)),
            }
        )
    components = []
    for component, releases in sorted(sight.components.items()):
        for line, newest_of_line in _lines(releases).items():
            known = book.line(component, newest_of_line.version)
            components.append(
                {
                    "component": component,
                    "line": line,
                    "newest": str(newest_of_line.version),
                    "day": _text(newest_of_line.day),
                    "end": _text(known.end if known else None),
                }
            )
    return kubernetes, components


_LINES = 4  # of a component; older ones are history


def _lines(releases: Sequence[Release]) -> dict[str, Release]:
    """Return the newest release of each of the newest lines; ``releases`` begin with the newest."""
    found: dict[str, Release] = {}
    for release in releases:
        found.setdefault(release.version.line_text, release)
    return dict(list(found.items())[:_LINES])


def _text(value: object) -> str | None:
    return None if value is None else str(value)
