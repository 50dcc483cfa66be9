"""``isobuilder fetch`` and ``isobuilder build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import (
    FILE,
    FOLDER,
    App,
    AppCommand,
    human_size,
    json_option,
    load_lock_file,
    refuse_iso,
)
from isobuilder.cli.exits import for_each

if TYPE_CHECKING:
    from isobuilder.model.lock import Lock
    from isobuilder.pipeline.build import Built
    from isobuilder.sources.session import Session


@click.command(cls=AppCommand)
@click.argument("locks", metavar="LOCK...", nargs=-1, required=True, type=FILE)
@click.pass_obj
def fetch(app: App, locks: tuple[Path, ...]) -> None:
    """Bring into the store everything that the LOCKs name."""
    from isobuilder.pipeline.fetch import fetch as fetch_all
    from isobuilder.sources.session import open_session

    loaded = [load_lock_file(path) for path in locks]
    with open_session(app.config, app.store, progress=app.progress) as session:
        fetch_all(loaded, session)
    app.say(f"complete in {app.store.root}")


@click.command(cls=AppCommand)
@click.argument("sources", metavar="RECIPE|LOCK...", nargs=-1, required=True, type=FILE)
@click.option("--arch", type=click.Choice(["amd64", "arm64"]), help="Only this architecture.")
@click.option("--out", type=FOLDER, default="dist", show_default=True, help="Where ISOs go.")
@click.option("--revision", metavar="rN", help="Build number, in place of the recipe's own.")
@click.option(
    "--boot", metavar="OS", help="Make it start machines, with this payload of the store."
)
@click.option("--no-boot", is_flag=True, help="A plain ISO, even if the lock has an OS payload.")
@click.option("--locked", is_flag=True, help="Refuse a recipe that has no lock yet.")
@click.option("--force", is_flag=True, help="Build also when the ISO is there already.")
@click.option("--check", "check_iso", type=FILE, metavar="ISO", help="Build again and compare.")
@json_option
@click.pass_obj
def build(
    app: App,
    sources: tuple[Path, ...],
    arch: str | None,
    out: Path,
    revision: str | None,
    boot: str | None,
    no_boot: bool,
    locked: bool,
    force: bool,
    check_iso: Path | None,
    as_json: bool,
) -> None:
    """Build the ISO of each RECIPE or LOCK and its side files.

    A recipe without a lock is locked first. Prints the path of each ISO.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.pipeline.build import build as build_iso
    from isobuilder.pipeline.build import check
    from isobuilder.pipeline.payload import pin_payload
    from isobuilder.sources.session import open_session

    if boot is not None and no_boot:
        raise UsageProblem("--boot and --no-boot contradict each other")
    with open_session(app.config, app.store, progress=app.progress) as session:
        wanted = [
            item for source in sources for item in _locks(source, arch, revision, locked, session)
        ]
        if no_boot:
            wanted = [lock.model_copy(update={"boot": None}) for lock in wanted]
        elif boot is not None:
            wanted = [pin_payload(lock, boot, session) for lock in wanted]
        if check_iso is not None:
            if len(wanted) != 1:
                raise UsageProblem(
                    f"--check compares one ISO, these are {len(wanted)}", hint="choose with --arch"
                )
            app.say(f"reproduced: {check_iso} is {check(wanted[0], check_iso, session)}")
            return
        results: list[Built] = []

        def build_one(lock: Lock) -> None:
            built = build_iso(lock, out, session, force=force)
            state = "unchanged" if built.reused else "built"
            app.say(f"{state}: {built.digest}, {human_size(built.size)}")
            results.append(built)
            if not as_json:
                click.echo(built.iso)

        try:
            for_each(wanted, build_one)
        finally:
            if as_json:
                app.show_json([_as_data(built) for built in results])


def _as_data(built: Built) -> dict[str, Any]:
    return {
        "iso": str(built.iso),
        "digest": built.digest,
        "size": built.size,
        "product_version": built.lock.product_version,
        "architecture": built.lock.architecture,
        "reused": built.reused,
        "side_files": [str(path) for path in built.side_files],
    }


def _locks(
    source: Path, arch: str | None, revision: str | None, locked: bool, session: Session
) -> list[Lock]:
    """Return the locks that SOURCE means: itself, or those of a recipe."""
    from isobuilder.errors import InputError
    from isobuilder.model.loading import architectures_of
    from isobuilder.pipeline.lock import find_lock, lock_recipe

    refuse_iso(source, "a recipe or a lock")
    if source.suffix == ".json":
        lock = load_lock_file(source)
        if arch is not None and lock.architecture != arch:
            raise InputError(f"{source}: is for {lock.architecture}, --arch asks for {arch}")
        return [_revised(lock, revision)]
    architectures = [arch] if arch else list(architectures_of(source))
    found = {name: find_lock(source, name) for name in architectures}
    if arch is None and any(found.values()):
        # A recipe may name architectures that nobody has locked yet; its locks say what is meant.
        found = {name: lock for name, lock in found.items() if lock}
    result = []
    for name, lock_file in found.items():
        if lock_file is None and locked:
            raise InputError(
                f"{source}: no lock for {name}", hint=f"run isobuilder lock {source} --arch {name}"
            )
        answer = lock_file or lock_recipe(source, name, session)
        result.append(_revised(answer.lock, revision))
    return result


def _revised(lock: Lock, revision: str | None) -> Lock:
    from isobuilder.errors import UsageProblem

    if revision is None:
        return lock
    digits = revision.removeprefix("r")
    if not (digits.isascii() and digits.isdigit() and int(digits) > 0):
        raise UsageProblem(f"--revision: expected r and a number from 1, got {revision!r}")
    return lock.model_copy(update={"revision": int(digits)})
