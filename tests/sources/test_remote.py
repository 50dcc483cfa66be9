"""A repository of a registry in which machines share blobs: read first, given to afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isobuilder.demo.content import fill, write_recipes
from isobuilder.demo.images import ImageDocument
from isobuilder.digest import BlobLike, Digest
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import IntegrityError, UpstreamError
from isobuilder.http.client import Http
from isobuilder.http.replies import Reply, Request, text_reply
from isobuilder.model.config import Config, load_config
from isobuilder.pipeline.build import build
from isobuilder.pipeline.lock import lock_recipe
from isobuilder.progress import Task
from isobuilder.sources import remote, shared_entry
from isobuilder.sources.fetch import Fetcher
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.remote import RemoteStore
from isobuilder.sources.session import open_session
from isobuilder.sources.shared_entry import FREE, MANIFEST, Claim, manifest_of, tag_of
from isobuilder.store import Blob, Store
from tests.conftest import QUICK
from tests.fakes.debian_registry import docker_registry, installed
from tests.fakes.hostile import FileServer, slow
from tests.fakes.logins import TokenLogin
from tests.fakes.upstream import FakeUpstream
from tests.pipeline.world import command, write_config
from tests.sources.fetching import content_of, want

NAME = "builders/shared"
LAYER = content_of("layer", 300_000)
DIGEST = Digest.of(LAYER)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SETTLE", 0.02)
    monkeypatch.setattr(remote, "_BUDGET", 0.0)


@pytest.fixture
def shared() -> Iterator[FakeUpstream]:
    """The registry that machines share."""
    with FakeUpstream() as server:
        yield server


class Machine:
    """One builder: its own store, upstream's address, and what it was told."""

    def __init__(self, folder: Path, server: str, files: FileServer, **settings: Any) -> None:
        self.store = Store(folder)
        self.url = files.add("layer", LAYER)
        self.http = Http(QUICK, netrc=False)
        address = server.replace("http://", "oci://") + f"/{NAME}"
        login = settings.pop("credentials", Credentials([]))
        self.remote = RemoteStore(address, self.http, login, **settings)

    def fetch(self, **named: Any) -> BlobLike:
        (blob,) = Fetcher(self.store, self.http, remote=self.remote).fetch(
            [want(LAYER, self.url, **named)]
        )
        assert blob.read() == LAYER
        return blob

    @property
    def told(self) -> str:
        return "\n".join(self.remote.notices)


MachineOf = Callable[..., Machine]


@pytest.fixture
def machine(tmp_path: Path, shared: FakeUpstream, files: FileServer) -> MachineOf:
    def make(name: str, server: str = shared.url, **settings: Any) -> Machine:
        return Machine(tmp_path / name, server, files, **settings)

    return make


def asked(files: FileServer) -> int:
    return len(files.seen)


def writes(server: FakeUpstream) -> list[str]:
    return [line.method for line in server.log if line.method not in {"GET", "HEAD"}]


def test_what_one_machine_fetched_the_next_takes_from_the_shared_store(
    machine: MachineOf, shared: FakeUpstream, files: FileServer
) -> None:
    machine("a").fetch()
    assert asked(files) == 1
    before = len(writes(shared))
    second = machine("b")
    second.fetch()
    assert asked(files) == 1
    assert len(writes(shared)) == before
    assert second.told == ""


def damage(server: FakeUpstream, data: bytes) -> None:
    server.registry._blobs[DIGEST] = data


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (LAYER[:-1] + b"?", "expected sha256:"),
        (LAYER[:1000], "expected 300000 bytes, got 1000"),
        (LAYER + b"more", "longer than"),
        (b"", "expected 300000 bytes, got 0"),
        (b"<html>log in</html>", "expected 300000 bytes"),
    ],
)
def test_damaged_bytes_are_refused_told_and_replaced(
    machine: MachineOf, shared: FakeUpstream, files: FileServer, data: bytes, fact: str
) -> None:
    machine("a").fetch()
    damage(shared, data)

    # As real registries do: what they have, they keep, whatever is sent again.
    def keep(request: Request, _reply: Reply) -> None:
        if DIGEST in request.query:
            damage(shared, data)

    shared.hooks.append(keep)
    second = machine("b")
    second.fetch()
    assert asked(files) == 2
    assert "damaged in the shared store, so it is not taken" in second.told
    assert fact in second.told
    assert f"{DIGEST}: replaced" in second.told
    assert shared.registry._blobs[DIGEST] == data
    third = machine("c")
    third.fetch()
    assert asked(files) == 2
    assert third.told == ""


