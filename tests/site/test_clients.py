"""Fifty clients at once on one ISO get every byte right, and nothing is written."""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench import page
from isobuilder.digest import Digest
from tests.site.isos import image, iso

SECONDS = float(os.environ.get("ISOBUILDER_CLIENT_SECONDS", "1"))
"""How long clients go on asking."""

MIB = int(os.environ.get("ISOBUILDER_CLIENT_MIB", "16"))
"""Size of the ISO."""

CLIENTS = 50
_REPOSITORY = "registry.example/bench"


@dataclass(slots=True)
class Client:
    """Asks for things by chance until its time is over, and looks at every byte."""

    address: str
    iso: Path
    digest: Digest  # of the ISO
    images: list[tuple[Digest, list[Digest]]]  # manifests, and blobs of each
    chance: random.Random
    asked: int = 0
    received: int = 0  # bytes
    wrong: list[str] = field(default_factory=list)

    def go_on(self, end: float) -> None:
        with closing(http.client.HTTPConnection(self.address, timeout=120)) as connection:
            while not self.asked or time.monotonic() < end:
                self._ask(connection)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        manifest, blobs = self.chance.choice(self.images)
        size = self.iso.stat().st_size
        match self.chance.randrange(10):
            case 0:
                self._get(connection, f"/isos/{self.iso.name}", self.digest)
            case 1 | 2 | 3:
                first = self.chance.randrange(size)
                last = min(size, first + self.chance.randrange(1, 1 << 22)) - 1
                with self.iso.open("rb") as file:
                    file.seek(first)
                    wanted = Digest.of(file.read(last + 1 - first))
                asked = {"Range": f"bytes={first}-{last}"}
                self._get(connection, f"/isos/{self.iso.name}", wanted, asked, 206)
            case 4 | 5:
                self._get(connection, f"/v2/{_REPOSITORY}/manifests/{manifest}", manifest)
            case _:
                blob = self.chance.choice(blobs)
                self._get(connection, f"/v2/{_REPOSITORY}/blobs/{blob}", blob)

    def _get(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        wanted: Digest,
        headers: dict[str, str] | None = None,
        status: int = 200,
    ) -> None:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        hasher, buffer = hashlib.sha256(), memoryview(bytearray(1 << 18))
        while count := answer.readinto(buffer):
            hasher.update(buffer[:count])
            self.received += count
        self.asked += 1
        if (answer.status, f"sha256:{hasher.hexdigest()}") != (status, wanted):
            self.wrong.append(f"{path} {headers}: {answer.status}")


def test_fifty_clients_get_every_byte_right_and_no_file_is_written(tmp_path: Path) -> None:
    chance = random.Random(5)
    layers = [chance.randbytes(max(1, MIB // 8) << 20) for _ in range(8)]
    images = [
        image(f"{_REPOSITORY}:{n}", *layers[n * 2 : n * 2 + 2], b"small %d" % n) for n in range(4)
    ]
    (tmp_path / "isos").mkdir()
    path = iso(tmp_path / "isos" / "one.iso", *([one] for one in images))
    digest = Digest.of_file(path)
    there = [(one.digest, [Digest.of(blob) for blob in one.blobs]) for one in images]
    layers.clear()
    images.clear()
    own = tmp_path / "own"
    for name in ("home", "tmp", "work"):
        (own / name).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    words = [sys.executable, "-m", "isobuilder", "site", "serve", str(path)]
    places = {"HOME": own / "home", "TMPDIR": own / "tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, **{n: str(v) for n, v in places.items()}, "PYTHONPATH": root}
    with subprocess.Popen(
        [*words, "--listen", "127.0.0.1:0"],
        cwd=own / "work",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a file of the tests would be one that is written
        text=True,
    ) as served:
        try:
            address = urlsplit((served.stdout.readline() if served.stdout else "").strip()).netloc
            cpu, began = _cpu(served.pid), time.monotonic()
            clients = [
                Client(address, path, digest, there, random.Random(n)) for n in range(CLIENTS)
            ]
            with ThreadPoolExecutor(CLIENTS) as pool:
                end = began + SECONDS
                assert not list(filter(None, pool.map(lambda one: one.go_on(end), clients)))
            took, used = time.monotonic() - began, _cpu(served.pid) - cpu
            memory = Path(f"/proc/{served.pid}/status").read_text()
            written = Path(f"/proc/{served.pid}/io").read_text()
        finally:
            served.terminate()
    assert [fact for client in clients for fact in client.wrong] == []
    assert "write_bytes: 0\n" in written
    assert sorted(tmp_path.rglob("*")) == before
    gigabytes = sum(client.received for client in clients) / 1e9
    peak = next(line.split()[1] for line in memory.splitlines() if line.startswith("VmHWM"))
    told = (
        f"{CLIENTS} clients, {took:.0f} s, ISO of {path.stat().st_size / 1e9:.2f} GB: "
        f"{sum(client.asked for client in clients)} answers, {gigabytes:.1f} GB, "
        f"{gigabytes * 1000 / took:.0f} MB/s with the clients' hashing on the same machine, "
        f"server {used / gigabytes:.2f} CPU s/GB and at most {int(peak) // 1024} MiB; "
        "nothing wrong, and no file written."
    )
    print(f"\n{told}")
    if results := os.environ.get(page.VARIABLE):
        load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        text = f"{told}\n\n{os.cpu_count()} processors, load at the end {load}."
        page.update(Path(results), page.CLIENTS, lambda _old: text)
    shutil.rmtree(tmp_path / "isos")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
