"""The embedded upstream speaks HTTP and OCI as the real ones do."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest

from isobuilder.digest import Digest
from isobuilder.formats import oci
from isobuilder.http.replies import Reply, Request
from tests.fakes.images import simple
from tests.fakes.logins import TokenLogin
from tests.fakes.upstream import FakeUpstream

FILE = "/dl.k8s.io/release/v1.34.12/bin/linux/amd64/kubeadm"


class Got(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> Got:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, method=method, data=data, headers=named)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Got(answer.status, found, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            found = {name.lower(): value for name, value in error.headers.items()}
            return Got(error.code, found, error.read())


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        server.put_file(FILE, b"0123456789")
        yield server


def test_a_file_is_served_with_a_validator(upstream: FakeUpstream) -> None:
    got = ask(upstream.url + FILE)
    assert (got.status, got.body) == (200, b"0123456789")
    assert got.headers["content-length"] == "10"
    assert got.headers["etag"].startswith('"')
    assert got.headers["last-modified"] == "Mon, 01 Jan 2024 00:00:00 GMT"


def test_head_names_the_length_and_sends_no_body(upstream: FakeUpstream) -> None:
    got = ask(upstream.url + FILE, "HEAD")
    assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "10")


def test_what_is_not_there_is_404(upstream: FakeUpstream) -> None:
    assert ask(upstream.url + "/dl.k8s.io/nothing").status == 404


@pytest.mark.parametrize(
    ("asked", "status", "body", "stretch"),
    [
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=x-", 200, b"0123456789", None),
    ],
)
def test_a_range_is_answered_as_rfc_9110_says(
    upstream: FakeUpstream, asked: str, status: int, body: bytes, stretch: str | None
) -> None:
    got = ask(upstream.url + FILE, Range=asked)
    assert (got.status, got.body, got.headers.get("content-range")) == (status, body, stretch)


@pytest.mark.parametrize("path", [False, True])
def test_a_range_of_changed_content_brings_the_whole(
    upstream: FakeUpstream, tmp_path: Path, path: bool
) -> None:
    content: bytes | Path = b"abcdefghij"
    if path:
        content = tmp_path / "file"
        content.write_bytes(b"abcdefghij")
    upstream.put_file(FILE, content)
    etag = ask(upstream.url + FILE, "HEAD").headers["etag"]
    same = ask(upstream.url + FILE, Range="bytes=5-", If_Range=etag)
    other = ask(upstream.url + FILE, Range="bytes=5-", If_Range='"other"')
    assert (same.status, same.body) == (206, b"fghij")
    assert (other.status, other.body) == (200, b"abcdefghij")


def test_a_date_is_no_proof_that_a_file_is_the_same(upstream: FakeUpstream) -> None:
    when = ask(upstream.url + FILE, "HEAD").headers["last-modified"]
    assert ask(upstream.url + FILE, Range="bytes=5-", If_Range=when).status == 200


def test_the_log_counts_the_bytes_that_went_out(upstream: FakeUpstream) -> None:
    ask(upstream.url + FILE, Range="bytes=4-")
    ask(upstream.url + FILE, "HEAD")
    assert [line[:4] for line in upstream.log] == [("GET", FILE, 206, 6), ("HEAD", FILE, 200, 0)]


def test_mirrors_lead_to_every_host_and_registry(upstream: FakeUpstream) -> None:
    upstream.put_image("registry.k8s.io/pause", "3.10.1", simple("pause"))
    assert upstream.mirrors == {
        "https://dl.k8s.io": (f"{upstream.url}/dl.k8s.io",),
        "registry.k8s.io": (f"{upstream.url}/registry.k8s.io",),
    }


def test_a_hook_replaces_the_answer_once(upstream: FakeUpstream) -> None:
    def busy(request: Request, reply: Reply) -> Reply | None:
        upstream.hooks.remove(busy)
        return Reply(503, {"Retry-After": "1"})

    upstream.hooks.append(busy)
    assert [ask(upstream.url + FILE).status for _ in range(2)] == [503, 200]


def test_close_ends_every_thread_even_with_a_connection_left_open() -> None:
    before = set(threading.enumerate())
    opened = threading.Event()
    with FakeUpstream() as server:

        def stall(request: Request, reply: Reply) -> Reply:
            opened.set()
            server.closing.wait()
            return reply

        server.hooks.append(stall)
        client = threading.Thread(target=_ignore_errors, args=(server.url + FILE,))
        client.start()
        assert opened.wait(60)
    client.join(60)
    assert not client.is_alive()
    assert set(threading.enumerate()) <= before


def _ignore_errors(url: str) -> None:
    try:
        ask(url)
    except (OSError, HTTPException):  # an answer that is cut off is the second kind
        return


def test_an_image_is_served_by_tag_and_by_digest(upstream: FakeUpstream) -> None:
    image = simple("pause", attestations=True)
    upstream.put_image("registry.k8s.io/pause", "3.10.1", image)
    base = f"{upstream.url}/v2/registry.k8s.io/pause"
    by_tag = ask(f"{base}/manifests/3.10.1")
    assert by_tag.body == image.top.data
    assert by_tag.headers["docker-content-digest"] == Digest.of(by_tag.body)
    for document in image.manifests:
        assert ask(f"{base}/manifests/{document.digest}").body == document.data
        for blob in oci.parse_index(by_tag.body, place="pause").manifests:
            assert ask(f"{base}/manifests/{blob.digest}", "HEAD").status == 200
    for data in image.blobs:
        part = ask(f"{base}/blobs/{Digest.of(data)}", Range="bytes=1-")
        assert (part.status, part.body) == (206, data[1:])
    other = f"{upstream.url}/v2/registry.k8s.io/other/blobs/{Digest.of(image.blobs[0])}"
    assert ask(other).status == 404


def test_tags_come_in_pages(upstream: FakeUpstream) -> None:
    for tag in ("3.9", "3.10", "3.10.1"):
        upstream.put_image("registry.k8s.io/pause", tag, simple("pause"))
    first = ask(f"{upstream.url}/v2/registry.k8s.io/pause/tags/list?n=2")
    assert json.loads(first.body)["tags"] == ["3.10", "3.10.1"]
    following = first.headers["link"].partition(">")[0].lstrip("<")
    assert json.loads(ask(upstream.url + following).body)["tags"] == ["3.9"]


def test_a_token_opens_one_repository_until_it_expires() -> None:
    login = TokenLogin({"ann": "secret"})
    with FakeUpstream(login=login) as server:
        for name in ("a", "b"):
            server.put_image(f"r.example/{name}", "1", simple(name))
        refused = ask(f"{server.url}/v2/r.example/a/manifests/1")
        assert refused.status == 401
        scope = 'scope="repository:r.example/a:pull"'
        assert scope in refused.headers["www-authenticate"]
        token_url = f"{server.url}/token?service=demo&scope=repository:r.example/a:pull"
        assert ask(token_url).status == 401
        answer = json.loads(ask(token_url, Authorization="Basic YW5uOnNlY3JldA==").body)
        bearer = f"Bearer {answer['token']}"
        for name, status in (("a", 200), ("b", 401)):
            url = f"{server.url}/v2/r.example/{name}/manifests/1"
            assert ask(url, Authorization=bearer).status == status
        login.revoke_all()
        url = f"{server.url}/v2/r.example/a/manifests/1"
        assert ask(url, Authorization=bearer).status == 401


def test_what_is_pushed_in_pieces_can_be_pulled(upstream: FakeUpstream) -> None:
    image = simple("tool", architectures=["amd64"], style="oci")
    base = f"{upstream.url}/v2/private.example/tool"
    early = ask(f"{base}/manifests/1", "PUT", image.top.data, Content_Type=image.top.media_type)
    assert early.status == 404  # its blobs are not there yet
    for data in image.blobs:
        begun = ask(f"{base}/blobs/uploads/", "POST", b"")
        place = upstream.url + begun.headers["location"]
        assert ask(place, "PATCH", data[:5]).status == 202
        bad = ask(place, "PATCH", data[5:], Content_Range=f"9-{len(data)}")
        assert bad.status == 416
        ended = ask(f"{place}&digest={Digest.of(data)}", "PUT", data[5:])
        assert ended.status == 201
    for document in (*image.manifests, image.top):
        for reference in (document.digest, "1"):
            pushed = ask(
                f"{base}/manifests/{reference}",
                "PUT",
                document.data,
                Content_Type=document.media_type,
            )
            assert pushed.status == 201
    assert ask(f"{base}/manifests/1").body == image.top.data


def test_a_push_of_other_bytes_than_named_is_refused(upstream: FakeUpstream) -> None:
    base = f"{upstream.url}/v2/private.example/tool/blobs"
    refused = ask(f"{base}/uploads/?digest={Digest.of(b'a')}", "POST", b"b")
    assert refused.status == 400
    assert ask(f"{base}/{Digest.of(b'a')}").status == 404
