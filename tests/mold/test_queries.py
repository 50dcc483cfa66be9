"""What goes over the wire for a call, byte for byte, as a golden file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, Login, MoldServer
from isobuilder.mold.api.signing import SignatureAlgorithm
from tests.mold.clocks import VirtualClock
from tests.mold.golden import check_golden

KEY = ApiKey("Ak-0123456789", "Sk-9876543210")

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("listZones", {}),
    "text": ("listIsos", {"name": "a b+c*d~e[f]/g%h", "keyword": "쿠버네티스 운영"}),
    "empty text": ("updateConfiguration", {"name": "x", "value": ""}),
    "booleans and numbers": ("listZones", {"available": True, "b": False, "n": 7, "x": 1.5}),
    "left out": ("listZones", {"zoneid": None, "ids": [], "tags": {}}),
    "a list": ("listZones", {"ids": ["b", "a"], "numbers": (1, 2)}),
    "a set": ("listZones", {"ids": {"c", "b", "a"}}),
    "a map": ("listZones", {"details": {"key": "value", "n": 1}}),
    "a list of maps": ("listZones", {"maps": [{"a": "1"}, {"a": "2", "b": "x y"}]}),
    "upper case": ("listZones", {"postURL": "x", "Id": "y"}),
}


class Recorder:
    """Answers every call and keeps what came."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                recorder.lines.append(f"GET {self.path}")
                self.answer()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                recorder.lines.append(f"POST {self.path} {body.decode('ascii')}")
                self.answer()

            def answer(self) -> None:
                data = b'{"response": {"sessionkey": "Ses/Key="}}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.httpd.server_address[1]}/client/api"


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    thread = threading.Thread(target=recorder.httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield recorder
    recorder.httpd.shutdown()
    recorder.httpd.server_close()
    thread.join(60)


def test_the_bytes_of_every_call_stay_as_they_are(recorder: Recorder) -> None:
    for algorithm in SignatureAlgorithm:
        for method in ("post", "get"):
            server = MoldServer("lab", recorder.endpoint, KEY, algorithm=algorithm)
            client = Mold(server, clock=VirtualClock(), read_method=method)
            for title, (command, params) in CALLS.items():
                recorder.lines.append(f"-- {title}, {algorithm}, {method}")
                client.call(command, **params)
            client.close()
    client = Mold(
        MoldServer("lab", recorder.endpoint, Login("kim", "p w&1", "/sales")), clock=VirtualClock()
    )
    recorder.lines.append("-- a session")
    client.call("listZones", available=True)
    client.close()
    check_golden("queries.txt", recorder.lines)
