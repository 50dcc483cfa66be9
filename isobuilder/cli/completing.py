"""What the shell offers for names that only the settings and the store know."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from isobuilder.cli.app import App
from isobuilder.errors import IsobuilderError


def server_names(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the servers of the settings."""
    return _matching(lambda app: app.config.mold, begun)


def payload_names(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the OS payloads of the store."""
    from isobuilder.machine.payload import payloads

    return _matching(lambda app: (one.name for one in payloads(app.store)), begun)


def _matching(names: Callable[[App], Iterable[str]], begun: str) -> list[str]:
    app = App()  # settings without any flag: the line is not whole yet
    try:
        return sorted(name for name in names(app) if name.startswith(begun))
    except (IsobuilderError, OSError):
        return []  # the command itself says what is wrong with the settings
