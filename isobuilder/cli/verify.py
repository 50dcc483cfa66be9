"""``isobuilder verify``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import (
    FILE,
    App,
    AppCommand,
    data_of,
    json_option,
    plural,
)
from isobuilder.cli.exits import Attempts
from isobuilder.cli.sources import SOURCE, BuildSource, locks_of
from isobuilder.cli.telling import tell
from isobuilder.cli.trust.group import trust_of
from isobuilder.cli.trust.rebuild import builders_option
from isobuilder.cli.trust.signing import signature_options, wanted_signatures
from isobuilder.text import human_size

if TYPE_CHECKING:
    from isobuilder.digest import Digest
    from isobuilder.model.lock import Lock
    from isobuilder.model.profile import ProfileName
    from isobuilder.pipeline.verify import Verification


@click.command(cls=AppCommand)
@click.argument("isos", metavar="ISO...", nargs=-1, required=True, type=FILE)
@click.option(
    "--lock",
    "source",
    metavar="RECIPE|LOCK|VERSION",
    type=SOURCE,
    help="The lock that the ISO should be made from.",
)
@click.option("--digest", metavar="SHA256", help="The digest that the ISO should have.")
@click.option(
    "--profile",
    metavar="PROFILE",
    help="The node contract to check, in place of the ISO's own.",
)
@click.option("--deep", is_flag=True, help="Also import every image into an isolated containerd.")
@click.option("--containerd", type=FILE, help="With --deep: this containerd, with ctr beside it.")
@click.option("--trust", is_flag=True, help="Prove who signed what is on it, without a network.")
@click.option(
    "--trusted-root", type=FILE, help="With --trust: this root, in place of the public Sigstore's."
)
@click.option("--policies", type=FILE, help="With --trust: whose signatures are expected.")
@builders_option
@signature_options("--key", "--signatures")
@click.option(
    "--bundle", "bundles", multiple=True, type=FILE, help="Signature, in place of those beside it."
)
@click.option("--strict", is_flag=True, help="A warning is an error.")
@click.option("--no-layers", is_flag=True, help="Do not unpack layers; much quicker.")
@json_option
@click.pass_obj
def verify(
    app: App,
    isos: tuple[Path, ...],
    source: BuildSource | None,
    digest: str | None,
    profile: str | None,
    deep: bool,
    containerd: Path | None,
    trust: bool,
    trusted_root: Path | None,
    policies: Path | None,
    builders: tuple[Path, ...],
    keys: tuple[Path, ...],
    revoked: tuple[Path, ...],
    signatures: int | None,
    bundles: tuple[Path, ...],
    strict: bool,
    no_layers: bool,
    as_json: bool,
) -> None:
    """Check each ISO down to its layers, and play the node that mounts it.

    Trusts nothing but --lock, --digest or --key, where they are given. With --lock every path and
    every byte must be what the lock leads to. What could not be proved is named, and then "good" is
    not said: an ISO alone, or with a checksum file beside it, does not tell where it comes from.
    With --trust it is told who signed what and when, one line each, by the evidence on the ISO.
    Each problem is one line with the rule, the place, the fact and the remedy; ends with 5 if there
    is an error, with 7 if some of several ISOs are good.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.pipeline.verify import verify as verify_iso

    if len(isos) > 1 and (source or digest or bundles):
        option = "--lock" if source else "--digest" if digest else "--bundle"
        raise UsageProblem(
            f"{option} is about one ISO, these are {len(isos)}",
            hint="verify them one by one",
        )
    if containerd and not deep:
        raise UsageProblem("--containerd goes with --deep")
    check = partial(
        verify_iso,
        lock=_lock_for(isos[0], source) if source else None,
        expected=_digest(digest) if digest else None,
        profile=_profile(profile) if profile else None,
        layers=not no_layers,
        deep=deep,
        containerd=containerd,
        store=app.store,
        strict=strict,
        trust=trust_of(app, trusted_root, policies, builders, asked=trust),
        signatures=wanted_signatures(keys, revoked, signatures, bundles),
        progress=app.progress,
    )
    _verify_each(app, isos, check, as_json=as_json)


def _verify_each(
    app: App, isos: Sequence[Path], check: Callable[[Path], Verification], *, as_json: bool
) -> None:
    """Verify them one after another; a bad one keeps no other from its turn."""
    attempts: Attempts[Verification] = Attempts()
    try:
        for iso in isos:
            with attempts:
                result = check(iso)
                attempts.results.append(result)
                if not as_json:
                    _show(result)
                    if result.needs:
                        app.say(f"a node needs, beside the ISO: {'; '.join(result.needs)}")
                _refuse_bad(result)
    finally:
        if as_json and (
            shown := [data_of(one) | {"passed": one.passed} for one in attempts.results]
        ):
            app.show_json(shown[0] if len(isos) == 1 else shown)
    attempts.raise_failures()


def _lock_for(iso: Path, source: BuildSource) -> Lock:
    """Return the lock that SOURCE means; of several the one for the ISO's architecture.

    Raises:
        InputError: it has none for that.
    """
    from isobuilder.cli.sources import no_lock
    from isobuilder.pipeline.build import manifest_of

    locks, left_out = locks_of(source, None)
    if not source.is_recipe or (len(locks) == 1 and not left_out):
        return locks[0]
    manifest = manifest_of(iso)
    architecture = manifest.architecture if manifest else locks[0].architecture
    for lock in locks:
        if lock.architecture == architecture:
            return lock
    raise no_lock(source, architecture)


def _errors(result: Verification) -> int:
    return sum(1 for finding in result.findings if finding.severity == "error")


def _show(result: Verification) -> None:
    for line in result.signatures:
        tell(line)
    for finding in result.findings:
        tell(finding)
    for claim in result.signed:
        tell(claim)
    errors = _errors(result)
    verdict = "BAD" if not result.passed else "passed" if result.not_proved else "good"
    open_ends = f"; not proved: {'; '.join(result.not_proved)}" if result.not_proved else ""
    tell(
        f"{verdict}: {result.iso}: "
        f"{result.digest or 'not a whole ISO'}, "
        f"{human_size(result.size)}, {plural(errors, 'error')}, "
        f"{plural(len(result.findings) - errors, 'warning')}; "
        f"checked {', '.join(result.checked)}{open_ends}"
    )


def _refuse_bad(result: Verification) -> None:
    from isobuilder.errors import IntegrityError

    if not result.passed:
        raise IntegrityError(
            f"{result.iso}: {plural(_errors(result), 'error')}",
            hint="do not register or boot this ISO; build it again",
        )


def _digest(text: str) -> Digest:
    from isobuilder.digest import Digest
    from isobuilder.errors import UsageProblem

    try:
        return Digest.typed(text)
    except ValueError as error:
        raise UsageProblem(f"--digest: {error}") from error


def _profile(text: str) -> ProfileName:
    from typing import get_args

    from isobuilder.errors import UsageProblem
    from isobuilder.model.profile import ProfileName

    for known in get_args(ProfileName):
        if text == known:
            return known  # type: ignore[no-any-return]
    raise UsageProblem(
        f"--profile: no profile {text!r}", hint=f"profiles: {', '.join(get_args(ProfileName))}"
    )
