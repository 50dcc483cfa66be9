"""Which Mold servers a command talks to: options shared by the commands of the group."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from isobuilder.cli.app import FILE, App

if TYPE_CHECKING:
    from isobuilder.mold.api.commands import Mold

F = TypeVar("F", bound=Callable[..., Any])

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, no more.")


@dataclass(frozen=True)
class Servers:
    """The servers that were chosen."""

    names: tuple[str, ...]
    endpoint: str | None
    key_file: Path | None
    signature: str | None
    ca_file: Path | None
    username: str | None
    domain: str | None

    def open(self, app: App) -> list[Mold]:
        """Return them, their connections closed when the command ends."""
        from isobuilder.errors import UsageProblem

        if self.endpoint and len(self.names) > 1:
            raise UsageProblem(
                "--endpoint is one server's address, but several --server were given",
                hint="write their addresses into the configuration",
            )
        return [self.open_named(app, name) for name in self.names or (None,)]

    def open_one(self, app: App) -> Mold:
        """Return the only one.

        Raises:
            UsageProblem: several were given.
        """
        from isobuilder.errors import UsageProblem

        if len(self.names) > 1:
            raise UsageProblem("this command works on one server", hint="give --server once")
        return self.open(app)[0]

    def open_planned(self, app: App, name: str, endpoint: str) -> Mold:
        """Return the server that a plan is for: by its name, or whichever was chosen without one.

        Raises:
            InputError: the server chosen has another address.
        """
        from isobuilder.errors import InputError, UsageProblem

        try:
            mold = self.open_named(app, None if self.endpoint else name)
        except UsageProblem:
            mold = self.open_named(app, None)
        if mold.endpoint != endpoint:
            raise InputError(f"the plan is for {name} at {endpoint}, not for {mold.endpoint}")
        return mold

    def open_named(self, app: App, name: str | None) -> Mold:
        """Return one of that name."""
        from isobuilder.mold.api.commands import Mold
        from isobuilder.mold.api.credentials import Choice, resolve_server

        environ = dict(os.environ)
        if self.username and not environ.get("ISOBUILDER_MOLD_PASSWORD") and sys.stdin.isatty():
            environ["ISOBUILDER_MOLD_PASSWORD"] = click.prompt(
                f"Password of {self.username}", hide_input=True, err=True
            )
        choice = Choice(
            endpoint=self.endpoint,
            key_file=self.key_file,
            signature=self.signature,
            ca_file=self.ca_file,
            username=self.username,
            domain=self.domain,
        )
        server = resolve_server(name, app.config.mold, environ=environ, choice=choice)
        mold = Mold(server)
        app.closing.callback(mold.close)
        return mold


_OPTIONS = (
    click.option("--server", "names", multiple=True, metavar="NAME", help="Profile; repeatable."),
    click.option("--endpoint", metavar="URL", help="Address of the API, in place of a profile."),
    click.option("--key-file", type=FILE, help="File with api_key = ... and secret_key = ..."),
    click.option(
        "--signature",
        type=click.Choice(["hmac-sha256", "hmac-sha1"]),
        help="hmac-sha256 for Mold, hmac-sha1 for CloudStack.",
    ),
    click.option("--ca-file", type=FILE, help="Certificates of a private authority."),
    click.option("--username", metavar="NAME", help="Log in by password in place of keys."),
    click.option("--domain", metavar="PATH", help="Domain of that user."),
)


def server_options(function: F) -> F:
    """Give a command the options that choose servers; it gets them as ``servers``."""
    fields = tuple(Servers.__dataclass_fields__)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen = {name: kwargs.pop(name) for name in fields}
        return function(*args, servers=Servers(**chosen), **kwargs)

    decorated: Any = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]
