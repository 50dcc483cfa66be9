"""``isobuilder site ledger``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FOLDER, JUDGED_FILE, App, AppCommand, json_option, plural
from isobuilder.cli.site.naming import isos_named, locks_named
from isobuilder.cli.telling import tell, tell_text
from isobuilder.cli.trust.signing import key_option, ledger_options, typed, wanted_signatures

if TYPE_CHECKING:
    from isobuilder.digest import Digest
    from isobuilder.model.lock import Lock
    from isobuilder.site.ledgers.ledger import Ledger
    from isobuilder.site.ledgers.records import Standing
    from isobuilder.site.ledgers.signed import BroughtLedger
    from isobuilder.trust.publickeys import TrustedKey, TrustedKeys

records_option = click.option("--records", type=FOLDER, help="Where ledgers are remembered.")
_PICTURES = (".png", ".svg")
_SCANNED = {".png", ".jpg", ".jpeg", ".pdf"}


@click.command(cls=AppCommand)
@click.argument("things", metavar="[ISO|DIR|LOCK]...", nargs=-1)
@click.option("--site", "name", required=True, metavar="NAME", help="What the site is called.")
@click.option("--blobs", is_flag=True, help="Of what the store has of its locks, in place of ISOs.")
@click.option(
    "--out",
    multiple=True,
    type=JUDGED_FILE,
    metavar="FILE",
    help="Write it here as well: .png and .svg as a QR code, else as text.",
)
@click.option("--qr", is_flag=True, help="Show the QR code on the terminal.")
@click.option("--sign", is_flag=True, help="At the site: sign it.")
@key_option
@click.option(
    "--read",
    "source",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE|-",
    help="Outside: read the ledger of a site from a text or a picture, or as it is typed.",
)
@click.option(
    "--hand-over", is_flag=True, help="With --read: note that what is not there is carried there."
)
@click.option("--forget", is_flag=True, help="With --read: begin the site's history anew.")
@ledger_options
@records_option
@json_option
@click.pass_context
def ledger(
    context: click.Context,
    things: tuple[str, ...],
    name: str,
    blobs: bool,
    out: tuple[Path, ...],
    qr: bool,
    sign: bool,
    key: str | None,
    source: Path | None,
    hand_over: bool,
    forget: bool,
    signers: tuple[Path, ...],
    revoked: tuple[Path, ...],
    records: Path | None,
    as_json: bool,
) -> None:
    """Tell in some letters, or a QR code, what a site holds; or read what a site told.

    At the site, of its ISOs, or with --blobs of its store: 20 ISOs are a stamp, 800 blobs one page.
    Outside, --read says which of the named ISOs, or how much of the named LOCKs, is there already.
    Ledgers are numbered, so one that is old, or of another history, is refused. One that is signed
    (--sign) is proved by --signed-by, and from then on the site's ledgers have to be.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.site.ledgers.records import default_records, one_at_a_time

    app: App = context.obj
    if key is not None and not sign and typed(context, "key"):
        raise UsageProblem("--key goes with --sign")
    folder = records or default_records()
    trusted = ledger_keys(signers, revoked, read=source is not None, by="--read")
    if source is not None:
        if sign or blobs or out or qr:
            raise UsageProblem("--read takes neither --blobs, --out, --qr nor --sign")
        with one_at_a_time(folder, name):
            _read(app, source, name, things, folder, hand_over, forget, trusted, as_json)
        return
    if hand_over or forget:
        raise UsageProblem("--hand-over and --forget belong to --read")
    if qr and as_json:
        raise UsageProblem("--qr and --json contradict each other")
    for path in out:
        _refuse_another(path)
    with one_at_a_time(folder, name):
        made = _made(app, things, name, folder, key, blobs=blobs, sign=sign)
    _write(app, made, out, qr, as_json)


