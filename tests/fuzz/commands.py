"""Targets that are whole commands: verify, inspect, lock and fetch, as a person types them."""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from isobuilder.cli import main
from isobuilder.demo.content import fill
from isobuilder.digest import Digest
from isobuilder.http.replies import FilePart, Reply, Request
from tests.fakes.upstream import FakeUpstream
from tests.fuzz.forged import forged
from tests.fuzz.judging import LONGEST, unfit
from tests.fuzz.mutation import WORDS, Chance, edited_json, edited_text
from tests.fuzz.samples import Samples
from tests.fuzz.shapes import edited_elf, edited_gzip, edited_iso, packed, unpacked
from tests.fuzz.target import Rig, Target, Wrong, put

EXITS = {0, 2, 3, 4, 5, 6, 7, 8, 9}
_SHOWN = 2 * 1024 * 1024  # characters that a command may print


def called(*arguments: str | Path) -> Result:
    """Run a command of the program.

    Raises:
        Wrong: it ends as no command should, or prints what is no plain line.
    """
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    said = f"{arguments[:2]} ends with {done.exit_code}"
    if done.exit_code not in EXITS:
        raise Wrong(f"{said}: {done.exception!r} {done.stderr[-300:]!r}") from done.exception
    if len(done.output) > _SHOWN or len(done.stderr) > LONGEST * 4:
        raise Wrong(f"{said}: {len(done.output)} characters, {done.output[:200]!r}")
    for line in (*done.stdout.split("\n"), *done.stderr.split("\n")):
        if bad := unfit(line):
            raise Wrong(f"{said}: {bad}")
    if "--json" in arguments and done.stdout.strip():
        json.loads(done.stdout)
    return done


def _case_of_iso(samples: Samples, chance: Chance) -> bytes:
    """Return an ISO with what stands beside it; one or two of them are bad."""
    number = chance.randrange(2)
    iso, lock = samples.isos[number], samples.locks[number]
    match chance.randrange(8):
        case 0:
            lock = edited_json(json.loads(lock), chance)
        case 1 | 2:
            iso = edited_iso(iso, chance)
        case 3:
            iso = edited_iso(samples.isos[2], chance)
        case _:
            iso = forged(samples, number, chance)
    side = f"{Digest.of(iso).hex}  x.iso\n".encode()
    if chance.random() < 0.2:
        side = edited_text(side, chance)
    return packed({"x.iso": iso, "x.lock.json": lock, "x.iso.sha256": side})


def _verify(samples: Samples, _stack: ExitStack) -> Rig:
    good = {Digest.of(iso) for iso in samples.isos}
    locks = set(samples.locks)

    def read(data: bytes, folder: Path) -> object:
        files = unpacked(data)
        for name, content in files.items():
            put(folder, name, content)
        iso, lock = folder / "x.iso", folder / "x.lock.json"
        store = ("--store", folder / "store")
        plain = called("verify", iso, *store)
        done = called("verify", iso, "--lock", lock, *store, *(["--json"] * (len(data) % 2)))
        is_ours = files["x.lock.json"] in locks
        if is_ours and done.exit_code == 0 and Digest.of(files["x.iso"]) not in good:
            raise Wrong("a changed ISO is called good")
        return plain.exit_code

    return Rig(lambda chance: _case_of_iso(samples, chance), read)


def _inspect(samples: Samples, _stack: ExitStack) -> Rig:
    def read(data: bytes, folder: Path) -> object:
        for name, content in unpacked(data).items():
            put(folder, name, content)
        good = put(folder, "good.lock.json", samples.locks[0])
        iso, lock = folder / "x.iso", folder / "x.lock.json"
        called("inspect", iso)
        called("inspect", iso, "--json")
        called("inspect", lock)
        called("plan", lock, "--offline", "--store", folder / "store")
        called("diff", good, iso)
        return called("diff", lock, iso, "--json")

    return Rig(lambda chance: _case_of_iso(samples, chance), read)


