"""Requests over http and https, and files of local mirrors.

urllib3 is imported with the first connection: many a command finds all it needs in the store.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urldefrag, urlencode, urlsplit

from isobuilder.http.access import Netrc, ServerLogin, access_to, configured_login, tls_context
from isobuilder.http.addresses import check_address, may_share_credentials, origin, redact
from isobuilder.http.answer import (
    Answer,
    Response,
    accepted,
    open_file,
    redirect_target,
    refuse_loop,
    whole,
    without,
)
from isobuilder.http.failure import HttpFailure, login_for_proxy, of_error
from isobuilder.http.pacing import Pace, Pause, RateLimit, RetryBudget
from isobuilder.http.proxies import ProxyServer, proxy_of
from isobuilder.http.replies import FilePart
from isobuilder.http.settings import PIECE, HttpSettings, ServerAccess

if TYPE_CHECKING:
    import urllib3

_log = logging.getLogger(__name__)

_REDIRECTS = {301, 302, 303, 307, 308}
_SMALL_REMAINDER = 64 * 1024  # bytes worth reading to keep a connection


class Http:
    """Opens connections; safe to use from several threads.

    Honours HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR and, unless ``netrc`` is
    False, ``~/.netrc``. Nothing is decoded: the bytes are those that were sent.
    """

    def __init__(self, settings: HttpSettings | None = None, *, netrc: bool = True) -> None:
        self.settings = settings or HttpSettings()
        self._netrc = Netrc(self.settings.own_hosts) if netrc else None
        self._lock = threading.Lock()
        self._managers: dict[
            tuple[str, ProxyServer | None, ServerAccess | None], urllib3.PoolManager
        ] = {}
        self._slots: dict[tuple[str, str, int], threading.Semaphore] = {}
        self._open: set[urllib3.BaseHTTPResponse] = set()
        self._asking: set[Pace] = set()  # of whoever waits for a connection or a head
        self._closed = threading.Event()
        rate = self.settings.limit_rate
        self._rate = RateLimit(rate, pause=self.pause) if rate else None
        # urllib3 logs whole addresses when debugging, and those of storage services hold secrets.
        logging.getLogger("urllib3").setLevel(logging.WARNING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections, for good; what is under way in other threads fails soon."""
        self._closed.set()
        with self._lock:
            under_way = list(self._open)
            asking = list(self._asking)
            managers = list(self._managers.values())
        for pace in asking:
            pace.interrupt()
        for raw in under_way:
            _wake(raw)
        for manager in managers:
            manager.clear()

    @property
    def closed(self) -> bool:
        """Whether it was closed: what fails from now on fails for that."""
        return self._closed.is_set()

    def allow_folder(self, folder: Path) -> None:
        """Let ``file:`` addresses reach what is in ``folder``."""
        folders = tuple(dict.fromkeys((*self.settings.folders, folder)))
        self.settings = replace(self.settings, folders=folders)

    def pause(self, seconds: float) -> None:
        """Sleep.

        Raises:
            HttpFailure: connections were closed meanwhile.
        """
        if self._closed.wait(seconds):
            raise HttpFailure("stopped", temporary=False)

    def patience(self, pause: Pause | None = None) -> RetryBudget:
        """Return a fresh count of tries for one thing; ``pause`` is how to sleep between them."""
        return RetryBudget(
            retries=self.settings.retries,
            budget=self.settings.retry_budget,
            first_delay=self.settings.first_delay,
            pause=pause or self.pause,
        )

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: str | None = None,
        accept: Collection[int] = (200,),
        named_by_server: bool = False,
    ) -> Response:
        """Ask once for ``url`` and return the answer before its body.

        ``auth`` is a whole Authorization header value. It follows redirects within the origin and
        is dropped elsewhere. An ``https`` address never leads to an ``http`` one. One that is
        ``named_by_server`` gets no login of ``~/.netrc`` but one for its very host.

        Raises:
            HttpFailure: no answer, or one whose status is not in ``accept``.
        """
        seen: list[str] = []
        while True:
            url = urldefrag(url).url if seen else check_address(url)
            if url.startswith("file:"):
                # Only ever the first: redirects to one are refused.
                return open_file(url, self.settings.folders)
            refuse_loop(seen, url)
            seen.append(url)
            login = self._login(url, auth, named_by_server=named_by_server or len(seen) > 1)
            response = self._send("GET", url, headers, login.header if login else auth)
            if response.status not in _REDIRECTS or response.status in accept:
                if not may_share_credentials(seen[0], url):
                    # Whoever we were sent to must not ask for a login in the name of the first.
                    response.headers = without(response.headers, "www-authenticate")
                return accepted(response, accept, login)
            response.close()
            target = redirect_target(response)
            if not may_share_credentials(url, target):
                auth = None
                headers = without(headers or {}, "authorization", "cookie")
            _log.debug("%s: redirected to %s", redact(url), redact(target))
            url = target

    def get_small(
        self,
        url: str,
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        auth: str | None = None,
        accept: Collection[int] = (200,),
        named_by_server: bool = False,
        proven: bool = False,
    ) -> Answer:
        """Return a whole answer of at most ``limit`` bytes, trying again when that may help.

        Whoever compares the bytes with a digest says ``proven``: then they may be called encoded.

        Raises:
            HttpFailure: no usable answer in spite of retries, too long, or encoded.
        """

        def attempt() -> Answer:
            with self.get(
                url, headers=headers, auth=auth, accept=accept, named_by_server=named_by_server
            ) as response:
                return whole(response, limit, proven=proven)

        return self._persist(attempt)

    def post_form(
        self,
        url: str,
        fields: Mapping[str, str],
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        auth: str | None = None,
        accept: Collection[int] = (200,),
        named_by_server: bool = False,
    ) -> Answer:
        """Send ``fields`` as a form and return the whole answer. Redirects are not followed.

        Only for requests that may be repeated, such as asking for a token.

        Raises:
            HttpFailure: no usable answer in spite of retries, too long, or encoded.
        """
        body = urlencode(fields).encode("ascii")
        both = {**(headers or {}), "Content-Type": "application/x-www-form-urlencoded"}

        def attempt() -> Answer:
            return self.upload(
                "POST",
                url,
                body,
                limit=limit,
                headers=both,
                auth=auth,
                accept=accept,
                named_by_server=named_by_server,
            )

        return self._persist(attempt)

    def upload(
        self,
        method: str,
        url: str,
        body: bytes | Iterable[bytes | FilePart],
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        auth: str | None = None,
        accept: Collection[int] = (200, 201, 202, 204),
        named_by_server: bool = False,
        shown: str | None = None,
    ) -> Answer:
        """Send ``body`` once and return the whole answer, of at most ``limit`` bytes.

        In the log the address is ``shown``, if it is a secret itself.

        A body in pieces, some of which may be parts of files, is sent without being held; its
        Content-Length has to be in ``headers``.
        Redirects are not followed, and nothing is tried again.

        Raises:
            HttpFailure: no answer, too long, encoded, or one whose status is not in ``accept``.
        """
        url = check_address(url)
        login = self._login(url, auth, named_by_server=named_by_server)
        response = self._send(method, url, headers, login.header if login else auth, body, shown)
        with accepted(response, accept, login):
            return whole(response, limit)

    def _persist(self, attempt: Callable[[], Answer]) -> Answer:
        patience = self.patience()
        while True:
            try:
                return attempt()
            except HttpFailure as failure:
                patience.wait_after(failure)
                _log.info("%s; trying again", failure)

    def login_for(self, url: str) -> ServerLogin | None:
        """Return the login that the user's own files have for an address."""
        return self._login(url, None, named_by_server=False)

    def _login(self, url: str, auth: str | None, *, named_by_server: bool) -> ServerLogin | None:
        if auth is not None:  # the caller has a better one
            return None
        found = configured_login(access_to(self.settings.servers, url))
        if found is None and self._netrc is not None:
            found = self._netrc.login(url, named_by_server=named_by_server)
        return found

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        auth: str | None,
        body: bytes | Iterable[bytes | FilePart] | None = None,
        shown: str | None = None,
    ) -> Response:
        import urllib3

        settings = self.settings
        place = shown or redact(url)
        if settings.offline:
            raise HttpFailure(
                f"{place}: not asked because of --offline",
                temporary=False,
                hint="run without --offline, or bring the store up to date first",
            )
        sent = {"User-Agent": settings.user_agent, "Accept": "*/*", **(headers or {})}
        sent["Accept-Encoding"] = "identity"
        if auth is not None:
            sent["Authorization"] = auth
        slot, proxy = self._slot(url), proxy_of(url)
        pace = Pace(settings, self._closed.is_set)
        slot.acquire()
        try:
            with self._explained(place, pace, proxy), self._noted(pace), pace.watching():
                raw = self._manager(url, proxy).request(
                    method,
                    urllib3.util.parse_url(url)._replace(auth=None).url,
                    headers=sent,
                    body=body if body is None or isinstance(body, bytes) else self._paced(body),
                    preload_content=False,
                    decode_content=False,
                    redirect=False,
                    retries=False,
                    timeout=urllib3.Timeout(
                        connect=settings.connect_timeout, read=settings.stall_timeout
                    ),
                )
        except BaseException:  # whatever ends it, a Ctrl-C too: the slot is for the next transfer
            slot.release()
            raise
        _log.debug("%s %s: %d", method, place, raw.status)
        pace.head_is_there()
        response = self._response(raw, url, slot, pace)
        response.auth = auth
        if raw.status == 407 and proxy is not None:
            response.close()
            raise login_for_proxy(place, proxy)
        return response

    @contextmanager
    def _noted(self, pace: Pace) -> Iterator[None]:
        """Let ``close`` end what is waited for in the block."""
        with self._lock:
            self._asking.add(pace)
        try:
            if self._closed.is_set():
                raise ConnectionAbortedError
            yield
        finally:
            with self._lock:
                self._asking.discard(pace)

    def _response(
        self, raw: urllib3.BaseHTTPResponse, url: str, slot: threading.Semaphore, pace: Pace
    ) -> Response:
        from urllib3.exceptions import HTTPError

        place = redact(url)
        piece = PIECE if self._rate is None else min(PIECE, self._rate.piece)
        with self._lock:
            self._open.add(raw)

        def read() -> bytes:
            if self._closed.is_set():
                raise HttpFailure(f"{place}: stopped", temporary=False)
            with self._explained(place, pace):
                # One receive a call: on a slow line a full buffer would take long to come back.
                chunk = raw.read1(piece, decode_content=False)
            pace.came(len(chunk))
            if self._rate is not None and chunk:
                self._rate.take(len(chunk))
            return chunk

        def close() -> None:
            with self._lock:
                if raw not in self._open:
                    return
                self._open.discard(raw)
            left = raw.length_remaining
            if left is not None and 0 < left <= _SMALL_REMAINDER and not self._closed.is_set():
                with contextlib.suppress(HTTPError, OSError):
                    raw.read(left, decode_content=False)
            # Closes the connection unless the whole body was read and it went back to the pool.
            raw.close()
            slot.release()

        return Response(
            status=raw.status,
            headers=raw.headers,
            url=url,
            read=read,
            close=close,
            interrupt=lambda: _wake(raw),
        )

    def _paced(self, body: Iterable[bytes | FilePart]) -> Iterator[Any]:
        for piece in body:
            if self._rate is not None and piece:
                self._rate.take(len(piece))
            yield piece

    def _slot(self, url: str) -> threading.Semaphore:
        with self._lock:
            return self._slots.setdefault(
                origin(url), threading.BoundedSemaphore(self.settings.per_host)
            )

    def _manager(self, url: str, proxy: ProxyServer | None) -> urllib3.PoolManager:
        key = urlsplit(url).scheme, proxy, access_to(self.settings.servers, url)
        with self._lock:
            if key not in self._managers:
                self._managers[key] = _new_manager(*key, self.settings.per_host)
            return self._managers[key]

    @contextmanager
    def _explained(
        self, place: str, pace: Pace, proxy: ProxyServer | None = None
    ) -> Iterator[None]:
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (HTTPError, OSError, ValueError) as error:
            if self._closed.is_set():
                raise HttpFailure(f"{place}: stopped", temporary=False) from error
            if pace.failed is not None:  # it would be the same again
                fact = f"{place}: {pace.failed}"
                raise HttpFailure(fact, temporary=False, hint=pace.hint) from error
            raise of_error(
                place,
                error,
                connect=self.settings.connect_timeout,
                stall=self.settings.stall_timeout,
                proxy=proxy,
            ) from error


def _new_manager(
    scheme: str, proxy: ProxyServer | None, access: ServerAccess | None, per_host: int
) -> urllib3.PoolManager:
    from isobuilder.http.timed import paced_manager

    # Reading all certificate authorities takes longer than most requests: only where needed.
    secure = scheme == "https" or (proxy is not None and proxy.scheme == "https")
    return paced_manager(proxy, per_host, tls_context(access) if secure else None)


def _wake(raw: urllib3.BaseHTTPResponse) -> None:
    """Let the thread that waits for bytes see the end of the connection."""
    # It may have finished just now: then there is nothing to wake.
    with contextlib.suppress(ValueError, RuntimeError, OSError):
        raw.shutdown()
