"""``isobuilder store``."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from isobuilder.cli.app import (
    App,
    AppGroup,
    json_option,
    plural,
)
from isobuilder.cli.sources import SOURCE, BuildSource, locks_of
from isobuilder.cli.telling import table, tell, tell_text
from isobuilder.text import human_size


@click.group(cls=AppGroup)
def store() -> None:
    """List, check and clean the store of downloaded bytes."""


@store.command("list")
@click.argument("sources", metavar="[RECIPE|LOCK|VERSION]...", nargs=-1, type=SOURCE)
@json_option
@click.pass_obj
def list_blobs(app: App, sources: tuple[BuildSource, ...], as_json: bool) -> None:
    """Print every blob: its digest, size, when a build last needed it, and its names.

    Names are those of the locks that were fetched into this store, and of the locks that are named.
    """
    from isobuilder.pipeline.fetch import names_of
    from isobuilder.store import stored

    blobs = stored(app.store)
    names = names_of(app.store, [lock for source in sources for lock in locks_of(source, None)[0]])
    if as_json:
        app.show_json(
            [
                {
                    "digest": blob.digest,
                    "size": blob.size,
                    "used": int(blob.used),
                    "names": names.get(blob.digest, []),
                }
                for blob in blobs
            ]
        )
        return
    rows = [
        (
            blob.digest,
            human_size(blob.size),
            _day(blob.used),
            ", ".join(names.get(blob.digest, ["-"])),
        )
        for blob in blobs
    ]
    if rows:
        tell_text(table(rows, ("DIGEST", "SIZE", "LAST USED", "NAMES")))
    size = human_size(sum(blob.size for blob in blobs))
    app.say(f"{plural(len(blobs), 'blob')}, {size} in {app.store.root}")


_LAST = datetime.max.replace(tzinfo=UTC).timestamp() - 1


def _day(when: float) -> str:
    """Return the day of a time stamp, the last that there is for what a wrong clock wrote."""
    return f"{datetime.fromtimestamp(min(when, _LAST), UTC):%Y-%m-%d}"


@store.command()
@json_option
@click.pass_obj
def check(app: App, as_json: bool) -> None:
    """Hash every blob again and put damaged ones into quarantine."""
    from isobuilder.errors import EnvironmentProblem, IntegrityError
    from isobuilder.store import check as check_store

    _refuse_no_store(app)
    report = check_store(app.store, progress=app.progress)
    if as_json:
        app.show_json(
            {
                "blobs": report.blobs,
                "size": report.size,
                "damaged": report.damaged,
                "unreadable": [
                    {"name": damage.name, "fact": damage.fact} for damage in report.unreadable
                ],
            }
        )
    else:
        tell(
            f"{plural(report.blobs, 'blob')}, {human_size(report.size)}: "
            f"{len(report.damaged) or 'none'} damaged"
        )
    if report.damaged:
        raise IntegrityError(
            *(f"{damage.name}: {damage.fact}" for damage in report.damaged),
            hint="isobuilder fetch LOCK brings back what its lock names, isobuilder site import "
            f"what was carried; the damaged bytes are in {app.store.root / 'quarantine'}",
        )
    if report.unreadable:
        raise EnvironmentProblem(
            *(f"{damage.name}: {damage.fact}" for damage in report.unreadable),
            hint=f"they stay in {app.store.root / 'blobs'}: see to its permissions and its disk",
        )


def _refuse_no_store(app: App) -> None:
    """Raise if a store is named that is not there: what is said of it would be said of a slip.

    One that is not named begins with the first that is kept.
    """
    from isobuilder.errors import InputError
    from isobuilder.model.config import DEFAULT

    if app.settings[1]["store"] != DEFAULT and not app.store.root.is_dir():
        raise InputError(f"{app.store.root}: there is no store", hint="name it with --store")


@store.command()
@click.argument("sources", metavar="RECIPE|LOCK|VERSION...", nargs=-1, type=SOURCE)
@click.option("--all", "everything", is_flag=True, help="Keep nothing; needed when none is named.")
@click.option("--max-size", metavar="BYTES", help="Stop when the store is no larger, such as 20G.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@json_option
@click.pass_obj
def gc(
    app: App,
    sources: tuple[BuildSource, ...],
    everything: bool,
    max_size: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove what no lock reaches, the longest unused first; never what a running build uses.

    Downloads that nobody went on with, and damaged bytes that are in quarantine, go after 7 days.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.model.config import parse_size
    from isobuilder.pipeline.fetch import collect

    if not sources and not everything:
        raise UsageProblem(
            "nothing to keep is named",
            hint="name the locks, recipes or versions whose bytes stay, or say --all to keep "
            "nothing",
        )
    most = None if max_size is None else parse_size(max_size)
    _refuse_no_store(app)
    result = collect(
        app.store,
        [lock for source in sources for lock in locks_of(source, None)[0]],
        everything=everything,
        max_size=most,
        dry_run=dry_run,
        progress=app.progress,
    )
    if as_json:
        app.show_json(
            {
                "removed": [{"digest": blob.digest, "size": blob.size} for blob in result.removed],
                "freed": result.freed,
                "kept": result.kept,
                "in_use": result.in_use,
                "dry_run": dry_run,
            }
        )
        return
    verb = "would remove" if dry_run else "removed"
    tell(
        f"{verb} {plural(len(result.removed), 'blob')}, {human_size(result.freed)}; "
        f"{human_size(result.kept)} stay"
    )
