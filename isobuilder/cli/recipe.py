"""``isobuilder recipe``."""

from __future__ import annotations

from pathlib import Path

import click

from isobuilder.cli.app import FILE, FOLDER, NEW_FILE, App, AppGroup, json_option
from isobuilder.cli.sources import SOURCE, BuildSource
from isobuilder.cli.telling import table, tell, tell_path, tell_text
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.profile import DEFAULT_PROFILE, PROFILES

_SCRIPT_LIMIT = 1024 * 1024  # bytes of a text that a call is looked for in

_PROFILES = click.Choice(list(PROFILES))


@click.group(cls=AppGroup)
def recipe() -> None:
    """Write, check and look at recipes."""


@recipe.command("list")
@json_option
@click.pass_obj
def list_shipped(app: App, as_json: bool) -> None:
    """Print the recipes that are shipped: build, lock, plan and fetch take their versions."""
    from isobuilder.model.loading import load_recipe
    from isobuilder.pipeline.shipped import shipped

    found = [(item, load_recipe(item.recipe)) for item in shipped()]
    if as_json:
        app.show_json(
            [
                {
                    "version": str(item.version),
                    "profile": read.profile,
                    "revision": read.revision,
                    "architectures": read.architectures,
                    "locks": {name: str(path) for name, path in item.locks.items()},
                    "recipe": str(item.recipe),
                }
                for item, read in found
            ]
        )
        return
    rows = [
        (str(item.version), read.profile, ", ".join(read.architectures), ", ".join(item.locks))
        for item, read in found
    ]
    tell_text(table(rows, ("VERSION", "PROFILE", "FOR", "LOCKED FOR")))


@recipe.command()
@click.argument("version", metavar="VERSION|MINOR|latest")
@click.option(
    "--profile",
    type=_PROFILES,
    default=DEFAULT_PROFILE,
    show_default=True,
    help="The node contract.",
)
@click.option("-o", "--output", type=NEW_FILE, help="Write it here, not to stdout.")
@click.option("--lock", is_flag=True, help="Lock what --output writes, for each architecture.")
@click.pass_obj
def new(app: App, version: str, profile: str, output: Path | None, lock: bool) -> None:
    """Begin a recipe for Kubernetes VERSION: 1.37.2, v1.37.2, 1.37 or latest.

    Each number in it has its reason, by the rules and what upstream has; with --offline by the
    rules alone, and then the whole version has to be named.
    """
    from isobuilder.cli.upstream import proposed, write_proposal
    from isobuilder.errors import PartlyDone, UsageProblem

    if output is not None and output.exists():
        raise UsageProblem(f"{output} is there already", hint="choose another --output")
    if lock and output is None:
        raise UsageProblem("--lock is for what --output writes", hint="give --output FILE")
    found = proposed(app, version, profile=profile)
    if output is None:
        tell_text(found.text, nl=False)
        return
    found = write_proposal(app, found, output, lock=lock)
    if not lock:
        app.say("check the versions in it, then run isobuilder recipe check and isobuilder lock")
    for path in (output, *found.lock_files):
        tell_path(path)
    if found.unlocked:
        raise PartlyDone(*found.unlocked, hint=f"isobuilder lock {output} tries again")


@recipe.command()
@click.argument("sources", metavar="RECIPE|VERSION...", nargs=-1, required=True, type=SOURCE)
@json_option
@click.pass_obj
def check(app: App, sources: tuple[BuildSource, ...], as_json: bool) -> None:
    """Tell all that is wrong with each RECIPE, for every architecture it is for.

    Also compares the locks beside them, and tells by the rules of isobuilder upstream rules what
    does not fit together. Nothing is asked of the network.
    """
    from isobuilder.documents.mistakes import InputErrors
    from isobuilder.errors import InputError
    from isobuilder.pipeline.recipes import check_recipe

    found = [check_recipe(source.path, app.rules) for source in sources]
    for one in found:
        for warning in one.warnings:
            app.say(f"warning: {warning}")
            if warning.hint:
                app.say(f"hint: {warning.hint}")
        for problem in one.unfit:
            app.say(f"{problem.level}: {one.path}: {problem.fact} ({problem.source})")
            app.say(f"hint: {problem.hint}")
        if not one.mistakes and not one.cannot_work and not as_json:
            locked = f", locked for {', '.join(one.locked)}" if one.locked else ""
            tell(f"good: {one.path} ({', '.join(one.architectures)}{locked})")
    if as_json:
        app.show_json(
            [
                {
                    "path": str(one.path),
                    "architectures": one.architectures,
                    "locked": one.locked,
                    "mistakes": [mistake.to_data() for mistake in one.mistakes],
                    "warnings": [warning.to_data() for warning in one.warnings],
                    "unfit": [problem.to_data() for problem in one.unfit],
                }
                for one in found
            ]
        )
    mistakes = [mistake for one in found for mistake in one.mistakes]
    if mistakes:
        raise InputErrors(mistakes)
    if any(one.cannot_work for one in found):
        raise InputError("parts of a recipe cannot work together; above it says which")


@recipe.command()
@click.argument("source", metavar="RECIPE|VERSION", type=SOURCE)
@click.option("--arch", type=click.Choice(list(ARCHITECTURES)), help="Default: its first one.")
@json_option
@click.pass_obj
def show(app: App, source: BuildSource, arch: str | None, as_json: bool) -> None:
    """Print RECIPE with all that it extends, and every template expanded."""
    from isobuilder.model.loading import load_recipe
    from isobuilder.pipeline.recipes import expanded_text

    loaded = load_recipe(source.path, arch)
    if as_json:
        app.show_json(loaded.to_data())
    else:
        tell_text(expanded_text(loaded), nl=False)


@recipe.command("import", context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="FILE|SCRIPT ARGUMENT...", nargs=-1, required=True)
@click.option("--recipe", "recipe_file", type=FILE, help="Write only the lock of this recipe.")
@click.option("--out", type=FOLDER, default=".", show_default=True, help="Where both go.")
@click.pass_obj
def import_(app: App, words: tuple[str, ...], recipe_file: Path | None, out: Path) -> None:
    """Take over what another builder was told, as a recipe and, where it has digests, a lock.

    FILE is a JSON recipe of the present ABLESTACK builder, or a text with a call of CloudStack's
    create-kubernetes-binaries-iso.sh; the call can be given as it is, too. Prints the files
    written. Sizes are not known to these builders; they come with the first fetch.
    """
    from isobuilder.compat.cloudstack import call_in, is_call
    from isobuilder.pipeline.recipes import import_call, import_recipe

    call: list[str] | None = list(words) if is_call(words) and len(words) > 1 else None
    if call is None and len(words) > 1:
        raise click.UsageError("name one FILE, or the script with its arguments")
    file = Path(words[0])
    if call is None and not file.is_file():
        raise click.BadParameter(f"{file}: there is no such file", param_hint="FILE")
    if call is None and file.suffix != ".json":
        call = call_in(file.read_bytes()[:_SCRIPT_LIMIT].decode("utf-8", "replace"))
    if call is not None:
        tell_path(import_call(call, out=out))
        app.say("run isobuilder recipe check and isobuilder lock, which asks upstream for digests")
        return
    for path in import_recipe(file, recipe=recipe_file, out=out):
        tell_path(path)
    app.say("no byte was looked at: isobuilder fetch checks every digest")


@recipe.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from isobuilder.pipeline.recipes import schema_bytes

    tell_text(schema_bytes(), nl=False)
