"""The order of what must not be turned round in the scripts of the first boot."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SETUP = Path(str(files("isobuilder.machine") / "os" / "tree" / "usr" / "lib" / "kiso" / "setup"))


def test_half_imported_images_are_removed_even_when_setup_itself_was_finished() -> None:
    text = SETUP.read_text(encoding="utf-8")
    assert text.index("find /var/lib/containerd") < text.index("if done_with setup")
