"""``isobuilder site repair``."""

from __future__ import annotations

from pathlib import Path

import click

from isobuilder.cli.app import FILE, NEW_FILE, App, AppCommand, human_size, json_option, plural
from isobuilder.cli.site.naming import digest_of, from_option, open_sources
from isobuilder.cli.telling import tell_path


@click.command(cls=AppCommand)
@click.argument("iso", type=FILE)
@click.option("--lock", "lock_file", type=FILE, help="Its lock, if that is not beside it.")
@click.option("--digest", metavar="DIGEST", help="Its digest, if .iso.sha256 is not beside it.")
@from_option
@click.option("--out", type=NEW_FILE, help="Write a mended copy here; the medium is only read.")
@json_option
@click.pass_obj
def repair(
    app: App,
    iso: Path,
    lock_file: Path | None,
    digest: str | None,
    donors: tuple[Path, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Make a damaged ISO what it was, from whoever has its damaged blobs.

    What is still right is taken from the ISO itself; the rest from the store, from other ISOs and
    folders (--from), and, unless --offline is set, from where locks are fetched. Before a byte is
    written all of it is proved to have the digest that was published.
    """
    from isobuilder.cli.app import load_lock_file
    from isobuilder.errors import InputError, IntegrityError, UsageProblem
    from isobuilder.pipeline.verify import promised
    from isobuilder.site.repair import repair as mend
    from isobuilder.sources.session import open_session

    lock_file = lock_file or iso.with_suffix(".lock.json")
    if not lock_file.is_file():
        raise InputError(f"{iso}: its lock is not beside it", hint="name it with --lock")
    lock = load_lock_file(lock_file)
    expected = promised(iso) if digest is None else digest_of(digest, "--digest")
    if expected is None:
        raise UsageProblem(
            f"{iso}: what it should be is not known", hint="name its digest with --digest"
        )
    try:
        store = open_sources(app, (iso, *donors), [lock]).store
    except IntegrityError as error:
        app.say(f"nothing of it can be used: {error.lines[0]}")
        store = open_sources(app, donors, [lock]).store
    with open_session(app.config, store, progress=app.progress) as session:
        done = mend(iso, lock, expected, session, out=out)
    if as_json:
        app.show_json(done)
        return
    if out is not None:
        app.say(f"written: {done.digest}, {human_size(done.written)}")
    elif done.written:
        app.say(f"mended: {human_size(done.written)} in {plural(len(done.places), 'place')}")
        for place in done.places:
            app.say(f"  {place}")
    else:
        app.say("nothing was damaged")
    tell_path(done.iso)
