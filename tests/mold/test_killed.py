"""A run that was killed leaves nothing that the next does not mend, and two at once make one."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.demo.mold import Cloud, Timing
from isobuilder.errors import EnvironmentProblem
from isobuilder.model.registration import RegistrationFile
from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.credentials import ApiKey, MoldServer
from isobuilder.mold.register import register
from isobuilder.mold.request import RegistrationRequest
from tests.fakes.mold import FakeMold
from tests.mold.conftest import Published, server_of


@pytest.fixture
def real_time_simulator() -> Iterator[FakeMold]:
    cloud = Cloud(pace=Timing(allocated=0.02, downloading=0.04, installing=0.02, job=0.02))
    with FakeMold(cloud) as simulator:
        yield simulator


def registering_process(
    endpoint: str, key: str, secret: str, registration: RegistrationFile, url: str, folder: Path
) -> None:
    """Register in a process of its own, until it is done or killed."""
    client = Mold(MoldServer("lab", endpoint, ApiKey(key, secret)))
    wish = RegistrationRequest(registration, url=url, poll=0.02)
    [result] = register([client], wish, state=folder)
    if not result.ok:
        raise SystemExit(str(result))


class Executioner:
    """Kills a process at a request of its choice."""

    def __init__(self, simulator: FakeMold) -> None:
        self.simulator = simulator
        self.pid: int | None = None
        self.at = 0
        self.moment = "before"
        self.count = 0
        simulator.faults.watchers.append(self.watch)

    def watch(self, _number: int, _command: str, moment: str) -> None:
        if self.pid is None or moment != self.moment:
            return
        self.count += 1
        if self.count == self.at:
            os.kill(self.pid, signal.SIGKILL)


def kill_again_and_again(
    simulator: FakeMold, published: Published, tmp_path: Path, rounds: int
) -> int:
    """Start and kill runs; after each, one that is left alone. Returns how many were killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["isobuilder.mold.register", "tests.mold.test_killed"])
    chance = random.Random(34)
    executioner = Executioner(simulator)
    client = Mold(server_of(simulator, simulator.admin))
    killed = 0
    for number in range(rounds):
        simulator.cloud.versions.clear()
        folder = tmp_path / f"state{number}"
        # Every third by the clock, the others at a request, before or after it is answered.
        executioner.at = 0 if number % 3 == 2 else chance.randint(1, 10)
        executioner.moment = chance.choice(["before", "after"])
        executioner.count = 0
        arguments = (simulator.endpoint, simulator.admin.key, simulator.admin.secret)
        process = context.Process(
            target=registering_process,
            args=(*arguments, published.registration, published.url, folder),
        )
        process.start()
        executioner.pid = process.pid
        timer = threading.Timer(chance.uniform(0.0, 0.25), process.kill)
        if executioner.at == 0:
            timer.start()
        process.join(60)
        timer.cancel()
        executioner.pid = None
        assert process.exitcode is not None
        killed += process.exitcode == -signal.SIGKILL
        wish = RegistrationRequest(published.registration, url=published.url, poll=0.02)
        [result] = register([client], wish, state=folder)
        assert result.ok, (number, result)
        assert len(simulator.cloud.versions) == 1, number
    client.close()
    return killed


def test_a_killed_run_leaves_nothing_that_the_next_does_not_mend(
    real_time_simulator: FakeMold, published: Published, tmp_path: Path
) -> None:
    assert kill_again_and_again(real_time_simulator, published, tmp_path, 6) > 0


@pytest.mark.slow
def test_a_hundred_killed_runs_leave_nothing_that_the_next_does_not_mend(
    real_time_simulator: FakeMold, published: Published, tmp_path: Path
) -> None:
    assert kill_again_and_again(real_time_simulator, published, tmp_path, 150) >= 100


def test_runs_at_the_same_time_on_one_machine_make_one_version(
    real_time_simulator: FakeMold, published: Published, tmp_path: Path
) -> None:
    simulator = real_time_simulator
    context = multiprocessing.get_context("forkserver")
    user = simulator.admin
    arguments = (simulator.endpoint, user.key, user.secret, published.registration, published.url)
    processes = [
        context.Process(target=registering_process, args=(*arguments, tmp_path / "state"))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(simulator.cloud.versions) == 1
    assert len(simulator.writes()) == 1


def test_a_folder_that_cannot_be_made_is_told(
    simulator: FakeMold, client: Mold, published: Published, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    wish = RegistrationRequest(published.registration, url=published.url)
    [result] = register([client], wish, state=tmp_path / "file" / "state")
    assert isinstance(result.error, EnvironmentProblem)
    assert simulator.writes() == []
