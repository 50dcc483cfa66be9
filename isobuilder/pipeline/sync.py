"""One unattended run: look, propose, lock, build, verify, publish, register, report.

Every step finds out for itself whether it is done, so a run that was ended anywhere is only begun
again. What is published is complete, verified, and never replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError, IsobuilderError
from isobuilder.files import as_environment_problem, locked, write_whole
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.loading import load_recipe, recipes_in
from isobuilder.model.lock import Lock
from isobuilder.model.policy import SyncPolicy
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.register import register
from isobuilder.mold.request import RegistrationRequest
from isobuilder.pipeline.delta.publish import (
    lacking,
    look_at_deltas,
    publish_delta,
    remove_deltas,
    tidy,
)
from isobuilder.pipeline.fit import unfit_iso, unfit_parts
from isobuilder.pipeline.lock import find_lock, lock_recipe
from isobuilder.pipeline.upstream.check import UpstreamCheck, check_upstream
from isobuilder.pipeline.upstream.followed import WantedIso, doubled, followed
from isobuilder.pipeline.upstream.proposal import propose
from isobuilder.pipeline.upstream.publishing import publish_built
from isobuilder.pipeline.upstream.report import Journal, State, SyncReport, SyncStep
from isobuilder.pipeline.upstream.retire import StillUsed, retire_from, to_retire
from isobuilder.pipeline.upstream.signedby import Demanded, NotYetSigned
from isobuilder.pipeline.upstream.target import SIDES, Target, open_target
from isobuilder.publish.index import (
    Published,
    Retired,
    change_index,
    index_of,
    write_sums,
)
from isobuilder.publish.webhook import post
from isobuilder.rules.book import RuleBook, read_rules
from isobuilder.sources.session import Session
from isobuilder.sources.upstream.notices import CheckPolicy, Notice
from isobuilder.text import shown_lines

_log = logging.getLogger(__name__)

_CLOCK = timedelta(days=2)  # caches on the way tell a time that was right a day ago


def sync(
    policy: SyncPolicy,
    session: Session,
    *,
    day: date,
    molds: Sequence[Mold] = (),
    without: Sequence[tuple[str, IsobuilderError]] = (),
    token: str | None = None,
) -> SyncReport:
    """Bring recipes, the published place and servers to what ``policy`` wants on ``day``.

    A cell that fails keeps no other from its turn. Two runs at once do not happen: the second
    ends at once. A policy that publishes nowhere is about recipes and locks alone, as for a
    pipeline that builds elsewhere what was reviewed. ``without`` are servers of the policy that
    could not be opened, each with its error.

    What a run did that was killed is in the report of the next one.

    Raises:
        InputError: the folder of recipes is not there.
        EnvironmentProblem: another run is at work, or that folder cannot be written.
    """
    folder = Path(policy.recipes)
    with as_environment_problem(folder):
        if not folder.is_dir():  # and none is made: a mistyped one would never have anything to do
            raise InputError(f"{folder}: there is no such folder", hint="make it, or mend recipes")
    with locked(folder / ".sync.lock", timeout=0) as mine:
        if not mine:
            raise EnvironmentProblem(
                f"{folder}: another sync is at work here", hint="wait until it has ended"
            )
        run = _Sync(policy, session, day, tuple(molds), token, Journal(folder / ".sync.journal"))
        for name, error in without:
            run.add(SyncStep(subject=name, step="register", state="failed", fact=str(error)))
        run.run(all_servers=not without)
        run.tell()
        return run.report


@dataclass(slots=True)
class _Sync:
    policy: SyncPolicy
    session: Session
    day: date
    molds: tuple[Mold, ...]
    token: str | None
    journal: Journal
    report: SyncReport = field(init=False)
    book: RuleBook = field(init=False)
    wrong: set[Path] = field(default_factory=set)
    checked: UpstreamCheck | None = None  # what upstream has, if that could be found out
    new: bool = True  # whether anything new is begun, or taken away

    def __post_init__(self) -> None:
        self.report = SyncReport(self.day, list(self.journal.untold))
        self.book = read_rules(Path(self.policy.rules) if self.policy.rules else None)

    def run(self, *, all_servers: bool) -> None:
        self._find_wrong()
        self._step("upstream", "look", self._look, quiet=True)
        place = self._opened()
        for cell in self._cells():
            self._cell(cell.path, cell.subject, cell.architecture, place)
        if place is not None:
            self._step("deltas", "delta", partial(self._look_at_deltas, place), quiet=True)
            retiring = partial(self._retire, place, all_servers=all_servers)
            self._step("published", "retire", retiring, quiet=True)
        if (remote := self.session.remote) is not None:
            told = (Notice("warning", "shared-store", remote.address, f) for f in remote.notices)
            self.report.notices = (*self.report.notices, *told)

    def tell(self) -> None:
        """Tell the webhook, if something happened; what nobody took is told next time."""
        hook, report = self.policy.webhook, self.report
        if hook is not None and (report.changed or report.failed):
            try:
                post(self.session.http, hook, report.to_webhook())
            except IsobuilderError as error:
                self.add(
                    SyncStep(subject="report", step="webhook", state="failed", fact=str(error))
                )
                return
        self.journal.told()
        if self.checked is not None:
            self.checked.told()

    def _opened(self) -> Target | None:
        publish = self.policy.publish
        if publish is None:
            return None
        found: list[Target] = []

        def opening() -> str:
            target = open_target(publish, self.session)
            write_sums(target.place, index_of(target.place))  # where a run ended just before
            found.append(target)
            return ""

        self._step("published", "publish", opening, quiet=True)
        return found[0] if found else None

    # --- what to build ---

    def _look(self) -> str:
        """Look at upstream and propose; where that fails, nothing is begun or taken away."""
        self.new = False
        try:
            checked = check_upstream(
                self._recipes(),
                self.session,
                day=self.day,
                rules=self.book,
                policy=CheckPolicy(
                    self.policy.hold_days, self.policy.ended_minors, self.policy.minors
                ),
                architectures=self.policy.architectures,
                token=self.token,
            )
        except InputError as error:  # its note of earlier looks; a report has no hints
            raise InputError(f"{error}; {error.hint}" if error.hint else str(error)) from None
        self.checked, self.report.notices = checked, checked.notices
        off = checked.sight.clock_off
        self.new = off is None or abs(off) <= _CLOCK
        if off is not None and not self.new:
            fact = (
                f"this machine's clock is {abs(off.days)} days "
                f"{'ahead of' if off > timedelta() else 'behind'} upstream's: "
                "nothing new is begun, and nothing taken away"
            )
            self.add(SyncStep(subject="clock", step="propose", state="failed", fact=fact))
        self._propose(checked)
        return ""

    def _propose(self, checked: UpstreamCheck) -> None:
        for path in self._recipes():  # one may be of a run that ended before it noted that
            self._step(str(load_recipe(path).kubernetes), "propose", lambda: "", quiet=True)
        for notice in checked.notices:
            if notice.kind not in {"new-patch", "new-minor"} or notice.level != "todo":
                continue
            version = KubeVersion(notice.subject)
            if why := self._not_wanted(version, notice.kind):
                self.add(SyncStep(subject=str(version), step="propose", state="waits", fact=why))
                continue
            self._step(str(version), "propose", partial(self._new, version, checked))

    def _not_wanted(self, version: KubeVersion, kind: str) -> str | None:
        if freeze := self.policy.frozen(self.day):
            return f"frozen until {freeze.last}" + (f": {freeze.why}" if freeze.why else "")
        if not self.new:
            return "until the clock is right"
        if self.policy.minors and version.minor_text not in self.policy.minors:
            return f"{version.minor_text} is not followed"
        if kind == "new-minor" and not (self.policy.new_minors or self.policy.minors):
            return "new minors are not begun by this policy"
        return None

    def _new(self, version: KubeVersion, checked: UpstreamCheck) -> str:
        hold = self.policy.hold_days
        proposal = propose(version, self._recipes(), checked.sight, rules=self.book, hold=hold)
        if proposal.lacks:
            raise InputError(
                f"{version}: only a candidate: {'; '.join(proposal.lacks)}",
                hint=f"isobuilder upstream propose {version} -o RECIPE begins it for a person",
            )
        path = Path(self.policy.recipes) / f"kubernetes-{version}.yaml"
        before = Path(self.policy.recipes) / f".{path.name}.proposed"
        write_whole(before, proposal.text.encode())
        try:
            wrong = [
                one.fact
                for one in unfit_parts(load_recipe(before), self.book, self.day)
                if one.level == "error" or (one.rule == "known-bad" and not self.policy.known_bad)
            ]
            if wrong:
                raise IntegrityError(f"{version}: {'; '.join(wrong)}")
            self.journal.begin(str(version), "propose")
            before.rename(path)
        finally:
            before.unlink(missing_ok=True)
        return f"{path.name}: {'; '.join(proposal.changes)}"

    def _recipes(self) -> list[Path]:
        return [path for path in recipes_in(Path(self.policy.recipes)) if path not in self.wrong]

    def _find_wrong(self) -> None:
        """Note the recipes that are none, so that they keep nothing else from its turn."""
        for path in recipes_in(Path(self.policy.recipes)):
            try:
                load_recipe(path)
            except InputError as error:
                self.wrong.add(path)
                self.add(
                    SyncStep(subject=path.name, step="recipe", state="failed", fact=str(error))
                )

    def _cells(self) -> list[WantedIso]:
        """Return what to build; of recipes that would become one ISO none.

        Which of them is meant is for a person to say: what was published once is never replaced.
        """
        cells = followed(self._recipes(), self.policy, self.book, self.day)
        for paths, subjects in doubled(cells).items():
            fact = (
                f"would become the same ISO ({', '.join(subjects)}), so none of them is built; "
                "give one a variant or another revision, or take it away"
            )
            names = ", ".join(path.name for path in paths)
            self.add(SyncStep(subject=names, step="recipe", state="failed", fact=fact))
            cells = [cell for cell in cells if cell.subject not in subjects]
        return cells

    # --- one cell: a version for an architecture ---

    def _cell(self, path: Path, subject: str, architecture: str, target: Target | None) -> None:
        lock = self._lock(path, subject, architecture)
        if lock is None or target is None:
            return
        entry = self._published(lock, subject, target)
        if entry is not None and self.molds:
            self._step(subject, "register", partial(self._register, entry, subject, target))
        if entry is not None and self.policy.deltas:
            self._deltas(entry, subject, target)

    def _deltas(self, new: Published, subject: str, target: Target) -> None:
        """Publish the deltas to an ISO that are not there yet."""
        olds: list[Published] = []

        def looking() -> str:
            olds[:] = lacking(new, target, self.policy.deltas)
            return ""

        def making(old: Published, told: str) -> str:
            self.journal.begin(told, "delta")
            return publish_delta(old, new, target, self.session.progress)

        self._step(subject, "delta", looking, quiet=True)
        for old in olds:
            told = f"{subject} from {old.release}"
            self._step(told, "delta", partial(making, old, told))
        if olds:
            tidy(target)

    def _lock(self, path: Path, subject: str, architecture: str) -> Lock | None:
        found: list[Lock] = []

        def locking() -> str:
            known = find_lock(path, architecture)
            if known is None:
                self.journal.begin(subject, "lock")
            made = known or lock_recipe(path, architecture, self.session, trust=self.policy.trust)
            found.append(made.lock)
            return "" if known else made.path.name

        self._step(subject, "lock", locking)
        return found[0] if found else None

    def _published(self, lock: Lock, subject: str, target: Target) -> Published | None:
        """Return the published ISO of a lock, built, verified and published if it is not there."""
        found: list[Published] = []

        def publishing() -> str:
            entry, fact = self._publish(lock, subject, target)
            if entry is not None:
                found.append(entry)
            return fact

        self._step(subject, "publish", publishing)
        return found[0] if found else None

    def _publish(self, lock: Lock, subject: str, target: Target) -> tuple[Published | None, str]:
        def begins() -> None:
            self.journal.begin(subject, "publish")
            if self.molds:
                self.journal.begin(subject, "register")

        return publish_built(lock, target, self.policy, self.session, begins)

    def _look_at_deltas(self, target: Target) -> str:
        for step in look_at_deltas(target):
            self.add(step)
        return ""

    def _register(self, entry: Published, subject: str, target: Target) -> str:
        if self.policy.signed_by is not None:
            Demanded.of(self.policy.signed_by).demand(entry, target)
        item = target.item(entry)
        lock = target.lock_of(entry)
        request = RegistrationRequest(
            item.registration,
            url=item.url,
            iso=item.iso,
            unfit=unfit_iso(item.registration, lock, self.book, self.day),
        )
        results = register(self.molds, request, progress=self.session.progress)
        done = "; ".join(f"{one.server}: {fact}" for one in results if one.ok for fact in one.done)
        wrong = [
            f"{one.server}: {one.error or '; '.join(zone.text for zone in one.zones)}"
            for one in results
            if not one.ok
        ]
        if wrong and not done:
            raise IntegrityError("; ".join(wrong))
        for fact in wrong:
            self.add(SyncStep(subject=subject, step="register", state="failed", fact=fact))
        return done

    # --- what is not wanted any more ---

    def _retire(self, target: Target, *, all_servers: bool) -> str:
        try:
            index = index_of(target.place)
        except IsobuilderError:
            return ""  # which the publishing steps have told
        for gone in index.retired:
            if not gone.removed:
                self._step(gone.base_name, "retire", partial(self._remove, gone, target))
        wanted = to_retire(index, self.policy, self.book, self.day)
        for entry, why in wanted.items() if self.new and not self.policy.frozen(self.day) else ():
            if all_servers:
                self._step(entry.base_name, "retire", partial(self._gone, entry, why, target))
                continue
            fact = "not every server could be asked"
            self.add(SyncStep(subject=entry.base_name, step="retire", state="waits", fact=fact))
        return ""

    def _gone(self, entry: Published, why: str, target: Target) -> str:
        self.journal.begin(entry.base_name, "retire")
        done = retire_from(self.molds, target.item(entry), self.policy.retire.servers)
        gone = Retired(name=entry.name, sha256=entry.sha256, lock=entry.lock, day=self.day, why=why)
        change_index(target.place, lambda index: index.without(gone))
        self._remove(gone, target)
        return "; ".join([why, *done])

    def _remove(self, gone: Retired, target: Target) -> str:
        """Take the files of an ISO away that the index no longer has."""
        target.clear(gone.base_name)
        remove_deltas(target, gone.name)
        by = self.policy.signed_by
        for end in (*SIDES, *(Demanded.of(by).ends if by is not None else ())):
            target.place.remove(f"{gone.base_name}.{end}")
        change_index(target.place, lambda index: index.without(gone.as_removed()))
        return "taken away"

    # --- steps ---

    def add(self, step: SyncStep) -> None:
        """Note what became of a step."""
        shown = {name: shown_lines(getattr(step, name)) for name in ("subject", "fact")}
        step = step.model_copy(update=shown)
        self.report.steps.append(step)
        if step.state == "done":
            try:
                self.journal.note(step)
            except EnvironmentProblem as problem:  # it is in this report all the same
                _log.warning("%s", problem)

    def _step(
        self, subject: str, step: str, act: Callable[[], str], *, quiet: bool = False
    ) -> None:
        """Do one step and note what became of it; an empty fact means nothing had to be done."""
        try:
            fact = act()
        except (StillUsed, NotYetSigned) as error:
            self.add(SyncStep(subject=subject, step=step, state="waits", fact=str(error)))
        except IsobuilderError as error:
            _log.info("%s: %s: %s", subject, step, error)
            self.add(SyncStep(subject=subject, step=step, state="failed", fact=str(error)))
        else:
            if not fact and self.journal.has_begun(subject, step):
                fact = "done by a run that was ended"
            if fact or not quiet:
                state: State = "done" if fact else "kept"
                self.add(SyncStep(subject=subject, step=step, state=state, fact=fact))
