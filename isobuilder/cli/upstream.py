"""``isobuilder upstream``."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from isobuilder.cli.app import FILE, FOLDER, NEW_FILE, App, AppGroup, WholeNumber, json_option
from isobuilder.cli.jobs.metrics import metrics_option, note_sync, numbers_into
from isobuilder.cli.jobs.schedule import schedule
from isobuilder.cli.mold.servers import Servers, named_servers_option
from isobuilder.cli.telling import table, tell, tell_path, tell_text
from isobuilder.model.architecture import ARCHITECTURES

if TYPE_CHECKING:
    from isobuilder.errors import IsobuilderError
    from isobuilder.mold.api.commands import Mold
    from isobuilder.pipeline.upstream.proposal import Proposal
    from isobuilder.rules.book import Row, RuleBook
    from isobuilder.sources.upstream.notices import Notice
    from isobuilder.sources.upstream.sight import Sight

Command = TypeVar("Command", bound=Callable[..., Any])

recipes_option = click.option(
    "--recipes",
    "named",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Recipes, or folders of them.  [default: the shipped ones]",
)

_rules_option = click.option(
    "--rules", "rules_file", type=FILE, help="Rules of your own, which win over the shipped ones."
)


@click.group(cls=AppGroup)
def upstream() -> None:
    """Follow what upstream releases, and what fits together."""


upstream.add_command(schedule)


def named_recipes(named: tuple[Path, ...]) -> list[Path]:
    """Return the recipes in files and folders; those that are shipped where none are named."""
    from isobuilder.model.loading import builtin_recipes, recipes_in

    places = named or (builtin_recipes(),)
    return [path for place in places for path in (recipes_in(place) if place.is_dir() else [place])]


def _readable(app: App, recipes: list[Path]) -> list[Path]:
    """Return the recipes that are good; the others are told, as upstream check tells them."""
    from isobuilder.errors import InputError
    from isobuilder.model.loading import load_recipe

    good = []
    for path in recipes:
        try:
            load_recipe(path)
        except InputError as error:
            app.say(f"warning: {path.name}: left out: {error}")
        else:
            good.append(path)
    return good


def _look(app: App, recipes: list[Path]) -> Sight:
    """Look at upstream for what is in recipes; with --offline nothing is asked or seen."""
    from isobuilder.pipeline.upstream.check import added_by, held_by
    from isobuilder.sources.session import open_session
    from isobuilder.sources.upstream.look import look
    from isobuilder.sources.upstream.sight import Sight

    if app.config.offline:
        return Sight(_today())
    held = [one for path in recipes for one in held_by(path, [])]
    minors = {one.parts.kubernetes.minor_text for one in held}
    with open_session(app.config, app.store, progress=app.progress) as session:
        sight = look(session, _today(), minors=minors, token=_token(), added=added_by(held))
    for trouble in sight.troubles:
        app.say(f"warning: {trouble.source}: {trouble.fact}")
    return sight


def proposed(app: App, version: str, named: tuple[Path, ...] = (), **wishes: Any) -> Proposal:
    """Return a recipe for what a person calls VERSION; ``wishes`` as for ``propose``."""
    from isobuilder.pipeline.upstream.proposal import meant, propose

    recipes = _readable(app, named_recipes(named))
    sight = _look(app, recipes)
    return propose(meant(version, sight), recipes, sight, **wishes)


def write_proposal(app: App, found: Proposal, output: Path, *, lock: bool) -> Proposal:
    """Write a proposed recipe, and with ``lock`` its locks; what is missing is told."""
    from isobuilder.files import write_whole
    from isobuilder.sources.session import open_session

    write_whole(output, found.text.encode())
    for lack in found.lacks:
        app.say(f"warning: a candidate: {lack}")
    if lock:
        with open_session(app.config, app.store, progress=app.progress) as session:
            found = found.locked(output, session)
    return found


def rules_of(app: App, rules_file: Path | None) -> RuleBook:
    """Return the rules of a file that was named, else those of the settings."""
    from isobuilder.rules.book import read_rules

    return read_rules(rules_file) if rules_file else app.rules


def _token() -> str | None:
    return os.environ.get("GITHUB_TOKEN", "").strip() or None


def _today() -> date:
    return datetime.now(UTC).date()


def _hold_days_option(text: str) -> Callable[[Command], Command]:
    """Return the option of how long a release has to be out."""
    return click.option(
        "--hold-days", type=WholeNumber(0, 365), default=1, show_default=True, help=text
    )


@upstream.command("list")
@recipes_option
@_rules_option
@json_option
@click.pass_obj
def list_(app: App, named: tuple[Path, ...], rules_file: Path | None, as_json: bool) -> None:
    """Print what upstream has: the newest patch of each minor, and of each line of components."""
    from isobuilder.pipeline.upstream.check import upstream_rows

    recipes = _readable(app, named_recipes(named))
    minors, components = upstream_rows(_look(app, recipes), recipes, rules_of(app, rules_file))
    if as_json:
        app.show_json({"kubernetes": minors, "components": components})
        return
    heads = ("MINOR", "NEWEST", "SINCE", "SUPPORT UNTIL", "WE HAVE")
    keys = ("minor", "newest", "day", "end", "ours")
    tell_text(table([tuple(str(row[key] or "-") for key in keys) for row in minors], heads))
    tell()
    heads = ("COMPONENT", "LINE", "NEWEST", "SINCE", "MENDED UNTIL")
    keys = ("component", "line", "newest", "day", "end")
    tell_text(table([tuple(str(row[key] or "-") for key in keys) for row in components], heads))


@upstream.command()
@recipes_option
@_rules_option
@_hold_days_option("Days from the first sight of a release until it is something to do.")
@click.option(
    "--arch",
    "architectures",
    multiple=True,
    type=click.Choice(list(ARCHITECTURES)),
    default=list(ARCHITECTURES),
    show_default=True,
    help="Architectures for which a new release must be whole.",
)
@click.option(
    "--isos",
    "folders",
    multiple=True,
    type=FOLDER,
    help="Folders of ISOs, to tell which nobody built.",
)
@named_servers_option("Servers, to tell which versions they lack.  [default: all of the settings]")
@click.option("--ended", is_flag=True, help="Want new patches of minors that have ended too.")
@click.option("--exit-code", is_flag=True, help="End with 9 if there is something to do.")
@click.option("--markdown", is_flag=True, help="Print it as Markdown.")
@json_option
@click.pass_obj
def check(
    app: App,
    named: tuple[Path, ...],
    rules_file: Path | None,
    hold_days: int,
    architectures: tuple[str, ...],
    folders: tuple[Path, ...],
    servers: tuple[str, ...],
    ended: bool,
    exit_code: bool,
    markdown: bool,
    as_json: bool,
) -> None:
    """Compare what upstream has with recipes and their locks, and tell what is to be done.

    What was seen is remembered beside the store: days are counted from the first sight, and files
    that are replaced after their release are noticed. GITHUB_TOKEN allows more questions.
    """
    from isobuilder.errors import DifferencesFound, UsageProblem
    from isobuilder.pipeline.upstream.check import check_upstream
    from isobuilder.sources.session import open_session
    from isobuilder.sources.upstream.notices import CheckPolicy

    if markdown and as_json:
        raise UsageProblem("--markdown and --json contradict each other")
    with open_session(app.config, app.store, progress=app.progress) as session:
        result = check_upstream(
            named_recipes(named),
            session,
            day=_today(),
            rules=rules_of(app, rules_file),
            policy=CheckPolicy(hold_days, ended),
            architectures=architectures,
            token=_token(),
            isos=folders,
            servers=dict(_opened(app, servers or tuple(app.config.mold))),
        )
    if as_json:
        app.show_json([notice.to_data() for notice in result.notices])
    elif markdown:
        tell_text(_as_markdown(result.notices), nl=False)
    else:
        for notice in result.notices:
            tell(f"{notice.level}: {notice.subject}: {notice.fact}")
            if notice.hint:
                tell(f"  {notice.hint}")
    result.told()
    app.say(_counted(result.notices))
    if exit_code and result.to_do:
        raise DifferencesFound("there is something to do")


def _opened(app: App, names: tuple[str, ...]) -> list[tuple[str, Mold | IsobuilderError]]:
    """Return servers of the settings by name, or why one cannot be asked."""
    return Servers(names).opened(app) if names else []


def _counted(notices: tuple[Notice, ...]) -> str:
    from isobuilder.sources.upstream.notices import LEVELS

    counts = [(level, sum(one.level == level for one in notices)) for level in LEVELS]
    return ", ".join(f"{count} {level}" for level, count in counts)


def _as_markdown(notices: tuple[Notice, ...]) -> str:
    lines = ["| | What | Fact | Way on |", "|---|---|---|---|"]
    for one in notices:
        cells = (one.level, one.subject, one.fact, one.hint)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


_output_option = click.option("-o", "--output", type=NEW_FILE, help="Write it here, not to stdout.")


@upstream.command()
@click.argument("version", metavar="VERSION|MINOR|latest")
@recipes_option
@_rules_option
@_hold_days_option("Days after its release from which on a component is taken.")
@click.option("--explain", is_flag=True, help="Print the reasons as Markdown, not the recipe.")
@_output_option
@click.option(
    "--lock/--no-lock",
    default=None,
    help="Lock what --output writes, for each architecture.  [default: where that can be had]",
)
@json_option
@click.pass_obj
def propose(
    app: App,
    version: str,
    named: tuple[Path, ...],
    rules_file: Path | None,
    hold_days: int,
    explain: bool,
    output: Path | None,
    lock: bool | None,
    as_json: bool,
) -> None:
    """Print a recipe for VERSION, begun from the nearest one before it, with a reason a number.

    With --output the recipe is written and locked for all its architectures; --explain then also
    tells how files, images and sizes differ. With --lock the exit code is 7 if not all could be.
    """
    from isobuilder.errors import PartlyDone, UsageProblem

    if output is not None and output.exists():
        raise UsageProblem(f"{output} is there already", hint="choose another --output")
    if lock and output is None:
        raise UsageProblem("--lock is for what --output writes", hint="give --output FILE")
    found = proposed(app, version, named, rules=rules_of(app, rules_file), hold=hold_days)
    if output is not None:
        found = write_proposal(app, found, output, lock=lock is not False)
    if as_json:
        app.show_json(found.to_data())
    elif explain or output is None:
        tell_text(found.markdown if explain else found.text, nl=False)
    else:
        for path in (output, *found.lock_files):
            tell_path(path)
    if lock and found.unlocked:
        raise PartlyDone(*found.unlocked, hint=f"isobuilder lock {output} tries again")
    for why in found.unlocked:
        app.say(f"warning: {why}")


@upstream.command()
@click.argument("policy_file", metavar="POLICY.yaml", type=FILE)
@click.option("--report", type=NEW_FILE, help="Write the report as Markdown here too.")
@click.option("--mail", type=NEW_FILE, help="Write it here as a message that sendmail takes.")
@metrics_option
@json_option
@click.pass_obj
def sync(
    app: App,
    policy_file: Path,
    report: Path | None,
    mail: Path | None,
    metrics: Path | None,
    as_json: bool,
) -> None:
    """Propose, lock, build, verify, publish and register what POLICY.yaml wants, unattended.

    Every step finds out for itself whether it is done, so a run that was ended is only begun again.
    What fails keeps nothing else from its turn; the exit code is then 7.
    """
    from isobuilder.errors import IsobuilderError, PartlyDone
    from isobuilder.files import write_whole
    from isobuilder.model.policy import read_policy
    from isobuilder.pipeline.sync import sync as run
    from isobuilder.sources.session import open_session

    numbers = numbers_into(app, metrics, "upstream sync")
    policy = read_policy(policy_file)
    opened = _opened(app, tuple(policy.servers))
    molds = [mold for _name, mold in opened if not isinstance(mold, IsobuilderError)]
    without = [(name, error) for name, error in opened if isinstance(error, IsobuilderError)]
    with open_session(app.config, app.store, progress=app.progress) as session:
        done = run(policy, session, day=_today(), molds=molds, without=without, token=_token())
    note_sync(numbers, done)
    if report is not None:
        write_whole(report, done.markdown.encode())
    if mail is not None:
        write_whole(mail, done.mail)
    if as_json:
        app.show_json(done.to_data())
    else:
        tell_text(done.markdown, nl=False)
    if done.failed:
        raise PartlyDone(f"{len(done.failed)} of {len(done.steps)} steps failed")


@upstream.command()
@_rules_option
@json_option
@click.pass_obj
def rules(app: App, rules_file: Path | None, as_json: bool) -> None:
    """Print the rules by which parts are judged, each with its source."""
    book = rules_of(app, rules_file)
    if as_json:
        app.show_json(book.model_dump(mode="json", by_alias=True, exclude_none=True))
        return
    rows = [
        (kind.replace("_", " "), row.source, _told(row))
        for kind in type(book).model_fields
        for row in _rows(getattr(book, kind))
    ]
    tell_text(table(rows, ("KIND", "SOURCE", "RULE")))
    tell()
    tell_text(table(sorted(book.sources.items()), ("SOURCE", f"LOOKED UP ON {book.as_of}")))


def _rows(value: Any) -> tuple[Row, ...]:
    from isobuilder.rules.book import Row

    rows = value if isinstance(value, tuple) else (value,)
    return tuple(row for row in rows if isinstance(row, Row))


def _told(row: Row) -> str:
    """Return a rule as one line: what it is about and what it says."""
    data = row.model_dump(mode="json", exclude={"source"}, exclude_none=True)
    texts = []
    for name, value in data.items():
        if name == "versions":
            text = ", ".join(_span(span) for span in value)
        elif isinstance(value, list):
            text = " or ".join(map(str, value))
        else:
            text = str(value)
        if text not in {"", "False"}:
            texts.append(f"{name.replace('_', ' ')} {text}")
    return ", ".join(texts)


def _span(span: dict[str, str]) -> str:
    first, last = span["first"], span["last"]
    return first if first == last else f"{first} to {last}"
