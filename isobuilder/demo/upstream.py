"""Upstream on loopback: files and container images over their real protocols.

``GET /dl.k8s.io/release/...`` is a file of that host, ``/v2/registry.k8s.io/pause/...`` a
repository of that registry; ``DemoUpstream.mirrors`` is the configuration that leads there.
"""

from __future__ import annotations

from pathlib import Path

from isobuilder.demo.images import EPOCH, Image
from isobuilder.demo.registry import DemoRegistry
from isobuilder.http.replies import FilePart, Reply, Request, content_reply, etag_of
from isobuilder.http.serving import Server

_TYPES = {".yaml": "text/plain", ".txt": "text/plain", ".html": "text/html"}


class DemoUpstream(Server):
    """A file server and a registry on one port, with what was put in."""

    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.registry = DemoRegistry()
        self._files: dict[str, tuple[bytes | Path, str]] = {}

    def put_file(self, path: str, content: bytes | Path) -> str:
        """Serve ``content`` at ``/host/path`` and return the canonical address it stands for."""
        self._files["/" + path.lstrip("/")] = (content, etag_of(content))
        return "https://" + path.lstrip("/")

    def put_image(self, name: str, tag: str, image: Image) -> None:
        """Serve ``image`` as ``name:tag``, where ``name`` begins with the registry's host."""
        self.registry.put_image(name, tag, image)

    @property
    def mirrors(self) -> dict[str, tuple[str, ...]]:
        """The ``mirrors`` setting under which everything in here is found."""
        hosts = {path.split("/")[1] for path in self._files}
        registries = {name.partition("/")[0] for name in self.registry.repositories}
        places = {f"https://{host}": host for host in sorted(hosts)}
        places |= {name: name for name in sorted(registries)}
        return {origin: (f"{self.url}/{place}",) for origin, place in places.items()}

    def answer(self, request: Request) -> Reply:
        """See ``Server``."""
        if request.path == "/v2" or request.path.startswith("/v2/"):
            return self.registry.answer(request)
        found = self._files.get(request.path)
        if found is None:
            return super().answer(request)
        content, etag = found
        kind = _TYPES.get(Path(request.path).suffix, "application/octet-stream")
        part = FilePart.whole(content) if isinstance(content, Path) else content
        return content_reply(request, part, etag=etag, modified=EPOCH, content_type=kind)
