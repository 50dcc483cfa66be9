"""``python -m isobuilder`` is the ``isobuilder`` command."""

from __future__ import annotations

import signal


def run() -> None:
    """Run the program; Ctrl-C ends it without a word until something is begun."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nohup's is another
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from isobuilder.cli import main

    main(prog_name="isobuilder")


if __name__ == "__main__":
    run()
