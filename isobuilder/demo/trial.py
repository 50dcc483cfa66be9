"""The registration of a finished ISO, tried on a simulator from check to Ready."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from isobuilder.demo.mold import Cloud, Simulator, Timing
from isobuilder.demo.upstream import DemoUpstream
from isobuilder.errors import MoldError
from isobuilder.http.client import Http
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, MoldServer
from isobuilder.mold.catalogue import read_registration
from isobuilder.mold.check import check
from isobuilder.mold.checklist import Line, Question
from isobuilder.mold.manage import list_entries
from isobuilder.mold.register import register
from isobuilder.mold.registered import RegisteredVersion
from isobuilder.mold.request import RegistrationRequest, ZoneResult
from isobuilder.progress import SILENT, Progress

ZONES = ("Seoul", "Busan")
_PACE = Timing(allocated=0.1, downloading=0.2, installing=0.1, job=0.1)


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

    The ISO is served on the loopback interface meanwhile; nothing is left behind.

    Raises:
        MoldError: it did not become Ready.
        InputError: the ISO has no side files.
    """
    registration, _file = read_registration(iso)
    with (
        Simulator(Cloud(zones=ZONES, pace=_PACE)) as simulator,
        DemoUpstream() as web,
        tempfile.TemporaryDirectory(prefix="isobuilder-mold-") as folder,
        Http(netrc=False) as http,
    ):
        user = simulator.admin
        server = MoldServer(
            "simulator",
            simulator.endpoint,
            ApiKey(user.key, user.secret),
            origin="the simulator",
        )
        mold = Mold(server)
        web.put_file(registration.filename, iso)
        url = f"{web.url}/{registration.filename}"
        state = Path(folder)
        try:
            question = Question(registration=registration, url=url, download=True)
            lines = check(mold, question, http=http, progress=progress)
            wish = RegistrationRequest(registration, url=url, poll=0.1)
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
            mold.close()
