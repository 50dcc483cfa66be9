"""``isobuilder completion``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import get_completion_class

from isobuilder.cli.app import App, AppCommand
from isobuilder.cli.telling import tell_text
from isobuilder.errors import IsobuilderError, UsageProblem


@click.command(cls=AppCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    For bash, then open a new shell:

    \b
    folder=~/.local/share/bash-completion/completions
    mkdir -p $folder
    isobuilder completion bash > $folder/isobuilder

    For zsh, in ~/.zshrc after compinit; for fish, once:

    \b
    source <(isobuilder completion zsh)
    isobuilder completion fish > ~/.config/fish/completions/isobuilder.fish
    """  # noqa: D301 - \\b keeps lines apart
    found = get_completion_class(shell)
    if found is None:
        raise UsageProblem(f"no completion for {shell}")
    root = context.find_root().command
    tell_text(found(root, {}, "isobuilder", "_ISOBUILDER_COMPLETE").source())


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
