"""The server half of HTTP bears whatever a socket can bring."""

from __future__ import annotations

import resource
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from isobuilder.errors import EnvironmentProblem
from isobuilder.http.connection import Limits
from isobuilder.http.replies import FilePart, Reply, Request, content_reply
from isobuilder.http.serving import Server

TEN = b"0123456789"
LARGE = 8 * 1024 * 1024
QUICK = Limits(head_seconds=0.4, idle_seconds=0.4, piece_seconds=0.4)


class Shelf(Server):
    """A few bytes, a large file, what was sent, and some mistakes."""

    def __init__(self, folder: Path, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(limits=limits, tls=tls)
        self.large = folder / "large"
        self.large.write_bytes(bytes(range(256)) * (LARGE // 256))
        self.told: list[tuple[str, str, int, int]] = []

    def answer(self, request: Request) -> Reply:  # noqa: PLR0911
        if request.path == "/ten":
            return content_reply(request, TEN, etag='"v1"', modified=0, content_type="text/plain")
        if request.path == "/large":
            part = FilePart.whole(self.large)
            return content_reply(request, part, etag='"l"', modified=0, content_type="a/b")
        if request.path == "/gone":
            return Reply(200, {}, FilePart(self.large.with_name("nothing"), 0, 5))
        if request.path == "/short":
            return Reply(200, {}, FilePart(self.large, LARGE - 5, 10))
        if request.path == "/echo":
            return Reply(200, {}, request.body(LARGE))
        if request.path == "/unread":
            return Reply(403, {}, b"no")
        if request.path == "/endless":
            return Reply(200, {}, iter(lambda: bytes(65536), b""))
        if request.path == "/two-lines":
            return Reply(200, {"Location": "/a\r\nSet-Cookie: b"})
        if request.path == "/silence":
            raise ConnectionAbortedError
        if request.path == "/mistake":
            raise KeyError("password")
        return super().answer(request)

    def served(self, request: Request, reply: Reply, sent: int) -> None:
        self.told.append((request.method, request.path, reply.status, sent))


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with Shelf(tmp_path, Limits()) as server:
        yield server


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Shelf]:
    with Shelf(tmp_path, QUICK) as server:
        yield server


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def to_the_end(client: socket.socket) -> bytes:
    data = bytearray()
    with suppress(OSError):
        while piece := client.recv(1 << 20):
            data += piece
    return bytes(data)


def raw(server: Server, data: bytes) -> bytes:
    """Send ``data``, nothing more, and return all that comes back."""
    with closing(connected(server)) as client:
        with suppress(OSError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        return to_the_end(client)


def ask(server: Server, path: str, *headers: str, method: str = "GET") -> tuple[int, bytes, bytes]:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    answer = raw(server, "\r\n".join(lines).encode() + b"\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower(), body


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        ("bytes=4-", 206, TEN[4:]),
        ("bytes=0-0", 206, b"0"),
        ("Bytes= 2-3", 206, b"23"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-99", 206, TEN),
        ("bytes=8-99", 206, b"89"),
        (f"bytes=8-{'9' * 6000}", 206, b"89"),
        (f"bytes={'0' * 6000}8-", 206, b"89"),
        ("bytes=10-", 416, b""),
        ("bytes=-0", 416, b""),
        (f"bytes={'9' * 6000}-", 416, b""),
        ("bytes=5-3", 200, TEN),
        ("bytes=-", 200, TEN),
        ("bytes=0-1,4-5", 200, TEN),
        ("bytes=" + ",".join(["0-1"] * 4000), 200, TEN),
        ("bytes=²-3", 200, TEN),
        ("bytes=--3", 200, TEN),
        ("lines=1-2", 200, TEN),
    ],
)
def test_a_range_is_served_refused_or_left_alone(
    shelf: Shelf, wanted: str, status: int, body: bytes
) -> None:
    got, head, found = ask(shelf, "/ten", f"Range: {wanted}")
    assert (got, found) == (status, body)
    assert f"content-length: {len(body)}".encode() in head
    if status == 416:
        assert b"content-range: bytes */10" in head
    if status == 206:
        assert f"content-range: bytes {TEN.index(body)}-{TEN.index(body) + len(body) - 1}/10" in (
            head.decode()
        )


def test_a_range_holds_only_for_the_state_that_if_range_names(shelf: Shelf) -> None:
    date = "Thu, 01 Jan 1970 00:00:00 GMT"
    for condition, status in (
        ('"v1"', 206),
        (date, 200),  # other bytes may have it as well
        ('"v2"', 200),
        ('W/"v1"', 200),  # a weak validator says nothing about bytes
        (date.replace("1970", "1971"), 200),
        ("no date", 200),
    ):
        assert ask(shelf, "/ten", "Range: bytes=5-", f"If-Range: {condition}")[0] == status


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ('If-None-Match: "v1"', 304),
        ('If-None-Match: "v0", W/"v1"', 304),
        ("If-None-Match: *", 304),
        ('If-None-Match: "v2"', 200),
        ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", 304),
        ("If-Modified-Since: Fri, 02 Jan 1970 00:00:00 GMT", 200),
    ],
)
def test_who_has_the_state_already_gets_no_body(shelf: Shelf, header: str, status: int) -> None:
    got, head, body = ask(shelf, "/ten", header)
    assert (got, body) == (status, b"" if status == 304 else TEN)
    assert b'etag: "v1"' in head


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ('If-Match: "v1"', 206),
        ('If-Match: "v0", "v1"', 206),
        ("If-Match: *", 206),
        ('If-Match: "v2"', 412),
        ('If-Match: W/"v1"', 412),  # a weak validator says nothing about bytes
        ("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", 206),
        ("If-Unmodified-Since: Fri, 02 Jan 1970 00:00:00 GMT", 206),
        ("If-Unmodified-Since: Wed, 31 Dec 1969 00:00:00 GMT", 412),
        ("If-Unmodified-Since: no date", 206),
        (f"If-Unmodified-Since: Wed, 31 Dec {'9' * 30} 00:00:00 GMT", 206),
    ],
)
def test_who_wants_one_state_only_gets_no_other(shelf: Shelf, header: str, status: int) -> None:
    got, head, body = ask(shelf, "/ten", header, "Range: bytes=5-")
    assert got == status
    assert (body == TEN[5:]) is (status == 206)
    assert b'etag: "v1"' in head


