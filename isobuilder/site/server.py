"""``site serve``: images, files and whole ISOs straight out of closed ISO files.

Every path is a name in a table: none reaches the file system. What is served was read when the ISO
was first seen; a file that is not in that state any more is answered with 503 until it was read
anew, never with bytes of another file. Nothing is written.
"""

from __future__ import annotations

import base64
import hmac
import logging
import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import quote

from isobuilder.digest import BUFFER_SIZE, Digest, Hasher
from isobuilder.formats.prometheus import CONTENT_TYPE
from isobuilder.formats.sums import written_sum
from isobuilder.http.connection import Limits
from isobuilder.http.encrypted import TlsContext
from isobuilder.http.replies import FilePart, FileState, Reply, Request, content_reply, text_reply
from isobuilder.http.serving import Server
from isobuilder.medium import REPORT, TRAVELS
from isobuilder.pipeline.delta.ways import FoundDelta
from isobuilder.site.catalog import Catalog
from isobuilder.site.holding import Holding
from isobuilder.site.metrics import Metrics
from isobuilder.site.pages import (
    CATALOGUE,
    FILES,
    ISOS,
    PAGE_TYPES,
    content_type,
    index_page,
    iso_page,
    site_json,
)
from isobuilder.site.registry import refused, registry_reply
from isobuilder.site.shelf import Shelf, state_of

_log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often it is looked whether ISOs came or went."""

_KINDS = {"/blobs/": "blob", "/manifests/": "manifest", ISOS: "iso", FILES: "file"}
_CLOSED = {"WWW-Authenticate": 'Basic realm="isobuilder site", charset="UTF-8"'}
_SAFE = {"X-Content-Type-Options": "nosniff"}
_SUM = ".sha256"
_SUM_WAIT = 5.0  # seconds for another sum to be done: whoever waits has a place of the server
_AGAIN = 0.2  # seconds between two looks at whether the server closes
_IN_PATHS = "/:@!$&()*+,;=~"  # what stands in the path of an address as it is
_PAGE = "sandbox; default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class SiteLogin:
    """Who may read."""

    user: str
    password: str = field(repr=False)

    def opens(self, header: str) -> bool:
        """Tell whether an Authorization header is this login's."""
        kind, _, packed = header.partition(" ")
        try:
            given = base64.b64decode(packed.strip(), validate=True)
        except ValueError:
            return False
        wanted = f"{self.user}:{self.password}".encode()
        return hmac.compare_digest(given, wanted) and kind.lower() == "basic"


