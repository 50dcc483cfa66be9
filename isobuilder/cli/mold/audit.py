"""``isobuilder mold audit`` and ``isobuilder mold apply``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FILE, NEW_FILE, App, AppCommand, json_option
from isobuilder.cli.exits import Attempts
from isobuilder.cli.mold.register import (
    poll_option,
    timeout_option,
    zone_option,
)
from isobuilder.cli.mold.servers import Servers, dry_run_option, server_options
from isobuilder.cli.telling import table, tell_text
from isobuilder.cli.trust.signing import signature_options, wanted_signatures
from isobuilder.files import write_whole

if TYPE_CHECKING:
    from isobuilder.mold.apply import Applied
    from isobuilder.mold.catalogue import Item
    from isobuilder.mold.compare import Deviation
    from isobuilder.mold.plan import ServerPlan
    from isobuilder.pipeline.provenance.signing import Signatures


@click.command(cls=AppCommand)
@click.argument("catalogue", type=click.Path(exists=True, path_type=Path))
@server_options
@zone_option
@click.option("--url-base", metavar="URL", help="Where the catalogue's ISOs can be fetched.")
@click.option("--keep-extra", is_flag=True, help="Leave alone what the catalogue does not know.")
@click.option("--lifecycle", type=FILE, help='Ends of life, JSON: {"1.34": "2026-10-27"}.')
@signature_options("--signed-by", "--signers")
@click.option("--plan", "plan_file", type=NEW_FILE, help="Write the changes that would mend it.")
@json_option
@click.pass_obj
def audit(
    app: App,
    servers: Servers,
    catalogue: Path,
    zones: tuple[str, ...],
    url_base: str | None,
    keep_extra: bool,
    lifecycle: Path | None,
    keys: tuple[Path, ...],
    revoked: tuple[Path, ...],
    signatures: int | None,
    plan_file: Path | None,
    as_json: bool,
) -> None:
    """Compare servers with CATALOGUE: a folder of finished ISOs, or a JSON list of registrations.

    A notice is what only people can mend, such as a cluster on an old version. Exit code 9 if
    there are differences beside notices.
    """
    from isobuilder.errors import DifferencesFound
    from isobuilder.mold.audit import audit as audit_server
    from isobuilder.mold.audit import read_ends
    from isobuilder.mold.catalogue import read_catalogue
    from isobuilder.mold.compare import Policy
    from isobuilder.mold.plan import plan_for

    wanted = wanted_signatures(keys, revoked, signatures)
    items = [_judged(app, item, wanted) for item in read_catalogue(catalogue, url_base=url_base)]
    policy = Policy(
        today=datetime.now(UTC).date(),
        ends=read_ends(lifecycle) if lifecycle else None,
        zones=zones,
        keep_extra=keep_extra,
    )
    attempts = servers.each(app, lambda mold: audit_server(mold, items, policy))
    findings = [(plan.server, finding) for found, plan in attempts.results for finding in found]
    plan = plan_for(tuple(plan for _found, plan in attempts.results))
    if plan_file is not None and any(server.actions for server in plan.servers):
        write_whole(plan_file, plan.to_bytes())
        app.say(f"wrote {plan_file}; isobuilder mold apply {plan_file} carries it out")
    elif plan_file is not None:
        app.say(f"no change would mend anything: {plan_file} not written")
    _show_findings(app, findings, as_json=as_json)
    differences = sum(not finding.notice for _server, finding in findings)
    attempts.raise_failures()
    if differences:
        raise DifferencesFound(
            f"{differences} difference{'s' if differences > 1 else ''} from {catalogue}",
            hint=None if plan_file else "--plan FILE writes the changes that would mend it",
        )
    app.say(f"no difference from {catalogue}")


def _judged(app: App, item: Item, wanted: Signatures | None) -> Item:
    """Return an ISO of the catalogue with what is not fit to be registered about it."""
    from isobuilder.pipeline.fit import unfit_iso

    unfit = unfit_iso(item.registration, item.lock, app.rules)
    if wanted is not None:
        from isobuilder.pipeline.provenance.signing import unsigned

        unfit = (*unfit, *unsigned(item, wanted))
    return replace(item, unfit=unfit)


def _show_findings(app: App, findings: Sequence[tuple[str, Deviation]], *, as_json: bool) -> None:
    if as_json:
        app.show_json(
            [
                {
                    "server": server,
                    "kind": str(finding.kind),
                    "subject": finding.subject,
                    "fact": finding.fact,
                    "notice": finding.notice,
                    "actions": [str(action) for action in finding.actions],
                }
                for server, finding in findings
            ]
        )
    else:
        rows = [
            (
                server,
                "notice" if finding.notice else "difference",
                str(finding.kind),
                finding.subject,
                finding.fact,
            )
            for server, finding in findings
        ]
        if rows:
            tell_text(table(rows, ("SERVER", "LEVEL", "KIND", "SUBJECT", "FACT")))


def _chosen(app: App, servers: Servers, plan_file: Path) -> list[ServerPlan]:
    """Return the parts of a plan for the servers that are named, all without a name."""
    from isobuilder.errors import InputError
    from isobuilder.mold.plan import read_plan

    plan = read_plan(plan_file)
    if not servers.names:
        return list(plan.servers)
    servers.opened(app)  # a name that stands for nothing is told before any is asked
    chosen = [part for part in plan.servers if part.server in servers.names]
    planned = [part.server for part in plan.servers]
    if unplanned := [name for name in servers.names if name not in planned]:
        fact = f"{plan_file}: no plan for {', '.join(unplanned)}"
        if not chosen:
            raise InputError(fact, hint=f"it has: {', '.join(planned) or 'none'}")
        app.say(fact)
    return chosen


@click.command(cls=AppCommand)
@click.argument("plan_file", metavar="PLAN", type=FILE)
@server_options
@timeout_option
@poll_option
@dry_run_option
@json_option
@click.pass_obj
def apply(
    app: App,
    servers: Servers,
    plan_file: Path,
    timeout: float,
    poll: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Carry out PLAN, looking again before each change; what clusters use is never touched."""
    from isobuilder.errors import MoldError, PartlyDone
    from isobuilder.mold.apply import Fate, apply_plan

    chosen = _chosen(app, servers, plan_file)
    done: list[tuple[str, Applied]] = []

    def carry_out(part: ServerPlan) -> None:
        mold = servers.open_planned(app, part.server, part.endpoint)
        applied = apply_plan(
            mold, part, timeout=timeout, poll=poll, dry_run=dry_run, progress=app.progress
        )
        done.extend((part.server, one) for one in applied)
        bad = sum(one.fate in {Fate.SKIPPED, Fate.FAILED} for one in applied)
        if bad:
            kind = PartlyDone if bad < len(applied) else MoldError
            raise kind(
                f"{part.server}: {bad} of {len(applied)} changes were not made",
                hint="audit again for a plan that fits what is there now",
            )

    attempts: Attempts[None] = Attempts()
    for part in chosen:
        with attempts:
            carry_out(part)
    if as_json:
        app.show_json(
            [
                {
                    "server": server,
                    "action": str(one.action),
                    "fate": str(one.fate),
                    "text": one.text,
                }
                for server, one in done
            ]
        )
    else:
        rows = [(server, str(one.fate), str(one.action), one.text) for server, one in done]
        if rows:
            tell_text(table(rows, ("SERVER", "RESULT", "CHANGE", "TEXT")))
    attempts.raise_failures()
