"""Which Mold servers a command talks to: options shared by the commands of the group."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from isobuilder.cli.app import FILE, App
from isobuilder.cli.completion import server_names
from isobuilder.cli.exits import Attempts

if TYPE_CHECKING:
    from isobuilder.errors import IsobuilderError
    from isobuilder.mold.api.commands import Mold

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, no more.")


@dataclass(frozen=True)
class Servers:
    """The servers that were chosen."""

    names: tuple[str, ...]
    endpoint: str | None = None
    key_file: Path | None = None
    signature: str | None = None
    ca_file: Path | None = None
    username: str | None = None
    domain: str | None = None
    plain_http: bool = False

    def each(self, app: App, act: Callable[[Mold], T]) -> Attempts[T]:
        """Return what ``act`` makes of every server; one that fails keeps none from its turn.

        Raises:
            UsageProblem: a server that is not known, before any is asked.
        """
        attempts: Attempts[T] = Attempts()
        for _name, mold in self.opened(app):
            with attempts:
                if isinstance(mold, Exception):
                    raise mold
                attempts.results.append(act(mold))
        return attempts

    def opened(self, app: App) -> list[tuple[str, Mold | IsobuilderError]]:
        """Return all servers by name, or why one cannot be asked: its keys, its address.

        Raises:
            UsageProblem: one that is not known.
        """
        from isobuilder.documents.mistakes import InputErrors
        from isobuilder.errors import IsobuilderError, UsageProblem

        if self.endpoint and len(self.names) > 1:
            raise UsageProblem(
                "--endpoint is one server's address, but several --server were given",
                hint="write their addresses into the configuration",
            )
        _ = app.config  # what is wrong with the settings is no server's error
        found: list[tuple[str, Mold | IsobuilderError]] = []
        for name in dict.fromkeys(self.names) or (None,):
            try:
                mold = self.open_named(app, name)
            except UsageProblem:
                raise
            except IsobuilderError as error:
                named = name is None or name in str(error)
                if not named and not isinstance(error, InputErrors):  # whose places name the file
                    error = type(error)(f"{name}: {error}", hint=error.hint)
                found.append((name or "mold", error))
            else:
                found.append((mold.name, mold))
        return found

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
            plain_http=self.plain_http,
        )
        server = resolve_server(name, app.config.mold, environ=environ, choice=choice)
        transfer = app.config.transfer
        mold = Mold(
            replace(
                server,
                least_speed=transfer.least_speed,
                least_speed_seconds=transfer.least_speed_seconds,
                options=self._options_of(name or self._profile(app, server.name, environ)),
            )
        )
        mold.tell = app.say
        app.closing.callback(mold.close)
        return mold

    def _profile(self, app: App, name: str, environ: Mapping[str, str]) -> str | None:
        """Return the name of the only profile, where that and no variable chose the server."""
        chosen = self.endpoint or environ.get("ISOBUILDER_MOLD_ENDPOINT")
        return name if name in app.config.mold and not chosen else None

    def _options_of(self, name: str | None) -> str:
        """Return the options that choose a server again."""
        given = {
            "--server": name,
            "--endpoint": self.endpoint,
            "--key-file": self.key_file,
            "--signature": self.signature,
            "--ca-file": self.ca_file,
            "--username": self.username,
            "--domain": self.domain,
        }
        words = [word for option, value in given.items() if value for word in (option, str(value))]
        return shlex.join([*words, *(["--plain-http"] if self.plain_http else [])])


def named_servers_option(meaning: str, name: str = "servers") -> Callable[[F], F]:
    """Give a command the option that names servers of the settings; it gets them as ``name``."""
    return click.option(
        "--server",
        name,
        multiple=True,
        metavar="NAME",
        shell_complete=server_names,
        help=meaning,
    )


_OPTIONS = (
    named_servers_option("Profile; repeatable.", "names"),
    click.option("--endpoint", metavar="URL", help="Address of the API, in place of a profile."),
    click.option("--key-file", type=FILE, help="File with api_key = ... and secret_key = ..."),
    click.option(
        "--signature",
        type=click.Choice(["hmac-sha256", "hmac-sha1"]),
        help="hmac-sha256 for Mold, hmac-sha1 for CloudStack.",
    ),
    click.option("--ca-file", type=FILE, help="Certificates of a private authority."),
    click.option("--plain-http", is_flag=True, help="Send keys unencrypted to an http address."),
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
