"""``isobuilder site check``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import FILE, App, AppCommand, json_option
from isobuilder.cli.exits import Attempts, raise_gravest
from isobuilder.cli.mold.servers import Servers, named_servers_option
from isobuilder.cli.site.naming import digest_of
from isobuilder.cli.telling import tell
from isobuilder.cli.trust.group import trust_of
from isobuilder.cli.trust.rebuild import builders_option
from isobuilder.cli.trust.signing import signature_options, wanted_signatures
from isobuilder.errors import IntegrityError, IsobuilderError, PartlyDone, UsageProblem

if TYPE_CHECKING:
    from isobuilder.mold.api.commands import Mold
    from isobuilder.pipeline.provenance.signing import Signatures
    from isobuilder.site.check import CheckedBundle, CheckedIso
    from isobuilder.site.upgrades import Running, Way

_CARRIED = click.Path(exists=True, path_type=Path)


@click.command(cls=AppCommand)
@click.argument("carried", metavar="ISO|PART|DIR...", nargs=-1, required=True, type=_CARRIED)
@click.option("--digest", metavar="DIGEST", help="Of the one ISO, as it came another way.")
@click.option("--bundle", metavar="DIGEST", help="Of the bundle, as it came another way.")
@click.option("--have", "versions", multiple=True, metavar="VERSION", help="A cluster runs it.")
@click.option("--nodes", type=FILE, help="What kubectl get nodes -o json printed.")
@named_servers_option("Clusters run what this Mold server has; repeatable.")
@click.option("--trust", is_flag=True, help="Prove who signed what is on the ISOs, too.")
@click.option("--trusted-root", type=FILE, help="With --trust: in place of the public Sigstore's.")
@click.option("--policies", type=FILE, help="With --trust: whose signatures are expected.")
@builders_option
@signature_options("--key", "--signatures")
@json_option
@click.pass_obj
def check(
    app: App,
    carried: tuple[Path, ...],
    digest: str | None,
    bundle: str | None,
    versions: tuple[str, ...],
    nodes: Path | None,
    servers: tuple[str, ...],
    trust: bool,
    trusted_root: Path | None,
    policies: Path | None,
    builders: tuple[Path, ...],
    keys: tuple[Path, ...],
    revoked: tuple[Path, ...],
    signatures: int | None,
    as_json: bool,
) -> None:
    """Prove what arrived, and tell what this site can do with it; needs no network.

    ISOs are verified by their locks beside them, and by signatures with --key, bundles down to each
    blob; nothing is written.
    With the versions that clusters run, as --have, --nodes or --server, which asks the site's own
    Mold, it tells how far they can be upgraded, one minor at a time, and which minor is missing.
    """
    from isobuilder.site.check import check_bundles, check_iso_here
    from isobuilder.site.upgrades import ways

    isos, others, failures = _sorted_out(carried)
    signed = wanted_signatures(keys, revoked, signatures)
    _refuse_idle(isos, others, digest=digest, bundle=bundle, trust=trust, signed=signed)
    asked = _registered(app, servers)
    have = [*_running(versions, nodes), *chain.from_iterable(asked.results)]
    judged_by = trust_of(app, trusted_root, policies, builders, asked=trust)
    wanted = None if digest is None else digest_of(digest, "--digest")
    found: Attempts[CheckedIso] = Attempts(failures=failures)
    for path in isos:
        with found:
            iso = check_iso_here(
                path,
                expected=wanted,
                store=app.store,
                trust=judged_by,
                signatures=signed,
                progress=app.progress,
            )
            found.results.append(iso)
    identity = None if bundle is None else digest_of(bundle, "--bundle")
    checked = check_bundles(others, app.store, expected=identity, progress=app.progress)
    failures += checked.failures
    offers = [iso.offer for iso in found.results if iso.offer]
    offers += [offer for one in checked.bundles for offer in one.offers]
    upgrades = ways(have, offers)
    if as_json:
        app.show_json(_data(found.results, checked.bundles, upgrades))
    else:
        _show(found.results, checked.bundles, upgrades)
    _refuse(found.results, checked.bundles, failures)
    asked.raise_failures()


def _sorted_out(carried: tuple[Path, ...]) -> tuple[list[Path], list[Path], list[IsobuilderError]]:
    """Return the ISOs, what else was carried, and why some of it cannot be looked at."""
    from isobuilder.site.bundles.arrival import is_iso, spread

    isos: list[Path] = []
    others: list[Path] = []
    failures: list[IsobuilderError] = []
    for path in spread(carried, failures):
        try:
            (isos if not path.is_dir() and is_iso(path) else others).append(path)
        except IsobuilderError as error:
            failures.append(error)
    return isos, others, failures


def _refuse_idle(
    isos: list[Path],
    others: list[Path],
    *,
    digest: str | None,
    bundle: str | None,
    trust: bool,
    signed: Signatures | None,
) -> None:
    """Refuse what asks for a proof of things that are not here: nobody would miss it.

    Raises:
        UsageProblem: something does.
    """
    if digest is not None and len(isos) != 1:
        raise UsageProblem(f"--digest is of one ISO, these are {len(isos)}")
    for option, asked in (("--key", signed is not None), ("--trust", trust)):
        if asked and not isos:
            hint = "--bundle proves a bundle by its identity"
            raise UsageProblem(f"{option} is about ISOs, and none is here", hint=hint)
    if bundle is not None and not others:
        hint = "--digest proves an ISO by its digest"
        raise UsageProblem("--bundle is about bundles, and none is here", hint=hint)


def _running(versions: tuple[str, ...], nodes: Path | None) -> list[Running]:
    from isobuilder.formats.kube import KubeVersion
    from isobuilder.pipeline.upgrade import running_nodes

    try:
        have: list[Running] = [(KubeVersion(text.removeprefix("v")), None) for text in versions]
    except ValueError as error:
        raise UsageProblem(f"--have: {error}") from error
    if nodes is not None:
        have += [(node.version, node.architecture) for node in running_nodes(nodes)]
    return have


def _registered(app: App, names: tuple[str, ...]) -> Attempts[list[Running]]:
    """Return what the servers ``names`` have that can be used, as far as they answer."""
    from isobuilder.formats.kube import KubeVersion
    from isobuilder.model.architecture import architecture_of
    from isobuilder.mold.manage import list_entries

    def running(mold: Mold) -> list[Running]:
        found: list[Running] = []
        for entry in list_entries(mold):
            with suppress(ValueError):  # whatever somebody registered by hand
                version = KubeVersion(entry.version.semanticversion.removeprefix("v"))
                found.append((version, architecture_of(entry.version.assumed_arch)))
        return found

    if not names:
        return Attempts()
    return Servers(names).each(app, running)


def _show(isos: list[CheckedIso], bundles: Sequence[CheckedBundle], upgrades: list[Way]) -> None:
    for iso in isos:
        result = iso.result
        wrong = sum(finding.severity == "error" for finding in result.findings)
        state = "good" if result.passed else f"{wrong} wrong"
        tell(f"{result.iso}: {state}, {result.digest or 'not a whole ISO'}")
        for line in (*map(str, result.signatures), *result.signed):
            tell(f"  {line}")
        for finding in result.findings:
            tell(f"  {finding.severity}: {finding.rule}: {finding.place}: {finding.fact}")
        for text in result.not_proved:
            tell(f"  not proved: {text}")
        _show_unlisted((image.image, image.manifest) for image in iso.unlisted)
    for bundle in bundles:
        parts = _missing_parts(bundle, ", in ")
        state = f"{len(bundle.missing)} missing{parts}" if bundle.missing else "complete"
        tell(f"bundle {bundle.bundle.identity}: {state}")
        for offer in bundle.offers:
            tell(f"  builds {offer.name}")
        for name in bundle.missing:
            tell(f"  missing: {name}")
        for name in bundle.lacking:
            tell(f"  not carried: {name}")
        for name in bundle.unread:
            tell(f"  not looked at, so what it needs is not known: {name}")
        _show_unlisted((one.image, f"{one.manifest} of {name}") for name, one in bundle.unlisted)
    _show_upgrades(upgrades)


def _show_unlisted(images: Iterable[tuple[str, str]]) -> None:
    for image, manifest in images:
        tell(f"  will be started and is not there: {image} ({manifest})")


def _show_upgrades(upgrades: Sequence[Way]) -> None:
    """Tell the ways; of which architecture they are only where they are of several."""
    several = len({way.architecture for way in upgrades}) > 1
    for way in upgrades:
        what = f"{way.architecture}: " if several and way.architecture else ""
        steps = " -> ".join(map(str, (way.have, *way.steps)))
        tell(f"{what}{steps}{'' if way.steps else ': nothing here is an upgrade of it'}")
        if way.gap:
            tell(f"  for later ones a {way.gap} is missing: upgrades go one minor at a time")


def _missing_parts(bundle: CheckedBundle, before: str) -> str:
    """Say, behind ``before``, which parts of a bundle lack, if it has several."""
    if not bundle.missing_parts or bundle.of == 1:
        return ""
    return f"{before}part {', '.join(map(str, bundle.missing_parts))} of {bundle.of}"


def _data(isos: list[CheckedIso], bundles: Sequence[CheckedBundle], upgrades: list[Way]) -> Any:
    return {
        "isos": [
            {
                "iso": str(iso.result.iso),
                "digest": iso.result.digest,
                "passed": iso.result.passed,
                "findings": list(iso.result.findings),
                "not_proved": list(iso.result.not_proved),
                "signatures": list(iso.result.signed),
                "trust": list(iso.result.signatures),
                "version": None if iso.offer is None else str(iso.offer.version),
                "will_be_missing": [image.image for image in iso.unlisted],
            }
            for iso in isos
        ],
        "bundles": [
            {
                "bundle": bundle.bundle.identity,
                "missing": list(bundle.missing),
                "missing_parts": list(bundle.missing_parts),
                "parts": bundle.of,
                "builds": [offer.name for offer in bundle.offers],
                "not_carried": list(bundle.lacking),
                "not_looked_at": list(bundle.unread),
                "will_be_missing": [
                    {"lock": name, "image": one.image} for name, one in bundle.unlisted
                ],
            }
            for bundle in bundles
        ],
        "upgrades": [
            {
                "have": str(way.have),
                "architecture": way.architecture,
                "steps": [str(step) for step in way.steps],
                "missing_minor": way.gap,
            }
            for way in upgrades
        ],
    }


def _refuse(
    isos: list[CheckedIso], bundles: Sequence[CheckedBundle], failures: list[IsobuilderError]
) -> None:
    """Tell all that is wrong; bytes that are not what was promised count most.

    Raises:
        IsobuilderError: something is.
    """
    gaps = []
    for bundle in bundles:
        if bundle.missing or bundle.lacking or bundle.unread:
            which = _missing_parts(bundle, ": missing ")
            what = "not all that it promises, or its locks need, is here"
            gaps.append(f"bundle {bundle.bundle.identity}: {what}{which}")
    wrong = [f"{iso.result.iso}: do not use it" for iso in isos if not iso.result.passed]
    told = list(failures)
    if gaps:
        ways = []
        if any(bundle.missing or bundle.unread for bundle in bundles):
            ways.append("name all its parts; site export --part makes one part again")
        if any(bundle.lacking for bundle in bundles):
            ways.append(
                "what is not carried has to be in the store that --store names; site export "
                "without --known leaves nothing out"
            )
        told.insert(0, PartlyDone(*gaps, hint="; ".join(ways)))
    if wrong:
        hint = "isobuilder verify tells what to do about each finding"
        told.append(IntegrityError(*wrong, hint=hint))
    raise_gravest(told)