def test_a_blob_that_the_registry_has_lost_is_given_anew(
    machine: MachineOf, shared: FakeUpstream, files: FileServer
) -> None:
    machine("a").fetch()
    shared.registry._holds[NAME].discard(DIGEST)
    second = machine("b")
    second.fetch()
    assert "names it and has it not" in second.told
    machine("c").fetch()
    assert asked(files) == 2


@pytest.mark.parametrize("data", [b"<html>", b"{}", b'{"layers": [{"digest": 5}]}', b"[" * 9000])
def test_a_tag_that_names_something_else_is_told_and_put_right(
    machine: MachineOf, shared: FakeUpstream, files: FileServer, data: bytes
) -> None:
    shared.registry.put_manifest(NAME, ImageDocument(data, MANIFEST), tag=tag_of(DIGEST))
    first = machine("a")
    first.fetch()
    assert "put there anew" in first.told
    machine("b").fetch()
    assert asked(files) == 1


def test_what_is_in_the_shared_store_counts_only_with_the_digest_that_was_wanted(
    machine: MachineOf, shared: FakeUpstream, files: FileServer
) -> None:
    """Whoever may write there puts other bytes behind the tag, in a layer that is what it says."""
    evil = b"s" * 32 + content_of("evil", len(LAYER))
    shared.registry.put_blob(NAME, evil)
    entry = manifest_of((Digest.of(evil), len(evil)))
    shared.registry.put_manifest(NAME, ImageDocument(entry, MANIFEST), tag=tag_of(DIGEST))
    first = machine("a")
    first.fetch()
    assert "damaged" in first.told
    assert asked(files) == 1


def test_an_endless_blob_ends_where_the_promised_one_would(
    machine: MachineOf, shared: FakeUpstream, files: FileServer
) -> None:
    machine("a").fetch()
    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            sent.append(1)
            yield b"x" * 65536

    shared.hooks.append(
        lambda request, _: Reply(200, {}, endless()) if f"blobs/{DIGEST}" in request.path else None
    )
    second = machine("b")
    second.fetch(sized=False)
    assert "longer than" in second.told
    assert sum(sent) * 65536 < 64 * 1024 * 1024


# --- a shared store that does not do its part


def test_one_that_is_down_is_told_once_and_upstream_is_asked(
    machine: MachineOf, files: FileServer
) -> None:
    first = machine("a", "http://127.0.0.1:9")
    first.fetch()
    again = want(b"other", files.add("other", b"other"))
    Fetcher(first.store, first.http, remote=first.remote).fetch([again])
    assert len(first.remote.notices) == 1
    assert "cannot be used, so upstream is asked" in first.told
    assert "127.0.0.1:9" in first.told


def test_one_that_is_required_stops_the_run_when_it_is_down(machine: MachineOf) -> None:
    with pytest.raises(UpstreamError, match=r"the shared store oci://127.0.0.1:9/builders/shared"):
        machine("a", "http://127.0.0.1:9", required=True).fetch()


def test_one_that_may_only_be_read_is_read(
    machine: MachineOf, shared: FakeUpstream, files: FileServer
) -> None:
    machine("a").fetch()
    shared.hooks.append(
        lambda request, _: (
            text_reply(403, "read only") if request.method not in {"GET", "HEAD"} else None
        )
    )
    second = machine("b")
    second.fetch()
    assert asked(files) == 1
    other = want(b"other", files.add("other", b"other"))
    Fetcher(second.store, second.http, remote=second.remote).fetch([other])
    assert len(second.remote.notices) == 1
    assert "may be read only, what is fetched is not shared" in second.told


