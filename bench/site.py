"""What a site costs beside nginx, skopeo and tar, in one run: ``python -m bench.site``.

nginx serves the extracted blobs, ``isobuilder site serve`` the closed ISO; wrk and curl are the
clients of both. skopeo copies an extracted OCI layout into Debian's docker-registry, ``isobuilder
site push`` the closed ISO into an empty one, whose storage is memory where there is some. Layers
are gzip, as registries serve them: others would be packed by skopeo. Processor time is the
server's, or the pushing client's. Exports and parity are measured by ``bench.carry``. Runs are
paired: each ratio is of one round. The last table has every goal.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench import page, section
from bench.carry import Goal, carrying, judged, keeping
from bench.ground import say
from bench.measure import BenchError
from isobuilder.digest import Digest
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import write_iso
from isobuilder.site.holding import held_by
from tests.fakes.debian_registry import docker_registry
from tests.site.isos import Stored, archive, archive_files, image

_MOST = {"wrk, 1 connection": 1.2, "wrk, 50 connections": 1.8, "curl, TLS": 1.1}
"""What the processor time of a GB may be of nginx's."""

_SECONDS = 4  # that wrk asks

_NAME = "registry.example/bench:1"
_TICKS = os.sysconf("SC_CLK_TCK")
_NGINX = """
worker_processes 2; pid {folder}/pid; error_log {folder}/error; daemon off;
events {{}}
http {{
  access_log off; sendfile on; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; listen 127.0.0.1:{tls} ssl; root {root};
    ssl_certificate {cert}; ssl_certificate_key {cert}; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Work:
    """The same blobs as an ISO, as files and as an OCI layout."""

    folder: Path
    iso: Path
    layout: Path
    stored: Stored
    certificate: Path

    @property
    def size(self) -> float:
        """Gigabytes of all blobs."""
        return sum(map(len, self.stored.blobs)) / 1e9


@dataclass(frozen=True, slots=True)
class Served:
    """A server's own processor time and its speed, for so much."""

    cpu: float  # seconds a GB
    speed: float  # MB a second


def main() -> int:
    """Return the exit code: 0 when everything could be measured."""
    parser = section.parser("bench.site", __doc__, space="4 GB")
    parser.add_argument("--mib", type=int, default=128, help="of each of eight blobs (default 128)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    return section.measured(
        page.SITE, options, lambda folder: _measured(_made(folder, options.mib), options.rounds)
    )


def _measured(work: Work, rounds: int) -> str:
    found = [
        *_serving(work, rounds),
        *_start(work),
        *_pushing(work, rounds),
        *carrying(work.folder, work.stored.blobs[1:], rounds),
        *keeping(work.folder, work.iso, rounds),
    ]
    lines = [one for one in found if isinstance(one, str)]
    goals = [one for one in found if not isinstance(one, str)]
    return "\n".join([*lines, "", judged(goals)])


def _made(folder: Path, mib: int) -> Work:
    say("blobs, ISO, files, layout")
    source = random.Random(0)
    layers = (gzip.compress(source.randbytes(mib << 20), 0, mtime=0) for _ in range(8))
    stored = image(_NAME, *layers)
    entries = [IsoEntry(f"docker/{stored.digest.hex}.tar", 0o644, (archive(stored),))]
    iso = write_iso(entries, folder / "one.iso", label="CDROM", epoch=0).path
    layout = folder / "layout"
    for path, data in archive_files(stored).items():
        (layout / path).parent.mkdir(parents=True, exist_ok=True)
        (layout / path).write_bytes(data)
    certificate = folder / "both.pem"
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x"
    )
    _run([*words.split(), "-keyout", str(certificate), "-out", str(folder / "crt")])
    certificate.write_bytes(certificate.read_bytes() + (folder / "crt").read_bytes())
    return Work(folder, iso, layout, stored, certificate)


