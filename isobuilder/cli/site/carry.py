"""``isobuilder site export`` and ``isobuilder site import``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FILE, FOLDER, App, AppCommand, WholeNumber, json_option, plural
from isobuilder.cli.exits import Attempts
from isobuilder.cli.site.ledger import ledger_keys, read_ledger, records_option
from isobuilder.cli.site.naming import digest_of, from_option, open_sources, sources_named
from isobuilder.cli.telling import tell, tell_path
from isobuilder.cli.trust.signing import ledger_options
from isobuilder.text import human_size

if TYPE_CHECKING:
    from isobuilder.site.bundles.carry import Imported
    from isobuilder.site.bundles.export import Exported

_FAT_MOST = (1 << 32) - 1  # bytes of a file on FAT32; who says 4G means what such a stick takes
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
@click.option(
    "--part-size", metavar="BYTES", help="Cut into parts of at most so much; 4G fits on FAT32."
)
@click.option("--part", "only", type=WholeNumber(1), help="Make only this part again.")
@click.option(
    "--add",
    "extras",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Carry this file as well: what a recipe extends, a note, a wheel.",
)
@click.option(
    "--known",
    type=FILE,
    metavar="LEDGER",
    help="Leave out the blobs that this ledger of the site's store, --blobs, says it holds.",
)
@ledger_options
@records_option
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
    signers: tuple[Path, ...],
    revoked: tuple[Path, ...],
    records: Path | None,
    donors: tuple[Path, ...],
    replace: bool,
    as_json: bool,
) -> None:
    """Write what a site needs to build ISOs without any network, as a bundle to carry.

    Of a LOCK, and of an ISO with its lock beside it, everything behind it: what the store and the
    ISOs lack is fetched first. Statements about vulnerabilities and signatures that lie beside it
    go along, and so does a RECIPE, as the one of its lock. The same locks and recipes give the same
    bytes. Prints the path of each part; a part that is there already is not made again.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.model.config import parse_size
    from isobuilder.site.bundles.carry import export_bundle
    from isobuilder.sources.session import open_session

    size = None if part_size is None else parse_size(part_size)
    size = _FAT_MOST if size == _FAT_MOST + 1 else size
    folder = out.endswith("/") or Path(out).is_dir()
    if (out == "-" or folder) and (size is not None or only is not None):
        raise UsageProblem(f"--out {out} takes no parts", hint="name a file to have parts of it")
    _refuse_replacing(out, no_file=replace and (out == "-" or folder))
    trusted = ledger_keys(signers, revoked, records, read=known is not None, by="--known")
    if out == "-":
        _check_stdout(as_json=as_json)
    isos = tuple(Path(text) for text in sources if text.endswith(".iso"))
    named = sources_named(app, [text for text in sources if not text.endswith(".iso")])
    locks = [lock for _, lock in named]
    store = open_sources(app, (*isos, *donors), locks)
    locks += [iso.lock_needed for iso in store.isos if iso.path in isos]
    held = None if known is None else read_ledger(app, known, trusted, records)
    if held is not None:
        app.say(f"ledger {held.number}: {plural(held.count, 'blob')} of the site are left out")
    # Unbuffered: else its end, behind all that is told of errors, would be one more of them.
    pipe = app.closing.enter_context(os.fdopen(os.dup(1), "wb", 0)) if out == "-" else None
    with open_session(app.config, store.store, progress=app.progress) as session:
        done = export_bundle(
            locks,
            pipe or Path(out),
            session,
            extras=tuple(dict.fromkeys((*extras, *_beside(sources)))),
            recipes={lock.digest: one.path for one, lock in named if one.is_recipe},
            part_size=size,
            only=only,
            known=held,
            folder=folder,
            replace=replace,
        )
    _show_export(app, done, Path(out), as_json=as_json)


def _check_stdout(*, as_json: bool) -> None:
    from isobuilder.errors import UsageProblem

    if as_json:
        raise UsageProblem("--json and --out - contradict each other: both are for stdout")
    hint = "send it to a file or a pipe"
    if sys.__stdout__ is None:
        raise UsageProblem("--out -: stdout is closed", hint=hint)
    if os.isatty(1):
        raise UsageProblem("a bundle is nothing for a terminal", hint=hint)


def _refuse_replacing(out: str, *, no_file: bool) -> None:
    from isobuilder.errors import UsageProblem

    if no_file:
        hint = "name another folder, or remove that one first"
        raise UsageProblem(f"--replace is about files, and {out} is none", hint=hint)


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
    from isobuilder.site.bundles.carry import import_carried

    identity = None if expected is None else digest_of(expected, "--bundle")
    if identity is not None:
        _refuse_only_isos(carried)
    stdin = sys.stdin.buffer if Path("-") in carried else None
    done = import_carried(
        carried, app.store, out, stdin=stdin, expected=identity, progress=app.progress
    )
    _show_import(app, done, as_json=as_json)
    Attempts[None](done=done.done, failures=list(done.failures)).raise_failures()


def _refuse_only_isos(carried: tuple[Path, ...]) -> None:
    """Refuse --bundle where it proves nothing, for only ISOs are here: nobody would miss it.

    Raises:
        UsageProblem: so it is.
    """
    from isobuilder.errors import IsobuilderError, UsageProblem
    from isobuilder.site.bundles.arrival import is_iso, spread

    failures: list[IsobuilderError] = []
    try:
        found = list(spread(carried, failures))
        others = [path for path in found if path == Path("-") or path.is_dir() or not is_iso(path)]
    except IsobuilderError:
        return  # told when it is read
    if not others and not failures:
        raise UsageProblem(
            "--bundle is about bundles, and only ISOs are here",
            hint="site check --digest proves an ISO by its digest",
        )


def _show_import(app: App, done: Imported, *, as_json: bool) -> None:
    if as_json:
        app.show_json(
            {
                "imported": [
                    {"from": one.place, "added": one.added, "no_lock": one.no_lock}
                    for one in done.taken
                ],
                "bundles": [
                    {
                        "bundle": state.bundle.identity,
                        "missing": [item.digest for item in state.missing],
                        "missing_parts": list(state.missing_parts),
                        "parts": state.of,
                    }
                    for state in done.bundles
                ],
                "locks": list(done.locks),
                "lacking": [
                    {"lock": one.place, "missing": list(one.missing)} for one in done.lacking
                ],
            }
        )
        return
    for one in done.taken:
        app.say(f"{one.place}: {plural(one.added, 'new blob')}")
        if one.no_lock is not None:
            app.say(
                f"{one.place}: {one.no_lock}, so manifests that were pinned to digests are not "
                "imported"
            )
    for state in done.bundles:
        if not state.missing:
            app.say(f"bundle {state.bundle.identity}: complete")
    for path in done.locks:
        tell(path)
