"""``isobuilder site``: the group."""

from __future__ import annotations

import click

from isobuilder.cli.app import AppGroup
from isobuilder.cli.site.carry import export, import_
from isobuilder.cli.site.check import check
from isobuilder.cli.site.delta import apply, delta
from isobuilder.cli.site.ledger import ledger
from isobuilder.cli.site.push import push
from isobuilder.cli.site.repair import protect, repair
from isobuilder.cli.site.serve import serve


@click.group(cls=AppGroup)
def site() -> None:
    """Carry ISOs to a site without Internet, and look after it there."""


for command in (export, import_, check, ledger, serve, push, delta, apply, protect, repair):
    site.add_command(command)
