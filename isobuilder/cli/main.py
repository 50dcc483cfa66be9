"""The table of commands."""

from __future__ import annotations

import gc
import os

import click

from isobuilder import __version__
from isobuilder.cli.app import App, RootGroup, set_up_logging

# Each text is the first line of the command's own docstring; here so that --help imports nothing.
COMMANDS = {
    "recipe": ("isobuilder.cli.recipe", "Write, check and look at recipes."),
    "lock": (
        "isobuilder.cli.lock",
        "Ask upstream for the exact bytes of RECIPE and write them down.",
    ),
    "plan": ("isobuilder.cli.lock", "Tell what each ISO would download and the disk it needs."),
    "fetch": ("isobuilder.cli.build", "Bring into the store everything that the locks name."),
    "build": (
        "isobuilder.cli.build",
        "Build the ISO of each RECIPE, LOCK or VERSION and its side files.",
    ),
    "verify": (
        "isobuilder.cli.verify",
        "Check each ISO down to its layers, and play the node that mounts it.",
    ),
    "inspect": ("isobuilder.cli.inspect", "Tell what is on an ISO, or what a lock promises."),
    "diff": ("isobuilder.cli.inspect", "Compare two locks, ISOs or recipes, or a lock and an ISO."),
    "node": ("isobuilder.cli.node", "Write cloud-init's data for control planes and workers."),
    "store": ("isobuilder.cli.store", "List, check and clean the store of downloaded bytes."),
    "mold": (
        "isobuilder.cli.mold.group",
        "Register ISOs with Mold or CloudStack, and look after them.",
    ),
    "os": ("isobuilder.cli.os", "Build and list what makes ISOs bootable."),
    "boot": ("isobuilder.cli.boot", "Start ISO in QEMU and tell what it reaches when."),
    "config": ("isobuilder.cli.config", "Show the settings and where they come from."),
    "demo": ("isobuilder.cli.demo", "Try everything on an embedded upstream; needs no network."),
    "completion": ("isobuilder.cli.completion", "Print the completion script for SHELL."),
}


_EXIT_CODES = (
    "Exit codes: 0 done, 1 a bug, 2 usage, 3 a recipe, lock or setting is wrong, 4 upstream or "
    "network, 5 integrity or verification, 6 this machine, 7 some of several things failed, "
    "8 Mold refused, 9 differences, 130 interrupted."
)


@click.group(
    cls=RootGroup,
    lazy=COMMANDS,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="isobuilder")
@click.pass_context
def main(context: click.Context) -> None:
    """Turn a Kubernetes version into an ISO that a cloud can run, identical on every machine."""
    _start_quickly()
    set_up_logging(context.ensure_object(App).verbosity)


def _start_quickly() -> None:
    """Leave out of a short program's life what takes a tenth of its start and serves nothing."""
    # Modules and models make many objects and hardly any cycles among those no longer used.
    gc.set_threshold(50_000, 20, 100)
    # Nor shall plug-ins of other packages that happen to be installed change what we read.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