@pytest.mark.parametrize("path", ["/ten", "/large", "/nothing"])
def test_head_is_get_without_the_body(shelf: Shelf, path: str) -> None:
    got = ask(shelf, path, "Range: bytes=0-1", method="HEAD")
    whole = ask(shelf, path)
    assert (got[0], got[2]) == (whole[0], b"")
    length = next(line for line in whole[1].split(b"\r\n") if line.startswith(b"content-length"))
    assert length in got[1]


def test_what_is_not_there_and_what_cannot_be_done_is_said(shelf: Shelf) -> None:
    assert ask(shelf, "/nothing")[0] == 404
    status, head, _ = ask(shelf, "/ten", method="PUT")
    assert status == 405
    assert b"allow: get, head" in head
    assert ask(shelf, "http://other.example/ten?a=b")[2] == TEN
    assert ask(shelf, "/t%65n")[2] == TEN


def test_one_connection_brings_many_answers(shelf: Shelf) -> None:
    asked = b"GET /ten HTTP/1.1\r\nHost: x\r\n\r\n"
    posted = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    answer = raw(shelf, asked * 3 + posted + asked)
    assert answer.count(b"HTTP/1.1 200 OK") == 5
    assert answer.count(TEN) == 4
    assert b"\r\n\r\nabcHTTP/1.1" in answer


def test_a_body_nobody_read_ends_the_connection_and_is_no_request(shelf: Shelf) -> None:
    hidden = b"GET /ten HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\n\r\n".encode()
    answer = raw(shelf, head + hidden)
    assert answer.startswith(b"HTTP/1.1 403")
    assert TEN not in answer


