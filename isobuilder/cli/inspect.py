"""``isobuilder inspect`` and ``isobuilder diff``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import App, AppCommand, json_option, plural
from isobuilder.cli.sources import SOURCE, BuildSource, file_of
from isobuilder.cli.telling import table, tell, tell_text
from isobuilder.text import human_size

if TYPE_CHECKING:
    from isobuilder.pipeline.compare import Difference


@click.command(cls=AppCommand)
@click.argument("source", metavar="ISO|LOCK|VERSION", type=SOURCE)
@json_option
@click.pass_obj
def inspect(app: App, source: BuildSource, as_json: bool) -> None:
    """Tell what is on an ISO, or what a lock promises.

    Versions, files with sizes and digests, images, and whatever manifests name that looks like an
    image and is not among these. Of a lock the manifests are looked at that are in the store.
    """
    from isobuilder.pipeline.compare import contents_of, summary
    from isobuilder.pipeline.unlisted import unlisted_images

    path = file_of(source)
    found = summary(contents_of(path))
    unlisted = unlisted_images(path, app.store) if found["kind"] != "recipe" else ()
    found["unlisted_images"] = [asdict(one) for one in unlisted]
    if as_json:
        app.show_json(found)
        return
    for name, value in found["facts"].items():
        tell(f"{name + ':':18}{value}")
    if found["label"]:
        tell(f"{'label:':18}{found['label']}")
        made = (
            f"isobuilder {found['tool']}" if found["tool"] else "unknown: it has no manifest.json"
        )
        tell(f"{'made by:':18}{made}")
    tell(f"{'payload:':18}{human_size(found['size'])}")
    tell()
    rows = [
        (item["path"], human_size(item["size"]), item["digest"] or "-") for item in found["files"]
    ]
    tell_text(table(rows, ("FILE", "SIZE", "DIGEST")))
    tell()
    images = [(item["reference"], item["digest"]) for item in found["images"]]
    tell_text(table(images, ("IMAGE", "DIGEST")))
    if unlisted:
        places = [(one.image, f"{one.manifest}:{one.line}: {one.path}") for one in unlisted]
        tell()
        tell_text(table(places, ("NAMED, BUT NOT THERE", "WHERE")))


@click.command(cls=AppCommand)
@click.argument("left", metavar="A", type=SOURCE)
@click.argument("right", metavar="B", type=SOURCE)
@json_option
@click.option("--exit-code", is_flag=True, help="End with 9 when there are differences.")
@click.pass_obj
def diff(app: App, left: BuildSource, right: BuildSource, as_json: bool, exit_code: bool) -> None:
    """Compare two locks, ISOs or recipes, or a lock and an ISO.

    A version means its shipped lock. Images of one repository, and files from one place, are one
    line with both releases, so that it can be read as release notes.
    """
    from isobuilder.errors import DifferencesFound
    from isobuilder.pipeline.compare import contents_of
    from isobuilder.pipeline.compare import diff as differences_of

    sides = [contents_of(file_of(source)) for source in (left, right)]
    differences = differences_of(sides[0], sides[1])
    if as_json:
        app.show_json([_as_data(item) for item in differences])
    elif differences:
        rows = [(item.what, item.name, *_change(item)) for item in differences]
        tell_text(table(rows, ("WHAT", "NAME", "LEFT", "RIGHT", "GROWTH")))
    else:
        tell("no differences")
    if differences and exit_code:
        raise DifferencesFound(
            f"{left.called} and {right.called}: {plural(len(differences), 'difference')}"
        )


def _as_data(item: Difference) -> dict[str, Any]:
    data = asdict(item)
    if item.releases == (None, None):
        del data["releases"]
    return data


def _change(item: Difference) -> tuple[str, str, str]:
    growth = "" if item.growth is None else f"{item.growth:+d} B"
    old, new = item.releases
    if old and new and old != new:
        return old, new, growth
    left, right = _short(item.left), _short(item.right)
    # What is on one side only is told by its release, if that is known.
    if item.left is None:
        return left, new or right, growth
    return (old or left if item.right is None else left), right, growth


def _short(value: str | None) -> str:
    if value is None:
        return "-"
    return value[:19] if value.startswith("sha256:") else value
