"""A site without Internet: serving and pushing need nothing but loopback."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.debian_registry import installed
from tests.site.isos import PAUSE, image, iso

_INSIDE = """
import fcntl, socket, struct, subprocess, sys, json
from pathlib import Path
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH", b"lo", 0x41))  # SIOCSIFFLAGS: lo is up
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError as error:
    assert error.errno == 101, error  # ENETUNREACH: nothing but loopback
from tests.fakes.debian_registry import docker_registry
folder = Path(sys.argv[1])
command = [sys.executable, "-m", "isobuilder", "site"]
serve = [*command, "serve", folder / "x.iso", "--listen", "127.0.0.1:0"]
with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as served:
    address = served.stdout.readline().strip()
    from urllib.request import urlopen
    assert json.load(urlopen(f"{address}/site.json"))["isos"][0]["name"] == "x.iso"
    served.terminate()
with docker_registry(folder, login=False) as registry:
    subprocess.run([*command, "push", folder / "x.iso", "--registry", registry], check=True)
"""


def _may_unshare() -> bool:
    words = ["unshare", "--net", "--map-root-user", "true"]
    return bool(shutil.which("unshare")) and not subprocess.run(words, check=False).returncode


@pytest.mark.skipif(not installed(), reason="needs docker-registry")
def test_serving_and_pushing_need_no_network(tmp_path: Path) -> None:
    if not _may_unshare():
        pytest.skip("needs network namespaces")
    iso(tmp_path / "x.iso", [image(PAUSE)])
    words = ["unshare", "--net", "--map-root-user", sys.executable, "-c", _INSIDE, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "override_path = true" in done.stdout
