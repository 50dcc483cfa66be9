"""``isobuilder upstream``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isobuilder.cli.app import FILE, App, AppGroup, json_option, table

if TYPE_CHECKING:
    from isobuilder.rules.book import Row

rules_option = click.option(
    "--rules", "rules_file", type=FILE, help="Rules of your own, which win over the shipped ones."
)


@click.group(cls=AppGroup)
def upstream() -> None:
    """Follow what upstream releases, and what fits together."""


@upstream.command()
@rules_option
@json_option
@click.pass_obj
def rules(app: App, rules_file: Path | None, as_json: bool) -> None:
    """Print the rules by which parts are judged, each with its source."""
    from isobuilder.rules.book import read_rules

    book = read_rules(rules_file)
    if as_json:
        app.show_json(book.model_dump(mode="json", by_alias=True, exclude_none=True))
        return
    rows = [
        (kind.replace("_", " "), row.source, _told(row))
        for kind in type(book).model_fields
        for row in _rows(getattr(book, kind))
    ]
    click.echo(table(rows, ("KIND", "SOURCE", "RULE")))
    click.echo()
    click.echo(table(sorted(book.sources.items()), ("SOURCE", f"LOOKED UP ON {book.as_of}")))


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