def test_the_answer_arrives_though_the_client_still_sends(shelf: Shelf) -> None:
    head = f"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n".encode()
    assert raw(shelf, head + bytes(LARGE)).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    ("body", "status", "echoed"),
    [
        (b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", 200, b"abcde"),
        (b"3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n", 200, b"abc"),
        (b"-3\r\nabc\r\n0\r\n\r\n", 400, b""),
        (b"\r\nabc\r\n0\r\n\r\n", 400, b""),
        (b"3\r\nabcde\r\n0\r\n\r\n", 400, b""),
        (b"ffffffffffff\r\n" + bytes(LARGE + 1), 413, b""),
        (b"f" * 5000 + b"\r\n", 431, b""),
        (b"0\r\n" + b"a: b\r\n" * 100 + b"\r\n", 431, b""),
    ],
)
def test_a_body_in_chunks_is_read_strictly(
    shelf: Shelf, body: bytes, status: int, echoed: bytes
) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(shelf, head + body)
    assert int(answer.split()[1]) == status
    if status == 200:
        assert answer.endswith(b"\r\n\r\n" + echoed)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Content-Length: -1", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5_0", 400),
        ("Content-Length: ²", 400),
        ("Content-Length: " + "9" * 5000, 400),
        ("Content-Length: 1\r\nContent-Length: 2", 400),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: gzip, chunked", 400),
        (f"Content-Length: {10**15}", 413),
        (f"Content-Length: {LARGE + 1}", 413),
    ],
)
def test_a_length_that_cannot_be_meant_is_refused(shelf: Shelf, headers: str, status: int) -> None:
    begun = time.monotonic()
    assert ask(shelf, "/echo", headers, method="POST")[0] == status
    assert time.monotonic() - begun < 20


def test_who_waits_for_a_word_before_sending_gets_it(shelf: Shelf) -> None:
    with closing(connected(shelf)) as client:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
        client.sendall(head + b"Connection: close\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert to_the_end(client).endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /ten\r\n\r\n",
        b"GET /ten HTTP/0.9\r\nHost: x\r\n\r\n",
        b"GET /ten HTTP/2.0\r\nHost: x\r\n\r\n",
        b"get /ten HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET  /ten HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET ten HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /t\xc3\xa9n HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /ten HTTP/1.1\r\n\r\n",
        b"GET /ten HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n",
        b"GET ?ten HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /ten HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /ten HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET /ten HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
        b"GET /ten HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_a_head_that_readers_may_take_differently_is_refused(shelf: Shelf, head: bytes) -> None:
    answer = raw(shelf, head)
    assert answer.startswith(b"HTTP/1.1 400")
    assert TEN not in answer
    assert ask(shelf, "/ten")[0] == 200


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("GET http://h HTTP/1.1", "/"),
        ("GET HTTP://h?a=b HTTP/1.1", "/"),
        ("GET http://h/ten?a HTTP/1.1", "/ten"),
        ("OPTIONS * HTTP/1.1", "/"),
    ],
)
def test_each_form_of_an_address_is_taken(shelf: Shelf, line: str, path: str) -> None:
    raw(shelf, f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert [told[1] for told in shelf.told] == [path]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 10_000_000,
    ],
)
def test_a_huge_head_is_refused_and_not_held(shelf: Shelf, head: bytes) -> None:
    assert raw(shelf, head).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(("end", "status"), [(b"\x01", 400), (b"y", 200), (b"", 200)])
@pytest.mark.parametrize("blank", [b" ", b"\t"])
def test_a_header_of_blanks_costs_no_time(
    shelf: Shelf, blank: bytes, end: bytes, status: int
) -> None:
    head = b"GET /ten HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: x" + blank * 31_000 + end
    began = time.process_time()  # of all threads, and none gets a turn while a pattern is matched
    assert raw(shelf, head + b"\r\n\r\n").startswith(f"HTTP/1.1 {status}".encode())
    assert time.process_time() - began < 2


def test_blanks_around_a_header_are_none_of_it(shelf: Shelf) -> None:
    assert ask(shelf, "/ten", "Range: \t bytes=4- \t ")[::2] == (206, TEN[4:])


@pytest.mark.parametrize("cut", range(1, 31, 4))
def test_half_a_request_is_none(shelf: Shelf, cut: int) -> None:
    assert raw(shelf, b"GET /ten HTTP/1.1\r\nHost: xyz\r\n\r\n"[:cut]) == b""
    assert shelf.told == []


