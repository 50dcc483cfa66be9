"""The lab's upstream: files and images of a Kubernetes release, served on loopback.

``python3 -m tools.lab.upstream --config lab.yaml`` serves until it is interrupted and writes the
configuration that sends isobuilder here.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tools.lab.place import LabError, lab_dir, say
from tools.lab.servers import file_server, registry

FILE_HOSTS = ("dl.k8s.io", "github.com", "raw.githubusercontent.com")
REGISTRIES = ("docker.io", "ghcr.io", "quay.io", "registry.k8s.io")


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running upstream; its ports change from start to start."""

    files: str  # http://127.0.0.1:PORT, hosts as directories below it
    registry: str  # http://127.0.0.1:PORT, registries as first part of repositories
    config_path: Path  # for isobuilder --config
    access_log: Path  # nginx's

    def config(self) -> str:
        """Return the configuration as YAML."""
        lines = ["mirrors:"]
        lines += [f'  "https://{host}": ["{self.files}/{host}"]' for host in FILE_HOSTS]
        lines += [f'  "{name}": ["{self.registry}/{name}"]' for name in REGISTRIES]
        return "\n".join(lines) + "\n"


@contextlib.contextmanager
def lab_upstream(lab: Path | None = None, *, config: Path | None = None) -> Iterator[Upstream]:
    """Serve a prepared lab for as long as the block lasts.

    Any number of these can run at once: the lab is only read.

    Raises:
        LabError: the lab is not prepared, or a server does not start.
    """
    lab = lab or lab_dir()
    if not (lab / "ready").is_file():
        raise LabError(f"{lab}: not prepared\nhint: make lab")
    peers = lab / "debian/peers"
    with (
        tempfile.TemporaryDirectory(prefix="isobuilder-lab-") as folder,
        file_server(peers, lab / "files", Path(folder)) as file_port,
        registry(peers, lab / "registry/storage", Path(folder)) as registry_port,
    ):
        upstream = Upstream(
            files=f"http://127.0.0.1:{file_port}",
            registry=f"http://127.0.0.1:{registry_port}",
            config_path=config or Path(folder) / "config.yaml",
            access_log=Path(folder) / "access.log",
        )
        upstream.config_path.write_text(upstream.config())
        yield upstream


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.lab.upstream", description=__doc__)
    parser.add_argument("--config", type=Path, help="where to write isobuilder's configuration")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with lab_upstream(config=options.config) as upstream:
            print(upstream.config_path, flush=True)
            say(f"files {upstream.files}, registry {upstream.registry}; Ctrl-C ends")
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 6
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
