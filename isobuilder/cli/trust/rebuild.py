"""``isobuilder trust rebuild`` and ``isobuilder trust add``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FILE, FOLDER, App, AppCommand, json_option, plural
from isobuilder.cli.exits import Attempts
from isobuilder.cli.sources import SOURCE, BuildSource, arch_option, lock_file_of, locks_of
from isobuilder.cli.telling import tell, tell_path
from isobuilder.cli.trust.signing import builder_option, key_option
from isobuilder.files import write_whole

if TYPE_CHECKING:
    from isobuilder.model.lock import Lock
    from isobuilder.pipeline.provenance.proofs import AddedProof
    from isobuilder.sources.session import Session
    from isobuilder.trust.rebuild.proof import RebuildProof
    from isobuilder.trust.signers import Signer

builders_option = click.option(
    "--builders",
    multiple=True,
    type=FILE,
    help="Public key, or list of keys, of those whose building again counts. Repeatable.",
)


@click.command(cls=AppCommand)
@click.argument("source", metavar="LOCK|RECIPE|VERSION", type=SOURCE)
@arch_option
@click.option("--file", "names", multiple=True, metavar="NAME", help="Only this one; repeatable.")
@click.option("--sign", is_flag=True, help="Sign the proofs, so that they count for others.")
@key_option
@builder_option
@click.option("--out", type=FOLDER, help="Where proofs go as well.  [default: the lock's evidence]")
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
    sign: bool,
    key: str | None,
    builder: str | None,
    out: Path | None,
    go: Path | None,
    caches: Path | None,
    chroot: Path | None,
    as_json: bool,
) -> None:
    """Build upstream's programs again from public source, and compare them with the locked bytes.

    Needs Go, of the version that upstream used, and the module index; takes minutes and
    gigabytes. The commit, the dates and the settings are those that the locked program has. What
    is not identical is told with the first section that differs, and ends with 5. Proofs go into
    the lock and beside it; a lock that is shipped, or lies beside its ISO, stays as it is.
    """
    from isobuilder.pipeline.provenance.rebuild import RebuildPlace, rebuildable, rebuilt
    from isobuilder.sources.session import open_session
    from isobuilder.trust.signers import open_signer

    locks, _left_out = locks_of(source, arch)
    keeper = _Keeper(app, source, out, open_signer(key) if sign else None, builder)
    place = RebuildPlace(
        caches or app.store.root.with_name(f"{app.store.root.name}-go"), go, chroot
    )
    attempts: Attempts[RebuildProof] = Attempts()
    try:
        with open_session(app.config, app.store, progress=app.progress) as session:
            for lock in locks:
                keeper.check(lock)
                for name in names or rebuildable(lock):
                    with attempts:
                        proof = rebuilt(lock, name, session, place)
                        attempts.results.append(proof)
                        if not as_json:
                            _show(proof)
                        keeper.keep(lock, proof, session)
    finally:
        if as_json:
            app.show_json(attempts.results)
    attempts.raise_failures()


@dataclass(frozen=True, slots=True)
class _Keeper:
    """Where proofs go, and who signs them."""

    app: App
    source: BuildSource
    out: Path | None
    signer: Signer | None
    builder: str | None

    def check(self, lock: Lock) -> None:
        """Return if the lock may be written, before minutes are spent."""
        from isobuilder.pipeline.provenance.proofs import refuse_unwritable

        if (path := self._file(lock)) is not None:
            refuse_unwritable(path)

    def _file(self, lock: Lock) -> Path | None:
        from isobuilder.pipeline.provenance.proofs import is_of_an_iso

        path = lock_file_of(self.source, lock.architecture)
        return None if path is None or is_of_an_iso(path) else path

    def keep(self, lock: Lock, proof: RebuildProof, session: Session) -> None:
        """Put a proof into the lock, and where else it should go."""
        from isobuilder.pipeline.provenance.proofs import add_proof
        from isobuilder.pipeline.provenance.signing import signing_moment
        from isobuilder.trust.rebuild.claims import signed_proof

        data, end = proof.to_bytes(), "rebuilt.json"
        if self.signer is not None:
            moment = signing_moment()
            data = signed_proof(proof, self.signer, builder=self.builder, moment=moment)
            end = "rebuilt.sigstore.json"
        if self.out is not None:
            beside = self.out / f"{lock.base_name}.{proof.name}.{end}"
            write_whole(beside, data)
            tell_path(beside)
        path = self._file(lock)
        if path is not None:
            added = add_proof(path, data, f"the proof of {proof.name}", session)
            self.app.say(f"{path}: {_state(added)}")
        elif self.out is None:
            self.app.say("a lock that is shipped, or beside its ISO, stays; --out keeps the proof")


@click.command(cls=AppCommand)
@click.argument("lock", type=FILE)
@click.argument("proofs", metavar="PROOF...", nargs=-1, required=True, type=FILE)
@builders_option
@json_option
@click.pass_obj
def add(
    app: App, lock: Path, proofs: tuple[Path, ...], builders: tuple[Path, ...], as_json: bool
) -> None:
    """Put proofs that others made with trust rebuild --out into the evidence of LOCK.

    Each must be about a program of the lock and say what the others say. With --builders only
    proofs count that are signed by their keys; else that is looked at when an ISO is verified.
    """
    from isobuilder.pipeline.provenance.proofs import add_proof, read_proof_file
    from isobuilder.pipeline.trust import builders_of
    from isobuilder.sources.session import open_session

    keys = builders_of(app.config, builders)
    attempts: Attempts[AddedProof] = Attempts()
    try:
        with open_session(app.config, app.store, progress=app.progress) as session:
            for path in proofs:
                with attempts:
                    added = add_proof(lock, read_proof_file(path), str(path), session, keys)
                    attempts.results.append(added)
                    if not as_json:
                        tell(f"{path}: {_state(added)}")
    finally:
        if as_json:
            app.show_json(attempts.results)
    attempts.raise_failures()


def _state(added: AddedProof) -> str:
    state = "added" if added.new else "was there already"
    by = f", {plural(added.proven.count, 'builder')} that count" if added.proven.builders else ""
    return f"{state}: {added.path}{by}"


def _show(proof: RebuildProof) -> None:
    tell(
        f"identical: {proof.name} for {proof.architecture}: {proof.sha256}, built by Go {proof.go} "
        f"from commit {proof.commit} and {len(proof.modules)} modules of the public checksum "
        f"database ({proof.sums})"
    )
