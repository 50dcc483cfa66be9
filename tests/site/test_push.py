"""``site push`` brings images of closed ISOs into a registry, whatever the registry does."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, InputError, IntegrityError, UpstreamError
from isobuilder.http.client import Http
from isobuilder.http.replies import Reply, Request
from isobuilder.model.config import Config
from isobuilder.site.names import FULL_NAMES, registry_base, settings_text, targets_for
from isobuilder.site.push import PushReport, push, push_isos
from isobuilder.site.registry import refused
from isobuilder.site.shelf import Shelf
from isobuilder.sources import pushing
from isobuilder.sources.pushing import RegistryWriter
from isobuilder.sources.registry_auth import Credentials
from isobuilder.sources.session import open_session
from tests.cli.calling import call, errors
from tests.conftest import QUICK
from tests.fakes.debian_registry import PASSWORD, USER, docker_registry, installed
from tests.fakes.logins import TokenLogin
from tests.fakes.upstream import FakeUpstream, Hook
from tests.site.isos import ETCD, INDEX, MANIFEST, PAUSE, Stored, image, iso, sbom, signature

KILLS = int(os.environ.get("ISOBUILDER_KILLS", "2"))
"""How often a push is ended at a random moment; ``make test-sites`` does it fifty times."""

ENDS = ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130))
SHARED = bytes(range(256)) * 8192  # 2 MiB
PAUSE_IMAGE, ETCD_IMAGE = image(PAUSE, SHARED, b"pause"), image(ETCD, SHARED, b"etcd")
SIGNATURE, SBOM_OF_IT = signature(PAUSE_IMAGE), sbom(PAUSE_IMAGE)
BLOBS = len({*PAUSE_IMAGE.blobs, *ETCD_IMAGE.blobs})


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return iso(tmp_path_factory.mktemp("isos") / "first.iso", [PAUSE_IMAGE], [ETCD_IMAGE])


@pytest.fixture
def registry() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


def pushed(
    place: Path, base: str, *, rule: str = FULL_NAMES, credentials: Credentials | None = None
) -> PushReport:
    catalog = Shelf([place]).open()
    with Http(QUICK, netrc=False) as http:
        writer = RegistryWriter(base, http, credentials or Credentials(()))
        return push(writer, targets_for(catalog.repositories.values(), rule))


def has(server: FakeUpstream, stored: Stored, name: str, tag: str = "") -> bool:
    """Whether a registry has all of an image, byte for byte."""
    registry = server.registry
    found = registry.manifest(name, tag or stored.digest)
    whole = found is not None and found.data == stored.manifest
    digests = [Digest.of(blob) for blob in stored.blobs]
    return whole and all(registry._has(name, digest) for digest in digests)


def whole(server: FakeUpstream, prefix: str = "") -> bool:
    return has(server, PAUSE_IMAGE, f"{prefix}registry.k8s.io/pause", "3.10") and has(
        server, ETCD_IMAGE, f"{prefix}registry.k8s.io/etcd", "3.6.5-0"
    )


def writes(server: FakeUpstream) -> list[str]:
    return [line.path for line in server.log if line.method not in {"GET", "HEAD"}]


def test_every_image_is_there_and_the_second_time_nothing_is_sent(
    first: Path, registry: FakeUpstream
) -> None:
    report = pushed(first, registry.url)
    assert whole(registry)
    assert (report.blobs_sent, report.blobs_mounted, report.manifests_sent) == (BLOBS, 1, 2)
    before = len(writes(registry))
    again = pushed(first, registry.url)
    assert len(writes(registry)) == before
    assert (again.blobs_sent, again.blobs_mounted, again.manifests_sent) == (0, 0, 0)
    assert (again.blobs_there, again.manifests_there, again.tags) == (BLOBS + 1, 2, 2)


def test_a_path_of_the_address_is_in_front_of_every_name(
    first: Path, registry: FakeUpstream
) -> None:
    pushed(first, f"{registry.url}/team/a")
    assert whole(registry, "team/a/")
    assert all(path.startswith("/v2/team/a/registry.k8s.io/") for path in writes(registry))


def once(part: str, status: int, *, method: str = "", times: int = 1, **headers: str) -> Hook:
    left = [times]

    def hook(request: Request, reply: Reply) -> Reply | None:
        fits = part in f"{request.path}?{request.query}" and method in {"", request.method}
        if not fits or not left[0]:
            return None
        left[0] -= 1
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = refused(status, "DENIED", "as the registry says")
        return Reply(status, {**answer.headers, **named}, answer.body)

    return hook


@pytest.mark.parametrize(
    "hook",
    [
        once("/blobs/uploads/", 429, Retry_After="0"),
        once("/blobs/uploads/", 503, times=3),
        once("/manifests/", 500, method="PUT"),
        once("/manifests/", 502, method="GET", times=2),
        once("/blobs/sha256", 504, method="HEAD"),
        once("_state", 500, method="PUT", times=2),
        once("_state", 404, method="PUT"),
        once("mount=", 405, method="POST", times=99),
        once("mount=", 401, method="POST", times=99, WWW_Authenticate='Basic realm="x"'),
        once("mount=", 403, method="POST", times=99),
    ],
)
def test_what_passes_is_tried_again_or_done_in_another_way(
    first: Path, registry: FakeUpstream, hook: Hook
) -> None:
    registry.hooks.append(hook)
    pushed(first, registry.url)
    assert whole(registry)


def test_a_registry_that_mounts_nothing_gets_the_blob_again(
    first: Path, registry: FakeUpstream
) -> None:
    def no_mount(request: Request, reply: Reply) -> Reply | None:
        if "mount=" not in request.query or reply.status != 201:
            return None
        registry.registry._holds["registry.k8s.io/etcd"].discard(Digest.of(SHARED))
        registry.registry._holds["registry.k8s.io/pause"].discard(Digest.of(SHARED))
        registry.registry._holds[first_name].add(Digest.of(SHARED))
        return Reply(202, {"Location": f"/v2/{request.path[4:]}x"})

    first_name = "registry.k8s.io/etcd"
    registry.hooks.append(no_mount)
    report = pushed(first, registry.url)
    assert report.blobs_mounted == 0
    assert report.blobs_sent == BLOBS + 1
    assert whole(registry)


def test_bodies_that_are_too_large_go_in_chunks(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "CHUNK", 2 * 1024 * 1024)

    class Proxy(FakeUpstream):
        def answer(self, request: Request) -> Reply:
            if request.length and request.length > 600_000:  # before a byte of it is read
                with self._settled:
                    self._busy += 1
                return Reply(413, {}, b"too large")
            return super().answer(request)

    with Proxy() as proxy:
        pushed(first, proxy.url)
        assert whole(proxy)
        patches = proxy.exchanges("PATCH")
        sizes = {line.headers["content-length"] for line in patches if line.status == 202}
        assert "524288" in sizes
        assert patches[-1].headers["content-range"].startswith("0-") or len(patches) > 2


def test_a_connection_that_breaks_in_a_blob_is_taken_up_again(
    first: Path, registry: FakeUpstream
) -> None:
    broken: list[str] = []

    def breaks(request: Request, reply: Reply) -> Reply | None:
        if request.method == "PUT" and "/blobs/" in request.path and len(broken) < 2:
            broken.append(request.path)
            raise ConnectionAbortedError
        return None

    registry.hooks.append(breaks)
    pushed(first, registry.url)
    assert len(broken) == 2
    assert whole(registry)


@pytest.mark.parametrize("moment", range(1, 40, 4))
def test_interrupted_at_any_moment_and_repeated_it_completes(
    first: Path, registry: FakeUpstream, moment: int
) -> None:
    seen: list[str] = []

    def dies(request: Request, reply: Reply) -> Reply | None:
        seen.append(request.path)
        return refused(403, "DENIED", "stopped") if len(seen) > moment else None

    registry.hooks.append(dies)
    try:
        pushed(first, registry.url)
    except UpstreamError:
        assert not whole(registry) or len(seen) > moment
    registry.hooks.clear()
    pushed(first, registry.url)
    assert whole(registry)


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (once("/blobs/uploads/", 405, times=9), r"405 Method Not Allowed: .*as the registry says"),
        (once("/blobs/uploads/", 403, times=9), r"403 Forbidden: DENIED: as the registry says"),
        (once("_state", 403, times=9), r"403 Forbidden: DENIED: as the registry says"),
        (once("/manifests/", 400, method="PUT", times=9), r"400 Bad Request: DENIED: as the"),
        (once("/blobs/uploads/", 507, times=99), "507"),
        (once("_state", 507, times=99), "507 Insufficient Storage: DENIED: as the registry says"),
        (once("", 401, times=99), "401 without a challenge"),
        (once("", 401, times=99, WWW_Authenticate='Basic realm="x"'), "a login is needed"),
    ],
)
def test_a_refusal_ends_it_with_the_registrys_words(
    first: Path, registry: FakeUpstream, hook: Hook, said: str
) -> None:
    registry.hooks.append(hook)
    with pytest.raises(UpstreamError, match=said):
        pushed(first, registry.url)


def test_a_registry_that_says_it_has_it_and_lost_it_is_told_as_such(
    first: Path, registry: FakeUpstream
) -> None:
    def loses(request: Request, reply: Reply) -> Reply | None:
        if request.method == "PUT" and reply.status == 201 and "/blobs/" in request.path:
            registry.registry._holds[registry.registry.name_in(request.path)].clear()
        return None

    registry.hooks.append(loses)
    with pytest.raises(UpstreamError, match=r"the registry said that it has it, and has it not"):
        pushed(first, registry.url)


def test_a_manifest_that_is_another_afterwards_is_told(first: Path, registry: FakeUpstream) -> None:
    def other(request: Request, reply: Reply) -> Reply | None:
        if request.method == "GET" and request.path.endswith("/manifests/3.10"):
            return Reply(200, {"Content-Type": MANIFEST}, ETCD_IMAGE.manifest)
        return None

    registry.hooks.append(other)
    with pytest.raises(
        UpstreamError, match=rf"3\.10: the registry took .*, and has {ETCD_IMAGE.digest}"
    ):
        pushed(first, registry.url)


def test_a_damaged_iso_is_to_blame_where_it_is(tmp_path: Path, registry: FakeUpstream) -> None:
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE])
    data = bytearray(path.read_bytes())
    data[data.index(SHARED) + 1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=rf"x\.iso: byte \d+: expected {Digest.of(SHARED)}"):
        pushed(path, registry.url)


def test_an_iso_that_is_replaced_meanwhile_is_not_pushed(
    tmp_path: Path, registry: FakeUpstream
) -> None:
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE])
    catalog = Shelf([path]).open()
    iso(tmp_path / "y", [image(ETCD, b"other" * 1000)]).replace(path)
    with Http(QUICK, netrc=False) as http:
        writer = RegistryWriter(registry.url, http, Credentials(()))
        targets = targets_for(catalog.repositories.values(), FULL_NAMES)
        with pytest.raises(IntegrityError, match=f"{path}: was replaced"):
            push(writer, targets)
        begun = len([line for line in registry.log if line.method == "POST"])
        assert begun <= len(targets[0].held.blobs)  # each is tried once
        path.unlink()
        with pytest.raises(EnvironmentProblem, match=f"{path}: cannot be read any more"):
            push(writer, targets)


def test_signatures_and_referrers_are_carried_and_found(
    tmp_path: Path, registry: FakeUpstream
) -> None:
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE, SIGNATURE, SBOM_OF_IT])
    report = pushed(path, registry.url)
    name, tag = "registry.k8s.io/pause", PAUSE_IMAGE.digest.replace(":", "-")
    assert has(registry, SIGNATURE, name, f"{tag}.sig")
    assert has(registry, SBOM_OF_IT, name)
    fallback = registry.registry.manifest(name, tag)  # for this one has no referrers API
    assert fallback is not None
    assert [e["digest"] for e in json.loads(fallback.data)["manifests"]] == [SBOM_OF_IT.digest]
    assert report.refused == []
    before = len(writes(registry))
    pushed(path, registry.url)
    assert len(writes(registry)) == before


def test_what_others_said_of_an_image_stays_beside_ours(
    tmp_path: Path, registry: FakeUpstream
) -> None:
    other = sbom(PAUSE_IMAGE, b"another")
    pushed(iso(tmp_path / "y.iso", [PAUSE_IMAGE, other]), registry.url)
    pushed(iso(tmp_path / "x.iso", [PAUSE_IMAGE, SBOM_OF_IT]), registry.url)
    tag = PAUSE_IMAGE.digest.replace(":", "-")
    fallback = registry.registry.manifest("registry.k8s.io/pause", tag)
    assert fallback is not None
    listed = {entry["digest"] for entry in json.loads(fallback.data)["manifests"]}
    assert listed == {other.digest, SBOM_OF_IT.digest}


def test_what_a_registry_does_not_keep_is_told_and_the_images_are_there(
    tmp_path: Path, registry: FakeUpstream
) -> None:
    path = iso(tmp_path / "x.iso", [PAUSE_IMAGE, SIGNATURE])

    def no_artifacts(request: Request, reply: Reply) -> Reply | None:
        is_one = request.method == "PUT" and request.length == len(SIGNATURE.manifest)
        return refused(400, "MANIFEST_INVALID", "no such kind") if is_one else None

    registry.hooks.append(no_artifacts)
    report = pushed(path, registry.url)
    assert has(registry, PAUSE_IMAGE, "registry.k8s.io/pause", "3.10")
    assert SIGNATURE.digest in report.refused[0]
    assert "no such kind" in report.refused[0]


def test_what_could_not_be_read_is_named_and_the_rest_is_pushed(
    first: Path, tmp_path: Path, registry: FakeUpstream
) -> None:
    folder = tmp_path / "isos"
    folder.mkdir()
    (folder / "cut.iso").write_bytes(first.read_bytes()[:40_000])
    bad = {"docker/bad.tar": b"no archive" * 60}
    iso(folder / "half.iso", [PAUSE_IMAGE], [ETCD_IMAGE], files=bad)
    words: list[str | Path] = ["site", "push", folder, "--registry", registry.url]
    done = call(*words, "--json", code=7)
    assert whole(registry)
    told = json.loads(done.stdout)["unread"]
    assert [fact.partition(": ")[0] for fact in told] == [
        str(folder / "cut.iso"),
        str(folder / "half.iso"),
    ]
    assert "docker/bad.tar: byte 0: not a tar header" in told[1]
    assert errors(call(*words, code=7))[:2] == [f"error: not pushed: {fact}" for fact in told]
    with open_session(Config(store=str(tmp_path / "store"))) as session:
        assert push_isos([folder], registry.url, session).unread == told


def test_isos_of_one_name_in_different_folders_are_all_pushed(
    tmp_path: Path, registry: FakeUpstream
) -> None:
    for name, stored in (("x", PAUSE_IMAGE), ("y", ETCD_IMAGE)):
        (tmp_path / name).mkdir()
        iso(tmp_path / name / "k.iso", [stored])
    call("site", "push", tmp_path / "x", tmp_path / "y", "--registry", registry.url)
    assert whole(registry)


def test_a_folder_without_isos_is_refused(
    first: Path, tmp_path: Path, registry: FakeUpstream
) -> None:
    done = call("site", "push", first, tmp_path, "--registry", registry.url, code=3)
    assert f"{tmp_path}: no ISO is in it" in errors(done)[0]
    assert registry.log == []


def test_platforms_of_several_isos_become_one_index(tmp_path: Path, registry: FakeUpstream) -> None:
    arm = image(PAUSE, b"arm", architecture="arm64")
    name = "registry.k8s.io/pause"
    amd_iso = iso(tmp_path / "amd.iso", [PAUSE_IMAGE])
    arm_iso = iso(tmp_path / "arm.iso", [arm])
    pushed(amd_iso, registry.url)
    report = pushed(arm_iso, registry.url)
    top = registry.registry.manifest(name, "3.10")
    assert top is not None
    assert top.media_type == INDEX
    listed = {e["platform"]["architecture"]: e["digest"] for e in json.loads(top.data)["manifests"]}
    assert listed == {"amd64": PAUSE_IMAGE.digest, "arm64": arm.digest}
    assert report.moved == [f"{name}:3.10: was {PAUSE_IMAGE.digest}, is {top.digest}"]
    for again in (amd_iso, arm_iso, tmp_path):
        assert pushed(again, registry.url).moved == []
    newer = image(PAUSE, b"newer", architecture="arm64")
    pushed(iso(tmp_path / "newer.iso", [newer]), registry.url)
    last = registry.registry.manifest(name, "3.10")
    assert last is not None
    assert {e["digest"] for e in json.loads(last.data)["manifests"]} == {
        PAUSE_IMAGE.digest,
        newer.digest,
    }


def test_tokens_for_each_repository_are_asked_for(
    first: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logins = tmp_path / "auth.json"
    with FakeUpstream(login=TokenLogin({"ann": "secret"}, lifetime=1)) as server:
        host = server.url.removeprefix("http://")
        logins.write_text(json.dumps({"auths": {host: {"username": "ann", "password": "secret"}}}))
        pushed(first, server.url, credentials=Credentials([logins]))
        assert whole(server)
        assert any("etcd:pull,push" in scope for scope in server.login.issued)  # type: ignore[union-attr]
        wrong = tmp_path / "wrong.json"
        wrong.write_text(logins.read_text().replace("secret", "other"))
        with pytest.raises(UpstreamError, match=r"'ann' of .* was refused"):
            pushed(first, server.url, credentials=Credentials([wrong]))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{registry}", "expected a rule that ends in"),
        ("{repository}/x", "expected a rule that ends in"),
        ("{host}/{repository}", "no other word in braces"),
        ("A/{repository}", "not the name of a repository"),
        ("../{repository}", "not the name of a repository"),
        ("a//{repository}", "not the name of a repository"),
        (f"{'a' * 300}/{{repository}}", "not the name of a repository"),
        ("x/{repository}", r"quay.io/a/b and registry.k8s.io/a/b would both be x/a/b"),
    ],
)
def test_rules_that_give_no_names_are_refused(tmp_path: Path, rule: str, said: str) -> None:
    path = iso(tmp_path / "x.iso", [image("quay.io/a/b:1")], [image("registry.k8s.io/a/b:1")])
    catalog = Shelf([path]).open()
    with pytest.raises(InputError, match=said):
        targets_for(catalog.repositories.values(), rule)


def test_the_settings_name_each_registry_and_what_mold_insists_on(tmp_path: Path) -> None:
    headlamp = image("ghcr.io/headlamp-k8s/headlamp:v0.40.1")
    path = iso(tmp_path / "x.iso", [headlamp], [image("docker.io/library/nginx:1.27")])
    catalog = Shelf([path]).open()
    rule = "{registry}/{repository}"
    targets = targets_for(catalog.repositories.values(), rule)
    text = settings_text("https://harbor.example/k8s", targets, rule)
    assert '[host."https://harbor.example/v2/k8s/ghcr.io"]\n' in text
    assert 'server = "https://registry-1.docker.io"\n' in text
    assert "#   ghcr.io/headlamp-k8s/headlamp\n" in text
    short = settings_text("https://r.example", targets, "{repository}")
    assert '[host."https://r.example/v2"]\n' in short


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("harbor.example/k8s/", "https://harbor.example/k8s"),
        ("https://harbor.example", "https://harbor.example"),
        ("http://r.example:5000/v2/team", "http://r.example:5000/team"),
        ("https://r.example/v2", "https://r.example"),
        ("https://r.example/v2/", "https://r.example"),
        ("https://r.example/v2x/", "https://r.example/v2x"),
    ],
)
def test_addresses_of_registries_are_understood(given: str, base: str) -> None:
    assert registry_base(given) == base


@pytest.mark.parametrize(
    "given", ["ftp://x", "https://", "https://ann:secret@x", "https://x?y", "https://x:y", "//"]
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="expected https://HOST") as caught:
        registry_base(given)
    assert "secret" not in str(caught.value)


def test_a_login_does_not_go_unencrypted_over_the_network_unasked(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeUpstream(login=TokenLogin({"ann": "secret"})) as server:
        logins = tmp_path / "auth.json"
        address = f"site.test:{server.port}"
        logins.write_text(
            json.dumps({"auths": {address: {"username": "ann", "password": "secret"}}})
        )
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(logins))
        monkeypatch.setattr("isobuilder.site.names.is_private", lambda _base: False)
        words = ["site", "push", str(first), "--registry", server.url]
        done = call(*words, code=4)
        assert "is not encrypted; --plain-http sends it" in done.stderr
        assert "a login is needed" in errors(done)[0]
        logins.write_text(logins.read_text().replace(address, server.url.removeprefix("http://")))
        call(*words, "--plain-http", "--json")
        assert whole(server)


@pytest.mark.skipif(not installed(), reason="needs docker-registry")
def test_debians_registry_takes_everything_and_gives_it_back(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registry").mkdir()
    with docker_registry(tmp_path / "registry") as address:
        host = address.removeprefix("http://")
        logins = tmp_path / "auth.json"
        logins.write_text(json.dumps({"auths": {host: {"username": USER, "password": PASSWORD}}}))
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(logins))
        words = ["site", "push", str(first), "--registry", f"{address}/team", "--json"]
        told = json.loads(call(*words).stdout)["blobs"]
        assert (told["sent"], told["mounted"], told["there"]) == (BLOBS, 1, 0)
        again = json.loads(call(*words).stdout)
        assert (again["blobs"]["sent"], again["manifests"]["sent"]) == (0, 0)
        if shutil.which("skopeo") is None:
            return
        for stored, name in ((PAUSE_IMAGE, PAUSE), (ETCD_IMAGE, ETCD)):
            target = tmp_path / stored.digest.hex
            copy = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false"]
            copy += ["--src-creds", f"{USER}:{PASSWORD}", f"docker://{host}/team/{name}"]
            subprocess.run([*copy, f"dir:{target}"], check=True, capture_output=True)
            assert (target / "manifest.json").read_bytes() == stored.manifest
            for blob in stored.blobs:
                assert (target / Digest.of(blob).hex).read_bytes() == blob


_CHILD = """
import os, sys
from isobuilder.cli.main import main
from isobuilder.http import timed
from isobuilder.sources.pushing import RegistryWriter

