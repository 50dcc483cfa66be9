"""One unattended run: look, propose, lock, build, verify, publish, register, report.

Every step finds out for itself whether it is done, so a run that was ended anywhere is only begun
again. What is published is complete, verified, and never replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Literal

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError, IsobuilderError
from isobuilder.files import locked, write_whole
from isobuilder.formats.kube import KubeVersion
from isobuilder.model.base import Model, canonical_json
from isobuilder.model.loading import load_recipe
from isobuilder.model.lock import Lock
from isobuilder.model.policy import Publish, SyncPolicy
from isobuilder.model.validation import load_json
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.catalogue import lock_beside, read_registration
from isobuilder.mold.register import register
from isobuilder.mold.request import RegistrationRequest
from isobuilder.pipeline.build import build
from isobuilder.pipeline.fit import unfit_iso, unfit_parts
from isobuilder.pipeline.lock import find_lock, lock_recipe
from isobuilder.pipeline.upstream.check import UpstreamCheck, check_upstream
from isobuilder.pipeline.upstream.proposal import propose
from isobuilder.pipeline.verify import verify
from isobuilder.rules.book import RuleBook, read_rules
from isobuilder.sources.session import Session
from isobuilder.sources.upstream.notices import CheckPolicy, Notice

_log = logging.getLogger(__name__)

INDEX = "index.json"
State = Literal["done", "kept", "waits", "failed"]


@dataclass(frozen=True, slots=True)
class SyncStep:
    """What became of one step for one subject."""

    subject: str  # a version, or a version and an architecture
    step: str  # propose, lock, build, publish, register
    state: State
    fact: str = ""

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {name: getattr(self, name) for name in ("subject", "step", "state", "fact")}


@dataclass(slots=True)
class SyncReport:
    """All that one run did and saw."""

    day: date
    steps: list[SyncStep] = field(default_factory=list)
    notices: tuple[Notice, ...] = ()

    @property
    def failed(self) -> list[SyncStep]:
        """The steps that failed."""
        return [step for step in self.steps if step.state == "failed"]

    @property
    def changed(self) -> list[SyncStep]:
        """The steps that did something."""
        return [step for step in self.steps if step.state == "done"]

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "day": str(self.day),
            "steps": [step.to_data() for step in self.steps],
            "notices": [notice.to_data() for notice in self.notices],
        }

    @property
    def markdown(self) -> str:
        """The same for people, fit for a mail."""
        counts = f"{len(self.changed)} done, {len(self.failed)} failed"
        lines = [f"# Sync of {self.day}: {counts}", ""]
        for title, steps in (("Failed", self.failed), ("Done", self.changed)):
            if steps:
                lines += [f"## {title}", ""]
                lines += [f"- {one.subject}: {one.step}: {one.fact}" for one in steps]
                lines.append("")
        waits = [one for one in self.steps if one.state == "waits"]
        if waits or self.notices:
            lines += ["## To know", ""]
            lines += [f"- {one.subject}: {one.step} waits: {one.fact}" for one in waits]
            lines += [f"- {one.level}: {one.subject}: {one.fact}" for one in self.notices]
        return "\n".join(lines).rstrip() + "\n"


class Published(Model):
    """One ISO of a published folder."""

    name: str
    kubernetes: KubeVersion
    profile: str
    architecture: str
    revision: int
    sha256: Digest
    size: int  # bytes
    lock: Digest  # of the lock it was built from, as it lies beside its recipe


class PublishedIndex(Model):
    """What ``index.json`` of a published folder holds."""

    isos: tuple[Published, ...] = ()


def sync(
    policy: SyncPolicy,
    session: Session,
    *,
    day: date,
    molds: Sequence[Mold] = (),
    token: str | None = None,
) -> SyncReport:
    """Bring recipes, the published folder and servers to what ``policy`` wants on ``day``.

    A cell that fails keeps no other from its turn. Two runs at once do not happen: the second
    ends at once. A policy that publishes nowhere is about recipes and locks alone, as for a
    pipeline that builds elsewhere what was reviewed.

    Raises:
        EnvironmentProblem: another run is at work, or a folder cannot be written.
    """
    folder = Path(policy.publish.folder if policy.publish else policy.recipes)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".sync.lock", timeout=0) as mine:
        if not mine:
            raise EnvironmentProblem(
                f"{folder}: another sync is at work here", hint="wait until it has ended"
            )
        return _Sync(policy, session, day, tuple(molds), token).run()


@dataclass(slots=True)
class _Sync:
    policy: SyncPolicy
    session: Session
    day: date
    molds: tuple[Mold, ...]
    token: str | None
    report: SyncReport = field(init=False)
    book: RuleBook = field(init=False)
    wrong: set[Path] = field(default_factory=set)

    def run(self) -> SyncReport:
        self.report = SyncReport(self.day)
        self.book = read_rules(Path(self.policy.rules) if self.policy.rules else None)
        self._find_wrong()
        self._propose(self._look())
        for path in self._followed():
            recipe = load_recipe(path)
            for architecture in self.policy.architectures:
                if architecture in recipe.architectures:
                    self._cell(path, f"{recipe.kubernetes} {architecture}", architecture)
        return self.report

    # --- what to build ---

    def _look(self) -> UpstreamCheck:
        checked = check_upstream(
            self._recipes(),
            self.session,
            day=self.day,
            rules=self.book,
            policy=CheckPolicy(self.policy.hold_days, self.policy.ended_minors),
            architectures=self.policy.architectures,
            token=self.token,
        )
        self.report.notices = checked.notices
        return checked

    def _propose(self, checked: UpstreamCheck) -> None:
        for notice in checked.notices:
            if notice.kind not in {"new-patch", "new-minor"} or notice.level != "todo":
                continue
            version = KubeVersion(notice.subject)
            if why := self._not_wanted(version, notice.kind):
                self.report.steps.append(SyncStep(str(version), "propose", "waits", why))
                continue
            self._step(str(version), "propose", partial(self._new, version, checked))

    def _not_wanted(self, version: KubeVersion, kind: str) -> str | None:
        if freeze := self.policy.frozen(self.day):
            return f"frozen until {freeze.last}" + (f": {freeze.why}" if freeze.why else "")
        if self.policy.minors and version.minor_text not in self.policy.minors:
            return f"{version.minor_text} is not followed"
        if kind == "new-minor" and not (self.policy.new_minors or self.policy.minors):
            return "new minors are not begun by this policy"
        return None

    def _new(self, version: KubeVersion, checked: UpstreamCheck) -> str:
        proposal = propose(version, self._recipes(), checked.sight, rules=self.book)
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
            before.rename(path)
        finally:
            before.unlink(missing_ok=True)
        return f"{path.name}: {'; '.join(proposal.changes)}"

    def _recipes(self) -> list[Path]:
        return [path for path in self._all() if path not in self.wrong]

    def _all(self) -> list[Path]:
        return sorted(Path(self.policy.recipes).glob("*.yaml"))

    def _find_wrong(self) -> None:
        """Note the recipes that are none, so that they keep nothing else from its turn."""
        for path in self._all():
            try:
                load_recipe(path)
            except InputError as error:
                self.wrong.add(path)
                self.report.steps.append(SyncStep(path.name, "recipe", "failed", str(error)))

    def _followed(self) -> Iterable[Path]:
        """Return the newest recipe of each minor that is followed."""
        newest: dict[str, tuple[KubeVersion, Path]] = {}
        for path in self._recipes():
            version = load_recipe(path).kubernetes
            minor = version.minor_text
            if self.policy.minors and minor not in self.policy.minors:
                continue
            life = self.book.minor(minor)
            if life and life.ended(self.day) and not self.policy.ended_minors:
                continue
            if minor not in newest or version > newest[minor][0]:
                newest[minor] = version, path
        return [path for _version, path in sorted(newest.values())]

    # --- one cell: a version for an architecture ---

    def _cell(self, path: Path, subject: str, architecture: str) -> None:
        lock = self._lock(path, subject, architecture)
        if lock is None or (publish := self.policy.publish) is None:
            return
        iso = self._published(lock, subject, publish)
        if iso is not None and self.molds:
            self._register(iso, subject, publish)

    def _lock(self, path: Path, subject: str, architecture: str) -> Lock | None:
        found: list[Lock] = []

        def locking() -> str:
            known = find_lock(path, architecture)
            made = known or lock_recipe(path, architecture, self.session)
            found.append(made.lock)
            return "" if known else made.path.name

        self._step(subject, "lock", locking)
        return found[0] if found else None

    def _published(self, lock: Lock, subject: str, publish: Publish) -> Path | None:
        """Return the published ISO of a lock, built, verified and published if it is not there."""
        found: list[Path] = []

        def publishing() -> str:
            iso, fact = self._publish(lock, Path(publish.folder))
            found.append(iso)
            return fact

        self._step(subject, "publish", publishing)
        return found[0] if found else None

    def _publish(self, lock: Lock, folder: Path) -> tuple[Path, str]:
        index = read_index(folder)
        known = next((one for one in index.isos if one.lock == lock.digest), None)
        if known is not None and _has_size(folder / known.name, known.size):
            return folder / known.name, ""
        made = build(lock, folder / ".work", self.session)
        result = verify(made.iso, lock=made.lock, expected=made.digest, store=self.session.store)
        if not result.passed:
            raise IntegrityError(f"{made.iso.name}: {'; '.join(map(str, result.findings))}")
        sides = sorted(made.iso.parent.glob(f"{made.lock.base_name}.*"))
        for source in sorted(sides, key=lambda path: path == made.iso):  # the ISO comes last
            _publish_file(source, folder / source.name)
        entry = Published(
            name=made.iso.name,
            kubernetes=lock.kubernetes,
            profile=lock.profile,
            architecture=lock.architecture,
            revision=lock.revision,
            sha256=made.digest,
            size=made.size,
            lock=lock.digest,
        )
        others = tuple(one for one in index.isos if one.name != entry.name)
        isos = tuple(sorted((*others, entry), key=lambda one: one.name))
        _write_index(folder, PublishedIndex(isos=isos))
        for source in sides:
            source.unlink()
        return folder / entry.name, f"{entry.name} {made.digest}"

    def _register(self, iso: Path, subject: str, publish: Publish) -> None:
        def registering() -> str:
            registration, file = read_registration(iso)
            url = f"{publish.url}/{iso.name}"
            unfit = unfit_iso(registration, lock_beside(registration, iso), self.book, self.day)
            request = RegistrationRequest(registration, url=url, iso=file, unfit=unfit)
            results = register(self.molds, request, progress=self.session.progress)
            wrong = [
                f"{one.server}: {one.error or '; '.join(zone.text for zone in one.zones)}"
                for one in results
                if not one.ok
            ]
            if wrong:
                raise IntegrityError("; ".join(wrong))
            return "; ".join(f"{one.server}: {fact}" for one in results for fact in one.done)

        self._step(subject, "register", registering)

    def _step(self, subject: str, step: str, act: Callable[[], str]) -> None:
        """Do one step and note what became of it; an empty fact means nothing had to be done."""
        try:
            fact = act()
        except IsobuilderError as error:
            _log.info("%s: %s: %s", subject, step, error)
            self.report.steps.append(SyncStep(subject, step, "failed", str(error)))
        else:
            self.report.steps.append(SyncStep(subject, step, "done" if fact else "kept", fact))


def read_index(folder: Path) -> PublishedIndex:
    """Return what is published in a folder; nothing if there is no index.

    Raises:
        InputErrors: the index is damaged.
    """
    path = folder / INDEX
    return load_json(path, PublishedIndex) if path.exists() else PublishedIndex()


def _write_index(folder: Path, index: PublishedIndex) -> None:
    sums = "".join(f"{one.sha256.hex}  {one.name}\n" for one in index.isos)
    write_whole(folder / "SHA256SUMS", sums.encode())
    write_whole(folder / INDEX, canonical_json(index.model_dump(mode="json")))


def _publish_file(source: Path, target: Path) -> None:
    """Give a file its published name too; one that has that name already is never replaced."""
    if target.exists():
        if Digest.of_file(target) == Digest.of_file(source):
            return
        raise IntegrityError(
            f"{target}: is published with other bytes", hint="raise the revision of the recipe"
        )
    try:
        target.hardlink_to(source)
    except OSError as error:
        raise EnvironmentProblem(f"{target}: cannot be published: {error.strerror}") from error


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
