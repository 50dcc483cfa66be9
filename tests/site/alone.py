"""Runs commands where nothing but loopback can be reached; started by a test in a namespace.

Where there are no namespaces, an audit hook refuses any other address, in this process.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from isobuilder.cli.main import main as isobuilder
from isobuilder.demo.mold import Cloud, CloudUser
from tests.fakes.mold import FakeMold
from tests.fakes.upstream import FakeUpstream
from tests.mold.messes import add_directly

_UP = 0x8914  # SIOCSIFFLAGS
_UNSHARE = ["unshare", "--net", "--map-root-user"]


def run_alone(
    commands: Sequence[Sequence[str | Path]], home: Path
) -> subprocess.CompletedProcess[str]:
    """Run commands one after the other until one fails; ``REGISTRY`` in them is a registry."""
    words = [[str(word) for word in command] for command in commands]
    argv = [sys.executable, "-m", "tests.site.alone", json.dumps(words), str(home)]
    can = shutil.which("unshare") and not subprocess.call([*_UNSHARE, "true"], stderr=-3)
    own = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home)}
    return subprocess.run(
        [*_UNSHARE, *argv] if can else argv,
        env={**os.environ, **own, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[-1]
        if isinstance(address, tuple) and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise SystemExit(f"{event} {address}")


def _be_alone() -> None:
    with suppress(OSError), socket.socket() as any_socket:  # without a namespace lo is up already
        fcntl.ioctl(any_socket, _UP, struct.pack("16sH", b"lo", 0x41))
    sys.addaudithook(_refuse)


def _run(words: Sequence[str]) -> None:
    if words[:2] == ["site", "serve"]:
        _serve(words)
        return
    try:
        isobuilder(list(words))
    except SystemExit as end:
        if end.code:
            raise SystemExit(f"{' '.join(words)}: exit {end.code}") from end


def _serve(words: Sequence[str]) -> None:
    """Start a server, ask it for all that it has, and end it."""
    argv = [sys.executable, "-m", "isobuilder", *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as served:
        address = (served.stdout.readline() if served.stdout else "").strip()
        with urlopen(f"{address}/site.json") as answer:
            isos = json.load(answer)["isos"]
        for one in isos:
            with urlopen(f"{address}/isos/{one['name']}.sha256") as answer:
                print(answer.read().decode())
        served.terminate()


def _settings(home: Path, endpoint: str) -> Mapping[str, str]:
    path = home / "config.yaml"
    path.write_text(json.dumps({"mold": {"lab": {"endpoint": endpoint}}}))
    return {
        "ISOBUILDER_CONFIG": str(path),
        "ISOBUILDER_MOLD_API_KEY": "Ak-lab-0123456789",
        "ISOBUILDER_MOLD_SECRET_KEY": "Sk-lab-9876543210",
    }


def main() -> None:
    """Run the commands of the first argument, with a Mold and a registry on loopback."""
    commands, home = json.loads(sys.argv[1]), Path(sys.argv[2])
    _be_alone()
    cloud = Cloud()
    cloud.users = [CloudUser("admin", "Ak-lab-0123456789", "Sk-lab-9876543210", "password")]
    add_directly(cloud, "1.33.9")
    with FakeMold(cloud) as mold, FakeUpstream() as registry:
        os.environ.update(_settings(home, mold.endpoint))
        for words in commands:
            _run([word.replace("REGISTRY", registry.url) for word in words])


if __name__ == "__main__":
    main()
