"""``isobuilder sign``, and the options of commands that demand signatures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import (
    FILE,
    NEW_FILE,
    App,
    AppCommand,
    WholeNumber,
    json_option,
    load_lock_file,
)
from isobuilder.cli.exits import Attempts
from isobuilder.cli.telling import tell_path, tell_text

if TYPE_CHECKING:
    from isobuilder.pipeline.provenance.signing import Signatures, Signed

key_option = click.option(
    "--key",
    metavar="FILE|pkcs11:...",
    envvar="ISOBUILDER_SIGNING_KEY",
    help="Private key, or that of a token.  [default: the program in ISOBUILDER_SIGNER]",
)


def _builder(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """Return who builds, if a policy and a list of keys could name the same."""
    from isobuilder.model.base import check_builder

    try:
        return None if text is None else check_builder(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


builder_option = click.option(
    "--builder",
    metavar="URI",
    callback=_builder,
    envvar="ISOBUILDER_BUILDER",
    help="Who builds, in the provenance.  [default: one that names the key]",
)


def typed(context: click.Context, name: str) -> bool:
    """Say if an option was given to this call, and not to every one by a variable."""
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def ledger_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that reads a ledger the options ``--signed-by`` and ``--revoked``."""
    for option in (
        click.option(
            "--revoked", multiple=True, type=FILE, help="List of keys that count no more."
        ),
        click.option(
            "--signed-by",
            "signers",
            multiple=True,
            type=FILE,
            help="Demand that the ledger is signed: public key, or list of keys. Repeatable.",
        ),
    ):
        command = option(command)
    return command


def signature_options(name: str, count: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options ``name``, ``count`` and ``--revoked``.

    ``wanted_signatures`` says what they mean.
    """
    options = (
        click.option(
            count,
            "signatures",
            type=WholeNumber(1, 16),
            metavar="N",
            help="Demand N builders with keys of their own who agree on the digest.",
        ),
        click.option(
            "--revoked", multiple=True, type=FILE, help="List of keys that count no more."
        ),
        click.option(
            name,
            "keys",
            multiple=True,
            type=FILE,
            help="Demand a signature: public key, or list of keys. Repeatable.",
        ),
    )

    def given(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in options:
            command = option(command)
        return command

    return given


def wanted_signatures(
    keys: tuple[Path, ...],
    revoked: tuple[Path, ...],
    signatures: int | None,
    files: tuple[Path, ...] = (),
) -> Signatures | None:
    """Return what the options ask of signatures, None if nothing.

    Raises:
        UsageProblem: some were given, and no key.
        InputError, EnvironmentProblem: see ``read_keys``.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.pipeline.provenance.signing import Signatures
    from isobuilder.trust.publickeys import read_keys

    if not keys:
        if revoked or signatures or files:
            raise UsageProblem(
                "whose signature? no key is given", hint="name a public key, or a list of keys"
            )
        return None
    return Signatures(read_keys(keys, revoked), signatures or 1, files)


@click.command(cls=AppCommand)
@click.argument("isos", metavar="[ISO]...", nargs=-1, type=FILE)
@key_option
@builder_option
@click.option("--lock", type=FILE, help="What the ISO was built from.  [default: beside it]")
@click.option("--out", type=NEW_FILE, help="Where the signature goes.  [default: beside the ISO]")
@click.option("--print-key", is_flag=True, help="Only print the public key.")
@json_option
@click.pass_obj
def sign(
    app: App,
    isos: tuple[Path, ...],
    key: str | None,
    builder: str | None,
    lock: Path | None,
    out: Path | None,
    print_key: bool,
    as_json: bool,
) -> None:
    """Sign each ISO: its bytes, its files, and what it was built from, beside it.

    Every byte is looked at before. A signature of another key stays, and this one goes into a file
    of its own. The passphrase of a key is taken from ISOBUILDER_KEY_PASSWORD, the PIN of a token
    from ISOBUILDER_PKCS11_PIN, or from the file that these name with _FILE at their end.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.pipeline.provenance.signing import sign_iso
    from isobuilder.trust.signers import open_signer

    if not isos and not print_key:
        raise UsageProblem("which ISO is to be signed?")
    if len(isos) > 1 and (lock or out):
        raise UsageProblem(f"--lock and --out are about one ISO, these are {len(isos)}")
    signer = open_signer(key)
    if print_key:
        tell_text(signer.public.to_pem(), nl=False)
        return
    locked = load_lock_file(lock) if lock else None
    attempts: Attempts[Signed] = Attempts()
    try:
        for iso in isos:
            with attempts:
                made = sign_iso(
                    iso, signer, lock=locked, builder=builder, out=out, progress=app.progress
                )
                attempts.results.append(made)
                show_signed(app, made, as_json=as_json)
    finally:
        if as_json:
            app.show_json(attempts.results)
    attempts.raise_failures()


def show_signed(app: App, made: Signed, *, as_json: bool) -> None:
    """Tell of a signature; its path is the result."""
    state = "signed before" if made.reused else "signed"
    app.say(f"{state}: {made.digest} by the key {made.key} for {made.builder}")
    if not as_json:
        tell_path(made.path)
