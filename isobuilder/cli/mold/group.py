"""``isobuilder mold``: the group, and the commands that look at or change one version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import App, AppGroup, WholeNumber, json_option
from isobuilder.cli.mold.audit import apply, audit
from isobuilder.cli.mold.register import check, register
from isobuilder.cli.mold.servers import Servers, dry_run_option, server_options
from isobuilder.cli.mold.simulate import simulate
from isobuilder.cli.telling import agreed, table, tell, tell_text
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.text import printable

if TYPE_CHECKING:
    from isobuilder.mold.api.commands import Mold
    from isobuilder.mold.manage import Details
    from isobuilder.mold.registered import RegisteredVersion


@click.group(cls=AppGroup)
def mold() -> None:
    """Register ISOs with Mold or CloudStack, and look after them.

    Servers are profiles under mold: in the configuration, sections of cloudstack.ini, or given with
    --endpoint. Keys come from ISOBUILDER_MOLD_API_KEY and ISOBUILDER_MOLD_SECRET_KEY, a key file,
    the system keyring, or cloudstack.ini; never from the command line.
    """


for command in (check, register, audit, apply, simulate):
    mold.add_command(command)


def _iso_text(entry: RegisteredVersion) -> str:
    """Return how the ISO of a version is doing, zone by zone only where it is not Ready."""
    if not entry.rows:
        return entry.version.isostate or "?"
    waiting = [row for row in entry.rows if not row.isready]
    if not waiting:
        return "Ready"
    return "; ".join(f"{row.zonename}: {row.status or 'Allocated'}" for row in waiting)


def _entry_data(server: str, entry: RegisteredVersion) -> dict[str, Any]:
    """Return a version for machines."""
    return {
        "server": server,
        **entry.version.model_dump(),
        "sha256": entry.sha256,
        "isos": [row.model_dump() for row in entry.rows],
    }


@mold.command("list")
@server_options
@click.option(
    "--zone",
    "zones",
    multiple=True,
    metavar="ZONE",
    help="In this zone or all zones. Repeatable.",
)
@click.option(
    "--arch",
    type=click.Choice([traits.mold for traits in ARCHITECTURES.values()]),
    help="Only of this one.",
)
@click.option(
    "--state",
    type=click.Choice(["Enabled", "Disabled"], case_sensitive=False),
    help="Only in this state.",
)
@click.option("--version", metavar="X.Y[.Z]", help="This version, or all patches of this minor.")
@click.option("--keyword", metavar="TEXT", help="With this text in the name.")
@click.option("--ready/--not-ready", default=None, help="Ready in all its zones, or not.")
@json_option
@click.pass_obj
def list_versions(app: App, /, servers: Servers, as_json: bool, **wanted: Any) -> None:
    """Print the Kubernetes versions that are registered."""
    from isobuilder.mold.manage import Filter, list_entries

    attempts = servers.each(app, lambda mold: (mold.name, list_entries(mold, Filter(**wanted))))
    found = [(name, entry) for name, entries in attempts.results for entry in entries]
    if as_json:
        app.show_json([_entry_data(name, entry) for name, entry in found])
        attempts.raise_failures()
        return
    rows = [
        (
            name,
            entry.version.name,
            entry.version.semanticversion,
            entry.version.assumed_arch,
            entry.version.zonename or "all zones",
            entry.version.state,
            _iso_text(entry),
            entry.version.id,
        )
        for name, entry in found
    ]
    header = ("SERVER", "NAME", "VERSION", "ARCH", "ZONE", "STATE", "ISO", "ID")
    if rows:
        tell_text(table(rows, header))
    app.say("1 version" if len(rows) == 1 else f"{len(rows)} versions")
    attempts.raise_failures()


@mold.command()
@click.argument("version")
@server_options
@click.option(
    "--events",
    type=WholeNumber(0),
    default=10,
    show_default=True,
    help="How many events to show.",
)
@json_option
@click.pass_obj
def show(app: App, servers: Servers, version: str, events: int, as_json: bool) -> None:
    """Print everything about VERSION: an id, a name, or a number such as 1.34.12."""
    from isobuilder.mold import manage

    attempts = servers.each(
        app, lambda mold: (mold.name, manage.show(mold, version, events=events))
    )
    if as_json:
        found = [_details_data(name, details) for name, details in attempts.results]
        app.show_json(found[0] if len(servers.names) < 2 and found else found)
    else:
        for number, (name, details) in enumerate(attempts.results):
            if len(servers.names) > 1:
                if number:
                    tell()
                tell(f"{name}:")
            _print_details(details)
    attempts.raise_failures()


def _details_data(server: str, details: Details) -> dict[str, Any]:
    return _entry_data(server, details.entry) | {
        name: None if found is None else [one.model_dump() for one in found]
        for name, found in (("clusters", details.clusters), ("events", details.events))
    }


def _print_details(details: Details) -> None:
    version = details.entry.version
    users = "not shown to this key"
    if details.clusters is not None:
        users = ", ".join(sorted(c.name for c in details.clusters)) or "no cluster"
    facts = [
        ("name", version.name),
        ("id", version.id),
        ("version", version.semanticversion),
        ("architecture", version.assumed_arch),
        ("zone", version.zonename or "all zones"),
        ("state", version.state),
        ("minimum", f"{version.mincpunumber} CPUs, {version.minmemory} MB"),
        ("url", version.isourl or "not reported"),
        ("sha256", details.entry.sha256 or "not reported"),
        ("direct download", "yes" if version.directdownload else "no"),
        ("created", version.created or "?"),
        ("used by", users),
    ]
    for name, value in facts:
        tell(f"{name + ':':17}{value}")
    rows = [
        (row.zonename, "Ready" if row.isready else "not ready", row.status, str(row.size or "?"))
        for row in details.entry.rows
    ]
    if rows:
        tell_text("\n" + table(rows, ("ZONE", "ISO", "STATUS", "SIZE")))
    if details.events is None:
        tell(f"{'events:':17}not shown to this key")
    events = [(e.created, e.level, e.state, e.type, e.description) for e in details.events or ()]
    if events:
        tell_text("\n" + table(events, ("TIME", "LEVEL", "STATE", "EVENT", "DESCRIPTION")))


def _change_state(app: App, servers: Servers, version: str, *, enabled: bool, dry: bool) -> None:
    from isobuilder.mold import manage

    def change(mold: Mold) -> None:
        done = manage.set_state(mold, version, enabled=enabled, dry_run=dry)
        tell(f"{mold.name}: {done}")

    servers.each(app, change).raise_failures()


@mold.command()
@click.argument("version")
@server_options
@dry_run_option
@click.pass_obj
def enable(app: App, servers: Servers, version: str, dry_run: bool) -> None:
    """Let clusters be made from VERSION."""
    _change_state(app, servers, version, enabled=True, dry=dry_run)


@mold.command()
@click.argument("version")
@server_options
@dry_run_option
@click.pass_obj
def disable(app: App, servers: Servers, version: str, dry_run: bool) -> None:
    """Let no new cluster be made from VERSION; those that are there go on."""
    _change_state(app, servers, version, enabled=False, dry=dry_run)


@mold.command()
@click.argument("version")
@server_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run_option
@click.pass_obj
def delete(app: App, servers: Servers, version: str, yes: bool, dry_run: bool) -> None:
    """Delete VERSION and its ISO, unless a cluster uses it."""
    from isobuilder.mold import manage

    declined = []

    def remove(mold: Mold) -> None:
        found = manage.find_entry(mold, version).version.id  # also what is deleted after a yes
        planned = manage.delete(mold, found, dry_run=True)
        if dry_run:
            tell(f"{mold.name}: {planned}")
            return
        if not yes and not agreed(f"{mold.name}: {planned}. Go on?"):
            declined.append(mold.name)
            return
        tell(f"{mold.name}: {manage.delete(mold, found)}")

    attempts = servers.each(app, remove)
    attempts.raise_failures()
    if len(declined) == attempts.done:
        raise click.Abort


@mold.command()
@server_options
@click.option("--of", "version", metavar="VERSION", help="Only about this version and its ISO.")
@click.option("--type", "kind", metavar="TYPE", help="Such as KUBERNETES.VERSION.ADD.")
@click.option(
    "--level",
    type=click.Choice(["INFO", "WARN", "ERROR"], case_sensitive=False),
    help="Only of this level.",
)
@click.option(
    "--limit",
    type=WholeNumber(0),
    default=20,
    show_default=True,
    help="How many, the newest first.",
)
@json_option
@click.pass_obj
def events(
    app: App,
    servers: Servers,
    version: str | None,
    kind: str | None,
    level: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Print what happened to versions and ISOs."""
    from isobuilder.mold import manage

    wanted = manage.EventFilter(version=version, kind=kind, level=level, limit=limit)
    attempts = servers.each(app, lambda mold: (mold.name, manage.list_events(mold, wanted)))
    found = [(name, event) for name, events in attempts.results for event in events]
    if as_json:
        app.show_json([{"server": name, **event.model_dump()} for name, event in found])
    elif found:
        several = len(servers.names) > 1
        rows = [
            (
                *((name,) if several else ()),
                e.created,
                e.level,
                e.state,
                e.type,
                e.username,
                e.description,
            )
            for name, e in found
        ]
        header = ("TIME", "LEVEL", "STATE", "EVENT", "USER", "DESCRIPTION")
        tell_text(table(rows, ("SERVER", *header) if several else header))
    else:
        app.say("no events")
    attempts.raise_failures()