def _made(
    app: App,
    things: tuple[str, ...],
    name: str,
    folder: Path,
    key: str | None,
    *,
    blobs: bool,
    sign: bool,
) -> BroughtLedger:
    from isobuilder.errors import InputError, UsageProblem
    from isobuilder.pipeline.fetch import needed_here
    from isobuilder.pipeline.provenance.signing import signing_moment
    from isobuilder.site.ledgers.ledger import make_ledger
    from isobuilder.site.ledgers.records import (
        handed_over,
        last_ledger,
        read_record,
        write_record,
    )
    from isobuilder.site.ledgers.signed import BroughtLedger, sign_ledger
    from isobuilder.store import stored
    from isobuilder.trust.signers import open_signer

    signer = open_signer(key) if sign else None
    if blobs:
        if things:
            raise UsageProblem("--blobs is about the store, and takes no ISOs")
        if not app.store.root.is_dir():
            raise InputError(f"{app.store.root}: there is no store", hint="name it with --store")
        # An ISO's other files, and documents of bundles, are blobs here and nowhere else.
        there = {blob.digest for blob in stored(app.store)}
        held = list(there & needed_here(app.store))
        if rest := len(there) - len(held):
            app.say(f"not told: {plural(rest, 'blob')} of the store that no lock here needs")
    elif not things:
        raise UsageProblem("a ledger is of ISOs or folders of them, which are named, or of --blobs")
    else:
        held = list(digests_of(app, isos_named(things), believe=False).values())
    record = read_record(folder, name)
    made = make_ledger(name, held, "blobs" if blobs else "isos", last=last_ledger(record))
    if signer is None:
        told = BroughtLedger(made)
    else:
        told = sign_ledger(made, signer, signing_moment().date())
    # On a machine that reads ledgers of this site as well, what it knows stays.
    key_before = None if record is None else record.signed_by
    write_record(folder, name, made, handed_over(record, made.kind), key_before)
    return told


def _refuse_another(path: Path) -> None:
    """Raise if a file that is no ledger would be written over, or one of a form we do not write."""
    from isobuilder.errors import InputError, UsageProblem
    from isobuilder.files import refuse_special
    from isobuilder.site.bundles.arrival import is_iso

    if path.suffix.lower() in _SCANNED.difference(_PICTURES):
        hint = f"name a file that ends in {' or '.join(_PICTURES)}, or in .txt for a text"
        raise UsageProblem(f"{path}: no ledger is written as {path.suffix}", hint=hint)
    refuse_special(path)
    if path.is_file() and path.stat().st_size and (is_iso(path) or not _is_ours(path)):
        raise InputError(f"{path}: is there already, and is no ledger", hint="name another file")


def _is_ours(path: Path) -> bool:
    """Say if a file is one that we wrote for a ledger before, so that another may take its place.

    Raises:
        InputError, EnvironmentProblem: see ``open_bytes``.
    """
    from isobuilder.files import open_bytes
    from isobuilder.site.ledgers.qr import MARKED, is_picture

    with os.fdopen(open_bytes(path), "rb") as file:
        return is_picture(file.read(MARKED)) or _is_text_of_one(path)


def _write(app: App, told: BroughtLedger, out: tuple[Path, ...], qr: bool, as_json: bool) -> None:
    from isobuilder.files import write_whole
    from isobuilder.site.ledgers.qr import blocks, picture

    made, text = told.ledger, told.to_text()
    dense = text.replace(" ", "")
    for path in out:
        if (kind := path.suffix.lower()) in _PICTURES:
            write_whole(path, picture(dense, kind))
        else:
            write_whole(path, (text.replace(" ", "\n") + "\n").encode())
    if as_json:
        app.show_json(
            {
                "number": made.number,
                "count": made.count,
                "signed": told.signature is not None,
                "ledger": text,
                "files": list(out),
            }
        )
        return
    tell_text(blocks(dense) if qr else text.replace(" ", "\n"))
    for path in out:
        app.say(f"written: {path}")
    how = ", signed" if told.signature else ""
    app.say(
        f"ledger {made.number}: {plural(made.count, made.kind[:-1])}, {len(dense)} letters{how}"
    )


