"""The signature of one API call, by Java's encoding rule."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import quote


class SignatureAlgorithm(StrEnum):
    """What a server verifies with; neither kind of server falls back to the other."""

    HMAC_SHA256 = "hmac-sha256"  # ABLESTACK Mold
    HMAC_SHA1 = "hmac-sha1"  # Apache CloudStack

    @property
    def digestmod(self) -> str:
        """The name ``hashlib`` has for the hash inside."""
        return self.value.removeprefix("hmac-")

    @property
    def other(self) -> SignatureAlgorithm:
        """The algorithm of the other kind of server."""
        members = SignatureAlgorithm
        return members.HMAC_SHA1 if self is members.HMAC_SHA256 else members.HMAC_SHA256


def java_quote(text: str) -> str:
    """Encode as ``java.net.URLEncoder`` does with ``+`` replaced by ``%20``.

    Letters, digits and ``. - * _`` stay; ``~`` does not, unlike in RFC 3986.
    """
    return quote(text, safe="*").replace("~", "%7E")


def string_to_sign(params: Mapping[str, str]) -> str:
    """Return the text whose HMAC is the signature: sorted by name as sent, encoded, lower case."""
    pairs = sorted((name, value) for name, value in params.items() if name != "signature")
    return "&".join(f"{name}={java_quote(value)}" for name, value in pairs).lower()


def sign(params: Mapping[str, str], secret_key: str, algorithm: SignatureAlgorithm) -> str:
    """Return the signature Mold (SHA-256) or CloudStack (SHA-1) expects for ``params``.

    ``params`` are the decoded parameters of the request; ``signature`` among them is left out.
    Source: contract E.1, read from the server's ``verifyRequest``; its vectors are tests.
    """
    text = string_to_sign(params)
    mac = hmac.digest(secret_key.encode(), text.encode(), algorithm.digestmod)
    return base64.b64encode(mac).decode("ascii")
