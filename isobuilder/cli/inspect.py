"""``isobuilder inspect`` and ``isobuilder diff``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FILE, App, AppCommand, human_size, json_option, plural, table

if TYPE_CHECKING:
    from isobuilder.pipeline.compare import Difference


@click.command(cls=AppCommand)
@click.argument("source", metavar="ISO|LOCK", type=FILE)
@json_option
@click.pass_obj
def inspect(app: App, source: Path, as_json: bool) -> None:
    """Tell what is on an ISO, or what a lock promises.

    Versions, files with sizes and digests, and images.
    """
    from isobuilder.pipeline.compare import contents_of, summary

    found = summary(contents_of(source))
    if as_json:
        app.show_json(found)
        return
    for name, value in found["facts"].items():
        click.echo(f"{name + ':':18}{value}")
    if found["label"]:
        click.echo(f"{'label:':18}{found['label']}")
        click.echo(f"{'made by:':18}isobuilder {found['tool']}")
    click.echo(f"{'payload:':18}{human_size(found['size'])}\n")
    rows = [
        (item["path"], human_size(item["size"]), item["digest"] or "-") for item in found["files"]
    ]
    click.echo(table(rows, ("FILE", "SIZE", "DIGEST")))
    click.echo()
    images = [(item["reference"], item["digest"]) for item in found["images"]]
    click.echo(table(images, ("IMAGE", "DIGEST")))


@click.command(cls=AppCommand)
@click.argument("left", type=FILE)
@click.argument("right", type=FILE)
@json_option
@click.option("--exit-code", is_flag=True, help="End with 9 when there are differences.")
@click.pass_obj
def diff(app: App, left: Path, right: Path, as_json: bool, exit_code: bool) -> None:
    """Compare two locks, two ISOs, or one of each."""
    from isobuilder.errors import DifferencesFound
    from isobuilder.pipeline.compare import contents_of
    from isobuilder.pipeline.compare import diff as differences_of

    differences = differences_of(contents_of(left), contents_of(right))
    if as_json:
        app.show_json([asdict(item) for item in differences])
    elif differences:
        rows = [(item.what, item.name, *_change(item)) for item in differences]
        click.echo(table(rows, ("WHAT", "NAME", "LEFT", "RIGHT", "GROWTH")))
    else:
        click.echo("no differences")
    if differences and exit_code:
        raise DifferencesFound(f"{left} and {right}: {plural(len(differences), 'difference')}")


def _change(item: Difference) -> tuple[str, str, str]:
    growth = "" if item.growth is None else f"{item.growth:+d} B"
    return _short(item.left), _short(item.right), growth


def _short(value: str | None) -> str:
    if value is None:
        return "-"
    return value[:19] if value.startswith("sha256:") else value
