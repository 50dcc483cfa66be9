"""``isobuilder report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import NEW_FILE, App, AppCommand
from isobuilder.cli.sources import SOURCE, BuildSource, file_of
from isobuilder.cli.telling import tell_path

if TYPE_CHECKING:
    from isobuilder.report.rendering import Language

language_option = click.option(
    "--lang",
    "language",
    type=click.Choice(["en", "ko"]),
    default="en",
    show_default=True,
    help="Language that pages open in; they have both.",
)


@click.command(cls=AppCommand)
@click.argument("source", metavar="ISO|LOCK|VERSION", type=SOURCE)
@click.option("-o", "--out", type=NEW_FILE, help="The page.  [default: beside, NAME.report.html]")
@language_option
@click.pass_obj
def report(app: App, source: BuildSource, out: Path | None, language: Language) -> None:
    """Write the page of an ISO or a lock: one file that any browser shows.

    Versions, sizes, images, what changed since the ISO before it in its folder, evidence, what a
    node would stumble over, and how to register and boot it, in English and Korean. It loads
    nothing and needs no script. The ISO is hashed. Prints the path of the page.
    """
    from isobuilder.errors import InputError
    from isobuilder.files import write_whole
    from isobuilder.medium import REPORT
    from isobuilder.report.page import report as page_of
    from isobuilder.report.subject import read_iso, read_lock

    path = file_of(source)
    if path.suffix in {".yaml", ".yml"}:
        raise InputError(
            f"{path}: expected an ISO or a lock, got a recipe",
            hint=f"run isobuilder lock {source.called}, and name the lock",
        )
    is_lock = path.suffix == ".json"
    subject = read_lock(path) if is_lock else read_iso(path, progress=app.progress)
    folder = Path() if source.shipped else path.parent
    target = out or folder / f"{subject.name}.{REPORT}"
    write_whole(target, page_of(subject, language=language, rules=app.rules))
    tell_path(target)