def _read(
    app: App,
    source: Path,
    name: str,
    things: tuple[str, ...],
    folder: Path,
    hand_over: bool,
    forget: bool,
    trusted: TrustedKeys | None,
    as_json: bool,
) -> None:
    from isobuilder.site.ledgers import records
    from isobuilder.site.ledgers.ledger import among

    record = None if forget else records.read_record(folder, name)
    last = records.last_ledger(record)
    came = _read_brought_ledger(source)
    key = None if trusted is None else _proved(came, trusted, source)
    if key is None:
        signed = came.signature is not None
        records.refuse_unproved(record, name, signed=signed, place=str(source))
    brought = came.ledger
    found = records.standing(brought, name, last, str(source))
    handed, others = records.handed_over(record, brought.kind)
    candidates = _candidates(app, brought, things)
    wanted = {digest for digests in candidates.values() for digest in digests}
    answer = among(brought, wanted | set(handed))
    absent = {
        called: [digest for digest in digests if digest not in answer.there]
        for called, digests in candidates.items()
    }
    lost = [digest for digest in handed if digest not in answer.there]
    now = {digest for digests in absent.values() for digest in digests} if hand_over else set()
    signer = None if key is None else key.public.fingerprint
    records.write_record(folder, name, brought, ({*lost, *now}, others), signer)
    day = came.signature.day if key is not None and came.signature is not None else None
    if as_json:
        app.show_json(
            {
                "number": brought.number,
                "news": found.news,
                "skipped": found.skipped,
                "descent_proved": found.descent_proved,
                "signed_by": signer,
                "signed_on": None if day is None else day.isoformat(),
                "count": brought.count,
                "exact": answer.exact,
                "unknown": answer.unknown,
                "there": [called for called, missing in absent.items() if not missing],
                "absent": {called: missing for called, missing in absent.items() if missing},
                "handed_over_and_not_there": lost,
            }
        )
        return
    _show(brought, found, answer.exact, answer.unknown)
    if key is not None:
        tell(f"signed by {key} on {day}")
    elif came.signature is not None:
        app.say("it is signed, which is not looked at: name the key of the site with --signed-by")
    _show_places(candidates, absent, lost)


def _show_places(
    candidates: dict[str, list[Digest]], absent: dict[str, list[Digest]], lost: Iterable[Digest]
) -> None:
    for called, missing in absent.items():
        all_ = len(candidates[called])
        part = f" ({plural(len(missing), 'blob')} of {all_})" if all_ > 1 and missing else ""
        tell(f"{'not there' if missing else 'there'}: {called}{part}")
    for digest in lost:
        tell(f"handed over, and not there: {digest}")


def _show(brought: Ledger, found: Standing, exact: bool, unknown: int) -> None:
    news = {"first": "the first that is read here", "same": "read before", "next": "the next one"}
    follows = news.get(found.news, f"{plural(found.skipped, 'ledger')} in between never came")
    tell(f"ledger {brought.number}, {follows}: {plural(brought.count, brought.kind[:-1])}")
    if found.doubt is not None:
        tell(found.doubt)
    if unknown:
        tell(f"{plural(unknown, brought.kind[:-1])} of them nobody here knows")
    elif not exact:
        tell("some of them may be others: name more of what the site may have")


def _candidates(app: App, brought: Ledger, things: tuple[str, ...]) -> dict[str, list[Digest]]:
    from isobuilder.content.needed import needed

    if brought.kind == "isos":
        found = digests_of(app, isos_named(things), believe=True)
        return {str(path): [digest] for path, digest in found.items()}
    locks = locks_named(app, things)
    for lock in locks:
        _refuse_unknown(app, lock)
    return {
        lock.base_name: sorted({need.digest for need in needed(lock, app.store.find)})
        for lock in locks
    }


def _refuse_unknown(app: App, lock: Lock) -> None:
    """Raise if the store lacks manifests of images: what is behind them would count as there.

    Raises:
        InputError: it does.
    """
    from isobuilder.errors import InputError

    unknown = [one.reference for one in lock.images if app.store.find(one.digest) is None]
    if unknown:
        more = f" and {len(unknown) - 1} more" if unknown[1:] else ""
        raise InputError(
            f"{lock.base_name}: what it needs is not known: {app.store.root} lacks the manifest "
            f"of {unknown[0]}{more}",
            hint="isobuilder fetch of that lock brings it; --store names another store",
        )


