"""``isobuilder site export`` and ``isobuilder site import``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FILE, FOLDER, App, AppCommand, json_option, plural
from isobuilder.cli.exits import Attempts
from isobuilder.cli.site.naming import digest_of, from_option, locks_named, open_sources
from isobuilder.cli.telling import tell, tell_path
from isobuilder.text import human_size

if TYPE_CHECKING:
    from isobuilder.content.blobs import Find
    from isobuilder.digest import Digest
    from isobuilder.model.lock import Lock
    from isobuilder.site.bundles.admit import Arrived
    from isobuilder.site.bundles.arrival import Taken
    from isobuilder.site.bundles.export import Exported, Packing

_CARRIED = click.Path(exists=True, allow_dash=True, path_type=Path)


@click.command("export", cls=AppCommand)
@click.argument(
    "sources",
    metavar="LOCK|ISO|RECIPE|VERSION...",
    nargs=-1,
    required=True,
)
@click.option(
    "--out",
    metavar="FILE|DIR|-",
    default="bundle.tar",
    show_default=True,
    help="The file, which also names the parts; a folder ends in a slash; - is stdout.",
)
@click.option("--part-size", metavar="BYTES", help="Cut into parts of at most so much, such as 4G.")
@click.option("--part", "only", type=click.IntRange(1), help="Make only this part again.")
@click.option(
    "--add",
    "extras",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Carry this file as well: a recipe, a note, a wheel.",
)
@click.option(
    "--known",
    type=FILE,
    metavar="LEDGER",
    help="Leave out the blobs that this ledger of the site's store, --blobs, says it holds.",
)
@from_option
@click.option("--replace", is_flag=True, help="Let another bundle of the same name go.")
@json_option
@click.pass_obj
def export(
    app: App,
    sources: tuple[str, ...],
    out: str,
    part_size: str | None,
    only: int | None,
    extras: tuple[Path, ...],
    known: Path | None,
    donors: tuple[Path, ...],
    replace: bool,
    as_json: bool,
) -> None:
    """Write what a site needs to build ISOs without any network, as a bundle to carry.

    Of a LOCK, and of an ISO with its lock beside it, everything behind it: what the store and the
    ISOs lack is fetched first. Statements about vulnerabilities and signatures that lie beside it
    go along. The same locks give the same bytes. Prints the path of each part; a part that is there
    already is not made again.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.model.config import parse_size
    from isobuilder.pipeline.fetch import holding
    from isobuilder.pipeline.payload import pin_if_there
    from isobuilder.site.bundles.export import packing
    from isobuilder.sources.session import open_session

    size = None if part_size is None else parse_size(part_size)
    one_piece = out == "-" or out.endswith("/") or Path(out).is_dir()
    if one_piece and (size is not None or only is not None):
        raise UsageProblem(f"--out {out} takes no parts", hint="name a file to have parts of it")
    if out == "-" and os.isatty(1):
        raise UsageProblem("a bundle is nothing for a terminal", hint="send it to a file or a pipe")
    isos = tuple(Path(text) for text in sources if text.endswith(".iso"))
    locks = locks_named(app, [text for text in sources if not text.endswith(".iso")])
    store = open_sources(app, (*isos, *donors), locks)
    locks += [iso.lock_needed for iso in store.isos if iso.path in isos]
    with open_session(app.config, store.store, progress=app.progress) as session:
        locks = [pin_if_there(lock, session.store) for lock in locks]
        with holding(locks, session):
            find = session.store.find
            without = set() if known is None else _known(app, known, locks, find)
            along = tuple(dict.fromkeys((*extras, *_beside(sources))))
            packed = packing(locks, find, extras=along, part_size=size, without=without)
            done = _written(app, packed, out, one_piece=one_piece, only=only, replace=replace)
    _show_export(app, done, Path(out), as_json=as_json)


def _beside(sources: tuple[str, ...]) -> Iterator[Path]:
    """Give what lies beside ISOs and locks and is said of them: it counts for what is built again.

    What one builds from the bundle has the same name and the same bytes.
    """
    from isobuilder.files import is_file
    from isobuilder.medium import SIGNATURE, VEX

    for path in map(Path, sources):
        base = path.name.removesuffix(".iso").removesuffix(".lock.json")
        if base != path.name:
            there = (path.with_name(f"{base}.{end}") for end in (VEX, SIGNATURE))
            yield from (file for file in there if is_file(file))


def _known(app: App, path: Path, locks: list[Lock], find: Find) -> set[Digest]:
    """Return what a ledger says the site holds, if that can be told exactly.

    Raises:
        InputError: it cannot, or it is a ledger of ISOs.
    """
    from isobuilder.cli.site.ledger import read_ledger
    from isobuilder.content.needed import digests
    from isobuilder.errors import InputError
    from isobuilder.site.ledger import among
    from isobuilder.store import stored

    brought = read_ledger(path)
    if brought.kind != "blobs":
        raise InputError(f"{path}: is of ISOs", hint="make one at the site with --blobs")
    answer = among(brought, {blob.digest for blob in stored(app.store)} | digests(locks, find))
    if not answer.exact:
        raise InputError(
            f"{path}: what the site holds cannot be told exactly: {answer.unknown} of its blobs "
            "are not known here",
            hint="use the store from which the site was filled, or export without --known",
        )
    app.say(f"the site holds {plural(brought.count, 'blob')}, which are left out")
    return set(answer.there)


