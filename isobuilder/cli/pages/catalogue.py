"""``isobuilder catalogue``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FOLDER, App, AppCommand, json_option, plural
from isobuilder.cli.mold.servers import Servers, named_servers_option
from isobuilder.cli.pages.report import language_option
from isobuilder.cli.telling import tell, tell_path

if TYPE_CHECKING:
    from isobuilder.report.rendering import Language


def _address(_context: click.Context, _option: click.Parameter, text: str) -> str:
    """Return the address, with a slash at its end; it is in the feeds for everybody."""
    from isobuilder.model.policy import check_address

    try:
        return f"{check_address(text)}/" if text else ""
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(cls=AppCommand)
@click.argument(
    "folders",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option("-o", "--out", type=FOLDER, required=True, help="Where the site goes.")
@click.option(
    "--url",
    "address",
    metavar="URL",
    default="",
    callback=_address,
    help="Where it will be, for feeds.",
)
@named_servers_option("Also tell what this Mold server has; repeatable.", "names")
@language_option
@json_option
@click.pass_obj
def catalogue(
    app: App,
    folders: tuple[Path, ...],
    out: Path,
    address: str,
    names: tuple[str, ...],
    language: Language,
    as_json: bool,
) -> None:
    """Write a site about the ISOs in DIR: a table, a page for each, and what can be upgraded.

    ISOs are told by what lies beside them, or by the manifest on them; none is hashed. The site
    compares any two ISOs, lists the deltas that make each, and has ends of life, index.json, and
    feeds in Atom and JSON. It opens from a disk as well as from a web server. Prints the path of
    its first page.
    """
    from isobuilder.errors import PartlyDone
    from isobuilder.mold.manage import list_entries
    from isobuilder.report.catalogue import read_folders, with_server
    from isobuilder.report.site import write_catalogue

    found = read_folders(folders, rules=app.rules, progress=app.progress)
    failed = list(found.problems)
    if names:
        servers = Servers(names)
        attempts = servers.each(app, lambda mold: (mold.name, list_entries(mold)))
        for name, versions in attempts.results:
            found = with_server(found, name, versions)
    changed = write_catalogue(found, out, language=language, address=address, progress=app.progress)
    for line in found.problems:
        tell(f"error: {line}", err=True)
    if as_json:
        app.show_json(
            {
                "site": str(out / "index.html"),
                "isos": len(found.entries),
                "changed": changed,
                "problems": list(found.problems),
            }
        )
    else:
        app.say(f"{plural(len(found.entries), 'ISO')}, {plural(changed, 'file')} written")
        tell_path(out / "index.html")
    if names:
        attempts.raise_failures()
    if failed:
        raise PartlyDone(f"{plural(len(failed), 'file')} of these folders could not be read")
