"""versitygw, a real S3 server, started for a test on a folder."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tools.lab.place import lab_dir

ACCESS, SECRET = "isobuilder-writer", "s3cret-of-the-bucket"
BUCKET = "isos"
_BUILT = lab_dir() / "programs/versitygw/versitygw"
PROGRAM = shutil.which("versitygw") or (str(_BUILT) if _BUILT.is_file() else None)
MISSING = "versitygw, which make lab builds"


@dataclass(frozen=True)
class Versity:
    """The server: its address, the folder it shows as a bucket, and who asked for what."""

    url: str
    folder: Path
    log: Path

    def actions(self) -> list[str]:
        """Return what was asked for so far, such as GetObject."""
        text = self.log.read_text() if self.log.exists() else ""
        return re.findall(r" s3_([A-Za-z]+) ", text)


@contextmanager
def versity(folder: Path) -> Iterator[Versity]:
    """Run it with an empty bucket."""
    assert PROGRAM is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "buckets" / BUCKET).mkdir(parents=True)
    log = folder / "access.log"
    arguments: list[str | Path] = ["--port", f"127.0.0.1:{port}", "--quiet", "--access-log", log]
    env = {**os.environ, "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET}
    with (folder / "versitygw.log").open("wb") as said:
        process = subprocess.Popen(
            [PROGRAM, *arguments, "posix", folder / "buckets"], env=env, stdout=said, stderr=said
        )
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert process.poll() is None, (folder / "versitygw.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Versity(f"http://127.0.0.1:{port}", folder / "buckets" / BUCKET, log)
    finally:
        process.terminate()
        process.wait(60)


def _answers(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        with suppress(OSError):
            connection.request("GET", "/")
            return connection.getresponse().status > 0
        return False
