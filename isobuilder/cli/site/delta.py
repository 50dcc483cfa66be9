"""``isobuilder site delta`` and ``isobuilder site apply``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import FILE, JUDGED_FILE, App, AppCommand, json_option, plural
from isobuilder.cli.site.ledger import digests_of, ledger_keys, read_ledger, records_option
from isobuilder.cli.site.naming import digest_of, locks_named
from isobuilder.cli.telling import table, tell, tell_path, tell_text
from isobuilder.cli.trust.signing import ledger_options, signature_options, wanted_signatures
from isobuilder.text import human_size

if TYPE_CHECKING:
    from isobuilder.delta.container import Needed
    from isobuilder.pipeline.delta.make import MadeDelta
    from isobuilder.site.ledgers.ledger import Ledger

_ROWS = 40  # of a table; --json has all


@click.command(cls=AppCommand)
@click.argument("things", metavar="OLD... NEW", nargs=-1, required=True)
@click.option("--out", type=JUDGED_FILE, metavar="FILE", help="Where the delta goes.")
@click.option("--any-of", is_flag=True, help="Each OLD is enough, in place of all together.")
@click.option(
    "--known",
    type=FILE,
    metavar="LEDGER",
    help="Of the OLD ones, only those that this ledger of the site says it has.",
)
@ledger_options
@records_option
@click.option("--show", is_flag=True, help="Only tell what is in the deltas that are named.")
@json_option
@click.pass_obj
def delta(
    app: App,
    things: tuple[str, ...],
    out: Path | None,
    any_of: bool,
    known: Path | None,
    signers: tuple[Path, ...],
    revoked: tuple[Path, ...],
    records: Path | None,
    show: bool,
    as_json: bool,
) -> None:
    """Write a delta with which a site that has OLD makes NEW, bit for bit.

    OLD and NEW are ISOs; or locks, recipes and versions, whose ISOs are built for it. OLD may be a
    folder of ISOs. Whoever applies the delta gets the digest that was published, so what was
    signed and registered stays so. What changed is told in the smallest of several ways, each
    tried in another process; -v tells what each cost. What lies beside NEW goes along.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.pipeline.delta.make import make_delta

    trusted = ledger_keys(signers, revoked, records, read=known is not None, by="--known")
    if show:
        if out is not None or any_of or known is not None:
            raise UsageProblem("--show only tells what is in deltas: no --out, --any-of or --known")
        _show(app, [Path(FILE.convert(text, None, None)) for text in things], as_json=as_json)
        return
    if len(things) < 2:
        raise UsageProblem("two ISOs make a delta: the old one and the new one")
    isos = _isos(app, things)
    if len(isos) < 2:
        found = f"{plural(len(isos), 'ISO')} in {', '.join(things)}"
        raise UsageProblem(f"{found}: two make a delta, the old one and the new one")
    *olds, new = isos
    olds = [old for old in olds if not old.samefile(new)]  # in a folder of all
    if not olds:
        raise UsageProblem(f"{new}: there is no old ISO to make it from")
    if known is not None:
        olds = _held(app, read_ledger(app, known, trusted, records), known, olds)
    target = out or Path(f"{new.name.removesuffix('.iso')}.delta")
    made = make_delta(olds, new, target, any_of=any_of, progress=app.progress)
    if as_json:
        app.show_json(made)
        return
    for fact in made.refused:
        app.say(f"told another way: {fact}")
    if app.verbosity:
        for line in _costs(made).splitlines():
            app.say(line)
    part = 100 * made.size / made.new_size if made.new_size else 0.0
    app.say(f"{human_size(made.size)}, {part:.3f} % of {human_size(made.new_size)}")
    if made.streams:
        share = 100 * made.rebuilt_size / made.streams_size
        size = human_size(made.streams_size)
        streams = plural(made.streams, "gzip stream")
        app.say(f"{streams} changed, {size}: {share:.1f} % rebuilt exactly")
    tell_path(made.path)


