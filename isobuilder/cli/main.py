"""The program: the table of its commands, and the last door for errors."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from isobuilder import __version__
from isobuilder.cli import exits as ending
from isobuilder.cli.app import App, LazyGroup, common_options, set_up_logging
from isobuilder.errors import InputError

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
    "sign": (
        "isobuilder.cli.trust.signing",
        "Sign each ISO: its bytes, its files, and what it was built from, beside it.",
    ),
    "trust": (
        "isobuilder.cli.trust.group",
        "Tell whose signatures are expected, and prove where programs come from.",
    ),
    "inspect": ("isobuilder.cli.inspect", "Tell what is on an ISO, or what a lock promises."),
    "diff": ("isobuilder.cli.inspect", "Compare two locks, ISOs or recipes, or a lock and an ISO."),
    "report": (
        "isobuilder.cli.pages.report",
        "Write the page of an ISO or a lock: one file that any browser shows.",
    ),
    "catalogue": (
        "isobuilder.cli.pages.catalogue",
        "Write a site about the ISOs in DIR: a table, a page for each, and what can be upgraded.",
    ),
    "sbom": (
        "isobuilder.cli.trust.sbom",
        "Tell what is inside of an ISO, down to every package, and what is known against it.",
    ),
    "upstream": (
        "isobuilder.cli.upstream",
        "Follow what upstream releases, and what fits together.",
    ),
    "matrix": (
        "isobuilder.cli.jobs.matrix",
        "Print every ISO that recipes mean as a cell, or as jobs of CI services and Kubernetes.",
    ),
    "node": ("isobuilder.cli.node", "Write cloud-init's data for control planes and workers."),
    "store": ("isobuilder.cli.store", "List, check and clean the store of downloaded bytes."),
    "mold": (
        "isobuilder.cli.mold.group",
        "Register ISOs with Mold or CloudStack, and look after them.",
    ),
    "site": (
        "isobuilder.cli.site.group",
        "Carry ISOs to a site without Internet, and look after it there.",
    ),
    "os": ("isobuilder.cli.os", "Build and list what makes ISOs bootable."),
    "boot": ("isobuilder.cli.boot", "Start ISO in QEMU and tell what it reaches when."),
    "config": ("isobuilder.cli.setup.config", "Show the settings and where they come from."),
    "demo": ("isobuilder.cli.demo", "Try everything on an embedded upstream; needs no network."),
    "doctor": (
        "isobuilder.cli.setup.doctor",
        "Tell what this machine can do, and what to install for the rest.",
    ),
    "completion": ("isobuilder.cli.completion", "Print the completion script for SHELL."),
    "man": ("isobuilder.cli.setup.man", "Print the manual page of COMMAND, for man to show."),
}


_EXIT_CODES = (
    "Exit codes: 0 done, 1 a bug, 2 usage, 3 a recipe, lock or setting is wrong, 4 upstream or "
    "network, 5 integrity or verification, 6 this machine, 7 some of several things failed, "
    "8 Mold refused, 9 differences, 130 interrupted."
)


class _RootGroup(LazyGroup):
    """The whole program, which turns errors into exit codes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(common_options(root=True))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the program; what click objects to looks like every other error."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        ending.prepare_streams()
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            ending.show_usage(error)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(ending.INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; every failure becomes two lines and its exit code."""
        app = ctx.ensure_object(App)
        with ending.interruptible(), app.closing:
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.exceptions.Exit, click.Abort):
                raise
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last door
                ctx.exit(ending.told(error, verbosity=app.verbosity))


@click.group(
    cls=_RootGroup,
    lazy={name: module for name, (module, _) in COMMANDS.items()},
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="isobuilder")
@click.pass_context
def main(context: click.Context) -> None:
    """Turn a Kubernetes version into an ISO that a cloud can run, identical on every machine."""
    _start_quickly()
    _judge_variables(os.environ)
    set_up_logging(context.ensure_object(App).verbosity)


def _start_quickly() -> None:
    """Leave out of a short program's life what takes a tenth of its start and serves nothing."""
    # Modules and models make many objects and hardly any cycles among those no longer used.
    gc.set_threshold(50_000, 20, 100)
    # Nor shall plug-ins of other packages that happen to be installed change what we read.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


_ANY_BYTES = ("_FILE", "_CONFIG", "_SIGNING_KEY", "_SIGNER", "_KEY_PASSWORD")


def _judge_variables(variables: Mapping[str, str]) -> None:
    """Refuse our variables that are no text; names of files and passphrases may be any bytes."""
    for name, value in variables.items():
        if name.startswith("ISOBUILDER_") and not name.endswith(_ANY_BYTES):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InputError(f"{name}: expected text in UTF-8") from None