class HostileUpstream(FakeUpstream):
    """Changes some of its answers; which and how follows from the case."""

    def __init__(self) -> None:
        super().__init__()
        self.seed = ""
        self.rate = 0.0
        self.hooks.append(self._changed)

    def _changed(self, request: Request, reply: Reply) -> Reply | None:
        chance = random.Random(f"{self.seed}{request.path}{request.headers.get('range')}")
        if chance.random() > self.rate or isinstance(reply.body, FilePart):
            return None
        body = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
        headers, status = dict(reply.headers), reply.status
        if chance.random() < 0.8:
            body = _other_body(request.path, body, chance)
        if chance.random() < 0.25:
            name = chance.choice((*headers, "Location", "WWW-Authenticate", "Retry-After", "Link"))
            text = chance.choice(WORDS).encode("latin-1", "replace").decode("latin-1")
            headers[name] = text.replace("\r", "").replace("\n", "")
        if chance.random() < 0.2:
            status = chance.choice((200, 204, 206, 301, 307, 401, 403, 404, 416, 429, 500))
        return Reply(status, headers, body)


def _other_body(path: str, body: bytes, chance: Chance) -> bytes:
    if body[:1] == b"{":
        return edited_json(json.loads(body), chance)
    if path.endswith((".tgz", ".tar.gz")):
        return edited_gzip(body, chance)
    if body[:4] == b"\x7fELF":
        return edited_elf(body, chance)
    return edited_text(body, chance)


def _settings(upstream: FakeUpstream, folder: Path) -> Path:
    values: dict[str, Any] = {
        "mirrors": {origin: list(places) for origin, places in upstream.mirrors.items()},
        "retries": 1,
        "retry_budget": 0.2,
        "stall_timeout": 1.0,
        "store": str(folder / "store"),
    }
    return put(folder, "config.yaml", json.dumps(values).encode())


def _case_of_seed(chance: Chance) -> bytes:
    return f"{chance.getrandbits(40)} {chance.choice((0.02, 0.05, 0.3))}".encode()


def _lock(samples: Samples, stack: ExitStack) -> Rig:
    upstream = stack.enter_context(HostileUpstream())
    fill(upstream)
    recipes = {path.name: path.read_bytes() for path in samples.folder.glob("*.yaml")}

    def read(data: bytes, folder: Path) -> object:
        upstream.seed, rate = data.decode().split()
        upstream.rate = float(rate)
        paths = [put(folder, name, text) for name, text in sorted(recipes.items())]
        config = _settings(upstream, folder)
        recipe = paths[int(upstream.seed) % len(paths)]
        done = called("--config", config, "lock", recipe, "--arch", "amd64")
        if done.exit_code == 0:
            called("--config", config, "lock", recipe, "--arch", "amd64", "--locked")
        return done.exit_code

    return Rig(_case_of_seed, read)


def _fetch(samples: Samples, stack: ExitStack) -> Rig:
    upstream = stack.enter_context(HostileUpstream())
    fill(upstream)

    def read(data: bytes, folder: Path) -> object:
        upstream.seed, rate = data.decode().split()
        upstream.rate = float(rate)
        lock = put(folder, "x.lock.json", samples.locks[int(upstream.seed) % 2])
        config = _settings(upstream, folder)
        called("--config", config, "fetch", lock)
        upstream.rate = 0.0  # a better day: what is there by now is right, or is fetched again
        done = called("--config", config, "fetch", lock)
        if done.exit_code != 0:
            raise Wrong(f"fetch does not get over it: {done.stderr[-300:]!r}")
        done = called("--config", config, "store", "check")
        if done.exit_code != 0:
            raise Wrong("something wrong is in the store")
        return None

    return Rig(_case_of_seed, read)


COMMANDS = (
    Target("verify", ("pipeline/verify.py", "content/from_iso.py"), _verify, few=4),
    Target("inspect", ("pipeline/compare.py",), _inspect, few=3),
    Target("lock", ("sources/resolve.py", "sources/registry.py", "pipeline/lock.py"), _lock, few=3),
    Target("fetch", ("sources/fetch.py", "sources/transfer.py"), _fetch, few=2),
)