class SiteServer(Server):
    """Serves what a shelf has; ``access`` gets one line for each answer."""

    name = "isobuilder-site"

    def __init__(
        self,
        shelf: Shelf,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: TlsContext | None = None,
        limits: Limits | None = None,
        login: SiteLogin | None = None,
        access: Callable[[str], None] | None = None,
        catalogue: Path | None = None,
    ) -> None:
        super().__init__(host=host, port=port, tls=tls, limits=limits)
        self._shelf = shelf
        self._secure = tls is not None
        self._login = login
        self._access = access
        self._catalogue = catalogue  # the folder of a site about the ISOs
        self._unread = ""  # why nothing of it can be served
        self._metrics = Metrics()
        self._sums: dict[FileState, Digest] = {}
        self._hashing = threading.Lock()
        self._table: dict[str, FilePart] = {}
        self._isos: dict[str, Holding] = {}
        self._deltas: dict[str, FoundDelta] = {}
        self._take(shelf.catalog)
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> Self:
        """See ``Server``; changes of the ISOs are looked for as well."""
        self._watcher.start()
        return super().start()

    def close(self) -> None:
        """See ``Server``."""
        super().close()
        if self._watcher.is_alive():
            self._watcher.join()

    def _watch(self) -> None:
        while not self.closing.wait(LOOK_SECONDS):
            count = len(self._isos)
            try:
                changed = self._shelf.look()
                if changed or self._side_files(self._catalog) != self._beside:
                    self._take(self._shelf.catalog)
                if count != len(self._isos):
                    _log.warning("%d ISOs are served now", len(self._isos))
            except Exception:  # noqa: BLE001 - what was served goes on being served
                _log.exception("looking for changes failed")

    def _take(self, catalog: Catalog) -> None:
        """Make the table of ``catalog`` and serve by it from now on."""
        self._beside = self._side_files(catalog)
        table = dict(self._beside)
        for holding in catalog.holdings:
            table[ISOS + holding.name] = holding.iso
            for path, part in holding.files.items():
                table[f"{FILES}{holding.name}/{path}"] = part
        self._deltas = {one.found.name: one.found for one in catalog.deltas}
        for delta in catalog.deltas:
            table[ISOS + delta.found.name] = delta.part
        self._isos = {holding.name: holding for holding in catalog.holdings}
        self._catalog, self._table = catalog, table
        states = {holding.state for holding in catalog.holdings}
        self._sums = {state: digest for state, digest in self._sums.items() if state in states}
        for delta in catalog.deltas:
            if delta.part.state is not None:
                self._sums[delta.part.state] = delta.found.digest

    def _side_files(self, catalog: Catalog) -> dict[str, FilePart]:
        """Return what lies beside the ISOs; a sum is told of the bytes that are there."""
        found = {}
        for holding in catalog.holdings:
            for end in (*TRAVELS, REPORT):
                path = holding.iso.path.with_name(f"{holding.name.removesuffix('.iso')}.{end}")
                if not end.endswith(_SUM) and (state := state_of(path)) is not None:
                    found[ISOS + path.name] = FilePart(path, 0, state.size, state)
        return found | self._pages()

    def _pages(self) -> dict[str, FilePart]:
        """Return the files of the catalogue, of the kinds that one has and no link among them."""
        found = {}
        for path in self._listed():
            name = path.relative_to(self._catalogue or path).as_posix()
            if path.suffix in PAGE_TYPES and not path.is_symlink():
                state = state_of(path)
                if state is not None:
                    found[CATALOGUE + name] = FilePart(path, 0, state.size, state)
        if (first := found.get(f"{CATALOGUE}index.html")) is not None:
            found[CATALOGUE] = first
        return found

    def _listed(self) -> list[Path]:
        """Return what is in the folder of the catalogue; that it cannot be read is told once."""
        unread = ""
        try:
            return list(self._catalogue.rglob("*")) if self._catalogue else []
        except OSError as error:
            unread = f"{self._catalogue}: {error.strerror or error}"
            if unread != self._unread:
                _log.warning("%s", unread)
            return []
        finally:
            self._unread = unread

    # --- answers ---

    def answer(self, request: Request) -> Reply:
        """See ``Server``."""
        reply = self._answer(request)
        reply.headers.update(_SAFE)
        return reply

    def _answer(self, request: Request) -> Reply:
        path = request.path
        if path == "/healthz":
            return text_reply(200, "ok")
        given = request.headers.get("authorization", "")
        is_registry = path == "/v2" or path.startswith("/v2/")
        if self._login is not None and not self._login.opens(given):
            return _closed(as_registry=is_registry)
        if is_registry:
            return registry_reply(self._catalog, request)
        if request.method not in {"GET", "HEAD"}:
            return text_reply(405, "only GET and HEAD", {"Allow": "GET, HEAD"})
        if (part := self._table.get(path)) is not None:
            return self._file_reply(request, path, part)
        return self._made(request, path) or text_reply(404, "nothing is served under this name")

    def _made(self, request: Request, path: str) -> Reply | None:
        """Return what is made anew for each who asks."""
        accepted = request.headers.get("accept-language", "")
        if path == "/":
            return index_page(self._catalog, self._address(request), accepted, self._table)
        if path == "/site.json":
            return site_json(self._catalog, self._known_sums())
        if path == "/metrics":
            return Reply(200, {"Content-Type": CONTENT_TYPE}, self.metrics())
        name = path.removeprefix(ISOS).removesuffix(_SUM)
        delta, holding = self._deltas.get(name), self._isos.get(name)
        if path.startswith(ISOS) and path.endswith(_SUM) and delta:
            return text_reply(200, written_sum(delta.digest, delta.name))
        if path.startswith(ISOS) and path.endswith(_SUM) and holding:
            return self._sum_reply(holding)
        holding = self._isos.get(path.removeprefix(FILES).removesuffix("/"))
        is_list = path.startswith(FILES) and path.endswith("/") and holding
        return iso_page(holding, accepted) if is_list and holding else None

    def _file_reply(self, request: Request, path: str, part: FilePart) -> Reply:
        state = part.state or FileState.of(part.path.stat())
        etag = f'{state.etag[:-1]}-{part.start:x}-{part.size:x}"'
        modified = state.changed // 10**9
        kind = PAGE_TYPES[part.path.suffix] if path.startswith(CATALOGUE) else content_type(path)
        is_page = path.startswith(ISOS) and path.endswith(f".{REPORT}")
        kind = "text/html; charset=utf-8" if is_page else kind
        reply = content_reply(request, part, etag=etag, modified=modified, content_type=kind)
        if is_page:  # whoever wrote it: it loads and runs nothing, and is of no site
            reply.headers["Content-Security-Policy"] = _PAGE
        known = self._sum_of(path, part)
        if known is not None and reply.status in {200, 206}:  # RFC 9530: of the whole, not the part
            packed = b64encode(bytes.fromhex(known.hex)).decode("ascii")
            reply.headers["Repr-Digest"] = f"sha-256=:{packed}:"
        return reply

    def _sum_of(self, path: str, part: FilePart) -> Digest | None:
        if path.startswith(ISOS):
            return self._sums.get(part.state) if part.state and not part.start else None
        name, _, file = path.removeprefix(FILES).partition("/")
        holding = self._isos.get(name)
        return holding.sums.get(file) if holding else None

    def _sum_reply(self, holding: Holding) -> Reply:
        """Return the SHA-256 of an ISO as ``sha256sum`` writes it; hashed when first asked for.

        A client that hangs up ends nothing: when it asks again the sum is known.

        Raises:
            ConnectionError: the server closes.
        """
        digest = self._sums.get(holding.state)
        if digest is None:
            if not self._may_hash():
                return text_reply(503, "an ISO is being hashed; come again", {"Retry-After": "5"})
            try:
                digest = self._sums.get(holding.state) or self._digest_of(holding)
            finally:
                self._hashing.release()
        if digest is None and self.closing.is_set():
            raise ConnectionAbortedError
        if digest is None:
            return text_reply(503, "the ISO is being replaced", {"Retry-After": "1"})
        self._sums[holding.state] = digest
        return text_reply(200, written_sum(digest, holding.name))

    def _may_hash(self) -> bool:
        """Wait a little for the turn to hash: one at a time, it costs a second for each GB."""
        deadline = time.monotonic() + _SUM_WAIT
        while not self._hashing.acquire(timeout=_AGAIN):
            if self.closing.is_set() or time.monotonic() > deadline:
                return False
        return True

    def _digest_of(self, holding: Holding) -> Digest | None:
        """Hash an ISO; None if the server closes, or it is, or becomes, another file meanwhile."""
        hasher = Hasher()
        try:
            with holding.iso.open() as file:
                # Looked at before the first read: a pipe would have no end.
                while FileState.of(os.fstat(file.fileno())) == holding.state:
                    if self.closing.is_set():
                        return None
                    if not (data := file.read(BUFFER_SIZE)):
                        there = state_of(holding.iso.path)
                        return hasher.digest() if there == holding.state else None
                    hasher.update(data)
        except OSError:
            return None
        return None

    def _known_sums(self) -> dict[str, str | None]:
        found = {name: self._sums.get(holding.state) for name, holding in self._isos.items()}
        return {name: digest.hex if digest else None for name, digest in found.items()}

    def _address(self, request: Request) -> str:
        """Return where the client reached us."""
        host = request.headers.get("host") or f"127.0.0.1:{self.port}"
        return f"{'https' if self._secure else 'http'}://{host}"

    # --- what is counted ---

    def served(self, request: Request, reply: Reply, sent: int) -> None:
        """See ``Server``."""
        seconds = time.monotonic() - request.began
        kind = next((kind for part, kind in _KINDS.items() if part in request.path), "other")
        self._metrics.count(kind, reply.status, sent, seconds)
        path = quote(request.path, safe=_IN_PATHS, errors="surrogateescape")
        agent = repr(request.headers.get("user-agent", "-"))
        self._note(request.client, f"{request.method} {path}", reply, sent, seconds, agent)

    def refused(self, client: str, reply: Reply, sent: int) -> None:
        """See ``Server``."""
        self._metrics.count("other", reply.status, sent, 0.0)
        self._note(client, "- -", reply, sent, 0.0, repr("-"))

    def _note(
        self, client: str, asked: str, reply: Reply, sent: int, seconds: float, agent: str
    ) -> None:
        """Write a line of the access log, whose fields have no blank but the last, in quotes."""
        if self._access is not None:
            when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
            self._access(f"{when}Z {client} {asked} {reply.status} {sent} {seconds:.3f} {agent}")

    def metrics(self) -> bytes:
        """Return what was counted, in the text format of Prometheus."""
        return self._metrics.text(self._gauges())

    def _gauges(self) -> dict[str, tuple[str, float]]:
        catalog = self._catalog
        return {
            "isos": ("ISOs that are served.", len(catalog.holdings)),
            "iso_bytes": ("Bytes of these ISOs.", sum(h.iso.size for h in catalog.holdings)),
            "images": ("Tags of images.", catalog.images),
            "deltas": ("Deltas that are served.", len(catalog.deltas)),
            "warnings": ("Things that cannot be served.", len(catalog.warnings)),
            "connections": ("Connections of clients.", self.connections),
        }


def _closed(*, as_registry: bool) -> Reply:
    fact = "a login is needed"
    if not as_registry:
        return text_reply(401, fact, _CLOSED)
    reply = refused(401, "UNAUTHORIZED", fact)
    reply.headers.update(_CLOSED)
    return reply