def _isos(app: App, things: Sequence[str]) -> list[Path]:
    """Return the ISOs that things are, or that are made of them; the last one is the new one."""
    from isobuilder.errors import UsageProblem
    from isobuilder.files import files_in

    found: list[Path] = []
    for number, text in enumerate(things, 1):
        path = Path(text)
        if path.is_dir():
            isos = files_in(path, ".iso")
            if number == len(things) and len(isos) != 1:
                raise UsageProblem(
                    f"{path}: has {plural(len(isos), 'ISO')}, and the last thing is the new one",
                    hint="name the new ISO itself; only OLD may be a folder of several",
                )
            found += isos
        elif path.exists() and path.suffix not in {".json", ".yaml", ".yml"}:
            _refuse_others(path)
            found.append(path)
        else:
            found += _built(app, text)
    return found


def _refuse_others(path: Path) -> None:
    """Refuse what only tells of ISOs, which would be taken for an old one like any other file."""
    from isobuilder.cli.site.ledger import is_ledger
    from isobuilder.delta.container import is_delta
    from isobuilder.errors import UsageProblem

    if is_ledger(path):
        hint = f"name the ISOs that the site may have, or a folder of them, and --known {path}"
        raise UsageProblem(f"{path}: is a ledger, no ISO", hint=hint)
    if is_delta(path):
        hint = "name the ISO that it makes; --show tells what is in it"
        raise UsageProblem(f"{path}: is a delta, no ISO", hint=hint)


def _built(app: App, text: str) -> list[Path]:
    """Return the ISOs of what is no ISO, in a folder that goes with this command."""
    from isobuilder.errors import UsageProblem
    from isobuilder.pipeline.build import build
    from isobuilder.sources.session import open_session

    locks = locks_named(app, [text])
    if len(locks) != 1:
        names = ", ".join(lock.base_name for lock in locks)
        raise UsageProblem(f"{text}: means {len(locks)} ISOs: {names}", hint="name one lock")
    folder = app.closing.enter_context(TemporaryDirectory(prefix="isobuilder-delta-"))
    with open_session(app.config, app.store, progress=app.progress) as session:
        return [build(locks[0], Path(folder), session).iso]


def _held(app: App, ledger: Ledger, known: Path, olds: Sequence[Path]) -> list[Path]:
    """Return those ISOs that a site says it has."""
    from isobuilder.errors import InputError, UsageProblem
    from isobuilder.site.ledgers.ledger import among

    if ledger.kind != "isos":
        raise UsageProblem(f"{known}: is of blobs, a delta is made from ISOs")
    digests = digests_of(app, olds, believe=True)
    there = among(ledger, set(digests.values())).there
    found = [path for path, digest in digests.items() if digest in there]
    if not found:
        raise InputError(f"{known}: the site has none of {plural(len(olds), 'ISO')}")
    return found


def _costs(made: MadeDelta) -> str:
    rows = []
    for told in sorted(made.told, key=lambda one: -one.carried):
        others = ", ".join(
            f"{name} {'-' if size is None else size}" for name, size in told.tried.items()
        )
        rows.append([told.piece, str(told.size), told.how, str(told.carried), others])
    return table(rows, ["PIECE", "BYTES", "TOLD BY", "CARRIED", "TRIED"])


def _show(app: App, files: Sequence[Path], *, as_json: bool) -> None:
    from isobuilder.delta.container import Delta

    shown: list[dict[str, Any]] = []
    for path in files:
        with Delta(path) as opened:
            links = [_link(needed) for needed in opened.links]
            shown.append({"path": path, "size": opened.size, "links": links})
    if as_json:
        app.show_json(shown)
        return
    for one in shown:
        tell(f"{one['path']}: {human_size(one['size'])}")
        for link in one["links"]:
            _tell_link(link)


