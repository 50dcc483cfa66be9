"""``python -m isobuilder`` is the ``isobuilder`` command."""

from isobuilder.cli import main

main(prog_name="isobuilder")