def ledger_keys(
    signers: tuple[Path, ...],
    revoked: tuple[Path, ...],
    records: Path | None = None,
    *,
    read: bool,
    by: str,
) -> TrustedKeys | None:
    """Return whose signatures of a ledger count, None if nobody asks.

    Raises:
        UsageProblem: what was revoked is given, and no key; or no ledger is read, ``by`` reads it,
            and any of these is about one.
        InputError, EnvironmentProblem: see ``read_keys``.
    """
    from isobuilder.errors import UsageProblem

    if (signers or revoked) and not read:
        raise UsageProblem(f"--signed-by and --revoked are about a ledger that {by} reads")
    if records is not None and not read:
        raise UsageProblem(f"--records is about a ledger that {by} reads")
    wanted = wanted_signatures(signers, revoked, None)
    return None if wanted is None else wanted.trusted


def read_ledger(
    app: App, source: Path, trusted: TrustedKeys | None, records: Path | None
) -> Ledger:
    """Return the ledger of a text, of a picture, or that is typed.

    What ``records`` know of its site counts, and stays as it is; a doubt about it is told.

    Raises:
        InputError: it is none, or a letter is wrong.
        IntegrityError: it is not signed by one of ``trusted``, or has to be and nobody looks; it is
            older than one that was read, or of another history.
    """
    from isobuilder.site.ledgers.records import default_records, refuse_replayed

    came = _read_brought_ledger(source)
    if trusted is not None:
        _proved(came, trusted, source)
    found = refuse_replayed(
        records or default_records(),
        came.ledger,
        proved=trusted is not None,
        signed=came.signature is not None,
        place=str(source),
    )
    if found is not None and found.doubt is not None:
        app.say(f"{source}: {found.doubt}")
    return came.ledger


def _read_brought_ledger(source: Path) -> BroughtLedger:
    """Return the ledger of a text, of a picture, or that is typed, with a signature if it has one.

    Raises:
        InputError: it is none, or a letter is wrong.
    """
    from isobuilder.errors import InputError
    from isobuilder.files import read_bytes
    from isobuilder.site.ledgers.ledger import LONGEST
    from isobuilder.site.ledgers.qr import scanned
    from isobuilder.site.ledgers.signed import read_brought

    if source == Path("-"):
        return read_brought(sys.stdin.read(LONGEST + 1), "what was typed")
    if source.suffix.lower() in _SCANNED:
        return read_brought(scanned(source), str(source))
    if source.suffix.lower() in _PICTURES:
        hint = "show it or print it and photograph that; the text beside it, or a .png, is read too"
        raise InputError(f"{source}: is a picture that is not read", hint=hint)
    text = read_bytes(source, LONGEST).decode("utf-8", "replace")
    return read_brought(text, str(source))


def _proved(came: BroughtLedger, trusted: TrustedKeys, source: Path) -> TrustedKey:
    from isobuilder.site.ledgers.signed import proved

    return proved(came, trusted, "what was typed" if source == Path("-") else source)


def is_ledger(path: Path) -> bool:
    """Say if a file is what a ledger is written to: a picture, or a text that begins as one.

    Raises:
        InputError, EnvironmentProblem: see ``open_bytes``.
    """
    return path.suffix.lower() in {*_SCANNED, *_PICTURES} or _is_text_of_one(path)


def _is_text_of_one(path: Path) -> bool:
    from isobuilder.files import open_bytes
    from isobuilder.site.ledgers.signed import begins

    with os.fdopen(open_bytes(path), "rb") as file:
        return begins(file.read(100).decode("ascii", "replace"))


def digests_of(app: App, isos: Iterable[Path], *, believe: bool) -> dict[Path, Digest]:
    """Return the digests of ISOs; of a file beside one only if that is to be believed."""
    from isobuilder.digest import Digest
    from isobuilder.files import as_environment_problem
    from isobuilder.pipeline.verify import promised
    from isobuilder.progress import task

    found = {}
    for path in isos:
        said = promised(path) if believe else None
        if said is None:
            with as_environment_problem(path), task(app.progress, path.name, total=None):
                said = Digest.of_file(path)
        found[path] = said
    return found
