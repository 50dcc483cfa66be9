"""Targets on the network: servers on loopback that answer with what is bad, and a bad client."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import pytest

from isobuilder.demo.mold import Cloud, CloudUser, Timing
from isobuilder.demo.mold.server import Call
from isobuilder.digest import Digest
from isobuilder.errors import IsobuilderError, UpstreamError
from isobuilder.http.client import Http
from isobuilder.http.connection import Limits
from isobuilder.http.replies import Reply, Request
from isobuilder.http.settings import HttpSettings
from isobuilder.mold.api.clock import SystemClock
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, Login, MoldServer
from isobuilder.mold.apply import apply_plan
from isobuilder.mold.audit import audit
from isobuilder.mold.catalogue import Item
from isobuilder.mold.check import check
from isobuilder.mold.checklist import Question
from isobuilder.mold.compare import Policy
from isobuilder.mold.manage import EventFilter, list_events
from isobuilder.mold.register import register
from isobuilder.mold.request import RegistrationRequest
from isobuilder.sources.download import Download
from isobuilder.sources.fetch import Fetcher
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.registry_tokens import RegistryTokens
from isobuilder.store import Store
from tests.fakes.mold import FakeMold
from tests.fuzz.commands import called
from tests.fuzz.mutation import Chance, edited_json, edited_text
from tests.fuzz.samples import Samples
from tests.fuzz.target import Rig, Target, put
from tests.mold.clocks import VirtualClock
from tests.mold.conftest import iso_bytes, registration_of
from tests.mold.messes import add_directly

HASTE = HttpSettings(
    retries=2,
    retry_budget=0.2,
    first_delay=0.001,
    connect_timeout=1.0,
    stall_timeout=0.4,
    least_speed_seconds=1.0,
)

_NEXT = b"\n=====next=====\n"  # between the answers of a case
_BODY = bytes(range(256)) * 40

ANSWERS = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\n\r\nhello',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 302 Found\r\nLocation: /other?x=1#f\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:PORT/a/../b\r\nContent-Length: 2\r\n\r\nhi",
    b'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm="http://127.0.0.1:PORT/token",'
    b'service="a",scope="repository:a/b:pull"\r\nContent-Length: 0\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 35\r\n\r\n"
    b'{"token": "abcdef","expires_in":300}',
    b"HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 No\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 206 Part\r\nContent-Range: bytes 5000-10239/10240\r\nContent-Length: 5240\r\n"
    b'Accept-Ranges: bytes\r\nETag: "a"\r\n\r\n' + _BODY[5000:],
    b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\nLast-Modified: Fri, 31 Dec 1999 23:59:59 GMT\r\n"
    b"Accept-Ranges: bytes\r\n\r\n" + _BODY,
    b"HTTP/1.1 416 No\r\nContent-Range: bytes */10240\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
)


class RawServer:
    """Answers one connection after another with bytes of a case, whatever was asked."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(1.0)
                asked = b""
                while b"\r\n\r\n" not in asked and (more := client.recv(65536)):
                    asked += more
                answer = self.answers.pop(0) if self.answers else ANSWERS[0]
                client.sendall(answer.replace(b"PORT", str(self.port).encode()))


def _raw(_samples: Samples, stack: ExitStack) -> Rig:
    server = RawServer()
    stack.callback(server.close)
    url = f"http://127.0.0.1:{server.port}"

    def case(chance: Chance) -> bytes:
        chosen = [chance.choice(ANSWERS) for _ in range(chance.randint(1, 4))]
        worst = chance.randrange(len(chosen))
        chosen[worst] = edited_text(chosen[worst], chance)[: 512 * 1024]
        return _NEXT.join(chosen)

    def read(data: bytes, folder: Path) -> object:
        answers = data.split(_NEXT)
        told: UpstreamError | None = None
        for use in (_small, _fetched, _tokens):
            server.answers = list(answers)
            with Http(HASTE) as http:
                try:
                    use(http, url, folder)
                except UpstreamError as error:
                    told = error
        if told is not None:
            raise told
        return None

    return Rig(case, read)


def _small(http: Http, url: str, _folder: Path) -> object:
    return http.get_small(f"{url}/x", limit=65536, accept=(200, 206)).body


def _fetched(http: Http, url: str, folder: Path) -> object:
    store = Store(folder / "store")
    size = len(_BODY)
    whole = Download("x", (f"{url}/x",), Digest.of(_BODY), size, size)
    unknown = Download("y", (f"{url}/y",), None, None, size)
    try:
        return Fetcher(store, http, jobs=2).fetch([whole, unknown])
    except IsobuilderError as error:
        raise UpstreamError(str(error), hint=error.hint) from error


def _tokens(http: Http, url: str, _folder: Path) -> object:
    tokens = RegistryTokens(http, Credentials(()))
    headers = http.get_small(f"{url}/v2/", limit=65536, accept=(200, 401)).headers
    return tokens.renew(url, "a/b", headers, None)


# --- our own server ---

REQUESTS = (
    b"GET /dl.k8s.io/release/stable.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-3\r\n\r\n",
    b"POST /client/api HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\ncommand=listZones",
    b"POST /client/api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nabcde\r\n0\r\n\r\n",
    b"GET /v2/registry.k8s.io/pause/manifests/3.10.1 HTTP/1.1\r\nHost: x\r\n"
    b'If-None-Match: "a"\r\n\r\n',
    b"HEAD / HTTP/1.0\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
    b"GET /client/api?command=login&username=admin&password=password&page=1&pagesize=2 HTTP/1.1\r\n"
    b"Host: x\r\n\r\n",
)
_PATIENCE = Limits(idle_seconds=0.5, head_seconds=0.5, piece_seconds=0.5)