def test_one_that_may_only_be_read_is_waited_for_all_the_same(
    machine: MachineOf, shared: FakeUpstream, files: FileServer
) -> None:
    def read_only(request: Request, _reply: Reply) -> Reply | None:
        return text_reply(403, "read only") if request.method not in {"GET", "HEAD"} else None

    shared.hooks.append(read_only)
    first = machine("a")
    other = want(b"other", files.add("other", b"other"))
    Fetcher(first.store, first.http, remote=first.remote).fetch([other])
    put_claim(shared, manifest_of(None, "somebody 1"))
    assert first.remote.turn(want(LAYER, first.url), first.store, not_asked) is None


def test_one_that_keeps_nothing_is_left_alone(
    machine: MachineOf, shared: FakeUpstream, files: FileServer
) -> None:
    shared.hooks.append(lambda request, _: Reply(404) if "/manifests/" in request.path else None)
    shared.hooks.append(lambda request, _: Reply(201) if request.method == "PUT" else None)
    first = machine("a")
    first.fetch()
    assert "does not keep what it is given" in first.told
    assert asked(files) == 1


def test_pages_in_place_of_answers_keep_nobody_from_upstream(
    machine: MachineOf, shared: FakeUpstream, files: FileServer
) -> None:
    page = {"Content-Type": "text/html"}
    shared.hooks.append(lambda _request, _reply: Reply(200, page, b"<html>log in</html>"))
    first = machine("a")
    first.fetch()
    assert "cannot be used" in first.told
    assert asked(files) == 1


def test_a_blob_that_it_will_not_have_is_told_and_the_others_are_shared(
    machine: MachineOf, shared: FakeUpstream, files: FileServer
) -> None:
    def too_large(request: Request, _reply: Reply) -> Reply | None:
        return text_reply(413, "too large") if (request.length or 0) > 100_000 else None

    shared.hooks.append(too_large)
    first = machine("a")
    first.fetch()
    assert "could not be given to it" in first.told
    small = content_of("small", 1000)
    url = files.add("small", small)
    Fetcher(first.store, first.http, remote=first.remote).fetch([want(small, url)])
    assert shared.registry.manifest(NAME, tag_of(Digest.of(small))) is not None
    free = shared.registry.manifest(NAME, tag_of(DIGEST))
    assert free is not None
    assert free.data == FREE


def test_bytes_and_login_go_to_no_other_host(machine: MachineOf, shared: FakeUpstream) -> None:
    with FakeUpstream() as other:

        def elsewhere(request: Request, reply: Reply) -> None:
            if place := reply.headers.get("Location"):
                reply.headers["Location"] = f"{other.url}{place}"

        shared.hooks.append(elsewhere)
        machine("a").fetch()
        assert other.log == []
    assert shared.registry.manifest(NAME, tag_of(DIGEST)) is not None


def test_logins_are_those_of_registries(
    machine: MachineOf, shared: FakeUpstream, files: FileServer, tmp_path: Path
) -> None:
    shared.login = TokenLogin({"ann": "s3cret-word"})
    auth = tmp_path / "auth.json"
    host = shared.url.removeprefix("http://")
    auth.write_text(f'{{"auths": {{"{host}": {{"username": "ann", "password": "s3cret-word"}}}}}}')
    first = machine("a", credentials=Credentials([auth]))
    first.fetch()
    assert first.told == ""
    machine("b", credentials=Credentials([auth])).fetch()
    assert asked(files) == 1
    stranger = machine("c")
    stranger.fetch()
    assert "a login is needed" in stranger.told
    assert "s3cret-word" not in stranger.told


# --- several at once