def _serving(work: Work, rounds: int) -> Iterator[str | Goal]:
    names = [Digest.of(blob) for blob in work.stored.blobs[1:]]
    nginx_paths = [f"/blobs/sha256/{name.hex}" for name in names]
    our_paths = [f"/v2/registry.example/bench/blobs/{name}" for name in names]
    with (
        _nginx(work) as (nginx, plain, tls),
        _ours(work) as (ours, at),
        _ours(work, "--tls-cert", str(work.certificate)) as (secure, secure_at),
    ):
        cases: dict[str, list[Callable[[], Served]]] = {}
        for title, clients in (("wrk, 1 connection", 1), ("wrk, 50 connections", 50)):
            cases[title] = [
                partial(_asked, nginx, plain, nginx_paths, clients, work),
                partial(_asked, ours, at, our_paths, clients, work),
            ]
        cases["50 curls"] = [
            partial(_fetched, nginx, plain, nginx_paths, 50, 2, work),
            partial(_fetched, ours, at, our_paths, 50, 2, work),
        ]
        cases["curl, TLS"] = [
            partial(_fetched, nginx, tls, nginx_paths, 1, 16, work),
            partial(_fetched, secure, secure_at, our_paths, 1, 16, work),
        ]
        rows: list[Sequence[str]] = [
            ("Blobs", "nginx, CPU s/GB", "ours, CPU s/GB", "ratio", "nginx, MB/s", "ours, MB/s")
        ]
        for title, (serving, mine) in cases.items():
            say(title)
            pairs = [(serving(), mine()) for _ in range(rounds)]
            ratio = median(b.cpu / a.cpu for a, b in pairs)
            rows.append(
                (
                    title,
                    *(f"{median(p[i].cpu for p in pairs):.2f}" for i in (0, 1)),
                    f"{ratio:.2f}",
                    *(f"{median(p[i].speed for p in pairs):.0f}" for i in (0, 1)),
                )
            )
            if title in _MOST:
                yield (f"serve / nginx, CPU, {title}", _MOST[title], ratio)
            if "50" in title:
                slower = median(a.speed / b.speed for a, b in pairs)
                yield (f"nginx's MB/s / ours, {title}", 1.0, slower)
        yield page.table(rows)
        say("nginx, out of the ISO")
        places = _parts(work)
        parts = [_fetched(nginx, plain, places, 50, 2, work) for _ in range(rounds)]
        yield (
            "\nEach curl is a process, and all of them together have what is left. nginx itself, "
            "when 50 curls ask it for the same bytes as ranges of the ISO, where no blob begins "
            f"with a page of memory: {median(part.speed for part in parts):.0f} MB/s.\n"
        )
        memory = f"{_pss(ours):.0f} MiB (nginx: {_pss(nginx):.0f} MiB)"
        yield f"\nMemory of the server after it: {memory}.\n"


def _parts(work: Work) -> list[str]:
    """Return what gives each layer out of the whole ISO, as a path with a range behind it."""
    served = work.layout / work.iso.name
    served.hardlink_to(work.iso)
    [manifest] = held_by(work.iso).entries[0].manifests.values()
    places = [manifest.blobs[Digest.of(blob)] for blob in work.stored.blobs[1:]]
    return [f"/{served.name}#{part.start}-{part.start + part.size - 1}" for part in places]


def _asked(
    pids: Callable[[], list[int]], address: str, paths: Sequence[str], clients: int, work: Work
) -> Served:
    """Let one process keep so many connections busy, each with one path after the other."""
    script = work.folder / "turns.lua"
    listed = ",".join(f"'{path}'" for path in paths)
    script.write_text(
        f"local paths, turn = {{{listed}}}, 0\n"
        "request = function() turn = turn + 1; "
        "return wrk.format('GET', paths[turn % #paths + 1]) end\n"
        "done = function(all) io.write(all.bytes, ' ', all.duration / 1e6, ' ', "
        "all.errors.status + all.errors.read + all.errors.connect) end\n"
    )
    words = ["wrk", "-t1", f"-c{clients}", f"-d{_SECONDS}", "-s", str(script), address]
    before = _cpu(pids())
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    size, took, errors = said.splitlines()[-1].split()
    if errors != "0":
        raise BenchError(f"wrk: {said}")
    return Served((_cpu(pids()) - before) / float(size) * 1e9, float(size) / 1e6 / float(took))


def _fetched(
    pids: Callable[[], list[int]],
    address: str,
    paths: Sequence[str],
    clients: int,
    times: int,
    work: Work,
) -> Served:
    before, began = _cpu(pids()), time.monotonic()
    children = []
    for number in range(clients):
        words = ["curl"]
        for turn in range(times):  # each begins with another one
            path, _, part = paths[(number + turn) % len(paths)].partition("#")
            words += ["-sfk", "--no-progress-meter", *(["-r", part] if part else [])]
            words += [f"{address}{path}", "-o", "/dev/null", "--next"]
        children.append(subprocess.Popen(words[:-1]))
    if sum(child.wait() != 0 for child in children):
        raise BenchError("a client did not get everything")
    took = time.monotonic() - began
    size = work.size * clients * times / len(paths)
    return Served((_cpu(pids()) - before) / size, size * 1000 / took)


