"""``isobuilder lock`` and ``isobuilder plan``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import (
    FILE,
    NEW_FILE,
    App,
    AppCommand,
    human_size,
    json_option,
    load_lock_file,
    table,
)
from isobuilder.cli.exits import for_each

if TYPE_CHECKING:
    from isobuilder.pipeline.fetch import PlanItem


@click.command(cls=AppCommand)
@click.argument("recipe", type=FILE)
@click.option("--arch", type=click.Choice(["amd64", "arm64"]), help="Only this architecture.")
@click.option(
    "--update",
    multiple=True,
    metavar="NAME",
    help="Ask again only for this file, manifest or image; may be repeated.",
)
@click.option("-o", "--output", type=NEW_FILE, help="Write the lock here, not beside the recipe.")
@click.pass_obj
def lock(
    app: App, recipe: Path, arch: str | None, update: tuple[str, ...], output: Path | None
) -> None:
    """Ask upstream for the exact bytes of RECIPE and write them down.

    Prints the path of each lock. Without --arch every architecture of the recipe is locked.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.model.loading import architectures_of
    from isobuilder.pipeline.lock import lock_recipe
    from isobuilder.sources.session import open_session

    architectures = [arch] if arch else list(architectures_of(recipe))
    if output and len(architectures) > 1:
        raise UsageProblem(
            f"--output names one file, {recipe} has {len(architectures)} architectures",
            hint="choose one with --arch",
        )
    with open_session(app.config, app.store, progress=app.progress) as session:

        def lock_one(architecture: str) -> None:
            result = lock_recipe(recipe, architecture, session, update=update, output=output)
            app.say(f"{architecture}: {'written' if result.changed else 'unchanged'}")
            click.echo(result.path)

        for_each(architectures, lock_one)


@click.command(cls=AppCommand)
@click.argument("lock_file", metavar="LOCK", type=FILE)
@json_option
@click.pass_obj
def plan(app: App, lock_file: Path, as_json: bool) -> None:
    """Tell what LOCK would download and the disk it needs."""
    from isobuilder.pipeline.fetch import plan as plan_of

    result = plan_of(load_lock_file(lock_file), app.store)
    if as_json:
        app.show_json(asdict(result) | {"disk": result.disk})
        return
    rows = [(item.kind, item.name, human_size(item.size), _state(item)) for item in result.items]
    click.echo(table(rows, ("KIND", "NAME", "SIZE", "DOWNLOAD")))
    more = f", and {result.unknown} of unknown size" if result.unknown else ""
    click.echo(
        f"\n{human_size(result.download)} to download{more}; "
        f"the ISO will be about {human_size(result.iso)}; "
        f"free disk needed: {human_size(result.disk)}"
    )


def _state(item: PlanItem) -> str:
    if item.kind == "payload" and item.size is None:
        return f"no: make it with {item.source}"
    if item.missing is None:
        return "yes"
    return human_size(item.missing) if item.missing else "cached"