def test_of_several_machines_one_asks_upstream(machine: MachineOf, files: FileServer) -> None:
    machines = [machine(str(number)) for number in range(4)]
    threads = [threading.Thread(target=one.fetch) for one in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert asked(files) == 1
    assert [one.told for one in machines] == ["", "", "", ""]


def put_claim(server: FakeUpstream, data: bytes) -> None:
    server.registry.put_blob(NAME, b"{}")
    server.registry.put_manifest(NAME, ImageDocument(data, MANIFEST), tag=tag_of(DIGEST))


def not_asked(_claim: object) -> Blob:
    raise AssertionError("upstream was asked")


def test_the_claim_of_a_machine_that_is_gone_grows_old(
    machine: MachineOf, shared: FakeUpstream, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_claim(shared, manifest_of(None, "somebody 1"))
    monkeypatch.setattr(remote, "STALE", 0.5)
    first = machine("a")
    assert first.remote.turn(want(LAYER, first.url), first.store, not_asked) is None
    first.fetch()
    assert asked(files) == 1


def test_who_is_slow_is_waited_for(
    machine: MachineOf, shared: FakeUpstream, files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while it gives what it fetched, which may take as long."""
    monkeypatch.setattr(remote, "STALE", 2.0)  # ten words: a busy machine is late with some
    monkeypatch.setattr(shared_entry, "_AGAIN", 0.2)
    monkeypatch.setattr(remote, "BUFFER_SIZE", 30_000)
    first, second = machine("a"), machine("b")
    files.add("layer", LAYER, slow(75_000))
    counted = remote._counted

    def slowly(chunks: Iterable[bytes], work: Task) -> Iterator[bytes]:
        for chunk in counted(chunks, work):
            time.sleep(0.4)
            yield chunk

    monkeypatch.setattr(remote, "_counted", slowly)
    thread = threading.Thread(target=first.fetch)
    thread.start()
    while shared.registry.manifest(NAME, tag_of(DIGEST)) is None:
        time.sleep(0.02)
    second.fetch()
    thread.join()
    assert asked(files) == 1


def test_a_claim_that_is_repeated_for_ever_keeps_nobody_for_ever(
    machine: MachineOf, shared: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 3.0)
    monkeypatch.setattr(remote, "ELSEWHERE", 0.05)
    number = iter(range(100_000))

    def repeat(request: Request, _reply: Reply) -> None:
        if tag_of(DIGEST) in request.path:
            put_claim(shared, manifest_of(None, f"somebody {next(number)}"))

    shared.hooks.append(repeat)
    machine("a").fetch()
    assert next(number) > 2


def test_a_download_that_fails_lets_the_next_machine_try_at_once(
    machine: MachineOf, shared: FakeUpstream
) -> None:
    first = machine("a")
    with pytest.raises(IntegrityError):
        Fetcher(first.store, first.http, remote=first.remote).fetch([want(LAYER[1:], first.url)])
    free = shared.registry.manifest(NAME, tag_of(Digest.of(LAYER[1:])))
    assert free is not None
    assert free.data == FREE


def test_a_claim_is_repeated_while_bytes_come(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int | None] = []

    def announce(number: int | None) -> Digest:
        said.append(number)
        return Digest.of(str(number).encode())

    monkeypatch.setattr(shared_entry, "_AGAIN", 0.0)
    claim = Claim(announce)
    claim.say()
    claim.advance(1)
    claim.free()
    claim.advance(1)
    assert said == [1, 2, None]


# --- the setting


@pytest.mark.parametrize(
    "text",
    [
        "registry.example/blobs",
        "https://registry.example/blobs",
        "oci://registry.example",
        "oci://registry.example/",
        "oci://registry.example/Blobs",
        "oci://registry.example/a/../b",
        "oci://registry.example/a?x=1",
        "oci://[/a",
    ],
)
def test_an_address_that_names_no_repository_is_refused(text: str) -> None:
    with pytest.raises(InputErrors, match="--remote-store: remote_store: "):
        load_config(None, {}, {"remote_store": text})


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputErrors) as refused:
        load_config(None, {}, {"remote_store": "oci://ann:s3cret-word@registry.example/blobs"})
    assert "credentials in the address" in str(refused.value)
    assert "s3cret-word" not in str(refused.value)


# --- whole builds


def is_proof(path: str) -> bool:
    """A file of checksums, or what a tag means."""
    name = path.rpartition("/")[2]
    return "sha256:" not in name and ("sha256" in name.lower() or "/manifests/" in path)


def test_locking_asks_upstream_for_every_proof_and_a_build_for_none(
    tmp_path: Path, shared: FakeUpstream
) -> None:
    """A store that somebody else filled must not save a checksum file from being asked for."""
    with FakeUpstream() as upstream:
        fill(upstream)
        recipe, _ = write_recipes(tmp_path)
        address = shared.url.replace("http://", "oci://") + f"/{NAME}"
        config = Config(mirrors=upstream.mirrors, retries=0, remote_store=address)
        digests, proofs = [], []
        for name in ("a", "b"):
            before = len(upstream.log)
            with open_session(config, Store(tmp_path / name)) as session:
                found = lock_recipe(recipe, "amd64", session)
                digests.append(build(found.lock, tmp_path / name, session).digest)
            mine = upstream.log[before:]
            proofs.append({line.path for line in mine if is_proof(line.path)})
            found.path.unlink()
        assert digests[0] == digests[1]
        assert proofs[0] == proofs[1]
        assert len(proofs[0]) > 3
        programs = Counter(line.path for line in upstream.log if line.path.endswith("/kubelet"))
        assert list(programs.values()) == [1]


@pytest.mark.lab
@pytest.mark.skipif(not installed(), reason="apt-get install docker-registry")
def test_four_builders_at_once_ask_upstream_once_for_each_blob(tmp_path: Path) -> None:
    with (
        FakeUpstream() as upstream,
        docker_registry(tmp_path, login=False) as registry,
    ):
        fill(upstream)
        recipe, _ = write_recipes(tmp_path)
        settings = write_config(tmp_path / "config.yaml", upstream)
        with open_session(Config(mirrors=upstream.mirrors), Store(tmp_path / "alone")) as session:
            lock = lock_recipe(recipe, "amd64", session)
            alone = build(lock.lock, tmp_path / "out-alone", session).digest
        address = registry.replace("http://", "oci://") + "/builders/shared"

        def start(name: str) -> subprocess.Popen[str]:
            arguments = ("build", lock.path, "--out", tmp_path / f"out-{name}")
            own = ("--config", settings, "--store", tmp_path / f"store-{name}")
            return subprocess.Popen(
                command(*arguments, *own, "--remote-store", address, "--progress", "none"),
                stderr=subprocess.PIPE,
                text=True,
                env=dict(os.environ),
            )

        def finished(names: str) -> str:
            running = [start(name) for name in names]
            told = [one.communicate(timeout=120)[1] for one in running]
            assert [one.returncode for one in running] == [0] * len(names), told
            isos = [next((tmp_path / f"out-{name}").glob("*.iso")) for name in names]
            assert {Digest.of_file(iso) for iso in isos} == {alone}
            return "".join(line for text in told for line in text.splitlines() if "oci:" in line)

        def counted(before: int) -> Counter[str]:
            return Counter(line.path for line in upstream.log[before:] if line.status == 200)

        before = len(upstream.log)
        assert finished("abcd") == ""
        fetched = counted(before)
        assert set(fetched.values()) == {1}
        assert len(fetched) > 20

        # A blob in the registry's own folder gets damaged: refused, named, replaced.
        blobs = (tmp_path / "data" / "docker/registry/v2/blobs/sha256").glob("*/*/data")
        victim = max(blobs, key=lambda path: path.stat().st_size)
        victim.write_bytes(victim.read_bytes()[:-1] + b"?")
        before = len(upstream.log)
        told = finished("e")
        assert sum(counted(before).values()) == 1
        assert "damaged in the shared store" in told
        assert f"sha256:{victim.parent.name}: replaced in the shared store" in told
        shutil.rmtree(tmp_path / "store-e")
        before = len(upstream.log)
        assert finished("f") == ""
        assert sum(counted(before).values()) == 0
