"""The changes of a plan carried out on one server, each looked at again right before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from isobuilder.errors import InputError, IsobuilderError, MoldError
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.manage import refuse_if_used, users_of
from isobuilder.mold.plan import Action, Reason, ServerPlan
from isobuilder.mold.register import register
from isobuilder.mold.registered import RegisteredVersion, entries_of
from isobuilder.mold.request import Outcome, RegistrationRequest
from isobuilder.progress import SILENT, Progress


class Fate(StrEnum):
    """How an action ended."""

    DONE = "done"
    ALREADY = "already"
    SKIPPED = "skipped"
    FAILED = "failed"
    WOULD = "would"


@dataclass(frozen=True, slots=True)
class Applied:
    """An action and what became of it."""

    action: Action
    fate: Fate
    text: str


def apply_plan(
    mold: Mold,
    plan: ServerPlan,
    *,
    state: Path | None = None,
    timeout: float = 3600.0,
    poll: float = 3.0,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> list[Applied]:
    """Carry out the changes to one server, each looked at again right before it is made.

    What a cluster uses by now is left alone, and so is what is no longer what the plan says, or no
    longer for the reason it gives: an ISO that is Ready by now, the last of several equal ones. One
    failure does not keep the other changes from being made.

    Raises:
        InputError: the plan is for another server.
    """
    if plan.endpoint != mold.endpoint:
        raise InputError(
            f"the plan is for {plan.server} at {plan.endpoint}, not for {mold.endpoint}"
        )
    done = []
    for action in plan.actions:
        progress.step(f"{mold.name}: {action}")
        try:
            if action.do == "register":
                request = replace(_request(action), timeout=timeout, poll=poll, dry_run=dry_run)
                done.append(_register(mold, action, request, state, progress))
            else:
                done.append(_change(mold, action, dry_run=dry_run))
        except IsobuilderError as error:
            done.append(Applied(action, Fate.FAILED, str(error)))
    return done


def _request(action: Action) -> RegistrationRequest:
    if action.registration is None:
        raise InputError("a plan's register action needs a registration")
    zones = (action.zone,) if action.zone else ()
    return RegistrationRequest(action.registration, url=action.url, zones=zones)


def _register(
    mold: Mold, action: Action, request: RegistrationRequest, state: Path | None, progress: Progress
) -> Applied:
    [result] = register([mold], request, state=state, progress=progress)
    if result.error is not None:
        raise result.error
    failed = [zone for zone in result.zones if zone.outcome is Outcome.FAILED]
    if failed:
        return Applied(action, Fate.FAILED, "; ".join(f"{z.zone}: {z.text}" for z in failed))
    if request.dry_run:
        return Applied(action, Fate.WOULD, "; ".join(result.done) or "nothing to do")
    fate = Fate.DONE if result.done else Fate.ALREADY
    return Applied(action, fate, "Ready in " + ", ".join(zone.zone for zone in result.zones))


def _change(mold: Mold, action: Action, *, dry_run: bool) -> Applied:
    subject = action.version
    if subject is None:
        raise InputError(f"a plan's {action.do} action needs a version")
    found = mold.versions(id=subject.id)
    if not found:
        fate = Fate.ALREADY if action.do == "delete" else Fate.SKIPPED
        return Applied(action, fate, "it is no longer there")
    [entry] = entries_of(mold, found[:1])
    version = entry.version
    now = (version.name, version.semanticversion, version.assumed_arch)
    if now != (subject.name, subject.semanticversion, subject.arch):
        return Applied(action, Fate.SKIPPED, f"it is {' '.join(now)} now, not what the plan says")
    if (text := _left_alone(mold, action, entry)) is not None:
        return Applied(action, Fate.SKIPPED, text)
    if dry_run:
        return Applied(action, Fate.WOULD, "")
    if action.do == "delete":
        mold.delete_version(version.id)
    else:
        state = "Enabled" if action.do == "enable" else "Disabled"
        if version.state == state:
            return Applied(action, Fate.ALREADY, state)
        mold.set_state(version.id, enabled=action.do == "enable")
    return Applied(action, Fate.DONE, "")


def _left_alone(mold: Mold, action: Action, entry: RegisteredVersion) -> str | None:
    """Return why an entry is not to be changed, None if it is."""
    if action.do in {"delete", "disable"}:
        try:
            refuse_if_used(mold, entry, users_of(mold, entry))
        except MoldError as error:
            return str(error)
    return _no_longer(mold, action.reason, entry) if action.reason else None


def _no_longer(mold: Mold, reason: Reason, entry: RegisteredVersion) -> str | None:
    """Return why an entry is not to be deleted any more, None if it is."""
    if reason.failed_in and not entry.faults(reason.failed_in):
        return "its ISO has not failed any more"
    if not reason.keeps:
        return None
    kept = [
        other
        for version_id in reason.keeps
        for other in entries_of(mold, mold.versions(id=version_id)[:1])
    ]
    if not kept:
        return f"{', '.join(reason.keeps)}, the same ISO, is no longer there: it is the last one"
    for row in entry.rows:
        if row.isready and not any(other.ready_in(row.zoneid) for other in kept):
            return f"it is the only one that is Ready in {row.zonename}"
    return None
