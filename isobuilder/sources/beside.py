"""What lies beside a recipe and its lock: ``file:`` addresses, which no server knows."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from isobuilder.errors import InputError
from isobuilder.http.client import Http
from isobuilder.model.config import Config, mirror_urls

_SCHEME = "file:"


def addresses_of(config: Config, url: str, folder: Path | None, http: Http) -> tuple[str, ...]:
    """Return where to ask for ``url``, in order; what begins with ``file:`` is in ``folder``.

    Raises:
        InputError: nobody said in which folder it is, or the address leads out of a mirror.
    """
    if not url.startswith(_SCHEME):
        return mirror_urls(config, url)
    if folder is None:
        raise InputError(
            f"{url}: it lies beside the lock, and nobody said where that is",
            hint="name the file of the lock",
        )
    http.allow_folder(folder.resolve())
    return (f"file://{quote(str(folder.resolve() / url.removeprefix(_SCHEME)))}",)
