"""``site push --prune`` deletes what only old ISOs needed, and first tells what that is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from isobuilder.demo.images import ImageDocument
from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, UpstreamError
from isobuilder.http.client import Http
from isobuilder.http.replies import Reply, Request
from isobuilder.site.names import FULL_NAMES, PushTarget, targets_for
from isobuilder.site.prune import PrunePlan, carry_out, plan_prune
from isobuilder.site.push import push
from isobuilder.site.registry import refused
from isobuilder.site.shelf import Shelf
from isobuilder.sources.pushing import RegistryWriter
from isobuilder.sources.registry_auth import Credentials
from tests.cli.calling import call, errors
from tests.conftest import QUICK
from tests.fakes.upstream import FakeUpstream
from tests.site.isos import (
    ETCD,
    INDEX,
    MANIFEST,
    PAUSE,
    described,
    image,
    iso,
    sbom,
    signature,
)

NAME = "registry.k8s.io/pause"
OLD, SHARED, NEW = image(f"{NAME}:3.9"), image(ETCD), image(PAUSE)


class Deleting(FakeUpstream):
    """A registry that deletes manifests."""

    deletes = True

    def answer(self, request: Request) -> Reply:
        name, _, reference = request.path.removeprefix("/v2/").partition("/manifests/")
        if request.method != "DELETE" or not self.deletes:
            return super().answer(request)
        with self._settled:
            self._busy += 1
        held = self.registry._manifests[name]
        gone = held.get(reference)
        if gone is None:
            return refused(404, "MANIFEST_UNKNOWN", "no such")
        for key in [key for key, document in held.items() if document is gone]:
            del held[key]
        return Reply(202)


def targets(*places: Path) -> tuple[PushTarget, ...]:
    return targets_for(Shelf(places).open().repositories.values(), FULL_NAMES)


class Site:
    def __init__(self, server: FakeUpstream, http: Http) -> None:
        self.server, self.writer = server, RegistryWriter(server.url, http, Credentials(()))

    def push(self, *places: Path) -> None:
        push(self.writer, targets(*places))

    def plan(self, old: Path, *needed: Path) -> PrunePlan:
        return plan_prune(self.writer, targets(old), targets(*needed))

    def has(self, digest: Digest, name: str = NAME) -> bool:
        return self.server.registry.manifest(name, digest) is not None


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return iso(tmp_path / "old.iso", [OLD, signature(OLD), sbom(OLD)], [SHARED])


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return iso(tmp_path / "new.iso", [NEW], [SHARED])


def test_only_what_no_other_iso_needs_is_deleted(old: Path, new: Path) -> None:
    with Deleting() as server, Http(QUICK, netrc=False) as http:
        site = Site(server, http)
        site.push(old, new)
        plan = site.plan(old, new)
        assert {one.repository for one in plan.doomed} == {NAME}
        assert plan.kept == []
        assert site.has(OLD.digest)  # nothing was done so far
        carry_out(site.writer, plan)
        for gone in (OLD, signature(OLD), sbom(OLD)):
            assert not site.has(gone.digest)
        assert server.registry.tags(NAME) == ("3.10",)
        assert site.has(SHARED.digest, "registry.k8s.io/etcd")
        assert site.plan(old, new).doomed == []


def test_what_a_tag_of_somebody_else_names_stays(old: Path, new: Path) -> None:
    with Deleting() as server, Http(QUICK, netrc=False) as http:
        site = Site(server, http)
        site.push(old, new)
        kept = server.registry.manifest(NAME, "3.9")
        assert kept is not None
        server.registry.put_manifest(NAME, kept, tag="mine")
        plan = site.plan(old, new)
        assert plan.kept == [f"{NAME}@{OLD.digest}: the tag mine needs it"]
        assert plan.doomed == []  # nor what is about it
        carry_out(site.writer, plan)
        assert site.has(OLD.digest)
        assert site.has(sbom(OLD).digest)


def test_an_index_that_another_iso_needs_keeps_its_images(tmp_path: Path) -> None:
    arm = image(PAUSE, b"arm", architecture="arm64")
    first, second = iso(tmp_path / "1.iso", [NEW]), iso(tmp_path / "2.iso", [arm])
    with Deleting() as server, Http(QUICK, netrc=False) as http:
        site = Site(server, http)
        site.push(first)
        site.push(second)
        plan = site.plan(first, second)
        assert plan.doomed == []
        assert plan.kept == [f"{NAME}@{NEW.digest}: the tag 3.10 needs it"]


ARM = image(PAUSE, b"arm", architecture="arm64")


def merged(tmp_path: Path) -> tuple[Path, Path]:
    """ISOs with one tag for two platforms."""
    return iso(tmp_path / "amd.iso", [NEW]), iso(tmp_path / "arm.iso", [ARM])


def test_what_a_tag_over_several_platforms_lists_stays_until_all_of_it_goes(
    tmp_path: Path, old: Path
) -> None:
    amd, arm = merged(tmp_path)
    with Deleting() as server, Http(QUICK, netrc=False) as http:
        site = Site(server, http)
        site.push(amd)
        site.push(arm)
        top = server.registry.manifest(NAME, "3.10")
        assert top is not None
        for one, digest in ((amd, NEW.digest), (arm, ARM.digest)):
            plan = site.plan(one, old)
            assert plan.doomed == []
            assert plan.kept == [f"{NAME}@{digest}: the tag 3.10 needs it"]
        both = plan_prune(site.writer, targets(amd, arm), targets(old))
        assert {one.digest for one in both.doomed} == {top.digest, NEW.digest, ARM.digest}
        assert both.doomed[0].digest == top.digest
        server.registry.put_manifest(NAME, top, tag="mine")
        assert plan_prune(site.writer, targets(amd, arm), targets(old)).doomed == []


def test_an_index_of_which_nothing_else_is_there_goes_with_its_last_image(
    tmp_path: Path, old: Path
) -> None:
    amd, arm = merged(tmp_path)
    with Deleting() as server, Http(QUICK, netrc=False) as http:
        site = Site(server, http)
        site.push(amd)
        site.push(arm)
        del server.registry._manifests[NAME][NEW.digest]  # as somebody deleted it
        carry_out(site.writer, site.plan(arm, old))
        assert server.registry.tags(NAME) == ()
        assert not site.has(ARM.digest)


def by_token(server: FakeUpstream, *, ends: bool = True) -> None:
    """Let the list of tags come one by one, by tokens in place of the last name."""

    def page(request: Request, _reply: Reply) -> Reply | None:
        if not request.path.endswith("/tags/list"):
            return None
        name = server.registry.name_in(request.path)
        tags, number = server.registry.tags(name), int(request.first("page") or 0)
        number = number if ends else 0
        headers = {"Content-Type": "application/json"}
        if number + 1 < len(tags) or not ends:
            token = number + 1 if ends else len(server._log)
            headers["Link"] = f'<https://elsewhere.test{request.path}?page={token}>; rel="next"'
        body = json.dumps({"name": name, "tags": tags[number : number + 1]})
        return Reply(200, headers, body.encode())

    server.hooks.append(page)


def test_tags_that_come_in_pages_by_token_are_all_seen(old: Path, new: Path) -> None:
    with Deleting() as server, Http(QUICK, netrc=False) as http:
        site = Site(server, http)
        site.push(old, new)
        kept = server.registry.manifest(NAME, "3.9")
        assert kept is not None
        server.registry.put_manifest(NAME, kept, tag="theirs")
        by_token(server)
        assert site.writer.tags(NAME) == list(server.registry.tags(NAME))
        plan = site.plan(old, new)
        assert plan.doomed == []
        assert plan.kept == [f"{NAME}@{OLD.digest}: the tag theirs needs it"]


def test_nothing_is_planned_where_the_pages_of_tags_come_to_no_end(old: Path, new: Path) -> None:
    with Deleting() as server, Http(QUICK, netrc=False) as http:
        site = Site(server, http)
        site.push(old, new)
        by_token(server, ends=False)
        with pytest.raises(UpstreamError, match=r"tags/list.*: its pages repeat themselves"):
            site.plan(old, new)
        server.hooks[:] = [answering_tags(b'{"errors": []}')]
        with pytest.raises(UpstreamError, match="not the list that was asked for"):
            site.plan(old, new)
        server.hooks[:] = [answering_tags(b'{"tags": null}')]
        assert site.writer.tags(NAME) == []


def answering_tags(body: bytes) -> Callable[[Request, Reply], Reply | None]:
    return lambda request, _: Reply(200, {}, body) if "/tags/" in request.path else None


def test_what_tags_lead_to_in_other_ways_stays(old: Path, new: Path) -> None:
    inner = index_document({**described(MANIFEST, OLD.manifest)})
    outer = index_document({**described(INDEX, inner.data)})
    ancient = ImageDocument(f'{{"schemaVersion": 1, "x": "{OLD.digest}"}}'.encode(), MANIFEST)
    for documents in ((inner, outer), (ancient,)):
        with Deleting() as server, Http(QUICK, netrc=False) as http:
            site = Site(server, http)
            site.push(old, new)
            for document in documents:
                server.registry.put_manifest(NAME, document)
            server.registry.put_manifest(NAME, documents[-1], tag="theirs")
            plan = site.plan(old, new)
            assert plan.doomed == []
            assert plan.kept == [f"{NAME}@{OLD.digest}: the tag theirs needs it"]


def index_document(*entries: dict[str, object]) -> ImageDocument:
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    return ImageDocument(json.dumps(body).encode(), INDEX)


def test_a_registry_that_deletes_nothing_is_told(old: Path, new: Path) -> None:
    with Deleting() as server, Http(QUICK, netrc=False) as http:
        site = Site(server, http)
        site.push(old)
        server.deletes = False
        plan = site.plan(old, new)
        with pytest.raises(EnvironmentProblem, match="405") as caught:
            carry_out(site.writer, plan)
        assert "storage.delete.enabled" in str(caught.value.hint)
        words: list[str | Path] = ["site", "push", new, "--registry", server.url, "--prune", old]
        assert call(*words, "--yes", "--json", code=6).stdout == ""  # nothing is said to be deleted


def test_what_is_still_there_after_it_was_deleted_is_told(old: Path, new: Path) -> None:
    with Deleting() as server, Http(QUICK, netrc=False) as http:
        site = Site(server, http)
        site.push(old)
        plan = site.plan(old, new)
        server.hooks.append(lambda request, _: Reply(202) if request.method == "DELETE" else None)
        server.deletes = False
        with pytest.raises(UpstreamError, match="deleted it, and still has it"):
            carry_out(site.writer, plan)


def test_the_command_tells_first_and_deletes_when_told_to(old: Path, new: Path) -> None:
    with Deleting() as server:
        words = ["site", "push", str(new), "--registry", server.url]
        call("site", "push", str(old), str(new), "--registry", server.url)
        told = call(*words, "--prune", str(old))
        assert f"{NAME}@{OLD.digest} (3.9)" in told.stdout
        assert "would be deleted" in told.stderr
        assert server.exchanges("DELETE") == []
        done = json.loads(call(*words, "--prune", str(old), "--yes", "--json").stdout)
        assert done["deleted"] is True
        assert server.registry.tags(NAME) == ("3.10",)
        call(*words, "--yes", code=2)


def cut(new: Path, folder: Path) -> None:
    (folder / "new.iso").write_bytes(new.read_bytes()[:40_000])


def half(_new: Path, folder: Path) -> None:
    iso(folder / "new.iso", [SHARED], files={"docker/bad.tar": b"no archive" * 60})


def gone(_new: Path, folder: Path) -> None:
    (folder / "new.iso").symlink_to(folder / "not-mounted/new.iso")


def nothing(_new: Path, _folder: Path) -> None:
    """An empty folder, or a medium that is not mounted."""


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (cut, 5, "new.iso: "),
        (half, 5, "new.iso: docker/bad.tar: byte 0: not a tar header"),
        (gone, 5, "new.iso: no such file"),
        (nothing, 3, "no ISO is in it"),
    ],
)
def test_nothing_is_deleted_if_anything_that_was_named_was_not_read(
    old: Path,
    new: Path,
    tmp_path: Path,
    spoil: Callable[[Path, Path], None],
    code: int,
    said: str,
) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    spoil(new, folder)
    with Deleting() as server:
        call("site", "push", old, new, "--registry", server.url)
        pruning: list[str | Path] = ["--registry", server.url, "--yes", "--prune"]
        for words in (
            [folder, *pruning, old],
            [new, *pruning, folder],
            [new, folder, *pruning, old],
        ):
            done = call("site", "push", *words, code=code)
            assert said in errors(done)[0]
        assert server.exchanges("DELETE") == []
        assert {"3.9", "3.10"} <= set(server.registry.tags(NAME))


def test_isos_of_one_name_in_different_folders_are_all_needed(old: Path, new: Path) -> None:
    places = [old.parent / "x", old.parent / "y"]
    for place, path in zip(places, (new, old), strict=True):
        place.mkdir()
        shutil.copy(path, place / "k.iso")
    with Deleting() as server:
        call("site", "push", *places, "--registry", server.url)
        call("site", "push", *places, "--registry", server.url, "--prune", old, "--yes")
        assert server.exchanges("DELETE") == []
        assert {"3.9", "3.10"} <= set(server.registry.tags(NAME))