def _link(needed: Needed) -> dict[str, Any]:
    from isobuilder.delta.methods import methods
    from isobuilder.delta.plan import Copy, Put, Zeros

    link = needed.link
    segments = [one for run in link.runs if isinstance(run, Put) for one in run.segments]
    result = link.runs[link.result]
    own = result.segments if isinstance(result, Put) else ()
    return {
        "name": link.name,
        "digest": link.digest,
        "size": link.size,
        "given": [{"name": one.name, "digest": one.digest, "size": one.size} for one in link.given],
        "beside": sorted(link.beside),
        "copied": sum(one.size for one in own if isinstance(one, Copy)),
        "zeros": sum(one.size for one in own if isinstance(one, Zeros)),
        "segments": len(segments),
        "carried": link.carried,
        "pieces": [
            {
                "piece": made.piece,
                "method": methods()[made.method].name,
                "size": made.size,
                "from": made.length,
                "carried": made.delta,
            }
            for _, _, made in link.made
        ],
    }


def _tell_link(link: Mapping[str, Any]) -> None:
    tell(f"makes {link['name']}, {human_size(link['size'])}, {link['digest']}")
    for one in link["given"]:
        tell(f"from  {one['name']}, {human_size(one['size'])}, {one['digest']}")
    if link["beside"]:
        tell(f"with  {', '.join(link['beside'])}")
    tell(
        f"{human_size(link['copied'])} copied, {human_size(link['zeros'])} of zeros, "
        f"{plural(len(link['pieces']), 'piece')} made of {human_size(link['carried'])}"
    )
    pieces = sorted(link["pieces"], key=lambda one: -int(one["carried"]))
    rows = [
        [one["piece"], one["method"], str(one["size"]), str(one["carried"])]
        for one in pieces[:_ROWS]
    ]
    tell_text(table(rows, ["PIECE", "METHOD", "BYTES", "CARRIED"]))
    if len(pieces) > _ROWS:
        tell(f"and {plural(len(pieces) - _ROWS, 'smaller piece')}")


@click.command("apply", cls=AppCommand)
@click.argument("files", metavar="OLD... DELTA...", nargs=-1, required=True, type=FILE)
@click.option("--out", type=JUDGED_FILE, required=True, metavar="NEW.iso", help="The new ISO.")
@click.option("--digest", metavar="DIGEST", help="What it has to be, if that came another way.")
@signature_options("--key", "--signatures")
@click.option("--replace", is_flag=True, help="Let another file of that name go.")
@json_option
@click.pass_obj
def apply(
    app: App,
    files: tuple[Path, ...],
    out: Path,
    digest: str | None,
    keys: tuple[Path, ...],
    revoked: tuple[Path, ...],
    signatures: int | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Make the new ISO, NEW.iso, of the OLD ones that a site has and of deltas.

    Several deltas are applied in one go, in whatever order they are named. Nothing is written
    before deltas and OLD ISOs are proved, and with --key the signature of the new ISO, which goes
    along in its delta; the new ISO has its name once it has the digest that was
    published. A run that ended early is continued by the same command.
    """
    from isobuilder.delta.container import is_delta
    from isobuilder.errors import UsageProblem
    from isobuilder.pipeline.delta.apply import apply_deltas
    from isobuilder.pipeline.delta.beside import registered_name

    deltas = [path for path in files if is_delta(path)]
    olds = [path for path in files if path not in deltas]
    if not deltas:
        raise UsageProblem(f"no delta is among {plural(len(files), 'file')}")
    if not olds:
        raise UsageProblem(f"no old ISO is among {plural(len(files), 'file')}")
    if out.suffix != ".iso":
        raise UsageProblem(f"--out {out}: the name of an ISO ends in .iso")
    done = apply_deltas(
        olds,
        deltas,
        out,
        wanted=None if digest is None else digest_of(digest, "--digest"),
        replace=replace,
        signed=wanted_signatures(keys, revoked, signatures),
        progress=app.progress,
    )
    if as_json:
        app.show_json(done)
        return
    if done.there:
        app.say("it was there already")
    elif done.resumed:
        app.say(f"{human_size(done.resumed)} were there from a run that ended early")
    if len(done.steps) > 1:
        app.say(f"by way of {', '.join(done.steps[:-1])}")
    app.say(f"{done.digest}, {human_size(done.size)}")
    if done.beside:
        app.say(f"beside it: {', '.join(path.name for path in done.beside)}")
    if (name := registered_name(done.iso)) not in {None, done.iso.name}:
        app.say(f"its registration is as it was published, and calls the file {name}")
    tell_path(done.iso)
