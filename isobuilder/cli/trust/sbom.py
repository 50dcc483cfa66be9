"""``isobuilder sbom``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isobuilder.cli.app import FILE, NEW_FILE, App, AppGroup, json_option, plural
from isobuilder.cli.sources import SOURCE, BuildSource, file_of
from isobuilder.cli.telling import table, tell, tell_path, tell_text

if TYPE_CHECKING:
    from isobuilder.trust.bill.advisories import Severity
    from isobuilder.trust.bill.gate import Judged
    from isobuilder.trust.bill.model import Bill
    from isobuilder.trust.bill.vex import Statement

SEVERITIES = ("negligible", "low", "medium", "high", "critical")

_WHAT = "ISO|LOCK|VERSION|BILL"


@click.group(cls=AppGroup)
def sbom() -> None:
    """Tell what is inside of an ISO, down to every package, and what is known against it."""


@sbom.command()
@click.argument("source", metavar=_WHAT, type=SOURCE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["cyclonedx", "spdx"]),
    default="cyclonedx",
    show_default=True,
    help="CycloneDX 1.6 or SPDX 2.3.",
)
@click.option("--image", metavar="NAME", help="Only this image, as a bill of its own.")
@click.option("-o", "--out", type=NEW_FILE, help="Write to this file, not to stdout.")
@click.pass_obj
def write(app: App, source: BuildSource, form: str, image: str | None, out: Path | None) -> None:
    """Write the bill of materials with what is inside of every image, archive and program.

    Packages of Debian, Alpine and RPM systems, modules of Go programs, Python and Node packages,
    with the licences that they state. A lock and the ISO that it builds have the same bill, byte
    for byte. Ends with 7 when something could not be read; the bill says what.
    """
    from isobuilder.errors import PartlyDone
    from isobuilder.files import write_whole
    from isobuilder.trust.bill.model import only_image
    from isobuilder.trust.bill.spdx import as_spdx

    bill = _bill(app, source)
    if image is not None:
        bill = only_image(bill, image)
    data = as_spdx(bill) if form == "spdx" else bill.to_bytes()
    if out is None:
        tell_text(data, nl=False)
    else:
        write_whole(out, data)
    gaps = [(part.name, fact) for _, part in bill.walk() for fact in part.facts("not-read")]
    for name, fact in gaps:
        app.say(f"warning: {name}: {fact}")
    if gaps:
        raise PartlyDone(
            f"{source.called}: {plural(len(gaps), 'thing')} in it could not be read",
            hint="the bill names them and says that it is incomplete",
        )


@sbom.command()
@click.argument("left", metavar="A", type=SOURCE)
@click.argument("right", metavar="B", type=SOURCE)
@click.option("--markdown", is_flag=True, help="Print tables for release notes.")
@json_option
@click.option("--exit-code", is_flag=True, help="End with 9 when there are differences.")
@click.pass_obj
def diff(
    app: App,
    left: BuildSource,
    right: BuildSource,
    markdown: bool,
    as_json: bool,
    exit_code: bool,
) -> None:
    """Tell which packages two ISOs, locks or bills do not have alike, image by image."""
    from isobuilder.errors import DifferencesFound, UsageProblem
    from isobuilder.trust.bill.compare import as_markdown, compared

    if markdown and as_json:
        raise UsageProblem("--markdown and --json contradict each other")
    changes = compared(_bill(app, left), _bill(app, right))
    if as_json:
        app.show_json(
            [
                {
                    "in": one.owner,
                    "kind": one.kind,
                    "name": one.name,
                    "change": one.change,
                    "left": one.left,
                    "right": one.right,
                }
                for one in changes
            ]
        )
    elif markdown:
        tell_text(as_markdown(changes))
    elif changes:
        rows = [
            (
                one.owner or "-",
                one.kind,
                one.name,
                one.change,
                *map(_versions, (one.left, one.right)),
            )
            for one in changes
        ]
        tell_text(table(rows, ("IN", "KIND", "PACKAGE", "CHANGE", "LEFT", "RIGHT")))
    else:
        tell("no differences")
    if changes and exit_code:
        raise DifferencesFound(
            f"{left.called} and {right.called}: {plural(len(changes), 'difference')}"
        )


@sbom.command()
@click.argument("source", metavar=_WHAT, type=SOURCE)
@click.option(
    "--list",
    "lists",
    type=FILE,
    multiple=True,
    required=True,
    help="Records of OSV (or all.zip), or a report of Grype in JSON; may be given more than once.",
)
@click.option(
    "--vex",
    "statements",
    type=FILE,
    multiple=True,
    help="OpenVEX statements; without it those beside the ISO.",
)
@click.option("--policy", type=FILE, help="What is refused, in a file.")
@click.option("--fail-on", type=click.Choice(SEVERITIES), help="In place of the policy's severity.")
@click.option("--at", metavar="DAY", help="Judge as of this day, such as 2026-11-28, not today.")
@json_option
@click.pass_obj
def gate(
    app: App,
    source: BuildSource,
    lists: tuple[Path, ...],
    statements: tuple[Path, ...],
    policy: Path | None,
    fail_on: Severity | None,
    at: str | None,
    as_json: bool,
) -> None:
    """Judge what is inside by lists of vulnerabilities that are there, asking nobody.

    Ends with 5 when the policy refuses something.
    """
    from isobuilder.errors import IntegrityError
    from isobuilder.files import read_bytes
    from isobuilder.trust.bill.advisories import LIST, apply_list
    from isobuilder.trust.bill.gate import GatePolicy, judge, read_gate_policy
    from isobuilder.trust.bill.vex import VEX_ENDS, read_vex

    now = _moment(at)
    rules = read_gate_policy(policy) if policy is not None else GatePolicy()
    if fail_on is not None:
        rules = rules.model_copy(update={"fail_on": fail_on})
    bill = _bill(app, source)
    applied = [apply_list(read_bytes(path, LIST.size), str(path), bill) for path in lists]
    for path, one in zip(lists, applied, strict=True):
        if one.elsewhere:
            found = plural(one.elsewhere, "finding")
            app.say(f"warning: {path}: {found} of {one.records} name nothing in {source.called}")
    beside = source.path.with_name(source.path.name.removesuffix(".iso") + VEX_ENDS)
    if not statements and beside != source.path and beside.is_file():
        statements = (beside,)
    said = [
        one
        for path in statements
        for one in read_vex(read_bytes(path, LIST.size), str(path), bill, now)
    ]
    verdict = judge([hit for one in applied for hit in one.hits], said, rules, now)
    for text in (*verdict.expired, *(f"{one}: nothing asks for it" for one in verdict.unused)):
        app.say(f"warning: {text}")
    rows = [_row(one) for one in verdict.judged]
    if as_json:
        app.show_json(
            {"passed": verdict.passed, "as_of": f"{now:%Y-%m-%d}", "found": [*map(_named, rows)]}
        )
    elif rows:
        tell_text(table(rows, tuple(word.upper() for word in _COLUMNS)))
    refused = sum(1 for one in verdict.judged if one.answer == "refused")
    if not as_json:
        tell(
            f"{'passed' if verdict.passed else 'BAD'}: {source.called}: {refused} refused, "
            f"{len(rows) - refused} not, as of {now:%Y-%m-%d}"
        )
    if not verdict.passed:
        raise IntegrityError(
            f"{source.called}: the policy refuses {plural(refused, 'finding')}",
            hint="lock versions that mend them, or say in a VEX statement why one does no harm",
        )


_COLUMNS = ("answer", "severity", "name", "in", "package", "version", "reason")


def _row(one: Judged) -> tuple[str, ...]:
    hit = one.hit
    owner = hit.owner.name if hit.owner else "-"
    return (
        one.answer,
        hit.severity,
        hit.name,
        owner,
        hit.part.name,
        hit.part.version or "-",
        one.reason,
    )


def _named(row: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(_COLUMNS, row, strict=True))


@sbom.command()
@click.argument("iso", metavar="ISO", type=FILE)
@click.argument("document", metavar="FILE", type=FILE)
@click.pass_obj
def vex(app: App, iso: Path, document: Path) -> None:
    """Check the OpenVEX statements of FILE against ISO and put them beside it.

    Each must name parts that are on the ISO, with their versions. From there they travel with the
    ISO, and sbom gate finds them.
    """
    from isobuilder.errors import UsageProblem
    from isobuilder.files import read_bytes, write_whole
    from isobuilder.trust.bill.advisories import LIST
    from isobuilder.trust.bill.vex import VEX_ENDS, read_vex

    if iso.suffix != ".iso":
        raise UsageProblem(f"{iso}: expected an ISO")
    data = read_bytes(document, LIST.size)
    bill = _bill(app, BuildSource(iso, str(iso)))
    said = read_vex(data, str(document), bill, _moment(None))
    target = iso.with_name(iso.name.removesuffix(".iso") + VEX_ENDS)
    write_whole(target, data)
    app.say(f"{plural(len(said), 'statement')} about {plural(_parts(said), 'part')}")
    tell_path(target)


def _parts(said: tuple[Statement, ...]) -> int:
    return len({ref for one in said for ref in one.parts})


def _moment(day: str | None) -> datetime:
    from isobuilder.errors import UsageProblem
    from isobuilder.text import moment_of

    if day is None:
        return datetime.now(UTC)
    moment = moment_of(day)
    if moment is None:
        raise UsageProblem(f"--at: expected a day such as 2026-11-28, got {day!r}")
    return moment


def _versions(found: tuple[str, ...]) -> str:
    return ", ".join(found) or "-"


def _bill(app: App, source: BuildSource) -> Bill:
    from isobuilder.pipeline.sbom import bill_of
    from isobuilder.sources.session import open_session

    with open_session(app.config, app.store, progress=app.progress) as session:
        return bill_of(file_of(source), session)
