"""The demonstration's last step: a finished ISO on a simulator."""

from __future__ import annotations

import pytest

from isobuilder.demo.trial import ZONES, rehearse
from isobuilder.errors import InputError, MoldError
from isobuilder.mold.checklist import Level
from tests.mold.conftest import Published


def test_a_finished_iso_becomes_ready_and_again_changes_nothing(published: Published) -> None:
    done = rehearse(published.path)
    assert [line for line in done.lines if line.level is Level.PROBLEM] == []
    assert [(zone.zone, str(zone.outcome)) for zone in done.zones] == [
        (zone, "ready") for zone in ZONES
    ]
    [entry] = done.entries
    assert entry.sha256 == published.registration.checksum.removeprefix("{SHA-256}")
    assert done.changes_at_first == 1
    assert done.changes_again == 0


def test_an_iso_that_is_not_what_its_side_file_says_does_not_get_ready(
    published: Published,
) -> None:
    data = published.path.read_bytes()
    published.path.write_bytes(data[:-1] + b"!")
    with pytest.raises(MoldError, match="didn't match"):
        rehearse(published.path)


def test_an_iso_without_side_files_is_told(published: Published) -> None:
    published.path.with_suffix(".registration.json").unlink()
    with pytest.raises(InputError, match="side file"):
        rehearse(published.path)
