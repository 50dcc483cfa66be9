"""``isobuilder completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from isobuilder.cli.app import AppCommand
from isobuilder.errors import UsageProblem


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
    click.echo(found(root, {}, "isobuilder", "_ISOBUILDER_COMPLETE").source())