@mold.command()
@server_options
@json_option
@click.pass_obj
def zones(app: App, servers: Servers, as_json: bool) -> None:
    """Print the zones."""
    attempts = servers.each(app, lambda mold: [(mold.name, zone) for zone in mold.zones()])
    found = [pair for pairs in attempts.results for pair in pairs]
    if as_json:
        app.show_json([{"server": name, **zone.model_dump()} for name, zone in found])
    elif found:
        rows = [(name, z.name, z.type, z.networktype, z.allocationstate, z.id) for name, z in found]
        tell_text(table(rows, ("SERVER", "NAME", "TYPE", "NETWORK", "STATE", "ID")))
    attempts.raise_failures()


@mold.command()
@click.argument("name")
@click.argument("value", required=False)
@server_options
@dry_run_option
@json_option
@click.pass_obj
def setting(
    app: App, servers: Servers, name: str, value: str | None, dry_run: bool, as_json: bool
) -> None:
    """Print the global setting NAME, or give it VALUE."""
    from isobuilder.errors import UsageProblem

    if as_json and value is not None:
        raise UsageProblem("--json is for reading a setting, and VALUE changes it")
    attempts = servers.each(
        app, lambda mold: _set_or_show(app, mold, name, value, dry_run=dry_run, quiet=as_json)
    )
    if as_json:
        app.show_json(attempts.results)
    attempts.raise_failures()


def _set_or_show(
    app: App, mold: Mold, name: str, value: str | None, *, dry_run: bool, quiet: bool
) -> dict[str, str]:
    from isobuilder.errors import MoldError
    from isobuilder.mold.checklist import Fix

    found = mold.setting(name)
    if found is None:
        raise MoldError(f"{mold.name}: no setting {name}")
    old = found.effective
    if quiet:
        pass
    elif value is None:
        tell(f"{mold.name}: {name} = {printable(old)}")
    elif old == value:
        tell(f"{mold.name}: {name} is {value!r} already")
    elif dry_run:
        tell(f"{mold.name}: would change {name} from {old!r} to {value!r}")
    else:
        fix = Fix(name, old, value)
        fix.apply(mold)
        tell(f"{mold.name}: {name} was {old!r}, is {value!r}")
        app.say(f"undo: {fix.restore_command(mold)}")
        if found.isdynamic is False:
            app.say(f"{name} is read at the start only: restart the management server")
    return {"server": mold.name, "name": name, "value": old}
