"""``isobuilder matrix``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FOLDER, App, AppCommand, AppGroup, json_option, plural
from isobuilder.cli.jobs import image_option, install_option, refuse_idle, requirement
from isobuilder.cli.telling import table, tell, tell_text
from isobuilder.cli.trust.signing import typed
from isobuilder.cli.upstream import named_recipes, recipes_option
from isobuilder.model.architecture import ARCHITECTURES

if TYPE_CHECKING:
    from isobuilder.jobs.cell import Cell

arch_option = click.option(
    "--arch",
    "architectures",
    multiple=True,
    type=click.Choice(list(ARCHITECTURES)),
    help="Only these architectures.",
)


class _MatrixGroup(AppGroup, AppCommand):
    """A group that does something by itself too, and so takes the common options."""


@click.group(cls=_MatrixGroup, invoke_without_command=True)
@recipes_option
@arch_option
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "github", "gitlab", "kubernetes"]),
    default="table",
    show_default=True,
    help="For people, for programs, or as the jobs of a service.",
)
@click.option("--out", help="Where jobs put their ISOs.  [default: dist]")
@install_option
@image_option
@json_option
@click.pass_context
def matrix(
    context: click.Context,
    named: tuple[Path, ...],
    architectures: tuple[str, ...],
    style: str,
    out: str | None,
    install: str | None,
    image: str | None,
    as_json: bool,
) -> None:
    """Print every ISO that recipes mean as a cell, or as jobs of CI services and Kubernetes.

    A cell is a version for an architecture and a profile. Each job is a plain build from its lock
    with a check against it, and may be begun again and anywhere. Without a lock it is left out.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.jobs import services
    from isobuilder.jobs.files import checked_image, checked_requirement

    if context.invoked_subcommand is not None:
        _refuse_unheard(context, context.invoked_subcommand)
        return
    if as_json and style not in {"table", "json"}:
        raise UsageProblem(f"--json and --format {style} contradict each other")
    refuse_idle(style, "--out", out, "gitlab", "kubernetes")
    refuse_idle(style, "--install", install, "gitlab")
    refuse_idle(style, "--image", image, "kubernetes")
    out = out or "dist"
    app = context.ensure_object(App)
    cells = _cells(named, architectures)
    if style == "json" or as_json:
        app.show_json([cell.to_data() for cell in cells])
        return
    if style == "table":
        tell_text(table([_row(cell) for cell in cells], _HEADS))
        return
    ready = _ready(app, cells)
    if style == "github":
        text = services.github(ready)
    elif style == "gitlab":
        text = services.gitlab(
            ready,
            out=out,
            install=checked_requirement(requirement(install)),
            chosen=[
                *(word for path in named for word in ("--recipes", str(path))),
                *(word for one in architectures for word in ("--arch", one)),
            ],
        )
    elif image is None:
        raise UsageProblem("--format kubernetes needs --image, which has isobuilder in it")
    else:
        text = services.kubernetes(ready, out=out, image=checked_image(image))
    tell_text(text, nl=False)


def _refuse_unheard(context: click.Context, name: str) -> None:
    """Refuse the group's own options before the command ``name``, which would not hear of them.

    Raises:
        UsageProblem: one is given.
    """
    from isobuilder.errors import UsageProblem

    command = matrix.commands[name]
    taken = {option for parameter in command.params for option in parameter.opts}
    for parameter in context.command.params:
        option = parameter.opts[0]
        # The common ones have no value here: they are the whole call's, wherever they stand.
        if not parameter.expose_value or not typed(context, str(parameter.name)):
            continue
        if option in taken:
            raise UsageProblem(
                f"options follow the command: {context.command_path} {name} {option}"
            )
        raise UsageProblem(f"{option} is for {context.command_path} by itself, not for {name}")


_HEADS = ("VERSION", "ARCHITECTURE", "PROFILE", "REVISION", "LOCK", "RECIPE")


def _row(cell: Cell) -> tuple[str, ...]:
    iso = cell.iso
    lock = str(cell.lock.digest)[:19] if cell.lock else "none"
    return (
        *(str(iso.kubernetes), iso.architecture, iso.flavour, f"r{iso.revision}"),
        *(lock, cell.source),
    )


def _ready(app: App, cells: list[Cell]) -> list[Cell]:
    """Return the cells that can be jobs, and tell which cannot."""
    from isobuilder.errors import InputError

    ready = [cell for cell in cells if cell.lock]
    for cell in cells:
        if cell.lock is None:
            app.say(
                f"{cell.name}: left out, {cell.source} has no lock for it; isobuilder lock "
                f"{cell.source} --arch {cell.iso.architecture} makes one"
            )
    if not ready:
        raise InputError("no cell has a lock", hint="run isobuilder lock for each recipe")
    for cell in ready:
        if not cell.source.isprintable():
            raise InputError(f"{cell.source}: no job can be told this name", hint="rename it")
    return ready


def _cells(named: tuple[Path, ...], architectures: tuple[str, ...]) -> list[Cell]:
    from isobuilder.errors import InputError
    from isobuilder.pipeline.matrix import cells_of
    from isobuilder.pipeline.shipped import shipped

    if named:
        # A name that begins with a dash would be an option of the job's commands.
        sources = [(path, re.sub("^-", "./-", str(path))) for path in named_recipes(named)]
    else:
        sources = [(one.recipe, str(one.version)) for one in shipped()]
    found = cells_of(sources, architectures)
    if not found:
        raise InputError(
            "no recipe for this",
            hint="name recipes, or folders in which they are, with --recipes; and their --arch",
        )
    return found


@matrix.command(cls=AppCommand)
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=FOLDER)
@recipes_option
@arch_option
@click.option("--hash", "hashed", is_flag=True, help="Hash the ISOs that are there as well.")
@click.option("--exit-code", is_flag=True, help="End with 9 if a cell is not good.")
@json_option
@click.pass_obj
def status(
    app: App,
    folders: tuple[Path, ...],
    named: tuple[Path, ...],
    architectures: tuple[str, ...],
    hashed: bool,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Tell which cells are missing, not verified, or not the same on all machines.

    Each FOLDER has what one machine made: ISOs with their side files, or the side files alone, and
    NAME.verified.json with what isobuilder verify --json said; or it was published by a sync.
    """
    from isobuilder.errors import DifferencesFound, InputError
    from isobuilder.pipeline.matrix import status_of

    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder")
    found = status_of(_cells(named, architectures), folders, hashed=hashed)
    if as_json:
        app.show_json([one.to_data() for one in found])
    else:
        for one in found:
            tell(f"{one.state}: {one.cell.name}" + (f": {one.digest}" if one.digest else ""))
            for fact in one.facts:
                tell(f"  {fact}")
    bad = [one for one in found if one.state != "good"]
    app.say(f"{len(found) - len(bad)} of {plural(len(found), 'cell')} good")
    if exit_code and bad:
        raise DifferencesFound(f"{plural(len(bad), 'cell')} not good")
