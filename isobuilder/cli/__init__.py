"""The person at the terminal: options in, one call, what happened out."""

from isobuilder.cli.main import main

__all__ = ["main"]
