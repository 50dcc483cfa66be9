"""Commands that write what other machines do: jobs of cells, and schedules."""

from __future__ import annotations

import click

install_option = click.option(
    "--install",
    metavar="REQUIREMENT",
    help="What pip installs where jobs run: a version, an address, a wheel.  [default: this one]",
)
image_option = click.option("--image", help="A container image that has isobuilder in it.")


def refuse_idle(style: str, option: str, value: str | None, *styles: str) -> None:
    """Refuse an option that only other styles take.

    Raises:
        UsageProblem: it is given.
    """
    from isobuilder.errors import UsageProblem

    if value and style not in styles:
        raise UsageProblem(f"{option} is for --format {' or '.join(styles)}, not {style}")


def requirement(text: str | None) -> str:
    """Return what pip is told to install: by default this very version."""
    from isobuilder import __version__

    return text or f"isobuilder=={__version__}"
