"""Ctrl-C and SIGTERM end what waits, in however many threads, for servers that say nothing."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.pipeline.world import Locked, World, command

STOPS = (signal.SIGINT, signal.SIGTERM)
SECONDS = 60  # a busy machine's; the server is waited for ten times as long
POLICY = "schema: 1\nrecipes: {}\narchitectures: [amd64]\n"


@dataclass
class Silence:
    """A server that takes every connection and never says a word."""

    address: str
    clients: list[socket.socket] = field(default_factory=list)

    def wait(self, process: subprocess.Popen[str], *, clients: int) -> None:
        """Wait until so many connections of ``process`` are there."""
        end = time.monotonic() + 120
        while len(self.clients) < clients:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "it never asked"
            time.sleep(0.01)
        time.sleep(0.2)  # until what was asked for is waited for


@contextmanager
def silence() -> Iterator[Silence]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        server = Silence(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def accept() -> None:
            try:
                while True:
                    server.clients.append(listener.accept()[0])
            except OSError:
                pass  # closed

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for client in server.clients:
            client.close()


def settings(folder: Path, mirrors: Mapping[str, object]) -> Path:
    path = folder / "config.yaml"
    text = {"mirrors": mirrors, "store": str(folder / "store"), "stall_timeout": 600}
    path.write_text(json.dumps(text), encoding="utf-8")
    return path


def silent(world: World, server: Silence) -> dict[str, object]:
    return {origin: [server.address] for origin in world.upstream.mirrors}


def silent_registries(world: World, server: Silence) -> dict[str, object]:
    """The places of upstream, but for registries, which are those named without a scheme."""
    return {
        origin: list(places) if origin.startswith("https:") else [server.address]
        for origin, places in world.upstream.mirrors.items()
    }


def ended(server: Silence, number: signal.Signals, *arguments: str | Path) -> None:
    """Let a command wait for ``server``, send the signal and see that it heeds it."""
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        server.wait(process, clients=2)
        process.send_signal(number)
        printed, said = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert printed == ""
    assert said.splitlines()[-1] == "error: interrupted; the same command carries on from here"
    assert "Traceback" not in said


@pytest.mark.parametrize("number", STOPS, ids=str)
def test_list_is_ended(world: World, tmp_path: Path, number: signal.Signals) -> None:
    with silence() as server:
        config = settings(tmp_path, silent(world, server))
        ended(server, number, "upstream", "list", "--config", config)


@pytest.mark.parametrize("number", STOPS, ids=str)
def test_sync_is_ended(world: World, tmp_path: Path, number: signal.Signals) -> None:
    policy, recipes = tmp_path / "policy.yaml", tmp_path / "recipes"
    recipes.mkdir()
    (recipes / world.recipe.name).write_bytes(world.recipe.read_bytes())
    policy.write_text(POLICY.format(json.dumps(str(recipes))), encoding="utf-8")
    with silence() as server:
        config = settings(tmp_path, silent(world, server))
        ended(server, number, "upstream", "sync", policy, "--config", config)


@pytest.mark.parametrize("number", STOPS, ids=str)
def test_lock_is_ended_while_images_are_asked_for(
    world: World, tmp_path: Path, number: signal.Signals
) -> None:
    (recipe := tmp_path / "r.yaml").write_bytes(world.recipe.read_bytes())
    with silence() as server:
        config = settings(tmp_path, silent_registries(world, server))
        ended(server, number, "lock", recipe, "--config", config)


@pytest.mark.parametrize("number", STOPS, ids=str)
def test_fetch_is_ended_while_manifests_are_asked_for(
    world: World, locked: Locked, tmp_path: Path, number: signal.Signals
) -> None:
    with silence() as server:
        config = settings(tmp_path, silent_registries(world, server))
        ended(server, number, "fetch", locked.path, "--config", config)
