"""``isobuilder trust rebuild``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FILE, FOLDER, App, AppCommand, json_option
from isobuilder.cli.exits import Attempts
from isobuilder.cli.sources import SOURCE, BuildSource, arch_option, locks_of
from isobuilder.cli.telling import tell, tell_path
from isobuilder.files import write_whole

if TYPE_CHECKING:
    from isobuilder.trust.rebuild.proof import RebuildProof


@click.command(cls=AppCommand)
@click.argument("source", metavar="LOCK|RECIPE|VERSION", type=SOURCE)
@arch_option
@click.option("--file", "names", multiple=True, metavar="NAME", help="Only this one; repeatable.")
@click.option("--out", type=FOLDER, help="Where proofs go.  [default: nowhere, they are told]")
@click.option("--go", type=FILE, help="This Go.  [default: the installed one]")
@click.option("--caches", type=FOLDER, help="Go's caches.  [default: beside the store]")
@click.option(
    "--chroot",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Root file system for programs with C in them, such as kubelet.",
)
@json_option
@click.pass_obj
def rebuild(
    app: App,
    source: BuildSource,
    arch: str | None,
    names: tuple[str, ...],
    out: Path | None,
    go: Path | None,
    caches: Path | None,
    chroot: Path | None,
    as_json: bool,
) -> None:
    """Build upstream's programs again from public source, and compare them with the locked bytes.

    Needs Go, of the version that upstream used, and the module index; takes minutes and
    gigabytes. The commit, the dates and the settings are those that the locked program has. What
    is not identical is told with the first section that differs, and ends with 5.
    """
    from isobuilder.pipeline.provenance.rebuild import RebuildPlace, rebuildable, rebuilt
    from isobuilder.sources.session import open_session

    locks, _left_out = locks_of(source, arch)
    place = RebuildPlace(
        caches or app.store.root.with_name(f"{app.store.root.name}-go"), go, chroot
    )
    attempts: Attempts[RebuildProof] = Attempts()
    try:
        with open_session(app.config, app.store, progress=app.progress) as session:
            for lock in locks:
                for name in names or rebuildable(lock):
                    with attempts:
                        proof = rebuilt(lock, name, session, place)
                        attempts.results.append(proof)
                        if not as_json:
                            _show(proof)
                        if out is not None:
                            path = out / f"{lock.base_name}.{name}.rebuilt.json"
                            write_whole(path, proof.to_bytes())
                            tell_path(path)
    finally:
        if as_json:
            app.show_json(attempts.results)
    attempts.raise_failures()


def _show(proof: RebuildProof) -> None:
    tell(
        f"identical: {proof.name} for {proof.architecture}: {proof.sha256}, built by Go {proof.go} "
        f"from commit {proof.commit} and {len(proof.modules)} modules of the public checksum "
        f"database ({proof.sums})"
    )
