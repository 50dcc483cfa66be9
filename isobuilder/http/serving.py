"""The server half of HTTP: one thread a client, and a limit to all that clients may do.

What a subclass answers is a table look-up or a little work; ``connection`` does the speaking.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from typing import Self

from isobuilder.errors import EnvironmentProblem
from isobuilder.http.connection import Connection, Limits
from isobuilder.http.encrypted import Encrypted, TlsContext
from isobuilder.http.replies import Refusal, Reply, Request, text_reply

_log = logging.getLogger(__name__)


def every_address() -> str:
    """Return the host that is every address of this machine, of IPv4 and where it can of IPv6."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - who asks means it


class Server:
    """Answers on a port between ``start`` and ``close``; a context manager too.

    Raises:
        EnvironmentProblem: the port cannot be used.
    """

    name = "isobuilder"  # what the Server header says
    tells_time = True  # whether there is a Date header

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: TlsContext | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._tls = tls
        place = f"[{host}]" if ":" in host else host
        self.closing = threading.Event()  # whoever waits in an answer waits for this as well
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
            self._listener = socket.create_server(
                (host, port), family=family, backlog=128, dualstack_ipv6=both
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise EnvironmentProblem(f"{place}:{port}: cannot be used: {reason}") from error
        self.port = int(self._listener.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://{place}:{self.port}"
        self._slots = threading.BoundedSemaphore(self.limits.clients)
        self._guard = threading.Lock()
        self._clients: dict[threading.Thread, socket.socket] = {}
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def answer(self, request: Request) -> Reply:
        """Return the answer to ``request``; subclasses say what there is.

        Raises:
            Refusal: the request gets this one instead.
            ConnectionError: the client gets none, and the connection is closed.
        """
        return text_reply(404, f"nothing at {request.path}")

    def served(self, request: Request, reply: Reply, sent: int) -> None:
        """Take note that ``reply`` went out, ``sent`` bytes of its body; for subclasses."""

    def refused(self, client: str, reply: Reply, sent: int) -> None:
        """Take note that what came from ``client`` was no request, and got ``reply``."""

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._clients)

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop, drop every connection and wait until all threads have ended."""
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which wakes up accept
        if self._thread.is_alive():
            self._thread.join()
        self._listener.close()
        with self._guard:
            left = list(self._clients.items())
        for thread, client in left:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self.closing.is_set():
            if not self._slots.acquire(timeout=0.2):
                continue
            try:
                client, address = self._listener.accept()
            except OSError:  # closed, or no descriptor left; then a client may go and free one
                self._slots.release()
                self.closing.wait(0.1)
                continue
            name = address[0].removeprefix("::ffff:")  # of IPv4, where both come in at one place
            thread = threading.Thread(target=self._serve, args=(client, name), daemon=True)
            with self._guard:
                self._clients[thread] = client
            try:
                thread.start()
            except RuntimeError:  # no thread left
                client.close()
                self._forget(thread)

    def _forget(self, thread: threading.Thread) -> None:
        with self._guard:
            del self._clients[thread]
        self._slots.release()

    def _serve(self, client: socket.socket, address: str) -> None:
        try:
            # A client that hangs up or is too slow is everyday life.
            with contextlib.suppress(OSError), client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is None:
                    self._converse(client, address)
                    return
                with Encrypted(client, self._tls) as encrypted:
                    encrypted.settimeout(self.limits.head_seconds)
                    encrypted.do_handshake()
                    self._converse(encrypted, address)
        finally:
            self._forget(threading.current_thread())

    def _converse(self, client: socket.socket | Encrypted, address: str) -> None:
        connection = Connection(client, self, address)
        while not self.closing.is_set() and connection.exchange():
            pass

    def reply_to(self, request: Request) -> Reply:
        """Return what goes out, whatever goes wrong while it is worked out."""
        try:
            return self.answer(request)
        except Refusal as refusal:
            return refusal.reply
        except (ConnectionError, TimeoutError):
            raise
        except Exception:  # noqa: BLE001 - a mistake of ours must not end the server
            _log.exception("%s %r: no answer", request.method, request.path)
            return text_reply(500, "this server made a mistake")
