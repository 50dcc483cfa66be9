"""The table of commands."""

from __future__ import annotations

import click

from isobuilder import __version__
from isobuilder.cli.app import App, RootGroup, set_up_logging

COMMANDS = {
    "recipe": ("isobuilder.cli.recipe", "Write, check and show version recipes."),
    "lock": ("isobuilder.cli.lock", "Answer a recipe with exact bytes."),
    "plan": ("isobuilder.cli.lock", "Tell what a lock would download."),
    "fetch": ("isobuilder.cli.build", "Bring into the store what locks need."),
    "build": ("isobuilder.cli.build", "Build ISOs from recipes or locks."),
    "verify": ("isobuilder.cli.verify", "Check an ISO and play the node that mounts it."),
    "inspect": ("isobuilder.cli.inspect", "Tell what is on an ISO."),
    "diff": ("isobuilder.cli.inspect", "Compare two locks or ISOs."),
    "store": ("isobuilder.cli.store", "List, check and clean the store."),
    "os": ("isobuilder.cli.os", "Build and list what makes ISOs bootable."),
    "boot": ("isobuilder.cli.boot", "Try an ISO in virtual machines."),
    "config": ("isobuilder.cli.config", "Show the settings and where they come from."),
    "demo": ("isobuilder.cli.demo", "Try everything on an embedded upstream."),
    "completion": ("isobuilder.cli.completion", "Print the completion script of a shell."),
}


@click.group(cls=RootGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="isobuilder")
@click.pass_context
def main(context: click.Context) -> None:
    """Turn a Kubernetes version into an ISO that a cloud can run, identical on every machine."""
    set_up_logging(context.ensure_object(App).verbosity)
