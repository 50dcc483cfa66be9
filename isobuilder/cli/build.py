"""``isobuilder fetch`` and ``isobuilder build``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import (
    FILE,
    FOLDER,
    App,
    AppCommand,
    json_option,
)
from isobuilder.cli.completion import payload_names
from isobuilder.cli.exits import Attempts
from isobuilder.cli.jobs.metrics import metrics_option, note_built, numbers_into
from isobuilder.cli.lock import tell_left_out
from isobuilder.cli.site.naming import from_option, open_sources
from isobuilder.cli.sources import (
    SOURCE,
    BuildSource,
    Wanted,
    arch_option,
    locks_of,
    name_of,
    no_lock,
    tell_end_of_life,
    wanted,
)
from isobuilder.cli.telling import tell_path
from isobuilder.cli.trust.group import trust_of
from isobuilder.cli.trust.signing import builder_option, key_option, show_signed, typed
from isobuilder.errors import IsobuilderError
from isobuilder.files import is_file
from isobuilder.progress import SILENT, task
from isobuilder.text import human_size, whole_number

if TYPE_CHECKING:
    from isobuilder.cli.jobs.metrics import Numbers
    from isobuilder.model.lock import Lock
    from isobuilder.pipeline.build import Built
    from isobuilder.pipeline.provenance.signing import Signed
    from isobuilder.pipeline.trust import Trust
    from isobuilder.sources.session import Session


@click.command(cls=AppCommand)
@click.argument("sources", metavar="RECIPE|LOCK|VERSION...", nargs=-1, required=True, type=SOURCE)
@arch_option
@from_option
@click.pass_obj
def fetch(
    app: App, sources: tuple[BuildSource, ...], arch: str | None, donors: tuple[Path, ...]
) -> None:
    """Bring into the store everything that the locks name.

    A recipe means the locks it has. One queue serves all: what several need travels once.
    """
    from isobuilder.pipeline.fetch import fetch as fetch_all
    from isobuilder.sources.session import open_session

    locks: list[Lock] = []
    for source in sources:
        found, left_out = locks_of(source, arch)
        tell_left_out(app, source, left_out)
        locks += found
    store = open_sources(app, donors, locks).store
    with open_session(app.config, store, progress=app.progress) as session:
        fetch_all(locks, session)
    app.say(f"complete in {app.store.root}")


@click.command(cls=AppCommand)
@click.argument("sources", metavar="RECIPE|LOCK|VERSION...", nargs=-1, type=SOURCE)
@arch_option
@click.option("--out", type=FOLDER, default="dist", show_default=True, help="Where ISOs go.")
@click.option("--revision", metavar="rN", help="Build number, in place of the recipe's own.")
@click.option(
    "--boot",
    metavar="[OS]",
    is_flag=False,
    flag_value="",
    shell_complete=payload_names,
    help="Insist that it starts machines: with the payload that the lock means, or with this one.",
)
@click.option("--no-boot", is_flag=True, help="A plain ISO, even if the store has an OS payload.")
@click.option("--locked", is_flag=True, help="Refuse a recipe without a lock for each of its ISOs.")
@click.option("--force", is_flag=True, help="Build also when the ISO is there already.")
@click.option("--replace", is_flag=True, help="Let another ISO of the same name go.")
@from_option
@click.option("--trust", is_flag=True, help="Refuse what policies need signed and nothing proves.")
@click.option("--sign", is_flag=True, help="Also sign it, as isobuilder sign does.")
@key_option
@builder_option
@click.option("--check", "check_iso", type=FILE, metavar="ISO", help="Build again and compare.")
@metrics_option
@json_option
@click.pass_context
def build(
    context: click.Context,
    sources: tuple[BuildSource, ...],
    arch: str | None,
    out: Path,
    revision: str | None,
    boot: str | None,
    no_boot: bool,
    locked: bool,
    force: bool,
    replace: bool,
    trust: bool,
    sign: bool,
    key: str | None,
    builder: str | None,
    check_iso: Path | None,
    donors: tuple[Path, ...],
    metrics: Path | None,
    as_json: bool,
) -> None:
    """Build the ISO of each RECIPE, LOCK or VERSION and its side files.

    A recipe without a lock is locked first. A VERSION means the recipe that is shipped for it. The
    ISO starts machines where the lock says so and the store has the OS payload; its name says it.
    NAME.report.html is its page for people. Prints the path of each ISO. With --trust each claim
    about a signature is told in one line; one that fails ends with 5, and no ISO is written.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.pipeline.build import build as build_iso
    from isobuilder.sources.session import open_session

    app = context.ensure_object(App)
    sources, boot = _without_boot_value(context, sources, boot)
    if boot is not None and no_boot:
        raise UsageProblem("--boot and --no-boot contradict each other")
    if not sign and any(typed(context, name) for name in ("key", "builder")):
        raise UsageProblem("--key and --builder go with --sign")
    numbers = numbers_into(app, metrics, "build")
    judged_by = _judge(app, check_iso, asked=trust)
    signed_by = _signer(key, builder, check_iso) if sign else None
    number = None if revision is None else _revision(revision)
    items = list(_items(app, sources, arch, locked))
    known = [item.lock for item in items if isinstance(item, Wanted) and item.lock]
    store = open_sources(app, donors, known).store
    with open_session(app.config, store, progress=app.progress) as session:
        chosen = _Choice(app, session, number, boot, no_boot, trust=judged_by is not None)
        if check_iso is not None:
            _check(app, items, chosen, check_iso, session, as_json=as_json)
            return

        def make(lock: Lock) -> Built:
            return build_iso(lock, out, session, force=force, replace=replace, trust=judged_by)

        _Run(app, make, signed_by, numbers, as_json).each(items, chosen)