def _served(samples: Samples, stack: ExitStack) -> Rig:
    """The embedded upstream and the simulator, asked by a bad client."""
    cloud = Cloud(pace=Timing(allocated=0.01, downloading=0.02, installing=0.01))
    cloud.users = [CloudUser("admin", "k0123456789", "s0123456789", "password")]
    simulator = FakeMold(cloud)
    simulator.limits = _PATIENCE
    stack.enter_context(simulator)

    def case(chance: Chance) -> bytes:
        return edited_text(b"".join(chance.sample(REQUESTS, 2)), chance)[: 256 * 1024]

    def read(data: bytes, _folder: Path) -> object:
        with (
            socket.create_connection(("127.0.0.1", simulator.port), timeout=5.0) as client,
            contextlib.suppress(OSError),  # it may hang up on us
        ):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        return None

    return Rig(case, read)


# --- Mold ---


class HostileMold(FakeMold):
    """Changes some of its answers; which and how follows from the case."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.seed = ""
        self.rate = 0.0

    def on_call(self, call: Call) -> Reply:
        reply = super().on_call(call)
        chance = random.Random(f"{self.seed}/{call.command}/{call.params.get('page')}")
        if chance.random() > self.rate or not isinstance(reply.body, bytes):
            return reply
        body = edited_json(json.loads(reply.body), chance)
        status = chance.choice((200, 200, 200, 200, 401, 431, 530, 503, 302, reply.status))
        headers = dict(reply.headers)
        if chance.random() < 0.2:
            headers["Location"] = chance.choice(("/x", "http://[", "file:///etc/passwd", "//a"))
            headers["Content-Type"] = chance.choice(("text/html", "", "é"))
        return Reply(status, headers, body)


@contextlib.contextmanager
def _time_flies() -> Iterator[None]:
    """Let the client's waiting take no time."""
    clock = VirtualClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemClock, "sleep", lambda _self, seconds: clock.sleep(seconds))
        patch.setattr(SystemClock, "monotonic", lambda _self: clock.monotonic())
        yield


def _mold(_samples: Samples, stack: ExitStack) -> Rig:
    registration = registration_of("1.34.12", iso_bytes())

    def case(chance: Chance) -> bytes:
        return f"{chance.getrandbits(40)} {chance.choice((0.1, 0.3, 1.0))}".encode()

    def read(data: bytes, folder: Path) -> object:
        seed, rate = data.decode().split()
        clock = VirtualClock()
        cloud = Cloud(clock=clock, pace=Timing(allocated=2, downloading=6, installing=2, join=True))
        cloud.users = [CloudUser("admin", "k0123456789", "s0123456789", "password")]
        add_directly(cloud, "1.33.1")
        with HostileMold(cloud) as simulator:
            simulator.seed, simulator.rate = seed, float(rate)
            login = int(seed) % 5 == 0
            who = Login("admin", "password") if login else ApiKey("k0123456789", "s0123456789")
            server = MoldServer("m", simulator.endpoint, who, timeout=5.0)
            item = Item(registration, "http://127.0.0.1:1/x.iso")
            told = _used(Mold(server, clock=clock, patience=20.0), item, folder)
            _typed(simulator, folder)
        if told is not None:
            raise told
        return None

    return Rig(case, read)


def _used(mold: Mold, item: Item, folder: Path) -> IsobuilderError | None:
    """Do with a server everything that we do with servers."""
    told: IsobuilderError | None = None
    question = Question(item.registration, item.url, resolve=lambda _host: ("127.0.0.1",))
    wish = RegistrationRequest(item.registration, url=item.url, timeout=100.0)

    def checked() -> object:
        with Http(HASTE) as http:
            return check(mold, question, http=http)

    def mended() -> object:
        _found, plan = audit(mold, [item], Policy(date(2026, 11, 21)))
        return apply_plan(mold, plan)

    try:
        for use in (
            lambda: list_events(mold, EventFilter()),
            checked,
            lambda: register([mold], wish, state=folder / "state"),
            mended,
        ):
            try:
                use()
            except IsobuilderError as error:
                told = error
    finally:
        mold.close()
    return told


def _typed(simulator: FakeMold, folder: Path) -> None:
    """Type the commands that show what a server says; each line has to be a plain one."""
    put(folder, "keys", b"k0123456789\ns0123456789\n").chmod(0o600)
    where: list[str | Path] = ["--endpoint", simulator.endpoint, "--key-file", folder / "keys"]
    words = (["list"], ["zones"], ["events"], ["check"], ["show", "v1.33.1"], ["setting", "x"])
    with _time_flies():
        for one in words:
            called("mold", one[0], *where, *one[1:])


SERVERS = (
    Target(
        "http",
        (
            *("http/client.py", "http/answer.py", "http/failure.py", "http/timed.py"),
            *("sources/transfer.py", "sources/registry_tokens.py", "sources/fetch.py"),
        ),
        _raw,
    ),
    Target(
        "our-servers", ("http/connection.py", "http/replies.py", "demo/mold/server.py"), _served
    ),
    Target(
        "mold",
        (
            *("mold/api/transport.py", "mold/api/records.py", "mold/api/errors.py"),
            *("mold/api/upload.py", "mold/api/client.py", "mold/api/secrets.py"),
        ),
        _mold,
        few=3,
    ),
)
_ = Request  # for hooks
