"""What a server was sent and nobody else may read, kept out of what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isobuilder.http.proxies import proxy_of
from isobuilder.text import masked

_SECRET = {"apikey", "signature", "sessionkey", "password"}  # of the parameters of a request


def secrets_of(sent: Mapping[str, str], address: str) -> tuple[str, ...]:
    """Return the secrets of a request to ``address``, and of the login of a proxy on the way."""
    proxy = proxy_of(address)
    return (*_own(sent), *(proxy.secrets if proxy else ()))


def _own(sent: Mapping[str, str], names: set[str] = _SECRET) -> list[str]:
    return [sent[name] for name in names & sent.keys()]


def without_secrets(value: dict[str, Any], body: bytes, sent: Mapping[str, str]) -> dict[str, Any]:
    """Return what a server says without the secrets that it was sent, wherever they are in it.

    Whose key is whose is asked for, and compared: that alone is left. A proxy's login, which may be
    any word, does not get to the server and is not looked for, nor is a password in names.
    """
    secrets, keys = _own(sent), _own(sent, _SECRET - {"password"})
    text = body.decode("utf-8", "replace")
    if masked(text, secrets) == text:
        return value

    def clean(found: Any, name: str = "") -> Any:
        if isinstance(found, str):
            return found if name == "apikey" else masked(found, secrets)
        if isinstance(found, dict):
            return {masked(key, keys): clean(inner, key) for key, inner in found.items()}
        return [clean(inner) for inner in found] if isinstance(found, list) else found

    cleaned: dict[str, Any] = clean(value)
    return cleaned
