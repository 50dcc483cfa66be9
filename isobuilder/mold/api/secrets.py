"""What a server was sent and nobody else may read, kept out of what it says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from isobuilder.http.proxies import proxy_of
from isobuilder.text import masked

_SECRET = {"apikey", "signature", "sessionkey", "password"}  # of the parameters of a request


def secrets_of(sent: Mapping[str, str], address: str) -> tuple[str, ...]:
    """Return the secrets of a request to ``address``, and of the login of a proxy on the way."""
    proxy = proxy_of(address)
    return (*(sent[name] for name in _SECRET & sent.keys()), *(proxy.secrets if proxy else ()))


def without_secrets(value: dict[str, Any], body: bytes, secrets: Collection[str]) -> dict[str, Any]:
    """Return what a server says without the secrets that it was sent, wherever they are in it.

    Whose key is whose is asked for, and compared: that alone is left.
    """
    text = body.decode("utf-8", "replace")
    if masked(text, secrets) == text:
        return value

    def clean(found: Any, name: str = "") -> Any:
        if isinstance(found, str):
            return found if name == "apikey" else masked(found, secrets)
        if isinstance(found, dict):
            return {masked(key, secrets): clean(inner, key) for key, inner in found.items()}
        return [clean(inner) for inner in found] if isinstance(found, list) else found

    cleaned: dict[str, Any] = clean(value)
    return cleaned
