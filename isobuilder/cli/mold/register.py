"""``isobuilder mold check`` and ``isobuilder mold register``."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import FILE, App, AppCommand, WholeNumber, json_option
from isobuilder.cli.exits import gravest
from isobuilder.cli.mold.servers import Servers, dry_run_option, server_options
from isobuilder.cli.telling import agreed, table, tell, tell_text
from isobuilder.cli.trust.signing import signature_options, wanted_signatures
from isobuilder.errors import IsobuilderError
from isobuilder.text import printable

if TYPE_CHECKING:
    from isobuilder.model.registration import RegistrationFile
    from isobuilder.mold.api.commands import Mold
    from isobuilder.mold.checklist import Fix, Line
    from isobuilder.mold.request import RegistrationRequest, ServerResult
    from isobuilder.pipeline.provenance.signing import Signatures
    from isobuilder.rules.fit import Unfit

    Opened = list[tuple[str, Mold | IsobuilderError]]


def _parse_duration(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    """Return the seconds of 90, 90s, 45m or 2h."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", value)
    if not match:
        raise click.BadParameter("expected a time such as 90s, 45m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


_url_option = click.option("--url", metavar="URL", help="Where the server can fetch the ISO.")
zone_option = click.option("--zone", "zones", multiple=True, metavar="ZONE", help="Repeatable.")
timeout_option = click.option(
    "--timeout",
    default="1h",
    show_default=True,
    metavar="TIME",
    callback=_parse_duration,
    help="How long to wait for Mold, such as 30m.",
)
poll_option = click.option("--poll", default="3s", callback=_parse_duration, hidden=True)


@click.command(cls=AppCommand)
@click.argument("iso", type=FILE, required=False)
@server_options
@_url_option
@zone_option
@click.option("--direct-download", is_flag=True, help="As for a registration with this option.")
@click.option("--download-check", is_flag=True, help="Fetch the ISO and compare its SHA-256.")
@click.option("--fix", is_flag=True, help="Offer to change settings that stand in the way.")
@click.option("--yes", is_flag=True, help="Do not ask before a change.")
@dry_run_option
@json_option
@click.pass_obj
def check(
    app: App,
    servers: Servers,
    iso: Path | None,
    url: str | None,
    zones: tuple[str, ...],
    direct_download: bool,
    download_check: bool,
    fix: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Tell whether a server is ready for ISO (or its registration.json) at --url.

    One line for each thing: ok, warning or problem, with what to do. Exit code 8 if there is a
    problem, 7 if some of several servers are ready.
    """
    from isobuilder.errors import MoldError
    from isobuilder.mold.catalogue import read_registration
    from isobuilder.mold.check import check as check_server
    from isobuilder.mold.checklist import Level, Question

    registration = read_registration(iso)[0] if iso else None
    question = Question(
        registration=registration,
        unfit=_unfit_beside(app, registration, iso) if registration and iso else None,
        url=url or (registration.download_url if registration else None),
        zones=zones,
        direct_download=direct_download,
        download=download_check,
        ceiling=app.config.max_file_size,
    )
    attempts = servers.each(
        app,
        lambda mold: (
            mold,
            check_server(mold, question, http=app.http, progress=app.progress),
        ),
    )
    results = attempts.results
    if as_json:
        app.show_json([_line_data(mold.name, line) for mold, lines in results for line in lines])
    else:
        for mold, lines in results:
            if len(servers.names) > 1:
                tell(f"{mold.name}:")
            for line in lines:
                tell_text(_line_text(line))
    fixable = any(line.fix for _mold, lines in results for line in lines)
    hint = "--fix offers to change what is a setting" if fixable and not fix else None
    attempts.done = 0  # how many servers are ready
    for mold, lines in results:
        with attempts:
            wrong = [line for line in lines if line.level is Level.PROBLEM]
            changed = _offer_fixes(mold, wrong, yes=yes, dry_run=dry_run) if fix else []
            if left := len(wrong) - sum(one.ready for one in changed):
                what = f"{left} problem{'s' if left > 1 else ''} to mend before registering"
                raise MoldError(f"{mold.name}: {what}", hint=_then(changed) or hint)
    attempts.raise_failures()


def _unfit_beside(app: App, registration: RegistrationFile, path: Path) -> tuple[Unfit, ...]:
    """Return what does not fit together by the lock beside an ISO and the rules of the settings."""
    from isobuilder.mold.catalogue import lock_beside
    from isobuilder.pipeline.fit import unfit_iso

    return unfit_iso(registration, lock_beside(registration, path), app.rules)


def _line_text(line: Line) -> str:
    text = f"{line.level:8} {printable(line.subject)}: {printable(line.fact)}"
    return f"{text}\n{'':8} -> {printable(line.remedy)}" if line.remedy else text


def _line_data(server: str, line: Line) -> dict[str, Any]:
    data: dict[str, Any] = {
        "server": server,
        "level": str(line.level),
        "subject": line.subject,
        "fact": line.fact,
        "remedy": line.remedy,
    }
    if line.fix is not None:
        data["fix"] = {"setting": line.fix.setting, "old": line.fix.old, "new": line.fix.new}
    return data


def _then(changed: list[Fix]) -> str | None:
    """Return what is left to do after changes of settings, None if they count at once."""
    waiting = "; ".join(fix.then for fix in changed if fix.then)
    return f"{waiting}; then check again" if waiting else None


def _offer_fixes(mold: Mold, lines: list[Line], *, yes: bool, dry_run: bool) -> list[Fix]:
    """Change settings one by one, each only if the person agrees; return those."""
    changed = []
    for line in lines:
        fix = line.fix
        if fix is None:
            continue
        text = f"{mold.name}: {fix.setting}: {fix.old!r} -> {fix.new!r}"
        if dry_run:
            tell(f"would change {text}", err=True)
            continue
        if not yes and not agreed(f"change {text}?"):
            continue
        fix.apply(mold)
        changed.append(fix)
        tell(f"changed {text}", err=True)
        tell(f"undo: {fix.restore_command(mold)}", err=True)
    return changed


@click.command(cls=AppCommand)
@click.argument("iso", type=FILE)
@server_options
@_url_option
@zone_option
@click.option("--all-zones", is_flag=True, help="Once for all zones; the default without --zone.")
@click.option("--upload", is_flag=True, help="Send the ISO through Mold; needs no web server.")
@click.option("--from-site", metavar="URL", help="Where isobuilder site serve has the ISO.")
@click.option("--name", metavar="TEXT", help="Name of the version.  [default: that of the ISO]")
@click.option("--enable/--disabled", "enabled", default=None, help="State.  [default: enabled]")
@click.option("--direct-download", is_flag=True, help="KVM hosts fetch the ISO themselves.")
@click.option("--min-cpu", type=WholeNumber(0), metavar="N", help="CPUs a node needs at least.")
@click.option(
    "--min-memory", type=WholeNumber(0), metavar="MB", help="Memory a node needs at least."
)
@click.option("--wait/--no-wait", default=True, help="Until Ready in every zone.  [default: wait]")
@timeout_option
@poll_option
@signature_options("--signed-by", "--signers")
@click.option("--keep-failed", is_flag=True, help="Do not delete what this run could not finish.")
@dry_run_option
@json_option
@click.pass_obj
def register(
    app: App,
    /,
    servers: Servers,
    iso: Path,
    upload: bool,
    from_site: str | None,
    all_zones: bool,
    keys: tuple[Path, ...],
    revoked: tuple[Path, ...],
    signatures: int | None,
    as_json: bool,
    **wished: Any,
) -> None:
    """Make ISO (or its registration.json) a Kubernetes version, Ready in every zone.

    Run again it changes nothing, or adds what is missing. With --signed-by nothing is asked of a
    server before the signature beside ISO holds for the digest that is registered.
    """
    from isobuilder.errors import InputError, UsageProblem
    from isobuilder.mold.catalogue import read_registration
    from isobuilder.mold.request import RegistrationRequest

    if all_zones and wished["zones"]:
        raise UsageProblem("--all-zones and --zone exclude each other")
    registration, file = read_registration(iso)
    if (wanted := wanted_signatures(keys, revoked, signatures)) is not None:
        _demand(app, file or iso.with_name(registration.filename), registration, wanted)
    if upload and file is None:
        raise InputError(f"{iso}: {registration.filename} is not beside it")
    wish = RegistrationRequest(
        registration,
        url=_address(app, registration, wished.pop("url"), from_site, upload=upload),
        upload=file if upload else None,
        iso=file,
        unfit=_unfit_beside(app, registration, iso),
        **wished,
    )
    opened = servers.opened(app)
    if from_site:
        opened = [(name, _checked(app, mold, wish)) for name, mold in opened]
    told: list[str] = []
    results = _results(app, opened, wish, told)
    _show_results(app, results, wish, told, as_json=as_json)
    _raise_for(results)


def _demand(app: App, iso: Path, registration: RegistrationFile, wanted: Signatures) -> None:
    """Tell whose signatures beside an ISO hold; refuse if they are not those that are wanted."""
    from isobuilder.digest import Digest
    from isobuilder.pipeline.provenance.signing import demand

    for claim in demand(iso, Digest.from_hex(registration.checksum.hex), wanted):
        app.say(str(claim))


def _address(
    app: App,
    registration: RegistrationFile,
    url: str | None,
    from_site: str | None,
    *,
    upload: bool,
) -> str | None:
    """Return where the server fetches the ISO, None if it is sent there."""
    from isobuilder.errors import UsageProblem
    from isobuilder.mold.site import address_at_site

    if [upload, bool(url), bool(from_site)].count(True) > 1:
        raise UsageProblem("--upload, --url and --from-site exclude each other")
    if upload:
        return None
    if from_site:
        return address_at_site(app.http, from_site, registration)
    if address := url or registration.download_url:
        return address
    raise UsageProblem(
        "where can the server fetch the ISO?", hint="give --url URL, or --upload to send it"
    )


def _reached(opened: Opened) -> list[Mold]:
    return [mold for _name, mold in opened if not isinstance(mold, IsobuilderError)]


def _results(
    app: App, opened: Opened, wish: RegistrationRequest, told: list[str]
) -> list[ServerResult]:
    """Register, and return what became of it on each server, those that cannot be asked too.

    What is told at once, before anything is changed, is added to ``told``.
    """
    from isobuilder.mold.register import register as register_on
    from isobuilder.mold.request import ServerResult

    def warn(text: str) -> None:
        told.append(text)
        app.say(f"warning: {text}")

    found = iter(register_on(_reached(opened), wish, progress=app.progress, tell=warn))
    return [
        ServerResult(name, error=mold) if isinstance(mold, IsobuilderError) else next(found)
        for name, mold in opened
    ]


def _checked(
    app: App, mold: Mold | IsobuilderError, wish: RegistrationRequest
) -> Mold | IsobuilderError:
    """Do what ``mold check`` does: a site's own server is seldom where Mold fetches from.

    A server that is not ready gets nothing, and what is wrong with it is its result.
    """
    from isobuilder.errors import MoldError
    from isobuilder.mold.check import check as check_server
    from isobuilder.mold.checklist import Level, Question

    if isinstance(mold, IsobuilderError):
        return mold
    question = Question(
        registration=wish.registration,
        url=wish.url,
        zones=tuple(wish.zones),
        direct_download=wish.direct_download,
        unfit=wish.unfit,
    )
    try:
        lines = check_server(mold, question, http=app.http, progress=app.progress)
    except IsobuilderError as error:
        return error
    wrong = [
        f"{mold.name}: {line.subject}: {line.fact}{f' -> {line.remedy}' if line.remedy else ''}"
        for line in lines
        if line.level is Level.PROBLEM
    ]
    if wrong:
        hint = "isobuilder mold check with --fix offers to change settings"
        return MoldError(*wrong, hint=hint)
    return mold


def _show_results(
    app: App,
    results: list[ServerResult],
    wish: RegistrationRequest,
    told: Collection[str],
    *,
    as_json: bool,
) -> None:
    if as_json:
        app.show_json([_result_data(result, wish) for result in results])
        return
    for result in results:
        for text in result.done:
            app.say(f"{result.server}: {text}")
        if result.ok and not result.done:
            app.say(f"{result.server}: nothing to change")
        for text in result.warnings:
            if f"{result.server}: {text}" not in told:
                app.say(f"warning: {result.server}: {text}")
    rows = [
        (result.server, zone.zone, zone.outcome.capitalize(), zone.text, zone.version_id or "")
        for result in results
        for zone in result.zones
    ]
    if rows:
        tell_text(table(rows, ("SERVER", "ZONE", "RESULT", "STATUS", "ID")))


def _result_data(result: ServerResult, wish: RegistrationRequest) -> dict[str, Any]:
    return {
        "server": result.server,
        "name": wish.full_name,
        "ok": result.ok,
        "error": str(result.error) if result.error else None,
        "hint": result.error.hint if result.error else None,
        "done": result.done,
        "warnings": result.warnings,
        "zones": [
            {
                "zone": zone.zone,
                "outcome": str(zone.outcome),
                "text": zone.text,
                "hint": zone.hint,
                "version_id": zone.version_id,
            }
            for zone in result.zones
        ],
    }


def _raise_for(results: list[ServerResult]) -> None:
    """Turn what failed into the command's error and exit code."""
    from isobuilder.errors import MoldError, PartlyDone
    from isobuilder.mold.request import Outcome

    errors: list[IsobuilderError] = []
    good = sum(
        zone.outcome is not Outcome.FAILED
        for result in results
        if result.error is None
        for zone in result.zones
    )
    for result in results:
        if result.error is not None:
            errors.append(result.error)
        for zone in result.zones:
            if zone.outcome is Outcome.FAILED:
                text = f"{result.server}: {zone.zone}: {zone.text}"
                errors.append(MoldError(text, hint=zone.hint))
    if not errors:
        return
    if len(results) == 1 and results[0].error is not None:
        raise results[0].error
    texts = [line for error in errors for line in error.lines]
    hint = next((error.hint for error in errors if error.hint), None)
    kind = PartlyDone if good else gravest(errors)
    raise kind(*texts, hint=hint)