@dataclass(slots=True)
class _Run:
    """One call of the command: how each lock becomes an ISO, and what has come of them."""

    app: App
    make: Callable[[Lock], Built]
    sign: Callable[[Built], Signed] | None
    numbers: Numbers
    as_json: bool
    attempts: Attempts[Built] = field(default_factory=Attempts)
    signed: dict[Path, Signed] = field(default_factory=dict)

    def each(self, items: Sequence[Wanted | IsobuilderError], chosen: _Choice) -> None:
        """Build them one after another; one that fails keeps no other from its turn."""
        jobs = [item for item in items if isinstance(item, Wanted)]
        _refuse_one_name_for_two(jobs, chosen)
        tell_end_of_life(self.app, (item.kubernetes for item in jobs))
        told = self.app.progress if len(items) > 1 else SILENT
        done: set[str] = set()
        try:
            with task(told, "ISOs", total=len(items), unit="ISOs") as whole:
                for item in items:
                    with self.attempts:
                        if isinstance(item, IsobuilderError):
                            raise item
                        lock = chosen.lock(item)
                        if lock.base_name not in done:  # else named twice, and the same
                            built = self.make(lock)
                            done.add(lock.base_name)
                            self._tell(built)
                    whole.advance(1)
        finally:
            if self.as_json:
                results = self.attempts.results
                data = [_as_data(built, self.signed.get(built.iso)) for built in results]
                self.app.show_json(data)
        self.attempts.raise_failures()

    def _tell(self, built: Built) -> None:
        self.attempts.results.append(built)
        note_built(self.numbers, built)
        _tell(self.app, built, as_json=self.as_json)
        if self.sign is not None:
            self.signed[built.iso] = self.sign(built)
            show_signed(self.app, self.signed[built.iso], as_json=True)


def _tell(app: App, built: Built, *, as_json: bool) -> None:
    """Write the page of an ISO, unless nothing was built and there is one, and tell of both."""
    if not (built.reused and is_file(built.report)):
        from isobuilder.report.page import write_report

        write_report(built, rules=app.rules)
    for line in built.signatures:
        app.say(str(line))
    state = "unchanged" if built.reused else "built"
    app.say(f"{state}: {built.digest}, {human_size(built.size)}")
    if not as_json:
        tell_path(built.iso)


def _judge(app: App, check_iso: Path | None, *, asked: bool) -> Trust | None:
    """Return by what signatures are judged, None if nobody asks."""
    from isobuilder.errors import UsageProblem

    if asked and check_iso is not None:
        raise UsageProblem(
            "--check only compares, and --trust is about what is built",
            hint="isobuilder verify ISO --trust",
        )
    return trust_of(app, asked=asked)


def _signer(
    key: str | None, builder: str | None, check_iso: Path | None
) -> Callable[[Built], Signed]:
    """Return what signs an ISO that was built; its key is looked at before anything is done."""
    from isobuilder.errors import UsageProblem
    from isobuilder.pipeline.provenance.signing import sign_built
    from isobuilder.trust.signers import open_signer

    if check_iso is not None:
        raise UsageProblem(
            "--check writes nothing that could be signed", hint="isobuilder sign ISO"
        )
    signer = open_signer(key)
    return lambda built: sign_built(built.iso, built.digest, built.lock, signer, builder=builder)


def _without_boot_value(
    context: click.Context, sources: tuple[BuildSource, ...], boot: str | None
) -> tuple[tuple[BuildSource, ...], str | None]:
    """Take ``--boot my.yaml`` for a flag and a source: no payload is called like a file."""
    from isobuilder.pipeline.shipped import looks_like_version

    if boot and (looks_like_version(boot) or Path(boot).is_file()):
        sources, boot = (SOURCE.convert(boot, None, context), *sources), ""
    if not sources:
        raise click.UsageError("Missing argument 'RECIPE|LOCK|VERSION...'.", context)
    return sources, boot


