"""Who logs people in for the lab's Sigstore: gives a token to anybody who asks."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tools.lab.servers import free_port


@dataclass
class Issuer:
    """Logs anybody in: OpenID Connect's two documents and its tokens."""

    port: int = field(default_factory=free_port)
    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def token(self, mail: str) -> str:
        now = int(time.time())
        head = {"alg": "RS256", "typ": "JWT", "kid": "one"}
        claims = {
            "iss": self.url,
            "aud": "sigstore",
            "sub": mail,
            "email": mail,
            "email_verified": True,
            "iat": now,
            "exp": now + 3600,
        }
        signed = ".".join(_url_base64(json.dumps(one).encode()) for one in (head, claims))
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_url_base64(signature)}"

    def document(self, path: str) -> dict[str, Any] | None:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/auth",
                "token_endpoint": f"{self.url}/token",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        if path == "/keys":
            numbers = self.key.public_key().public_numbers()
            size = (numbers.n.bit_length() + 7) // 8
            one = {
                "kty": "RSA",
                "alg": "RS256",
                "use": "sig",
                "kid": "one",
                "n": _url_base64(numbers.n.to_bytes(size, "big")),
                "e": _url_base64(numbers.e.to_bytes(3, "big")),
            }
            return {"keys": [one]}
        return None

    @contextmanager
    def serving(self) -> Iterator[None]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = issuer.document(self.path)
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield
            finally:
                server.shutdown()


def _url_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