left, how = int(sys.argv[1]), int(sys.argv[2])
count = 0

def tick():
    global count
    count += 1
    if count == left:
        os.kill(os.getpid(), how)

def ticking(call):
    def ticked(*given, **named):
        tick()
        answer = call(*given, **named)
        tick()
        return answer
    return ticked

timed._AT_ONCE = 128 * 1024
timed.send_file = ticking(timed.send_file)
RegistryWriter._ask = ticking(RegistryWriter._ask)
try:
    main(sys.argv[3:])
finally:
    print("moments", count, file=sys.stderr)
"""


@pytest.mark.skipif(not installed(), reason="needs docker-registry")
def test_killed_or_interrupted_at_random_moments_and_repeated_debians_registry_has_it_all(
    first: Path, tmp_path: Path
) -> None:
    def push_ended(moment: int, how: int, base: str) -> tuple[int, str]:
        """Push; at a moment comes a signal. Return the exit code and the last line it said."""
        words = ["site", "push", str(first), "--registry", base, "-q"]
        child = [sys.executable, "-c", _CHILD, str(moment), str(how), *words]
        done = subprocess.run(child, capture_output=True, text=True, timeout=250, check=False)
        return done.returncode, (done.stderr.splitlines() or [""])[-1]

    (tmp_path / "registry").mkdir()
    with (
        docker_registry(tmp_path / "registry", login=False) as address,
        Http(QUICK, netrc=False) as http,
    ):
        code, last = push_ended(0, 0, f"{address}/whole")
        assert code == 0
        moments = int(last.removeprefix("moments "))
        assert moments > 40
        chance = random.Random()
        ended = 0
        while ended < KILLS:
            how, expected = ENDS[ended % 2]
            base = f"{address}/{ended}"
            code, _ = push_ended(chance.randint(1, moments), how, base)
            assert code in {0, expected}
            ended += code == expected
            assert push_ended(0, 0, base)[0] == 0
            writer = RegistryWriter(base, http, Credentials(()))
            for stored in (PAUSE_IMAGE, ETCD_IMAGE):
                name, _, tag = str(stored.name).partition(":")
                kept = writer.manifest(name, tag)
                assert kept is not None
                assert kept.data == stored.manifest
                for blob in stored.blobs:
                    assert writer.small_blob(name, Digest.of(blob)) == blob