def _items(
    app: App, sources: Iterable[BuildSource], arch: str | None, locked: bool
) -> Iterable[Wanted | IsobuilderError]:
    """Give what is to be built; what a source is wrong with does not keep the others from it."""
    for source in sources:
        try:
            found, left_out = wanted(source, arch)
            if locked:
                for name in [*(item.architecture for item in found if not item.lock), *left_out]:
                    raise no_lock(source, name)
        except IsobuilderError as error:
            yield error
            continue
        tell_left_out(app, source, left_out)
        yield from found


class _Choice:
    """What flags say of each lock: its revision, and whether it starts machines."""

    def __init__(
        self,
        app: App,
        session: Session,
        revision: int | None,
        boot: str | None,
        no_boot: bool,
        *,
        trust: bool,
    ) -> None:
        self._app, self._session, self._revision = app, session, revision
        self._boot, self._no_boot, self._trust = boot, no_boot, trust

    def name(self, item: Wanted) -> str:
        """Return the base name that the ISO will have, without asking anybody."""
        from dataclasses import replace

        name = name_of(item, self._session.store)
        if self._revision is not None:
            name = replace(name, revision=self._revision)
        if self._no_boot or self._boot is not None:
            name = replace(name, boots=not self._no_boot)
        return name.base

    def lock(self, item: Wanted, *, settled: bool = True) -> Lock:
        """Return the lock to build from, made now if there is none yet.

        Unless ``settled``, an OS payload that neither lock nor flags name is left open.
        """
        from isobuilder.pipeline.lock import lock_recipe

        source, lock = item.source, item.lock
        if lock is None:
            lock = lock_recipe(
                source.path,
                item.architecture,
                self._session,
                output=source.own_lock(item.architecture),
                called=source.called,
                trust=self._trust,
            ).lock
        if self._revision is not None:
            lock = lock.model_copy(update={"revision": self._revision})
        flags = self._no_boot or self._boot is not None
        return self._with_system(lock) if settled or flags else lock

    def _with_system(self, lock: Lock) -> Lock:
        from isobuilder.errors import InputError
        from isobuilder.pipeline.payload import pin_or_plain, pin_payload

        if self._no_boot:
            return lock.model_copy(update={"boot": None})
        if self._boot:
            return pin_payload(lock, self._boot, self._session)
        if self._boot is None:
            return pin_or_plain(lock, self._session.store, self._app.say)
        if lock.boot is None:
            raise InputError(
                f"{lock.base_name}: the lock says nothing of an operating system",
                hint="name one: --boot debian-13; isobuilder os list tells what there is",
            )
        return pin_payload(lock, None, self._session)


def _refuse_one_name_for_two(jobs: Iterable[Wanted], chosen: _Choice) -> None:
    """Refuse two results of one name before anything is fetched; the same lock twice is one."""
    from isobuilder.errors import UsageProblem

    seen: dict[str, Wanted] = {}
    for item in jobs:
        name = chosen.name(item)
        other = seen.setdefault(name, item)
        if other is item or (other.source.path, other.lock) == (item.source.path, item.lock):
            continue
        if item.lock is None or other.lock is None or item.lock.digest != other.lock.digest:
            raise UsageProblem(
                f"{other.source.called} and {item.source.called} would both become {name}.iso",
                hint="give one of the recipes a variant or another revision",
            )


def _check(
    app: App,
    items: list[Wanted | IsobuilderError],
    chosen: _Choice,
    iso: Path,
    session: Session,
    *,
    as_json: bool,
) -> None:
    from isobuilder.errors import IntegrityError, UsageProblem
    from isobuilder.pipeline.build import check

    if len(items) != 1:
        raise UsageProblem(
            f"--check compares one ISO, these are {len(items)}", hint="choose with --arch"
        )
    if isinstance(items[0], IsobuilderError):
        raise items[0]
    lock = chosen.lock(items[0], settled=False)
    try:
        digest = check(lock, iso, session)
    except IntegrityError as error:
        if as_json:
            app.show_json({"iso": str(iso), "reproduced": False, "fact": str(error)})
        raise
    if as_json:
        app.show_json({"iso": str(iso), "reproduced": True, "digest": digest})
    app.say(f"reproduced: {iso} is {digest}")


def _as_data(built: Built, signed: Signed | None) -> dict[str, Any]:
    signature: dict[str, Any] = {} if signed is None else {"signature": str(signed.path)}
    if built.signatures:
        signature["signatures"] = list(built.signatures)
    return {
        "iso": str(built.iso),
        "digest": built.digest,
        "size": built.size,
        "product_version": built.lock.product_version,
        "architecture": built.lock.architecture,
        "reused": built.reused,
        "side_files": [str(path) for path in (*built.side_files, built.report)],
        **signature,
    }


def _revision(text: str) -> int:
    from isobuilder.errors import UsageProblem
    from isobuilder.model.base import MOST_REVISIONS

    revision = whole_number(text.removeprefix("r"))
    if not revision or revision > MOST_REVISIONS:
        raise UsageProblem(
            f"--revision: expected r and a number from 1 to {MOST_REVISIONS}, got {text[:40]!r}"
        )
    return revision