def _written(
    app: App,
    packed: Packing,
    out: str,
    *,
    one_piece: bool,
    only: int | None,
    replace: bool,
) -> Exported:
    from isobuilder.site.bundles import export as make

    if out == "-":
        with os.fdopen(os.dup(1), "wb") as pipe:
            return make.write_stream(packed, pipe, progress=app.progress)
    if one_piece:
        return make.write_folder(packed, Path(out), progress=app.progress)
    return make.write_parts(packed, Path(out), only=only, replace=replace, progress=app.progress)


def _show_export(app: App, done: Exported, out: Path, *, as_json: bool) -> None:
    if out != Path("-") and as_json:
        app.show_json(
            {
                "bundle": done.bundle.identity,
                "size": done.bundle.size,
                "things": len(done.bundle.contents),
                "parts": list(done.parts),
                "sums": done.sums,
            }
        )
    elif out != Path("-"):
        for part in done.parts:
            app.say(
                f"{'unchanged' if part.reused else 'written'}: {part.digest}, "
                f"{human_size(part.size)}"
            )
            tell_path(part.path)
        if not done.parts:
            tell_path(out)
    app.say(
        f"bundle {done.bundle.identity}: {plural(len(done.bundle.contents), 'thing')}, "
        f"{human_size(done.bundle.size)}"
    )


@click.command("import", cls=AppCommand)
@click.argument("carried", metavar="PART|DIR|ISO|-...", nargs=-1, required=True, type=_CARRIED)
@click.option(
    "--out", type=FOLDER, default="site", show_default=True, help="Where locks and files go."
)
@click.option(
    "--bundle", "expected", metavar="DIGEST", help="Refuse parts of any bundle but this one."
)
@json_option
@click.pass_obj
def import_(
    app: App, carried: tuple[Path, ...], out: Path, expected: str | None, as_json: bool
) -> None:
    """Bring bundles, or what ISOs were made of, into the store of this site.

    Parts may come in any order, and on different days. Everything is proved by its digest while it
    is read; what is refused leaves nothing. Prints the path of each lock that can now be built
    with isobuilder build --offline.
    """
    from isobuilder.errors import IsobuilderError, PartlyDone
    from isobuilder.site.bundles.admit import incomplete
    from isobuilder.site.bundles.arrival import settle, take

    identity = None if expected is None else digest_of(expected, "--bundle")
    attempts: Attempts[Taken] = Attempts()
    stdin = sys.stdin.buffer if Path("-") in carried else None
    for path in carried:
        with attempts:
            for taken in take(
                path, app.store, stdin=stdin, expected=identity, progress=app.progress
            ):
                attempts.results.append(taken)
    bundles = [taken.bundle for taken in attempts.results if taken.bundle is not None]
    states: list[Arrived] = []
    try:
        states = settle(bundles, app.store, out)
    except IsobuilderError as error:
        attempts.failures.append(error)
    for taken in attempts.results:
        if taken.lock is not None and not taken.missing:
            _write_lock(out, taken)
    _show_import(app, attempts.results, states, out, as_json=as_json)
    for state in states:
        if state.missing:
            attempts.failures.append(incomplete(state))
    for taken in attempts.results:
        if taken.missing:
            attempts.failures.append(
                PartlyDone(
                    f"{taken.place}: does not have {', '.join(taken.missing[:5])} as it was",
                    hint="the store keeps the rest; isobuilder verify tells what is wrong with it",
                )
            )
    attempts.raise_failures()


def _write_lock(out: Path, taken: Taken) -> None:
    from isobuilder.files import write_whole

    if taken.lock is not None:
        write_whole(out / f"{taken.lock.base_name}.lock.json", taken.lock.to_bytes())


def _locks(taken: list[Taken], states: list[Arrived], out: Path) -> list[Path]:
    names = [
        item.names[0]
        for state in states
        if not state.missing
        for item in state.bundle.contents
        if item.kind == "lock"
    ]
    names += [f"{one.lock.base_name}.lock.json" for one in taken if one.lock and not one.missing]
    return [out / name for name in dict.fromkeys(names)]


def _show_import(
    app: App, taken: list[Taken], states: list[Arrived], out: Path, *, as_json: bool
) -> None:
    locks = _locks(taken, states, out)
    if as_json:
        app.show_json(
            {
                "imported": [{"from": one.place, "added": one.added} for one in taken],
                "bundles": [
                    {
                        "bundle": state.bundle.identity,
                        "missing": [item.digest for item in state.missing],
                        "missing_parts": list(state.missing_parts),
                        "parts": state.of,
                    }
                    for state in states
                ],
                "locks": locks,
            }
        )
        return
    for one in taken:
        app.say(f"{one.place}: {plural(one.added, 'new blob')}")
        if one.bundle is None and one.lock is None:
            app.say(
                f"{one.place}: its lock is not beside it, so manifests that were pinned to "
                "digests are not imported"
            )
    for state in states:
        if not state.missing:
            app.say(f"bundle {state.bundle.identity}: complete")
    for path in locks:
        tell(path)
