"""A real S3 server whose answers are lost, cut, delayed or refused: a clear line, nothing twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError, UpstreamError
from isobuilder.http.settings import HttpSettings
from isobuilder.model.policy import Bucket
from isobuilder.publish import s3
from isobuilder.publish.index import change_index, index_of
from isobuilder.publish.place import publish_file
from isobuilder.publish.s3 import BucketPlace
from tests.fakes import s3_faults as fault
from tests.fakes.versity import ACCESS, BUCKET, MISSING, PROGRAM, SECRET, Versity, versity
from tests.publish.test_place import entry, file_of

pytestmark = [pytest.mark.lab, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]
LARGE = 9 * 1024 * 1024  # bytes, two parts
EVER = 40  # times


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versity]:
    with versity(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def asked(server: Versity, monkeypatch: pytest.MonkeyPatch) -> Iterator[fault.Asked]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(s3, "_RETRIES", 2)
    with fault.faulty(server.url) as between:
        yield between


@pytest.fixture
def place(asked: fault.Asked, tmp_path: Path) -> BucketPlace:
    return BucketPlace(
        Bucket(name=BUCKET, prefix=tmp_path.name, endpoint=asked.url), HttpSettings()
    )


def straight(server: Versity, tmp_path: Path) -> BucketPlace:
    """The same place, with nothing between."""
    return BucketPlace(
        Bucket(name=BUCKET, prefix=tmp_path.name, endpoint=server.url), HttpSettings()
    )


@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize(
    "what",
    [
        fault.says(503, "SlowDown"),
        fault.says(500, "InternalError"),
        fault.cut_while_sending,
    ],
    ids=["slow down", "internal error", "cut"],
)
def test_a_fault_that_passes_is_not_noticed(
    place: BucketPlace, asked: fault.Asked, tmp_path: Path, size: int, what: fault.Fault
) -> None:
    data = os.urandom(size)
    asked.wait("HEAD ", fault.says(503, "SlowDown"))
    asked.wait("PUT ", what, 2 if size < LARGE else 1)
    assert publish_file(place, file_of(tmp_path, data), "a.iso")
    assert asked.faults == []
    assert place.digest_of("a.iso") == Digest.of(data)
    assert not publish_file(place, file_of(tmp_path, data), "a.iso")


@pytest.mark.parametrize("size", [1000, LARGE])
def test_an_answer_that_is_lost_publishes_nothing_twice(
    place: BucketPlace, asked: fault.Asked, server: Versity, tmp_path: Path, size: int
) -> None:
    """The server has the file; asked again it refuses, and the file is found to be ours."""
    data = os.urandom(size)
    asked.wait(
        "PUT " if size < LARGE else f"POST /{BUCKET}/{tmp_path.name}/a.iso?uploadId",
        fault.lose_the_answer,
    )
    source = file_of(tmp_path, data)
    with suppress(UpstreamError):
        publish_file(place, source, "a.iso")
    assert asked.faults == []
    assert not publish_file(place, source, "a.iso")
    assert straight(server, tmp_path).digest_of("a.iso") == Digest.of(data)


WHAT_IS_SAID = {
    (503, "SlowDown"): "the server has too much to do",
    (400, "ExpiredToken"): "the login has expired",
    (403, "RequestTimeTooSkewed"): "this machine's clock and the server's are too far apart",
    (403, "SignatureDoesNotMatch"): "refused for this login",
    (403, "QuotaExceeded"): "there is no room left",
    (507, "XMinioStorageFull"): "there is no room left",
    (501, "NotImplemented"): "this server does not know such a request",
    (404, "NoSuchBucket"): "there is no such bucket",
    (418, "Teapot"): "the server answered 418 Teapot: as told",
}


@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize(("status", "code"), WHAT_IS_SAID, ids=str)
def test_what_a_server_refuses_is_told_in_a_line_and_leaves_nothing(
    place: BucketPlace,
    asked: fault.Asked,
    server: Versity,
    tmp_path: Path,
    status: int,
    code: str,
    size: int,
) -> None:
    for method in ("PUT ", "POST "):
        asked.wait(method, fault.says(status, code), EVER)
    with pytest.raises(UpstreamError) as refused:
        publish_file(place, file_of(tmp_path, b"x" * size), "a.iso")
    told = str(refused.value)
    assert told.startswith(f"s3://{BUCKET}/{tmp_path.name}/a.iso: {WHAT_IS_SAID[status, code]}")
    assert "\n" not in told
    assert len(told) < 250
    assert straight(server, tmp_path).size_of("a.iso") is None


def test_the_reason_of_a_refused_look_is_asked_for(place: BucketPlace, asked: fault.Asked) -> None:
    """An answer to HEAD has no body, so the reason is in that to GET."""
    for method in ("HEAD ", "GET "):
        asked.wait(method, fault.says(403, "RequestTimeTooSkewed"))
    with pytest.raises(UpstreamError, match="clock"):
        place.size_of("a.iso")


@pytest.mark.parametrize("size", [1000, LARGE])
def test_bytes_that_change_on_their_way_get_no_name(
    place: BucketPlace, asked: fault.Asked, server: Versity, tmp_path: Path, size: int
) -> None:
    asked.wait("PUT ", fault.damaged, EVER)
    with pytest.raises(UpstreamError, match=r"a\.iso: other bytes arrived than were sent"):
        publish_file(place, file_of(tmp_path, os.urandom(size)), "a.iso")
    assert straight(server, tmp_path).size_of("a.iso") is None


def test_a_server_that_never_lets_a_body_through_is_told(
    place: BucketPlace, asked: fault.Asked, tmp_path: Path
) -> None:
    asked.wait("PUT ", fault.cut_while_sending, EVER)
    with pytest.raises(UpstreamError, match=r"a\.iso: no whole answer came: ") as told:
        publish_file(place, file_of(tmp_path, os.urandom(LARGE)), "a.iso")
    assert "nothing is published twice" in (told.value.hint or "")


def test_an_object_that_comes_in_half_is_not_taken_for_whole(
    place: BucketPlace, asked: fault.Asked, tmp_path: Path
) -> None:
    """Read again from where it broke off, or an error; never other bytes."""
    data = os.urandom(LARGE)
    publish_file(place, file_of(tmp_path, data), "a.iso")
    asked.wait("GET ", fault.cut_the_answer)
    assert place.digest_of("a.iso") == Digest.of(data)
    asked.wait("GET ", fault.cut_the_answer, EVER)
    with pytest.raises(UpstreamError, match=r"a\.iso: "):
        place.digest_of("a.iso")


# --- conditions


def test_a_name_refused_while_nothing_is_there_is_tried_again(
    place: BucketPlace, asked: fault.Asked, tmp_path: Path
) -> None:
    """Another who was about to write it gave up: 409, and still nobody has it."""
    asked.wait("PUT ", fault.says(409, "ConditionalRequestConflict"))
    assert publish_file(place, file_of(tmp_path, b"1"), "a.iso")
    asked.wait("PUT ", fault.says(412, "PreconditionFailed"), EVER)
    with pytest.raises(UpstreamError, match=r"b\.iso: refused 3 times .*; nothing is there"):
        publish_file(place, file_of(tmp_path, b"1"), "b.iso")


def test_a_name_that_another_takes_meanwhile_stays_his(
    place: BucketPlace, asked: fault.Asked, server: Versity, tmp_path: Path
) -> None:
    def another(request: fault.Between, body: bytes) -> None:
        straight(server, tmp_path).add(file_of(tmp_path, b"his", "his"), "a.iso")
        fault.pass_on(request, body)

    asked.wait("PUT ", another)
    with pytest.raises(IntegrityError, match="is published with other bytes"):
        publish_file(place, file_of(tmp_path, b"ours"), "a.iso")
    assert straight(server, tmp_path).read("a.iso", 10) == b"his"


def test_an_index_whose_etag_is_wrong_once_is_changed_and_ever_is_told(
    place: BucketPlace, asked: fault.Asked, server: Versity, tmp_path: Path
) -> None:
    change_index(place, lambda index: index.with_iso(entry(1)))
    asked.wait("GET ", fault.wrong_etag)
    change_index(place, lambda index: index.with_iso(entry(2)))
    asked.wait("GET ", fault.wrong_etag, EVER)
    with pytest.raises(UpstreamError, match=r"index\.json: others changed it 10 times meanwhile"):
        change_index(place, lambda index: index.with_iso(entry(3)))
    there = index_of(straight(server, tmp_path))
    assert [one.kubernetes.patch for one in there.isos] == [1, 2]


def test_an_index_whose_answer_is_lost_has_the_entry_once(
    place: BucketPlace, asked: fault.Asked, server: Versity, tmp_path: Path
) -> None:
    change_index(place, lambda index: index.with_iso(entry(1)))
    asked.wait("PUT ", fault.lose_the_answer)
    change_index(place, lambda index: index.with_iso(entry(2)))
    assert asked.faults == []
    there = index_of(straight(server, tmp_path))
    assert [one.kubernetes.patch for one in there.isos] == [1, 2]
