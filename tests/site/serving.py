"""``isobuilder site serve`` in a process of its own, and what it answers."""

from __future__ import annotations

import http.client
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit


@contextmanager
def served(*words: str | Path, cwd: Path) -> Iterator[tuple[str, Path]]:
    """Run it in a process of its own, and yield its address and where its stderr goes."""
    said = cwd / "stderr"
    command = [sys.executable, "-m", "isobuilder", "site", "serve", "--listen", "127.0.0.1:0"]
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, *words], cwd=cwd, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address, said.read_text()
            yield address, said
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.close()
            code = process.wait(60)
        assert code == 0, said.read_text()


def get(address: str, path: str, tls: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    host = urlsplit(address).netloc
    opened = http.client.HTTPSConnection(host, context=tls) if tls else None
    with closing(opened or http.client.HTTPConnection(host, timeout=60)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
