"""The boot loader's texts for one ISO."""

from __future__ import annotations

from functools import cache

import jinja2

from isobuilder.digest import Digest
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.lock import Lock
from isobuilder.model.payload import OsPayload


def identity_of(lock: Lock, payload: OsPayload, tool: str) -> str:
    """Return the name of one ISO that its initramfs looks for: 16 hexadecimal digits."""
    return Digest.of(f"{lock.digest}\n{payload.digest}\n{tool}\n".encode()).hex[:16]


def boot_menu(*, identity: str, title: str, architecture: str) -> bytes:
    """Return grub.cfg of the ISO; ``title`` is what a person reads."""
    return _render(
        "grub.cfg.j2",
        identity=identity,
        title=title,
        console=ARCHITECTURES[architecture].console,
        early=ARCHITECTURES[architecture].early,
    )


def finder(*, identity: str) -> bytes:
    """Return grub.cfg of the FAT image, which finds the ISO around it."""
    return _render("finder.cfg.j2", identity=identity)


def _render(name: str, **values: str) -> bytes:
    return _environment().get_template(name).render(values).encode()


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("isobuilder.machine", "os"),
        autoescape=jinja2.select_autoescape(),  # HTML only, of which there is none
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
