"""A published name stands for the same bytes for ever, in a folder as in a bucket."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from isobuilder.digest import Digest
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import EnvironmentProblem, IntegrityError, IsobuilderError, UpstreamError
from isobuilder.formats.kube import KubeVersion
from isobuilder.http.settings import HttpSettings, ServerAccess
from isobuilder.model.policy import Bucket
from isobuilder.publish import s3
from isobuilder.publish.index import (
    INDEX,
    SUMS,
    Published,
    Retired,
    change_index,
    index_of,
    write_sums,
)
from isobuilder.publish.place import FolderPlace, PublishedPlace, publish_file
from isobuilder.publish.s3 import BucketPlace
from tests.fakes.versity import ACCESS, BUCKET, MISSING, PROGRAM, SECRET, Versity, versity

needs_versity = pytest.mark.skipif(PROGRAM is None, reason=MISSING)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versity]:
    with versity(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def bucket(server: Versity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BucketPlace:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    wanted = Bucket(name=BUCKET, prefix=f"team/{tmp_path.name}", endpoint=server.url)
    return BucketPlace(wanted, HttpSettings())


@pytest.fixture(params=["folder", pytest.param("bucket", marks=[needs_versity, pytest.mark.lab])])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> PublishedPlace:
    if request.param == "bucket":
        found = request.getfixturevalue("bucket")
        assert isinstance(found, BucketPlace)
        return found
    (tmp_path / "published").mkdir()
    return FolderPlace(tmp_path / "published")


def file_of(folder: Path, data: bytes, name: str = "source") -> Path:
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("size", [0, 1000, 9 * 1024 * 1024])
def test_a_name_is_given_once(place: PublishedPlace, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    assert place.size_of("a.iso") is None
    assert publish_file(place, file_of(tmp_path, data), "a.iso")
    assert not publish_file(place, file_of(tmp_path, data), "a.iso")
    other = file_of(tmp_path, os.urandom(size + 1))
    with pytest.raises(IntegrityError, match=r"a\.iso: is published with other bytes"):
        publish_file(place, other, "a.iso")
    same_size = file_of(tmp_path, bytes(reversed(data)) if size else b"x")
    with pytest.raises(IntegrityError, match=r"a\.iso: is published with other bytes"):
        publish_file(place, same_size, "a.iso")
    assert place.digest_of("a.iso") == Digest.of(data)
    assert place.size_of("a.iso") == size
    place.remove("a.iso")
    place.remove("a.iso")
    assert place.size_of("a.iso") is None


def test_of_two_who_give_one_name_the_second_is_refused(
    place: PublishedPlace, tmp_path: Path
) -> None:
    sources = [file_of(tmp_path, f"{number}".encode(), str(number)) for number in range(8)]

    def attempt(source: Path) -> bool:
        try:
            return publish_file(place, source, "a.iso.sha256")
        except IntegrityError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, sources)) == 1


def entry(number: int) -> Published:
    return Published(
        name=f"kubernetes-v1.34.{number}-mold-cks-amd64-r1.iso",
        kubernetes=KubeVersion(f"1.34.{number}"),
        profile="mold-cks",
        architecture="amd64",
        revision=1,
        sha256=Digest.of(bytes([number])),
        size=number,
        lock=Digest.of(b"lock" + bytes([number])),
    )


def test_an_index_loses_nothing_that_others_add_meanwhile(place: PublishedPlace) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda number: change_index(place, lambda index: index.with_iso(entry(number))),
                range(6),
            )
        )
    index = index_of(place)
    assert [one.kubernetes.patch for one in index.isos] == list(range(6))
    write_sums(place, index)
    sums = place.read(SUMS, 10_000)
    assert sums is not None
    assert sums.decode().splitlines() == [f"{o.sha256.hex}  {o.name}" for o in index.isos]


def test_what_was_taken_away_stays_known(place: PublishedPlace) -> None:
    one = entry(1)
    gone = Retired(name=one.name, sha256=one.sha256, lock=one.lock, day=date(2026, 1, 2), why="x")
    change_index(place, lambda index: index.with_iso(one))
    change_index(place, lambda index: index.without(gone))
    index = index_of(place)
    assert index.isos == ()
    assert index.retired_as(one.name) == gone
    assert place.read(SUMS, 10_000) == b""


def test_a_damaged_index_is_told_and_stays(place: PublishedPlace) -> None:
    place.update(INDEX, lambda _: b"{", 10_000)
    with pytest.raises(InputErrors, match=r"index\.json"):
        change_index(place, lambda index: index.with_iso(entry(1)))
    assert place.read(INDEX, 10_000) == b"{"


# --- who may write


@pytest.mark.lab
@needs_versity
def test_the_login_of_a_bucket_is_that_of_its_server_in_the_settings(
    server: Versity, tmp_path: Path
) -> None:
    secret = file_of(tmp_path, SECRET.encode() + b"\n", "secret")
    access = ServerAccess(server.url, user=ACCESS, password_file=secret)
    wanted = Bucket(name=BUCKET, prefix="own", endpoint=server.url)
    place = BucketPlace(wanted, HttpSettings(servers=(access,)))
    assert place.add(file_of(tmp_path, b"1"), "x")


@pytest.mark.lab
@needs_versity
@pytest.mark.parametrize(("access", "secret"), [(ACCESS, "wrong-s3cret"), ("nobody", SECRET)])
def test_a_login_that_is_refused_is_told_without_it(
    server: Versity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, access: str, secret: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    place = BucketPlace(Bucket(name=BUCKET, endpoint=server.url), HttpSettings())
    with pytest.raises(UpstreamError) as refused:
        place.add(file_of(tmp_path, b"1"), "x")
    told = "\n".join(refused.value.told())
    assert re.search(f"s3://{BUCKET}/x: .* for this login", told)
    assert secret not in told


@pytest.mark.lab
@needs_versity
def test_a_bucket_that_is_not_there_is_told(
    server: Versity, tmp_path: Path, bucket: BucketPlace
) -> None:
    assert bucket  # for its login
    place = BucketPlace(Bucket(name="nowhere", endpoint=server.url), HttpSettings())
    with pytest.raises(UpstreamError, match="s3://nowhere/x: "):
        place.add(file_of(tmp_path, b"1" * 9_000_000), "x")


def test_a_server_that_is_down_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(s3, "_RETRIES", 0)
    place = BucketPlace(Bucket(name=BUCKET, endpoint="http://127.0.0.1:9"), HttpSettings())
    with pytest.raises(UpstreamError, match=f"s3://{BUCKET}/x: "):
        place.add(file_of(tmp_path, b"1"), "x")


def test_without_a_login_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in s3._OWN_LOGINS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EnvironmentProblem, match="nobody said who may write there"):
        BucketPlace(Bucket(name=BUCKET), HttpSettings())


def test_half_a_login_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(EnvironmentProblem, match=f"s3://{BUCKET}: ") as told:
        BucketPlace(Bucket(name=BUCKET), HttpSettings())
    assert "AWS_SECRET_ACCESS_KEY" in (told.value.hint or "")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    with pytest.raises(EnvironmentProblem) as missing:
        BucketPlace(Bucket(name=BUCKET), HttpSettings())
    assert missing.value.hint == "pip install 'isobuilder[s3]'"


def test_a_list_that_is_too_long_is_not_read(place: PublishedPlace, tmp_path: Path) -> None:
    place.add(file_of(tmp_path, b"1" * 1001), INDEX)
    with pytest.raises(IsobuilderError, match="1000"):
        place.read(INDEX, 1000)
