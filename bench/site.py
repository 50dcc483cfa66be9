"""What a site costs beside nginx, skopeo and tar, in one run: ``python -m bench.site``.

nginx serves the extracted blobs, ``isobuilder site serve`` the closed ISO; curl is the client of
both. skopeo copies an extracted OCI layout into Debian's docker-registry, ``isobuilder site push``
the closed ISO into an empty one. Processor time is the server's, or the pushing client's. Exports
and parity are measured by ``bench.carry``. Runs are paired: each ratio is of one round. The last
table has every goal.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
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
from tests.fakes.debian_registry import docker_registry
from tests.site.isos import Stored, archive, archive_files, image

_MOST = {"1 client": 1.2, "50 clients": 1.8, "1 client, TLS": 1.1}
"""What the processor time of a GB may be of nginx's."""

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
    stored = image(_NAME, *(source.randbytes(mib << 20) for _ in range(8)))
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
        cases: dict[str, tuple[Callable[[], Served], Callable[[], Served]]] = {}
        for title, clients, times in (("1 client", 1, 2), ("50 clients", 50, 4)):
            cases[title] = (
                partial(_fetched, nginx, plain, nginx_paths, clients, times, work),
                partial(_fetched, ours, at, our_paths, clients, times, work),
            )
        cases["1 client, TLS"] = (
            partial(_fetched, nginx, tls, nginx_paths, 1, 2, work),
            partial(_fetched, secure, secure_at, our_paths, 1, 2, work),
        )
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
            yield (f"serve / nginx, CPU, {title}", _MOST[title], ratio)
            if title == "50 clients":
                slower = median(a.speed / b.speed for a, b in pairs)
                yield (f"nginx's MB/s / ours, {title}", 1.0, slower)
        yield page.table(rows)
        memory = f"{_pss(ours):.0f} MiB (nginx: {_pss(nginx):.0f} MiB)"
        yield f"\nMemory of the server after it: {memory}.\n"


def _fetched(
    pids: Callable[[], list[int]],
    address: str,
    paths: Sequence[str],
    clients: int,
    times: int,
    work: Work,
) -> Served:
    urls = [f"{address}{path}" for _ in range(times) for path in paths] * (1 if clients == 1 else 2)
    config = "\n".join(f'url = "{url}"\noutput = "/dev/null"' for url in urls)
    parallel = ["-Z", "--parallel-immediate", "--parallel-max", str(clients)] if clients > 1 else []
    before, began = _cpu(pids()), time.monotonic()
    subprocess.run(
        ["curl", "-sfk", "--no-progress-meter", *parallel, "-K", "-"],
        input=config.encode(),
        check=True,
    )
    took = time.monotonic() - began
    size = work.size * len(urls) / len(paths)
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


def _pushing(work: Work, rounds: int) -> Iterator[str | Goal]:
    rows: list[Sequence[str]] = [
        ("Push", "skopeo, wall s", "ours, wall s", "ratio", "skopeo, CPU s/GB", "ours, CPU s/GB")
    ]
    first, again = [], []
    sent = 0
    for number in range(rounds):
        say(f"push, round {number + 1}")
        pair = []
        for who in ("skopeo", "isobuilder"):
            folder = work.folder / f"registry-{who}-{number}"
            folder.mkdir()
            with docker_registry(folder, login=False) as address:
                host = address.removeprefix("http://")
                words = {
                    "skopeo": [
                        "skopeo",
                        "--insecure-policy",
                        "copy",
                        "--dest-tls-verify=false",
                        "-q",
                        f"oci:{work.layout}:{_NAME}",
                        f"docker://{host}/x:1",
                    ],
                    "isobuilder": [
                        *_PRODUCT,
                        "push",
                        str(work.iso),
                        "--registry",
                        address,
                        "--json",
                    ],
                }[who]
                pair.append((_run(words), _run(words)))
                if who == "isobuilder":  # a third time, which is not measured
                    done = subprocess.run(words, check=True, capture_output=True)
                    sent = max(sent, json.loads(done.stdout)["blobs"]["sent"])
            shutil.rmtree(folder)
        first.append([one[0] for one in pair])
        again.append([one[1] for one in pair])
    for title, found in (("first time", first), ("second time", again)):
        walls, cpus = ([[run[i] for run in pair] for pair in found] for i in (0, 1))
        rows.append(
            (
                title,
                *(f"{median(w[i] for w in walls):.2f}" for i in (0, 1)),
                f"{median(w[1] / w[0] for w in walls):.2f}",
                *(f"{median(c[i] for c in cpus) / work.size:.2f}" for i in (0, 1)),
            )
        )
    yield page.table(rows)
    yield "\nProcessor time of ours has the start of the program in it, which is most of it.\n"
    sending = median(a[1][1] - b[1][1] for a, b in zip(first, again, strict=True)) / work.size
    yield ("push: CPU s a GB, beyond a run that sends nothing", 0.2, sending)
    yield ("push / skopeo, CPU", 1 / 25, median(run[1][1] / run[0][1] for run in first))
    yield ("push / skopeo, wall", 0.5, median(run[1][0] / run[0][0] for run in first))
    yield ("push again: blobs that are sent", 0, sent)


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
            children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
            yield (
                lambda: [int(pid) for pid in children.read_text().split()],
                f"http://127.0.0.1:{port}",
                f"https://127.0.0.1:{tls}",
            )
        finally:
            child.terminate()


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
