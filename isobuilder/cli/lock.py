"""``isobuilder lock`` and ``isobuilder plan``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import (
    NEW_FILE,
    App,
    AppCommand,
    json_option,
    plural,
    refuse_iso,
)
from isobuilder.cli.exits import Attempts
from isobuilder.cli.sources import SOURCE, BuildSource, arch_option, locks_of, tell_end_of_life
from isobuilder.cli.telling import table, tell, tell_path, tell_text
from isobuilder.text import human_size

if TYPE_CHECKING:
    from isobuilder.model.lock import Lock
    from isobuilder.model.recipe import Recipe
    from isobuilder.pipeline.fetch import DownloadPlan, PlanItem


@click.command(cls=AppCommand)
@click.argument("recipe", metavar="RECIPE|VERSION", type=SOURCE)
@arch_option
@click.option(
    "--update",
    multiple=True,
    metavar="NAME",
    help="Ask again only for this file, manifest or image; may be repeated.",
)
@click.option("-o", "--output", type=NEW_FILE, help="Write the lock here, not beside the recipe.")
@click.option("--locked", is_flag=True, help="Write nothing; end with 9 if the lock would change.")
@click.option("--strict", is_flag=True, help="Refuse what manifests name and nobody locks.")
@click.option("--trust", is_flag=True, help="Refuse what is not signed as the policies need it.")
@click.pass_obj
def lock(
    app: App,
    recipe: BuildSource,
    arch: str | None,
    update: tuple[str, ...],
    output: Path | None,
    locked: bool,
    strict: bool,
    trust: bool,
) -> None:
    """Ask upstream for the exact bytes of RECIPE and write them down.

    Prints the path of each lock, and what changed since the one that was there. Without --arch
    every architecture of the recipe is locked. The locks of a VERSION that is shipped are written
    into the current folder.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.model.loading import architectures_of
    from isobuilder.pipeline.lock import changed_lines, lock_recipe
    from isobuilder.sources.session import open_session

    refuse_iso(recipe.path, "a recipe")
    architectures = [arch] if arch else list(architectures_of(recipe.path))
    if output and len(architectures) > 1:
        raise UsageProblem(
            f"--output names one file, {recipe.called} has {len(architectures)} architectures",
            hint="choose one with --arch",
        )
    recipes = [recipe.recipe(name) for name in architectures]
    tell_end_of_life(app, (one.kubernetes for one in recipes))
    _tell_unwise(app, recipes)
    attempts: Attempts[None] = Attempts()
    with open_session(app.config, app.store, progress=app.progress) as session:
        for architecture in architectures:
            with attempts:
                result = lock_recipe(
                    recipe.path,
                    architecture,
                    session,
                    update=update,
                    strict=strict,
                    trust=trust or app.config.trust,
                    output=output or recipe.own_lock(architecture),
                    locked=locked,
                    called=recipe.called,
                )
                if result.previous is not None:
                    for line in changed_lines(result.previous, result.lock):
                        app.say(f"{architecture}: {line}")
                app.say(f"{architecture}: {'written' if result.changed else 'unchanged'}")
                tell_path(result.path)
    attempts.raise_failures()


def _tell_unwise(app: App, recipes: list[Recipe]) -> None:
    """Warn of parts that do not go well together, each once."""
    from isobuilder.pipeline.fit import unfit_parts

    told = (
        one
        for recipe in recipes
        for one in unfit_parts(recipe, app.rules)
        if one.level == "warning"
    )
    for one in dict.fromkeys(told):
        if one.rule != "end-of-life":  # which is told already, and before it has come
            app.say(f"warning: {one.fact} ({one.source})")
            app.say(f"hint: {one.hint}")


@click.command(cls=AppCommand)
@click.argument("sources", metavar="RECIPE|LOCK|VERSION...", nargs=-1, required=True, type=SOURCE)
@arch_option
@json_option
@click.pass_obj
def plan(app: App, sources: tuple[BuildSource, ...], arch: str | None, as_json: bool) -> None:
    """Tell what each ISO would download and the disk it needs.

    Of what nobody here has seen yet upstream is asked for the size, and nothing is downloaded; with
    --offline nothing is asked.
    """
    from isobuilder.pipeline.fetch import plan as plan_of

    attempts: Attempts[dict[str, Any]] = Attempts()
    for source in sources:
        with attempts:
            locks, left_out = locks_of(source, arch)
            tell_left_out(app, source, left_out)
            for one in locks:
                result = plan_of(one, app.store)
                if result.unknown and not app.config.offline:
                    result = plan_of(_sized(app, one), app.store)
                data = asdict(result) | {"disk": result.disk, "name": one.base_name}
                attempts.results.append(data)
                if not as_json:
                    _show(one, result, several=len(sources) > 1 or len(locks) > 1)
    if as_json and (plans := attempts.results):
        app.show_json(plans[0] if len(plans) == len(sources) == 1 else plans)
    attempts.raise_failures()


def _sized(app: App, lock: Lock) -> Lock:
    """Ask how large everything is, and say of whom there was no answer."""
    from isobuilder.pipeline.fetch import impatient_session, with_sizes

    app.progress.step(f"sizes of {lock.base_name}")
    with impatient_session(app.config, app.store, progress=app.progress) as session:
        sized = with_sizes(lock, session)
    if sized.errors:
        missing = plural(len(sized.errors), "size")
        app.say(f"{missing} could not be asked for: {sized.errors[0].lines[0]}")
    return sized.lock


def tell_left_out(app: App, source: BuildSource, left_out: list[str]) -> None:
    """Say which architectures of a recipe have no lock and are not served."""
    for architecture in left_out:
        app.say(
            f"{architecture}: left out, {source.called} has no lock for it; "
            f"isobuilder lock {source.called} --arch {architecture} makes one"
        )


def _show(lock: Lock, result: DownloadPlan, *, several: bool) -> None:
    if several:
        tell(f"{lock.base_name}:")
    rows = [(item.kind, item.name, human_size(item.size), _state(item)) for item in result.items]
    tell_text(table(rows, ("KIND", "NAME", "SIZE", "DOWNLOAD")))
    if result.unknown == len([item for item in result.items if item.missing != 0]) > 0:
        tell()
        tell(
            f"{plural(result.unknown, 'thing')} to download, of sizes that nobody here has seen "
            "yet: isobuilder fetch or isobuilder lock finds them out"
        )
        return
    more = f", and {result.unknown} of unknown size" if result.unknown else ""
    least = "at least " if result.unknown else ""
    tell()
    tell(
        f"{human_size(result.download)} to download{more}; "
        f"the ISO will be {least or 'about '}{human_size(result.iso)}; "
        f"free disk needed: {least}{human_size(result.disk)}"
    )


def _state(item: PlanItem) -> str:
    if item.kind == "payload" and item.size is None:
        return f"none, so a plain ISO; {item.source} makes one"
    if item.missing is None:
        return "yes"
    return human_size(item.missing) if item.missing else "cached"
