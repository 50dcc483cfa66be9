"""The registration of a finished ISO, tried on a simulator from check to Ready."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from isobuilder.demo.mold import Cloud, Pace, Simulator
from isobuilder.errors import MoldError
from isobuilder.http import Http
from isobuilder.mold.api.client import MoldClient
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, Server
from isobuilder.mold.catalogue import read_registration
from isobuilder.mold.check import check
from isobuilder.mold.checklist import Line, Question
from isobuilder.mold.manage import list_entries
from isobuilder.mold.register import register
from isobuilder.mold.registered import RegisteredVersion
from isobuilder.mold.request import Request, ZoneResult
from isobuilder.progress import SILENT, Progress

ZONES = ("Seoul", "Busan")
_PACE = Pace(allocated=0.1, downloading=0.2, installing=0.1, job=0.1)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What happened on the simulator."""

    lines: tuple[Line, ...]  # of the check
    zones: tuple[ZoneResult, ...]
    entries: tuple[RegisteredVersion, ...]  # what is registered in the end
    changes_at_first: int  # calls that changed something, in the first run and in the second
    changes_again: int


def rehearse(iso: Path, *, progress: Progress = SILENT) -> Rehearsal:
    """Check, register and list a finished ISO on a simulator of Mold, and register it again.

    The ISO is served from its folder on the loopback interface meanwhile; nothing is left behind.

    Raises:
        MoldError: it did not become Ready.
        InputError: the ISO has no side files.
    """
    registration, _file = read_registration(iso)
    with (
        Simulator(Cloud(zones=ZONES, pace=_PACE)) as simulator,
        _served(iso.parent) as base,
        tempfile.TemporaryDirectory(prefix="isobuilder-mold-") as folder,
        Http(netrc=False) as http,
    ):
        user = simulator.admin
        server = Server(
            "simulator", simulator.endpoint, ApiKey(user.key, user.secret), origin="the simulator"
        )
        client = MoldClient(server)
        url = f"{base}/{registration.filename}"
        state = Path(folder)
        try:
            mold = Mold(client)
            question = Question(registration=registration, url=url, download=True)
            lines = check(mold, question, http=http, progress=progress)
            wish = Request(registration, url=url, poll=0.1)
            [first] = register([mold], wish, state=state, progress=progress)
            changes = len(simulator.writes())
            [second] = register([mold], wish, state=state)
            for result in (first, second):
                if result.error is not None:
                    raise result.error
                if not result.ok:
                    texts = "; ".join(f"{zone.zone}: {zone.text}" for zone in result.zones)
                    raise MoldError(f"the simulator did not get the ISO Ready: {texts}")
            return Rehearsal(
                tuple(lines),
                tuple(second.zones),
                tuple(list_entries(mold)),
                changes,
                len(simulator.writes()) - changes,
            )
        finally:
            client.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Say nothing."""


class _Httpd(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a check that has seen enough hangs up."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on loopback and give its address."""
    httpd = _Httpd(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=lambda: httpd.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join(5)
