"""``isobuilder config``."""

from __future__ import annotations

import click

from isobuilder.cli.app import App, AppGroup, json_option
from isobuilder.cli.telling import table, tell_text


@click.group(cls=AppGroup)
def config() -> None:
    """Show the settings and where they come from."""


@config.command()
@json_option
@click.pass_obj
def show(app: App, as_json: bool) -> None:
    """Print each setting, its value, and whether a flag, a variable, a file or nobody set it."""
    settings, origins = app.settings
    values = settings.model_dump(mode="json")
    values["store"] = str(app.store.root)  # also where nobody has chosen one
    if as_json:
        app.show_json(
            {name: {"value": value, "origin": origins[name]} for name, value in values.items()}
        )
        return
    rows: list[tuple[str, str, str]] = []
    for name, value in sorted(values.items()):
        entries = value.items() if isinstance(value, dict) else ()
        rows.append((name, "" if entries else _text(value), origins[name]))
        rows += [(f"  {key}", _text(item), "") for key, item in entries]
    tell_text(table(rows, ("SETTING", "VALUE", "ORIGIN")))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None else str(value)
