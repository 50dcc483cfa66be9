"""``isobuilder site push``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import App, AppCommand, json_option, plural
from isobuilder.cli.telling import tell, tell_text
from isobuilder.text import human_size

if TYPE_CHECKING:
    from isobuilder.site.names import PushTarget
    from isobuilder.site.push import PushReport
    from isobuilder.sources.pushing import RegistryWriter

_RULE = "{registry}/{repository}"


@click.command(cls=AppCommand)
@click.argument(
    "places", metavar="ISO|DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--registry",
    required=True,
    metavar="URL",
    help="Of the site's registry; a path in it goes in front of every name.",
)
@click.option(
    "--name-rule",
    default=_RULE,
    show_default=True,
    metavar="RULE",
    help="How images are called there.",
)
@click.option(
    "--prune",
    "old",
    multiple=True,
    metavar="ISO|DIR",
    type=click.Path(path_type=Path),
    help="Push nothing; tell what only these needed, and not those that are named. Repeatable.",
)
@click.option("--yes", is_flag=True, help="With --prune: delete it.")
@click.option("--plain-http", is_flag=True, help="Send logins unencrypted to an http address.")
@json_option
@click.pass_obj
def push(
    app: App,
    places: tuple[Path, ...],
    registry: str,
    name_rule: str,
    old: tuple[Path, ...],
    yes: bool,
    plain_http: bool,
    as_json: bool,
) -> None:
    """Bring the images of each ISO, or of each in DIR, into the site's own registry.

    Straight out of the files, only what is missing there, and asked for again afterwards. Prints
    what to tell containerd, kubeadm and Mold. Run again after an interruption it carries on.

    With --prune: tell what the registry has that only old ISOs needed; with --yes delete it.
    """
    from isobuilder.errors import UpstreamError, UsageProblem
    from isobuilder.site.names import is_private, registry_base, settings_text, targets_for
    from isobuilder.site.push import open_registry
    from isobuilder.site.push import push as push_all
    from isobuilder.site.shelf import read_isos

    if yes and not old:
        raise UsageProblem("--yes belongs to --prune")
    base = registry_base(registry)
    isos = read_isos(places)
    outdated = read_isos(old) if old else None
    if outdated is not None:
        _refuse_gaps([*isos.unread, *outdated.unread])
    for fact in isos.catalog.shared:
        app.say(f"warning: {fact}")
    targets = targets_for(isos.catalog.repositories.values(), name_rule)
    if not (plain_http or is_private(base)):
        app.say(f"no login is sent to {base}, which is not encrypted; --plain-http sends it")
    writer = app.closing.enter_context(open_registry(base, app.http, plain=plain_http))
    if outdated is not None:
        _prune(
            app,
            writer,
            targets_for(outdated.catalog.repositories.values(), name_rule),
            targets,
            yes=yes,
            as_json=as_json,
        )
        return
    try:
        report = push_all(writer, targets, progress=app.progress)
    except UpstreamError as error:
        error.hint = error.hint or "run the same command again; what is there is not sent again"
        raise
    report.unread.extend(isos.unread)
    if as_json:
        app.show_json({"registry": base, **_data(report)})
    else:
        _tell(app, report)
        tell_text(settings_text(base, targets, name_rule), nl=False)
    _raise_failures(report)


def _raise_failures(report: PushReport) -> None:
    """Raise a ``PartlyDone`` that names what is not in the registry, if anything is not."""
    from isobuilder.errors import PartlyDone

    hints = []
    if report.unread:
        hints.append("mend what could not be read, or take it away, and push again")
    if report.refused:
        hints.append("the images themselves are there; ask for a registry that keeps the rest")
    failures = [f"not pushed: {fact}" for fact in report.unread]
    failures += [f"not kept: {fact}" for fact in report.refused]
    if failures:
        raise PartlyDone(*failures, hint="; ".join(hints))


def _refuse_gaps(unread: Sequence[str]) -> None:
    """Raise an ``IntegrityError`` if anything was not read: what it needs would be deleted."""
    from isobuilder.errors import IntegrityError

    if unread:
        raise IntegrityError(
            *unread,
            hint="nothing was deleted: what these need is not known; mend them, or name others",
        )


def _prune(
    app: App,
    writer: RegistryWriter,
    old: Sequence[PushTarget],
    needed: Sequence[PushTarget],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    from isobuilder.site.prune import carry_out, plan_prune

    plan = plan_prune(writer, old, needed, progress=app.progress)
    if not as_json:
        for one in plan.doomed:
            tags = f" ({', '.join(one.tags)})" if one.tags else ""
            tell(f"{one.repository}@{one.digest}{tags}")
        for fact in plan.kept:
            app.say(f"stays: {fact}")
    if yes:
        carry_out(writer, plan, progress=app.progress)
    if as_json:
        app.show_json({"deleted": yes, "manifests": plan.doomed, "kept": plan.kept})
    count = plural(len(plan.doomed), "manifest")
    if yes:
        app.say(f"{count} deleted")
    else:
        app.say(f"{count} would be deleted; --yes deletes, then the registry frees the space")


def _data(report: PushReport) -> dict[str, object]:
    return {
        "blobs": {
            "sent": report.blobs_sent,
            "mounted": report.blobs_mounted,
            "there": report.blobs_there,
            "bytes_sent": report.bytes_sent,
        },
        "manifests": {"sent": report.manifests_sent, "there": report.manifests_there},
        "tags": report.tags,
        "moved": report.moved,
        "refused": report.refused,
        "unread": report.unread,
    }


def _tell(app: App, report: PushReport) -> None:
    for fact in report.moved:
        app.say(f"moved: {fact}")
    app.say(
        f"{plural(report.blobs_sent, 'blob')} sent ({human_size(report.bytes_sent)}), "
        f"{report.blobs_mounted} mounted, {report.blobs_there} there; "
        f"{plural(report.manifests_sent, 'manifest')} sent, {report.manifests_there} there; "
        f"{plural(report.tags, 'tag')}"
    )
