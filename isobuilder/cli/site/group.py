"""``isobuilder site``: the group."""

from __future__ import annotations

import click

from isobuilder.cli.app import LazyGroup

_MODULES = {
    "apply": "delta",
    "check": "check",
    "delta": "delta",
    "export": "carry",
    "import": "carry",
    "ledger": "ledger",
    "protect": "repair",
    "push": "push",
    "repair": "repair",
    "serve": "serve",
}


@click.group(
    cls=LazyGroup,
    lazy={name: f"isobuilder.cli.site.{module}" for name, module in _MODULES.items()},
)
def site() -> None:
    """Carry ISOs to a site without Internet, and look after it there."""