def test_who_speaks_tls_to_a_plain_server_is_told_at_once(shelf: Shelf) -> None:
    context = ssl.create_default_context()
    began = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", shelf.port), timeout=60) as client,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(client, server_hostname="localhost")
    assert time.monotonic() - began < shelf.limits.head_seconds / 2


def test_the_deadline_of_a_head_is_for_all_of_it(quick: Shelf) -> None:
    with closing(connected(quick)) as client:
        begun = time.monotonic()
        with suppress(ConnectionError):
            for letter in b"GET /ten HTTP/1.1\r\nHost: " + b"x" * 2000:
                client.sendall(bytes([letter]))
                time.sleep(0.02)
        assert time.monotonic() - begun < 20
        assert to_the_end(client) == b""


def test_a_connection_without_a_request_is_closed(quick: Shelf) -> None:
    with closing(connected(quick)) as client:
        assert client.recv(1) == b""


def test_a_body_that_trickles_is_given_up(quick: Shelf) -> None:
    with closing(connected(quick)) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        begun = time.monotonic()
        with suppress(ConnectionError):
            for _ in range(2000):
                client.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - begun < 20
    assert quick.told == []


@pytest.mark.parametrize("path", ["/large", "/endless"])
def test_who_does_not_read_is_given_up(quick: Shelf, path: str) -> None:
    with closing(connected(quick)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_for(lambda: len(quick.told) == 1)
        assert quick.told[0][3] < LARGE


def test_who_reads_slowly_but_steadily_gets_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isobuilder.http.connection._WAIT", 0.05)  # the kernel comes back often
    limits = Limits(piece_seconds=4)
    wanted, data = 2 << 20, bytearray()
    with Shelf(tmp_path, limits) as server:
        server._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        with closing(connected(server)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            asked = f"GET /large HTTP/1.1\r\nHost: x\r\nRange: bytes=0-{wanted - 1}\r\n"
            client.sendall(f"{asked}Connection: close\r\n\r\n".encode())
            begun = time.monotonic()
            while piece := client.recv(64 * 1024):
                data += piece
                time.sleep(len(piece) / (300 * 1024))
            assert time.monotonic() - begun > limits.piece_seconds
        assert data.partition(b"\r\n\r\n")[2] == server.large.read_bytes()[:wanted]


def test_a_large_file_arrives_whole_and_in_parts(shelf: Shelf) -> None:
    whole = shelf.large.read_bytes()
    assert ask(shelf, "/large")[2] == whole
    middle = ask(shelf, "/large", "Range: bytes=1000001-5000000")
    assert (middle[0], middle[2]) == (206, whole[1_000_001:5_000_001])
    assert [line[3] for line in shelf.told] == [LARGE, 4_000_000]


def test_a_file_that_is_gone_or_shorter_ends_the_connection(shelf: Shelf) -> None:
    assert ask_raw(shelf, "/gone") == b""
    answer = ask_raw(shelf, "/short")
    assert b"Content-Length: 10\r\n" in answer
    assert len(answer.partition(b"\r\n\r\n")[2]) < 10
    assert ask(shelf, "/ten")[0] == 200


def ask_raw(server: Server, path: str) -> bytes:
    return raw(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def test_a_mistake_of_ours_is_an_answer_and_says_nothing_of_itself(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    status, _, body = ask(shelf, "/mistake")
    assert (status, b"password" in body) == (500, False)
    assert "GET '/mistake'" in caplog.text
    assert ask_raw(shelf, "/silence") == b""
    assert b"Set-Cookie" not in ask_raw(shelf, "/two-lines")


def test_clients_that_hang_up_are_not_worth_a_word(
    shelf: Shelf, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/large", "/endless") * 10:
        client = connected(shelf)
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        assert client.recv(1000)
        # No lingering: the server's next write fails at once.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert ask(shelf, "/nothing")[0] == 404
    assert (capfd.readouterr().err, caplog.text) == ("", "")


def test_a_hundred_clients_at_once_get_every_byte(shelf: Shelf) -> None:
    whole = shelf.large.read_bytes()

    def one(number: int) -> bool:
        start = number * 70_001
        found = ask(shelf, "/large", f"Range: bytes={start}-{start + 499_999}")
        return found[2] == whole[start : start + 500_000]

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(one, range(100)))


def test_more_clients_than_places_wait_for_their_turn(tmp_path: Path) -> None:
    limits = Limits(clients=4, idle_seconds=1.0)
    with Shelf(tmp_path, limits) as server:
        before = threading.active_count()
        idle = [connected(server) for _ in range(12)]
        time.sleep(0.1)
        assert threading.active_count() - before <= 4
        assert ask(server, "/ten")[2] == TEN  # once the idle ones have been sent away
        for client in idle:
            client.close()


def test_without_descriptors_clients_wait_and_nothing_is_said(
    shelf: Shelf, capfd: pytest.CaptureFixture[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = connected(shelf)
    client.sendall(b"GET /ten HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert to_the_end(client).endswith(TEN)
    waiting = socket.socket()
    waiting.settimeout(60)
    resource.setrlimit(resource.RLIMIT_NOFILE, (waiting.fileno() + 1, hard))
    try:
        waiting.connect(("127.0.0.1", shelf.port))
        time.sleep(0.3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    waiting.sendall(b"GET /ten HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert to_the_end(waiting).endswith(TEN)
    waiting.close()
    client.close()
    assert capfd.readouterr().err == ""


def test_close_ends_every_thread_and_leaves_the_port_free(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with Shelf(tmp_path, Limits()) as server:
        port = server.port
        clients = [connected(server) for _ in range(3)]
        clients[0].sendall(b"GET /ten HTTP/1.1\r\nHost: x\r\n\r\n")
        clients[1].sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        clients[2].sendall(b"GET /te")
        assert clients[0].recv(100)
        assert clients[1].recv(100)
    assert set(threading.enumerate()) <= before
    with Server(port=port) as again:
        assert ask(again, "/")[0] == 404
    for client in clients:
        client.close()


def test_a_port_that_is_taken_is_told(shelf: Shelf) -> None:
    with pytest.raises(EnvironmentProblem, match=f"127.0.0.1:{shelf.port}: cannot be used"):
        Server(port=shelf.port)


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Shelf]:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Shelf(tmp_path, Limits(head_seconds=8.0), context) as server:
        yield server


def test_tls_brings_the_same_bytes_and_bears_who_speaks_none(encrypted: Shelf) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    assert TEN not in raw(encrypted, b"GET /ten HTTP/1.1\r\nHost: x\r\n\r\n")
    with closing(connected(encrypted)) as mute:  # who says nothing is given up as well
        assert mute.recv(1) == b""
    with context.wrap_socket(connected(encrypted)) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        body = to_the_end(client).partition(b"\r\n\r\n")[2]
    assert body == encrypted.large.read_bytes()
    assert encrypted.url.startswith("https://")


def test_the_deadline_of_a_handshake_is_for_all_of_it(encrypted: Shelf) -> None:
    with closing(connected(encrypted)) as client:
        begun = time.monotonic()
        with suppress(ConnectionError):
            client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            for _ in range(2000):
                client.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - begun < 20
        assert to_the_end(client) == b""


def test_what_tls_sends_has_an_end_that_nobody_on_the_way_can_make(encrypted: Shelf) -> None:
    """Its own last word; a client that was cut off knows by that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = connected(encrypted)
    with context.wrap_socket(plain, suppress_ragged_eofs=False) as client:
        client.sendall(b"GET /ten HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := client.recv(1 << 16):  # an end without that word is an error
            data += piece
    assert data.endswith(TEN)


def test_requests_over_tls_that_come_together_are_answered_one_after_the_other(
    encrypted: Shelf,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(connected(encrypted)) as client:
        body = b"x" * 300_000
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
        client.sendall(head + body + b"GET /ten HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = to_the_end(client)
    assert answers.count(b"HTTP/1.1 200") == 2
    assert body in answers
    assert answers.endswith(TEN)


def wait_for(true: object) -> None:
    assert callable(true)
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)