def _start(work: Work) -> Iterator[str | Goal]:
    say("start with twenty ISOs")
    folder = work.folder / "twenty"
    folder.mkdir()
    for number in range(20):
        stored = [image(f"registry.example/{number}/{part}:1") for part in range(30)]
        entries = [
            IsoEntry(f"docker/{one.digest.hex}.tar", 0o644, (archive(one),)) for one in stored
        ]
        entries += [IsoEntry(f"files/{n}", 0o644, (b"x",)) for n in range(300)]
        write_iso(entries, folder / f"{number}.iso", label="CDROM", epoch=0)
    found = []
    for _ in range(3):
        began = time.monotonic()
        with _ours(work, place=folder) as (pids, address):
            subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{address}/healthz"], check=True)
            found.append((time.monotonic() - began, _pss(pids)))
    seconds, memory = (median(one[i] for one in found) for i in (0, 1))
    yield (
        f"Twenty ISOs of 330 files and 30 images each: first byte {seconds:.2f} s after the start "
        f"of the program, {memory:.0f} MiB.\n"
    )
    yield ("twenty ISOs: first byte, s", 0.6, seconds)
    yield ("twenty ISOs: MiB", 40, memory)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a program took to fill an empty registry, and when all was there: wall, processor s."""

    first: tuple[float, float]
    again: tuple[float, float]
    registry: float  # processor seconds that the registry took for the first
    sent: int = 0  # blobs, when all was there

    @property
    def sending(self) -> float:
        """Processor seconds without its start and without asking what is there."""
        return self.first[1] - self.again[1]


def _pushing(work: Work, rounds: int) -> Iterator[str | Goal]:
    pairs = []
    for number in range(rounds):
        say(f"push, round {number + 1}")
        pairs.append([_pushed(work, who) for who in ("skopeo", "isobuilder")])
    size = work.size
    rows: list[Sequence[str]] = [
        ("Push", "skopeo, wall s", "ours, wall s", "ratio", "skopeo, CPU s/GB", "ours, CPU s/GB")
    ]
    for title, runs in (
        ("first time", [[one.first for one in pair] for pair in pairs]),
        ("second time", [[one.again for one in pair] for pair in pairs]),
    ):
        walls = [f"{median(run[i][0] for run in runs):.2f}" for i in (0, 1)]
        ratio = median(run[1][0] / run[0][0] for run in runs)
        cpus = [f"{median(run[i][1] for run in runs) / size:.2f}" for i in (0, 1)]
        rows.append((title, *walls, f"{ratio:.2f}", *cpus))
    theirs, ours = (median(pair[i].sending for pair in pairs) / size for i in (0, 1))
    rows.append(("first less second", "", "", "", f"{theirs:.2f}", f"{ours:.2f}"))
    yield page.table(rows)
    start = median(pair[1].again[1] for pair in pairs)
    large = "for no size"
    if theirs > 25 * ours:
        large = f"from {start / (theirs / 25 - ours):.1f} GB on"
    yield (
        f"\nLayers are gzip, which skopeo copies as they are. Starting and asking take ours "
        f"{start:.2f} CPU s: with them it is below 1/25 of skopeo's {large}. SHA-256 of these "
        f"layers alone takes {_hashing(work):.2f} CPU s/GB with OpenSSL: ours leaves it to the "
        "registry, which proves each digest, and asks for each blob afterwards. One sendfile of "
        f"as much over loopback, and nothing else, takes {_sending(work):.2f} CPU s/GB here.\n"
    )
    others, own = (median(pair[i].registry for pair in pairs) / size for i in (0, 1))
    yield (
        f"The registry itself takes {own:.1f} CPU s/GB while ours pushes and {others:.1f} while "
        f"skopeo does: on {os.cpu_count()} processors ours cannot be done before "
        f"{start + own * size / (os.cpu_count() or 1):.1f} s.\n"
    )
    yield ("push: CPU s a GB, beyond a run that sends nothing", 0.2, ours)
    ratio = median(pair[1].sending / pair[0].sending for pair in pairs)
    yield ("push / skopeo, CPU, beyond runs that send nothing", 1 / 25, ratio)
    ratio = median(pair[1].first[1] / pair[0].first[1] for pair in pairs)
    yield (f"push / skopeo, CPU, with the start of both, {size:.1f} GB", 1 / 25, ratio)
    ratio = median(pair[1].first[0] / pair[0].first[0] for pair in pairs)
    yield ("push / skopeo, wall", 0.5, ratio)
    yield ("push again: blobs that are sent", 0, max(pair[1].sent for pair in pairs))


def _pushed(work: Work, who: str) -> Pushed:
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else work.folder) as folder,
        docker_registry(Path(folder), login=False) as address,
    ):
        host = address.removeprefix("http://")
        words = [*_PRODUCT, "push", str(work.iso), "--registry", address, "--json"]
        if who == "skopeo":
            words = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "-q"]
            words += [f"oci:{work.layout}:{_NAME}", f"docker://{host}/x:1"]
        registry = _children(os.getpid())
        before = _cpu(registry)
        first = _run(words)
        taken = _cpu(registry) - before
        again = [_run(words) for _ in range(3)]
        sent = 0
        if who != "skopeo":  # once more, which is not measured
            done = subprocess.run(words, check=True, capture_output=True)
            sent = json.loads(done.stdout)["blobs"]["sent"]
    quick = median(wall for wall, _ in again), median(cpu for _, cpu in again)
    return Pushed(first, quick, taken, sent)


def _hashing(work: Work) -> float:
    """Return what OpenSSL needs for a SHA-256 of a GB here, in processor seconds."""
    blob = work.stored.blobs[-1]
    began = time.process_time()
    Digest.of(blob)
    return (time.process_time() - began) / len(blob) * 1e9


def _sending(work: Work) -> float:
    """Return what the kernel needs to send a GB to a reader here, in processor seconds."""

    def read(server: socket.socket) -> None:
        client, _ = server.accept()
        buffer = bytearray(1 << 18)
        with client:
            while client.recv_into(buffer):
                pass

    found = []
    for _ in range(3):
        with socket.create_server(("127.0.0.1", 0)) as server, work.iso.open("rb") as file:
            reader = threading.Thread(target=read, args=(server,))
            reader.start()
            with socket.create_connection(server.getsockname()) as sender:
                begun, sent = time.thread_time(), 0
                while count := os.sendfile(sender.fileno(), file.fileno(), sent, 1 << 30):
                    sent += count
                found.append((time.thread_time() - begun) / sent * 1e9)
            reader.join()
    return median(found)


_PRODUCT = [sys.executable, "-m", "isobuilder", "site"]


@contextmanager
def _ours(
    work: Work, *more: str, place: Path | None = None
) -> Iterator[tuple[Callable[[], list[int]], str]]:
    words = [*_PRODUCT, "serve", str(place or work.iso), "--listen", "127.0.0.1:0", *more]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        address = (child.stdout.readline() if child.stdout else "").strip()
        if not address:
            raise BenchError("isobuilder site serve did not start")
        try:
            yield (lambda: [child.pid]), address
        finally:
            child.terminate()


@contextmanager
def _nginx(work: Work) -> Iterator[tuple[Callable[[], list[int]], str, str]]:
    folder = work.folder / "nginx"
    folder.mkdir()
    port, tls = 15080, 15443
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(folder=folder, port=port, tls=tls, root=work.layout, cert=work.certificate)
    )
    for path in (work.folder, work.layout):
        path.chmod(0o755)
    with subprocess.Popen(["nginx", "-c", config], stderr=subprocess.DEVNULL) as child:
        try:
            time.sleep(1)
            if child.poll() is not None:
                raise BenchError((folder / "error").read_text())
            yield (
                lambda: _children(child.pid),
                f"http://127.0.0.1:{port}",
                f"https://127.0.0.1:{tls}",
            )
        finally:
            child.terminate()


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu(pids: Sequence[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _pss(pids: Callable[[], list[int]]) -> float:
    total = 0
    for pid in pids():
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _run(words: Sequence[str]) -> tuple[float, float]:
    """Run a command and return its wall and processor seconds."""
    began = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        said = child.stderr.read() if child.stderr else b""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise BenchError(
            f"{words[0]}: exit {child.returncode}: {said[-300:].decode(errors='replace')}"
        )
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
