"""TLS on a server's connections: in memory, so that the kernel is called for many records at once.

``ssl.SSLSocket`` gives the kernel each record of 16 KiB by itself and asks before each whether it
may; put together they cost a fifth less.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
import ssl
import time
from pathlib import Path
from typing import Self

from isobuilder.errors import EnvironmentProblem
from isobuilder.files import as_environment_problem

TlsContext = ssl.SSLContext
AT_ONCE = 96 * 1024  # bytes encrypted before they are sent: with what they become, in the cache
_RECEIVED = 64 * 1024
_MOST_PEM = 1024 * 1024  # bytes of a file with a chain and a key that are looked at


def server_tls(certificate: Path, key: Path | None) -> TlsContext:
    """Return what speaks TLS with a certificate; ``key`` None: it is in the same file.

    Raises:
        EnvironmentProblem: a file is not there, or not what it should be.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    asked = []

    def password() -> str:  # else OpenSSL asks at the terminal
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(certificate, key, password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise _not_taken(certificate, key or certificate, error, encrypted=bool(asked)) from error
    return context


def _not_taken(
    certificate: Path, key: Path, error: OSError | ValueError, *, encrypted: bool
) -> EnvironmentProblem:
    """Return which of the two files is at fault; OpenSSL itself does not say that."""
    for path, what in ((certificate, "CERTIFICATE"), (key, "PRIVATE KEY")):
        with as_environment_problem(path):
            marks = re.findall(rb"-----BEGIN ([A-Z0-9 ]+)-----", path.read_bytes()[:_MOST_PEM])
        if not any(mark.decode().endswith(what) for mark in marks):
            hint = "the certificate with its chain and its key, in one file or in two, are wanted"
            return EnvironmentProblem(f"{path}: no {what.lower()} in PEM is in it", hint=hint)
    reason = str(getattr(error, "reason", None) or error).replace("_", " ").lower()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(certificate)
    except (OSError, ValueError):
        return EnvironmentProblem(f"{certificate}: a damaged certificate: {reason}")
    if encrypted:
        hint = f"openssl pkey -in {shlex.quote(str(key))} -out PLAIN writes one that is not"
        return EnvironmentProblem(f"{key}: the key is encrypted with a password", hint=hint)
    if reason == "key values mismatch":
        hint = "openssl x509 -pubkey and openssl pkey -pubout show the public key of each"
        said = f"{key}: not the key that belongs to {certificate}"
        return EnvironmentProblem(said, hint=hint)
    told = f"{certificate}" if certificate == key else f"{certificate} with {key}"
    return EnvironmentProblem(f"{told}: {reason}")


class Encrypted:
    """The server's side of TLS over a client's socket, which stays its owner's to close.

    Its methods are those of a socket: a time-out is for the whole of a call, and whatever goes
    wrong is an ``OSError``.
    """

    def __init__(self, client: socket.socket, context: TlsContext) -> None:
        self._socket = client
        self._came, self._made = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._made, server_side=True)
        self._seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Say that nothing more comes, if that can be said without waiting."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(0)
            try:
                self._tls.unwrap()
            finally:
                self._socket.send(self._made.read(self._made.pending))

    def settimeout(self, seconds: float) -> None:
        """Let each call that follows take so long."""
        self._seconds = seconds

    def do_handshake(self) -> None:
        """Agree with the client on keys."""
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_made(deadline)
                self._more(deadline)
            except ssl.SSLError:
                self._send_made(deadline)  # why not
                raise
            else:
                self._send_made(deadline)
                return

    def recv(self, count: int) -> bytes:
        """Return at most ``count`` bytes, none at the end."""
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return self._tls.read(count)
            except ssl.SSLWantReadError:
                self._send_made(deadline)
                self._more(deadline)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def sendall(self, data: bytes) -> None:
        """Send all of ``data``."""
        deadline = time.monotonic() + self._seconds
        whole = memoryview(data)
        for start in range(0, len(data), AT_ONCE):
            piece = whole[start : start + AT_ONCE]
            while piece:  # a record at a time
                piece = piece[self._tls.write(piece) :]
            self._send_made(deadline)

    def shutdown(self, how: int) -> None:
        """See ``socket.shutdown``."""
        self._socket.shutdown(how)

    def _more(self, deadline: float) -> None:
        self._socket.settimeout(_left(deadline))
        data = self._socket.recv(_RECEIVED)
        if data:
            self._came.write(data)
        else:
            self._came.write_eof()

    def _send_made(self, deadline: float) -> None:
        if self._made.pending:
            self._socket.settimeout(_left(deadline))
            self._socket.sendall(self._made.read(self._made.pending))


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
