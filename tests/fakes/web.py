"""A web server of the test with a few files and a few bad manners."""

from __future__ import annotations

from isobuilder.http.replies import Reply, Request
from isobuilder.http.serving import Server


class Web(Server):
    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.redirect_status = 302
        self.no_length: set[str] = set()
        self.hits: list[str] = []

    def put(self, path: str, data: bytes) -> str:
        self.files[path] = data
        return self.url + path

    def answer(self, request: Request) -> Reply:
        self.hits.append(f"{request.method} {request.path}")
        if request.path in self.redirects:
            return Reply(self.redirect_status, {"Location": self.redirects[request.path]})
        if request.path not in self.files:
            return Reply(404)
        data = self.files[request.path]
        return Reply(200, {}, iter([data]) if request.path in self.no_length else data)
