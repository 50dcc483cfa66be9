"""``isobuilder trust``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FILE, App, AppGroup, json_option, plural
from isobuilder.cli.sources import SOURCE, BuildSource
from isobuilder.cli.telling import table, tell, tell_text
from isobuilder.cli.trust.rebuild import add, rebuild
from isobuilder.files import own_path

if TYPE_CHECKING:
    from isobuilder.model.trust.policies import ExpectedSigner, SignaturePolicy
    from isobuilder.pipeline.trust import Trust


@click.group(cls=AppGroup)
def trust() -> None:
    """Tell whose signatures are expected, and prove where programs come from."""


trust.add_command(rebuild)
trust.add_command(add)


@trust.command()
@click.argument("recipe", metavar="[RECIPE|VERSION]", type=SOURCE, required=False)
@click.option("--policies", type=FILE, help="Whose signatures are expected, beside the shipped.")
@json_option
@click.pass_obj
def show(app: App, recipe: BuildSource | None, policies: Path | None, as_json: bool) -> None:
    """Print whose signature is expected of what, before anything is verified.

    With RECIPE its own policies and exceptions count, too. Nothing is asked of the network.
    """
    from isobuilder.model.loading import architectures_of
    from isobuilder.trust.evidence.policies import known_policies

    own = None
    if recipe is not None:
        own = recipe.recipe(architectures_of(recipe.path)[0]).trust
    known = known_policies(policies or _file(app.config.policies), own)
    if as_json:
        app.show_json(
            {name: policy.model_dump(mode="json") for name, policy in sorted(known.items())}
        )
        return
    rows = [row for name, policy in sorted(known.items()) for row in _rows(name, policy)]
    tell_text(table(rows, ("POLICY", "OF", "LEVEL", "SIGNED BY", "SERVED AS")))
    for name, policy in sorted(known.items()):
        if policy.rebuilt:
            paths = ", ".join(policy.paths)
            tell(f"{name}: {paths}: rebuilt from source by {plural(policy.rebuilt, 'builder')}")
        for one in policy.exceptions:
            until = f" until {one.until}" if one.until else ""
            tell(f"{name}: {one.covers} of {one.kubernetes} may be unsigned{until}: {one.reason}")


def _rows(name: str, policy: SignaturePolicy) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    if policy.files is not None:
        of = ", ".join(policy.paths) or "files that name it"
        found.append((name, of, policy.level, str(policy.files), _form(policy.files)))
    if policy.images is not None:
        of = f"images of {', '.join(policy.of)}"
        found.append((name, of, policy.level, str(policy.images), "beside the image"))
    return found


def _form(expected: ExpectedSigner) -> str:
    forms = {
        "pair": "FILE.sig and FILE.cert",
        "bundle": "FILE.sigstore.json",
        "attestation": "attestation at GitHub",
        "detached": "FILE.asc",
        "clear-signed": "signed checksum file",
    }
    return forms[expected.form]


def _file(text: str | None) -> Path | None:
    return None if text is None else own_path(text)


def trust_of(
    app: App,
    root: Path | None = None,
    policies: Path | None = None,
    builders: tuple[Path, ...] = (),
    *,
    asked: bool,
) -> Trust | None:
    """Return by what signatures are judged: options, else settings, else what is shipped.

    None if neither --trust (``asked``) nor the settings ask for it.

    Raises:
        UsageProblem: nobody asked, and the options were given.
    """
    from isobuilder.errors import UsageProblem

    if not (asked or app.config.trust):
        if root or policies or builders:
            raise UsageProblem("--trusted-root, --policies and --builders go with --trust")
        return None
    from isobuilder.pipeline.trust import Trust

    return Trust.of(app.config, root, policies, builders)
